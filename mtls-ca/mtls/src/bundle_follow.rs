//! A party follows the authority's trust bundle: it asks for the next one, waits there until there is one, checks it against
//! what it trusts now, and puts it in force. The version it asks with is the one in force; so the question is the
//! acknowledgement, and the authority hears of it without another word.
//!
//! Versions are taken one after the other, each signed by a root of the one before. A bad one changes nothing. It leaves
//! asking, which is HTTP, to the services, and reloading TLS to whom it was given.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ca_identity::TrustDomain;

use crate::alarm::{Alarm, Say};
use crate::{BundleError, MtlsError, SignedBundle, TrustBundle};

/// The pause after a first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The least time from one question to the next, should the authority not make us wait.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// After how long without a word of the authority it is an alarm that the bundle may be old.
const ALARM_AFTER_S: i64 = 60 * 60;
/// The most bundles that are taken one after the other; each is a decision of two people.
const MOST_STEPS: usize = 1_000;

/// What the authority answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextBundle {
    /// There is none after the one that was asked with.
    Unchanged,
    /// This one, a compact JWS.
    New(String),
}

/// Puts new roots in force: reads the bundle's file again.
type Reload = Box<dyn Fn() -> Result<(), MtlsError> + Send + Sync>;

/// Keeps one bundle file as new as the authority's.
pub struct BundleFollower {
    file: PathBuf,
    trust_domain: TrustDomain,
    reload: Reload,
    now_unix_s: fn() -> i64,
    /// Zero while it is not known.
    version: AtomicU64,
    /// Zero before the first answer.
    heard_unix_s: AtomicI64,
    failures: AtomicU64,
}

