//! Where an authority lives: its folder, its token, its trust domain. Kept in `authority.toml`, so that every later command
//! needs the folder only. The PIN itself is never written there, at most the file it stands in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ca_identity::TrustDomain;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{AuthorityError, Corrupt, Refusal, files};

/// The settings' form; raised when a field changes its meaning.
const VERSION: u32 = 1;

/// How the token's PIN is known.
#[derive(Clone)]
pub enum Pin {
    /// It stands in this file, which its owner alone may read.
    File(PathBuf),
    /// It is in memory already; whoever opens the authority again must bring it again.
    Text(Zeroizing<String>),
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(…)"),
        }
    }
}

impl Pin {
    /// The PIN itself.
    pub(crate) fn reveal(&self) -> Result<Zeroizing<String>, Refusal> {
        let path = match self {
            Self::Text(pin) => return Ok(pin.clone()),
            Self::File(path) => path,
        };
        let unreadable = |source| Refusal::Unreadable { path: path.clone(), source };
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Refusal::Pin(format!(
                "the PIN file {} has mode {mode:04o}, so others than its owner may use it; run `chmod 600 {}`, and \
                 change the PIN if it may have been read",
                path.display(),
                path.display()
            )));
        }
        let text = files::read(path)?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Everything needed to make or open an authority.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// Its folder: settings, certificates, issuance log.
    pub dir: PathBuf,
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The label of the token that holds its keys; nothing else should be in it.
    pub token_label: String,
    /// How to log in to the token.
    pub pin: Pin,
    /// Whom it vouches for.
    pub trust_domain: TrustDomain,
}

/// The form of `authority.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    version: u32,
    trust_domain: String,
    module: PathBuf,
    token_label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_file: Option<PathBuf>,
}

impl AuthorityConfig {
    /// Reads the settings of the authority in `dir`. `pin` takes precedence over the PIN file the settings name.
    ///
    /// # Errors
    /// [`Refusal::NotInitialised`] when there is none, [`Refusal::Pin`] when no PIN is known, [`Corrupt::Settings`]
    /// when the settings are not ones we wrote.
    pub fn load(dir: &Path, pin: Option<Pin>) -> Result<Self, AuthorityError> {
        let path = settings_path(dir);
        if !path.exists() {
            return Err(Refusal::NotInitialised(dir.to_owned()).into());
        }
        let corrupt = |why: String| Corrupt::Settings { path: path.clone(), why };
        let settings: Settings = toml::from_str(&files::read(&path)?).map_err(|why| corrupt(why.to_string()))?;
        if settings.version != VERSION {
            return Err(corrupt(format!("its version is {}, this program knows {VERSION}", settings.version)).into());
        }
        let trust_domain = TrustDomain::parse(&settings.trust_domain).map_err(|why| corrupt(why.to_string()))?;
        let pin = pin
            .or_else(|| settings.pin_file.map(Pin::File))
            .ok_or_else(|| Refusal::Pin("the settings name no PIN file; give the PIN with --pin-file".to_owned()))?;
        Ok(Self { dir: dir.to_owned(), module: settings.module, token_label: settings.token_label, pin, trust_domain })
    }

