//! An attestation object is read in its one form, and nothing else is: cut, lengthened, reordered, renamed or too large.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use attest_evidence::{AttestationObject, Malformed, Why};
use proptest::prelude::*;

const CERTIFICATE: [u8; 300] = [0x30; 300];
const VERDICT: [u8; 3_000] = [0xd2; 3_000];

fn object<'a>() -> AttestationObject<'a> {
    AttestationObject {
        certificates: vec![&CERTIFICATE, &[0x31; 20]],
        signature: include_bytes!("vectors/certify.sig"),
        statement: include_bytes!("vectors/certify.attest"),
        public_area: include_bytes!("vectors/tls.pub"),
        attestation_key: include_bytes!("vectors/ak.pub"),
        verdict: &VERDICT,
    }
}

/// Replaces the first place where these bytes stand.
fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let at = bytes.windows(what.len()).position(|part| part == what).expect("it stands there");
    [&bytes[..at], by, &bytes[at + what.len()..]].concat()
}

fn why(bytes: &[u8]) -> Why {
    let Malformed { structure, why, at } = AttestationObject::parse(bytes).unwrap_err();
    assert_eq!(structure, "attestation object");
    assert!(at <= bytes.len());
    why
}

#[test]
fn it_is_read_as_it_was_written() {
    let bytes = object().to_bytes().unwrap();
    assert_eq!(AttestationObject::parse(&bytes), Ok(object()));
    assert_eq!(bytes[..19], *b"\xa2\x63fmt\x63tpm\x67attStmt\xa8\x63");
    // Its `authData` may be there, empty.
    let with = [b"\xa3", &bytes[1..], b"\x68authData\x40"].concat();
    assert_eq!(AttestationObject::parse(&with), Ok(object()));
}

#[test]
fn other_formats_versions_algorithms_and_members_are_refused_by_name() {
    let good = object().to_bytes().unwrap();
    for (what, by, expected) in [
        (&b"\x63tpm"[..], &b"\x66packed"[..], Why::Expected("tpm")),
        (b"\x63tpm", b"\x63apple", Why::Expected("tpm")),
        (b"\x63fmt", b"\x63fnt", Why::Expected("fmt")),
        (b"\x632.0", b"\x631.2", Why::Expected("2.0")),
        (b"\x26\x63sig", b"\x38\x22\x63sig", Why::Value),
        (b"\x26\x63sig", b"\x06\x63sig", Why::Value),
        (b"larder-verdict", b"larder-verdicT", Why::Expected("larder-verdict")),
        (b"larder-ak-area", b"larder-verdict", Why::Expected("larder-ak-area")),
        (b"pubArea", b"pubarea", Why::Expected("pubArea")),
        (b"\xa8\x63alg", b"\xa9\x63alg", Why::Value),
        (b"\xa2\x63fmt", b"\xa4\x63fmt", Why::Value),
        (b"\xa2\x63fmt", b"\xa3\x63fmt", Why::Short),
        (b"\x63x5c\x82", b"\x63x5c\x80", Why::Value),
        (b"\x63x5c\x82", b"\x63x5c\x85", Why::TooLarge { most: 4 }),
    ] {
        assert_eq!(why(&replaced(&good, what, by)), expected, "{}", String::from_utf8_lossy(by));
    }
    let full = [b"\xa3", &good[1..], b"\x68authData\x41\x00"].concat();
    assert_eq!(why(&full), Why::TooLarge { most: 0 });
    assert_eq!(why(&[&good[..], &[0]].concat()), Why::LeftOver);
}

#[test]
fn a_part_that_is_too_large_is_neither_written_nor_read() {
    let (large, larger, largest) = ([7; 1_025], [7; 4 * 1_024 + 1], [7; 20 * 1_024 + 1]);
    let most = |object: &AttestationObject<'_>| object.to_bytes().map_err(|malformed| malformed.why);
    let too_large = |most| Err(Why::TooLarge { most });
    assert_eq!(most(&AttestationObject { signature: &large, ..object() }), too_large(1_024));
    assert_eq!(most(&AttestationObject { statement: &large, ..object() }), too_large(1_024));
    assert_eq!(most(&AttestationObject { public_area: &large, ..object() }), too_large(1_024));
    assert_eq!(most(&AttestationObject { attestation_key: &large, ..object() }), too_large(1_024));
    assert_eq!(most(&AttestationObject { verdict: &largest, ..object() }), too_large(20 * 1_024));
    assert_eq!(most(&AttestationObject { certificates: vec![&larger], ..object() }), too_large(4 * 1_024));
    assert_eq!(most(&AttestationObject { certificates: vec![&[1]; 5], ..object() }), too_large(4));
    assert_eq!(most(&AttestationObject { certificates: vec![], ..object() }), Err(Why::Value));
    assert_eq!(why(&[0xa2; 32 * 1_024 + 1]), Why::TooLarge { most: 32 * 1_024 });
    let whole = [7; 4 * 1_024];
    let sum = AttestationObject { certificates: vec![&whole; 4], verdict: &largest[1..], ..object() };
    assert_eq!(most(&sum), too_large(32 * 1_024));
}

#[test]
fn cut_anywhere_it_ends_too_early() {
    let good = object().to_bytes().unwrap();
    for length in 0..good.len() {
        assert!(matches!(why(&good[..length]), Why::Short), "{length}");
    }
}

proptest! {
    /// Whatever is read is what would be written: there is one form.
    #[test]
    fn what_is_read_has_one_form(flips in proptest::collection::vec((0_usize..4_000, 0_u8..8), 1..4)) {
        let mut bytes = object().to_bytes().unwrap();
        for (at, bit) in flips {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        if let Ok(read) = AttestationObject::parse(&bytes) {
            prop_assert_eq!(read.to_bytes().unwrap(), bytes);
        }
    }
}
