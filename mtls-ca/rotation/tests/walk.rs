//! Random walks: people step to and fro, parties come, renew, acknowledge late or never, and time passes; after every move
//! nobody may be shut out.
//!
//! What counts as a failure: two generations of one tier in use, something in use that the bundle does not carry, a party
//! that cannot verify a certificate that lives, a step that cannot be taken back, or a number given twice. A step that is
//! refused is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use ca_rotation::{Act, Direction, Effect, Evidence, GenerationId, Heard, Holder, Leaf, Phase, Rotation, Step, Tier};
use proptest::prelude::*;

const HOUR_S: i64 = 3600;
const SERVICES: [&str; 3] = ["purchase-session", "admin", "status"];

/// A party: what bundle it holds, and its certificates.
#[derive(Debug, Clone)]
struct Party {
    holder: Holder,
    tier: Tier,
    holds: Option<u64>,
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct World {
    now_unix_s: i64,
    state: Rotation,
    parties: Vec<Party>,
    heard: BTreeMap<String, Heard>,
    /// The roots of every bundle there ever was, by version.
    bundles: BTreeMap<u64, Vec<u32>>,
    /// The root of every generation there ever was.
    roots: BTreeMap<GenerationId, u32>,
    made: BTreeSet<GenerationId>,
}

#[derive(Debug, Clone)]
enum Move {
    Steps(Tier, Direction, usize),
    Issue(usize, i64),
    Acknowledge(usize),
    Wait(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let tier = prop::sample::select(Tier::ALL.to_vec());
    let direction = prop::sample::select(vec![Direction::Next, Direction::Next, Direction::Back]);
    let one = prop_oneof![
        5 => (tier, direction, 1..4_usize).prop_map(|(tier, direction, count)| Move::Steps(tier, direction, count)),
        3 => (0..6_usize, 1..30_i64).prop_map(|(party, hours)| Move::Issue(party, hours)),
        3 => (0..3_usize).prop_map(Move::Acknowledge),
        3 => (1..40_i64).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..160)
}

impl World {
    fn new() -> Self {
        let party = |holder, tier| Party { holder, tier, holds: None, leaves: vec![] };
        let mut parties: Vec<Party> =
            SERVICES.iter().map(|name| party(Holder::Follower((*name).to_owned()), Tier::Service)).collect();
        parties.extend([party(Holder::Carrier, Tier::Device), party(Holder::Carrier, Tier::Service)]);
        parties.push(party(Holder::Nobody, Tier::Attestation));
        let first = Tier::ALL.map(|tier| GenerationId::new(tier, 1));
        Self {
            now_unix_s: 1_800_000_000,
            state: Rotation::first(1_800_000_000),
            parties,
            heard: BTreeMap::new(),
            bundles: BTreeMap::from([(1, vec![1])]),
            roots: first.map(|id| (id, 1)).into(),
            made: first.into(),
        }
    }

    fn evidence(&self) -> Evidence {
        let leaves = self.parties.iter().flat_map(|party| party.leaves.clone());
        let leaves = leaves.filter(|leaf| leaf.not_after_unix_s + 24 * HOUR_S >= self.now_unix_s);
        Evidence { now_unix_s: self.now_unix_s, leaves: leaves.collect(), heard: self.heard.clone() }
    }

    fn make(&mut self, one: &Move) {
        match *one {
            Move::Wait(hours) => self.now_unix_s += hours * HOUR_S,
            Move::Acknowledge(at) => {
                let version = self.state.bundle().version;
                let party = &mut self.parties[at];
                party.holds = Some(version);
                self.heard.insert(SERVICES[at].to_owned(), Heard { version, at_unix_s: self.now_unix_s });
            }
            Move::Issue(at, hours) => {
                let (now_unix_s, version) = (self.now_unix_s, self.state.bundle().version);
                let party = &mut self.parties[at];
                let issuer = self.state.active(party.tier);
                let not_after_unix_s = now_unix_s + hours * HOUR_S;
                // A service that runs keeps what it follows; a new one is set up with the bundle of the moment.
                let lives = party.leaves.iter().any(|leaf| leaf.lives(now_unix_s));
                if !matches!(party.holder, Holder::Follower(_)) || !lives {
                    party.holds = Some(version);
                }
                let holder = party.holder.clone();
                party.leaves.push(Leaf { issuer, holder, issued_unix_s: now_unix_s, not_after_unix_s });
            }
            Move::Steps(tier, direction, count) => (0..count).for_each(|_| self.step(tier, direction)),
        }
    }

