//! The inventory service over real mutual TLS.
//!
//! A failure is: a sale that leaves a meal on the shelf or changes it twice, a row missing in a feed or there without
//! need, a change that undoes another unseen, or a restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use http::Method;
use ops_kit::{Client, NoSettings, Reply};
use serde_json::{Value, json};
use support::{Running, SESSION, deliver, event, finalized, usd};

const GTIN: &str = "09500000000198";
const FINALIZED: &str = "larder.purchase.finalized.v1";

fn barcode(serial: u32) -> String {
    format!("(01){GTIN}(21){serial:06}")
}

fn meal(serial: u32, fridge: &str) -> Value {
    json!({"barcode": barcode(serial), "gtin": GTIN, "fridge": fridge, "expires_at": "2099-01-01T00:00:00Z"})
}

fn owned(serial: u32, fridge: &str) -> Value {
    json!({"barcode": barcode(serial), "fridge": fridge, "owner": "CU-1", "owner_subscription": "SU-1", "prepaid": true,
           "sign": "red star", "expires_at": "2099-01-01T00:00:00Z"})
}

async fn start() -> Running {
    Running::start("inventory", NoSettings {}, ops_inventory::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

async fn state(client: &Client, serial: u32) -> Value {
    ok(client.get(&format!("/meals/{}", barcode(serial)))).await["state"].clone()
}

#[tokio::test]
async fn meal_types_are_created_once_and_change_only_as_read() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    let soup = json!({"gtin": GTIN, "name": "Soup", "price": usd(650)});
    assert_eq!(client.post("/meal-types", &soup).await.unwrap().status.as_u16(), 201);
    assert_eq!(client.post("/meal-types", &soup).await.unwrap().status.as_u16(), 200);
    let dearer = json!({"gtin": GTIN, "name": "Soup", "price": usd(700)});
    assert_eq!(client.post("/meal-types", &dearer).await.unwrap().json()["code"], json!("already_exists"));
    let path = format!("/meal-types/{GTIN}");
    let read = client.get(&path).await.unwrap();
    let tag = read.etag().unwrap().to_owned();
    let change = json!({"name": "Soup", "price": usd(700)});
    let put = async |tag: &str| client.send(Method::PUT, &path, &[("if-match", tag)], Some(&change)).await.unwrap();
    assert_eq!(put(&tag).await.status.as_u16(), 200);
    assert_eq!(put(&tag).await.status.as_u16(), 412, "the tag is of the state before");
    assert_eq!(ok(client.get("/meal-types")).await["meal_types"], json!([dearer]));
    for bad in [json!({"name": "", "price": usd(1)}), json!({"name": "x", "price": usd(-1)})] {
        assert_eq!(client.put(&path, &bad).await.unwrap().status.as_u16(), 422);
    }
    assert_eq!(client.get("/meal-types/1").await.unwrap().status.as_u16(), 404);
    let feed = ok(running.client("service/purchase-session").get("/feed/meal-types")).await;
    assert_eq!(feed["rows"], json!([dearer]));
}

#[tokio::test]
async fn a_batch_is_idempotent_and_its_meals_are_counted() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    let meals: Vec<Value> =
        (1..=300).map(|serial| meal(serial, if serial % 3 == 0 { "FR-0002" } else { "FR-0001" })).collect();
    let batch = json!({ "meals": meals });
    assert_eq!(ok(client.post("/meals:batchCreate", &batch)).await, json!({"created": 300, "existing": 0}));
    assert_eq!(ok(client.post("/meals:batchCreate", &batch)).await, json!({"created": 0, "existing": 300}));
    let stock = ok(client.get("/stock")).await;
    let counts: Vec<i64> =
        stock["stock"].as_array().unwrap().iter().map(|row| row["placed"].as_i64().unwrap()).collect();
    assert_eq!(counts, [200, 100]);
    let one = ok(client.get("/stock?fridge=FR-0002")).await;
    assert_eq!(one["meal_types"], json!([{"gtin": GTIN, "name": null, "placed": 100}]));
    assert_eq!(one["stock"].as_array().unwrap().len(), 1);
    let many = json!({ "meals": vec![meal(1, "FR-0001"); 1001] });
    assert_eq!(client.post("/meals:batchCreate", &many).await.unwrap().status.as_u16(), 422);
    let mut wrong = meal(301, "FR-0001");
    wrong["gtin"] = json!("09500000000204");
    assert_eq!(client.post("/meals:batchCreate", &json!({"meals": [wrong]})).await.unwrap().status.as_u16(), 422);
    let viewer = running.client("operator/viewer-vic");
    assert_eq!(viewer.post("/meals:batchCreate", &batch).await.unwrap().json()["code"], json!("permission_denied"));
}

