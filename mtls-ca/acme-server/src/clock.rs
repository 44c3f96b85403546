//! The one place where the server reads the clock; everything else takes the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in seconds since the Unix epoch; zero on a machine whose clock stands before it.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the program's clock")]
pub fn now_unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
