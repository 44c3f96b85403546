//! The admin service's sales over real mutual TLS: what the PCI zone tells, added up.
//!
//! A failure is: an event that counts twice or not at all, an amount that counts under two names, sums that do not agree
//! with one another, or a restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use ops_kit::{Client, NoSettings, Reply};
use serde_json::{Value, json};
use support::{Running, SESSION, card, deliver, event, finalized, usd};

const FINALIZED: &str = "larder.purchase.finalized.v1";
const REFUSED: &str = "larder.purchase.refused.v1";
const SETTLED: &str = "larder.payment.settled.v1";
const FAILED: &str = "larder.payment.failed.v1";
const THEFT: &str = "larder.theft.confirmed.v1";
const SOUP: &str = "(01)09500000000198(21)000001";
const SALAD: &str = "(01)09506000130033(21)000001";
/// 2026-03-02T06:01:08Z, when the kit's finalized purchase closes.
const AT: i64 = 1_772_431_268_000_000;
const DAY: i64 = 86_400_000_000;

async fn start() -> Running {
    Running::start("admin", NoSettings {}, ops_admin::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

fn refused(fridge: &str, reason: &str, at: i64) -> Value {
    json!({"session": SESSION, "fridge": fridge, "customer": null, "card": null, "reason": reason, "at": at})
}

fn settled(fridge: &str, settlement: &str, minor: i64, at: i64) -> Value {
    json!({"session": SESSION, "fridge": fridge, "settlement": settlement, "amount": usd(minor),
           "processor_reference": "pi_x", "at": at})
}

fn failed(fridge: &str, minor: i64, at: i64) -> Value {
    json!({"session": SESSION, "fridge": fridge, "customer": null, "card": card(), "amount": usd(minor),
           "reason": "card_declined", "at": at})
}

fn theft(fridge: &str, at: i64) -> Value {
    json!({"session": SESSION, "fridge": fridge, "meal": SALAD, "card": card(), "customer": null, "price": usd(900),
           "owner_subscription": null, "at": at})
}

fn purchase(fridge: &str, at: i64, meals: &[(&str, &str, i64)]) -> Value {
    let mut purchase = finalized(SESSION, None, meals);
    purchase["fridge"] = json!(fridge);
    purchase["closed_at"] = json!(at);
    purchase
}

/// Two days of trade at two fridges.
fn trade() -> Vec<Value> {
    let mut above_hold = purchase("FR-0001", AT, &[(SOUP, "purchased", 650), (SALAD, "stolen", 900)]);
    above_hold["unpaid"] = usd(50);
    let mut with_credit = purchase("FR-0002", AT + DAY, &[(SOUP, "purchased", 650)]);
    with_credit["charged"] = usd(450);
    with_credit["credit_used"] = usd(200);
    let data = [
        (FINALIZED, above_hold),
        (THEFT, theft("FR-0001", AT)),
        (FAILED, failed("FR-0001", 50, AT)),
        (SETTLED, settled("FR-0001", "captured", 1500, AT)),
        (REFUSED, refused("FR-0001", "card_declined", AT)),
        (REFUSED, refused("FR-0001", "card_declined", AT)),
        (REFUSED, refused("FR-0003", "fridge_locked", AT)),
        (FINALIZED, with_credit),
        (SETTLED, settled("FR-0002", "voided", 0, AT + DAY)),
        (SETTLED, settled("FR-0001", "refunded", 650, AT + DAY)),
    ];
    (1..).zip(data).map(|(sequence, (kind, data))| event(sequence, kind, data)).collect()
}

/// All of which every session was charged and had one meal.
fn sums(parts: [i64; 6]) -> Value {
    let [sessions, charged, credit_used, unpaid, captured, refunded] = parts;
    json!({"sessions": sessions, "charged_sessions": sessions, "meals": sessions, "thefts": 0, "charged": usd(charged), "credit_used": usd(credit_used),
           "unpaid": usd(unpaid), "captured": usd(captured), "refunded": usd(refunded),
           "to_settle": usd(charged - unpaid - captured), "refused": {}})
}

fn with(mut sums: Value, more: &[(&str, Value)]) -> Value {
    for (member, value) in more {
        sums[*member] = value.clone();
    }
    sums
}

fn fridge(id: &str) -> Value {
    json!({"fridge": id, "location": {"name": "Lobby", "lat": 52.5, "lon": 13.4}})
}

async fn of(client: &Client, fridge: &str) -> Value {
    ok(client.get(&format!("/fridges/{fridge}/sales"))).await
}

#[tokio::test]
async fn events_are_added_up_once_and_outlive_a_restart() {
    let mut running = start().await;
    let first = with(
        sums([1, 1550, 0, 50, 1500, 650]),
        &[
            ("fridge", json!("FR-0001")),
            ("thefts", json!(1)),
            ("meals", json!(2)),
            ("refused", json!({"card_declined": 2})),
        ],
    );
    let second = with(sums([1, 450, 200, 0, 0, 0]), &[("fridge", json!("FR-0002"))]);
    let third =
        with(sums([0, 0, 0, 0, 0, 0]), &[("fridge", json!("FR-0003")), ("refused", json!({"fridge_locked": 1}))]);
    let total = with(
        sums([2, 2000, 200, 50, 1500, 650]),
        &[("thefts", json!(1)), ("meals", json!(3)), ("refused", json!({"card_declined": 2, "fridge_locked": 1}))],
    );
    let pci = running.client("service/purchase-session");
    let events = trade();
    assert_eq!(deliver(&pci, &events[..4]).await.json(), json!({"booked": 4}));
    assert_eq!(deliver(&pci, &events[2..]).await.json(), json!({"booked": 10}));
    running.stop().await;
    running.begin(NoSettings {}, ops_admin::serve).await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    assert_eq!(deliver(&pci, &events).await.json(), json!({"booked": 10}));
    assert_eq!(of(&client, "FR-0001").await, first);
    assert_eq!(of(&client, "FR-0002").await, second);
    let expected = json!({"sales": [first, second, third], "total": total, "next_page_token": null});
    assert_eq!(ok(client.get("/sales")).await, expected);
    assert_eq!(ok(pci.get("/feed/policy")).await["booked"], json!(10));
    assert_eq!(ok(pci.get("/feed/fridges")).await["booked"], json!(10));
    let settled = event(11, SETTLED, settled("FR-0002", "captured", 450, AT + DAY));
    deliver(&pci, &[settled]).await;
    assert_eq!(ok(client.get("/sales")).await["total"]["to_settle"], usd(0));
}

#[tokio::test]
async fn an_event_that_comes_too_early_or_does_not_parse_changes_nothing() {
    let running = start().await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    let events = trade();
    let early = deliver(&pci, &events[1..]).await;
    assert_eq!((early.status.as_u16(), &early.json()["expected"]), (409, &json!(1)));
    let mut odd = events.clone();
    odd[9]["data"]["amount"] = json!("650");
    assert_eq!(deliver(&pci, &odd).await.status.as_u16(), 422);
    assert_eq!(ok(client.get("/sales")).await["sales"], json!([]));
    let unknown =
        [event(1, "larder.fridge.painted.v1", json!({})), event(2, REFUSED, refused("FR-0001", "fridge_busy", AT))];
    assert_eq!(deliver(&pci, &unknown).await.json(), json!({"booked": 2}));
    assert_eq!(of(&client, "FR-0001").await["refused"], json!({"fridge_busy": 1}));
    let viewer = deliver(&client, &events).await;
    assert_eq!((viewer.status.as_u16(), &viewer.json()["code"]), (403, &json!("permission_denied")));
}

#[tokio::test]
async fn days_and_meal_types_have_sums_of_their_own() {
    let running = start().await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    deliver(&pci, &trade()).await;
    let days = ok(client.get("/sales/days")).await;
    let told = |member: &str| -> Vec<Value> {
        days["days"].as_array().unwrap().iter().map(|day| day[member].clone()).collect()
    };
    assert_eq!(told("day"), [json!("2026-03-02"), json!("2026-03-03")]);
    assert_eq!(told("charged"), [usd(1550), usd(450)]);
    assert_eq!(told("refused"), [json!({"card_declined": 2, "fridge_locked": 1}), json!({})]);
    let second = ok(client.get("/sales?from=2026-03-03")).await;
    assert_eq!((&second["total"]["charged"], &second["total"]["refunded"]), (&usd(450), &usd(650)));
    let first = ok(client.get("/sales?to=2026-03-02")).await;
    assert_eq!((&first["total"]["charged"], &first["total"]["refunded"]), (&usd(1550), &usd(0)));
    let one = ok(client.get("/sales/days?fridge=FR-0003")).await;
    assert_eq!(one["days"][0]["refused"], json!({"fridge_locked": 1}));
    assert_eq!(one["days"].as_array().unwrap().len(), 1);
    let types = ok(client.get("/sales/meal-types")).await["meal_types"].clone();
    let soup = json!({"gtin": "09500000000198", "sold": 2, "stolen": 0, "due": usd(1300)});
    let salad = json!({"gtin": "09506000130033", "sold": 0, "stolen": 1, "due": usd(900)});
    assert_eq!(types, json!([soup, salad]));
    let narrow = ok(client.get("/sales/meal-types?fridge=FR-0002&from=2026-03-03&to=2026-03-03")).await;
    assert_eq!(narrow["meal_types"][0]["sold"], json!(1));
    for bad in ["from=yesterday", "to=2026-3-2", "from=2026-02-30", "currency=usd", "page_size=0"] {
        assert_eq!(client.get(&format!("/sales?{bad}")).await.unwrap().status.as_u16(), 400, "{bad}");
    }
}

#[tokio::test]
async fn amounts_of_another_currency_are_kept_apart() {
    let running = start().await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    let mut euro = purchase("FR-0001", AT, &[]);
    euro["charged"] = json!({"minor": 700, "currency": "EUR"});
    let dollar = purchase("FR-0001", AT, &[(SOUP, "purchased", 650)]);
    deliver(&pci, &[event(1, FINALIZED, euro), event(2, FINALIZED, dollar)]).await;
    assert_eq!(of(&client, "FR-0001").await["charged"], usd(650));
    let other = ok(client.get("/fridges/FR-0001/sales?currency=EUR")).await;
    assert_eq!((&other["charged"], &other["sessions"]), (&json!({"minor": 700, "currency": "EUR"}), &json!(1)));
}

#[tokio::test]
async fn sales_are_paged_and_outlive_their_fridge() {
    let running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let events: Vec<Value> = (1..=25)
        .map(|n| event(n, FINALIZED, purchase(&format!("FR-{n:04}"), AT, &[(SOUP, "purchased", 650)])))
        .collect();
    deliver(&pci, &events).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = ok(client.get(&format!("/sales?page_size=10&page_token={token}"))).await;
        assert_eq!(page["total"]["sessions"], json!(25), "the total is of all, not of the page");
        seen.extend(page["sales"].as_array().unwrap().iter().map(|row| row["fridge"].as_str().unwrap().to_owned()));
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((seen, token), ((1..=25).map(|n| format!("FR-{n:04}")).collect::<Vec<_>>(), String::new()));
    assert_eq!(client.get("/fridges/FR-0099/sales").await.unwrap().status.as_u16(), 404);
    ok(client.post("/fridges", &fridge("FR-0099"))).await;
    assert_eq!(of(&client, "FR-0099").await, with(sums([0, 0, 0, 0, 0, 0]), &[("fridge", json!("FR-0099"))]));
    ok(client.post("/fridges", &fridge("FR-0001"))).await;
    let delete = client.send(http::Method::DELETE, "/fridges/FR-0001", &[("if-match", "*")], None).await.unwrap();
    assert_eq!(delete.status.as_u16(), 204);
    assert_eq!(of(&client, "FR-0001").await["charged"], usd(650));
    assert_eq!(ok(client.get("/fridges/FR-0001/sales?from=2027-01-01")).await["sessions"], json!(0));
}
