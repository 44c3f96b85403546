//! purchase-session.