    fn step(&mut self, tier: Tier, direction: Direction) {
        let evidence = self.evidence();
        let Ok(planned) = self.state.plan(tier, direction, &evidence) else { return };
        self.now_unix_s += 1;
        let after = self.state.apply(&planned.act, self.now_unix_s).unwrap();
        for effect in &planned.effects {
            match effect {
                Effect::Make { generation, under } => {
                    assert!(self.made.insert(*generation), "{generation} was made twice");
                    let root = self.state.line(Tier::Root).active.number;
                    assert_eq!(*under, if tier == Tier::Root { generation.number } else { root });
                    self.roots.insert(*generation, *under);
                }
                Effect::SignBundle { version, roots, by } => {
                    assert!(self.state.bundle().roots.contains(by), "signed by a root that was not trusted before");
                    assert_eq!((*version, roots), (after.bundle().version, &after.bundle().roots));
                    assert!(self.bundles.insert(*version, roots.clone()).is_none(), "a version given twice");
                }
                Effect::SignList(_) | Effect::KeyMayBeDestroyed(_) => {}
            }
        }
        self.can_be_undone(&planned.act, &after);
        self.state = after;
    }

    /// Each step but the last can be taken back at once, and then everything is as it was, but for what only counts up.
    fn can_be_undone(&self, act: &Act, after: &Rotation) {
        if act.direction == Direction::Back || act.step == Step::Retire {
            return;
        }
        let undo = after.plan(act.tier, Direction::Back, &self.evidence()).unwrap().act;
        let before = after.apply(&undo, self.now_unix_s).unwrap();
        assert_eq!((undo.step, undo.generation), (act.step, act.generation));
        for tier in Tier::ALL {
            let (was, is) = (self.state.line(tier), before.line(tier));
            assert_eq!((was.active, was.phase), (is.active, is.phase));
        }
        assert_eq!(before.bundle().roots, self.state.bundle().roots);
    }

    fn check(&self) {
        let bundle = self.state.bundle();
        assert_eq!(self.bundles[&bundle.version], bundle.roots);
        assert!(bundle.roots.is_sorted() && !bundle.roots.is_empty());
        for tier in Tier::ALL {
            let line = self.state.line(tier);
            assert_ne!(line.other().map(|other| other.number), Some(line.active.number), "two of them are one");
            assert!(bundle.roots.contains(&line.active.root), "{tier} is in use and its root is in no bundle");
            if matches!(line.phase, Phase::Drained { .. }) {
                let old = GenerationId::new(tier, line.other().unwrap().number);
                assert_eq!(self.evidence().live_below(old), None);
            }
        }
        let alive = |party: &Party| party.leaves.iter().any(|leaf| leaf.lives(self.now_unix_s));
        let live: Vec<&Leaf> = self
            .parties
            .iter()
            .filter(|party| party.holder != Holder::Nobody)
            .flat_map(|party| &party.leaves)
            .filter(|leaf| leaf.lives(self.now_unix_s))
            .collect();
        for party in self.parties.iter().filter(|party| alive(party) && party.holder != Holder::Nobody) {
            let trusted = &self.bundles[&party.holds.unwrap()];
            for leaf in &live {
                let root = self.roots[&leaf.issuer];
                assert!(trusted.contains(&root), "{party:?} cannot verify a certificate under {}", leaf.issuer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_shut_out_whatever_people_do(moves in moves()) {
        let mut world = World::new();
        for one in &moves {
            world.make(one);
            world.check();
        }
    }
}

/// The walks are worth something only if some of them get far.
#[test]
fn with_patience_a_root_is_replaced_and_everything_goes_on() {
    let mut world = World::new();
    for party in 0..world.parties.len() {
        world.make(&Move::Issue(party, 24));
    }
    let mut turns = 0;
    while world.state.line(Tier::Root).active.number < 3 || world.state.line(Tier::Root).phase != Phase::Steady {
        turns += 1;
        assert!(turns < 200, "{:?}", world.state);
        for tier in Tier::ALL {
            world.make(&Move::Steps(tier, Direction::Next, 1));
            world.check();
        }
        for party in 0..world.parties.len() {
            world.make(&Move::Issue(party, 24));
        }
        (0..SERVICES.len()).for_each(|at| world.make(&Move::Acknowledge(at)));
        world.make(&Move::Wait(13));
        world.check();
    }
    assert_eq!(world.state.bundle().version, 5, "each root came once and went once");
}
