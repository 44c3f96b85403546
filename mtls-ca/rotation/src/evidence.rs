//! What the gates are shown: which certificates live, and what each follower has acknowledged. It is collected from the
//! issuance log and from the questions of the followers; nothing here is believed on a person's word.

use std::collections::BTreeMap;

use crate::GenerationId;

/// How long the list of an intermediate is needed after the last certificate below it has ended, in seconds: each list
/// names a certificate once more after its end (RFC 5280, section 3.3).
pub(crate) const LIST_STAYS_S: i64 = 24 * 60 * 60;

/// Who holds a certificate, as far as trust bundles go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A service or gateway of this name: it follows the bundle and acknowledges each.
    Follower(String),
    /// A fridge or a person: takes the bundle along with each certificate.
    Carrier,
    /// Nobody who verifies others: an attestation key, or the authority itself.
    Nobody,
}

/// A certificate below one of the authority's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Which generation signed it.
    pub issuer: GenerationId,
    /// Who holds it.
    pub holder: Holder,
    /// When it was made, seconds since the Unix epoch.
    pub issued_unix_s: i64,
    /// Its last second, since the Unix epoch.
    pub not_after_unix_s: i64,
}

impl Leaf {
    /// Whether it is still good.
    #[must_use]
    pub const fn lives(&self, now_unix_s: i64) -> bool {
        self.not_after_unix_s >= now_unix_s
    }
}

/// What a follower said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The version of the bundle that it has in force.
    pub version: u64,
    /// When it said so, seconds since the Unix epoch.
    pub at_unix_s: i64,
}

/// What is known at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The moment, seconds since the Unix epoch.
    pub now_unix_s: i64,
    /// Every leaf that ended less than a day ago, or not yet.
    pub leaves: Vec<Leaf>,
    /// What each follower acknowledged last, by its name.
    pub heard: BTreeMap<String, Heard>,
}

impl Evidence {
    /// How many leaves live below a generation, and the last second of the last of them.
    #[must_use]
    pub fn live_below(&self, issuer: GenerationId) -> Option<(usize, i64)> {
        let below = self.leaves.iter().filter(|leaf| leaf.issuer == issuer && leaf.lives(self.now_unix_s));
        let ends: Vec<i64> = below.map(|leaf| leaf.not_after_unix_s).collect();
        ends.iter().max().map(|last| (ends.len(), *last))
    }

    /// Until when a generation's list is needed, seconds since the Unix epoch; none when it is not any more.
    pub(crate) fn list_needed_until(&self, issuer: GenerationId) -> Option<i64> {
        let below = self.leaves.iter().filter(|leaf| leaf.issuer == issuer);
        let last = below.map(|leaf| leaf.not_after_unix_s).max()?.saturating_add(LIST_STAYS_S);
        (last >= self.now_unix_s).then_some(last)
    }

    /// The followers that have not acknowledged this version, each with what it said last.
    #[must_use]
    pub fn behind(&self, version: u64) -> Vec<(String, Option<u64>)> {
        let mut behind = BTreeMap::new();
        for leaf in self.leaves.iter().filter(|leaf| leaf.lives(self.now_unix_s)) {
            if let Holder::Follower(name) = &leaf.holder {
                let said = self.heard.get(name).map(|heard| heard.version);
                if said.is_none_or(|said| said < version) {
                    behind.insert(name.clone(), said);
                }
            }
        }
        behind.into_iter().collect()
    }

    /// How many living certificates of carriers were made before a bundle was published, and the last second of the last of
    /// them. One made in the same second may have been made before.
    #[must_use]
    pub fn carried_before(&self, published_unix_s: i64) -> Option<(usize, i64)> {
        let old = self.leaves.iter().filter(|leaf| {
            leaf.holder == Holder::Carrier && leaf.lives(self.now_unix_s) && leaf.issued_unix_s <= published_unix_s
        });
        let ends: Vec<i64> = old.map(|leaf| leaf.not_after_unix_s).collect();
        ends.iter().max().map(|last| (ends.len(), *last))
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, Heard, Holder, LIST_STAYS_S, Leaf};
    use crate::{GenerationId, Tier};

    const ONE: GenerationId = GenerationId::new(Tier::Device, 1);

    fn leaf(holder: Holder, issued_unix_s: i64, not_after_unix_s: i64) -> Leaf {
        Leaf { issuer: ONE, holder, issued_unix_s, not_after_unix_s }
    }

    fn at(now_unix_s: i64, leaves: Vec<Leaf>) -> Evidence {
        Evidence { now_unix_s, leaves, heard: [("b".to_owned(), Heard { version: 2, at_unix_s: 0 })].into() }
    }

    #[test]
    fn a_leaf_lives_through_its_last_second_and_its_list_a_day_longer() {
        let leaves = vec![leaf(Holder::Carrier, 0, 100), leaf(Holder::Nobody, 0, 90)];
        assert_eq!(at(90, leaves.clone()).live_below(ONE), Some((2, 100)));
        assert_eq!(at(100, leaves.clone()).live_below(ONE), Some((1, 100)));
        assert_eq!(at(101, leaves.clone()).live_below(ONE), None);
        assert_eq!(at(100 + LIST_STAYS_S, leaves.clone()).list_needed_until(ONE), Some(100 + LIST_STAYS_S));
        assert_eq!(at(101 + LIST_STAYS_S, leaves.clone()).list_needed_until(ONE), None);
        assert_eq!(at(90, leaves).live_below(GenerationId::new(Tier::Device, 2)), None);
    }

    #[test]
    fn a_follower_is_behind_until_it_says_otherwise_or_is_no_more() {
        let leaves: Vec<Leaf> =
            ["a", "b", "c"].map(|name| leaf(Holder::Follower(name.into()), 0, 100)).into_iter().collect();
        assert_eq!(at(5, leaves.clone()).behind(2), [("a".into(), None), ("c".into(), None)]);
        assert_eq!(at(5, leaves.clone()).behind(3).len(), 3);
        assert_eq!(at(101, leaves).behind(3), []);
    }

    #[test]
    fn a_carrier_counts_by_when_it_was_given_the_bundle() {
        let leaves = vec![leaf(Holder::Carrier, 10, 100), leaf(Holder::Carrier, 11, 120), leaf(Holder::Nobody, 0, 130)];
        assert_eq!(at(20, leaves.clone()).carried_before(9), None);
        assert_eq!(at(20, leaves.clone()).carried_before(10), Some((1, 100)), "the same second is too early");
        assert_eq!(at(20, leaves.clone()).carried_before(11), Some((2, 120)));
        assert_eq!(at(101, leaves).carried_before(10), None);
    }
}
