//! ops-customers.
