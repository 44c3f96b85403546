//! ops-kit.
