//! fridge-agent.

fn main() {}
