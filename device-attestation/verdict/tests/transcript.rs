//! The hash of a conversation changes with every part of it, and its bytes are those that are written down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod world;

use attest_verdict::Transcript;
use ring::digest::{SHA256, digest};

const BASE: Transcript<'static> = Transcript {
    challenge: &[9; 32],
    permanent_identifier: &[1; 32],
    attestation_key: &[0, 0x0b, 5],
    tls_key: &[0, 0x0b, 6],
    csr_sha256: &[3; 32],
    account: "account",
    order: "https://ca/order/7",
};

#[test]
fn it_is_the_hash_that_a_device_computes() {
    let mut told = b"larder device attestation 1\0".to_vec();
    let parts: [&[u8]; 7] =
        [&[9; 32], &[1; 32], &[0, 0x0b, 5], &[0, 0x0b, 6], &[3; 32], b"account", b"https://ca/order/7"];
    for part in parts {
        told.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        told.extend(part);
    }
    assert_eq!(BASE.hash()[..], *digest(&SHA256, &told).as_ref());
}

#[test]
fn every_part_counts_and_none_can_move_into_its_neighbour() {
    let others = [
        Transcript { challenge: &[8; 32], ..BASE },
        Transcript { permanent_identifier: &[2; 32], ..BASE },
        Transcript { attestation_key: &[0, 0x0b, 4], ..BASE },
        Transcript { tls_key: &[0, 0x0b, 4], ..BASE },
        Transcript { csr_sha256: &[4; 32], ..BASE },
        Transcript { account: "accounts", ..BASE },
        Transcript { order: "https://ca/order/8", ..BASE },
        Transcript { attestation_key: &[0, 0x0b], tls_key: &[5, 0, 0x0b, 6], ..BASE },
        Transcript { account: "accounth", order: "ttps://ca/order/7", ..BASE },
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(other.hash(), BASE.hash(), "{at}");
    }
}

#[test]
fn a_verdict_is_bound_to_what_was_agreed_on() {
    let bound = BASE.binding([2; 32]);
    assert_eq!((bound.permanent_identifier, bound.tls_key_sha256, bound.csr_sha256), ([1; 32], [2; 32], [3; 32]));
    assert_eq!((bound.account.as_str(), bound.order.as_str()), (BASE.account, BASE.order));
    let said = attest_verdict::Verdict { binding: bound.clone(), ..world::verdict() };
    assert_eq!(said.answers(&bound), Ok(()));
    assert!(said.answers(&world::binding()).is_err());
}
