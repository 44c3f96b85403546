//! The token itself: a folder with SoftHSM's settings and one initialised token in it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use thiserror::Error;

/// Where distributions put SoftHSM's module.
const MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
/// Protects nothing: the token lives as long as one test.
const PIN: &str = "314159";
const SO_PIN: &str = "271828";
/// Tells a child which folder its token is in; the label follows after a colon.
const INHERIT: &str = "TEST_TOKEN_DIRECTORY";
/// The variable by which SoftHSM finds its settings.
const CONF: &str = "SOFTHSM2_CONF";

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// SoftHSM's module is in none of the places distributions use.
    #[error("SoftHSM is not installed (Debian: softhsm2)")]
    NoModule,
    /// A file could not be written, or `softhsm2-util` not be started.
    #[error("making the token: {0}")]
    Io(#[from] io::Error),
    /// `softhsm2-util` refused.
    #[error("softhsm2-util: {0}")]
    Refused(String),
}

/// A token that vanishes when this value is dropped (in the process that made it).
#[derive(Debug)]
pub struct TestToken {
    module: PathBuf,
    directory: PathBuf,
    label: String,
    _owned: Option<TempDir>,
}

impl TestToken {
    /// Makes a folder, SoftHSM's settings and one initialised token in it. This process's environment stays as it is:
    /// see [`TestToken::apply`] and [`in_own_process`](crate::in_own_process).
    ///
    /// # Errors
    /// [`TokenError`] when SoftHSM is not installed or refuses.
    pub fn create(label: &str) -> Result<Self, TokenError> {
        let owned = tempfile::Builder::new().prefix("test-token-").tempdir()?;
        let token = Self {
            module: module()?,
            directory: owned.path().to_owned(),
            label: label.to_owned(),
            _owned: Some(owned),
        };
        fs::create_dir(token.token_directory())?;
        fs::write(token.conf(), token.settings())?;
        token.initialise()?;
        Ok(token)
    }

    /// The token the parent of this process made for it, if there is one.
    #[must_use]
    pub fn inherited() -> Option<Self> {
        let value = env::var(INHERIT).ok()?;
        let (directory, label) = value.rsplit_once(':')?;
        Some(Self { module: module().ok()?, directory: directory.into(), label: label.to_owned(), _owned: None })
    }

    /// Gives a command the environment in which it finds this token.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(CONF, self.conf()).env(INHERIT, format!("{}:{}", self.directory.display(), self.label))
    }

    /// SoftHSM's PKCS#11 module.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The settings file, for `SOFTHSM2_CONF`.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.directory.join("softhsm2.conf")
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The user's PIN.
    #[must_use]
    pub const fn pin(&self) -> &'static str {
        PIN
    }

    /// The security officer's PIN.
    #[must_use]
    pub const fn so_pin(&self) -> &'static str {
        SO_PIN
    }

    /// The folder of all this; free for the test's own files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder SoftHSM keeps the token in; a test may take it away to lose the HSM.
    #[must_use]
    pub fn token_directory(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    fn settings(&self) -> String {
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            self.token_directory().display()
        )
    }

    fn initialise(&self) -> Result<(), TokenError> {
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", &self.label, "--pin", PIN, "--so-pin", SO_PIN])
            .env(CONF, self.conf())
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(TokenError::Refused(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }
}

fn module() -> Result<PathBuf, TokenError> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(TokenError::NoModule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_its_value() {
        let token = TestToken::create("brief").expect("a token");
        let directory = token.directory().to_owned();
        assert!(token.module().exists() && token.conf().exists());
        let listed =
            Command::new("softhsm2-util").arg("--show-slots").env(CONF, token.conf()).output().expect("a listing");
        assert!(String::from_utf8_lossy(&listed.stdout).contains("brief"));
        drop(token);
        assert!(!directory.exists());
    }

    #[test]
    fn tokens_of_two_values_are_apart() {
        let (one, other) = (TestToken::create("a").expect("a token"), TestToken::create("a").expect("a token"));
        assert_ne!(one.token_directory(), other.token_directory());
    }

    #[test]
    fn a_label_softhsm_cannot_hold_is_refused() {
        let refused = TestToken::create(&"long".repeat(20));
        assert!(matches!(refused, Err(TokenError::Refused(_))), "{refused:?}");
    }
}