impl BundleFollower {
    /// Follows for the roots in `file` (PEM; the signed bundle is kept beside it). `reload` puts the file in force and is
    /// called after it was replaced; `now_unix_s` is the binary's clock, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`MtlsError`] when the file cannot be used.
    pub fn new(
        file: PathBuf,
        trust_domain: TrustDomain,
        reload: impl Fn() -> Result<(), MtlsError> + Send + Sync + 'static,
        now_unix_s: fn() -> i64,
    ) -> Result<Self, MtlsError> {
        let roots = TrustBundle::load(&file)?;
        let kept = std::fs::read_to_string(kept_beside(&file)).ok();
        // What was kept says which version the file is of only if it is the same roots: somebody may have put others there.
        let kept = kept.and_then(|text| SignedBundle::read_kept(&text).ok());
        let version = kept.filter(|kept| kept.bundle().anchors() == roots.anchors()).map_or(0, |kept| kept.version());
        Ok(Self {
            file,
            trust_domain,
            reload: Box::new(reload),
            now_unix_s,
            version: AtomicU64::new(version),
            heard_unix_s: AtomicI64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// The version in force; zero while it is not known.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// When the authority last said what the bundle is, seconds since the Unix epoch; zero before the first time. To be
    /// alarmed on when it is long past.
    #[must_use]
    pub fn heard_unix_s(&self) -> i64 {
        self.heard_unix_s.load(Ordering::Relaxed)
    }

    /// How many questions had no answer, or one that is not believed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Asks for ever; `ask` gets the version in force, none at first if it is not known, and may wait as long as it likes. To
    /// be dropped when it shall end.
    pub async fn run<E, F>(&self, ask: impl Fn(Option<u64>) -> F)
    where
        E: std::fmt::Display,
        F: Future<Output = Result<NextBundle, E>>,
    {
        let (mut pause, mut known, mut alarm) = (FIRST_PAUSE, self.known(), Alarm::default());
        let begun_unix_s = (self.now_unix_s)();
        loop {
            let outcome = self.step(&ask, &mut known).await;
            self.tell(outcome.as_ref().err().map(String::as_str), begun_unix_s, &mut alarm);
            let wait = match outcome {
                Ok(_) => {
                    pause = FIRST_PAUSE;
                    LEAST_PAUSE
                }
                Err(_) => {
                    let longer = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    std::mem::replace(&mut pause, longer)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks until there is none after the one in force, as [`Self::run`] does; for who follows from certificate to
    /// certificate. `ask` is not to wait.
    ///
    /// # Errors
    /// Why a question had no answer, or one that is not believed; what was put in force before it stays.
    pub async fn catch_up<E, F>(&self, ask: impl Fn(Option<u64>) -> F) -> Result<(), String>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<NextBundle, E>>,
    {
        let mut known = self.known();
        for _ in 0..MOST_STEPS {
            let led_back = known.is_none();
            match self.step(&ask, &mut known).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) if led_back && known == Some(0) => {}
                Err(why) => return Err(why),
            }
        }
        Err(format!("after {MOST_STEPS} trust bundles there were still more"))
    }

    /// Says what there is to say after an answer, whether it failed or not.
    fn tell(&self, error: Option<&str>, begun_unix_s: i64, alarm: &mut Alarm) {
        let (heard_unix_s, now_unix_s) = (self.heard_unix_s().max(begun_unix_s), (self.now_unix_s)());
        match (alarm.look(may_be_old(heard_unix_s, now_unix_s), now_unix_s), error) {
            (Say::Alarm, _) => tracing::error!(
                alarm = true,
                error,
                heard_unix_s,
                "the trust bundle may be old: the authority was not heard"
            ),
            (Say::Over, _) => tracing::info!(alarm = false, "the authority says again what the trust bundle is"),
            (Say::Nothing, Some(error)) => tracing::warn!(error, "the last good trust bundle stays in force"),
            (Say::Nothing, None) => {}
        }
    }

    fn known(&self) -> Option<u64> {
        Some(self.version()).filter(|version| *version > 0)
    }

    /// One question; whether there was another bundle. `known` is what is asked with.
    async fn step<E, F>(&self, ask: &impl Fn(Option<u64>) -> F, known: &mut Option<u64>) -> Result<bool, String>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<NextBundle, E>>,
    {
        let outcome = match ask(*known).await {
            Ok(NextBundle::Unchanged) => Ok(false),
            Ok(NextBundle::New(text)) => self.put_in_force(&text, known.unwrap_or(0)).map(|()| true).map_err(|error| {
                if known.is_none() && matches!(error, BundleError::UnknownSigner) {
                    *known = Some(0); // from the first one on: it is a long way, but each step can be believed
                }
                error.to_string()
            }),
            Err(error) => Err(error.to_string()),
        };
        if outcome.is_ok() {
            self.heard_unix_s.store((self.now_unix_s)(), Ordering::Relaxed);
            *known = self.known().or(*known);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Checks a bundle against the one in force and takes its place; if the roots cannot be put in force, the old ones are.
    fn put_in_force(&self, text: &str, known_version: u64) -> Result<(), BundleError> {
        let failed = |source| BundleError::Roots(MtlsError::Read { path: self.file.clone(), source });
        let before = std::fs::read(&self.file).map_err(failed)?;
        let new = SignedBundle::check(text, &TrustBundle::from_pem(&before)?, &self.trust_domain, known_version)?;
        replace(&self.file, new.pem().as_bytes()).map_err(failed)?;
        if let Err(error) = (self.reload)() {
            replace(&self.file, &before).map_err(failed)?;
            return Err(error.into());
        }
        self.version.store(new.version(), Ordering::Relaxed);
        if let Err(error) = replace(&kept_beside(&self.file), text.as_bytes()) {
            tracing::error!(%error, "the signed trust bundle was not kept; a restart asks for it again");
        }
        tracing::info!(version = new.version(), roots = new.bundle().count(), "a trust bundle is in force");
        Ok(())
    }
}

impl std::fmt::Debug for BundleFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleFollower")
            .field("file", &self.file)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// Whether a bundle that was last heard of then may be old by now.
const fn may_be_old(heard_unix_s: i64, now_unix_s: i64) -> bool {
    now_unix_s.saturating_sub(heard_unix_s) >= ALARM_AFTER_S
}

/// Where the signed bundle is kept.
fn kept_beside(file: &Path) -> PathBuf {
    file.with_extension("jws")
}

/// Replaces a file in one step.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, bytes)?;
    std::fs::rename(&partial, path)
}
