//! What goes wrong here, in words for the person at the terminal: what happened, where, and what to do.

use std::fmt;
use std::path::Path;

/// A failure with its message.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    /// A failure in these words.
    #[must_use]
    pub const fn new(message: String) -> Self {
        Self(message)
    }

    /// Makes failures of doing `what` with `path`.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |error| Self(format!("cannot {what} {path}: {error}"))
    }

    /// Makes failures of doing `what`.
    pub fn of<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Self + use<E> {
        let what = what.to_owned();
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}
