//! The relay against a subscriber that keeps the rules of an inbox: bounded bodies, no gaps, each event once.
//!
//! A failure is an event that never arrives, one that arrives out of order, or a batch that can never get through and
//! is sent for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pci_contract::{EventBody, EventId, FridgeId, FridgeTampered, ScannedCode, TamperKind, Timestamp};
use pci_processors::http as zone_http;
use pci_store::{Batch, NewEvent, Store};
use processor_sandbox::TlsIdentity;
use purchase_session::metrics::Metrics;
use purchase_session::relay::Relay;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; nothing that works waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp::from_micros(1_772_431_228_323_335);

/// What an inbox has taken.
#[derive(Debug, Clone, Default)]
struct Taken {
    booked: i64,
    posts: usize,
    too_large: usize,
    largest_bytes: usize,
    gaps: usize,
}

/// A subscriber; its rules are those of the other zone's inboxes.
struct Subscriber {
    taken: watch::Sender<Taken>,
    most_bytes: usize,
    client: Arc<zone_http::Client>,
    ids: Mutex<Vec<String>>,
}

impl Subscriber {
    async fn start(most_bytes: usize) -> Arc<Self> {
        let identity = TlsIdentity::generate().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let client = Arc::new(zone_http::Client::new(zone_http::ClientConfig::new(
            trusting(identity.root_pem()),
            zone_http::Endpoint::parse(&endpoint).unwrap(),
        )));
        let subscriber = Arc::new(Self { taken: watch::Sender::default(), most_bytes, client, ids: Mutex::default() });
        let shared = Arc::clone(&subscriber);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, subscriber) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let answer = service_fn(move |request| Arc::clone(&subscriber).answer(request));
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), answer).await;
                });
            }
        });
        subscriber
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/inbox"));
        assert_eq!(request.headers()["content-type"], "application/cloudevents-batch+json");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (status, answer) = self.book(&body);
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        *response.status_mut() = status;
        Ok(response)
    }

    fn book(&self, body: &[u8]) -> (StatusCode, Value) {
        let mut answer = (StatusCode::OK, Value::Null);
        self.taken.send_modify(|taken| {
            taken.posts += 1;
            if body.len() > self.most_bytes {
                taken.too_large += 1;
                answer = (StatusCode::PAYLOAD_TOO_LARGE, json!({"code": "body_too_large"}));
                return;
            }
            taken.largest_bytes = taken.largest_bytes.max(body.len());
            let events: Vec<Value> = serde_json::from_slice(body).unwrap();
            assert!((1..=256).contains(&events.len()));
            for event in events {
                let sequence: i64 = event["sequence"].as_str().unwrap().parse().unwrap();
                if sequence > taken.booked + 1 {
                    taken.gaps += 1;
                    let expected = taken.booked + 1;
                    answer = (StatusCode::CONFLICT, json!({"code": "sequence_gap", "expected": expected}));
                    return;
                }
                if sequence == taken.booked + 1 {
                    taken.booked = sequence;
                    self.ids.lock().unwrap().push(event["id"].as_str().unwrap().to_owned());
                }
            }
            answer.1 = json!({"booked": taken.booked});
        });
        answer
    }

    async fn until(&self, holds: impl FnMut(&Taken) -> bool) -> Taken {
        let mut taken = self.taken.subscribe();
        let reached = tokio::time::timeout(PATIENCE, taken.wait_for(holds)).await;
        let reached = reached.unwrap_or_else(|_| panic!("not in time: {:?}", *self.taken.borrow()));
        reached.unwrap().clone()
    }
}

fn trusting(root_pem: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
}

async fn open(folder: &Path) -> Arc<Store> {
    Arc::new(Store::open(&folder.join("purchase.db"), NOW).await.unwrap())
}

/// A relay under way; it ends when this is dropped.
struct Relaying(CancellationToken);