#[tokio::test]
async fn pages_show_every_meal_once() {
    let running = start().await;
    let client = running.client("operator/operator-ada");
    let meals: Vec<Value> = (1..=25).map(|serial| meal(serial, "FR-0001")).collect();
    ok(client.post("/meals:batchCreate", &json!({ "meals": meals }))).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = ok(client.get(&format!("/meals?fridge=FR-0001&state=placed&page_size=10&page_token={token}"))).await;
        seen.extend(page["meals"].as_array().unwrap().iter().map(|meal| meal["barcode"].as_str().unwrap().to_owned()));
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((seen, token), ((1..=25).map(barcode).collect::<Vec<_>>(), String::new()));
    let none = ok(client.get("/meals?fridge=FR-0009")).await;
    assert_eq!(none, json!({"meals": [], "next_page_token": null}));
    assert_eq!(client.get("/meals?page_token=zz").await.unwrap().json()["code"], json!("invalid_page_token"));
}

#[tokio::test]
async fn a_purchase_takes_meals_off_the_shelf_once() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let meals = json!({"meals": [meal(1, "FR-0001"), owned(2, "FR-0001"), meal(3, "FR-0001"), meal(4, "FR-0001")]});
    ok(client.post("/meals:batchCreate", &meals)).await;
    assert_eq!(ok(client.get("/reservations?subscription=SU-1")).await["reservations"][0]["state"], json!("reserved"));
    let before = ok(pci.get("/feed/meals")).await["revision"].as_i64().unwrap();
    let (free, own, unknown) = (barcode(1), barcode(2), barcode(99));
    let mut purchase =
        finalized(SESSION, None, &[(&free, "purchased", 650), (&own, "stolen", 900), (&unknown, "purchased", 100)]);
    purchase["meals"][1]["owner_subscription"] = json!("SU-1");
    purchase["stray_returns"] = json!([barcode(1)]);
    purchase["unidentified"] = json!(["4242"]);
    purchase["not_sellable"] = json!([barcode(3)]);
    let events = [event(1, FINALIZED, purchase)];
    for _ in 0..2 {
        assert_eq!(deliver(&pci, &events).await.json(), json!({"booked": 1}));
    }
    for (serial, expected) in [(1, "purchased"), (2, "stolen"), (3, "taken"), (4, "placed")] {
        assert_eq!(state(&client, serial).await, json!(expected), "{serial}");
    }
    let sold = ok(client.get(&format!("/meals/{free}"))).await;
    assert_eq!((&sold["session"], &sold["state_at"]), (&json!(SESSION), &json!("2026-03-02T06:01:08Z")));
    let kinds = |reviews: &Value| -> Vec<String> {
        reviews["reviews"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
    };
    let reviews = ok(client.get("/reviews")).await;
    assert_eq!(kinds(&reviews), ["unknown_meal", "not_sellable_kept", "stray_return", "unidentified"]);
    assert_eq!(reviews["reviews"][3]["code"], json!("unreadable"), "what was scanned and is no barcode is not kept");
    assert_eq!(ok(client.get("/reservations?state=completed")).await["reservations"][0]["session"], json!(SESSION));
    let feed = ok(pci.get(&format!("/feed/meals?after={before}"))).await;
    assert_eq!(feed["rows"].as_array().unwrap().len(), 1, "only the owner's meal is told anew: {feed}");
    assert_eq!((&feed["rows"][0]["fridge"], &feed["rows"][0]["removed"]), (&Value::Null, &json!(false)));
    assert_eq!(feed["booked"], json!(1));
    running.stop().await;
    running.begin(NoSettings {}, ops_inventory::serve).await;
    let client = running.client("operator/operator-ada");
    assert_eq!(state(&client, 2).await, json!("stolen"));
    assert_eq!(kinds(&ok(client.get("/reviews")).await).len(), 4);
}

#[tokio::test]
async fn a_meal_sold_again_is_looked_at_and_a_review_is_resolved() {
    let running = start().await;
    let (client, pci) = (running.client("operator/refiller-rob"), running.client("service/purchase-session"));
    ok(client.post("/meals", &meal(1, "FR-0001"))).await;
    let sold = barcode(1);
    let other = "4ed615ae-e6a0-47bb-82f2-6b7777de3d20";
    for (sequence, session) in [(1, SESSION), (2, other)] {
        deliver(&pci, &[event(sequence, FINALIZED, finalized(session, None, &[(&sold, "purchased", 650)]))]).await;
    }
    let review = ok(client.get("/reviews?kind=sold_twice")).await["reviews"][0].clone();
    assert_eq!(review["session"], json!(other));
    let path = format!("/reviews/{}/resolution", review["id"]);
    assert_eq!(client.put(&path, &json!({"note": ""})).await.unwrap().status.as_u16(), 422);
    let resolved = ok(client.put(&path, &json!({"note": "put back by a guest"}))).await;
    assert_eq!(resolved["resolved_by"], json!("spiffe://larder.internal/operator/refiller-rob"));
    assert_eq!(ok(client.get("/reviews")).await["reviews"], json!([]));
    assert_eq!(ok(client.get("/reviews?resolved=true")).await["reviews"].as_array().unwrap().len(), 1);
    assert_eq!(client.put("/reviews/99/resolution", &json!({"note": "x"})).await.unwrap().status.as_u16(), 404);
}

