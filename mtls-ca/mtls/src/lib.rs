//! ca-mtls.
