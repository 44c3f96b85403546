//! The log of a boot, made up event by event as firmware writes it, is read as it was written, and nothing else is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use attest_evidence::{Digest, EventLog, HashAlgorithm, Why};
use proptest::prelude::*;

const NO_ACTION: u32 = 3;
const SEPARATOR: u32 = 4;
/// SM3, a bank that nobody here knows.
const SM3: u16 = 0x0012;

/// The first event: which banks, with the sizes of their digests.
fn head(banks: &[(u16, u16)]) -> Vec<u8> {
    let mut told = b"Spec ID Event03\0".to_vec();
    told.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    told.extend(u32::try_from(banks.len()).unwrap().to_le_bytes());
    for (id, size) in banks {
        told.extend(id.to_le_bytes());
        told.extend(size.to_le_bytes());
    }
    told.push(0);
    let mut head = Vec::new();
    head.extend(0_u32.to_le_bytes());
    head.extend(NO_ACTION.to_le_bytes());
    head.extend([0; 20]);
    head.extend(u32::try_from(told.len()).unwrap().to_le_bytes());
    head.extend(told);
    head
}

fn event(register: u32, kind: u32, digests: &[(u16, &[u8])], told: &[u8]) -> Vec<u8> {
    let mut event = Vec::new();
    event.extend(register.to_le_bytes());
    event.extend(kind.to_le_bytes());
    event.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
    for (id, digest) in digests {
        event.extend(id.to_le_bytes());
        event.extend(*digest);
    }
    event.extend(u32::try_from(told.len()).unwrap().to_le_bytes());
    event.extend(told);
    event
}

fn why(log: &[u8]) -> Why {
    EventLog::parse(log).unwrap_err().why
}

fn usual() -> Vec<u8> {
    let banks = head(&[(0x000b, 32), (SM3, 32)]);
    let separator = event(7, SEPARATOR, &[(0x000b, &[1; 32]), (SM3, &[2; 32])], &[0; 4]);
    [banks, separator, event(0, NO_ACTION, &[(0x000b, &[0; 32])], b"StartupLocality")].concat()
}

#[test]
fn a_log_is_read() {
    let bytes = usual();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(log.events.len(), 2);
    let separator = &log.events[0];
    assert_eq!((separator.register, separator.kind, separator.told), (7, SEPARATOR, &[0; 4][..]));
    assert_eq!(separator.digests, [Digest { hash: HashAlgorithm::Sha256, bytes: &[1; 32] }]);
    assert_eq!(log.events.iter().map(attest_evidence::Event::extends).collect::<Vec<_>>(), [true, false]);
    assert!(EventLog::parse(&head(&[(0x000b, 32)])).unwrap().events.is_empty());
}

#[test]
fn a_log_that_is_cut_within_an_event_is_refused() {
    let bytes = usual();
    let whole = [
        head(&[(0x000b, 32), (SM3, 32)]).len(),
        bytes.len() - event(0, 3, &[(11, &[0; 32])], b"StartupLocality").len(),
    ];
    for cut in 0..bytes.len() {
        assert_eq!(EventLog::parse(&bytes[..cut]).is_ok(), whole.contains(&cut), "{cut}");
    }
}

#[test]
fn a_first_event_that_tells_no_form_is_refused() {
    let mut old = usual();
    old[32 + 13] = b'2';
    assert_eq!(why(&old), Why::Value, "the form before this one");
    let mut extends = usual();
    extends[8] = 1;
    assert_eq!(why(&extends), Why::Value, "a first event that extends");
    assert_eq!(why(&head(&[(0x000b, 20)])), Why::Value, "a digest of another size");
    assert_eq!(why(&head(&[(SM3, 0)])), Why::Value);
    assert_eq!(why(&head(&[(SM3, 65)])), Why::Value);
    assert_eq!(why(&head(&[(SM3, 32); 9])), Why::TooLarge { most: 8 });
}

#[test]
fn an_event_that_cannot_be_is_refused() {
    let after = |event: Vec<u8>| why(&[head(&[(0x000b, 32)]), event].concat());
    assert_eq!(after(event(32, SEPARATOR, &[], &[])), Why::Value, "no such register");
    assert_eq!(after(event(256, SEPARATOR, &[], &[])), Why::Value);
    assert_eq!(after(event(0, SEPARATOR, &[(0x000c, &[0; 48])], &[])), Why::Algorithm(0x000c), "no bank of this log");
    assert_eq!(after(event(0, SEPARATOR, &[(11, &[0; 32]), (11, &[1; 32])], &[])), Why::Value, "one bank twice");
    assert_eq!(after(event(0, SEPARATOR, &[(11, &[0; 32][..]); 9], &[])), Why::TooLarge { most: 8 });
    assert_eq!(after(event(0, SEPARATOR, &[], &[0; 40_000])), Why::TooLarge { most: 32_768 });
}

#[test]
fn logs_are_bounded() {
    let one = event(0, SEPARATOR, &[(11, &[0; 32])], &[]);
    let log = |events: usize| [head(&[(0x000b, 32)]), one.repeat(events)].concat();
    assert_eq!(EventLog::parse(&log(1_024)).unwrap().events.len(), 1_024);
    assert_eq!(why(&log(1_025)), Why::TooLarge { most: 1_024 });
    assert_eq!(why(&vec![0; 300_000]), Why::TooLarge { most: 262_144 });
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = EventLog::parse(&bytes);
        let _ = EventLog::parse(&[head(&[(0x000b, 32)]), bytes].concat());
    }

    #[test]
    fn whatever_is_altered_is_read_or_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = usual();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = EventLog::parse(&bytes);
    }
}
