//! ops-status.

fn main() {}
