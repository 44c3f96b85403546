//! The signed trust bundle: what is believed of it and what is not, and a party that follows it while roots are replaced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_identity::TrustDomain;
use ca_mtls::{
    BundleDraft, BundleError, BundleFollower, MtlsError, NextBundle, ReloadingServer, SignedBundle, TrustBundle,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use pki::{Issuer, Pki, SESSION, domain};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// A moment in 2026, seconds since the Unix epoch.
const NOW_S: i64 = 1_790_000_000;

fn now_s() -> i64 {
    NOW_S
}

fn fixed_signature(key: &KeyPair, input: &str) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &SystemRandom::new());
    pair.unwrap().sign(&SystemRandom::new(), input.as_bytes()).unwrap().as_ref().to_vec()
}

fn draft(trust_domain: &TrustDomain, version: u64, roots: &[&Issuer], by: &Issuer) -> String {
    let ders: Vec<Vec<u8>> = roots.iter().map(|root| root.der().to_vec()).collect();
    let point = by.key().public_key_raw();
    BundleDraft { trust_domain, version, issued_at_unix_s: NOW_S, roots: &ders, signer_point: point }
        .signing_input()
        .unwrap()
}

/// A bundle of these roots, signed by one of them or another.
fn signed(version: u64, roots: &[&Issuer], by: &Issuer) -> String {
    let input = draft(&domain(), version, roots, by);
    BundleDraft::assemble(&input, &fixed_signature(by.key(), &input))
}

/// The text after a change of what its header and its payload say, signed again by who may sign.
fn rewritten(text: &str, by: &Issuer, from: &str, to: &str) -> String {
    let parts: Vec<String> = text
        .split('.')
        .take(2)
        .map(|part| String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap())
        .collect();
    assert!(parts.iter().any(|part| part.contains(from)), "{from}");
    let parts: Vec<String> =
        parts.iter().map(|part| BASE64URL_NOPAD.encode(part.replacen(from, to, 1).as_bytes())).collect();
    let input = parts.join(".");
    BundleDraft::assemble(&input, &fixed_signature(by.key(), &input))
}

fn check(text: &str, trusted: &TrustBundle, known: u64) -> Result<SignedBundle, BundleError> {
    SignedBundle::check(text, trusted, &domain(), known)
}

#[test]
fn what_a_trusted_root_signed_is_believed_and_says_what_it_says() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let text = signed(2, &[&old.root, &new.root], &old.root);
    let bundle = check(&text, &old.bundle(), 1).unwrap();
    assert_eq!((bundle.version(), bundle.issued_at_unix_s(), bundle.bundle().count()), (2, NOW_S, 2));
    let read = TrustBundle::from_pem(bundle.pem().as_bytes()).unwrap();
    assert_eq!(read.count(), 2);
    // The next one is signed by the new root, and leaves the old one out.
    let last = signed(3, &[&new.root], &new.root);
    assert_eq!(check(&last, bundle.bundle(), 2).unwrap().bundle().count(), 1);
    assert!(matches!(check(&last, &old.bundle(), 2), Err(BundleError::UnknownSigner)), "who missed one asks for it");
}

