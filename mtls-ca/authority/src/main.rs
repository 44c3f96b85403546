//! authority.

fn main() {}
