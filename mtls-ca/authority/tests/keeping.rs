//! What the authority keeps: its keys inside the token, its log, its state over a restart; and what it refuses to do twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::collections::HashSet;
use std::sync::Arc;

use authority::{Authority, AuthorityConfig, AuthorityError, Corrupt, Fault, Kind, Pin, Refusal, read_log};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use test_token::{TestToken, in_own_process};
use world::{ADA, FRIDGE, SESSION, config, dir, file, issue, log_lines, order};

const NOW: i64 = 1_800_000_000;
const DAY_S: i64 = 86_400;

/// A session beside the authority's own, in the module that it keeps loaded and initialised.
fn session(token: &TestToken) -> Session {
    let context = Pkcs11::new(token.module()).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| context.get_token_info(*slot).unwrap().label() == token.label()).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::from(token.pin()))); // already, by the authority
    session
}

fn private_keys(session: &Session) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()
}

#[test]
fn the_keys_are_made_inside_and_cannot_be_read() {
    in_own_process("inside", |token| {
        let _authority = Authority::init(&config(token), NOW).unwrap();
        let session = session(token);
        let keys = private_keys(&session);
        assert_eq!(keys.len(), 4, "a root and three intermediates");
        for key in keys {
            let held = session
                .get_attributes(
                    key,
                    &[
                        AttributeType::Sensitive,
                        AttributeType::Extractable,
                        AttributeType::NeverExtractable,
                        AttributeType::Local,
                    ],
                )
                .unwrap();
            for attribute in [
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
            ] {
                assert!(held.contains(&attribute), "{attribute:?}");
            }
            assert_eq!(session.get_attributes(key, &[AttributeType::Value]).unwrap_or_default(), []);
        }
    });
}

#[test]
fn the_log_has_an_entry_for_every_signature_of_the_token() {
    in_own_process("count", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        assert_eq!((authority.signatures(), authority.head().entries), (5, 5));
        let mut issued = HashSet::new();
        for name in [FRIDGE, SESSION, ADA, FRIDGE] {
            let chain = issue(&authority, name, NOW).0;
            issued.insert((chain.serial, chain.sha256));
        }
        let refused = order("spiffe://other.example/fridge/f1", 3600).0;
        assert!(matches!(authority.issue(&refused, NOW), Err(AuthorityError::Refused(Refusal::TrustDomain { .. }))));
        assert_eq!(authority.signatures(), 9, "a refusal signs nothing");
        let mut logged = HashSet::new();
        let mut kinds = Vec::new();
        let head = read_log(&dir(token), |entry| {
            kinds.push(entry.kind);
            if matches!(entry.kind, Kind::Device | Kind::Service | Kind::Operator) {
                logged.insert((entry.serial.clone(), entry.certificate_sha256.clone()));
            }
        })
        .unwrap();
        assert_eq!(head, authority.head());
        assert_eq!(head.entries, authority.signatures());
        assert_eq!(logged, issued);
        let first = [Kind::Root, Kind::DeviceIntermediate, Kind::ServiceIntermediate, Kind::AttestationIntermediate];
        assert_eq!((&kinds[..4], kinds[4], kinds[5]), (&first[..], Kind::TrustBundle, Kind::Device));
    });
}

#[test]
fn a_restart_finds_the_same_keys() {
    in_own_process("restart", |token| {
        let before = Authority::init(&config(token), NOW).unwrap();
        let (bundle, head) = (before.trust_bundle_pem(), before.head());
        drop(before);
        let loaded = AuthorityConfig::load(&dir(token), Some(config(token).pin)).unwrap();
        assert_eq!(
            (&loaded.token_label, &loaded.trust_domain),
            (&config(token).token_label, &config(token).trust_domain)
        );
        let after = Authority::open(&loaded).unwrap();
        assert_eq!((after.trust_bundle_pem(), after.head()), (bundle, head));
        issue(&after, FRIDGE, NOW);
        assert_eq!(after.head().entries, 6);
        assert_eq!(private_keys(&session(token)).len(), 4);
    });
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    in_own_process("twice", |token| {
        let config = config(token);
        assert!(matches!(Authority::open(&config), Err(AuthorityError::Refused(Refusal::NotInitialised(_)))));
        let first = Authority::init(&config, NOW).unwrap();
        let again = Authority::init(&config, NOW).unwrap_err();
        assert!(matches!(&again, AuthorityError::Refused(Refusal::AlreadyInitialised(_))));
        assert!(again.to_string().contains("already holds an authority; use it as it is"), "{again}");
        let elsewhere = AuthorityConfig { dir: token.directory().join("other"), ..config.clone() };
        let again = Authority::init(&elsewhere, NOW).unwrap_err();
        assert!(matches!(&again, AuthorityError::Refused(Refusal::TokenInUse { .. })));
        assert!(again.to_string().contains("never overwritten"), "{again}");
        assert_eq!(private_keys(&session(token)).len(), 4);
        assert_eq!(Authority::open(&config).unwrap().trust_bundle_pem(), first.trust_bundle_pem());
    });
}

