//! A maker of TPMs and the TPMs that he makes, in software: what stands outside our walls when a fridge is attested.
//!
//! The TPMs are swtpm, which others wrote. What this adds is what surrounds one in a real board: a maker who signs
//! endorsement certificates ([`Maker`]), power ([`SandboxTpm`]), and firmware that measures what it starts and keeps a log
//! of it ([`Boot`]). The firmware speaks to the TPM in its own words (Part 3 of the TPM 2.0 library), as real firmware does,
//! so no library of ours is between.
//!
//! Needs the programs `swtpm`, `swtpm_setup`, `swtpm_localca` and `certtool`.

mod boot;
mod maker;
mod tpm;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use boot::Boot;
pub use maker::Maker;
pub use tpm::SandboxTpm;

/// Why there is no TPM.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A program is missing.
    #[error("{0} is not installed: apt-get install swtpm swtpm-tools gnutls-bin")]
    Missing(&'static str),
    /// A program failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A file or a connection failed.
    #[error("{what}: {why}")]
    System {
        /// What was done.
        what: String,
        /// As the system says.
        why: std::io::Error,
    },
    /// The TPM refused what the firmware told it.
    #[error("the TPM answered {0:#x}")]
    Refused(u32),
}

impl SandboxError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |why| Self::System { what, why }
    }
}

/// Where a program lies.
pub(crate) fn found(program: &'static str) -> Result<PathBuf, SandboxError> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    places.find(|place| Path::is_file(place)).ok_or(SandboxError::Missing(program))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}
