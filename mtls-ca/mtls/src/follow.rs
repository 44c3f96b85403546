//! A gateway follows the authority: it asks for the revocation lists, waits there until there are others, and puts them in
//! force.
//!
//! The last lists are kept in a file, so that a restart while the authority is away does not forget them. An authority that
//! is away changes nothing: what was revoked stays revoked, everybody else goes on, and [`Follower::horizon_s`] says how
//! long the lists are good for. It leaves asking, which is HTTP, to the services: this crate speaks TLS alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::alarm::{Alarm, Say};
use crate::{CheckedCrl, CrlError, ReloadingServer};

/// The pause after a first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The least time from one question to the next, should the authority not make us wait.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// How long before the lists in force are due to be replaced it is an alarm that no others come: they are signed anew every
/// few minutes, and are good for hours.
const ALARM_BEFORE_S: i64 = 3 * 60 * 60;

/// What the authority answers a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lists {
    /// There are no others than those with the tag that was asked with.
    Unchanged,
    /// These.
    New {
        /// What to ask with next.
        tag: String,
        /// Each issuer's certificate and behind it its list.
        pem: Vec<u8>,
    },
}

/// Keeps the lists of one server as new as the authority's.
#[derive(Debug)]
pub struct Follower {
    server: Arc<ReloadingServer>,
    file: PathBuf,
    now_unix_s: fn() -> i64,
    failures: AtomicU64,
}

impl Follower {
    /// Follows for `server`, keeps the last lists in `file`, and puts those in force that an earlier run kept. `now_unix_s`
    /// is the binary's clock, in seconds since the Unix epoch.
    #[must_use]
    pub fn new(server: Arc<ReloadingServer>, file: PathBuf, now_unix_s: fn() -> i64) -> Self {
        let follower = Self { server, file, now_unix_s, failures: AtomicU64::new(0) };
        if let Ok(pem) = std::fs::read(&follower.file)
            && let Err(error) = follower.apply(&pem)
        {
            tracing::error!(%error, file = %follower.file.display(), "the lists of the run before are not believed");
        }
        follower
    }

    /// Whether there are lists in force.
    #[must_use]
    pub fn knows(&self) -> bool {
        self.horizon_s().is_some()
    }

    /// When the first of the lists in force is due to be replaced, seconds since the Unix epoch; to be alarmed on long before
    /// it is past.
    #[must_use]
    pub fn horizon_s(&self) -> Option<i64> {
        self.server.revocations().horizon_s()
    }

    /// How many questions had no answer, or one that is not believed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Asks for ever; `ask` gets the tag of the lists in force, empty at first, and may wait as long as it likes. To be
    /// dropped when it shall end.
    pub async fn run<E, F>(&self, ask: impl Fn(String) -> F)
    where
        E: std::fmt::Display,
        F: Future<Output = Result<Lists, E>>,
    {
        let (mut tag, mut pause, mut alarm) = (String::new(), FIRST_PAUSE, Alarm::default());
        loop {
            let failure = match ask(tag.clone()).await {
                Ok(Lists::Unchanged) => None,
                Ok(Lists::New { tag: next, pem }) => match self.apply(&pem) {
                    Ok(()) => {
                        self.keep(&pem);
                        tag = next;
                        None
                    }
                    Err(error) => Some(error.to_string()),
                },
                Err(error) => Some(error.to_string()),
            };
            self.tell(failure.as_deref(), &mut alarm);
            let wait = match failure {
                None => {
                    pause = FIRST_PAUSE;
                    LEAST_PAUSE
                }
                Some(_) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    let longer = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    std::mem::replace(&mut pause, longer)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Says what there is to say after an answer, whether it failed or not: an authority that answers and signs no lists any
    /// more is as deaf as one that is away.
    fn tell(&self, error: Option<&str>, alarm: &mut Alarm) {
        let (horizon_s, now_s) = (self.horizon_s(), (self.now_unix_s)());
        match (alarm.look(grow_old(horizon_s, now_s), now_s), error) {
            (Say::Alarm, _) => {
                tracing::error!(alarm = true, error, horizon_s, "there are no revocation lists, or they grow old");
            }
            (Say::Over, _) => tracing::info!(alarm = false, horizon_s, "the revocation lists are new again"),
            (Say::Nothing, Some(error)) => tracing::warn!(error, "the last known revocation lists stay in force"),
            (Say::Nothing, None) => {}
        }
    }

    fn apply(&self, pem: &[u8]) -> Result<(), CrlError> {
        let revocations = self.server.revocations();
        let lists = CheckedCrl::check_pem(pem, &self.server.bundle(), (self.now_unix_s)())?;
        let issuers = lists.iter().map(|list| list.issuer.clone()).collect();
        for list in lists {
            let applied = revocations.apply(list)?;
            tracing::info!(revoked = applied.revoked, closed = applied.closed, "a revocation list is in force");
        }
        revocations.published(&issuers);
        Ok(())
    }

    fn keep(&self, pem: &[u8]) {
        if let Err(error) = replace(&self.file, pem) {
            let file = self.file.display();
            tracing::error!(%error, %file, "the revocation lists were not kept; a restart would not know them");
        }
    }
}

/// Whether lists that are due to be replaced then should have been replaced by now; none are never in time.
fn grow_old(horizon_s: Option<i64>, now_s: i64) -> bool {
    horizon_s.is_none_or(|horizon_s| horizon_s.saturating_sub(now_s) < ALARM_BEFORE_S)
}

/// Replaces a file in one step.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}
