//! Two SoftHSM tokens, one for the PCI zone and one for the authority, each with a configuration, a folder and a PIN of
//! its own, so that neither side can even see the other's.

use std::path::PathBuf;
use std::process::Command;

use crate::layout::Layout;
use crate::secrets::{random_word, write_secret};
use crate::{Fault, layout};

/// One token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// SoftHSM's configuration that leads to it.
    pub conf: PathBuf,
    /// The file of its user PIN.
    pub pin_file: PathBuf,
    /// The PKCS#11 module.
    pub module: PathBuf,
}

impl Token {
    /// The token called `name`, initialised if it is new.
    ///
    /// # Errors
    /// [`Fault`] when SoftHSM is not installed or refuses.
    pub fn prepare(layout: &Layout, name: &str) -> Result<Self, Fault> {
        let token = Self {
            label: format!("larder-{name}"),
            conf: layout.softhsm_conf(name),
            pin_file: layout.pin(name),
            module: layout::softhsm_module()?,
        };
        if token.pin_file.exists() {
            return Ok(token);
        }
        let tokens = layout.tokens(name);
        std::fs::create_dir_all(&tokens).map_err(Fault::io("make the folder", &tokens))?;
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        std::fs::write(&token.conf, conf).map_err(Fault::io("write", &token.conf))?;
        let pin = random_word()?;
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", &token.label, "--pin", &pin, "--so-pin", &random_word()?])
            .env("SOFTHSM2_CONF", &token.conf)
            .output()
            .map_err(Fault::of("softhsm2-util cannot be run; run: apt-get install softhsm2"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Fault::new(format!("the token {name} could not be initialised: {why}")));
        }
        write_secret(&token.pin_file, &pin)?;
        Ok(token)
    }
}
