//! Whether what was measured is known to be good.

use std::collections::{BTreeMap, BTreeSet};

use crate::ReplayedQuote;

/// Digests that are good, by register: those of the firmware that is out, and during a rollout those of the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceValues(BTreeMap<u8, BTreeSet<Vec<u8>>>);

impl ReferenceValues {
    /// Adds a good digest of a register.
    pub fn add(&mut self, register: u8, digest: &[u8]) {
        self.0.entry(register).or_default().insert(digest.to_vec());
    }

    fn knows(&self, register: u8, digest: &[u8]) -> bool {
        self.0.get(&register).is_some_and(|digests| digests.contains(digest))
    }
}

/// Something that was measured and is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEvent {
    /// Its place in the log, from 0.
    pub at: usize,
    /// Its register.
    pub register: u8,
    /// Its digest.
    pub digest: Vec<u8>,
}

/// What comes of holding a boot against the reference values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appraisal {
    /// All of it is known to be good.
    Good,
    /// Some of it is not known: the firmware was changed, or is of a version that was never released.
    Unknown(Vec<UnknownEvent>),
    /// Nothing was measured into a register that was quoted, so nothing is known of what runs.
    NothingMeasured(u8),
}

impl Appraisal {
    /// Appraises a boot: each event of a quoted register must be a reference value, and each quoted register must have one.
    #[must_use]
    pub fn of(replayed: &ReplayedQuote<'_>, good: &ReferenceValues) -> Self {
        let (selection, mut unmeasured) = (replayed.quote.selection, BTreeSet::new());
        unmeasured.extend(selection.registers());
        let mut unknown = Vec::new();
        let events = replayed.log.events.iter().enumerate();
        for (at, event) in events.filter(|(_, event)| event.extends() && selection.contains(event.register)) {
            unmeasured.remove(&event.register);
            let digests = event.digests.iter().filter(|digest| digest.hash == selection.hash);
            for digest in digests.filter(|digest| !good.knows(event.register, digest.bytes)) {
                unknown.push(UnknownEvent { at, register: event.register, digest: digest.bytes.to_vec() });
            }
        }
        match unmeasured.first() {
            _ if !unknown.is_empty() => Self::Unknown(unknown),
            Some(register) => Self::NothingMeasured(*register),
            None => Self::Good,
        }
    }
}