#[test]
fn a_tampered_log_stops_the_authority() {
    in_own_process("tamper", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        issue(&authority, FRIDGE, NOW);
        issue(&authority, SESSION, NOW);
        drop(authority);
        let mut lines = log_lines(&dir(token));
        lines[5] = lines[5].replace("fridge/f1", "fridge/f2");
        std::fs::write(dir(token).join("issued.jsonl"), lines.join("\n") + "\n").unwrap();
        let error = Authority::open(&config(token)).unwrap_err();
        assert!(matches!(error, AuthorityError::Corrupt(Corrupt::Log { line: 6, .. })), "{error}");
        assert!(error.to_string().contains("line 6"), "{error}");
    });
}

#[test]
fn a_key_that_is_not_kept_as_it_must_be_stops_the_authority() {
    in_own_process("weak", |token| {
        let _keeps_the_module = Authority::init(&config(token), NOW).unwrap();
        let session = session(token);
        let label = Attribute::Label(b"larder-ca-device-1".to_vec());
        for object in session.find_objects(std::slice::from_ref(&label)).unwrap() {
            session.destroy_object(object).unwrap();
        }
        let missing = Authority::open(&config(token)).unwrap_err().to_string();
        assert!(missing.contains("larder-ca-device-1") && missing.contains("missing"), "{missing}");
        let named = [label, Attribute::Id(b"device-1".to_vec()), Attribute::Token(true)];
        let p256 = Attribute::EcParams(vec![0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]);
        let public = [named.as_slice(), &[p256, Attribute::Verify(true)]].concat();
        let private = [named.as_slice(), &[Attribute::Sign(true), Attribute::Extractable(true)]].concat();
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
        let error = Authority::open(&config(token)).unwrap_err();
        assert!(matches!(error, AuthorityError::Corrupt(Corrupt::Key { .. })), "{error}");
    });
}

#[test]
fn a_certificate_of_another_key_stops_the_authority() {
    in_own_process("swap", |token| {
        drop(Authority::init(&config(token), NOW).unwrap());
        std::fs::copy(dir(token).join("service.pem"), dir(token).join("device.pem")).unwrap();
        let error = Authority::open(&config(token)).unwrap_err();
        assert!(matches!(error, AuthorityError::Corrupt(Corrupt::Certificate { .. })), "{error}");
    });
}

#[test]
fn a_session_that_died_is_opened_again() {
    in_own_process("recycle", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        // What a quiet recycle of the module by other code of this process does to everybody's sessions.
        Pkcs11::new(token.module()).unwrap().finalize().unwrap();
        issue(&authority, FRIDGE, NOW);
        assert_eq!(authority.head().entries, 6);
    });
}

#[test]
fn many_threads_share_one_authority() {
    in_own_process("threads", |token| {
        let authority = Arc::new(Authority::init(&config(token), NOW).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let authority = Arc::clone(&authority);
                std::thread::spawn(move || (0..5).map(|_| issue(&authority, FRIDGE, NOW).0.serial).collect::<Vec<_>>())
            })
            .collect();
        let serials: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(serials.len(), 20);
        assert_eq!((authority.head().entries, authority.signatures()), (25, 25));
    });
}

#[test]
fn intermediates_are_renewed_before_they_end_and_old_leaves_stay_good() {
    in_own_process("renew", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        assert_eq!(authority.renew(NOW + 44 * DAY_S).unwrap(), [], "not before half of their life");
        let late = NOW + 89 * DAY_S + DAY_S / 2;
        let (too_late, _) = order(FRIDGE, 24 * 3600);
        let refused = authority.issue(&too_late, late).unwrap_err();
        assert!(matches!(&refused, AuthorityError::Refused(Refusal::IssuerTooOld { .. })));
        assert!(refused.to_string().contains("larder-ca renew"), "{refused}");
        let renewed = authority.renew(late).unwrap();
        assert_eq!(renewed.len(), 3);
        assert!(renewed.iter().all(|one| one.not_after_unix_s == late + 90 * DAY_S));
        authority.issue(&too_late, late).unwrap();
        assert_eq!(authority.head().entries, authority.signatures());
        let bundle = authority.trust_bundle_pem();
        drop(authority);
        let opened = Authority::open(&config(token)).unwrap();
        assert_eq!(opened.trust_bundle_pem(), bundle, "the root stays");
        assert!(opened.issue(&order(SESSION, 24 * 3600).0, late).is_ok(), "the new intermediates were kept");
    });
}

