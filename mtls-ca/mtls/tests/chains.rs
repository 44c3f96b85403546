//! Chains other than the plain one: missing and superfluous intermediates, an intermediate that has ended, a root that
//! signs by itself, two roots during a rotation; and what a caller is told, by type, when a handshake fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{
    AcceptError, ConnectError, Identity, MtlsError, PeerError, TrustBundle, accept, client_config, connect, peer,
    server_config,
};
use pki::{ADMIN, Ask, CLIENT, FRIDGE, LIMIT, Leaf, Pki, SERVER, SESSION, domain, id, make, meet};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// The purpose of attestation keys and of the intermediate above them, 2.23.133.8.3.
fn attestation() -> rcgen::ExtendedKeyUsagePurpose {
    rcgen::ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])
}

fn host() -> ServerName<'static> {
    ServerName::try_from("larder.internal").unwrap()
}

/// Whom a server under this bundle sees when this leaf knocks.
async fn knock(pki: &Pki, leaf: &Leaf, bundle: &TrustBundle) -> Result<String, AcceptError> {
    let server = server_config(&pki.leaf(SESSION).identity(), bundle, &domain(), &[]).unwrap();
    let client = client_config(&leaf.identity(), &pki.bundle(), &id(SESSION), &[]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (seen, _) = tokio::join!(accept(server, far, LIMIT), connect(client, host(), near, LIMIT));
    seen.map(|(_, peer)| peer.id.to_string())
}

fn leaf_alone(leaf: &Leaf) -> Leaf {
    let end = leaf.chain_pem.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
    Leaf { chain_pem: leaf.chain_pem[..end].to_owned(), key_pem: leaf.key_pem.clone() }
}

#[tokio::test]
async fn a_leaf_without_its_intermediate_finds_no_way_to_the_root() {
    let pki = Pki::new("root");
    let leaf = pki.leaf(FRIDGE);
    assert_eq!(knock(&pki, &leaf, &pki.bundle()).await.unwrap(), FRIDGE);
    let refused = knock(&pki, &leaf_alone(&leaf), &pki.bundle()).await;
    assert!(matches!(&refused, Err(AcceptError::Handshake(why)) if why.to_string().contains("UnknownIssuer")));
}

#[tokio::test]
async fn intermediates_that_have_nothing_to_do_with_it_change_nothing() {
    let (pki, other) = (Pki::new("root"), Pki::new("other"));
    let mut leaf = pki.leaf(FRIDGE);
    leaf.chain_pem += &[other.device.pem(), pki.service.pem()].concat();
    assert_eq!(knock(&pki, &leaf, &pki.bundle()).await.unwrap(), FRIDGE);
}

#[tokio::test]
async fn only_the_first_few_intermediates_are_looked_at() {
    let (pki, other) = (Pki::new("root"), Pki::new("other"));
    let mut leaf = leaf_alone(&pki.leaf(FRIDGE));
    for _ in 0..4 {
        leaf.chain_pem += &other.device.pem();
    }
    leaf.chain_pem += &pki.device.pem();
    assert!(knock(&pki, &leaf, &pki.bundle()).await.is_err(), "the one that fits comes fifth");
}

#[tokio::test]
async fn a_leaf_does_not_outlive_its_intermediate() {
    let pki = Pki::new("root");
    let ended = pki.intermediate("ended", &[CLIENT], (2020, 2021));
    let refused = knock(&pki, &make(&ended, &Ask::for_id(FRIDGE)), &pki.bundle()).await;
    assert!(matches!(&refused, Err(AcceptError::Handshake(why)) if why.to_string().contains("expired")), "{refused:?}");
    let living = pki.intermediate("living", &[CLIENT], (2020, 2090));
    assert_eq!(knock(&pki, &make(&living, &Ask::for_id(FRIDGE)), &pki.bundle()).await.unwrap(), FRIDGE);
}

#[tokio::test]
async fn what_an_intermediate_is_for_says_whom_it_may_vouch_for() {
    let pki = Pki::new("root");
    for (usages, fridge, service) in [
        (vec![CLIENT], true, false),
        (vec![CLIENT, SERVER], false, true),
        (vec![], true, true),
        (vec![SERVER], false, false),
        (vec![attestation()], false, false),
    ] {
        let issuer = pki.intermediate("one", &usages, (2020, 2090));
        let seen = knock(&pki, &make(&issuer, &Ask::for_id(FRIDGE)), &pki.bundle()).await;
        assert_eq!(seen.is_ok(), fridge, "a fridge under {usages:?}");
        let ask = Ask { usages: vec![CLIENT], ..Ask::for_id(ADMIN) };
        assert_eq!(
            knock(&pki, &make(&issuer, &ask), &pki.bundle()).await.is_ok(),
            service,
            "a service under {usages:?}"
        );
    }
}

#[tokio::test]
async fn a_root_may_sign_by_itself() {
    let pki = Pki::new("root");
    assert_eq!(knock(&pki, &leaf_alone(&make(&pki.root, &Ask::for_id(FRIDGE))), &pki.bundle()).await.unwrap(), FRIDGE);
}

#[tokio::test]
async fn both_roots_of_a_rotation_are_trusted() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let both = TrustBundle::from_pem([old.bundle_pem(), new.bundle_pem()].concat().as_bytes()).unwrap();
    assert_eq!(knock(&old, &old.leaf(FRIDGE), &both).await.unwrap(), FRIDGE);
    assert_eq!(knock(&old, &new.leaf(FRIDGE), &both).await.unwrap(), FRIDGE);
    assert!(knock(&old, &new.leaf(FRIDGE), &old.bundle()).await.is_err());
}

