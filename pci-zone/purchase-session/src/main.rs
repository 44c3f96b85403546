//! purchase-session.

fn main() {}
