//! What can go wrong between a request and its answer, sorted by the one thing that matters: whether any of it went
//! out. No error holds anything of a body, sent or received.

use std::io;

use thiserror::Error;

/// A request without an answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Certain: no byte of the request was written. Safe to send again, anywhere.
    #[error("not sent: {0}")]
    NotSent(Cause),
    /// Some of the request was written: the other side may have acted.
    #[error("answer unknown: {0}")]
    Unknown(Cause),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Cause {
    /// All connections stayed in use until the time was up.
    #[error("all connections are in use")]
    Busy,
    /// The connection was refused, or the name does not resolve.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed; an unknown issuer among others.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// The connection did not stand in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The answer did not come in time.
    #[error("the answer took too long")]
    Timeout,
    /// The connection ended, or what came over it is not HTTP/1.1.
    #[error("the connection failed: {0}")]
    Closed(#[source] hyper::Error),
    /// The answer is longer than we read.
    #[error("the answer is longer than {max_bytes} bytes")]
    TooLong {
        /// The bound.
        max_bytes: usize,
    },
    /// The request's path or headers are not HTTP: our fault.
    #[error("the request is malformed")]
    Malformed,
}
