//! How much a caller may take, and how long. The defaults fit the protocols served here: requests of some kilobytes that
//! are answered within seconds.

use std::time::Duration;

/// Bounds of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; the next one waits in the system's queue.
    pub connections: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a request's line and headers together; at least 8,192, which is the HTTP library's own least.
    pub head_bytes: usize,
    /// Headers of one request.
    pub headers: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may be without a whole request head: between requests, and while one trickles in.
    pub idle: Duration,
    /// How long one request may take, from its head to its answer.
    pub request: Duration,
    /// How long a connection may live; it also bounds an answer that is not read.
    pub age: Duration,
    /// How long requests under way may take after the server is told to end; then they are cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            body_bytes: 64 * 1024,
            head_bytes: 8 * 1024,
            headers: 32,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            request: Duration::from_secs(30),
            age: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(10),
        }
    }
}
