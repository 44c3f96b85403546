//! The server for those who have no certificate yet: what it shows, what it asks for, and how it changes while it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{AcceptError, AnyServer, ConnectError, EnrolmentClient, EnrolmentServer, MtlsError, client_config, peer};
use pki::{ADMIN, FRIDGE, LIMIT, Pki, SESSION, id};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

const HOST: &str = "enrol.larder.internal";

fn server(pki: &Pki) -> EnrolmentServer {
    EnrolmentServer::new(&showing(pki, SESSION), &[b"http/1.1"]).unwrap()
}

/// An identity with a host name, as those who enrol look for.
fn showing(pki: &Pki, name: &str) -> ca_mtls::Identity {
    pki::make(&pki.service, &pki::Ask { dns: vec![HOST.into()], ..pki::Ask::for_id(name) }).identity()
}

/// A stranger who trusts the root and has nothing to show.
fn stranger(pki: &Pki) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.bundle_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(roots).with_no_client_auth()
}

struct Met {
    kind: Option<HandshakeKind>,
    seen: ca_mtls::Peer,
    shown: bool,
}

async fn meet(server: &EnrolmentServer, client: Arc<ClientConfig>) -> Met {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connecting = TlsConnector::from(client).connect(ServerName::try_from(HOST).unwrap(), near);
    let (served, asked) = tokio::join!(server.accept(far, LIMIT), connecting);
    let (served, asked) = (served.unwrap(), asked.unwrap());
    let connection = asked.get_ref().1;
    Met {
        kind: connection.handshake_kind(),
        seen: peer(connection.peer_certificates().unwrap()).unwrap(),
        shown: served.get_ref().1.peer_certificates().is_some(),
    }
}

#[tokio::test]
async fn a_stranger_sees_whom_he_speaks_to_and_shows_nothing() {
    let pki = Pki::new("root");
    let met = meet(&server(&pki), Arc::new(stranger(&pki))).await;
    assert_eq!((met.seen.id, met.shown), (id(SESSION), false));
}

#[tokio::test]
async fn a_party_with_a_certificate_is_not_asked_for_it() {
    let pki = Pki::new("root");
    let party = client_config(&pki.leaf(FRIDGE).identity(), &pki.bundle(), &id(SESSION), &[]).unwrap();
    assert!(!meet(&server(&pki), party).await.shown);
}

#[tokio::test]
async fn who_enrols_judges_the_server_and_shows_nothing() {
    let (pki, other) = (Pki::new("root"), Pki::new("root"));
    let client = |pki: &Pki, server| EnrolmentClient::new(&pki.bundle()).config(&id(server), &[b"http/1.1"]).unwrap();
    let met = meet(&server(&pki), client(&pki, SESSION)).await;
    assert_eq!((met.seen.id, met.shown), (id(SESSION), false));
    let follows = EnrolmentClient::new(&other.bundle());
    let config = follows.config(&id(SESSION), &[b"http/1.1"]).unwrap();
    follows.trust(&pki.bundle());
    assert_eq!(meet(&server(&pki), config).await.seen.id, id(SESSION), "roots are replaced while it runs");
    for (wrong, why) in [(client(&pki, ADMIN), "another party"), (client(&other, SESSION), "another root")] {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connecting = TlsConnector::from(wrong).connect(ServerName::try_from(HOST).unwrap(), near);
        let enrolling = server(&pki);
        let (_, refused) = tokio::join!(enrolling.accept(far, LIMIT), connecting);
        assert!(refused.is_err(), "{why}");
    }
}

#[tokio::test]
async fn nothing_is_resumed() {
    let pki = Pki::new("root");
    let server = server(&pki);
    let mut config = stranger(&pki);
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..2 {
        assert_eq!(meet(&server, Arc::clone(&config)).await.kind, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn another_certificate_of_the_same_party_is_shown_from_the_next_handshake_on() {
    let pki = Pki::new("root");
    let server = server(&pki);
    let before = meet(&server, Arc::new(stranger(&pki))).await.seen.serial;
    let next = showing(&pki, SESSION);
    server.replace(&next).unwrap();
    let after = meet(&server, Arc::new(stranger(&pki))).await.seen.serial;
    assert_eq!(after, next.own().serial);
    assert_ne!(before, after);
    assert!(matches!(server.replace(&showing(&pki, ADMIN)), Err(MtlsError::NameChanged { .. })));
    assert_eq!(meet(&server, Arc::new(stranger(&pki))).await.seen.serial, after, "the one before stays");
    assert_eq!(server.id(), &id(SESSION));
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_let_go() {
    let pki = Pki::new("root");
    let (_silent, far) = tokio::io::duplex(1024);
    let outcome = server(&pki).accept(far, Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(AcceptError::TimedOut(_))));
}

/// OpenSSL plays the client, because the rustls built here cannot speak TLS 1.2 at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_refused_and_1_3_is_not() {
    let pki = Pki::new("root");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (version, gets_in) in [("-tls1_2", false), ("-tls1_3", true)] {
        let mut client = Command::new("openssl")
            .args(["s_client", version, "-brief", "-alpn", "http/1.1", "-connect", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (stream, _) = listener.accept().await.unwrap();
        let outcome = server(&pki).accept(stream, LIMIT).await.map(drop);
        assert_eq!(outcome.is_ok(), gets_in, "{version}: {outcome:?}");
        client.wait().unwrap();
    }
}

#[tokio::test]
async fn any_server_is_taken_and_shown_nothing() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (pki, any) = (Pki::new("a root that nobody knows"), AnyServer::new(&[b"http/1.1"]).unwrap());
    let enrolling = server(&pki);
    let name = ServerName::try_from(HOST).unwrap();
    let (served, asked) = tokio::join!(enrolling.accept(far, LIMIT), any.connect(name, near, LIMIT));
    let connection = asked.unwrap();
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(served.unwrap().get_ref().1.peer_certificates().is_none());
}

#[tokio::test]
async fn any_server_has_the_key_of_what_it_shows_and_answers_in_time() {
    let (pki, any) = (Pki::new("root"), AnyServer::new(&[]).unwrap());
    let (one, other) = (pki.leaf(SESSION).certified(), pki.leaf(ADMIN).certified());
    let stolen = CertifiedKey::new(one.cert.clone(), Arc::clone(&other.key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(stolen))));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(HOST).unwrap();
    let serving = tokio_rustls::TlsAcceptor::from(config).accept(far);
    let (_, refused) = tokio::join!(serving, any.connect(name.clone(), near, LIMIT));
    assert!(matches!(refused, Err(ConnectError::Handshake(_))), "{refused:?}");

    let (near, _silent) = tokio::io::duplex(1024);
    let late = any.connect(name, near, Duration::from_millis(20)).await;
    assert!(matches!(late, Err(ConnectError::TimedOut(_))), "{late:?}");
}
