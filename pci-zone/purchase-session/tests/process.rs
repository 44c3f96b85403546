//! The service as a process: how it starts on what an earlier run left, and how it ends.
//!
//! A failure is a process that does not end when told, one that starts with keys that are not its database's, and an
//! event that is pruned while somebody needs it or kept when nobody does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::time::Duration;

use pci_contract::{
    CardRow, CustomerRow, EventBody, EventId, FeedPage, FridgeId, FridgeTampered, TamperKind, Timestamp,
};
use pci_store::{Batch, NewEvent, Store};
use support::{PATIENCE, Place};
use test_token::TestToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG_AGO: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

#[tokio::test]
async fn a_full_house_ends_when_told() {
    let place = Place::new().await;
    // An idle connection is kept for a minute, so nobody leaves by himself.
    let (mut service, address) = place.start("[limits]\nconnections = 1\nhandshake_s = 60\ndrain_s = 1\n").await;
    let mut only = place.connect(address).await;
    only.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    only.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    service.terminate();
    assert!(service.ended_within(Duration::from_secs(30)).await.success(), "{}", place.log());
    drop(only);
}

#[tokio::test]
async fn a_database_is_not_used_with_another_hsm_than_before() {
    let mut place = Place::new().await;
    place.start("").await.0.stop().await;
    let first = std::mem::replace(&mut place.token, TestToken::create("pci").unwrap());
    let status = place.run("").ready().await.expect_err("an HSM without its keys");
    assert!(!status.success());
    let log = place.log();
    assert!(log.contains("hsm: key larder-pci-") && log.contains("give the service back the token it had"), "{log}");
    place.token = first;
    place.start("").await.0.stop().await;
}

/// What the service says of its health: the status, and the rest of the answer.
async fn health(place: &Place, address: std::net::SocketAddr) -> (u16, String) {
    let mut line = place.connect(address).await;
    line.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[tokio::test]
async fn who_knows_nothing_of_the_world_is_not_ready_and_says_what_is_missing() {
    let place = Place::new().await;
    // Nobody listens there.
    let feeds = "[[feeds]]\nname = \"customers\"\naddress = \"127.0.0.1:1\"\nfeeds = [\"customers\", \"cards\"]\n";
    let (service, address) = place.start(feeds).await;
    let (status, answer) = health(&place, address).await;
    assert_eq!(status, 503);
    assert!(answer.ends_with("waiting for the first rows of: cards, customers\n"), "{answer}");
    service.stop().await;
    // With the rows of an earlier run it goes on, whoever is away.
    old_events(&place, 1).await;
    let (service, address) = place.start(feeds).await;
    let (status, answer) = health(&place, address).await;
    assert_eq!(status, 200, "{answer}");
    service.stop().await;
}

/// Events of long ago, booked by the feeds.
async fn old_events(place: &Place, count: u128) {
    let store = Store::open(&place.database(), LONG_AGO).await.unwrap();
    let fridge = FridgeId::parse("FR-0001").unwrap();
    let tampered = FridgeTampered { fridge, kind: TamperKind::DoorForced, code: None, at: LONG_AGO };
    let body = EventBody::FridgeTampered(tampered);
    let event = |n| NewEvent { id: EventId::from_uuid(uuid::Uuid::from_u128(n)), body: body.clone(), at: LONG_AGO };
    store.commit(Batch { events: (1..=count).map(event).collect(), ..Batch::default() }).await.unwrap();
    let booked = i64::try_from(count).unwrap();
    store.apply_feed(FeedPage::<CustomerRow> { rows: vec![], revision: 1, more: false, booked }).await.unwrap();
    store.apply_feed(FeedPage::<CardRow> { rows: vec![], revision: 1, more: false, booked }).await.unwrap();
    store.save_cursor("status", booked).await.unwrap();
    store.close().await;
}

/// The first event that the database still has.
async fn first_kept(place: &Place) -> Option<i64> {
    let store = Store::open(&place.database(), LONG_AGO).await.unwrap();
    let first = store.events_after(0, 1).await.unwrap().first().map(|(position, _)| *position);
    store.close().await;
    first
}

#[tokio::test]
async fn a_replaced_certificate_that_cannot_be_used_is_an_alarm_until_it_can() {
    let place = Place::new().await;
    let (service, address) = place.start("").await;
    let says = async |word: &str| {
        let said = async {
            while !place.log().contains(word) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{word}: {}", place.log()));
    };
    let good = std::fs::read(place.path("chain.pem")).unwrap();
    std::fs::write(place.path("chain.pem"), "rubbish").unwrap();
    says(r#""alarm":true"#).await;
    assert_eq!(health(&place, address).await.0, 200, "the last good one stays");
    std::fs::write(place.path("chain.pem"), good).unwrap();
    says(r#""alarm":false"#).await;
    assert_eq!(place.log().matches(r#""alarm""#).count(), 2, "{}", place.log());
    service.stop().await;
}

#[tokio::test]
async fn what_everybody_has_booked_long_ago_is_pruned() {
    let place = Place::new().await;
    old_events(&place, 1_200).await;
    let (service, _) = place.start("").await;
    let pruned = async {
        while first_kept(&place).await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, pruned).await.expect("in time");
    service.stop().await;
}

#[tokio::test]
async fn nothing_is_pruned_before_a_subscriber_that_never_answered() {
    let place = Place::new().await;
    old_events(&place, 20).await;
    // Nobody listens there.
    let (service, _) = place.start("[[subscribers]]\nname = 'inventory'\naddress = '127.0.0.1:1'\n").await;
    service.stop().await;
    let store = Store::open(&place.database(), LONG_AGO).await.unwrap();
    let later = Timestamp::from_micros(LONG_AGO.micros() + 1);
    assert_eq!(store.prune_events(100, later).await.unwrap(), 0);
    assert_eq!(store.events_after(0, 100).await.unwrap().len(), 20);
}
