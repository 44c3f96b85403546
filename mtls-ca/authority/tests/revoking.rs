//! Taking certificates back: what the lists say, to our own gateways and to OpenSSL; and what a crash, a second process or a
//! stranger's file can do to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use authority::{Authority, AuthorityError, Corrupt, Kind, Reason, Refusal, Which, read_log, revoked_serials};
use ca_mtls::{CheckedCrl, CrlError, TrustBundle};
use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use test_token::{TestToken, in_own_process};
use world::{ADA, FRIDGE, QUARANTINED, SESSION, config, dir, file, id, issue, log_lines};

const NOW: i64 = 1_800_000_000;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// How many certificates each list of the authority revokes, the devices' first, as a gateway reads them.
fn revoked(authority: &Authority, now_s: i64) -> Vec<usize> {
    let bundle = TrustBundle::from_pem(authority.trust_bundle_pem().as_bytes()).unwrap();
    let check = |list: &authority::SignedList| {
        CheckedCrl::check(&list.list, &CertificateDer::from(list.issuer.clone()), &bundle, now_s)
    };
    authority.lists().unwrap().iter().map(|list| check(list).unwrap().revoked()).collect()
}

fn serial(authority: &Authority, name: &str) -> Which {
    Which::Serial(issue(authority, name, NOW).0.serial)
}

#[test]
fn one_certificate_or_all_of_a_party_are_taken_back() {
    in_own_process("which", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        assert_eq!(revoked(&authority, NOW), [] as [usize; 0], "no list was ever signed");
        authority.refresh_lists(NOW).unwrap();
        assert_eq!(revoked(&authority, NOW), [0, 0]);
        let (first, second) = (issue(&authority, FRIDGE, NOW).0, issue(&authority, FRIDGE, NOW + 1).0);
        let which = Which::Serial(first.serial.clone());
        let found = authority.find(&which, NOW).unwrap();
        assert_eq!(
            (found.len(), found[0].serial.as_str(), found[0].party.as_str()),
            (1, first.serial.as_str(), FRIDGE)
        );
        assert_eq!(revoked(&authority, NOW), [0, 0], "to look is not to do");
        assert_eq!(authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap(), found);
        assert_eq!(revoked(&authority, NOW), [1, 0]);
        authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap();
        assert_eq!(revoked(&authority, NOW), [1, 0], "once more is once");
        let all = authority.revoke(&Which::Party(id(FRIDGE)), Reason::KeyCompromise, NOW).unwrap();
        let serials: Vec<&str> = all.iter().map(|taken| taken.serial.as_str()).collect();
        assert_eq!(serials, [first.serial.as_str(), second.serial.as_str()]);
        assert_eq!(revoked(&authority, NOW), [2, 0]);
        let (quarantined, _) = issue(&authority, QUARANTINED, NOW);
        let all = authority.revoke(&Which::Party(id(FRIDGE)), Reason::KeyCompromise, NOW).unwrap();
        assert_eq!(all.last().unwrap().serial, quarantined.serial, "a fridge in quarantine is the same fridge");
        assert_eq!(revoked(&authority, NOW), [3, 0]);
        issue(&authority, ADA, NOW);
        issue(&authority, SESSION, NOW);
        authority.revoke(&Which::Party(id(ADA)), Reason::CessationOfOperation, NOW).unwrap();
        assert_eq!(revoked(&authority, NOW), [3, 1], "each issuer has a list of its own");
    });
}

#[test]
fn what_does_not_live_cannot_be_taken_back() {
    in_own_process("nothing", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let which = serial(&authority, FRIDGE);
        let nothing = |which: &Which, at| {
            let refused = authority.revoke(which, Reason::Unspecified, at).unwrap_err();
            assert!(matches!(refused, AuthorityError::Refused(Refusal::NothingToRevoke(_))), "{refused}");
        };
        nothing(&Which::Serial("00".repeat(16)), NOW);
        nothing(&Which::Party(id(ADA)), NOW);
        nothing(&which, NOW + DAY_S + 1);
        let root = read_kinds(&dir(token)).remove(0);
        assert_eq!(root.0, Kind::Root);
        nothing(&Which::Serial(root.1), NOW);
        authority.revoke(&which, Reason::Unspecified, NOW + DAY_S).unwrap();
    });
}

fn read_kinds(dir: &Path) -> Vec<(Kind, String)> {
    let mut kinds = Vec::new();
    read_log(dir, |entry| kinds.push((entry.kind, entry.serial.clone()))).unwrap();
    kinds
}

