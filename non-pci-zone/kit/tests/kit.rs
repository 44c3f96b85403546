//! A small service made of the kit, driven over real mutual TLS.
//!
//! A failure is: a stranger or the wrong role gets in, a bound does not hold, an event has its effect twice or not at
//! all, a feed skips or repeats a row, an answer that is an error has no problem body, or a restart forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use ca_identity::ServiceName;
use http::{Method, StatusCode};
use ops_kit::guard::{StatusFeed, StatusInbox, StatusRead, StatusWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, Booked, CancellationToken, Config, Event, Fault, IfMatch, Kit, NoSettings, Once,
    Routes, Step, WriteTx, serve,
};
use pci_contract::{EventBody, FridgeId, LockRow};
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use support::{Pki, Running, deliver, event, party};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/status/0001_kit.sql")),
    (2, "test", "CREATE TABLE tamper (n INTEGER PRIMARY KEY, fridge TEXT NOT NULL) STRICT;"),
];

fn book<'a>(_: &'a Kit<NoSettings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        if let EventBody::FridgeTampered(data) = &event.body {
            sqlx::query("INSERT INTO tamper (fridge) VALUES ($1)").bind(data.fridge.as_str()).execute(tx.sql()).await?;
            tx.put_row(&LockRow { fridge: data.fridge.clone(), locked: true }).await?;
        }
        Ok(())
    })
}

async fn count(_: Allowed<StatusRead>, State(kit): State<Kit<NoSettings>>) -> Result<Answer, ApiError> {
    let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tamper").fetch_one(kit.db().readers()).await?;
    Answer::record(n, &json!({ "count": n }))
}