    /// Writes the settings; the last step of making an authority, and what says that it is complete.
    pub(crate) fn save(&self) -> Result<(), AuthorityError> {
        let pin_file = match &self.pin {
            Pin::File(path) => Some(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            Pin::Text(_) => None,
        };
        let settings = Settings {
            version: VERSION,
            trust_domain: self.trust_domain.as_str().to_owned(),
            module: self.module.clone(),
            token_label: self.token_label.clone(),
            pin_file,
        };
        let path = settings_path(&self.dir);
        let text =
            toml::to_string(&settings).map_err(|why| Corrupt::Settings { path: path.clone(), why: why.to_string() })?;
        files::write(&path, text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// Whether an authority has been made in the folder.
    pub(crate) fn exists(&self) -> bool {
        settings_path(&self.dir).exists()
    }
}

fn settings_path(dir: &Path) -> PathBuf {
    dir.join("authority.toml")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use ca_identity::TrustDomain;
    use zeroize::Zeroizing;

    use super::{AuthorityConfig, Pin, settings_path};
    use crate::{AuthorityError, Corrupt, Refusal};

    fn config(dir: &Path, pin: Pin) -> AuthorityConfig {
        AuthorityConfig {
            dir: dir.to_owned(),
            module: PathBuf::from("/usr/lib/module.so"),
            token_label: "larder".into(),
            pin,
            trust_domain: TrustDomain::parse("larder.internal").unwrap(),
        }
    }

    fn pin_file(dir: &Path, text: &str, mode: u32) -> Pin {
        let path = dir.join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Pin::File(path)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let saved = config(dir.path(), pin_file(dir.path(), "314159\n", 0o600));
        assert!(!saved.exists());
        saved.save().unwrap();
        assert!(saved.exists());
        let loaded = AuthorityConfig::load(dir.path(), None).unwrap();
        assert_eq!((&loaded.dir, &loaded.module), (&saved.dir, &saved.module));
        assert_eq!((&loaded.token_label, &loaded.trust_domain), (&saved.token_label, &saved.trust_domain));
        assert_eq!(loaded.pin.reveal().unwrap().as_str(), "314159", "the end of the line is no part of the PIN");
        assert_eq!(fs::metadata(settings_path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_pin_in_memory_is_not_saved_and_must_be_brought_again() {
        let dir = tempfile::tempdir().unwrap();
        config(dir.path(), Pin::Text(Zeroizing::new("314159".into()))).save().unwrap();
        assert!(!fs::read_to_string(settings_path(dir.path())).unwrap().contains("314159"));
        let error = AuthorityConfig::load(dir.path(), None).unwrap_err();
        assert!(matches!(&error, AuthorityError::Refused(Refusal::Pin(why)) if why.contains("--pin-file")), "{error}");
        let loaded = AuthorityConfig::load(dir.path(), Some(Pin::Text(Zeroizing::new("1".into())))).unwrap();
        assert_eq!(loaded.pin.reveal().unwrap().as_str(), "1");
    }

    #[test]
    fn a_pin_is_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let printed = format!("{:?}", config(dir.path(), Pin::Text(Zeroizing::new("314159".into()))));
        assert!(!printed.contains("314159") && printed.contains("Text(…)"), "{printed}");
    }

    #[test]
    fn a_pin_file_that_others_may_read_or_that_is_not_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644] {
            let refused = pin_file(dir.path(), "314159", mode).reveal().unwrap_err();
            assert!(refused.to_string().contains("chmod 600") && !refused.to_string().contains("314159"), "{refused}");
        }
        assert!(pin_file(dir.path(), "314159", 0o400).reveal().is_ok());
        assert!(matches!(Pin::File(dir.path().join("none")).reveal(), Err(Refusal::Unreadable { .. })));
    }

    #[test]
    fn settings_we_did_not_write_are_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            AuthorityConfig::load(dir.path(), None),
            Err(AuthorityError::Refused(Refusal::NotInitialised(_)))
        ));
        config(dir.path(), pin_file(dir.path(), "1", 0o600)).save().unwrap();
        let good = fs::read_to_string(settings_path(dir.path())).unwrap();
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("version = 1", ""),
            ("larder.internal", "Larder Internal"),
            ("token_label", "token_lable"),
            ("version = 1", "version = 1\nextra = true"),
        ] {
            fs::write(settings_path(dir.path()), good.replacen(from, to, 1)).unwrap();
            let error = AuthorityConfig::load(dir.path(), None).unwrap_err();
            assert!(matches!(&error, AuthorityError::Corrupt(Corrupt::Settings { .. })), "{from} to {to}: {error}");
            assert!(error.to_string().contains("restore it from a backup"));
        }
        fs::write(settings_path(dir.path()), good).unwrap();
        assert!(AuthorityConfig::load(dir.path(), None).is_ok());
    }
}
