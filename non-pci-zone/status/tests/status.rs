//! The status service over real mutual TLS.
//!
//! A failure is: a fridge that speaks for another, a lock that does not reach the PCI zone, a session told otherwise than
//! its events in whatever order they came, a series without end, or a restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use http::Method;
use ops_kit::{Client, Reply};
use ops_status::Settings;
use serde_json::{Value, json};
use support::{Running, SESSION, card, deliver, event, finalized, usd};

const OTHER: &str = "4ed615ae-e6a0-47bb-82f2-6b7777de3d20";

async fn start() -> Running {
    Running::start("status", Settings::default(), ops_status::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

fn barcode(serial: u32) -> String {
    format!("(01)09500000000198(21){serial:06}")
}

fn bought(session: &str) -> Value {
    let (second, first) = (barcode(2), barcode(1));
    let mut purchase = finalized(session, Some("CU-1"), &[(&second, "stolen", 900), (&first, "purchased", 650)]);
    purchase["alarms"] = json!([barcode(2)]);
    purchase
}

fn settled(session: &str, how: &str, minor: i64) -> Value {
    json!({"session": session, "fridge": "FR-0001", "settlement": how, "amount": usd(minor),
           "processor_reference": "ch_1", "at": 1_772_431_269_000_000_i64})
}

fn failed(session: &str, minor: i64) -> Value {
    json!({"session": session, "fridge": "FR-0001", "customer": null, "card": card(), "amount": usd(minor),
           "reason": "card_declined", "at": 1_772_431_269_000_000_i64})
}

fn refused(session: &str) -> Value {
    json!({"session": session, "fridge": "FR-0002", "customer": "CU-1", "card": null, "reason": "unknown_id_token",
           "at": 1_772_431_228_000_000_i64})
}

/// Delivers these (kind, data) as the next events and says what became of the session.
async fn settlement_after(events: &[(&str, Value)]) -> Value {
    let running = start().await;
    let numbered: Vec<Value> =
        (1..).zip(events).map(|(n, (kind, data))| event(n, &format!("larder.{kind}.v1"), data.clone())).collect();
    assert_eq!(deliver(&running.client("service/purchase-session"), &numbered).await.status.as_u16(), 200);
    let reply = running.client("operator/viewer").get(&format!("/sessions/{SESSION}")).await.unwrap();
    reply.json()["settlement"].clone()
}

#[tokio::test]
async fn a_session_is_told_as_its_events_told_it() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    let events = [
        event(1, "larder.purchase.finalized.v1", bought(SESSION)),
        event(2, "larder.purchase.refused.v1", refused(OTHER)),
    ];
    for _ in 0..2 {
        assert_eq!(deliver(&pci, &events).await.json(), json!({"booked": 2}));
    }
    assert_eq!(ok(client.get("/sessions:count")).await, json!({"sessions": 2, "pending": 1}));
    let session = ok(client.get(&format!("/sessions/{SESSION}"))).await;
    assert_eq!(session["meals"], json!([barcode(1), barcode(2)]), "sorted");
    assert_eq!((&session["thefts"], &session["alarms"]), (&json!([barcode(2)]), &json!([barcode(2)])));
    assert_eq!((&session["charged_minor"], &session["customer"]), (&json!(1550), &json!("CU-1")));
    assert_eq!((&session["outcome"], &session["settlement"]), (&json!("charged"), &json!("pending")));
    deliver(&pci, &[event(3, "larder.payment.settled.v1", settled(SESSION, "captured", 1550))]).await;
    assert_eq!(ok(client.get("/sessions:count")).await, json!({"sessions": 2, "pending": 0}));
    running.stop().await;
    running.begin(Settings::default(), ops_status::serve).await;
    let client = running.client("operator/viewer-vic");
    let unknown = "4ed615ae-e6a0-47bb-82f2-6b7777de3d21";
    let batch = ok(client.get(&format!("/sessions:batchGet?ids={OTHER},{unknown},{SESSION}"))).await;
    let told: Vec<(&Value, &Value, &Value)> = batch["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (&session["session"], &session["settlement"], &session["reason"]))
        .collect();
    let expected = [
        (&json!(SESSION), &json!("captured"), &Value::Null),
        (&json!(OTHER), &Value::Null, &json!("unknown_id_token")),
    ];
    assert_eq!(told, expected);
    assert_eq!(ok(client.get("/sessions?fridge=FR-0002")).await["sessions"][0]["session"], json!(OTHER));
    let page = ok(client.get("/sessions?customer=CU-1&page_size=1")).await;
    let next = page["next_page_token"].as_str().unwrap();
    let page = ok(client.get(&format!("/sessions?customer=CU-1&page_size=1&page_token={next}"))).await;
    assert_eq!((&page["sessions"][0]["session"], &page["next_page_token"]), (&json!(OTHER), &Value::Null));
    assert_eq!(client.get(&format!("/sessions/{unknown}")).await.unwrap().status.as_u16(), 404);
    let many = vec![SESSION; 201].join(",");
    assert_eq!(client.get(&format!("/sessions:batchGet?ids={many}")).await.unwrap().status.as_u16(), 422);
    assert_eq!(client.get("/sessions:batchGet?ids=x").await.unwrap().status.as_u16(), 422);
}

#[tokio::test]
async fn the_settlement_follows_from_the_events_in_any_order() {
    let purchase = ("purchase.finalized", bought(SESSION));
    let mut over_hold = bought(SESSION);
    over_hold["unpaid"] = usd(500);
    let over = ("purchase.finalized", over_hold);
    let captured = ("payment.settled", settled(SESSION, "captured", 1050));
    let voided = ("payment.settled", settled(SESSION, "voided", 0));
    let (rest, all) = (("payment.failed", failed(SESSION, 500)), ("payment.failed", failed(SESSION, 1050)));
    for (events, expected) in [
        (vec![&purchase], "pending"),
        (vec![&purchase, &captured], "captured"),
        (vec![&captured, &purchase], "captured"),
        (vec![&purchase, &voided], "voided"),
        (vec![&purchase, &all], "failed"),
        (vec![&all, &purchase], "failed"),
        (vec![&over, &rest], "pending"),
        (vec![&rest, &over], "pending"),
        (vec![&over, &rest, &captured], "captured"),
        (vec![&over, &rest, &all], "failed"),
    ] {
        let events: Vec<(&str, Value)> = events.into_iter().cloned().collect();
        assert_eq!(settlement_after(&events).await, json!(expected), "{events:?}");
    }
}

#[tokio::test]
async fn a_fridge_speaks_for_itself_only() {
    let mut running = start().await;
    let (fridge, client) = (running.client("fridge/FR-0001"), running.client("operator/viewer"));
    let report = json!({"temperature_c": 3.5, "humidity": 40.0, "door": "closed", "firmware": "1.2.3",
                        "meals": [barcode(1)], "measured_at": "2026-03-02T06:00:00Z"});
    assert_eq!(fridge.post("/fridges/FR-0001/reports", &report).await.unwrap().status.as_u16(), 201);
    let other = fridge.post("/fridges/FR-0002/reports", &report).await.unwrap();
    assert_eq!((other.status.as_u16(), &other.json()["policy_area"]), (403, &json!("fridges")));
    let admin = running.client("operator/admin").post("/fridges/FR-0001/reports", &report).await.unwrap();
    assert_eq!(admin.status.as_u16(), 403);
    assert_eq!(fridge.get("/fridges").await.unwrap().status.as_u16(), 403);
    let key = [("idempotency-key", "r-2")];
    let warmer = json!({"temperature_c": 6.0});
    for _ in 0..2 {
        let reply = fridge.send(Method::POST, "/fridges/FR-0001/reports", &key, Some(&warmer)).await.unwrap();
        assert_eq!(reply.json()["report"], json!(2));
    }
    for bad in [json!({"temperature_c": 101.0}), json!({"humidity": -1.0}), json!({"door": "ajar"}), json!({"x": 1})] {
        assert_eq!(fridge.post("/fridges/FR-0001/reports", &bad).await.unwrap().status.as_u16(), 422, "{bad}");
    }
    running.stop().await;
    running.begin(Settings::default(), ops_status::serve).await;
    drop(client);
    let client = running.client("operator/viewer");
    let now = ok(client.get("/fridges/FR-0001")).await;
    assert_eq!((&now["temperature_c"], &now["door"]), (&json!(6.0), &json!("closed")), "what was left out stays");
    assert_eq!(now["meals"], json!([barcode(1)]));
    let series = ok(client.get("/fridges/FR-0001/reports")).await;
    let degrees: Vec<f64> =
        series["reports"].as_array().unwrap().iter().map(|row| row["temperature_c"].as_f64().unwrap()).collect();
    assert_eq!(degrees, [3.5, 6.0]);
    assert_eq!(ok(client.get("/fridges/FR-0001/reports?to=2000-01-01T00:00:00Z")).await["reports"], json!([]));
}

#[tokio::test]
async fn a_fridge_in_quarantine_is_seen_with_its_reasons_until_it_reports_by_its_own_name() {
    let mut running = start().await;
    let quarantined = running.client("quarantine/FR-0001");
    let place = "/fridges/FR-0001/reports";
    ok(running.client("fridge/FR-0001").post(place, &json!({"temperature_c": 3.0}))).await;
    let free = json!({"quarantined": false, "since": null, "reasons": []});
    assert_eq!(ok(running.client("operator/viewer").get("/fridges/FR-0001")).await["quarantine"], free);

    // It reports for itself alone, and nothing else is open to it.
    let reasons = json!(["event 0 extended register 0 with 0a1b", "its clock went back"]);
    let report = json!({"reasons": reasons, "temperature_c": 9.5});
    ok(quarantined.post(place, &report)).await;
    assert_eq!(quarantined.post("/fridges/FR-0002/reports", &report).await.unwrap().status.as_u16(), 403);
    for path in ["/fridges", "/fridges/FR-0001", place, "/healthz", "/feed/locks", "/sessions", "/audit"] {
        assert_eq!(quarantined.get(path).await.unwrap().status.as_u16(), 403, "{path}");
    }
    let release = json!({"locked": false, "reason": "x"});
    let reply = quarantined.send(Method::PUT, "/fridges/FR-0001/lock", &[], Some(&release)).await.unwrap();
    assert_eq!(reply.status.as_u16(), 403);
    let many = vec!["x"; 17];
    for bad in [
        json!({ "reasons": many }),
        json!({"reasons": [""]}),
        json!({"reasons": ["1234567890123"]}),
        json!({"meals": [barcode(1)]}),
        json!({"quarantined": false}),
    ] {
        assert_eq!(quarantined.post(place, &bad).await.unwrap().status.as_u16(), 422, "{bad}");
    }
    let seen = ok(running.client("operator/viewer").get("/fridges/FR-0001")).await;
    let (since, told) = (seen["quarantine"]["since"].clone(), &seen["quarantine"]["reasons"]);
    assert_eq!((&seen["quarantine"]["quarantined"], told), (&json!(true), &reasons));
    assert_eq!((&since, &seen["temperature_c"]), (&seen["seen_at"], &json!(9.5)));

    // It goes on over a restart, with the first moment and the last reasons.
    running.stop().await;
    running.begin(Settings::default(), ops_status::serve).await;
    let quarantined = running.client("quarantine/FR-0001");
    ok(quarantined.post(place, &json!({}))).await;
    let viewer = running.client("operator/viewer");
    let seen = ok(viewer.get("/fridges/FR-0001")).await;
    assert_eq!(seen["quarantine"], json!({"quarantined": true, "since": since, "reasons": reasons}));
    ok(quarantined.post(place, &json!({"reasons": ["another"]}))).await;
    assert_eq!(ok(viewer.get("/fridges/FR-0001")).await["quarantine"]["reasons"], json!(["another"]));
    let found = async |query: &str| ok(viewer.get(&format!("/fridges?quarantined={query}"))).await["fridges"].clone();
    assert_eq!((found("true").await[0]["fridge"].clone(), found("false").await), (json!("FR-0001"), json!([])));

    // By its own name it is free, whatever the report says; and what it said in quarantine is marked.
    let fridge = running.client("fridge/FR-0001");
    let claims = fridge.post(place, &json!({"reasons": ["x"]})).await.unwrap();
    assert_eq!(claims.status.as_u16(), 422);
    ok(fridge.post(place, &json!({}))).await;
    assert_eq!(ok(viewer.get("/fridges/FR-0001")).await["quarantine"], free);
    let series = ok(viewer.get(place)).await;
    let marks = series["reports"].as_array().unwrap().iter().map(|row| row["quarantined"].as_bool().unwrap());
    assert_eq!(marks.collect::<Vec<_>>(), [false, true, true, true, false]);
    let acts = ok(viewer.get("/audit?target=FR-0001")).await;
    let acts = acts["entries"].as_array().unwrap().iter().map(|act| (act["what"].clone(), act["who"].clone()));
    let party = |kind: &str| json!(format!("spiffe://larder.internal/{kind}/FR-0001"));
    let expected =
        [(json!("fridge.quarantine"), party("quarantine")), (json!("fridge.quarantine_end"), party("fridge"))];
    assert_eq!(acts.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_series_has_an_end() {
    let settings = Settings { reports_per_fridge: 3, ..Settings::default() };
    let running = Running::start("status", settings, ops_status::serve).await;
    let fridge = running.client("fridge/FR-0001");
    for degrees in 1..=5 {
        ok(fridge.post("/fridges/FR-0001/reports", &json!({"temperature_c": degrees}))).await;
    }
    let series = ok(running.client("operator/viewer").get("/fridges/FR-0001/reports")).await;
    let numbers: Vec<i64> =
        series["reports"].as_array().unwrap().iter().map(|row| row["report"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [3, 4, 5]);
}

async fn lock(client: &Client, tag: Option<&str>, body: Value) -> Reply {
    let headers: Vec<(&str, &str)> = tag.map(|tag| ("if-match", tag)).into_iter().collect();
    client.send(Method::PUT, "/fridges/FR-0001/lock", &headers, Some(&body)).await.unwrap()
}

#[tokio::test]
async fn a_lock_bears_a_name_and_reaches_the_pci_zone() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let locked = lock(&client, None, json!({"locked": true, "reason": "8 degrees for an hour"})).await;
    assert_eq!(locked.json()["lock"]["by"], json!("spiffe://larder.internal/operator/operator-ada"));
    let feed = ok(pci.get("/feed/locks")).await;
    assert_eq!(feed["rows"], json!([{"fridge": "FR-0001", "locked": true}]));
    assert_eq!(lock(&client, None, json!({"locked": false, "reason": ""})).await.status.as_u16(), 422);
    let viewer = running.client("operator/viewer");
    assert_eq!(lock(&viewer, None, json!({"locked": false, "reason": "x"})).await.status.as_u16(), 403);
    let tag = locked.etag().unwrap().to_owned();
    let release = json!({"locked": false, "reason": "restocked"});
    assert_eq!(lock(&client, Some(&tag), release.clone()).await.status.as_u16(), 200);
    assert_eq!(lock(&client, Some(&tag), release).await.json()["code"], json!("changed_meanwhile"));
    assert_eq!(ok(pci.get("/feed/locks")).await["rows"][0]["locked"], json!(false));
    assert_eq!(ok(client.get("/fridges?locked=true")).await["fridges"], json!([]));
    let acts = ok(client.get("/audit?target=FR-0001")).await;
    let acts: Vec<&str> = acts["entries"].as_array().unwrap().iter().map(|act| act["what"].as_str().unwrap()).collect();
    assert_eq!(acts, ["fridge.lock", "fridge.release"]);
}

#[tokio::test]
async fn what_happens_outside_sessions_is_listed() {
    let running = start().await;
    let pci = running.client("service/purchase-session");
    let tampered = |fridge: &str, code: Value| json!({"fridge": fridge, "kind": "meal_moved", "code": code, "at": 1});
    let events = [
        event(1, "larder.fridge.tampered.v1", tampered("FR-0001", json!(barcode(1)))),
        event(2, "larder.fridge.tampered.v1", tampered("FR-0002", json!("no barcode"))),
    ];
    deliver(&pci, &events).await;
    let list = ok(running.client("operator/viewer").get("/tampers")).await;
    assert_eq!((&list["tampers"][0]["kind"], &list["tampers"][0]["code"]), (&json!("meal_moved"), &json!(barcode(1))));
    assert_eq!(list["tampers"][1]["code"], json!("unreadable"));
    let one = ok(running.client("operator/viewer").get("/tampers?fridge=FR-0002")).await;
    assert_eq!(one["tampers"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_fridge_counts_is_kept_when_it_is_other_than_before() {
    let settings = Settings { snapshots_per_fridge: 2, ..Settings::default() };
    let running = Running::start("status", settings, ops_status::serve).await;
    let (fridge, client) = (running.client("fridge/FR-0001"), running.client("operator/viewer"));
    let count = async |serials: &[u32]| {
        let meals: Vec<String> = serials.iter().map(|serial| barcode(*serial)).collect();
        ok(fridge.post("/fridges/FR-0001/reports", &json!({ "meals": meals }))).await
    };
    for serials in [&[1, 2, 3][..], &[2, 1], &[1, 2], &[1, 2, 2]] {
        count(serials).await;
    }
    ok(fridge.post("/fridges/FR-0001/reports", &json!({"temperature_c": 3.0}))).await;
    let now = ok(client.get("/fridges/FR-0001")).await;
    assert_eq!(now["meals"], json!([barcode(1), barcode(2)]));
    assert!(now["counted_at"].is_string() && now["counted_at"] != now["seen_at"], "{now}");
    let kept = async || {
        let kept = ok(client.get("/fridges/FR-0001/snapshots")).await;
        let told = |row: &Value| (row["report"].as_i64().unwrap(), row["meals"].as_array().unwrap().len());
        kept["snapshots"].as_array().unwrap().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(kept().await, [(1, 3), (2, 2)]);
    count(&[]).await;
    assert_eq!(kept().await, [(2, 2), (6, 0)], "there is an end to them");
    let page = ok(client.get("/fridges/FR-0001/snapshots?page_size=1")).await;
    let next = page["next_page_token"].as_str().unwrap();
    let page = ok(client.get(&format!("/fridges/FR-0001/snapshots?page_size=1&page_token={next}"))).await;
    assert_eq!((&page["snapshots"][0]["meals"], &page["next_page_token"]), (&json!([]), &Value::Null));
    assert_eq!(fridge.get("/fridges/FR-0001/snapshots").await.unwrap().status.as_u16(), 403);
}

#[tokio::test]
async fn a_session_counts_once_however_often_it_ends() {
    let running = start().await;
    let (client, pci) = (running.client("operator/viewer"), running.client("service/purchase-session"));
    let finalized = |sequence, session: &str| event(sequence, "larder.purchase.finalized.v1", bought(session));
    let count = async || ok(client.get("/sessions:count")).await;
    deliver(&pci, &[event(1, "larder.payment.settled.v1", settled(SESSION, "captured", 1550))]).await;
    assert_eq!(count().await, json!({"sessions": 0, "pending": 0}), "a payment alone is no end");
    deliver(&pci, &[finalized(2, SESSION), finalized(3, OTHER), finalized(4, OTHER)]).await;
    assert_eq!(count().await, json!({"sessions": 2, "pending": 1}));
}