#[test]
fn it_is_a_jws_that_names_its_signer_by_its_key() {
    let pki = Pki::new("root");
    let text = signed(1, &[&pki.root], &pki.root);
    let header = BASE64URL_NOPAD.decode(text.split('.').next().unwrap().as_bytes()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let spki = pki.root.key().subject_public_key_info();
    let kid = HEXLOWER.encode(digest(&SHA256, &spki).as_ref());
    assert_eq!(header, serde_json::json!({ "alg": "ES256", "kid": kid, "typ": "larder-trust-bundle+jws" }));
}

#[test]
fn an_old_a_foreign_and_a_stranger_s_bundle_are_refused() {
    let (ours, theirs) = (Pki::new("ours"), Pki::new("theirs"));
    let text = signed(2, &[&ours.root, &theirs.root], &ours.root);
    assert!(check(&text, &ours.bundle(), 1).is_ok());
    for known in [2, 3, u64::MAX] {
        assert!(matches!(check(&text, &ours.bundle(), known), Err(BundleError::Older { found: 2, .. })));
    }
    let stranger = signed(2, &[&theirs.root], &theirs.root);
    assert!(matches!(check(&stranger, &ours.bundle(), 1), Err(BundleError::UnknownSigner)));
    let other = TrustDomain::parse("other.example").unwrap();
    let input = draft(&other, 2, &[&ours.root], &ours.root);
    let foreign = BundleDraft::assemble(&input, &fixed_signature(ours.root.key(), &input));
    assert!(
        matches!(check(&foreign, &ours.bundle(), 1), Err(BundleError::TrustDomain(domain)) if domain == other.as_str())
    );
    // Says that ours signed it, and is signed by another.
    let input = draft(&domain(), 2, &[&ours.root], &ours.root);
    let forged = BundleDraft::assemble(&input, &fixed_signature(theirs.root.key(), &input));
    assert!(matches!(check(&forged, &ours.bundle(), 1), Err(BundleError::Signature)));
}

#[test]
fn an_intermediate_signs_no_bundle() {
    let pki = Pki::new("root");
    let text = signed(2, &[&pki.root], &pki.service);
    assert!(matches!(check(&text, &pki.bundle(), 1), Err(BundleError::UnknownSigner)));
}

#[test]
fn every_other_way_of_writing_it_is_refused() {
    let pki = Pki::new("root");
    let right = signed(2, &[&pki.root], &pki.root);
    for (from, to) in [
        ("\"ES256\"", "\"none\""),
        ("\"ES256\"", "\"HS256\""),
        ("larder-trust-bundle+jws", "JWT"),
        ("{\"alg\"", "{ \"alg\""),
        ("{\"alg\"", "{\"crit\":[],\"alg\""),
        ("\"version\":2", "\"version\":2.0"),
        ("\"version\":2", "\"version\":-2"),
        ("\"version\":2", "\"version\":2,\"version\":3"),
        ("{\"trust_domain\"", "{\"more\":1,\"trust_domain\""),
        ("\"roots\":[\"", "\"roots\":[\"!"),
    ] {
        let changed = rewritten(&right, &pki.root, from, to);
        let error = check(&changed, &pki.bundle(), 1).unwrap_err();
        assert!(matches!(error, BundleError::Malformed(_)), "{from} to {to}: {error}");
    }
    for text in ["", ".", "..", "a.b", &right[1..], &format!("{right}="), &format!("{right}."), &format!(" {right}")] {
        assert!(check(text, &pki.bundle(), 1).is_err(), "{text:?}");
    }
    assert!(matches!(check(&"a".repeat(70_000), &pki.bundle(), 1), Err(BundleError::TooLarge(70_000))));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let pki = Pki::new("root");
    let right = signed(2, &[&pki.root], &pki.root);
    for at in 0..right.len() {
        let mut bytes = right.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        assert!(check(&changed, &pki.bundle(), 1).is_err(), "a flipped bit at {at} got through");
    }
}

#[test]
fn a_bundle_of_nothing_or_of_what_is_no_root_of_ours_is_refused() {
    let pki = Pki::new("root");
    assert!(matches!(check(&signed(2, &[], &pki.root), &pki.bundle(), 1), Err(BundleError::Malformed(_))));
    let nine = [&pki.root; 9];
    assert!(matches!(check(&signed(2, &nine, &pki.root), &pki.bundle(), 1), Err(BundleError::Malformed(_))));
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let p384 = Issuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()).unwrap();
    assert!(matches!(check(&signed(2, &[&p384], &pki.root), &pki.bundle(), 1), Err(BundleError::Malformed(_))));
    let leaf = Issuer::self_signed(rcgen::CertificateParams::default(), KeyPair::generate().unwrap()).unwrap();
    let text = signed(2, &[&leaf], &pki.root);
    assert!(matches!(check(&text, &pki.bundle(), 1), Err(BundleError::Roots(MtlsError::NotAnAuthority))));
}

struct House {
    old: Pki,
    new: Pki,
    server: Arc<ReloadingServer>,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let (old, new, dir) = (Pki::new("old"), Pki::new("new"), tempfile::tempdir().unwrap());
        let files = old.leaf(SESSION).write(dir.path(), &old.bundle_pem());
        let server = Arc::new(ReloadingServer::new(files, &domain(), &[]).unwrap());
        Self { old, new, server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("bundle.pem")
    }

    fn follower(&self) -> BundleFollower {
        let server = Arc::clone(&self.server);
        BundleFollower::new(self.file(), domain(), move || server.reload().map(|_| ()), now_s).unwrap()
    }

    fn first(&self) -> String {
        signed(1, &[&self.old.root], &self.old.root)
    }

    fn both(&self) -> String {
        signed(2, &[&self.old.root, &self.new.root], &self.old.root)
    }

    fn last(&self) -> String {
        signed(3, &[&self.new.root], &self.new.root)
    }
}

/// Has the follower hear these answers, and gives what it asked with, the question after the last answer included.
async fn hears(
    follower: &BundleFollower,
    answers: impl IntoIterator<Item = Result<NextBundle, String>>,
) -> Vec<Option<u64>> {
    let (script, asked) = (Mutex::new(VecDeque::from_iter(answers)), Mutex::new(Vec::new()));
    let (over, done) = tokio::sync::oneshot::channel::<()>();
    let over = Mutex::new(Some(over));
    let ask = |known| {
        asked.lock().unwrap().push(known);
        let answer = script.lock().unwrap().pop_front();
        if answer.is_none() {
            let _ = over.lock().unwrap().take().map(|over| over.send(()));
        }
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = follower.run(ask) => unreachable!("it asks for ever"),
        told = tokio::time::timeout(Duration::from_secs(60), done) => told.unwrap().unwrap(),
    }
    asked.into_inner().unwrap()
}

