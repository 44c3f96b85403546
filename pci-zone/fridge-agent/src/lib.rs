//! fridge-agent.
