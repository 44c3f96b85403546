//! single-node.

fn main() {}
