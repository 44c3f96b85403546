//! The agent's one clock and its one source of chance; everything else gets moments and ids as arguments.
//!
//! Two kinds of time are kept apart. `elapsed` runs evenly from the start of the process and drives every deadline.
//! The wall clock is only noted in messages: a fridge whose clock is wrong by a day must still lock its door in time.

use std::time::{SystemTime, UNIX_EPOCH};

use pci_contract::{EnrollmentId, SessionId, Timestamp};
use uuid::Uuid;

use crate::words::Now;

/// Makes the moments of one agent.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: tokio::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: tokio::time::Instant::now() }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { elapsed_ms, wall: wall() }
    }

    /// The instant at which `elapsed_ms` is reached.
    #[must_use]
    pub fn instant_at(&self, elapsed_ms: u64) -> tokio::time::Instant {
        // A year ahead is "never" for a fridge, and no instant overflows on the way.
        const NEVER_MS: u64 = 366 * 24 * 3_600 * 1_000;
        self.started + std::time::Duration::from_millis(elapsed_ms.min(NEVER_MS))
    }
}

/// The wall clock, which may be wrong; the epoch when it stands before it.
#[allow(clippy::disallowed_methods, reason = "the one place where the agent reads the wall clock")]
fn wall() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The wall clock in seconds since the Unix epoch, for certificates.
#[must_use]
pub fn unix_s() -> i64 {
    wall().micros() / 1_000_000
}

/// A new session id.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place where the agent makes session ids")]
pub fn new_session_id() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

/// A new enrolment id.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place where the agent makes enrolment ids")]
pub fn new_enrollment_id() -> EnrollmentId {
    EnrollmentId::from_uuid(Uuid::now_v7())
}

/// A new id for whatever the machine may want to name next.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place where the agent makes report ids")]
pub fn new_report_id() -> Uuid {
    Uuid::now_v7()
}

/// Random bits for spreading retries; never for secrets.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place where the agent takes chance")]
pub fn chance() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}
