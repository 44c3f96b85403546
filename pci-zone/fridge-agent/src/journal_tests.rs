//! Tests of the journal: what a power cut leaves at any byte, what is damage, what waits for a full disk.

use std::sync::atomic::{AtomicBool, Ordering};

use pci_contract::{ScannedCode, TamperKind, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::core::{Body, IdToken, ShownBy, TouchKind};
use crate::disk::Folder;

const SESSION: &str = "4ed615ae-e6a0-47bb-82f2-6b7777de3d19";

fn session() -> SessionId {
    SessionId::parse(SESSION).expect("a UUID")
}

fn records() -> Vec<Record> {
    let code = ScannedCode::read("(01)09500000000198(21)00000335");
    let bodies = [
        Body::Open(ShownBy::IdToken(IdToken::parse("idt-64746e73").expect("a token"))),
        Body::DoorOpened,
        Body::Touched { kind: TouchKind::Taken, code: code.clone() },
        Body::Touched { kind: TouchKind::Returned, code: ScannedCode::Unreadable },
        Body::DoorClosed,
    ];
    let numbered = bodies.into_iter().zip(1..);
    numbered
        .map(|(body, sequence)| Record {
            session: session(),
            sequence,
            device_time: Timestamp::from_micros(1_000 + i64::try_from(sequence).expect("small")),
            body,
        })
        .collect()
}

fn frames(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(|record| frame(&wire::message(record).encode_to_vec())).collect()
}

fn folder() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(Folder::open(folder.path()).expect("opens"));
    (folder, disk)
}

fn name() -> String {
    format!("session-{SESSION}")
}

#[test]
fn the_checksum_is_the_one_everyone_means() {
    assert_eq!(crc32(&[b"123456789"]), 0xCBF4_3926);
    assert_eq!(crc32(&[b"1234", b"56789"]), 0xCBF4_3926);
}

#[test]
fn what_was_appended_is_recovered_in_order() {
    let (_folder, disk) = folder();
    let mut journal = SessionJournal::create(Arc::clone(&disk), session());
    for record in records() {
        journal.append(&record).expect("writes");
    }
    let (_, found) = recover(&disk).expect("reads").session.expect("a session");
    assert_eq!(found, records());
}

