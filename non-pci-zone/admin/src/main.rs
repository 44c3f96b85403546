//! ops-admin.

fn main() {}
