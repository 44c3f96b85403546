//! How asking a TPM fails, sorted by whose fault it is. Every text is for the technician before the fridge: what happened,
//! why, and what to do.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tss_esapi::{Error as TssError, constants::response_code::Tss2ResponseCode};

/// Why a TPM did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum TpmError {
    /// It was asked for something that it must not, or cannot, do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The TPM, or the way to it, failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What is stored for it is not what was stored.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

impl TpmError {
    /// Whether the way to the TPM broke, so that it must be opened again.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self, Self::Fault(Fault::Lost { .. }))
    }
}

/// What was asked cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is no address of a TPM.
    #[error(
        "`{0}` is no address of a TPM: write device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321 for one in software"
    )]
    Address(String),
    /// The registers are not what they were when the key was made.
    #[error(
        "the TPM refuses to use the key for TLS: its registers {registers} are no longer what they were when the key was \
         made, since other firmware was started or something more was measured; attest again, which makes a new key, or \
         put the former firmware back"
    )]
    Registers {
        /// The registers, for people.
        registers: String,
    },
    /// There are no such registers, or too few were named.
    #[error(
        "registers of a TPM are one or more of 0 to 23 of the SHA-256 bank, and others were named: correct the selection"
    )]
    Selection,
    /// A nonce, or another thing to be signed, has a size that no TPM takes.
    #[error("a TPM takes a nonce of 1 to {most} bytes, and {bytes} were given: ask again with another")]
    Nonce {
        /// How many there were.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// A certificate cannot be requested for such a name.
    #[error("`{0}` is no name that a certificate can be requested for: give a spiffe:// URI in ASCII")]
    Name(String),
    /// The attestation service refuses.
    #[error("the attestation service refuses: {0}")]
    Attestation(String),
    /// What the TPM was to sign is not what was agreed on.
    #[error(
        "the attestation service wants another statement signed than was agreed on: the keys, the certificate request or \
         the order were exchanged on the way, or the service is of another version; nothing was signed; begin again, and \
         if it stays so, tell whoever runs the service"
    )]
    Transcript,
    /// The credential is for another TPM.
    #[error(
        "the TPM does not open the credential: it was made for another TPM or another attestation key, or was altered on \
         the way; begin the attestation again with this TPM's own certificate and keys"
    )]
    Credential,
}

/// The TPM, or the way to it, failed. Nothing was half done, so it may be asked again.
#[derive(Debug, Clone, Error)]
pub enum Fault {
    /// No TPM answers.
    #[error(
        "no TPM answers at {address} ({code:#x}): see whether the TPM is switched on in the firmware's setup and whether \
         this user may open the device (group tss), or, of one in software, whether it runs"
    )]
    NotThere {
        /// Where it should be.
        address: String,
        /// What libtss2 said.
        code: u32,
    },
    /// It stopped answering.
    #[error("the TPM stopped answering while it {doing} ({code:#x}): ask again; if it stays so, restart the fridge")]
    Lost {
        /// What it was doing.
        doing: &'static str,
        /// What libtss2 said.
        code: u32,
    },
    /// Nobody started it after the power came.
    #[error(
        "the TPM was not started (0x100): the firmware does it at each boot; switch the TPM on in the firmware's setup"
    )]
    NotStarted,
    /// It has no certificate of its maker.
    #[error(
        "the TPM holds no endorsement certificate for a key on P-384 or P-256 (NV indices 0x01c00016 and 0x01c0000a): its \
         maker did not put one in, or only one for RSA; use a board with another TPM, or ask its maker"
    )]
    NoEndorsementCertificate,
    /// Its certificate is for a key that it does not make.
    #[error(
        "the endorsement certificate in the TPM is not that of its endorsement key: the TPM's endorsement seed was \
         changed, or its maker uses a template of his own; use another board"
    )]
    AnotherEndorsementKey,
    /// It has no room.
    #[error(
        "the TPM has no room for another key or session ({code:#x}) while it {doing}: another program left some in it; \
         use the device with a resource manager (/dev/tpmrm0), stop the other program, or restart the fridge"
    )]
    Memory {
        /// What it was doing.
        doing: &'static str,
        /// What the TPM said.
        code: u32,
    },
    /// It is locked out after guesses.
    #[error(
        "the TPM is locked out (0x921), since somebody tried wrong passwords on it: it opens by itself after some time \
         (tpm2_getcap properties-variable tells when); find out who tried"
    )]
    LockedOut,
    /// Somebody set a password.
    #[error(
        "the TPM asks for a password while it {doing} ({code:#x}), and a fridge's TPM has none: somebody took ownership of \
         it; clear the TPM in the firmware's setup, then attest the fridge anew"
    )]
    Password {
        /// What it was doing.
        doing: &'static str,
        /// What the TPM said.
        code: u32,
    },
    /// Anything else that it says.
    #[error("the TPM failed while it {doing}: {said} ({code:#x}); ask again, and if it stays so, replace the board")]
    Tpm {
        /// What it was doing.
        doing: &'static str,
        /// What the TPM said.
        code: u32,
        /// The same in words.
        said: String,
    },
    /// It answered something that is none of the possible answers.
    #[error(
        "the TPM's answer while it {doing} makes no sense: {said}; ask again, and if it stays so, replace the board"
    )]
    Answer {
        /// What it was doing.
        doing: &'static str,
        /// What is wrong with it.
        said: String,
    },
    /// A certificate request could not be put together.
    #[error("the certificate request could not be made: {0}; ask again, and keep the log")]
    Request(String),
    /// The attestation service failed, or cannot be reached.
    #[error("the attestation service did not attest this fridge: {0}; begin again later")]
    Service(String),
    /// Too many wait for it.
    #[error("{most} questions wait for the TPM already: ask again in a moment")]
    Busy {
        /// How many may wait.
        most: usize,
    },
    /// It takes too long.
    #[error("the TPM did not answer within {wait_s} s: ask again; if it stays so, restart the fridge")]
    Slow {
        /// How long was waited, in seconds.
        wait_s: u64,
    },
    /// Its thread is gone.
    #[error("the thread that speaks to the TPM ended: restart the program, and keep its log")]
    Stopped,
    /// A file.
    #[error("the file {path} of a TPM key could not be {doing}: {cause}; see whether its disk is full or write-protected", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: Arc<std::io::Error>,
    },
}

