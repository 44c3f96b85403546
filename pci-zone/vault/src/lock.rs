//! The lock that processes of one machine hold, one at a time, while they open the HSM and make missing keys.
//!
//! Two processes that find a key missing would both make it; and SoftHSM writes a token's file at each login, so that a
//! process which opens the module at that moment sees no token at all. A lock file is enough for both: it is held for
//! some ten milliseconds, the kernel gives it back when a process dies, and the wait for it is bounded.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

/// How often the lock is tried before the HSM is said to be out of reach.
const TRIES: u32 = 400;
/// The pause between two tries: ten seconds in all.
const PAUSE: Duration = Duration::from_millis(25);

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct OpeningLock {
    _file: File,
}

impl OpeningLock {
    /// Takes the lock, waiting ten seconds for it at most; makes the file when there is none.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        Self::take_within(path, TRIES)
    }

    fn take_within(path: &Path, tries: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_not_for_ever() {
        let folder = std::env::temp_dir().join(format!("vault-lock-{}", std::process::id()));
        let held = OpeningLock::take(&folder).expect("free");
        let refused = OpeningLock::take_within(&folder, 1).expect_err("held");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(OpeningLock::take(&folder).is_ok());
        std::fs::remove_file(&folder).expect("removed");
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_at_once() {
        let refused = OpeningLock::take(Path::new("/no/such/folder/lock")).expect_err("no folder");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }
}
