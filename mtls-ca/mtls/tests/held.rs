//! A client whose certificate is handed in: what it shows, and how that changes while it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::sync::Arc;

use ca_mtls::{ConnectError, HeldClient, MtlsError, Peer, accept, connect, server_config};
use pki::{ADMIN, FRIDGE, LIMIT, Pki, SESSION, domain, id};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

/// Whom the server of `pki` sees, and what the client makes of the server.
async fn seen(pki: &Pki, client: Arc<ClientConfig>) -> (Option<Peer>, Result<Peer, ConnectError>) {
    let server = server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[b"h2"]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("service").unwrap();
    let (served, asked) = tokio::join!(accept(server, far, LIMIT), connect(client, name, near, LIMIT));
    (served.map(|(_, peer)| peer).ok(), asked.map(|(_, peer)| peer))
}

#[tokio::test]
async fn the_next_handshake_shows_the_next_certificate_and_trusts_the_next_roots() {
    let (pki, next) = (Pki::new("root"), Pki::new("next"));
    let (one, two) = (pki.leaf(FRIDGE).identity(), next.leaf(FRIDGE).identity());
    let held = HeldClient::new(&one, &pki.bundle());
    let config = held.config(&id(SESSION), &[b"h2"]).unwrap();
    assert_eq!(held.id(), &id(FRIDGE));
    assert_eq!(seen(&pki, Arc::clone(&config)).await.0.unwrap().serial, one.own().serial);
    assert!(seen(&next, Arc::clone(&config)).await.1.is_err(), "not trusted yet");

    let reload = held.replace(&two, &next.bundle()).unwrap();
    assert_eq!((reload.own.serial.as_str(), reload.new_certificate), (two.own().serial.as_str(), true));
    assert_eq!(seen(&next, Arc::clone(&config)).await.0.unwrap().serial, two.own().serial, "the same configuration");
    assert!(seen(&pki, config).await.1.is_err(), "trusted no more");
}

#[tokio::test]
async fn nobody_becomes_somebody_else() {
    let pki = Pki::new("root");
    let one = pki.leaf(FRIDGE).identity();
    let held = HeldClient::new(&one, &pki.bundle());
    let another = held.replace(&pki.leaf(ADMIN).identity(), &pki.bundle());
    assert!(matches!(another, Err(MtlsError::NameChanged { .. })));
    let config = held.config(&id(SESSION), &[b"h2"]).unwrap();
    assert_eq!(seen(&pki, config).await.0.unwrap().serial, one.own().serial, "the one before stays");
}
