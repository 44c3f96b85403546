//! The connections that wait for their next request. Its bound is the client's number of slots: only who holds a slot
//! puts one back. The last used is used first, so that a quiet client keeps few alive.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;

pub(super) struct Idle {
    timeout: Duration,
    kept: Mutex<Vec<(Connection, Instant)>>,
}

impl Idle {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self { timeout, kept: Mutex::new(Vec::new()) }
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn put(&self, connection: Connection) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
    }

    /// A connection that was alive a moment ago, or none. Those that are not are closed.
    pub(super) async fn take(&self, deadline: Instant) -> Option<Connection> {
        while let Some((mut connection, since)) = self.pop() {
            let fresh = since.elapsed() < self.timeout && !connection.is_closed();
            if fresh && matches!(timeout_at(deadline, connection.ready()).await, Ok(true)) {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
