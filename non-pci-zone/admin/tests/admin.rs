//! The admin service over real mutual TLS.
//!
//! A failure is: a fridge the PCI zone hears otherwise of than operators wrote, a change that undoes another unseen, a
//! sale counted twice, a write without its author in the log, or a restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use http::Method;
use ops_kit::{NoSettings, Reply};
use serde_json::{Value, json};
use support::{Running, SESSION, deliver, event, finalized, usd};

async fn start() -> Running {
    Running::start("admin", NoSettings {}, ops_admin::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

fn fridge(id: &str, name: &str) -> Value {
    json!({"fridge": id, "location": {"name": name, "lat": 52.5, "lon": 13.4}, "hold": usd(3000), "tags": ["berlin"]})
}

#[tokio::test]
async fn a_fridge_is_created_changed_and_deleted_as_read() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let created = client.post("/fridges", &fridge("FR-0001", "Lobby")).await.unwrap();
    assert_eq!((created.status.as_u16(), &created.json()["open_limit_s"]), (201, &json!(60)));
    assert_eq!(client.post("/fridges", &fridge("FR-0001", "Lobby")).await.unwrap().status.as_u16(), 200);
    assert_eq!(client.post("/fridges", &fridge("FR-0001", "Hall")).await.unwrap().status.as_u16(), 409);
    let row = async || ok(pci.get("/feed/fridges")).await["rows"][0].clone();
    let expected =
        json!({"fridge": "FR-0001", "in_service": true, "hold": usd(3000), "open_limit_s": 60, "removed": false});
    assert_eq!(row().await, expected);
    let patch = async |tag: &str, body: Value| {
        client.send(Method::PATCH, "/fridges/FR-0001", &[("if-match", tag)], Some(&body)).await.unwrap()
    };
    let tag = created.etag().unwrap();
    assert_eq!(
        client.send(Method::PATCH, "/fridges/FR-0001", &[], Some(&json!({}))).await.unwrap().status.as_u16(),
        428
    );
    assert_eq!(patch(tag, json!({"in_service": false, "open_limit_s": 90})).await.status.as_u16(), 200);
    assert_eq!(patch(tag, json!({"in_service": true})).await.json()["code"], json!("changed_meanwhile"));
    assert_eq!((&row().await["in_service"], &row().await["open_limit_s"]), (&json!(false), &json!(90)));
    for bad in [json!({"hold": usd(0)}), json!({"open_limit_s": 0}), json!({"fridge": "FR-9"}), json!({"tags": [""]})] {
        assert_eq!(patch("*", bad.clone()).await.status.as_u16(), 422, "{bad}");
    }
    let worn_out = json!({"in_service": true, "life_cycle": "decommissioned"});
    assert_eq!(patch("*", worn_out).await.status.as_u16(), 200);
    assert_eq!(row().await["in_service"], json!(false), "a decommissioned fridge sells nothing");
    let delete = client.send(Method::DELETE, "/fridges/FR-0001", &[("if-match", "*")], None).await.unwrap();
    assert_eq!(delete.status.as_u16(), 204);
    assert_eq!(row().await["removed"], json!(true));
    running.stop().await;
    running.begin(NoSettings {}, ops_admin::serve).await;
    let client = running.client("operator/admin-ada");
    assert_eq!(client.get("/fridges/FR-0001").await.unwrap().status.as_u16(), 404);
    assert_eq!(client.post("/fridges", &fridge("FR-0001", "Lobby")).await.unwrap().status.as_u16(), 409);
    let acts = ok(client.get("/audit?target=FR-0001")).await;
    let acts: Vec<(&str, &str)> = acts["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| (act["what"].as_str().unwrap(), act["who"].as_str().unwrap()))
        .collect();
    let ada = "spiffe://larder.internal/operator/admin-ada";
    assert_eq!(acts, [("fridge.create", ada), ("fridge.patch", ada), ("fridge.patch", ada), ("fridge.delete", ada)]);
}

#[tokio::test]
async fn a_batch_is_idempotent_and_lists_find_by_word_and_tag() {
    let running = start().await;
    let client = running.client("operator/operator-olga");
    let mut fridges: Vec<Value> = (1..=60).map(|n| fridge(&format!("FR-{n:04}"), &format!("Floor {n}"))).collect();
    fridges[6]["tags"] = json!(["hamburg"]);
    fridges[6]["in_service"] = json!(false);
    let batch = json!({ "fridges": fridges });
    assert_eq!(ok(client.post("/fridges:batchCreate", &batch)).await, json!({"created": 60, "existing": 0}));
    assert_eq!(ok(client.post("/fridges:batchCreate", &batch)).await, json!({"created": 0, "existing": 60}));
    let first = ok(client.get("/fridges")).await;
    assert_eq!(first["fridges"].as_array().unwrap().len(), 50);
    let next = first["next_page_token"].as_str().unwrap();
    let rest = ok(client.get(&format!("/fridges?page_token={next}"))).await;
    assert_eq!((rest["fridges"].as_array().unwrap().len(), &rest["next_page_token"]), (10, &Value::Null));
    for query in ["tag=hamburg", "in_service=false", "q=floor%207", "q=fr-0007"] {
        let found = ok(client.get(&format!("/fridges?{query}"))).await;
        assert_eq!(found["fridges"][0]["fridge"], json!("FR-0007"), "{query}");
        assert_eq!(found["fridges"].as_array().unwrap().len(), 1, "{query}");
    }
    assert_eq!(ok(client.get("/fridges?life_cycle=offline")).await["fridges"], json!([]));
    assert_eq!(client.get("/fridges?life_cycle=lost").await.unwrap().status.as_u16(), 400);
    let mut far = fridge("FR-0099", "x");
    far["location"]["lat"] = json!(91);
    assert_eq!(client.post("/fridges:batchCreate", &json!({"fridges": [far]})).await.unwrap().status.as_u16(), 422);
    let refiller = running.client("operator/refiller-rob");
    assert_eq!(refiller.get("/fridges").await.unwrap().status.as_u16(), 200);
    assert_eq!(refiller.post("/fridges:batchCreate", &batch).await.unwrap().status.as_u16(), 403);
}

#[tokio::test]
async fn the_policy_is_one_and_reaches_the_pci_zone() {
    let running = start().await;
    let (client, pci) = (running.client("operator/admin"), running.client("service/purchase-session"));
    assert_eq!(client.get("/policy").await.unwrap().status.as_u16(), 404);
    let policy = json!({"blocked_after_thefts": 2, "currency": "USD"});
    let put = client.put("/policy", &policy).await.unwrap();
    assert_eq!(put.status.as_u16(), 200);
    assert_eq!(ok(pci.get("/feed/policy")).await["rows"], json!([policy]));
    let stale = client.send(Method::PUT, "/policy", &[("if-match", "\"99\"")], Some(&policy)).await.unwrap();
    assert_eq!(stale.status.as_u16(), 412);
    let nobody = json!({"blocked_after_thefts": 0, "currency": "USD"});
    assert_eq!(client.put("/policy", &nobody).await.unwrap().status.as_u16(), 422);
    assert_eq!(running.client("operator/auditor").put("/policy", &policy).await.unwrap().status.as_u16(), 403);
    assert_eq!(ok(client.get("/policy")).await, policy);
}

#[tokio::test]
async fn a_sale_is_counted_once() {
    let running = start().await;
    let pci = running.client("service/purchase-session");
    let meals = [("(01)09500000000198(21)1", "purchased", 650), ("(01)09500000000198(21)2", "stolen", 900)];
    let events = [
        event(1, "larder.purchase.finalized.v1", finalized(SESSION, None, &meals)),
        event(2, "larder.purchase.finalized.v1", finalized("4ed615ae-e6a0-47bb-82f2-6b7777de3d20", None, &[])),
    ];
    for _ in 0..2 {
        assert_eq!(deliver(&pci, &events).await.json(), json!({"booked": 2}));
    }
    let sales = ok(running.client("operator/viewer").get("/sales?fridge=FR-0001")).await;
    let expected = json!([{"fridge": "FR-0001", "sessions": 2, "charged_sessions": 1, "charged": usd(1550),
                           "credit_used": usd(0), "meals": 2, "thefts": 1}]);
    assert_eq!(sales["sales"], expected);
}
