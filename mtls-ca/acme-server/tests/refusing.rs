//! What the server refuses, over TLS and with its rows: nothing of it is stored and nothing is signed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::house;
use crate::world;

use authority::now_unix_s;
use house::{Answer, Client, House, Running, house};
use rcgen::KeyPair;
use serde_json::json;
use test_token::{TestToken, in_own_process};
use world::{HOST, MAC_KEY, OTHER_HOST, Signer, binding, csr, wanted};

/// Runs the body of a test at a running server over this token.
fn within<F: AsyncFnOnce(&House, &Running<'_>)>(token: &TestToken, body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let house = house(token).await;
        let running = house.start().await;
        body(&house, &running).await;
        running.stop().await;
    });
}

/// Asserts the status and the last word of the problem's type; its detail must be a sentence of some length.
fn refused(answer: &Answer, status: u16, kind: &str) {
    let problem = answer.json();
    let shown = (answer.status, answer.header("content-type"), problem["type"].as_str().unwrap());
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    assert_eq!(shown, (status, "application/problem+json", kind.as_str()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{problem}");
}

/// Every order and account as it is stored, and how often the authority signed.
async fn everything(house: &House) -> (Vec<String>, Vec<String>, u64) {
    let orders = house.sql("SELECT document FROM orders ORDER BY id", &[]).await;
    (orders, house.sql("SELECT key FROM accounts ORDER BY id", &[]).await, house.authority.signatures())
}

/// Asks for an account with this binding.
async fn open(running: &Running<'_>, kid: &str, mac_key: [u8; 32]) -> Answer {
    let (signer, url) = (Signer::new(), running.url("new-account"));
    let bound = binding(kid, &mac_key, &signer.jwk(), &url);
    let header = json!({"alg": "ES256", "jwk": signer.jwk(), "nonce": running.nonce().await, "url": url});
    let payload = json!({ "externalAccountBinding": bound }).to_string();
    running.ask("POST", "new-account", &signer.message(&header, &payload).to_string()).await
}

#[test]
fn a_binding_that_is_not_one_opens_no_account() {
    in_own_process("binding", |token| {
        within(token, async |house, running| {
            let before = everything(house).await;
            refused(&open(running, "service-1", [8; 32]).await, 403, "unauthorized");
            refused(&open(running, "nobody", MAC_KEY).await, 403, "unauthorized");
            assert!(house.store.revoke_eab("service-2", now_unix_s()).await.unwrap());
            refused(&open(running, "service-2", MAC_KEY).await, 403, "unauthorized");
            assert_eq!(everything(house).await, before);
            assert_eq!(open(running, "service-1", MAC_KEY).await.status, 201);
            refused(&open(running, "service-1", MAC_KEY).await, 403, "unauthorized");
            assert_eq!(everything(house).await.1.len(), 1, "a binding key is for one account");
        });
    });
}

#[test]
fn a_message_that_another_signed_or_that_was_for_elsewhere_does_nothing() {
    in_own_process("message", |token| {
        within(token, async |house, running| {
            let client = running.enrol("service-1").await;
            let before = everything(house).await;
            let payload = wanted("dns", &[HOST]).to_string();
            let thief = Client { signer: Signer::new(), kid: client.kid.clone() };
            let forged = running.message(&thief, &running.nonce().await, "new-order", &payload);
            refused(&running.ask("POST", "new-order", &forged).await, 400, "malformed");
            let elsewhere = running.message(&client, &running.nonce().await, "key-change", &payload);
            refused(&running.ask("POST", "new-order", &elsewhere).await, 403, "unauthorized");
            let invented = running.message(&client, "AAAAAAAAAAAAAAAAAAAAAA", "new-order", &payload);
            let answer = running.ask("POST", "new-order", &invented).await;
            refused(&answer, 400, "badNonce");
            assert_eq!(everything(house).await, before);
            let again = running.message(&client, answer.header("replay-nonce"), "new-order", &payload);
            assert_eq!(running.ask("POST", "new-order", &again).await.status, 201, "the nonce that came along is good");
        });
    });
}

#[test]
fn what_is_anothers_is_not_even_there() {
    in_own_process("others", |token| {
        within(token, async |house, running| {
            let (client, other) = (running.enrol("service-1").await, running.enrol("service-2").await);
            let order = running.order(&client, &[HOST]).await;
            running.prove(&client, &order, 0, "").await;
            assert_eq!(running.settled(&client, &order).await["status"], "ready");
            let before = everything(house).await;
            let request = json!({"csr": csr(&KeyPair::generate().unwrap(), &[HOST], &[])}).to_string();
            let at = |resource: &str| order.replace("order/", resource);
            for (path, payload) in [
                (order.clone(), ""),
                (format!("{order}/finalize"), request.as_str()),
                (at("certificate/"), ""),
                (at("authorization/") + "/0", ""),
                (at("authorization/") + "/0", r#"{"status":"deactivated"}"#),
                (at("challenge/") + "/0", "{}"),
            ] {
                let answer = running.post(&other, &path, payload).await;
                assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            }
            let account = running.path(&client.kid);
            let answer = running.post(&other, &account, r#"{"status":"deactivated"}"#).await;
            assert!((400..500).contains(&answer.status), "{}", answer.text);
            assert_eq!(everything(house).await, before);
            assert_eq!(running.post(&client, &format!("{order}/finalize"), &request).await.status, 200);
        });
    });
}

#[test]
fn a_request_for_more_than_the_order_is_not_signed() {
    in_own_process("csr", |token| {
        within(token, async |house, running| {
            let client = running.enrol("service-1").await;
            let order = running.order(&client, &[HOST]).await;
            running.prove(&client, &order, 0, "").await;
            assert_eq!(running.settled(&client, &order).await["status"], "ready");
            let (before, pair) = (everything(house).await, KeyPair::generate().unwrap());
            let finalize = format!("{order}/finalize");
            let unlike = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
            for request in [
                csr(&pair, &[HOST, OTHER_HOST], &[]),
                csr(&pair, &[OTHER_HOST], &[]),
                csr(&unlike, &[HOST], &[]),
                world::b64(b"no request at all"),
            ] {
                let answer = running.post(&client, &finalize, &json!({ "csr": request }).to_string()).await;
                refused(&answer, 400, "badCSR");
            }
            assert_eq!(everything(house).await, before);
            let right = json!({"csr": csr(&pair, &[HOST], &[])}).to_string();
            assert_eq!(running.post(&client, &finalize, &right).await.json()["status"], "valid");
            assert_eq!(everything(house).await.2, before.2 + 1, "signed once");
        });
    });
}
