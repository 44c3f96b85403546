//! Files on disk: which are taken, which are refused with words that help, and how they are replaced while handshakes
//! run. A failed handshake anywhere in the rotation is a failure of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ca_mtls::{Identity, IdentityFiles, MtlsError, ReloadingClient, ReloadingServer, TrustBundle};
use pki::{ADMIN, FRIDGE, Leaf, Pki, SESSION, domain, id, meet, replace};
use tempfile::TempDir;

fn written(leaf: &Leaf, bundle: &str) -> (TempDir, IdentityFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = leaf.write(dir.path(), bundle);
    (dir, files)
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_way_out() {
    let pki = Pki::new("root");
    let (_dir, files) = written(&pki.leaf(FRIDGE), &pki.bundle_pem());
    assert_eq!(files.load().unwrap().0.id(), &id(FRIDGE));
    for mode in [0o640, 0o604, 0o601, 0o660, 0o644] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let error = files.load().unwrap_err();
        assert!(matches!(error, MtlsError::KeyMode { .. }), "{mode:o}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", files.key.display())), "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        assert!(files.load().is_ok(), "{mode:o}");
    }
}

#[test]
fn a_file_at_fault_is_named() {
    let pki = Pki::new("root");
    let (_dir, files) = written(&pki.leaf(FRIDGE), &pki.bundle_pem());
    fs::remove_file(&files.bundle).unwrap();
    let error = files.load().unwrap_err().to_string();
    assert!(error.contains("bundle.pem"), "{error}");
    replace(&files.bundle, &"x".repeat(2 * 1024 * 1024), 0o644);
    assert!(matches!(files.load().unwrap_err(), MtlsError::TooLarge { .. }));
}

#[test]
fn what_is_no_identity_is_refused() {
    let pki = Pki::new("root");
    let (one, other) = (pki.leaf(FRIDGE), pki.leaf(FRIDGE));
    let from = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes()).map(|i| i.id().clone());
    assert_eq!(from(&one.chain_pem, &one.key_pem).unwrap(), id(FRIDGE));
    assert!(matches!(from(&one.chain_pem, &other.key_pem), Err(MtlsError::Key(_))), "another's key");
    assert!(matches!(from("", &one.key_pem), Err(MtlsError::Missing("certificate"))));
    assert!(matches!(from(&one.chain_pem, ""), Err(MtlsError::Missing("private key"))));
    let torn = &one.chain_pem[..one.chain_pem.len() - 40];
    assert!(matches!(from(torn, &one.key_pem), Err(MtlsError::Pem { .. })), "a torn file is not half a chain");
    assert!(matches!(from(&pki.root.pem(), &pki.root.key().serialize_pem()), Err(MtlsError::Own(_))), "names nobody");
}

#[test]
fn what_is_no_trust_bundle_is_refused() {
    let (pki, other) = (Pki::new("root"), Pki::new("root 2"));
    let from = |pem: &str| TrustBundle::from_pem(pem.as_bytes()).map(|bundle| bundle.count());
    assert_eq!(from(&pki.bundle_pem()).unwrap(), 1);
    assert_eq!(from(&format!("{}{}", pki.bundle_pem(), other.bundle_pem())).unwrap(), 2);
    assert!(matches!(from(""), Err(MtlsError::Missing(_))));
    assert!(matches!(from(&pki.leaf(FRIDGE).chain_pem), Err(MtlsError::NotAnAuthority)));
    let torn = format!("{}{}", pki.bundle_pem(), &other.bundle_pem()[..200]);
    assert!(from(&torn).is_err(), "half a bundle is none");
    assert!(matches!(from(&pki.bundle_pem().repeat(65)), Err(MtlsError::Pem { .. })), "nor is one too long to be ours");
}

#[test]
fn an_identity_does_not_print_its_key() {
    let leaf = Pki::new("root").leaf(FRIDGE);
    let printed = format!("{:?}", leaf.identity());
    assert!(printed.contains(FRIDGE) && !printed.to_lowercase().contains("key"), "{printed}");
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_one_in_force() {
    let pki = Pki::new("root");
    let (_dir, files) = written(&pki.leaf(SESSION), &pki.bundle_pem());
    let server = ReloadingServer::new(files.clone(), &domain(), &[]).unwrap();
    let (_client_dir, client_files) = written(&pki.leaf(FRIDGE), &pki.bundle_pem());
    let client = ReloadingClient::new(client_files).unwrap();
    let works = async || {
        let met = meet(server.config(), client.config(&id(SESSION), &[]).unwrap()).await;
        (met.0.unwrap().id, met.1.unwrap().serial)
    };
    let before = works().await;
    for (path, text, mode) in [
        (&files.certificate, "rubbish", 0o644),
        (&files.bundle, "", 0o644),
        (&files.key, pki.leaf(SESSION).key_pem.as_str(), 0o600),
    ] {
        let good = fs::read_to_string(path).unwrap();
        replace(path, text, mode);
        assert!(server.reload().is_err(), "{}", path.display());
        assert_eq!(works().await, before);
        replace(path, &good, mode);
        assert!(!server.reload().unwrap().new_certificate);
    }
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(server.reload(), Err(MtlsError::KeyMode { .. })));
    assert_eq!(works().await, before);
}

