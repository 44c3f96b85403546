//! Boots at random: a true log always leads to its quote, and no other log ever does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use attest_evidence::{EventLog, HashAlgorithm, PcrSelection};
use attest_verifier::{
    Appraisal, AttestationKey, CheckedQuote, ReferenceValues, Refusal, Replay, ReplayedQuote, Signed,
};
use proptest::prelude::*;
use support::*;

type Measured = (u32, u32, [u8; 32]);

fn boots() -> impl Strategy<Value = Vec<Measured>> {
    let event = (0_u32..8, 1_u32..20, any::<[u8; 32]>());
    proptest::collection::vec(event, 1..20)
}

/// A key and a checked quote of this boot.
fn quoted(events: &[Measured]) -> CheckedQuote {
    let key = Key::new();
    let quote = quote(NONCE, &ASKED, &values_after(events));
    let accepted = AttestationKey::accept(&key.area(ATTESTS, &[])).unwrap();
    let statement = Signed::check(&accepted, &quote, &key.sign(&quote), NONCE).unwrap();
    CheckedQuote::of(&statement, PcrSelection::of(HashAlgorithm::Sha256, ASKED)).unwrap()
}

fn concerns(event: &Measured) -> bool {
    event.1 != 3 && ASKED.map(u32::from).contains(&event.0)
}

#[test]
fn a_register_is_the_hash_of_what_it_was_and_what_came() {
    let told = log(&[(2, 8, [1; 32]), (2, 3, [9; 32]), (2, 8, [2; 32])]);
    let replay = Replay::of(&EventLog::parse(&told).unwrap(), HashAlgorithm::Sha256).unwrap();
    let once = sha256(&[[0; 32], [1; 32]].concat());
    assert_eq!(replay.value(2).unwrap(), sha256(&[once, [2; 32]].concat()));
    assert_eq!(replay.value(3).unwrap(), [0; 32]);
    assert_eq!(replay.value(24), None);
    let other_bank = Replay::of(&EventLog::parse(&told).unwrap(), HashAlgorithm::Sha384);
    assert_eq!(other_bank, Err(Refusal::Log), "nothing of that bank was logged");
}

#[test]
fn two_firmwares_are_good_while_one_replaces_the_other() {
    let (old, new) = ([(0, 8, [1; 32]), (7, 4, [3; 32])], [(0, 8, [2; 32]), (7, 4, [3; 32])]);
    let mut good = ReferenceValues::default();
    good.add(0, &[1; 32]);
    good.add(7, &[3; 32]);
    let appraise = |events: &[Measured], good: &ReferenceValues| {
        let told = log(events);
        Appraisal::of(&ReplayedQuote::of(quoted(events), &told).unwrap(), good)
    };
    assert_eq!(appraise(&old, &good), Appraisal::Good);
    assert!(matches!(appraise(&new, &good), Appraisal::Unknown(_)));
    good.add(0, &[2; 32]);
    assert_eq!([appraise(&old, &good), appraise(&new, &good)], [Appraisal::Good, Appraisal::Good]);
}

#[test]
fn a_policy_is_of_the_quoted_registers_as_they_were_quoted() {
    let measured = [(0, 8, [1; 32]), (4, 8, [4; 32]), (7, 4, [3; 32])];
    let policy = |measured: &[Measured]| {
        let told = log(measured);
        ReplayedQuote::of(quoted(measured), &told).unwrap().policy()
    };
    let once = |digest: [u8; 32]| sha256(&[[0; 32], digest].concat());
    let map = ASKED.iter().fold(0_u8, |map, register| map | 1 << register);
    let values: Vec<u8> = ASKED
        .iter()
        .flat_map(|register| {
            let event = measured.iter().find(|event| event.0 == u32::from(*register));
            event.map_or([0; 32], |event| once(event.2))
        })
        .collect();
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, map, 0, 0];
    let expected = sha256(&[&[0; 32][..], &[0, 0, 1, 0x7f], &selection, &sha256(&values)].concat());
    assert_eq!(policy(&measured), expected);
    let elsewhere = [measured[0], (5, 8, [5; 32]), measured[1], measured[2]];
    assert_eq!(policy(&elsewhere) == expected, !ASKED.contains(&5));
    let other = [(0, 8, [2; 32]), measured[1], measured[2]];
    assert_ne!(policy(&other), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_true_log_leads_to_its_quote(events in boots()) {
        let told = log(&events);
        prop_assert!(ReplayedQuote::of(quoted(&events), &told).is_ok());
    }

    #[test]
    fn a_boot_is_good_exactly_when_all_of_it_is_known(events in boots(), forgotten in any::<prop::sample::Index>()) {
        let mut good = ReferenceValues::default();
        let forgotten = events[forgotten.index(events.len())];
        for (register, _, digest) in events.iter().filter(|event| event.2 != forgotten.2) {
            good.add(u8::try_from(*register).unwrap(), digest);
        }
        let told = log(&events);
        let appraisal = Appraisal::of(&ReplayedQuote::of(quoted(&events), &told).unwrap(), &good);
        let all_measured = ASKED.iter().all(|asked| events.iter().any(|event| concerns(event) && event.0 == u32::from(*asked)));
        match appraisal {
            Appraisal::Good => prop_assert!(all_measured && !concerns(&forgotten)),
            Appraisal::Unknown(unknown) => {
                prop_assert!(concerns(&forgotten));
                prop_assert_eq!(&unknown[0].digest[..], &forgotten.2);
            }
            Appraisal::NothingMeasured(register) => {
                prop_assert!(!events.iter().any(|event| concerns(event) && event.0 == u32::from(register)));
            }
        }
    }

    #[test]
    fn a_log_with_an_event_more_less_or_other_leads_elsewhere(
        events in boots(),
        at in any::<prop::sample::Index>(),
        how in 0_u8..3,
        digest in any::<[u8; 32]>(),
    ) {
        let mut forged = events.clone();
        let at = at.index(events.len());
        prop_assume!(concerns(&events[at]) && events[at].2 != digest);
        match how {
            0 => drop(forged.remove(at)),
            1 => forged[at].2 = digest,
            _ => forged.insert(at, (events[at].0, events[at].1, digest)),
        }
        let told = log(&forged);
        prop_assert_eq!(ReplayedQuote::of(quoted(&events), &told), Err(Refusal::Log));
    }
}
