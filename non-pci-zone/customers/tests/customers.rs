//! The customers service over real mutual TLS.
//!
//! A failure is: money or blame counted twice, not at all, or against the wrong party; an ID token told twice or stored;
//! a standing that a reversal leaves wrong; a change that undoes another unseen; or a restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use http::Method;
use ops_customers::Settings;
use ops_kit::{Client, Reply};
use pci_contract::IdTokenDigest;
use serde_json::{Value, json};
use support::{Running, SESSION, TOKEN, card, deliver, event, finalized, usd};

const SECOND: &str = "tok_1_bbcdefghijklmnopqrstuvwxyz";

async fn start() -> Running {
    Running::start("customers", Settings::default(), ops_customers::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

fn ada() -> Value {
    json!({"customer": "CU-1", "name": "Ada", "credit": usd(1000), "subscription": "SU-1", "expert": "EX-1",
           "referral_code": "FRIEND", "id_tokens": ["idt-64746e73"]})
}

fn theft(sequence: u64, customer: Option<&str>) -> Value {
    event(
        sequence,
        "larder.theft.confirmed.v1",
        json!({
        "session": SESSION, "fridge": "FR-0001", "meal": "(01)09500000000198(21)1", "card": card(), "customer": customer,
        "price": usd(900), "owner_subscription": "SU-9", "at": 1_772_431_268_000_000_i64}),
    )
}

fn failed(sequence: u64, customer: Option<&str>, minor: i64) -> Value {
    event(
        sequence,
        "larder.payment.failed.v1",
        json!({
        "session": SESSION, "fridge": "FR-0001", "customer": customer, "card": card(), "amount": usd(minor),
        "reason": "card_declined", "at": 1_772_431_268_000_000_i64}),
    )
}

fn enrolled(sequence: u64, token: &str, last_four: &str) -> Value {
    enrolled_by("CU-1", sequence, token, last_four)
}

fn enrolled_by(customer: &str, sequence: u64, token: &str, last_four: &str) -> Value {
    event(
        sequence,
        "larder.card.enrolled.v1",
        json!({
        "enrollment": "00000000-0000-7000-8000-000000000001", "customer": customer,
        "card": {"token": token, "brand": "visa", "last_four": last_four}, "at": 1_772_431_268_000_000_i64}),
    )
}

async fn delete(client: &Client, path: &str) {
    let reply = client.send(Method::DELETE, path, &[("if-match", "*")], None).await.unwrap();
    assert_eq!(reply.status.as_u16(), 204, "{path}: {:?}", reply.body);
}

async fn row(pci: &Client, feed: &str) -> Value {
    ok(pci.get(&format!("/feed/{feed}"))).await["rows"].as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn a_customer_is_created_read_changed_and_listed() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let created = client.post("/customers", &ada()).await.unwrap();
    assert_eq!(created.status.as_u16(), 201);
    assert_eq!(client.post("/customers", &ada()).await.unwrap().json()["code"], json!("already_exists"));
    let told = row(&pci, "customers").await;
    assert_eq!(told["id_tokens"], json!([IdTokenDigest::of("idt-64746e73").as_str()]));
    assert_eq!((&told["credit"], &told["thefts"], &told["default_card"]), (&usd(1000), &json!(0), &Value::Null));
    let patch = async |tag: &str, body: Value| {
        client.send(Method::PATCH, "/customers/CU-1", &[("if-match", tag)], Some(&body)).await.unwrap()
    };
    let blocked = patch(created.etag().unwrap(), json!({"blocked": true, "expert": null})).await;
    assert_eq!((&blocked.json()["blocked"], &blocked.json()["expert"]), (&json!(true), &Value::Null));
    assert_eq!(patch(created.etag().unwrap(), json!({"blocked": false})).await.status.as_u16(), 412);
    assert_eq!(
        client.send(Method::PATCH, "/customers/CU-1", &[], Some(&json!({}))).await.unwrap().status.as_u16(),
        428
    );
    assert_eq!(row(&pci, "customers").await["blocked"], json!(true));
    let found = ok(client.get("/customers?blocked=true&subscription=SU-1")).await;
    assert_eq!(found["customers"][0]["customer"], json!("CU-1"));
    assert_eq!(ok(client.get("/customers?blocked=false")).await["customers"], json!([]));
    for bad in [json!({"customer": "1111111111111", "name": "x"}), json!({"customer": "CU-2", "name": ""})] {
        assert_eq!(client.post("/customers", &bad).await.unwrap().status.as_u16(), 422, "{bad}");
    }
    let (viewer, refiller) = (running.client("operator/viewer"), running.client("operator/refiller-rob"));
    assert_eq!(viewer.post("/customers", &ada()).await.unwrap().json()["code"], json!("permission_denied"));
    assert_eq!(refiller.get("/customers").await.unwrap().status.as_u16(), 403);
}

#[tokio::test]
async fn a_batch_is_idempotent_and_its_pages_show_everyone_once() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    let customers: Vec<Value> = (0..120)
        .map(|n| json!({"customer": format!("CU-{n:04}"), "name": "N", "id_tokens": [format!("idt-{n}")]}))
        .collect();
    let batch = json!({ "customers": customers });
    assert_eq!(ok(client.post("/customers:batchCreate", &batch)).await, json!({"created": 120, "existing": 0}));
    assert_eq!(ok(client.post("/customers:batchCreate", &batch)).await, json!({"created": 0, "existing": 120}));
    let (mut seen, mut token) = (0, String::new());
    for _ in 0..3 {
        let page = ok(client.get(&format!("/customers?page_size=50&page_token={token}"))).await;
        seen += page["customers"].as_array().unwrap().len();
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((seen, token.as_str()), (120, ""));
    let taken = json!({"customers": [{"customer": "CU-X", "name": "N"}, {"customer": "CU-Y", "name": "N", "id_tokens": ["idt-7"]}]});
    assert_eq!(client.post("/customers:batchCreate", &taken).await.unwrap().json()["code"], json!("id_token_taken"));
    assert_eq!(client.get("/customers/CU-X").await.unwrap().status.as_u16(), 404, "nothing of a refused batch stays");
}

#[tokio::test]
async fn an_id_token_is_told_once_and_never_stored() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &json!({"customer": "CU-1", "name": "Ada"})).await.unwrap();
    let issue = async || {
        let key = [("idempotency-key", "k-1")];
        let body = json!({"label": "child"});
        client.send(Method::POST, "/customers/CU-1/id-tokens", &key, Some(&body)).await.unwrap()
    };
    let (first, again) = (issue().await, issue().await);
    let token = first.json()["id_token"].as_str().unwrap().to_owned();
    let digest = IdTokenDigest::of(&token).as_str().to_owned();
    assert_eq!(first.json()["digest"], json!(digest));
    assert_eq!(again.json(), json!({"digest": digest, "label": "child"}), "a repeat does not tell the secret");
    assert_eq!(row(&pci, "customers").await["id_tokens"], json!([digest]));
    let brought = json!({"id_token": token});
    client.post("/customers", &json!({"customer": "CU-2", "name": "Bob"})).await.unwrap();
    let taken = client.post("/customers/CU-2/id-tokens", &brought).await.unwrap();
    assert_eq!(taken.json()["code"], json!("id_token_taken"));
    let path = format!("/customers/CU-1/id-tokens/{digest}");
    assert_eq!(client.send(Method::DELETE, &path, &[], None).await.unwrap().status.as_u16(), 204);
    assert_eq!(client.send(Method::DELETE, &path, &[], None).await.unwrap().status.as_u16(), 404);
    assert_eq!(row(&pci, "customers").await["id_tokens"], json!([]));
    assert!(ok(client.get("/customers/CU-1/id-tokens")).await["id_tokens"][0]["revoked_at"].is_string());
    running.stop().await;
    for name in ["x.sqlite", "x.sqlite-wal"] {
        let bytes = std::fs::read(running.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{name}");
        assert_eq!(name == "x.sqlite", bytes.windows(digest.len()).any(|window| window == digest.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn a_theft_counts_once_against_the_customer_or_else_the_card() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    for _ in 0..2 {
        deliver(&pci, &[theft(1, Some("CU-1")), theft(2, None), theft(3, None)]).await;
    }
    assert_eq!(row(&pci, "customers").await["thefts"], json!(1));
    let told = row(&pci, "cards").await;
    assert_eq!((&told["thefts"], &told["customer"], &told["removed"]), (&json!(2), &Value::Null, &json!(false)));
    let list = ok(client.get(&format!("/thefts?card={TOKEN}"))).await;
    assert_eq!(list["thefts"].as_array().unwrap().len(), 3);
    let id = list["thefts"][1]["id"].as_str().unwrap();
    let path = format!("/thefts/{id}/reversal");
    assert_eq!(client.post(&path, &json!({"reason": ""})).await.unwrap().status.as_u16(), 422);
    let reversed = ok(client.post(&path, &json!({"reason": "sensor fault"}))).await;
    assert_eq!(reversed["reversed_by"], json!("spiffe://larder.internal/operator/operator-ada"));
    assert_eq!(client.post(&path, &json!({"reason": "again"})).await.unwrap().status.as_u16(), 404);
    assert_eq!(row(&pci, "cards").await["thefts"], json!(1));
    assert_eq!(ok(client.get("/thefts?open=true")).await["thefts"].as_array().unwrap().len(), 2);
    running.stop().await;
    running.begin(Settings::default(), ops_customers::serve).await;
    let client = running.client("operator/operator-ada");
    assert_eq!(ok(client.get("/customers/CU-1")).await["thefts"], json!(1));
    assert_eq!(ok(client.get(&format!("/cards/{TOKEN}"))).await["thefts"], json!(1));
}

#[tokio::test]
async fn only_a_failed_payment_makes_an_unpaid_balance() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    let mut purchase = finalized(SESSION, Some("CU-1"), &[("(01)09500000000198(21)1", "purchased", 3000)]);
    purchase["unpaid"] = usd(500);
    deliver(&pci, &[event(1, "larder.purchase.finalized.v1", purchase)]).await;
    assert_eq!(row(&pci, "customers").await["unpaid"], usd(0), "the unpaid of a purchase is information");
    deliver(&pci, &[failed(2, Some("CU-1"), 500), failed(3, None, 200)]).await;
    assert_eq!(row(&pci, "customers").await["unpaid"], usd(500));
    assert_eq!(row(&pci, "cards").await["unpaid"], usd(700));
    let open = ok(client.get("/unpaid?customer=CU-1")).await;
    assert_eq!((&open["unpaid"][0]["amount"], &open["unpaid"][0]["reason"]), (&usd(500), &json!("card_declined")));
    let path = format!("/unpaid/{}/settlement", open["unpaid"][0]["id"].as_str().unwrap());
    let settle = async || {
        let key = [("idempotency-key", "s-1")];
        client.send(Method::POST, &path, &key, Some(&json!({"reason": "paid in cash"}))).await.unwrap()
    };
    let (first, again) = (settle().await, settle().await);
    assert_eq!((first.status.as_u16(), first.body), (200, again.body));
    assert_eq!(row(&pci, "customers").await["unpaid"], usd(0));
    assert_eq!(row(&pci, "cards").await["unpaid"], usd(200));
}

#[tokio::test]
async fn credit_is_a_ledger() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    let mut purchase = finalized(SESSION, Some("CU-1"), &[("(01)09500000000198(21)1", "purchased", 900)]);
    purchase["credit_used"] = usd(650);
    for _ in 0..2 {
        deliver(&pci, &[event(1, "larder.purchase.finalized.v1", purchase.clone())]).await;
    }
    assert_eq!(row(&pci, "customers").await["credit"], usd(350));
    let grant = async |minor: i64| {
        client.post("/customers/CU-1/credit", &json!({"amount": usd(minor), "note": "sorry"})).await.unwrap()
    };
    assert_eq!(grant(100).await.json()["credit"], usd(450));
    assert_eq!(grant(-451).await.status.as_u16(), 422);
    assert_eq!(grant(0).await.status.as_u16(), 422);
    let euros = json!({"amount": {"minor": 1, "currency": "EUR"}, "note": "x"});
    assert_eq!(client.post("/customers/CU-1/credit", &euros).await.unwrap().status.as_u16(), 422);
    let entries = ok(client.get("/customers/CU-1/credit")).await;
    let amounts: Vec<i64> =
        entries["entries"].as_array().unwrap().iter().map(|entry| entry["amount"]["minor"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [1000, -650, 100]);
    assert_eq!(entries["entries"][1]["session"], json!(SESSION));
    let mut overdrawn = finalized(SESSION, Some("CU-1"), &[]);
    overdrawn["credit_used"] = usd(500);
    deliver(&pci, &[event(2, "larder.purchase.finalized.v1", overdrawn)]).await;
    assert_eq!(row(&pci, "customers").await["credit"], usd(0), "overdrawn is nothing to spend");
    assert_eq!(ok(client.get("/customers/CU-1")).await["credit"], usd(-50));
}

#[tokio::test]
async fn the_first_card_of_a_wallet_is_the_default_and_erasure_takes_it_all() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    let second = SECOND;
    deliver(&pci, &[enrolled(1, TOKEN, "4242"), enrolled(2, second, "4444"), enrolled(3, TOKEN, "4242")]).await;
    assert_eq!(row(&pci, "customers").await["default_card"]["token"], json!(TOKEN));
    let wallet = ok(client.get("/customers/CU-1/wallet")).await;
    assert_eq!(wallet["wallet"].as_array().unwrap().len(), 2);
    let path = format!("/customers/CU-1/wallet/{TOKEN}");
    assert_eq!(client.send(Method::DELETE, &path, &[], None).await.unwrap().status.as_u16(), 204);
    assert_eq!(row(&pci, "customers").await["default_card"]["token"], json!(second));
    let gone = row(&pci, "cards").await;
    assert_eq!((&gone["card"]["token"], &gone["removed"]), (&json!(TOKEN), &json!(true)), "nothing counts against it");
    let anyhow = [("if-match", "*")];
    let blocked = json!({"blocked": true});
    let path = format!("/cards/{TOKEN}");
    assert_eq!(
        client.send(Method::PATCH, &path, &anyhow, Some(&blocked)).await.unwrap().json()["blocked"],
        json!(true)
    );
    assert_eq!(row(&pci, "cards").await["removed"], json!(false), "a blocked card is known");
    let erased = client.send(Method::DELETE, "/customers/CU-1", &anyhow, None).await.unwrap();
    assert_eq!(erased.status.as_u16(), 204);
    let told = row(&pci, "customers").await;
    assert_eq!((&told["removed"], &told["id_tokens"], &told["default_card"]), (&json!(true), &json!([]), &Value::Null));
    assert_eq!(client.get("/customers/CU-1").await.unwrap().status.as_u16(), 404);
    assert_eq!(client.post("/customers", &ada()).await.unwrap().status.as_u16(), 409, "an id is used once");
    let late = deliver(&pci, &[theft(4, Some("CU-1"))]).await;
    assert_eq!(late.json(), json!({"booked": 4}), "an event about him is booked all the same");
}

#[tokio::test]
async fn a_familys_card_stands_for_whoever_enrolled_it_first_and_still_has_it() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    client.post("/customers", &json!({"customer": "CU-2", "name": "Bob"})).await.unwrap();
    deliver(&pci, &[enrolled(1, TOKEN, "4242"), enrolled_by("CU-2", 2, TOKEN, "4242")]).await;
    assert_eq!(row(&pci, "cards").await["customer"], json!("CU-1"), "nobody takes a card over by enrolling it too");
    for customer in ["CU-1", "CU-2"] {
        let told = ok(client.get(&format!("/customers/{customer}"))).await;
        assert_eq!(told["default_card"]["token"], json!(TOKEN), "{customer} pays with it");
        let wallet = ok(client.get(&format!("/customers/{customer}/wallet"))).await;
        assert_eq!(wallet["wallet"][0]["stands_for"], json!("CU-1"), "{customer} is told for whom it stands");
    }
    delete(&client, &format!("/customers/CU-1/wallet/{TOKEN}")).await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["customer"], &card["removed"]), (&json!("CU-2"), &json!(false)), "the other one still has it");
    deliver(&pci, &[enrolled(3, TOKEN, "4242")]).await;
    assert_eq!(row(&pci, "cards").await["customer"], json!("CU-2"));
    delete(&client, "/customers/CU-2").await;
    assert_eq!(row(&pci, "cards").await["customer"], json!("CU-1"));
    delete(&client, "/customers/CU-1").await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["customer"], &card["removed"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn being_erased_pays_no_debts() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let key = [("idempotency-key", "c-1")];
    let mut named = ada();
    named["name"] = json!("Ada Unforgettable");
    client.send(Method::POST, "/customers", &key, Some(&named)).await.unwrap();
    deliver(&pci, &[enrolled(1, TOKEN, "4242"), theft(2, Some("CU-1")), failed(3, Some("CU-1"), 500)]).await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["thefts"], &card["unpaid"]), (&json!(0), &usd(500)), "it counts against the customer");
    delete(&client, "/customers/CU-1").await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["customer"], &card["removed"]), (&Value::Null, &json!(false)));
    assert_eq!((&card["thefts"], &card["unpaid"]), (&json!(1), &usd(500)));
    deliver(&pci, &[theft(4, Some("CU-1")), failed(5, Some("CU-1"), 200), enrolled(6, SECOND, "4444")]).await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["card"]["token"], &card["thefts"], &card["unpaid"]), (&json!(TOKEN), &json!(2), &usd(700)));
    let owned = ok(client.get("/thefts?customer=CU-1")).await;
    assert_eq!(owned["thefts"], json!([]), "no record names him");
    running.stop().await;
    for name in ["x.sqlite", "x.sqlite-wal"] {
        let bytes = std::fs::read(running.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(17).any(|window| window == b"Ada Unforgettable"), "{name} tells his name");
    }
}

