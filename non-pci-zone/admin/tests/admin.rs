//! The admin service over real mutual TLS: fridges and the policy.
//!
//! A failure is: a fridge that sells though it must not or the other way round, a row missing in a feed or there without
//! need, a change that undoes another unseen, a repeat that is done twice, a write without its author in the log, or a
//! restart that forgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use http::Method;
use ops_kit::{Client, NoSettings, Reply};
use serde_json::{Value, json};
use support::{Running, usd};

/// The least that may be said of a fridge.
fn fridge(id: &str) -> Value {
    json!({"fridge": id, "location": {"name": "Lobby", "lat": 52.5, "lon": 13.4}})
}

fn tagged(id: &str, tags: &[&str]) -> Value {
    let mut fridge = fridge(id);
    fridge["tags"] = json!(tags);
    fridge
}

async fn start() -> Running {
    Running::start("admin", NoSettings {}, ops_admin::serve).await
}

async fn ok(reply: impl Future<Output = Result<Reply, ops_kit::ClientError>>) -> Value {
    let reply = reply.await.unwrap();
    assert!(reply.status.is_success(), "{}: {:?}", reply.status, reply.body);
    reply.json()
}

async fn send(client: &Client, method: Method, path: &str, tag: &str, body: Option<Value>) -> Reply {
    client.send(method, path, &[("if-match", tag)], body.as_ref()).await.unwrap()
}

async fn patch(client: &Client, fridge: &str, tag: &str, body: Value) -> Reply {
    send(client, Method::PATCH, &format!("/fridges/{fridge}"), tag, Some(body)).await
}

async fn rows(pci: &Client, feed: &str) -> Vec<Value> {
    ok(pci.get(&format!("/feed/{feed}"))).await["rows"].as_array().unwrap().clone()
}

