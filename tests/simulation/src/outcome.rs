//! What a run is asked for and what it gives: a report of what it saw, or the rule that was broken.

use std::{collections::BTreeMap, fmt};

/// What to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Whether streams, messages, answers, fridges and the service fail by chance.
    pub chaos: bool,
    /// The service dies at this of its crash points, counted from 1.
    pub crash_at: Option<u64>,
    /// Customers of each fridge; one more comes at the end.
    pub visits: u32,
}

/// What a run saw; so that a test can tell that it saw anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How often each of these came to pass: outcomes, reasons, events, crashes.
    pub seen: BTreeMap<String, u64>,
    /// How many points the service could have died at.
    pub crash_points: u64,
}

impl Report {
    pub(crate) fn saw(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }
}

/// A rule was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    what: String,
    plan: Option<Plan>,
    trace: Vec<String>,
}

impl Failure {
    pub(crate) const fn new(what: String) -> Self {
        Self { what, plan: None, trace: Vec::new() }
    }

    /// The same, with what led to it.
    pub(crate) fn in_run(self, plan: Plan, trace: Vec<String>) -> Self {
        Self { plan: Some(plan), trace, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "{}", self.what)?;
        match &self.plan {
            Some(plan) => write!(f, "\nseed {}: {plan:?}", plan.seed),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
