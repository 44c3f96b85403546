//! authority.