#[tokio::test]
async fn our_own_reason_comes_out_by_type() {
    let pki = Pki::new("root");
    let foreign = pki.leaf("spiffe://other.example/fridge/f1");
    let refused = knock(&pki, &foreign, &pki.bundle()).await;
    assert!(
        matches!(&refused, Err(AcceptError::Peer(PeerError::TrustDomain(who))) if who.as_str().contains("other.example"))
    );
    let server = server_config(&pki.leaf(ADMIN).identity(), &pki.bundle(), &domain(), &[]).unwrap();
    let client = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (_, met) = tokio::join!(accept(server, far, LIMIT), connect(client, host(), near, LIMIT));
    match met.map(|_| ()) {
        Err(ConnectError::Peer(PeerError::Unexpected { expected, found })) => {
            assert_eq!((*expected, *found), (id(SESSION), id(ADMIN)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_let_go() {
    let pki = Pki::new("root");
    let client = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[]).unwrap();
    let (near, _silent) = tokio::io::duplex(64 * 1024);
    let outcome = connect(client, host(), near, Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(ConnectError::TimedOut(_))));
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_an_error_of_the_handshake() {
    let pki = Pki::new("root");
    let server = server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    drop(near);
    assert!(matches!(accept(server, far, LIMIT).await, Err(AcceptError::Handshake(_))));
}

#[tokio::test]
async fn the_offered_protocol_is_agreed_on() {
    let pki = Pki::new("root");
    let server = server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[b"h2", b"http/1.1"]).unwrap();
    for offered in [b"h2".as_slice(), b"http/1.1"] {
        let client = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[offered]).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (seen, met) = tokio::join!(accept(Arc::clone(&server), far, LIMIT), connect(client, host(), near, LIMIT));
        assert_eq!(seen.unwrap().0.get_ref().1.alpn_protocol(), Some(offered));
        assert_eq!(met.unwrap().0.get_ref().1.alpn_protocol(), Some(offered));
    }
}

#[tokio::test]
async fn a_connection_may_outlive_its_certificate_and_is_told_so() {
    let pki = Pki::new("root");
    let server = server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[]).unwrap();
    let client = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[]).unwrap();
    let seen = meet(server, client).await.0.unwrap();
    assert_eq!(seen.check_alive(seen.not_after), Ok(()));
    let late = seen.check_alive(seen.not_after + 1).unwrap_err();
    assert!(late.to_string().contains(&format!("expired at {} s", seen.not_after)), "{late}");
}

#[test]
fn a_certificate_says_who_it_is_without_a_connection() {
    let pki = Pki::new("root");
    let ask = Ask { dns: vec!["localhost".into()], ..Ask::for_id(SESSION) };
    let leaf = make(&pki.service, &ask);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(peer(&chain).unwrap().id, id(SESSION), "host names beside the one URI do not matter");
    assert_eq!(peer(&chain[1..]), Err(PeerError::UriCount(0)), "an authority names no party");
    let trailing = CertificateDer::from([chain[0].as_ref(), &[0]].concat());
    assert_eq!(peer(&[trailing]), Err(PeerError::Malformed));
}

#[test]
fn a_key_of_its_own_kind_makes_an_identity_too() {
    let pki = Pki::new("root");
    let (leaf, other) = (pki.leaf(FRIDGE), pki.leaf(FRIDGE));
    let (chain, key) = (leaf.certified().cert.clone(), Arc::clone(&leaf.certified().key));
    assert_eq!(Identity::new(chain.clone(), key).unwrap().id(), &id(FRIDGE));
    assert!(matches!(Identity::new(chain, Arc::clone(&other.certified().key)), Err(MtlsError::Key(_))));
    assert!(matches!(
        Identity::new(vec![], Arc::clone(&leaf.certified().key)),
        Err(MtlsError::Own(PeerError::NoCertificate))
    ));
}