fn names(list: &Value) -> Vec<&str> {
    list["fridges"].as_array().unwrap().iter().map(|row| row["fridge"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_policy_is_there_from_the_first_start_and_stays_over_a_restart() {
    let mut running = start().await;
    let first = json!([{"blocked_after_thefts": 2, "currency": "USD"}]);
    assert_eq!(json!(rows(&running.client("service/purchase-session"), "policy").await), first);
    let client = running.client("operator/admin-ada");
    let read = client.get("/policy").await.unwrap();
    assert_eq!(read.json(), first[0]);
    let harder = json!({"blocked_after_thefts": 1, "currency": "USD"});
    let tag = read.etag().unwrap().to_owned();
    let put = send(&client, Method::PUT, "/policy", &tag, Some(harder.clone())).await;
    assert_eq!((put.status.as_u16(), put.json()), (200, harder.clone()));
    let other = json!({"blocked_after_thefts": 3, "currency": "USD"});
    assert_eq!(send(&client, Method::PUT, "/policy", &tag, Some(other)).await.status.as_u16(), 412);
    let same = client.put("/policy", &harder).await.unwrap();
    assert_eq!(same.etag(), put.etag(), "nothing changed, so nothing is told");
    for bad in [
        json!({"blocked_after_thefts": 0, "currency": "USD"}),
        json!({"blocked_after_thefts": 1001, "currency": "USD"}),
        json!({"blocked_after_thefts": 2, "currency": "usd"}),
        json!({"blocked_after_thefts": 2}),
        json!({"blocked_after_thefts": 2, "currency": "USD", "vat": 7}),
    ] {
        assert_eq!(client.put("/policy", &bad).await.unwrap().status.as_u16(), 422, "{bad}");
    }
    running.stop().await;
    running.begin(NoSettings {}, ops_admin::serve).await;
    assert_eq!(json!(rows(&running.client("service/purchase-session"), "policy").await), json!([harder]));
    let audit = ok(running.client("operator/auditor-aki").get("/audit?target=policy")).await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1);
    assert_eq!(audit["entries"][0]["detail"]["before"], first[0]);
}

#[tokio::test]
async fn a_fridge_is_created_with_what_is_left_out_filled_in() {
    let running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let created = client.post("/fridges", &fridge("FR-0001")).await.unwrap();
    let least = json!({"fridge": "FR-0001", "location": {"name": "Lobby", "lat": 52.5, "lon": 13.4}, "hold": usd(2500), "in_service": true, "open_limit_s": 60,
                       "tags": [], "life_cycle": "operative"});
    assert_eq!((created.status.as_u16(), created.json()), (201, least));
    let all = json!({"fridge": "FR-0002", "location": {"name": "Ward 7", "lat": 42.35346, "lon": -83.05735},
                     "hold": usd(4000), "in_service": false, "open_limit_s": 90, "tags": ["clinic", "detroit"],
                     "life_cycle": "installed"});
    assert_eq!(ok(client.post("/fridges", &all)).await, all);
    let read = client.get("/fridges/FR-0002").await.unwrap();
    assert_eq!(read.json(), all);
    let expected = json!([
        {"fridge": "FR-0001", "in_service": true, "hold": usd(2500), "open_limit_s": 60, "removed": false},
        {"fridge": "FR-0002", "in_service": false, "hold": usd(4000), "open_limit_s": 90, "removed": false},
    ]);
    assert_eq!(json!(rows(&pci, "fridges").await), expected);
    assert_eq!(client.get("/fridges/FR-0003").await.unwrap().status.as_u16(), 404);
    assert_eq!(client.get("/fridges/1111111111111111").await.unwrap().status.as_u16(), 404);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_of_it_stays() {
    let running = start().await;
    let client = running.client("operator/admin-ada");
    let place = |lat: f64, lon: f64| json!({"name": "x", "lat": lat, "lon": lon});
    let tags: Vec<String> = (0..33).map(|n| format!("t{n}")).collect();
    for (member, value) in [
        ("fridge", json!("1111111111111111")),
        ("fridge", json!("a b")),
        ("hold", json!({"minor": 2500, "currency": "EUR"})),
        ("hold", usd(0)),
        ("hold", usd(1_000_001)),
        ("open_limit_s", json!(0)),
        ("open_limit_s", json!(3601)),
        ("location", place(90.1, 0.0)),
        ("location", place(0.0, -180.1)),
        ("location", json!({"name": " ", "lat": 0.0, "lon": 0.0})),
        ("location", json!({"name": "x"})),
        ("location", Value::Null),
        ("tags", json!(["Capital"])),
        ("tags", json!([""])),
        ("tags", json!(tags)),
        ("life_cycle", json!("sold")),
        ("colour", json!("red")),
    ] {
        let mut wrong = fridge("FR-0001");
        wrong[member] = value;
        assert_eq!(client.post("/fridges", &wrong).await.unwrap().status.as_u16(), 422, "{wrong}");
        let batch = json!({"fridges": [fridge("FR-0009"), wrong]});
        assert_eq!(client.post("/fridges:batchCreate", &batch).await.unwrap().status.as_u16(), 422, "{batch}");
    }
    assert_eq!(ok(client.get("/fridges")).await, json!({"fridges": [], "next_page_token": null}));
    assert_eq!(rows(&running.client("service/purchase-session"), "fridges").await, [] as [Value; 0]);
    assert_eq!(ok(client.get("/audit")).await["entries"], json!([]));
}

#[tokio::test]
async fn only_a_fridge_that_is_in_service_and_operative_or_installed_sells() {
    let running = start().await;
    let (client, pci) = (running.client("operator/operator-oda"), running.client("service/purchase-session"));
    ok(client.post("/fridges", &fridge("FR-0001"))).await;
    for (life_cycle, sells) in [
        ("installed", true),
        ("offline", false),
        ("restocking", false),
        ("operative", true),
        ("out_of_order", false),
        ("maintenance", false),
        ("decommissioned", false),
    ] {
        for in_service in [true, false] {
            let change = json!({"life_cycle": life_cycle, "in_service": in_service});
            let answer = patch(&client, "FR-0001", "*", change.clone()).await;
            assert_eq!(answer.status.as_u16(), 200);
            assert_eq!(answer.json()["in_service"], json!(in_service), "the operator's own word stays");
            assert_eq!(rows(&pci, "fridges").await[0]["in_service"], json!(sells && in_service), "{change}");
        }
    }
}

#[tokio::test]
async fn a_change_says_which_state_it_was_made_for() {
    let running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let created = client.post("/fridges", &tagged("FR-0001", &["a"])).await.unwrap();
    let tag = created.etag().unwrap().to_owned();
    let bare = client.send(Method::PATCH, "/fridges/FR-0001", &[], Some(&json!({}))).await.unwrap();
    assert_eq!((bare.status.as_u16(), bare.json()["code"].clone()), (428, json!("if_match_required")));
    let before = ok(pci.get("/feed/fridges")).await["revision"].clone();
    let tagged = patch(&client, "FR-0001", &tag, json!({"tags": ["b", "a"]})).await;
    assert_eq!((tagged.status.as_u16(), &tagged.json()["tags"]), (200, &json!(["a", "b"])));
    assert_eq!(ok(pci.get("/feed/fridges")).await["revision"], before, "tags are nothing to the PCI zone");
    let late = patch(&client, "FR-0001", &tag, json!({"in_service": false})).await;
    assert_eq!((late.status.as_u16(), late.json()["code"].clone()), (412, json!("changed_meanwhile")));
    let tag = tagged.etag().unwrap();
    let unchanged = patch(&client, "FR-0001", tag, json!({"tags": ["a", "b"]})).await;
    assert_eq!(unchanged.etag(), Some(tag), "nothing changed");
    let place = json!({"name": "Gym", "lat": 1.5, "lon": 2.5});
    assert_eq!(patch(&client, "FR-0001", tag, json!({"location": place})).await.json()["location"], place);
    for bad in
        [json!({"fridge": "FR-0002"}), json!({"hold": usd(-1)}), json!({"hold": {"minor": 1, "currency": "EUR"}})]
    {
        assert_eq!(patch(&client, "FR-0001", "*", bad.clone()).await.status.as_u16(), 422, "{bad}");
    }
    assert_eq!(patch(&client, "FR-0009", "*", json!({})).await.status.as_u16(), 404);
    assert_eq!(ok(client.get("/audit?target=FR-0001")).await["entries"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn two_who_change_the_same_state_at_once_do_not_both_win() {
    let running = start().await;
    let client = running.client("operator/admin-ada");
    let created = client.post("/fridges", &fridge("FR-0001")).await.unwrap();
    let tag = created.etag().unwrap().to_owned();
    let (one, two) = (running.client("operator/admin-ada"), running.client("operator/operator-oda"));
    let (first, second) = tokio::join!(
        patch(&one, "FR-0001", &tag, json!({"open_limit_s": 30})),
        patch(&two, "FR-0001", &tag, json!({"open_limit_s": 90})),
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn a_deleted_fridge_is_told_and_its_id_is_not_used_again() {
    let mut running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let fridge = tagged("FR-0001", &["a"]);
    let created = client.post("/fridges", &fridge).await.unwrap();
    let tag = created.etag().unwrap().to_owned();
    let bare = client.send(Method::DELETE, "/fridges/FR-0001", &[], None).await.unwrap();
    assert_eq!(bare.status.as_u16(), 428);
    assert_eq!(send(&client, Method::DELETE, "/fridges/FR-0001", "\"999\"", None).await.status.as_u16(), 412);
    let deleted = send(&client, Method::DELETE, "/fridges/FR-0001", &tag, None).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    let row = rows(&pci, "fridges").await[0].clone();
    assert_eq!((&row["removed"], &row["in_service"]), (&json!(true), &json!(false)));
    running.stop().await;
    running.begin(NoSettings {}, ops_admin::serve).await;
    let client = running.client("operator/admin-ada");
    assert_eq!(client.get("/fridges/FR-0001").await.unwrap().status.as_u16(), 404);
    assert_eq!(patch(&client, "FR-0001", "*", json!({})).await.status.as_u16(), 404);
    assert_eq!(names(&ok(client.get("/fridges?tag=a")).await), [] as [&str; 0]);
    assert_eq!(send(&client, Method::DELETE, "/fridges/FR-0001", "*", None).await.status.as_u16(), 404);
    assert_eq!(client.post("/fridges", &fridge).await.unwrap().json()["code"], json!("already_exists"));
    let batch = json!({ "fridges": [fridge] });
    assert_eq!(ok(client.post("/fridges:batchCreate", &batch)).await, json!({"created": 0, "existing": 1}));
    let acts = ok(client.get("/audit?target=FR-0001")).await;
    let acts: Vec<_> = acts["entries"].as_array().unwrap().iter().map(|act| (&act["what"], &act["who"])).collect();
    let ada = json!("spiffe://larder.internal/operator/admin-ada");
    assert_eq!(acts, [(&json!("fridge.create"), &ada), (&json!("fridge.delete"), &ada)]);
}

#[tokio::test]
async fn a_repeated_post_is_done_once() {
    let running = start().await;
    let client = running.client("operator/admin-ada");
    let first_one = fridge("FR-0001");
    let keyed = async |body: &Value| {
        client.send(Method::POST, "/fridges", &[("idempotency-key", "k1")], Some(body)).await.unwrap()
    };
    let first = keyed(&first_one).await;
    let again = keyed(&first_one).await;
    assert_eq!((again.status.as_u16(), again.etag(), &again.body), (201, first.etag(), &first.body));
    let other = keyed(&fridge("FR-0002")).await;
    assert_eq!((other.status.as_u16(), other.json()["code"].clone()), (422, json!("idempotency_key_reused")));
    assert_eq!(client.post("/fridges", &first_one).await.unwrap().status.as_u16(), 200, "the same without a key");
    let another = json!({"fridge": "FR-0001", "location": first_one["location"], "open_limit_s": 5});
    assert_eq!(client.post("/fridges", &another).await.unwrap().json()["code"], json!("already_exists"));
    assert_eq!(ok(client.get("/audit")).await["entries"].as_array().unwrap().len(), 1);

    let batch = json!({"fridges": [fridge("FR-0001"), fridge("FR-0002"), fridge("FR-0002")]});
    let load = async |key: &str| {
        client.send(Method::POST, "/fridges:batchCreate", &[("idempotency-key", key)], Some(&batch)).await.unwrap()
    };
    assert_eq!(load("b1").await.json(), json!({"created": 1, "existing": 2}));
    assert_eq!(load("b1").await.json(), json!({"created": 1, "existing": 2}));
    assert_eq!(load("b2").await.json(), json!({"created": 0, "existing": 3}));
}

#[tokio::test]
async fn a_thousand_fridges_are_loaded_and_paged_and_outlive_a_restart() {
    let mut running = start().await;
    let client = running.client("operator/admin-ada");
    let fridge = |n: u32| {
        let mut fridge = tagged(&format!("FR-{n:04}"), &[&format!("t{}", n % 3), "all"]);
        fridge["in_service"] = json!(!n.is_multiple_of(4));
        fridge
    };
    let batch = json!({ "fridges": (1..=1000).map(fridge).collect::<Vec<_>>() });
    assert_eq!(ok(client.post("/fridges:batchCreate", &batch)).await, json!({"created": 1000, "existing": 0}));
    for wrong in [json!({"fridges": []}), json!({ "fridges": vec![fridge(1); 1001] })] {
        assert_eq!(client.post("/fridges:batchCreate", &wrong).await.unwrap().status.as_u16(), 422);
    }
    running.stop().await;
    running.begin(NoSettings {}, ops_admin::serve).await;
    let (client, pci) = (running.client("operator/viewer-vic"), running.client("service/purchase-session"));
    let (mut seen, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let path = format!("/fridges?in_service=false&tag=t1&page_size=30&page_token={token}");
        let page = ok(client.get(&path)).await;
        seen.extend(names(&page).into_iter().map(str::to_owned));
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
    }
    let expected: Vec<String> = (1..=1000).filter(|n| n % 4 == 0 && n % 3 == 1).map(|n| format!("FR-{n:04}")).collect();
    assert_eq!((seen, token), (expected, String::new()));
    assert_eq!(client.get("/fridges?page_token=zz").await.unwrap().json()["code"], json!("invalid_page_token"));
    assert_eq!(client.get("/fridges?colour=red").await.unwrap().json()["code"], json!("invalid_query"));
    let feed = ok(pci.get("/feed/fridges?limit=600")).await;
    assert_eq!((feed["rows"].as_array().unwrap().len(), &feed["more"]), (600, &json!(true)));
    let rest = ok(pci.get(&format!("/feed/fridges?after={}", feed["revision"]))).await;
    assert_eq!((rest["rows"].as_array().unwrap().len(), &rest["more"]), (400, &json!(false)));
}

#[tokio::test]
async fn fridges_are_found_by_words_and_on_the_map() {
    let running = start().await;
    let client = running.client("operator/admin-ada");
    let at = |fridge: &str, name: &str, lat: f64, lon: f64, life_cycle: &str| json!({"fridge": fridge, "location": {"name": name, "lat": lat, "lon": lon}, "life_cycle": life_cycle});
    let batch = json!({"fridges": [
        at("FR-A", "Lobby, 100% north", 42.3, -83.0, "operative"), at("FR-B", "Gym_2", 42.4, -83.1, "maintenance"),
        at("FR-C", "Suva harbour", -18.1, 178.4, "operative"), at("FR-D", "Apia market", -13.8, -171.8, "operative"),
        at("FR-E", "Depot", 0.0, 0.0, "installed"),
    ]});
    ok(client.post("/fridges:batchCreate", &batch)).await;
    for (query, expected) in [
        ("q=LOBBY", vec!["FR-A"]),
        ("q=fr-e", vec!["FR-E"]),
        ("q=0%25", vec!["FR-A"]),
        ("q=_", vec!["FR-B"]),
        ("q=nowhere", vec![]),
        ("within=42,-84,43,-83", vec!["FR-A", "FR-B"]),
        ("within=-20,170,-10,-170", vec!["FR-C", "FR-D"]),
        ("within=42,-84,43,-83&life_cycle=maintenance", vec!["FR-B"]),
        ("life_cycle=operative&q=fr-", vec!["FR-A", "FR-C", "FR-D"]),
    ] {
        assert_eq!(names(&ok(client.get(&format!("/fridges?{query}"))).await), expected, "{query}");
    }
    for bad in ["within=1,2", "q=", "tag=A", "life_cycle=lost"] {
        assert_eq!(client.get(&format!("/fridges?{bad}")).await.unwrap().status.as_u16(), 400, "{bad}");
    }
}

#[tokio::test]
async fn the_currency_stays_while_a_fridge_holds_in_it() {
    let running = start().await;
    let client = running.client("operator/admin-ada");
    let euro = json!({"blocked_after_thefts": 2, "currency": "EUR"});
    ok(client.post("/fridges", &fridge("FR-0001"))).await;
    let refused = client.put("/policy", &euro).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()["code"].clone()), (409, json!("currency_in_use")));
    assert_eq!(send(&client, Method::DELETE, "/fridges/FR-0001", "*", None).await.status.as_u16(), 204);
    assert_eq!(ok(client.put("/policy", &euro)).await, euro);
    let created = ok(client.post("/fridges", &fridge("FR-0002"))).await;
    assert_eq!(created["hold"], json!({"minor": 2500, "currency": "EUR"}));
}

#[tokio::test]
async fn each_caller_does_what_its_role_may() {
    let running = start().await;
    let admin = running.client("operator/admin-ada");
    ok(admin.post("/fridges", &fridge("FR-0001"))).await;
    let other = fridge("FR-0002");
    let policy = json!({"blocked_after_thefts": 9, "currency": "USD"});
    for who in ["operator/viewer-vic", "operator/auditor-aki", "operator/refiller-rob"] {
        let client = running.client(who);
        ok(client.get("/fridges/FR-0001")).await;
        ok(client.get("/policy")).await;
        for reply in [
            client.post("/fridges", &other).await.unwrap(),
            client.post("/fridges:batchCreate", &json!({"fridges": [other]})).await.unwrap(),
            patch(&client, "FR-0001", "*", json!({"in_service": false})).await,
            send(&client, Method::DELETE, "/fridges/FR-0001", "*", None).await,
            client.put("/policy", &policy).await.unwrap(),
            client.get("/feed/fridges").await.unwrap(),
        ] {
            assert_eq!(
                (reply.status.as_u16(), reply.json()["code"].clone()),
                (403, json!("permission_denied")),
                "{who}"
            );
        }
    }
    let pci = running.client("service/purchase-session");
    for path in ["/fridges", "/policy", "/sales", "/audit"] {
        assert_eq!(pci.get(path).await.unwrap().status.as_u16(), 403, "{path}");
    }
    for who in ["fridge/FR-0001", "service/inventory", "operator/nobody"] {
        assert_eq!(running.client(who).get("/fridges").await.unwrap().status.as_u16(), 403, "{who}");
    }
    assert_eq!(ok(admin.get("/fridges/FR-0001")).await["in_service"], json!(true));
    assert_eq!(ok(admin.get("/policy")).await["blocked_after_thefts"], json!(2));
}

#[tokio::test]
async fn who_waits_for_a_feed_hears_of_a_new_fridge() {
    let running = start().await;
    let (client, pci) = (running.client("operator/admin-ada"), running.client("service/purchase-session"));
    let after = ok(pci.get("/feed/policy")).await["revision"].clone();
    let path = format!("/feed/fridges?after={after}&wait_s=30");
    let fridge = fridge("FR-0001");
    let both = async { tokio::join!(ok(pci.get(&path)), ok(client.post("/fridges", &fridge))) };
    let (page, _) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("woken before its own 30 s end");
    assert_eq!(page["rows"][0]["fridge"], json!("FR-0001"));
}
