//! ops-customers.

fn main() {}
