//! Keeps what stands in files in force: looks whether they were replaced, and has them read when they were.
//!
//! Whoever replaces a certificate tells nobody; a glance at the files each second costs nothing and is soon enough. Files that
//! are written one after the other are read between two of them at worst, which the reader finds, and again after the last.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::alarm::{Alarm, Say};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After how many looks, which are seconds, a reading that failed is tried again although nothing changed.
const AGAIN_LOOKS: i64 = 60;

/// What tells one state of a file from another: inode, bytes, the moment of its last change.
type Stamp = (u64, u64, i64, i64);

/// Files that may be replaced, as they were when this was made.
#[derive(Debug, Clone)]
pub struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

impl Watched {
    /// Looks at these files; to be done before they are read for the first time.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = stamps(&paths);
        Self { paths, seen }
    }

    /// Looks again; whether any of them is another than at the look before.
    pub fn changed(&mut self) -> bool {
        let now = stamps(&self.paths);
        let before = std::mem::replace(&mut self.seen, now);
        before != self.seen
    }

    /// Calls `reload` whenever a file was replaced, for ever; to be dropped when it shall end. What was in force stays so
    /// when it fails: that is logged as an alarm, and tried again after a minute.
    pub async fn keep_fresh<E: Display>(mut self, reload: impl Fn() -> Result<(), E>) {
        let (mut looks, mut failed_at, mut alarm) = (0_i64, None, Alarm::default());
        loop {
            tokio::time::sleep(LOOK).await;
            looks = looks.saturating_add(1);
            let again = failed_at.is_some_and(|failed_at| looks.saturating_sub(failed_at) >= AGAIN_LOOKS);
            if self.changed() || again {
                let outcome = reload();
                failed_at = outcome.is_err().then_some(looks);
                tell(outcome.err(), alarm.look(failed_at.is_some(), looks));
            }
        }
    }
}

fn tell<E: Display>(error: Option<E>, say: Say) {
    match (say, error) {
        (Say::Alarm, Some(error)) => {
            tracing::error!(alarm = true, %error, "replaced files are not usable; the last good ones stay in force");
        }
        (Say::Nothing, Some(error)) => tracing::warn!(%error, "the replaced files are still not usable"),
        (Say::Over, _) => tracing::info!(alarm = false, "the replaced files are usable again, and in force"),
        (Say::Alarm | Say::Nothing, None) => {}
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::{AGAIN_LOOKS, LOOK, Watched};

    #[test]
    fn a_file_that_is_replaced_removed_or_made_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "1").unwrap();
        let mut watched = Watched::new(vec![one.clone(), two.clone()]);
        assert!(!watched.changed());
        for change in [
            &|| std::fs::write(&two, "2").unwrap() as (),
            &|| std::fs::rename(&two, &one).unwrap(),
            &|| std::fs::write(&one, "longer").unwrap(),
            &|| std::fs::remove_file(&one).unwrap(),
        ] as [&dyn Fn(); 4]
        {
            change();
            assert!(watched.changed());
            assert!(!watched.changed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_when_they_were_replaced_and_again_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let reads = RefCell::new(Vec::new());
        let reload = || {
            let text = std::fs::read_to_string(&file).unwrap();
            reads.borrow_mut().push(text.clone());
            if text == "bad" { Err("it is bad") } else { Ok(()) }
        };
        std::fs::write(&file, "first").unwrap();
        let keeping = Watched::new(vec![file.clone()]).keep_fresh(reload);
        tokio::pin!(keeping);
        for text in ["bad", "good"] {
            let _ = tokio::time::timeout(LOOK * 3, &mut keeping).await;
            std::fs::write(&file, text).unwrap();
        }
        let _ = tokio::time::timeout(LOOK * 3, &mut keeping).await;
        assert_eq!(*reads.borrow(), ["bad", "good"]);
        std::fs::write(&file, "bad").unwrap();
        let _ = tokio::time::timeout(LOOK * (u32::try_from(AGAIN_LOOKS).unwrap() + 10), &mut keeping).await;
        assert_eq!(*reads.borrow(), ["bad", "good", "bad", "bad"], "what failed is tried again, not what is good");
        let _ = tokio::time::timeout(Duration::from_millis(1), &mut keeping).await;
    }
}