#[test]
fn a_wrong_pin_a_wrong_token_and_an_open_pin_file_are_told_apart() {
    in_own_process("pin", |token| {
        let with = |pin: Pin, label: &str| AuthorityConfig { pin, token_label: label.into(), ..config(token) };
        let text = |pin: &str| Pin::Text(zeroize::Zeroizing::new(pin.to_owned()));
        let error = Authority::init(&with(text("000000"), "pin"), NOW).unwrap_err().to_string();
        assert!(error.contains("the PIN of the token \"pin\" is wrong"), "{error}");
        let error = Authority::init(&with(text(token.pin()), "nowhere"), NOW).unwrap_err().to_string();
        assert!(error.contains("no token is labelled \"nowhere\"; found: pin"), "{error}");
        let open = file(token, "pin", token.pin());
        let error = Authority::init(&with(Pin::File(open.clone()), "pin"), NOW).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&open, mode).unwrap();
        assert!(Authority::init(&with(Pin::File(open), "pin"), NOW).is_ok());
        let settings = std::fs::read_to_string(dir(token).join("authority.toml")).unwrap();
        assert!(!settings.contains(token.pin()), "the PIN itself is not kept");
        assert!(AuthorityConfig::load(&dir(token), None).is_ok(), "but the file it stands in is known");
        std::fs::write(dir(token).join("authority.toml"), settings + "unknown = 1\n").unwrap();
        let error = AuthorityConfig::load(&dir(token), None).unwrap_err();
        assert!(matches!(error, AuthorityError::Corrupt(Corrupt::Settings { .. })), "{error}");
    });
}

#[test]
fn two_processes_may_issue_from_one_folder() {
    in_own_process("two", |token| {
        let one = Authority::init(&config(token), NOW).unwrap();
        let other = Authority::open(&config(token)).unwrap();
        for name in [FRIDGE, SESSION, ADA] {
            issue(&one, name, NOW);
            issue(&other, name, NOW);
        }
        assert_eq!(read_log(&dir(token), |_| ()).unwrap(), other.head(), "one chain, whoever wrote each line");
        assert_eq!(other.head().entries, 11);
        assert_eq!(one.signatures() + other.signatures(), 11);
    });
}

#[test]
fn without_its_log_the_authority_hands_out_nothing() {
    in_own_process("no-log", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        issue(&authority, FRIDGE, NOW);
        let (log, away) = (dir(token).join("issued.jsonl"), dir(token).join("away"));
        std::fs::rename(&log, &away).unwrap();
        let refused = authority.issue(&order(FRIDGE, 3600).0, NOW).unwrap_err();
        assert!(matches!(&refused, AuthorityError::Fault(Fault::Disk { .. })), "{refused}");
        assert!(refused.to_string().contains("issued.jsonl"), "{refused}");
        std::fs::rename(&away, &log).unwrap();
        issue(&authority, FRIDGE, NOW);
        assert_eq!(read_log(&dir(token), |_| ()).unwrap(), authority.head());
    });
}

#[test]
fn a_log_damaged_behind_an_open_authority_is_not_written_on() {
    in_own_process("behind", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let path = dir(token).join("issued.jsonl");
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{good}{{}}\n")).unwrap();
        let refused = authority.issue(&order(FRIDGE, 3600).0, NOW).unwrap_err();
        assert!(matches!(refused, AuthorityError::Corrupt(Corrupt::Log { line: 6, .. })), "{refused}");
        std::fs::write(&path, format!("{good}{{\"sequence\":6,\"prev")).unwrap();
        issue(&authority, FRIDGE, NOW);
        assert_eq!(
            read_log(&dir(token), |_| ()).unwrap().entries,
            6,
            "a torn line is what a crash leaves; it is cut off"
        );
    });
}

#[test]
fn an_init_that_cannot_write_makes_no_keys() {
    in_own_process("unwritable", |token| {
        let file = file(token, "file", "");
        let refused = Authority::init(&AuthorityConfig { dir: file, ..config(token) }, NOW).unwrap_err();
        assert!(matches!(refused, AuthorityError::Fault(Fault::Disk { .. })), "{refused}");
        let _keeps_the_module = Authority::init(&config(token), NOW).unwrap();
        assert_eq!(private_keys(&session(token)).len(), 4, "the second try found a token without keys");
    });
}