#[tokio::test]
async fn a_wallet_washes_no_card() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    deliver(&pci, &[theft(1, None), theft(2, None), failed(3, None, 300), enrolled(4, TOKEN, "4242")]).await;
    let standing = async || {
        let told = row(&pci, "customers").await;
        (told["thefts"].as_i64().unwrap(), told["unpaid"]["minor"].as_i64().unwrap())
    };
    assert_eq!(standing().await, (2, 300), "what the card did before counts against whoever has it");
    deliver(&pci, &[theft(5, Some("CU-1")), failed(6, Some("CU-1"), 40), theft(7, None), failed(8, None, 60)]).await;
    assert_eq!(standing().await, (4, 400), "each counts once; a late anonymous one too");
    let thefts = ok(client.get("/thefts?customer=CU-1&open=true")).await;
    assert_eq!(thefts["thefts"].as_array().unwrap().len(), 4, "he is told what counts against him");
    let reason = json!({"reason": "sensor fault"});
    let path = format!("/thefts/{}/reversal", thefts["thefts"][0]["id"].as_str().unwrap());
    assert_eq!(ok(client.post(&path, &reason)).await["customer"], Value::Null);
    let unpaid = ok(client.get("/unpaid?customer=CU-1&open=true")).await;
    let path = format!("/unpaid/{}/settlement", unpaid["unpaid"][0]["id"].as_str().unwrap());
    ok(client.post(&path, &reason)).await;
    assert_eq!(standing().await, (3, 100), "a reversal reaches the customer");
    delete(&client, &format!("/customers/CU-1/wallet/{TOKEN}")).await;
    assert_eq!(standing().await, (1, 40), "what is his stays, what is the card's goes with it");
    let card = row(&pci, "cards").await;
    assert_eq!((&card["thefts"], &card["unpaid"], &card["removed"]), (&json!(2), &usd(100), &json!(false)));
}

