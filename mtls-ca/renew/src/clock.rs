//! The one place where this program reads the time and takes chance.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};

/// The present time, in seconds since the Unix epoch.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the binary's clock")]
pub fn now_unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Random bits, for spreading; zero when the system gives none.
#[must_use]
pub fn chance() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes))
}