/// What is stored is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Corrupt {
    /// The bytes are no key.
    #[error(
        "the stored TPM key is damaged: {0}; take it away, then the fridge makes another and must be attested anew"
    )]
    Key(&'static str),
    /// The TPM does not take the key for one of its own.
    #[error(
        "the TPM does not know the stored key as its own: the board or the TPM was exchanged, the TPM was cleared, or the \
         file was altered; take the file away, then the fridge makes another and must be attested anew"
    )]
    AnotherTpm,
}

/// Response codes (TPM 2.0 Library, Part 2, section 6.6), those of format one without the part that was at fault.
pub(crate) const HANDLE: u32 = 0x08b;
pub(crate) const POLICY_FAIL: u32 = 0x09d;
pub(crate) const INTEGRITY: u32 = 0x09f;
pub(crate) const PCR_CHANGED: u32 = 0x128;
const INITIALIZE: u32 = 0x100;
const AUTH_FAIL: u32 = 0x08e;
const BAD_AUTH: u32 = 0x0a2;
const OBJECT_MEMORY: u32 = 0x902;
const SESSION_MEMORY: u32 = 0x903;
const MEMORY: u32 = 0x904;
const LOCKOUT: u32 = 0x921;
/// Whose code it is: bits 16 to 23. That of what carries commands to the TPM.
const LAYER: u32 = 0xff_0000;
const LAYER_TCTI: u32 = 0x0a_0000;
/// Bit 7 marks format one, whose bits 6 and 8 to 11 tell the part that was at fault.
const FORMAT_ONE: u32 = 0x80;
const FORMAT_ONE_ERROR: u32 = 0xbf;

/// What went wrong, as one of ours.
pub(crate) fn fault(doing: &'static str) -> impl Fn(TssError) -> TpmError {
    move |error| {
        let said = error.to_string();
        let Some(code) = code(error) else { return Fault::Answer { doing, said }.into() };
        let fault = match kind(code) {
            _ if code & LAYER == LAYER_TCTI => Fault::Lost { doing, code },
            INITIALIZE => Fault::NotStarted,
            OBJECT_MEMORY | SESSION_MEMORY | MEMORY => Fault::Memory { doing, code },
            LOCKOUT => Fault::LockedOut,
            AUTH_FAIL | BAD_AUTH => Fault::Password { doing, code },
            _ => Fault::Tpm { doing, code, said },
        };
        fault.into()
    }
}

/// Whether the TPM itself said so.
pub(crate) fn says(error: TssError, wanted: u32) -> bool {
    code(error).is_some_and(|code| code & LAYER != LAYER_TCTI && kind(code) == wanted)
}

/// The number that was returned; none when the wrapper around libtss2 found the fault.
pub(crate) fn code(error: TssError) -> Option<u32> {
    let text = match error {
        TssError::WrapperError(_) | TssError::Tss2Error(Tss2ResponseCode::Success) => return None,
        TssError::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.to_string(),
        TssError::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.to_string(),
    };
    // The wrapper gives its number in words only: "Response code value: 0x…".
    text.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok())
}

/// A code without the part that was at fault and without the layer that passed it on.
const fn kind(code: u32) -> u32 {
    if code & FORMAT_ONE == 0 { code & 0xffff } else { code & FORMAT_ONE_ERROR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lose_the_part_at_fault_and_the_layer() {
        for (code, expected) in [
            (0x1df, INTEGRITY),
            (0x99d, POLICY_FAIL),
            (0x128, PCR_CHANGED),
            (0x18b, HANDLE),
            (0x98e, AUTH_FAIL),
            (0x9a2, BAD_AUTH),
            (0x902, OBJECT_MEMORY),
            (0xb_0902, OBJECT_MEMORY),
            (0x921, LOCKOUT),
        ] {
            assert_eq!(kind(code), expected, "{code:#x}");
        }
    }

    #[test]
    fn every_text_says_what_to_do() {
        let doing = "quoted";
        let texts = [
            Fault::LockedOut.to_string(),
            Fault::NotStarted.to_string(),
            Fault::Memory { doing, code: OBJECT_MEMORY }.to_string(),
            Fault::Password { doing, code: BAD_AUTH }.to_string(),
            Corrupt::AnotherTpm.to_string(),
        ];
        for (text, word) in texts.iter().zip(["0x921", "setup", "0x902", "clear the TPM", "attested anew"]) {
            assert!(text.contains(word), "{text}");
        }
    }
}
