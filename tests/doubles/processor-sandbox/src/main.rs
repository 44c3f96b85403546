//! processor-sandbox.

fn main() {}
