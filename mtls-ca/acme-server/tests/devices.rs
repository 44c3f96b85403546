//! A fridge with a TPM gets its certificate for what its TPM and the attestation service say, and for nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fleet;
use crate::house;
use crate::world;

use std::process::Command;
use std::sync::Arc;

use authority::{Reason, Which, read_log};
use ca_identity::SpiffeId;
use ca_mtls::{Identity, TrustBundle, client_config, server_config};
use fleet::device::{BOOT, NEXT_BOOT};
use fleet::{Enrolled, Fleet, Fridge, Prepared, clock, ders, later_by, object};
use fridge_tpm::TpmSigner;
use house::{House, LIMIT, OWN, house};
use rustls_pki_types::CertificateDer;
use test_token::{TestToken, in_own_process};
use tokio::net::{TcpListener, TcpStream};
use world::party;

const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
const QUARANTINED: &str = "spiffe://larder.internal/quarantine/f1";
const YEAR_S: i64 = 366 * 86_400;

fn within<F: AsyncFnOnce(&House)>(token: &TestToken, body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { body(&house(token).await).await });
}

/// Whom a service sees when the fridge comes with its TPM's key, over mutual TLS.
async fn seen(house: &House, fridge: &Fridge, enrolled: &Enrolled) -> SpiffeId {
    let chain = ders(&enrolled.chain_pem).into_iter().map(CertificateDer::from).collect();
    let key = TpmSigner::new(fridge.asked.clone(), enrolled.tls_key.clone());
    let own = Identity::new(chain, Arc::new(key)).unwrap();
    let bundle = TrustBundle::from_pem(house.authority.trust_bundle_pem().as_bytes()).unwrap();
    let server = server_config(&house.identity, &bundle, house.authority.trust_domain(), &[b"h2"]).unwrap();
    let client = client_config(&own, &bundle, &party(OWN), &[b"h2"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        ca_mtls::accept(server, stream, LIMIT).await.map(|(_, peer)| peer.id)
    });
    let stream = TcpStream::connect(address).await.unwrap();
    ca_mtls::connect(client, "localhost".try_into().unwrap(), stream, LIMIT).await.unwrap();
    accepted.await.unwrap().unwrap()
}

