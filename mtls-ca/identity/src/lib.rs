//! ca-identity.