#[test]
fn nobody_changes_who_he_is_while_running() {
    let pki = Pki::new("root");
    let (dir, files) = written(&pki.leaf(SESSION), &pki.bundle_pem());
    let server = ReloadingServer::new(files.clone(), &domain(), &[]).unwrap();
    let client = ReloadingClient::new(files).unwrap();
    assert_eq!((server.id(), client.id()), (&id(SESSION), &id(SESSION)));
    pki.leaf(ADMIN).write(dir.path(), &pki.bundle_pem());
    assert!(matches!(server.reload(), Err(MtlsError::NameChanged { .. })));
    assert!(matches!(client.reload(), Err(MtlsError::NameChanged { .. })));
}

#[tokio::test]
async fn a_root_that_left_the_bundle_is_trusted_no_more() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let (dir, files) = written(&old.leaf(SESSION), &old.bundle_pem());
    let server = ReloadingServer::new(files.clone(), &domain(), &[]).unwrap();
    let (client_dir, client_files) = written(&old.leaf(FRIDGE), &old.bundle_pem());
    let client = ReloadingClient::new(client_files).unwrap();
    let config = client.config(&id(SESSION), &[]).unwrap();
    assert!(meet(server.config(), Arc::clone(&config)).await.0.is_ok());
    new.leaf(SESSION).write(dir.path(), &new.bundle_pem());
    server.reload().unwrap();
    let (seen, met) = meet(server.config(), Arc::clone(&config)).await;
    assert!(seen.is_err() && met.is_err(), "each trusts another root now");
    new.leaf(FRIDGE).write(client_dir.path(), &new.bundle_pem());
    let reload = client.reload().unwrap();
    assert!(reload.new_certificate && reload.roots == 1);
    assert!(meet(server.config(), config).await.0.is_ok(), "the same configuration object holds the new certificate");
}

/// A whole rotation and the way back (both roots trusted, new leaves, old root gone) under handshakes that never stop.
///
/// A step follows the last one only when every node has taken it and every handshake begun before it has ended: each
/// generator is seen to end two more. That is the gate a real rotation has, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_fails_no_handshake() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let (dir, files) = written(&old.leaf(SESSION), &old.bundle_pem());
    let server = Arc::new(ReloadingServer::new(files, &domain(), &[b"h2"]).unwrap());
    let (client_dir, client_files) = written(&old.leaf(FRIDGE), &old.bundle_pem());
    let client = Arc::new(ReloadingClient::new(client_files).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let ended: Vec<_> = (0..4).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let generators: Vec<_> = ended
        .iter()
        .map(|ended| {
            tokio::spawn(generate(Arc::clone(&server), Arc::clone(&client), Arc::clone(&stop), Arc::clone(ended)))
        })
        .collect();
    let both = format!("{}{}", old.bundle_pem(), new.bundle_pem());
    let steps: [(&Pki, &str); 4] = [(&old, &old.bundle_pem()), (&old, &both), (&new, &both), (&new, &new.bundle_pem())];
    for _round in 0..3 {
        for (authority, bundle) in steps.iter().chain(steps.iter().rev()) {
            authority.leaf(SESSION).write(dir.path(), bundle);
            authority.leaf(FRIDGE).write(client_dir.path(), bundle);
            server.reload().unwrap();
            client.reload().unwrap();
            for (ended, before) in ended.iter().map(|ended| (ended, ended.load(Ordering::Acquire))).collect::<Vec<_>>()
            {
                while ended.load(Ordering::Acquire) < before + 2 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    stop.store(true, Ordering::Release);
    let mut failures = Vec::new();
    for generator in generators {
        failures.extend(generator.await.unwrap());
    }
    assert_eq!(failures, Vec::<String>::new());
}

async fn generate(
    server: Arc<ReloadingServer>,
    client: Arc<ReloadingClient>,
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
) -> Vec<String> {
    let config = client.config(&id(SESSION), &[b"h2"]).unwrap();
    let mut failures = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if let (Err(why), _) | (_, Err(why)) = meet(server.config(), Arc::clone(&config)).await {
            failures.push(why);
        }
        ended.fetch_add(1, Ordering::AcqRel);
    }
    failures
}
