//! Who gets in and who does not, by real handshakes. Every refusal stands beside the one right case it differs from, so
//! that a test cannot pass because everything is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{AcceptError, Peer, accept, client_config, connect, server_config};
use pki::{ADA, ADMIN, Ask, CLIENT, FRIDGE, LIMIT, Leaf, Pki, SERVER, SESSION, domain, id, make, meet};
use rcgen::{BasicConstraints, IsCa};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::ServerName;

fn session_server(pki: &Pki) -> Arc<ServerConfig> {
    server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[b"h2"]).unwrap()
}

fn right_client(pki: &Pki) -> ClientConfig {
    let config = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[b"h2"]).unwrap();
    (*config).clone()
}

/// A client that shows this leaf, whatever it says.
fn client_showing(pki: &Pki, leaf: &Leaf) -> Arc<ClientConfig> {
    let mut config = right_client(pki);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from((*leaf.certified()).clone()));
    Arc::new(config)
}

/// A server that shows this leaf, whatever it says.
fn server_showing(pki: &Pki, leaf: &Leaf) -> Arc<ServerConfig> {
    let mut config = (*session_server(pki)).clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from((*leaf.certified()).clone()));
    Arc::new(config)
}

async fn shown_by_client(pki: &Pki, leaf: &Leaf) -> Result<Peer, String> {
    let (seen, answered) = meet(session_server(pki), client_showing(pki, leaf)).await;
    assert_eq!(seen.is_ok(), answered.is_ok(), "a client that is refused gets no answer: {answered:?}");
    seen
}

async fn shown_by_server(pki: &Pki, leaf: &Leaf) -> Result<Peer, String> {
    meet(server_showing(pki, leaf), Arc::new(right_client(pki))).await.1
}

fn refused_because(seen: Result<Peer, String>, why: &str) {
    let error = seen.expect_err("this peer must be refused");
    assert!(error.contains(why), "refused, but for another reason than {why:?}: {error}");
}