fn new(text: String) -> Result<NextBundle, String> {
    Ok(NextBundle::New(text))
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_each_version_and_its_next_question_says_so() {
    let house = House::new();
    let follower = house.follower();
    assert_eq!((follower.version(), follower.heard_unix_s()), (0, 0));
    let asked = hears(&follower, [new(house.first()), Ok(NextBundle::Unchanged), new(house.both())]).await;
    assert_eq!(asked, [None, Some(1), Some(1), Some(2)]);
    assert_eq!((follower.version(), follower.heard_unix_s(), follower.failures()), (2, NOW_S, 0));
    assert_eq!(house.server.bundle().count(), 2, "it is in force");
    let asked = hears(&follower, [new(house.last())]).await;
    assert_eq!(asked, [Some(2), Some(3)]);
    assert_eq!(house.server.bundle().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_the_version_and_a_file_put_there_by_hand_has_none() {
    let house = House::new();
    hears(&house.follower(), [new(house.both())]).await;
    let again = house.follower();
    assert_eq!(again.version(), 2);
    assert_eq!(hears(&again, []).await, [Some(2)]);
    fs::write(house.file(), house.old.bundle_pem()).unwrap();
    assert_eq!(house.follower().version(), 0, "the signed one beside it is of other roots");
    fs::write(house.file(), "rubbish").unwrap();
    let server = Arc::clone(&house.server);
    assert!(BundleFollower::new(house.file(), domain(), move || server.reload().map(|_| ()), now_s).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_bad_bundle_changes_nothing_and_is_counted() {
    let house = House::new();
    let follower = house.follower();
    let stranger = Pki::new("stranger");
    let stranger = signed(9, &[&stranger.root], &stranger.root);
    let wrong = [new(stranger), new("rubbish".into()), new(house.first()), Err("no route".into())];
    let asked = hears(&follower, [new(house.both())].into_iter().chain(wrong)).await;
    assert_eq!(asked, [None, Some(2), Some(2), Some(2), Some(2), Some(2)]);
    assert_eq!((follower.version(), follower.failures()), (2, 4));
    assert_eq!(house.server.bundle().count(), 2);
    assert!(fs::read_to_string(house.file()).unwrap().contains(house.old.bundle_pem().trim()));
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_a_whole_rotation_walks_it_from_its_beginning() {
    let house = House::new();
    let follower = house.follower();
    let asked = hears(&follower, [new(house.last()), new(house.first()), new(house.both()), new(house.last())]).await;
    assert_eq!(asked, [None, Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!((follower.version(), follower.failures()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn roots_that_cannot_be_put_in_force_are_taken_back() {
    let house = House::new();
    let refuse = || Err(MtlsError::Missing("certificate"));
    let follower = BundleFollower::new(house.file(), domain(), refuse, now_s).unwrap();
    hears(&follower, [new(house.both())]).await;
    assert_eq!((follower.version(), follower.failures()), (0, 1));
    assert_eq!(fs::read_to_string(house.file()).unwrap(), house.old.bundle_pem());
    assert!(!house.file().with_extension("jws").exists());
}

#[tokio::test]
async fn who_follows_from_certificate_to_certificate_takes_all_there_is() {
    let house = House::new();
    let follower = house.follower();
    let all = [house.first(), house.both(), house.last()];
    let next = |known: Option<u64>| {
        let after = known.map_or(all.last(), |known| all.get(usize::try_from(known).unwrap()));
        let answer = after.map_or(NextBundle::Unchanged, |text| NextBundle::New(text.clone()));
        async move { Ok::<_, String>(answer) }
    };
    // It cannot believe the last one, so it is led there from the first.
    assert_eq!((follower.catch_up(next).await, follower.version()), (Ok(()), 3));
    assert_eq!(house.server.bundle().count(), 1);
    assert_eq!(follower.catch_up(next).await, Ok(()));
    assert_eq!((follower.version(), follower.failures()), (3, 1));

    let silent = |_| async { Err("no route".to_owned()) };
    assert_eq!(follower.catch_up(silent).await, Err("no route".to_owned()));
    let first = house.first();
    let set_back = |_| std::future::ready(Ok::<_, String>(NextBundle::New(first.clone())));
    assert!(follower.catch_up(set_back).await.unwrap_err().contains("not trusted here"), "it does not go back");
    assert_eq!(follower.version(), 3);
}
