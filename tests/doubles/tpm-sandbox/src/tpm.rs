//! One TPM, its power, and the firmware of its board.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::{Boot, SandboxError, found};

/// How often, and how many milliseconds apart, it is looked whether the TPM listens.
const TRIES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
/// How often another pair of ports is looked for.
const PORT_TRIES: u32 = 64;
/// The bound on each answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A TPM; it loses power when this is dropped.
#[derive(Debug)]
pub struct SandboxTpm {
    folder: PathBuf,
    power: Option<Power>,
}

#[derive(Debug)]
struct Power {
    process: Child,
    address: SocketAddrV4,
}

impl SandboxTpm {
    /// A TPM without power.
    pub(crate) fn off(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), power: None }
    }

    /// Takes its power, if it had any, and gives it power again: the firmware measures `boot` and keeps the log.
    ///
    /// # Errors
    /// [`SandboxError`] when swtpm does not start, or refuses a measurement.
    pub fn boot(&mut self, boot: &Boot) -> Result<(), SandboxError> {
        self.power = None;
        let power = Power::on(&self.folder.join("state"))?;
        let to = (*power.address.ip(), power.address.port());
        let mut firmware = TcpStream::connect(to).map_err(SandboxError::system("reach the TPM"))?;
        firmware.set_read_timeout(Some(ANSWER_WITHIN)).map_err(SandboxError::system("wait for the TPM"))?;
        for (register, hash) in boot.events() {
            tell(&mut firmware, &extend(register, &hash))?;
        }
        let log = self.event_log();
        fs::write(&log, boot.log()).map_err(SandboxError::system(format!("write {}", log.display())))?;
        self.power = Some(power);
        Ok(())
    }

    /// Takes its power.
    pub fn shut(&mut self) {
        self.power = None;
    }

    /// Another board's TPM with a copy of this one's state, without power, as somebody makes it who copies a TPM.
    ///
    /// # Errors
    /// [`SandboxError`] when the files cannot be copied.
    pub fn copied(&self, folder: &Path) -> Result<Self, SandboxError> {
        let (from, to) = (self.folder.join("state"), folder.join("state"));
        let failed = |doing: &str| SandboxError::system(format!("{doing} {}", to.display()));
        fs::create_dir_all(&to).map_err(failed("make"))?;
        for file in fs::read_dir(&from).map_err(failed("copy to"))? {
            let file = file.map_err(failed("copy to"))?;
            fs::copy(file.path(), to.join(file.file_name())).map_err(failed("copy to"))?;
        }
        fs::write(folder.join("made"), "").map_err(failed("write beside"))?;
        Ok(Self::off(folder))
    }

    /// Where programs reach it, in libtss2's words; none while it has no power.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        let address = self.power.as_ref()?.address;
        Some(format!("swtpm:host={},port={}", address.ip(), address.port()))
    }

    /// The log of its last boot.
    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.folder.join("boot.log")
    }
}

impl Power {
    fn on(state: &Path) -> Result<Self, SandboxError> {
        let address = free()?;
        let channel = |port: u16| format!("type=tcp,bindaddr={},port={port}", address.ip());
        let mut swtpm = Command::new(found("swtpm")?);
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", state.display()));
        swtpm.args(["--server", &channel(address.port()), "--ctrl", &channel(address.port().saturating_add(1))]);
        swtpm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = swtpm.spawn().map_err(SandboxError::system("start swtpm"))?;
        let power = Self { process, address };
        for _ in 0..TRIES {
            if TcpStream::connect((*address.ip(), address.port().saturating_add(1))).is_ok() {
                return Ok(power);
            }
            thread::sleep(PAUSE);
        }
        Err(SandboxError::Program { program: "swtpm", said: "it does not listen".to_owned() })
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two free ports, one behind the other: libtss2 looks for the control port there.
fn free() -> Result<SocketAddrV4, SandboxError> {
    let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..PORT_TRIES {
        let first = bound(0).map_err(SandboxError::system("find a port"))?;
        let port = first.local_addr().map_err(SandboxError::system("find a port"))?.port();
        if bound(port.saturating_add(1)).is_ok() && port < u16::MAX {
            return Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        }
    }
    Err(SandboxError::Program { program: "swtpm", said: "no two ports are free".to_owned() })
}

/// `TPM2_PCR_Extend` with an empty password (Part 3, section 22.2).
fn extend(register: u8, hash: &[u8; 32]) -> Vec<u8> {
    let mut body = 0x0000_0182_u32.to_be_bytes().to_vec();
    body.extend(u32::from(register).to_be_bytes());
    body.extend(9_u32.to_be_bytes());
    body.extend(0x4000_0009_u32.to_be_bytes());
    body.extend([0, 0, 0, 0, 0]);
    body.extend(1_u32.to_be_bytes());
    body.extend(0x000B_u16.to_be_bytes());
    body.extend(hash);
    let size = u32::try_from(body.len()).unwrap_or(0).saturating_add(6);
    [&0x8002_u16.to_be_bytes()[..], &size.to_be_bytes(), &body].concat()
}

/// Tells the TPM something, and waits until it has done it.
fn tell(tpm: &mut TcpStream, command: &[u8]) -> Result<(), SandboxError> {
    let mut head = [0; 10];
    let told = tpm.write_all(command).and_then(|()| tpm.read_exact(&mut head));
    told.map_err(SandboxError::system("speak to the TPM"))?;
    let [_, _, a, b, c, d, e, f, g, h] = head;
    let (size, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let mut rest = vec![0; usize::try_from(size.saturating_sub(10).min(4_096)).unwrap_or(0)];
    tpm.read_exact(&mut rest).map_err(SandboxError::system("speak to the TPM"))?;
    if code == 0 { Ok(()) } else { Err(SandboxError::Refused(code)) }
}
