//! Where a TPM is: a device of the kernel, or a TPM in software. Read strictly, since libtss2 passes over what it does not
//! understand and would then speak to another TPM than was meant.

use std::fmt;
use std::str::FromStr;

use tss_esapi::tcti_ldr::TctiNameConf;

use crate::Refusal;

/// The most characters of one.
const MOST_CHARACTERS: usize = 256;

/// The address of a TPM, in libtss2's words: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
///
/// Of the kernel's two devices the one with a resource manager (`/dev/tpmrm0`) is to be preferred: with it, programs do not
/// take each other's room in the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmAddress {
    text: String,
    tcti: TctiNameConf,
}

impl TpmAddress {
    /// The address as libtss2 takes it.
    pub(crate) fn tcti(&self) -> TctiNameConf {
        self.tcti.clone()
    }
}

impl FromStr for TpmAddress {
    type Err = Refusal;

    /// # Errors
    /// [`Refusal::Address`] when it is none.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = || Refusal::Address(text.chars().take(MOST_CHARACTERS).collect());
        if text.len() > MOST_CHARACTERS || !is_one(text) {
            return Err(refused());
        }
        let tcti = TctiNameConf::from_str(text).map_err(|_| refused())?;
        Ok(Self { text: text.to_owned(), tcti })
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_one(text: &str) -> bool {
    match text.split_once(':') {
        Some(("device", path)) => path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
        Some(("swtpm", place)) => {
            let parts = place.split_once(',');
            let host = parts.and_then(|(host, _)| host.strip_prefix("host="));
            let port = parts.and_then(|(_, port)| port.strip_prefix("port="));
            // The control channel is the port after this one.
            let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| (1..u16::MAX).contains(port));
            host.is_some_and(|host| !host.is_empty() && !host.contains(',')) && port.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_a_simulator_are_addresses() {
        for text in ["device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=2321", "swtpm:host=localhost,port=1"] {
            assert_eq!(text.parse::<TpmAddress>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_and_named() {
        let others = [
            "",
            "device",
            "device:",
            "device:tpmrm0",
            "device:/dev/tpm rm0",
            "swtpm",
            "swtpm:",
            "swtpm:port=2321",
            "swtpm:host=127.0.0.1",
            "swtpm:host=,port=2321",
            "swtpm:host=127.0.0.1,port=",
            "swtpm:host=127.0.0.1,port=0",
            "swtpm:host=127.0.0.1,port=65535",
            "swtpm:host=127.0.0.1,port=65536",
            "swtpm:host=-x-,port=2321",
            "swtpm:host=127.0.0.1,port=2321,host=other",
            "swtpm:path=/run/tpm",
            "mssim:host=127.0.0.1,port=2321",
            "tabrmd:bus_type=session",
        ];
        for text in others {
            assert_eq!(text.parse::<TpmAddress>(), Err(Refusal::Address(text.to_owned())), "{text}");
        }
        let long = format!("device:/{}", "x".repeat(MOST_CHARACTERS));
        let Err(Refusal::Address(told)) = long.parse::<TpmAddress>() else { panic!("taken") };
        assert_eq!(told.len(), MOST_CHARACTERS);
    }
}
