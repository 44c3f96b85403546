//! A TPM in software (swtpm), one a test, and the tools that others wrote to speak to it (tpm2-tools).
//!
//! It listens on a loopback address of its own, so tests never meet. Swtpm has no resource manager: what a step left in
//! the TPM is flushed after it, or the fourth object finds no room.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How often, and how many milliseconds apart, it is tried whether the TPM listens.
const TRIES: u32 = 500;
const TRY_MILLIS: u64 = 10;

/// The first port of the first TPM of a process. Each has two: the control port must be the one after the server's.
const FIRST_PORT: u16 = 2_321;
static TPMS: AtomicU16 = AtomicU16::new(0);

/// A running TPM and the folder in which it and the tools keep their files.
pub struct Swtpm {
    folder: TempDir,
    address: SocketAddrV4,
    process: Process,
}

/// Ends with its owner.
struct Process(Child);

/// A TPM without power.
pub struct Stopped {
    folder: TempDir,
    address: SocketAddrV4,
}

impl Stopped {
    /// The same TPM with power, where it was before.
    pub fn started(self) -> Swtpm {
        Swtpm::start(self.folder, self.address)
    }
}

impl Swtpm {
    /// A TPM of which nobody has heard before.
    pub fn new() -> Self {
        Self::start(TempDir::new().unwrap(), free_address())
    }

    /// A TPM with endorsement keys and their certificates, as it leaves its maker. The maker's own certificates are
    /// `ca/root.der` and `ca/issuer.der`.
    pub fn manufactured() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["state", "ca", "certs"] {
            fs::create_dir(at(name)).unwrap();
        }
        let ca = at("ca");
        let signer = format!(
            "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuer.pem\ncertserial = {ca}/serial\n"
        );
        fs::write(at("localca.conf"), signer).unwrap();
        fs::write(at("localca.options"), "").unwrap();
        let setup = format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
             active_pcr_banks = sha256\n",
            at("localca.conf"),
            at("localca.options")
        );
        fs::write(at("setup.conf"), setup.replace("= swtpm_localca", &format!("= {}", found("swtpm_localca"))))
            .unwrap();
        let mut command = Command::new(found("swtpm_setup"));
        command.args(["--tpm2", "--tpmstate", &at("state"), "--create-ek-cert", "--config", &at("setup.conf")]);
        succeed(command.args(["--write-ek-cert-files", &at("certs")]));
        for (pem, der) in [("issuer.pem", "issuer.der"), ("swtpm-localca-rootca-cert.pem", "root.der")] {
            let mut command = Command::new(found("certtool"));
            command.args(["--certificate-info", "--infile", &format!("{ca}/{pem}"), "--outder"]);
            succeed(command.args(["--outfile", &format!("{ca}/{der}")]));
        }
        Self::start(folder, free_address())
    }

    /// Another TPM with a copy of this one's state, as it is after a power cut.
    pub fn copied(&self) -> Self {
        let folder = TempDir::new().unwrap();
        for sub in ["state", "ca"] {
            fs::create_dir(folder.path().join(sub)).unwrap();
            for file in fs::read_dir(self.path(sub)).unwrap() {
                let file = file.unwrap().path();
                fs::copy(&file, folder.path().join(sub).join(file.file_name().unwrap())).unwrap();
            }
        }
        Self::start(folder, free_address())
    }

    /// The same TPM after a power cut.
    pub fn restarted(self) -> Self {
        self.stopped().started()
    }

    /// The same TPM without power.
    pub fn stopped(self) -> Stopped {
        Stopped { folder: self.folder, address: self.address }
    }

    fn start(folder: TempDir, address: SocketAddrV4) -> Self {
        let state = folder.path().join("state");
        fs::create_dir_all(&state).unwrap();
        let channel = |port: u16| format!("type=tcp,bindaddr={},port={port}", address.ip());
        let process = Command::new(found("swtpm"))
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &channel(address.port()), "--ctrl", &channel(address.port() + 1)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listens = (0..TRIES).any(|_| {
            let up = TcpStream::connect((*address.ip(), address.port() + 1)).is_ok();
            if !up {
                thread::sleep(Duration::from_millis(TRY_MILLIS));
            }
            up
        });
        let tpm = Self { folder, address, process: Process(process) };
        assert!(listens, "swtpm does not listen");
        tpm
    }

    /// Where programs reach it, in libtss2's words.
    pub fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", self.address.ip(), self.address.port())
    }

    /// Where a file of this TPM lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs a tool with these arguments, separated by spaces, and says how it ended.
    pub fn attempt(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let mut command = Command::new(found(program));
        command.args(words).current_dir(self.folder.path());
        command.env("TPM2TOOLS_TCTI", self.tcti());
        command.env("TSS2_LOG", "all+NONE").output().unwrap()
    }

    /// Runs tools, one a line, which must all succeed.
    pub fn run(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let output = self.attempt(line);
            assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Runs tools and flushes what they left behind.
    pub fn step(&self, lines: &str) {
        self.run(lines);
        self.flush();
    }

    pub fn flush(&self) {
        for what in ["-t", "-s", "-l"] {
            self.run(&format!("tpm2_flushcontext {what}"));
        }
    }

    /// The public area in a file that the tools wrote as `TPM2B_PUBLIC`.
    pub fn area(&self, name: &str) -> Vec<u8> {
        let public = self.read(name);
        let (length, area) = public.split_first_chunk().unwrap();
        assert_eq!(usize::from(u16::from_be_bytes(*length)), area.len());
        area.to_vec()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A loopback address that is of this process alone, and a port on it that is of one TPM.
fn free_address() -> SocketAddrV4 {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = FIRST_PORT + 2 * TPMS.fetch_add(1, Ordering::Relaxed);
    SocketAddrV4::new(Ipv4Addr::new(127, 64 | high, middle, low), port)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Where a program lies. A test that cannot be made must not pass.
fn found(program: &str) -> String {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    let place = places.find(|place| Path::is_file(place));
    place.map_or_else(
        || panic!("{program} is not installed, so nothing was tried: apt-get install swtpm swtpm-tools tpm2-tools"),
        |place| place.display().to_string(),
    )
}
