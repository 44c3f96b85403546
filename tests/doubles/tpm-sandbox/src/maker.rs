//! Who makes TPMs: an authority of his own (swtpm_localca), which signs the certificate that each TPM leaves the factory
//! with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{SandboxError, SandboxTpm, found};

/// A maker, with his authority in a folder.
#[derive(Debug, Clone)]
pub struct Maker {
    folder: PathBuf,
}

impl Maker {
    /// The maker whose authority is in this folder; he makes it with his first TPM.
    ///
    /// # Errors
    /// [`SandboxError`] when the folder cannot be used or swtpm is not installed.
    pub fn open(folder: &Path) -> Result<Self, SandboxError> {
        let maker = Self { folder: folder.to_owned() };
        fs::create_dir_all(folder).map_err(SandboxError::system(format!("make {}", folder.display())))?;
        let at = |name: &str| maker.at(name).display().to_string();
        let signer = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            folder.display(),
            at("signkey.pem"),
            at("issuer.pem"),
            at("serial")
        );
        maker.write("localca.conf", &signer)?;
        maker.write("localca.options", "")?;
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
             active_pcr_banks = sha256\n",
            found("swtpm_localca")?.display(),
            at("localca.conf"),
            at("localca.options")
        );
        maker.write("setup.conf", &setup)?;
        Ok(maker)
    }

    /// Makes a TPM in a folder; the one that is there already is taken out of it again.
    ///
    /// # Errors
    /// [`SandboxError`] when swtpm fails.
    pub fn make(&self, folder: &Path) -> Result<SandboxTpm, SandboxError> {
        let (state, done) = (folder.join("state"), folder.join("made"));
        if !done.exists() {
            fs::create_dir_all(&state).map_err(SandboxError::system(format!("make {}", state.display())))?;
            let mut setup = Command::new(found("swtpm_setup")?);
            setup.args(["--tpm2", "--overwrite", "--create-ek-cert", "--tpmstate"]).arg(&state);
            setup.arg("--config").arg(self.at("setup.conf"));
            let output = setup.output().map_err(SandboxError::system("start swtpm_setup"))?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                return Err(SandboxError::Program { program: "swtpm_setup", said });
            }
            fs::write(&done, "").map_err(SandboxError::system(format!("write {}", done.display())))?;
        }
        Ok(SandboxTpm::off(folder))
    }

    /// The root of his authority, PEM; there once he made a TPM.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.at("swtpm-localca-rootca-cert.pem")
    }

    /// The certificate between the root and his TPMs, PEM.
    #[must_use]
    pub fn issuer(&self) -> PathBuf {
        self.at("issuer.pem")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), SandboxError> {
        let path = self.at(name);
        fs::write(&path, text).map_err(SandboxError::system(format!("write {}", path.display())))
    }
}
