//! ops-inventory.