#[test]
fn every_list_is_logged_and_the_token_signs_nothing_else() {
    in_own_process("count", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        for name in [FRIDGE, SESSION] {
            let which = serial(&authority, name);
            authority.revoke(&which, Reason::Superseded, NOW).unwrap();
        }
        authority.refresh_lists(NOW + HOUR_S).unwrap();
        let kinds: Vec<Kind> = read_kinds(&dir(token)).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds[5..],
            [Kind::Device, Kind::DeviceList, Kind::Service, Kind::ServiceList, Kind::DeviceList, Kind::ServiceList]
        );
        assert_eq!(authority.signatures(), 11);
    });
}

#[test]
fn a_list_names_a_certificate_until_a_day_after_its_end() {
    in_own_process("stays", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let which = serial(&authority, FRIDGE);
        authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap();
        for (later, named) in [(DAY_S, 1), (2 * DAY_S, 1), (2 * DAY_S + 1, 0)] {
            authority.refresh_lists(NOW + later).unwrap();
            assert_eq!(revoked(&authority, NOW + later)[0], named, "{later}");
        }
    });
}

#[test]
fn a_crash_between_the_log_and_the_file_loses_no_list() {
    in_own_process("crash", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let which = serial(&authority, FRIDGE);
        authority.refresh_lists(NOW).unwrap();
        let list = dir(token).join("device.crl");
        let (before, aside) = (fs::read(&list).unwrap(), list.with_extension("next"));
        authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap();
        // As it is when the process dies after the log was told.
        fs::rename(&list, &aside).unwrap();
        fs::write(&list, &before).unwrap();
        drop(authority);
        let authority = Authority::open(&config(token)).unwrap();
        assert_eq!(revoked(&authority, NOW), [1, 0]);
        assert!(!aside.exists(), "it was put in place");
        // As it is when the process dies before the log was told: nobody was promised anything.
        fs::write(&aside, &before).unwrap();
        assert_eq!(revoked(&authority, NOW), [1, 0]);
        authority.refresh_lists(NOW + 1).unwrap();
        assert_eq!(revoked(&authority, NOW), [1, 0]);
    });
}

#[test]
fn an_older_a_strange_or_a_missing_list_stops_the_authority() {
    in_own_process("strange", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let which = serial(&authority, FRIDGE);
        authority.refresh_lists(NOW).unwrap();
        let list = dir(token).join("device.crl");
        let before = fs::read(&list).unwrap();
        authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap();
        let right = fs::read(&list).unwrap();
        let mut changed = right.clone();
        *changed.last_mut().unwrap() ^= 1;
        for wrong in [before.as_slice(), changed.as_slice(), b"", b"rubbish"] {
            fs::write(&list, wrong).unwrap();
            for failed in [
                authority.lists().map(|_| ()),
                authority.refresh_lists(NOW),
                authority.revoke(&which, Reason::KeyCompromise, NOW).map(|_| ()),
            ] {
                let failed = failed.unwrap_err();
                assert!(matches!(failed, AuthorityError::Corrupt(Corrupt::List { .. })), "{failed}");
                assert!(failed.to_string().contains("device.crl"), "{failed}");
            }
        }
        fs::remove_file(&list).unwrap();
        assert!(matches!(authority.lists(), Err(AuthorityError::Corrupt(Corrupt::List { .. }))));
        fs::write(&list, right).unwrap();
        assert_eq!(revoked(&authority, NOW), [1, 0]);
    });
}

