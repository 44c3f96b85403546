//! ops-inventory.

fn main() {}