#[tokio::test]
async fn a_blocked_card_stands_for_nobody_and_is_not_charged() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    client.post("/customers", &ada()).await.unwrap();
    deliver(&pci, &[theft(1, None)]).await;
    let path = format!("/cards/{TOKEN}");
    let block = async |blocked: bool| {
        let body = json!({ "blocked": blocked });
        client.send(Method::PATCH, &path, &[("if-match", "*")], Some(&body)).await.unwrap().json()
    };
    block(true).await;
    deliver(&pci, &[enrolled(2, TOKEN, "4242")]).await;
    let card = row(&pci, "cards").await;
    assert_eq!((&card["customer"], &card["blocked"]), (&Value::Null, &json!(true)), "judged by its own standing");
    assert_eq!(row(&pci, "customers").await["default_card"], Value::Null);
    assert_eq!(ok(client.get(&path)).await["customer"], json!("CU-1"), "operators see in whose wallet it is");
    deliver(&pci, &[enrolled(3, SECOND, "4444")]).await;
    assert_eq!(row(&pci, "customers").await["default_card"]["token"], json!(SECOND));
    assert_eq!(block(false).await["blocked"], json!(false));
    assert_eq!(row(&pci, "cards").await["customer"], json!("CU-1"));
    assert_eq!(row(&pci, "customers").await["default_card"]["token"], json!(TOKEN));
}