#[tokio::test]
async fn the_right_peers_see_each_other() {
    let pki = Pki::new("root");
    let (seen, met) = meet(session_server(&pki), Arc::new(right_client(&pki))).await;
    let (seen, met) = (seen.unwrap(), met.unwrap());
    assert_eq!(seen.id, id(FRIDGE));
    assert_eq!(met.id, id(SESSION));
    assert_eq!(seen.not_after, rcgen::date_time_ymd(2090, 1, 1).unix_timestamp());
    assert!(!seen.serial.is_empty() && seen.serial.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_ne!(seen.serial, met.serial);
}

#[tokio::test]
async fn every_role_gets_in_by_the_intermediate_that_may_vouch_for_it() {
    let pki = Pki::new("root");
    for name in [FRIDGE, ADMIN, ADA] {
        assert_eq!(shown_by_client(&pki, &pki.leaf(name)).await.unwrap().id, id(name));
    }
}

#[tokio::test]
async fn no_certificate_no_entry() {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    let pki = Pki::new("root");
    let mut config = right_client(&pki);
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let (seen, answered) = meet(session_server(&pki), Arc::new(config)).await;
    refused_because(seen, "no certificates");
    assert!(answered.is_err());
}

#[tokio::test]
async fn another_authority_is_refused_on_both_sides() {
    let pki = Pki::new("root");
    // With the same names a chain is found and its signature is wrong; with others none is found.
    for (name, why) in [("root", "BadSignature"), ("root 2", "UnknownIssuer")] {
        let other = Pki::new(name);
        refused_because(shown_by_client(&pki, &other.leaf(FRIDGE)).await, why);
        refused_because(shown_by_server(&pki, &other.leaf(SESSION)).await, why);
    }
    assert!(shown_by_server(&pki, &pki.leaf(SESSION)).await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_good_only_in_its_time() {
    let pki = Pki::new("root");
    let in_years = |name: &str, years| Ask { years, ..Ask::for_id(name) };
    refused_because(shown_by_client(&pki, &make(&pki.device, &in_years(FRIDGE, (2020, 2021)))).await, "expired");
    refused_because(shown_by_client(&pki, &make(&pki.device, &in_years(FRIDGE, (2089, 2090)))).await, "not valid yet");
    refused_because(shown_by_server(&pki, &make(&pki.service, &in_years(SESSION, (2020, 2021)))).await, "expired");
    refused_because(
        shown_by_server(&pki, &make(&pki.service, &in_years(SESSION, (2089, 2090)))).await,
        "not valid yet",
    );
}

#[tokio::test]
async fn exactly_one_uri_names_a_party() {
    let pki = Pki::new("root");
    let named = |uris: &[&str]| Ask { uris: uris.iter().map(|u| (*u).into()).collect(), ..Ask::for_id(FRIDGE) };
    let fridge_2 = "spiffe://larder.internal/fridge/f2";
    refused_because(shown_by_client(&pki, &make(&pki.device, &named(&[FRIDGE, fridge_2]))).await, "holds 2 URI names");
    refused_because(shown_by_client(&pki, &make(&pki.device, &named(&[FRIDGE, FRIDGE]))).await, "holds 2 URI names");
    refused_because(shown_by_client(&pki, &make(&pki.device, &named(&[]))).await, "holds 0 URI names");
    refused_because(
        shown_by_client(&pki, &make(&pki.device, &named(&["https://larder.internal/f1"]))).await,
        "spiffe://",
    );
    let both = Ask { uris: vec![SESSION.into(), ADMIN.into()], ..Ask::for_id(SESSION) };
    refused_because(shown_by_server(&pki, &make(&pki.service, &both)).await, "holds 2 URI names");
    let dns_only = Ask { uris: vec![], dns: vec!["larder.internal".into()], ..Ask::for_id(SESSION) };
    refused_because(shown_by_server(&pki, &make(&pki.service, &dns_only)).await, "holds 0 URI names");
}

#[tokio::test]
async fn another_trust_domain_is_refused_though_the_root_is_ours() {
    let pki = Pki::new("root");
    let foreign = pki.leaf("spiffe://other.example/fridge/f1");
    refused_because(shown_by_client(&pki, &foreign).await, "another trust domain");
    let foreign = pki.leaf("spiffe://other.example/service/purchase-session");
    refused_because(shown_by_server(&pki, &foreign).await, "another trust domain");
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let pki = Pki::new("root");
    refused_because(shown_by_server(&pki, &pki.leaf(ADMIN)).await, "was expected");
    let with_host = Ask { dns: vec!["larder.internal".into()], ..Ask::for_id(ADMIN) };
    refused_because(shown_by_server(&pki, &make(&pki.service, &with_host)).await, "was expected");
}

#[tokio::test]
async fn the_extended_key_usage_must_be_there_and_fit_the_side() {
    let pki = Pki::new("root");
    let using =
        |name: &str, usages: &[rcgen::ExtendedKeyUsagePurpose]| Ask { usages: usages.to_vec(), ..Ask::for_id(name) };
    refused_because(shown_by_client(&pki, &make(&pki.device, &using(FRIDGE, &[]))).await, "extended key usage");
    refused_because(shown_by_client(&pki, &make(&pki.service, &using(ADMIN, &[SERVER]))).await, "extended key usage");
    refused_because(shown_by_server(&pki, &make(&pki.service, &using(SESSION, &[CLIENT]))).await, "extended key usage");
    refused_because(shown_by_server(&pki, &make(&pki.service, &using(SESSION, &[]))).await, "extended key usage");
}

#[tokio::test]
async fn an_authority_is_no_party() {
    let pki = Pki::new("root");
    let ask = Ask { is_ca: IsCa::Ca(BasicConstraints::Constrained(0)), ..Ask::for_id(FRIDGE) };
    refused_because(shown_by_client(&pki, &make(&pki.device, &ask)).await, "an authority's");
}

#[tokio::test]
async fn the_device_intermediate_cannot_name_a_service_nor_an_operator() {
    let pki = Pki::new("root");
    for name in [ADMIN, ADA] {
        let ask = Ask { usages: vec![CLIENT], ..Ask::for_id(name) };
        refused_because(shown_by_client(&pki, &make(&pki.device, &ask)).await, "UnknownIssuer");
    }
    refused_because(shown_by_server(&pki, &make(&pki.device, &Ask::for_id(SESSION))).await, "UnknownIssuer");
    refused_because(shown_by_client(&pki, &make(&pki.service, &Ask::for_id(FRIDGE))).await, "UnknownIssuer");
}

#[tokio::test]
async fn the_device_intermediate_cannot_name_a_host() {
    let pki = Pki::new("root");
    let ask = Ask { dns: vec!["purchase-session.larder.internal".into()], ..Ask::for_id(FRIDGE) };
    refused_because(shown_by_client(&pki, &make(&pki.device, &ask)).await, "NameConstraintViolation");
}

#[tokio::test]
async fn a_second_connection_shows_its_certificate_again() {
    let pki = Pki::new("root");
    let server = session_server(&pki);
    let mut config = right_client(&pki);
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..2 {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("larder.internal").unwrap();
        let (served, asked) =
            tokio::join!(accept(Arc::clone(&server), far, LIMIT), connect(Arc::clone(&config), name, near, LIMIT));
        assert_eq!(asked.unwrap().0.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(served.unwrap().0.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_protocol_that_was_not_offered_is_refused() {
    let pki = Pki::new("root");
    let mut config = right_client(&pki);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (seen, answered) = meet(session_server(&pki), Arc::new(config)).await;
    assert!(seen.is_err() && answered.is_err());
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let pki = Pki::new("root");
    let (_silent, far) = tokio::io::duplex(1024);
    let outcome = accept(session_server(&pki), far, Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(AcceptError::TimedOut(_))));
}

/// OpenSSL plays the client, because the rustls built here cannot speak TLS 1.2 at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_refused_and_1_3_is_not() {
    let pki = Pki::new("root");
    let dir = tempfile::tempdir().unwrap();
    let files = pki.leaf(FRIDGE).write(dir.path(), &pki.bundle_pem());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (version, gets_in) in [("-tls1_2", false), ("-tls1_3", true)] {
        let mut client = Command::new("openssl")
            .args(["s_client", version, "-brief", "-alpn", "h2", "-connect", &address])
            .args(
                [["-cert".as_ref(), files.certificate.as_os_str()], ["-key".as_ref(), files.key.as_os_str()]].concat(),
            )
            .args(["-cert_chain".as_ref(), files.certificate.as_os_str()])
            .args(["-CAfile".as_ref(), files.bundle.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (stream, _) = listener.accept().await.unwrap();
        let outcome = accept(session_server(&pki), stream, LIMIT).await.map(|(_, peer)| peer.id);
        assert_eq!(outcome.is_ok(), gets_in, "{version}: {outcome:?}");
        if gets_in {
            assert_eq!(outcome.unwrap(), id(FRIDGE));
        }
        client.wait().unwrap();
    }
}

/// Even one that names a party, which the authority never makes: its purpose, 2.23.133.8.3, is none of TLS.
#[tokio::test]
async fn an_attestation_key_is_nobody_on_either_side() {
    let pki = Pki::new("root");
    let purpose = || rcgen::ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3]);
    let attestation = pki.intermediate("attestation", &[purpose()], (2020, 2090));
    for uris in [vec![], vec![FRIDGE.to_owned()], vec![SESSION.to_owned()]] {
        for issuer in [&attestation, &pki.device, &pki.service] {
            let leaf = make(issuer, &Ask { uris: uris.clone(), usages: vec![purpose()], ..Ask::for_id(FRIDGE) });
            assert!(shown_by_client(&pki, &leaf).await.is_err(), "{uris:?}");
            assert!(shown_by_server(&pki, &leaf).await.is_err(), "{uris:?}");
        }
    }
}
