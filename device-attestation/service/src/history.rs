//! Whether a device is the one that it was last time, or one of two with the same TPM. Pure: what is known and what is
//! shown go in, what is to be known and the reasons come out.
//!
//! A TPM's state can be copied where a TPM is software or its maker made a mistake; both copies then have the same keys. Two
//! things cannot be kept the same in both: the clock, which each drives on alone, and the chain of keys for TLS, in which
//! every key is followed by exactly one. Whichever of the two comes second is found out, and since nobody can tell which is
//! the right one, the device is in quarantine until a person has looked.
//!
//! A key that is bound to the firmware dies with it. Then the device still names it, and cannot sign with it any more: that
//! is believed only when the registers are others than last time, and the chain of names goes on.
//!
//! The counters are true only under an attestation key in the endorsement hierarchy; of others a TPM veils them (TPM 2.0
//! Library, Part 1, section 36.7), and such a device would be taken for a copy.

use attest_evidence::Clock;

/// What is known of a device since it was last attested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) clock: Clock,
    /// The last key for TLS.
    pub(crate) last: TlsKey,
    /// The key that the last one followed, when it named one.
    pub(crate) before: Option<TlsKey>,
    /// The digest of what the quoted registers held; none of one that was attested before this was kept.
    pub(crate) registers: Option<Vec<u8>>,
    pub(crate) state: State,
}

/// A key for TLS: its name, and its point, uncompressed, on P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsKey {
    pub(crate) name: Vec<u8>,
    pub(crate) point: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Trusted,
    /// For good, with the reason.
    Quarantined(String),
    /// A person has looked: what it shows next is believed once.
    Released,
}

/// What a device shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) clock: Clock,
    pub(crate) key: TlsKey,
    /// The name of the previous key. When it is one that is known its signature was checked, or it [`Known::may_have_died`].
    pub(crate) previous: Option<Vec<u8>>,
    /// The digest of what the quoted registers hold.
    pub(crate) registers: Vec<u8>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What is to be known from now on.
    pub(crate) known: Known,
    /// Why the device is in quarantine, if it is.
    pub(crate) reason: Option<String>,
    /// Whether somebody must be told now.
    pub(crate) alarm: bool,
}

impl Known {
    /// The known key of this name.
    pub(crate) fn key(&self, name: &[u8]) -> Option<&TlsKey> {
        [Some(&self.last), self.before.as_ref()].into_iter().flatten().find(|key| key.name == name)
    }

    /// Whether its key for TLS may sign no more, since what was booted is something else.
    pub(crate) fn may_have_died(&self, registers: &[u8]) -> bool {
        self.registers.as_ref().is_some_and(|before| before != registers)
    }
}

/// Holds what a device shows against what is known of it.
pub(crate) fn judge(known: Option<&Known>, shown: &Shown) -> Outcome {
    let believed = |reason: Option<&str>| Outcome {
        known: Known {
            clock: shown.clock,
            last: shown.key.clone(),
            before: known.and_then(|known| shown.previous.as_ref().and_then(|name| known.key(name)).cloned()),
            registers: Some(shown.registers.clone()),
            state: State::Trusted,
        },
        reason: reason.map(str::to_owned),
        alarm: reason.is_some(),
    };
    let Some(known) = known else {
        // Nothing of it is known here, although it says that there was something: believed from its next time on.
        return believed(
            shown.previous.as_ref().map(|_| "it names a previous key, and none of its keys is known here"),
        );
    };
    match &known.state {
        State::Released => return believed(None),
        State::Quarantined(reason) => {
            return Outcome { known: known.clone(), reason: Some(reason.clone()), alarm: false };
        }
        State::Trusted => {}
    }
    if let Some(reason) = went_back(known.clock, shown.clock).or_else(|| spent_twice(known, shown)) {
        let state = State::Quarantined(reason.clone());
        return Outcome { known: Known { state, ..known.clone() }, reason: Some(reason), alarm: true };
    }
    match &shown.previous {
        // The very same once more: the answer to the first time was lost. That its TPM holds the key was certified.
        _ if shown.key == known.last => {
            let registers = Some(shown.registers.clone());
            Outcome { known: Known { clock: shown.clock, registers, ..known.clone() }, reason: None, alarm: false }
        }
        // Nothing is kept of it: it stays as it was until it shows the key, or a person has looked.
        None => Outcome {
            known: known.clone(),
            reason: Some("it had a key for TLS before and does not show that it still has it".to_owned()),
            alarm: true,
        },
        Some(_) => believed(None),
    }
}

fn went_back(before: Clock, now: Clock) -> Option<String> {
    let place = |clock: Clock| (clock.resets, clock.restarts, clock.millis);
    let same_reset = now.resets == before.resets;
    let back =
        now.resets < before.resets || same_reset && (now.millis < before.millis || now.restarts < before.restarts);
    let ((resets, restarts, millis), (resets_before, restarts_before, millis_before)) = (place(now), place(before));
    back.then(|| {
        format!(
            "its TPM went back in time: {resets} resets, {restarts} restarts, {millis} ms, after {resets_before}, \
             {restarts_before}, {millis_before} ms before: there is a copy of it, or it was cleared"
        )
    })
}

/// A key is followed by one key. One that was followed already, or that is not known, was shown to us by a copy. But a key
/// that died before the device had a certificate for it is followed by none: the one before it is, once more.
fn spent_twice(known: &Known, shown: &Shown) -> Option<String> {
    let previous = shown.previous.as_ref()?;
    let follows = *previous == known.last.name && shown.key.name != known.last.name;
    let is_before = known.before.as_ref().is_some_and(|before| before.name == *previous);
    let again = is_before && (shown.key == known.last || known.may_have_died(&shown.registers));
    (!follows && !again)
        .then(|| "its previous key for TLS was followed by another key already: there is a copy of its TPM".to_owned())
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
