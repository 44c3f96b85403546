//! The sandbox's one clock and one source of chance.

use ring::rand::{SecureRandom, SystemRandom};

/// Seconds since the Unix epoch.
pub(crate) fn now_unix_s() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Sixteen bytes nobody can guess; `None` when the system has no chance to give.
pub(crate) fn chance() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}