#[tokio::test]
async fn a_change_says_which_state_it_was_made_for_and_reaches_the_feed() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let created = client.post("/meals", &meal(1, "FR-0001")).await.unwrap();
    assert_eq!(client.post("/meals", &meal(1, "FR-0001")).await.unwrap().status.as_u16(), 200);
    assert_eq!(client.post("/meals", &meal(1, "FR-0002")).await.unwrap().json()["code"], json!("already_exists"));
    let path = format!("/meals/{}", barcode(1));
    let patch = async |tag: &str, body: Value| {
        client.send(Method::PATCH, &path, &[("if-match", tag)], Some(&body)).await.unwrap()
    };
    let tag = created.etag().unwrap();
    assert_eq!(client.send(Method::PATCH, &path, &[], Some(&json!({}))).await.unwrap().status.as_u16(), 428);
    let exposed = patch(tag, json!({"exposed": true})).await;
    assert_eq!((exposed.status.as_u16(), &exposed.json()["exposed"]), (200, &json!(true)));
    assert_eq!(patch(tag, json!({"exposed": false})).await.json()["code"], json!("changed_meanwhile"));
    for bad in [json!({"state": "purchased"}), json!({"fridge": null, "state": "placed"}), json!({"price": 1})] {
        assert_eq!(patch("*", bad.clone()).await.status.as_u16(), 422, "{bad}");
    }
    assert_eq!(patch("*", json!({"fridge": null})).await.json()["state"], json!("produced"));
    assert_eq!(patch("*", json!({"state": "withdrawn"})).await.status.as_u16(), 200);
    let feed = ok(pci.get("/feed/meals")).await;
    assert_eq!((&feed["rows"][0]["removed"], &feed["rows"][0]["exposed"]), (&json!(true), &json!(true)));
    let audit = ok(client.get(&format!("/audit?target={}", barcode(1)))).await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 4);
    assert_eq!(audit["entries"][0]["who"], json!("spiffe://larder.internal/operator/operator-ada"));
}

#[tokio::test]
async fn a_price_is_one_that_a_basket_can_be_summed_up_in() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-ada"), running.client("service/purchase-session"));
    let other = "09500000000204";
    let priced = |gtin: &str, minor: i64, currency: &str| json!({"gtin": gtin, "name": "Soup", "price": {"minor": minor, "currency": currency}});
    ok(client.post("/meal-types", &priced(GTIN, 10_000_000, "USD"))).await;
    let batch = |rows: &[Value]| json!({ "meal_types": rows });
    for minor in [-1, 10_000_001, i64::MAX] {
        let bad = priced(other, minor, "USD");
        for (path, body) in
            [("/meal-types", bad.clone()), ("/meal-types:batchCreate", batch(std::slice::from_ref(&bad)))]
        {
            let reply = client.post(path, &body).await.unwrap();
            assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (422, &json!("invalid")), "{path} {minor}");
        }
        let put = client.put(&format!("/meal-types/{other}"), &bad).await.unwrap();
        assert_eq!((put.status.as_u16(), &put.json()["code"]), (422, &json!("invalid")), "{minor}");
    }
    let euros = priced(other, 1, "EUR");
    let single = client.post("/meal-types", &euros).await.unwrap();
    let many = client.post("/meal-types:batchCreate", &batch(std::slice::from_ref(&euros))).await.unwrap();
    for reply in [single, many, client.put(&format!("/meal-types/{other}"), &euros).await.unwrap()] {
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (409, &json!("currency_in_use")));
    }
    let feed = ok(pci.get("/feed/meal-types")).await;
    assert_eq!(feed["rows"], json!([priced(GTIN, 10_000_000, "USD")]), "nothing of what was refused is told");
    ok(client.post("/meal-types", &priced(other, 700, "USD"))).await;
    let half = client.post("/meal-types:batchUpdate", &batch(&[priced(GTIN, 600, "EUR")])).await.unwrap();
    assert_eq!(half.json()["code"], json!("currency_in_use"));
    let unknown = batch(&[priced("09500000000211", 1, "USD")]);
    assert_eq!(client.post("/meal-types:batchUpdate", &unknown).await.unwrap().status.as_u16(), 404);
    let all = batch(&[priced(GTIN, 600, "EUR"), priced(other, 650, "EUR")]);
    for updated in [2, 0] {
        assert_eq!(ok(client.post("/meal-types:batchUpdate", &all)).await, json!({ "updated": updated }));
    }
    assert_eq!(ok(pci.get("/feed/meal-types")).await["rows"], all["meal_types"]);
    let audit = ok(client.get(&format!("/audit?target={other}"))).await;
    assert_eq!(audit["entries"][1]["what"], json!("meal_type.update"));
}