impl Relaying {
    fn start(store: &Arc<Store>, subscriber: &Subscriber) -> Self {
        let stop = CancellationToken::new();
        let relay = Relay {
            subscriber: "inventory".to_owned(),
            client: Arc::clone(&subscriber.client),
            store: Arc::clone(store),
            metrics: Arc::new(Metrics::default()),
        };
        tokio::spawn(relay.run(stop.clone()));
        Self(stop)
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An event whose body has about so many bytes.
fn event(n: usize, bytes: usize) -> NewEvent {
    let fridge = FridgeId::parse("FR-0001").unwrap();
    // What a list of kept meals is made of: as many codes as it takes.
    let code = Some(ScannedCode::read("(01)09500000000198(21)00000335"));
    let id = EventId::from_uuid(uuid::Uuid::from_u128(n as u128));
    if bytes == 0 {
        let tampered = FridgeTampered { fridge, kind: TamperKind::MealMoved, code, at: NOW };
        return NewEvent { id, body: EventBody::FridgeTampered(tampered), at: NOW };
    }
    let mut data = json!({
        "session": "4ed615ae-e6a0-47bb-82f2-6b7777de3d19", "fridge": "FR-0001", "customer": null,
        "card": {"token": "tok_1_abcdefghijklmnopqrstuvwxyz", "brand": "visa", "last_four": "4242"},
        "referral_code": null, "expert": null, "subscription": null, "outcome": "no_purchase",
        "charged": {"minor": 0, "currency": "USD"}, "credit_used": {"minor": 0, "currency": "USD"},
        "unpaid": {"minor": 0, "currency": "USD"}, "meals": [], "alarms": [], "stray_returns": [], "unidentified": [],
        "not_sellable": [], "opened_at": 1, "closed_at": 2,
    });
    let meal = |n: usize| json!(format!("(01)09500000000198(21){n:08}"));
    data["stray_returns"] = (0..bytes / 33).map(meal).collect();
    let body = json!({"type": "larder.purchase.finalized.v1", "data": data});
    NewEvent { id, body: serde_json::from_value(body).unwrap(), at: NOW }
}

async fn tell(store: &Store, events: impl IntoIterator<Item = NewEvent>) {
    for event in events {
        store.commit(Batch { events: vec![event], ..Batch::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn every_event_arrives_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(1 << 20).await;
    tell(&store, (1..=300).map(|n| event(n, 0))).await;
    let _relaying = Relaying::start(&store, &subscriber);
    subscriber.until(|taken| taken.booked == 300).await;
    tell(&store, (301..=303).map(|n| event(n, 0))).await;
    subscriber.until(|taken| taken.booked == 303).await;
    let ids: Vec<_> = (1..=303).map(|n| EventId::from_uuid(uuid::Uuid::from_u128(n)).to_string()).collect();
    assert_eq!(*subscriber.ids.lock().unwrap(), ids);
}

#[tokio::test]
async fn events_in_quick_succession_share_posts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(1 << 20).await;
    let _relaying = Relaying::start(&store, &subscriber);
    let began = Instant::now();
    tell(&store, (1..=150).map(|n| event(n, 0))).await;
    let taken = subscriber.until(|taken| taken.booked == 150).await;
    let bound = began.elapsed().as_millis() / 50 + 2;
    assert!(u128::try_from(taken.posts).unwrap() <= bound, "{taken:?} in {:?}", began.elapsed());
}

#[tokio::test]
async fn large_events_go_in_batches_that_an_inbox_takes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(1 << 20).await;
    tell(&store, (1..=40).map(|n| event(n, 100_000))).await;
    let _relaying = Relaying::start(&store, &subscriber);
    let taken = subscriber.until(|taken| taken.booked == 40).await;
    assert_eq!(taken.too_large, 0, "an inbox of the usual size never refuses: {taken:?}");
    assert!(taken.largest_bytes > 500_000, "and they do go together: {taken:?}");
}

#[tokio::test]
async fn a_batch_that_is_too_large_all_the_same_is_halved_until_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(30_000).await;
    tell(&store, (1..=64).map(|n| event(n, 10_000))).await;
    let _relaying = Relaying::start(&store, &subscriber);
    let taken = subscriber.until(|taken| taken.booked == 64).await;
    assert!(taken.too_large > 0 && taken.posts < 150, "{taken:?}");
}

#[tokio::test]
async fn a_subscriber_restored_from_a_backup_is_told_again_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(1 << 20).await;
    tell(&store, (1..=20).map(|n| event(n, 0))).await;
    let _relaying = Relaying::start(&store, &subscriber);
    subscriber.until(|taken| taken.booked == 20).await;
    subscriber.taken.send_modify(|taken| taken.booked = 12);
    tell(&store, [event(21, 0)]).await;
    let taken = subscriber.until(|taken| taken.booked == 21).await;
    assert_eq!(taken.gaps, 1);
    assert_eq!(subscriber.ids.lock().unwrap().len(), 29, "13 to 20 came twice");
}

#[tokio::test]
async fn a_subscriber_that_needs_what_is_gone_is_not_sent_a_gap_in_a_hurry() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let subscriber = Subscriber::start(1 << 20).await;
    tell(&store, (1..=20).map(|n| event(n, 0))).await;
    // It was never told anything, but the cursor says it was, and the first event's place is not in the outbox.
    store.save_cursor("inventory", 10).await.unwrap();
    let store_of_the_pruned = pruned(&store, 5).await;
    let relaying = Relaying::start(&store_of_the_pruned, &subscriber);
    let began = Instant::now();
    let taken = subscriber.until(|taken| taken.gaps == 3).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "each try pauses: {taken:?}");
    assert_eq!((taken.booked, store.cursor("inventory").await.unwrap()), (0, 10), "nothing is set back in vain");
    drop(relaying);
}

/// The store after its first events were pruned.
async fn pruned(store: &Arc<Store>, count: u32) -> Arc<Store> {
    use pci_contract::{CardRow, CustomerRow, FeedPage};
    store.apply_feed(FeedPage::<CustomerRow> { rows: vec![], revision: 1, more: false, booked: 20 }).await.unwrap();
    store.apply_feed(FeedPage::<CardRow> { rows: vec![], revision: 1, more: false, booked: 20 }).await.unwrap();
    let later = Timestamp::from_micros(NOW.micros() + 1);
    assert_eq!(store.prune_events(count, later).await.unwrap(), u64::from(count));
    Arc::clone(store)
}
