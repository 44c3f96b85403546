//! Where things are: the product's binaries beside our own, and one folder that holds all state of one machine.

use std::path::{Path, PathBuf};

use crate::Fault;

/// The SoftHSM module's usual places on Debian.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// How the names of temporary folders begin.
const TEMPORARY: &str = "larder-";

/// The folder of one machine's state, and the names in it.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Uses `root`, which is made if need be.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be made.
    pub fn new(root: &Path) -> Result<Self, Fault> {
        std::fs::create_dir_all(root).map_err(Fault::io("make the folder", root))?;
        let root = root.canonicalize().map_err(Fault::io("find the folder", root))?;
        let layout = Self { root };
        for dir in ["hsm", "identity", "config", "state", "ready", "log", "journal"] {
            let dir = layout.root.join(dir);
            std::fs::create_dir_all(&dir).map_err(Fault::io("make the folder", &dir))?;
        }
        Ok(layout)
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where clients read how to reach everything.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }

    /// SoftHSM's configuration for one token.
    #[must_use]
    pub fn softhsm_conf(&self, token: &str) -> PathBuf {
        self.root.join("hsm").join(format!("{token}.conf"))
    }

    /// Where SoftHSM keeps one token.
    #[must_use]
    pub fn tokens(&self, token: &str) -> PathBuf {
        self.root.join("hsm").join(format!("{token}-tokens"))
    }

    /// The file of a token's user PIN.
    #[must_use]
    pub fn pin(&self, token: &str) -> PathBuf {
        self.root.join("hsm").join(format!("{token}.pin"))
    }

    /// The authority's folder.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// The folder of `name`'s certificate, key and trust bundle.
    #[must_use]
    pub fn identity(&self, name: &str) -> PathBuf {
        self.root.join("identity").join(name)
    }

    /// The configuration of a service.
    #[must_use]
    pub fn config(&self, service: &str) -> PathBuf {
        self.root.join("config").join(format!("{service}.toml"))
    }

    /// A file of state.
    #[must_use]
    pub fn state(&self, name: &str) -> PathBuf {
        self.root.join("state").join(name)
    }

    /// Where a service says that it is ready.
    #[must_use]
    pub fn ready(&self, service: &str) -> PathBuf {
        self.root.join("ready").join(service)
    }

    /// A service's log.
    #[must_use]
    pub fn log(&self, service: &str) -> PathBuf {
        self.root.join("log").join(format!("{service}.log"))
    }

    /// A fridge's journal.
    #[must_use]
    pub fn journal(&self, fridge: &str) -> PathBuf {
        self.root.join("journal").join(fridge)
    }
}

/// Makes a folder for the state of one run. Whoever [adopts](Temporary::adopt) it removes it.
///
/// # Errors
/// [`Fault`] when it cannot be made.
pub fn temporary() -> Result<PathBuf, Fault> {
    let made = tempfile::Builder::new().prefix(TEMPORARY).tempdir().map_err(Fault::of("a temporary folder"))?;
    Ok(made.keep())
}

/// A folder of state that is removed when this is dropped.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Owns the folder at `path`, if [`temporary`] made it: nothing else is ever removed.
    #[must_use]
    pub fn adopt(path: &Path) -> Option<Self> {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
        (ours && path.starts_with(std::env::temp_dir())).then(|| Self(path.to_owned()))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The product's binary called `name`, beside our own.
///
/// # Errors
/// [`Fault`] when it is not there, saying how to build it.
pub fn binary(name: &str) -> Result<PathBuf, Fault> {
    let own = std::env::current_exe().map_err(Fault::io("find our own binary", Path::new("/proc/self/exe")))?;
    let mut folders = own.ancestors().skip(1);
    // Test binaries live one folder deeper than the binaries they drive.
    let candidates = [folders.next(), folders.next()];
    candidates
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Fault::new(format!("the binary {name} is not beside {}; build it with ./run", own.display())))
}

/// The PKCS#11 module of SoftHSM.
///
/// # Errors
/// [`Fault`] when it is not installed, saying how to install it.
pub fn softhsm_module() -> Result<PathBuf, Fault> {
    MODULES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| Fault::new("SoftHSM is not installed; run: apt-get install softhsm2".to_owned()))
}

/// The repository's folder, which holds the policies and the protocol.
///
/// # Errors
/// [`Fault`] when it is not above our own binary nor the current folder.
pub fn repository() -> Result<PathBuf, Fault> {
    let here = std::env::current_dir().map_err(Fault::io("find the current folder", Path::new(".")))?;
    let own = std::env::current_exe().unwrap_or_default();
    here.ancestors()
        .chain(own.ancestors())
        .find(|folder| folder.join("policies/keys.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| Fault::new("run this inside the repository: policies/keys.toml was not found".to_owned()))
}