async fn lock(
    allowed: Allowed<StatusWrite>,
    State(kit): State<Kit<NoSettings>>,
    once: Once<LockRow>,
) -> Result<Answer, ApiError> {
    let (row, ticket) = once.into_parts();
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let revision = tx.put_row(&row).await?;
    tx.audit(allowed.who(), "lock", row.fridge.as_str(), &json!({}), now).await?;
    let answer = Answer::created(revision, &json!({ "rev": revision }))?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

async fn change(
    _: Allowed<StatusWrite>,
    if_match: IfMatch,
    Body(_): Body<Value>,
) -> Result<impl IntoResponse, ApiError> {
    if_match.demand(7)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn small(config: Config<NoSettings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Status, &config, STEPS, ending).await?;
    let routes = Routes::new::<StatusRead>(&kit)
        .get("/count", count)
        .post("/locks", lock)
        .patch("/change", change)
        .feed::<LockRow, StatusFeed>()
        .inbox::<StatusInbox>(book);
    serve(&config, kit, routes).await
}

async fn start() -> Running {
    Running::start("status", NoSettings {}, small).await
}

fn tampered(sequence: u64) -> Value {
    let data = json!({"fridge": format!("FR-{sequence:04}"), "kind": "door_forced", "code": null, "at": 1});
    event(sequence, "larder.fridge.tampered.v1", data)
}

fn is_problem(reply: &ops_kit::Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (status, &json!(code)), "{:?}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.json()["status"], json!(status));
    assert_eq!(reply.json()["type"], json!(format!("urn:larder:problem:{code}")));
}

/// In TLS 1.3 the client's side of the handshake ends before the server judges it: the refusal is what it reads first.
async fn a_client_without_certificate_is_refused(running: &Running) {
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls_pki_types::CertificateDer::from_pem_slice(running.pki.root_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anonymous = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let limit = std::time::Duration::from_secs(5);
    let (mut tls, server) =
        ca_mtls::connect(Arc::new(anonymous), name, stream, limit).await.expect("our side ends well");
    assert_eq!(server.id, party("service/status"));
    let error = tls.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn strangers_and_the_wrong_role_stay_outside() {
    let running = start().await;
    let stranger = Pki::new().identity("operator/operator-ada");
    let client =
        ops_kit::Client::new(&stranger, &running.pki.bundle(), &party("service/status"), running.address).unwrap();
    client.get("/count").await.expect_err("a certificate of another authority");
    a_client_without_certificate_is_refused(&running).await;
    for (who, status) in [("service/monitor", 200), ("operator/auditor", 200), ("fridge/FR-1", 403)] {
        assert_eq!(running.client(who).get("/metrics").await.unwrap().status.as_u16(), status, "{who}");
        assert_eq!(running.client(who).get("/healthz").await.unwrap().status.as_u16(), status, "{who}");
    }
}

#[tokio::test]
async fn every_error_has_a_problem_body() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    is_problem(&client.get("/nothing").await.unwrap(), 404, "not_found");
    is_problem(&client.send(Method::DELETE, "/count", &[], None).await.unwrap(), 405, "method_not_allowed");
    let text = [("content-type", "text/plain")];
    let reply = client.send(Method::POST, "/locks", &text, Some(&json!({}))).await.unwrap();
    is_problem(&reply, 415, "unsupported_media_type");
    is_problem(&client.post("/locks", &json!({"fridge": 1})).await.unwrap(), 422, "invalid");
    let huge = json!({"fridge": "x".repeat(1024 * 1024)});
    is_problem(&client.post("/locks", &huge).await.unwrap(), 413, "body_too_large");
    is_problem(&client.get("/audit?page_size=0").await.unwrap(), 400, "invalid_page_size");
    is_problem(&client.get("/audit?nonsense=1").await.unwrap(), 400, "invalid_query");
    let patch = async |headers: &[(&str, &str)]| {
        client.send(Method::PATCH, "/change", headers, Some(&json!({}))).await.unwrap()
    };
    is_problem(&patch(&[]).await, 428, "if_match_required");
    is_problem(&patch(&[("if-match", "\"6\"")]).await, 412, "changed_meanwhile");
    assert_eq!(patch(&[("if-match", "\"7\"")]).await.status.as_u16(), 204);
}

#[tokio::test]
async fn the_same_post_twice_is_done_once() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    let key = [("idempotency-key", "k-1")];
    let post = async |body: &Value| client.send(Method::POST, "/locks", &key, Some(body)).await.unwrap();
    let row = json!({"fridge": "FR-0001", "locked": true});
    let (first, second) = (post(&row).await, post(&row).await);
    assert_eq!((first.status.as_u16(), &first.body, first.etag()), (201, &second.body, second.etag()));
    assert_eq!(client.get("/audit").await.unwrap().json()["entries"].as_array().unwrap().len(), 1);
    is_problem(&post(&json!({"fridge": "FR-0002", "locked": true})).await, 422, "idempotency_key_reused");
    let other = running.client("operator/operator-bob");
    let reply = other.send(Method::POST, "/locks", &key, Some(&row)).await.unwrap();
    assert_ne!(reply.body, first.body, "a key is its caller's own");
}

#[tokio::test]
async fn each_event_is_booked_once_and_none_is_missed() {
    let mut running = start().await;
    let client = running.client("service/purchase-session");
    assert_eq!(deliver(&client, &[tampered(2), tampered(1)]).await.json(), json!({"booked": 2}));
    assert_eq!(deliver(&client, &[tampered(1), tampered(2), tampered(3)]).await.json(), json!({"booked": 3}));
    assert_eq!(deliver(&client, &[tampered(3)]).await.json(), json!({"booked": 3}));
    let gap = deliver(&client, &[tampered(5)]).await;
    is_problem(&gap, 409, "sequence_gap");
    assert_eq!(gap.json()["expected"], json!(4));
    let unknown = event(4, "larder.of.tomorrow.v1", json!({"x": 1}));
    assert_eq!(deliver(&client, &[unknown, tampered(5)]).await.json(), json!({"booked": 5}));
    let broken = event(6, "larder.fridge.tampered.v1", json!({"fridge": 1}));
    is_problem(&deliver(&client, &[broken, tampered(7)]).await, 422, "invalid");
    let mut elsewhere = tampered(6);
    elsewhere["source"] = json!("/elsewhere");
    is_problem(&deliver(&client, &[elsewhere]).await, 409, "unknown_source");
    let mut renumbered = tampered(6);
    renumbered["id"] = tampered(5)["id"].clone();
    assert_eq!(deliver(&client, &[renumbered]).await.json(), json!({"booked": 6}));
    running.stop().await;
    running.begin(NoSettings {}, small).await;
    let counted = running.client("operator/viewer").get("/count").await.unwrap().json();
    assert_eq!(counted, json!({"count": 4}), "events 1, 2, 3 and 5");
    let client = running.client("service/purchase-session");
    assert_eq!(deliver(&client, &[tampered(6)]).await.json(), json!({"booked": 6}));
}

#[tokio::test]
async fn a_feed_goes_on_where_its_reader_was_and_wakes_him() {
    let running = start().await;
    let (pci, operator) = (running.client("service/purchase-session"), running.client("operator/operator"));
    let page = async |query: &str| pci.get(&format!("/feed/locks?{query}")).await.unwrap().json();
    assert_eq!(page("").await, json!({"rows": [], "revision": 0, "more": false, "booked": 0}));
    deliver(&pci, &[tampered(1), tampered(2), tampered(3)]).await;
    let first = page("limit=2").await;
    assert_eq!(
        (&first["more"], &first["revision"], first["rows"].as_array().unwrap().len()),
        (&json!(true), &json!(2), 2)
    );
    let rest = page("after=2&limit=2").await;
    assert_eq!(rest["rows"], json!([{"fridge": "FR-0003", "locked": true}]));
    assert_eq!((&rest["more"], &rest["booked"]), (&json!(false), &json!(3)));
    operator.post("/locks", &json!({"fridge": "FR-0001", "locked": false})).await.unwrap();
    let changed = page("after=0").await;
    assert_eq!(changed["rows"].as_array().unwrap().len(), 3, "a changed row is one row: {changed}");
    assert_eq!(changed["rows"][2], json!({"fridge": "FR-0001", "locked": false}), "and comes last");
    let waiting = pci.get("/feed/locks?after=4&wait_s=30");
    let row = json!({"fridge": "FR-0009", "locked": true});
    let writing = operator.post("/locks", &row);
    let (woken, _) = tokio::join!(waiting, writing);
    let row: LockRow = serde_json::from_value(woken.unwrap().json()["rows"][0].clone()).unwrap();
    assert_eq!(row, LockRow { fridge: FridgeId::parse("FR-0009").unwrap(), locked: true });
    is_problem(&pci.get("/feed/locks?after=99").await.unwrap(), 409, "revision_ahead");
    is_problem(&pci.get("/feed/locks?limit=1001").await.unwrap(), 400, "invalid_query");
    is_problem(&operator.get("/feed/locks").await.unwrap(), 403, "permission_denied");
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_feed_that_waits() {
    let mut running = start().await;
    let client = running.client("service/purchase-session");
    client.get("/feed/locks").await.unwrap();
    let waiting = tokio::spawn(async move { client.get("/feed/locks?wait_s=30").await.map(|reply| reply.json()) });
    let began = tokio::time::Instant::now();
    running.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(9));
    // The request came in before the end and got its empty page, or after it and got none.
    if let Ok(page) = waiting.await.unwrap() {
        assert_eq!(page["rows"], json!([]));
    }
}