#[test]
fn two_processes_revoke_at_once_and_neither_forgets_the_other() {
    in_own_process("two", |token| {
        let one = Arc::new(Authority::init(&config(token), NOW).unwrap());
        let serials: Vec<Which> = (0..12).map(|_| serial(&one, FRIDGE)).collect();
        let two = Arc::new(Authority::open(&config(token)).unwrap());
        let threads: Vec<_> = [(Arc::clone(&one), serials[..6].to_vec()), (two, serials[6..].to_vec())]
            .into_iter()
            .map(|(authority, mine)| {
                std::thread::spawn(move || {
                    for which in mine {
                        authority.revoke(&which, Reason::KeyCompromise, NOW).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(revoked(&one, NOW), [12]);
    });
}

#[test]
fn a_list_is_its_issuers_alone_and_of_its_time() {
    in_own_process("issuer", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        authority.refresh_lists(NOW).unwrap();
        let bundle = TrustBundle::from_pem(authority.trust_bundle_pem().as_bytes()).unwrap();
        let [device, service] = authority.lists().unwrap().try_into().unwrap();
        let check = |list: &[u8], issuer: &[u8], at| {
            CheckedCrl::check(list, &CertificateDer::from(issuer.to_vec()), &bundle, at).map(|it| it.next_update_s())
        };
        assert_eq!(check(&device.list, &device.issuer, NOW), Ok(NOW + 6 * HOUR_S));
        assert_eq!(check(&device.list, &service.issuer, NOW), Err(CrlError::Signature));
        assert!(matches!(check(&device.list, &device.issuer, NOW - DAY_S), Err(CrlError::UnknownIssuer)));
        assert!(check(&device.list, &device.issuer, NOW - 599).is_ok(), "clocks differ");
    });
}

fn pem(kind: &str, der: &[u8]) -> String {
    let lines: Vec<String> =
        BASE64.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// Whether `openssl verify -crl_check` accepts a chain, and what it says.
fn openssl_says(token: &TestToken, authority: &Authority, chain_pem: &str, at_unix_s: i64) -> Result<(), String> {
    let lists = authority.lists().unwrap();
    let lists: String = lists.iter().map(|list| pem("X509 CRL", &list.list)).collect();
    let root = file(token, "root.pem", &authority.trust_bundle_pem());
    let (chain, lists) = (file(token, "chain.pem", chain_pem), file(token, "lists.pem", &lists));
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-attime", &at_unix_s.to_string()])
        .args(["-CAfile".as_ref(), root.as_os_str(), "-untrusted".as_ref(), chain.as_os_str()])
        .args(["-CRLfile".as_ref(), lists.as_os_str(), chain.as_os_str()])
        .output()
        .expect("openssl is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn openssl_reads_the_lists_as_we_do() {
    in_own_process("openssl", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        authority.refresh_lists(NOW).unwrap();
        for name in [FRIDGE, SESSION, ADA] {
            let (taken, kept) = (issue(&authority, name, NOW).0, issue(&authority, name, NOW).0);
            assert_eq!(openssl_says(token, &authority, &taken.chain_pem, NOW), Ok(()), "{name}");
            authority.revoke(&Which::Serial(taken.serial), Reason::KeyCompromise, NOW).unwrap();
            let said = openssl_says(token, &authority, &taken.chain_pem, NOW).unwrap_err();
            assert!(said.contains("certificate revoked"), "{said}");
            assert_eq!(openssl_says(token, &authority, &kept.chain_pem, NOW), Ok(()), "{name}");
            let late = openssl_says(token, &authority, &kept.chain_pem, NOW + 7 * HOUR_S).unwrap_err();
            assert!(late.contains("CRL has expired"), "{late}");
        }
    });
}

#[test]
fn a_list_damaged_in_the_log_is_found() {
    in_own_process("log", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        authority.refresh_lists(NOW).unwrap();
        drop(authority);
        let path = dir(token).join("issued.jsonl");
        let lines = log_lines(&dir(token));
        fs::write(&path, lines[..5].iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        // The log forgot the lists; the files of before are not taken for anything.
        let authority = Authority::open(&config(token)).unwrap();
        assert_eq!(authority.lists().unwrap().len(), 0);
    });
}

#[test]
fn who_only_reads_sees_what_is_revoked_without_a_token() {
    in_own_process("reader", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let ca = dir(token);
        assert_eq!(revoked_serials(&ca).unwrap(), HashSet::new(), "no list was ever signed");
        let (fridge, ada) = (issue(&authority, FRIDGE, NOW).0.serial, issue(&authority, ADA, NOW).0.serial);
        authority.revoke(&Which::Serial(fridge.clone()), Reason::KeyCompromise, NOW).unwrap();
        assert_eq!(revoked_serials(&ca).unwrap(), HashSet::from([fridge.clone()]));
        authority.revoke(&Which::Serial(ada.clone()), Reason::CessationOfOperation, NOW).unwrap();
        let both = HashSet::from([fridge, ada]);
        assert_eq!(revoked_serials(&ca).unwrap(), both);
        // A crash left the list aside; he who reads takes it from there and touches nothing.
        let (list, aside) = (ca.join("service.crl"), ca.join("service.next"));
        fs::rename(&list, &aside).unwrap();
        assert_eq!(revoked_serials(&ca).unwrap(), both);
        assert!(aside.exists() && !list.exists());
        fs::write(&list, fs::read(ca.join("device.crl")).unwrap()).unwrap();
        assert_eq!(revoked_serials(&ca).unwrap(), both, "the one that the log knows is the one that counts");
        fs::remove_file(&aside).unwrap();
        let failed = revoked_serials(&ca).unwrap_err();
        assert!(matches!(failed, AuthorityError::Corrupt(Corrupt::List { .. })), "{failed}");
    });
}