fn openssl_accepts(house: &House, chain_pem: &str) {
    let folder = tempfile::TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("root.pem"), house.authority.trust_bundle_pem()).unwrap();
    std::fs::write(at("chain.pem"), chain_pem).unwrap();
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem"]).current_dir(folder.path());
    let output = command.args(["-untrusted", "chain.pem", "chain.pem"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_fridge_is_enrolled_and_again_a_year_after_its_certificate_expired() {
    in_own_process("enrolled", |token| {
        within(token, async |house| {
            let fridge = Fridge::new();
            let fleet = Fleet::start(house, &[&fridge]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let first = fleet.enrol(&fridge, &client, "f1", None).await;
            assert!(first.order.get("quarantine").is_none(), "{}", first.order);
            assert_eq!(seen(house, &fridge, &first).await, party(FRIDGE));
            openssl_accepts(house, &first.chain_pem);
            // The next certificate, with a new key that proves the one before.
            let second = fleet.enrol(&fridge, &client, "f1", Some(&first.tls_key)).await;
            assert_ne!(second.tls_key, first.tls_key);
            assert_eq!(seen(house, &fridge, &second).await, party(FRIDGE));
            let mut logged = 0_u64;
            read_log(house.authority.dir(), |_| logged += 1).unwrap();
            assert_eq!(house.authority.signatures(), logged, "nothing was signed past the log");
            // Switched off for a year: nobody has to come.
            fleet.running.stop().await;
            later_by(YEAR_S);
            assert!(!house.authority.renew(clock()).unwrap().is_empty());
            let fridge = fridge.rebooted(&BOOT);
            let fleet = Fleet::start(house, &[&fridge]).await;
            let third = fleet.enrol(&fridge, &client.moved(&fleet.running), "f1", Some(&second.tls_key)).await;
            let certificate = ca_acme::Certificate::of_chain(&third.chain_pem).unwrap();
            assert!(third.order.get("quarantine").is_none() && certificate.not_before_unix_s > clock() - 3_600);
            fleet.running.stop().await;
        })
    });
}

#[test]
fn an_answer_that_is_another_fridges_or_another_orders_is_refused() {
    in_own_process("exchanged", |token| {
        within(token, async |house| {
            let (fridge, other) = (Fridge::new(), Fridge::new());
            let fleet = Fleet::start(house, &[&fridge, &other]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let theirs = fleet.account(&other, "fridge-2", "f2").await;
            let refused = |order: &serde_json::Value, words: &str| {
                assert_eq!(order["status"], "invalid", "{order}");
                assert_eq!(order["error"]["type"], "urn:ietf:params:acme:error:badAttestationStatement");
                let detail = order["error"]["detail"].as_str().unwrap();
                assert!(detail.contains(words), "{detail}");
            };
            // The second fridge's verdict and certificate, with the first one's statement.
            let (mut mine, second) =
                (fleet.prepare(&fridge, &client, "f1", None).await, fleet.prepare(&other, &theirs, "f2", None).await);
            let good = object(&fridge, &mine);
            let (own, first) = (mine.attested.clone(), mine.attesting.clone());
            mine.attested = second.attested.clone();
            let order = fleet.answer(&client, &mine, &object(&fridge, &mine)).await;
            refused(&order, "is for another key than the attestation key in the object");
            let previous = Some(mine.attesting.tls_key.clone());
            let mut mine = fleet.prepare(&fridge, &client, "f1", previous.as_ref()).await;
            mine.attested.verdict = second.attested.verdict.clone();
            let order = fleet.answer(&client, &mine, &object(&fridge, &mine)).await;
            refused(&order, "about another attestation key");
            // What the second fridge would answer to its own challenge.
            let previous = Some(mine.attesting.tls_key.clone());
            let mine = fleet.prepare(&fridge, &client, "f1", previous.as_ref()).await;
            refused(&fleet.answer(&client, &mine, &object(&other, &second)).await, "for another challenge");
            // The first order's answer, for a later order.
            let previous = Some(mine.attesting.tls_key.clone());
            let mine = fleet.prepare(&fridge, &client, "f1", previous.as_ref()).await;
            refused(&fleet.answer(&client, &mine, &good).await, "for another challenge");
            // With a statement for the later order, and the verdict that the first one was answered with.
            let again = fleet.order(&client, &fridge.identifier()).await.unwrap();
            let challenge = again.replace("order/", "challenge/") + "/0";
            let token = fleet.running.post(&client, &challenge, "").await.json()["token"].as_str().unwrap().to_owned();
            let print = mine.key_authorization.split_once('.').unwrap().1;
            let key_authorization = format!("{token}.{print}");
            let replayed = Prepared { order: again, challenge, key_authorization, attesting: first, attested: own };
            let order = fleet.answer(&client, &replayed, &object(&fridge, &replayed)).await;
            refused(&order, "the verdict is for another order than this one");
            // An order for the other's device, which this account may not have.
            let why = fleet.order(&client, &other.identifier()).await.unwrap_err();
            assert_eq!(why["type"], "urn:ietf:params:acme:error:rejectedIdentifier", "{why}");
            fleet.running.stop().await;
        })
    });
}

#[test]
fn over_the_network_a_request_that_was_not_attested_is_refused_and_the_one_that_was_is_fulfilled() {
    in_own_process("request", |token| {
        within(token, async |house| {
            let fridge = Fridge::new();
            let fleet = Fleet::serve(house, &[&fridge]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let prepared = fleet.prepare(&fridge, &client, "f1", None).await;
            assert_eq!(fleet.answer(&client, &prepared, &object(&fridge, &prepared)).await["status"], "ready");
            let signer = TpmSigner::new(fridge.asked.clone(), prepared.attesting.tls_key.clone());
            let another = signer.certificate_request(FRIDGE).unwrap();
            assert_ne!(another, prepared.attesting.request, "signed anew");
            let why = fleet.finalize(&client, &prepared.order, &another).await;
            assert_eq!(why["type"], "urn:ietf:params:acme:error:badCSR", "{why}");
            assert!(why["detail"].as_str().unwrap().contains("another than the one that the attestation service's"));
            let order = fleet.finalize(&client, &prepared.order, &prepared.attesting.request).await;
            assert_eq!(order["status"], "valid", "{order}");
            let chain_pem = fleet.chain(&client, &prepared.order).await;
            let enrolled = Enrolled { chain_pem, tls_key: prepared.attesting.tls_key, order };
            assert_eq!(seen(house, &fridge, &enrolled).await, party(FRIDGE));
            fleet.running.stop().await;
        })
    });
}

#[test]
fn other_firmware_gets_the_name_of_quarantine_and_is_told_why() {
    in_own_process("firmware", |token| {
        within(token, async |house| {
            let fridge = Fridge::new();
            let fleet = Fleet::start(house, &[&fridge]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let good = fleet.enrol(&fridge, &client, "f1", None).await;
            let fridge = fridge.rebooted(&NEXT_BOOT);
            let bad = fleet.enrol(&fridge, &client, "f1", Some(&good.tls_key)).await;
            let reason = bad.order["quarantine"][0].as_str().unwrap();
            assert!(reason.starts_with("event 0 extended register 0 with "), "{}", bad.order);
            assert_eq!(seen(house, &fridge, &bad).await, party(QUARANTINED));
            openssl_accepts(house, &bad.chain_pem);
            // With the firmware that is known it sells again, without anybody.
            let fridge = fridge.rebooted(&BOOT);
            let again = fleet.enrol(&fridge, &client, "f1", Some(&bad.tls_key)).await;
            assert_eq!(seen(house, &fridge, &again).await, party(FRIDGE));
            fleet.running.stop().await;
        })
    });
}

#[test]
fn a_copied_tpm_puts_both_into_quarantine_until_a_person_lets_it_out() {
    in_own_process("copied", |token| {
        within(token, async |house| {
            let fridge = Fridge::new();
            let fleet = Fleet::start(house, &[&fridge]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let first = fleet.enrol(&fridge, &client, "f1", None).await;
            let copy = Fridge::booted(fridge.tpm.copied(), &BOOT);
            let key = fridge.tpm.path("attestation.key");
            std::fs::copy(key, copy.tpm.path("attestation.key")).unwrap();
            let name = |enrolled: &Enrolled| {
                let leaf = ders(&enrolled.chain_pem).remove(0);
                let is = |text: &str| leaf.windows(text.len()).any(|part| part == text.as_bytes());
                (is(FRIDGE), is(QUARANTINED))
            };
            let theirs = fleet.enrol(&copy, &client, "f1", Some(&first.tls_key)).await;
            assert_eq!(name(&theirs), (true, false), "nobody can tell yet");
            let ours = fleet.enrol(&fridge, &client, "f1", Some(&first.tls_key)).await;
            assert_eq!(name(&ours), (false, true), "{}", ours.order);
            assert!(ours.order["quarantine"][0].as_str().unwrap().contains("there is a copy of it"), "{}", ours.order);
            let theirs = fleet.enrol(&copy, &client, "f1", Some(&theirs.tls_key)).await;
            assert_eq!((name(&theirs), &theirs.order["quarantine"]), ((false, true), &ours.order["quarantine"]));
            // It lasts, over a restart of the TPM as well.
            let fridge = fridge.rebooted(&BOOT);
            let again = fleet.enrol(&fridge, &client, "f1", Some(&first.tls_key)).await;
            assert_eq!(name(&again), (false, true));
            fleet.store.release(&data_encoding::HEXLOWER.encode(&fridge.identifier()), clock()).await.unwrap();
            let released = fleet.enrol(&fridge, &client, "f1", Some(&again.tls_key)).await;
            assert_eq!(name(&released), (true, false), "{}", released.order);
            fleet.running.stop().await;
        })
    });
}

#[test]
fn a_stolen_fridge_orders_nothing_until_it_gets_a_new_account_key() {
    in_own_process("stolen", |token| {
        within(token, async |house| {
            let fridge = Fridge::new();
            let fleet = Fleet::start(house, &[&fridge]).await;
            let client = fleet.account(&fridge, "fridge-1", "f1").await;
            let enrolled = fleet.enrol(&fridge, &client, "f1", None).await;
            let half = fleet.prepare(&fridge, &client, "f1", Some(&enrolled.tls_key)).await;
            // What says nothing against the fridge bars nobody.
            let serial = ca_acme::Certificate::of_chain(&enrolled.chain_pem).unwrap().serial;
            house.authority.revoke(&Which::Serial(serial), Reason::Superseded, clock()).unwrap();
            fleet.order(&client, &fridge.identifier()).await.unwrap();
            // Somebody else at the authority, in another process: the ACME server sees its lists.
            let party = Which::Party(party(FRIDGE));
            let other = fleet.enrol(&fridge, &client, "f1", Some(&half.attesting.tls_key)).await;
            house.authority.revoke(&party, Reason::KeyCompromise, clock()).unwrap();
            let why = fleet.order(&client, &fridge.identifier()).await.unwrap_err();
            assert_eq!(why["type"], "urn:ietf:params:acme:error:unauthorized", "{why}");
            let detail = why["detail"].as_str().unwrap();
            assert!(detail.contains("a certificate of spiffe://larder.internal/fridge/f1 was revoked at"), "{detail}");
            assert!(detail.contains("have a new key made (`larder-acme eab new`)"), "{detail}");
            // Nor is the order fulfilled that was made before.
            let payload = serde_json::json!({ "attObj": world::b64(object(&fridge, &half)) }).to_string();
            assert_eq!(fleet.running.post(&client, &half.challenge, &payload).await.status, 403);
            // When somebody has looked at it, it gets another key.
            later_by(2);
            let client = fleet.account(&fridge, "fridge-1b", "f1").await;
            let back = fleet.enrol(&fridge, &client, "f1", Some(&other.tls_key)).await;
            assert_eq!(back.order["status"], "valid");
            // The bar does not end with the list that said it.
            let state = house.sql("SELECT kid FROM eab_keys WHERE barred_reason = 1", &[]).await;
            assert_eq!(state, ["fridge-1"]);
            fleet.running.stop().await;
        })
    });
}