#[test]
fn a_power_cut_at_any_byte_leaves_whole_records_and_the_journal_goes_on() {
    let file = frames(&records());
    for cut in 0..=file.len() {
        let (_folder, disk) = folder();
        disk.append(&name(), 0, &file[..cut]).expect("writes");
        let recovered = recover(&disk).expect("reads");
        assert_eq!(recovered.corrupt, 0, "cut at {cut}");
        let Some((mut journal, found)) = recovered.session else {
            assert!(cut < frames(&records()[..1]).len(), "cut at {cut}");
            assert_eq!(disk.names().expect("lists"), Vec::<String>::new());
            continue;
        };
        assert_eq!(found, records()[..found.len()], "cut at {cut}");
        let next = Record { sequence: found.len() as u64 + 1, ..records()[4].clone() };
        journal.append(&next).expect("writes");
        let (_, again) = recover(&disk).expect("reads").session.expect("a session");
        assert_eq!(again, [found, vec![next]].concat(), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_before_the_last_frame_is_damage_and_is_put_aside() {
    let file = frames(&records());
    let last = file.len() - frames(&records()[4..]).len();
    for at in 0..last {
        let (_folder, disk) = folder();
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        disk.append(&name(), 0, &bad).expect("writes");
        let recovered = recover(&disk).expect("reads");
        assert!(recovered.session.is_none(), "flipped at {at}");
        assert_eq!(recovered.corrupt, 1, "flipped at {at}");
        assert_eq!(disk.names().expect("lists"), [format!("{}.corrupt", name())]);
        assert_eq!(recover(&disk).expect("reads").corrupt, 0, "what was put aside stays aside");
    }
}

#[test]
fn a_flipped_bit_in_the_last_frame_is_a_torn_tail() {
    let file = frames(&records());
    for at in file.len() - frames(&records()[4..]).len()..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        let (found, good) = payloads(&bad).expect("a torn tail");
        assert_eq!((found.len(), good), (4, frames(&records()[..4]).len() as u64), "flipped at {at}");
    }
}

#[test]
fn records_out_of_order_or_of_two_sessions_are_corrupt() {
    let mut swapped = records();
    swapped.swap(1, 2);
    let mut late = records();
    late.remove(0);
    let mut mixed = records();
    mixed[2].session = SessionId::parse("00000000-0000-4000-8000-000000000000").expect("a UUID");
    for bad in [swapped, late, mixed] {
        let (_folder, disk) = folder();
        disk.append(&name(), 0, &frames(&bad)).expect("writes");
        assert_eq!(recover(&disk).expect("reads").corrupt, 1);
    }
    let (_folder, disk) = folder();
    disk.append(&name(), 0, &frame(b"no message")).expect("writes");
    assert_eq!(recover(&disk).expect("reads").corrupt, 1);
}

#[test]
fn a_second_session_is_put_aside() {
    let (_folder, disk) = folder();
    disk.append("session-a", 0, &frames(&records())).expect("writes");
    disk.append("session-b", 0, &frames(&records())).expect("writes");
    let recovered = recover(&disk).expect("reads");
    assert!(recovered.session.is_some());
    assert_eq!(recovered.corrupt, 1);
}

#[test]
fn a_removed_journal_is_gone() {
    let (_folder, disk) = folder();
    let mut journal = SessionJournal::create(Arc::clone(&disk), session());
    journal.append(&records()[0]).expect("writes");
    journal.remove().expect("removes");
    assert!(recover(&disk).expect("reads").session.is_none());
}

#[test]
fn tamper_reports_are_kept_until_they_are_forgotten() {
    let (_folder, disk) = folder();
    let note = TamperNote {
        report: Uuid::from_u128(7),
        kind: TamperKind::DoorForced,
        code: None,
        device_time: Timestamp::from_micros(5),
    };
    keep_report(disk.as_ref(), &note).expect("writes");
    disk.append("tamper-torn", 0, &frame(b"x")[..5]).expect("writes");
    disk.append("tamper-odd", 0, &frame(b"\xff")).expect("writes");
    disk.append("a note of the technician", 0, b"hello").expect("writes");
    let recovered = recover(&disk).expect("reads");
    assert_eq!(recovered.reports, [wire::tamper_report(&note)]);
    assert_eq!(recovered.corrupt, 1);
    forget_report(disk.as_ref(), &recovered.reports[0]).expect("removes");
    assert!(recover(&disk).expect("reads").reports.is_empty());
}

/// A disk that is full while `full` is set, having written half of what it was given.
struct Filling {
    folder: Folder,
    full: AtomicBool,
}

impl Disk for Filling {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.folder.read(name)
    }
    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            self.folder.append(name, at, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.folder.append(name, at, bytes)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
    fn put_aside(&self, name: &str, as_name: &str) -> io::Result<()> {
        self.folder.put_aside(name, as_name)
    }
}

#[test]
fn what_a_full_disk_refused_goes_out_in_order_with_the_next_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let filling =
        Arc::new(Filling { folder: Folder::open(folder.path()).expect("opens"), full: AtomicBool::new(false) });
    let disk: Arc<dyn Disk> = Arc::clone(&filling) as Arc<dyn Disk>;
    let mut journal = SessionJournal::create(Arc::clone(&disk), session());
    journal.append(&records()[0]).expect("writes");
    filling.full.store(true, Ordering::SeqCst);
    for record in &records()[1..3] {
        assert_eq!(journal.append(record).map_err(|why| why.kind()), Err(io::ErrorKind::StorageFull));
    }
    assert!(journal.is_behind());
    assert_eq!(recover(&disk).expect("reads").session.expect("a session").1, records()[..2]);
    filling.full.store(false, Ordering::SeqCst);
    journal.append(&records()[3]).expect("writes");
    assert!(!journal.is_behind());
    assert_eq!(recover(&disk).expect("reads").session.expect("a session").1, records()[..4]);
}

#[test]
fn memory_for_a_full_disk_is_bounded() {
    let (_folder, disk) = folder();
    let mut journal = SessionJournal::create(disk, session());
    journal.waiting = vec![0; MAX_WAITING_BYTES - 10];
    assert_eq!(journal.append(&records()[0]).map_err(|why| why.kind()), Err(io::ErrorKind::StorageFull));
    assert_eq!(journal.waiting.len(), MAX_WAITING_BYTES - 10);
}

proptest! {
    #[test]
    fn no_file_whatever_it_holds_stops_the_recovery(file in prop::collection::vec(any::<u8>(), 0..400)) {
        let (_folder, disk) = folder();
        disk.append(&name(), 0, &file).expect("writes");
        disk.append("tamper-x", 0, &file).expect("writes");
        prop_assert!(recover(&disk).expect("reads").session.is_none());
    }

    #[test]
    fn any_payload_survives_its_frame(payload in prop::collection::vec(any::<u8>(), 0..MAX_PAYLOAD_BYTES)) {
        let file = frame(&payload);
        prop_assert_eq!(payloads(&file), Ok((vec![payload.as_slice()], file.len() as u64)));
    }
}
