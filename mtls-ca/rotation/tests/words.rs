//! What the gates say: to people a reason and what to do, to programs a code, to a clock the moment from which on it would go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;

use ca_rotation::{GenerationId, Refusal, Tier};

const UNTIL: i64 = 1_800_000_000;

fn refusals() -> Vec<(Refusal, &'static str, Option<i64>)> {
    let device = GenerationId::new(Tier::Device, 1);
    let root = GenerationId::new(Tier::Root, 1);
    let behind = vec![("admin".to_owned(), Some(3)), ("status".to_owned(), None)];
    vec![
        (Refusal::NothingToUndo(Tier::Root), "what was retired does not come back", None),
        (Refusal::NoMoreNumbers(Tier::Device), "no more numbers", None),
        (
            Refusal::NotAcknowledged { version: 4, behind },
            "admin (has 3), status (never heard) have not acknowledged bundle 4; see that each runs",
            None,
        ),
        (
            Refusal::OlderCarriers { version: 4, count: 1, until_unix_s: UNTIL },
            "1 certificate of fridges or operators older than bundle 4 live until 2027-01-15T08:00:00Z; wait until then",
            Some(UNTIL + 1),
        ),
        (
            Refusal::LiveLeaves { generation: device, count: 3, until_unix_s: UNTIL },
            "3 certificates under device-1 live until 2027-01-15T08:00:00Z; wait until then",
            Some(UNTIL + 1),
        ),
        (
            Refusal::ListNeeded { generation: device, until_unix_s: UNTIL },
            "the revocation list of device-1 is needed until 2027-01-15T08:00:00Z; wait until then",
            Some(UNTIL + 1),
        ),
        (
            Refusal::StandsUnder { generations: vec![device], root, way: "next" },
            "device-1 stands under root-1; rotate it first (`larder-ca rotate device next`)",
            None,
        ),
        (
            Refusal::UnderTainted { generation: device, root },
            "device-1 stands under root-1, which is tainted; take that back first (`larder-ca rotate root back`)",
            None,
        ),
    ]
}

#[test]
fn each_says_why_and_what_to_do() {
    for (refusal, words, possible_from_unix_s) in refusals() {
        assert!(refusal.to_string().contains(words), "{refusal}");
        assert_eq!(refusal.possible_from_unix_s(), possible_from_unix_s, "{refusal}");
    }
}

#[test]
fn each_has_a_code_of_its_own() {
    let codes: HashSet<&str> = refusals().iter().map(|(refusal, ..)| refusal.code()).collect();
    assert_eq!(codes.len(), refusals().len());
    assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
}

#[test]
fn a_moment_at_the_end_of_time_is_none_of_a_panic() {
    let ever = Refusal::ListNeeded { generation: GenerationId::new(Tier::Root, 1), until_unix_s: i64::MAX };
    assert_eq!(ever.possible_from_unix_s(), Some(i64::MAX));
    assert!(ever.to_string().contains("until 9223372036854775807 s since the Unix epoch"), "{ever}");
}
