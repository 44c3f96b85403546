//! ops-status.
