//! The server with its rows, its probes and a real authority, over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::house;
use crate::world;

use authority::{EntryState, read_log};
use house::{House, Running, house};
use rcgen::KeyPair;
use serde_json::json;
use test_token::{TestToken, in_own_process};
use world::{EK, HOST, OTHER_HOST, SERVICE, csr, party, wanted};

/// Runs the body of a test in a house over this token.
fn within<F: AsyncFnOnce(&House)>(token: &TestToken, body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { body(&house(token).await).await });
}

/// The certificates in the log, oldest first.
fn logged(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    read_log(house.authority.dir(), |entry| {
        assert_eq!(entry.state, EntryState::Issued);
        found.push(entry.certificate_sha256.clone());
    })
    .unwrap();
    found
}

fn sha256_of(chain: &str) -> String {
    ca_acme::Certificate::of_chain(chain).unwrap().sha256
}

/// An order whose names are proved.
async fn ready(running: &Running<'_>, client: &house::Client, names: &[&str]) -> String {
    ready_for(running, client, &wanted("dns", names)).await
}

/// An order for what is wanted, all of it proved.
async fn ready_for(running: &Running<'_>, client: &house::Client, wanted: &serde_json::Value) -> String {
    let order = running.order_for(client, wanted).await;
    for place in 0..wanted["identifiers"].as_array().unwrap().len() {
        running.prove(client, &order, place, "").await;
    }
    assert_eq!(running.settled(client, &order).await["status"], "ready");
    order
}

#[test]
fn a_service_gets_a_certificate_for_an_address_at_which_it_answers() {
    in_own_process("address", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let both =
                json!({"identifiers": [{"type": "dns", "value": HOST}, {"type": "ip", "value": house::ADDRESS}]});
            let order = ready_for(&running, &client, &both).await;
            let pair = KeyPair::generate().unwrap();
            let address = rcgen::SanType::IpAddress(house::ADDRESS.parse().unwrap());
            let name = rcgen::SanType::DnsName(HOST.try_into().unwrap());
            let request = json!({"csr": world::csr_for(&pair, None, vec![address, name])}).to_string();
            let answer = running.post(&client, &format!("{order}/finalize"), &request).await;
            assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("valid")), "{}", answer.text);
            let chain = running.post(&client, &running.path(answer.json()["certificate"].as_str().unwrap()), "").await;
            let (_, pem) = x509_parser::pem::parse_x509_pem(chain.text.as_bytes()).unwrap();
            let leaf = pem.parse_x509().unwrap();
            let named = leaf.subject_alternative_name().unwrap().unwrap();
            let named: Vec<String> = named.value.general_names.iter().map(ToString::to_string).collect();
            let expected = [format!("URI({SERVICE})"), format!("DNSName({HOST})"), "IPAddress(7f:00:00:01)".to_owned()];
            assert_eq!(named, expected);

            // Where nobody answers nothing is proved, and nothing else is signed.
            let signed = house.authority.signatures();
            let order = running.order_for(&client, &wanted("ip", &[house::ADDRESS])).await;
            running.prove(&client, &order, 0, "spoilt").await;
            assert_eq!(running.settled(&client, &order).await["status"], "invalid");
            assert_eq!(house.authority.signatures(), signed);
            running.stop().await;
        })
    });
}

#[test]
fn a_service_gets_a_certificate_that_names_it_and_is_in_the_log() {
    in_own_process("whole", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let order = ready(&running, &client, &[HOST, OTHER_HOST]).await;
            let pair = KeyPair::generate().unwrap();
            let request = json!({"csr": csr(&pair, &[HOST, OTHER_HOST], &[])}).to_string();
            let answer = running.post(&client, &format!("{order}/finalize"), &request).await;
            assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("valid")), "{}", answer.text);
            let at = running.path(answer.json()["certificate"].as_str().unwrap());
            let fetched = running.post(&client, &at, "").await;
            assert_eq!(fetched.header("content-type"), "application/pem-certificate-chain");
            let identity =
                ca_mtls::Identity::from_pem(fetched.text.as_bytes(), pair.serialize_pem().as_bytes()).unwrap();
            assert_eq!(identity.id(), &party(SERVICE));
            assert_eq!(logged(house).last(), Some(&sha256_of(&fetched.text)));
            assert_eq!(house.authority.signatures(), u64::try_from(logged(house).len()).unwrap());
            let certificate = ca_acme::Certificate::of_chain(&fetched.text).unwrap();
            let info = running.ask("GET", &format!("renewal-info/{}", certificate.renewal_id), "").await;
            assert_eq!(info.status, 200, "{}", info.text);
            let window = info.json()["suggestedWindow"]["end"].clone();

            // Taken back by the security team and not over ACME: the client is told to renew at once.
            let which = authority::Which::Serial(certificate.serial.clone());
            house.authority.revoke(&which, authority::Reason::Superseded, authority::now_unix_s()).unwrap();
            running.stop().await;
            let running = house.start().await; // which reads the lists when it begins, and each minute
            let info = running.ask("GET", &format!("renewal-info/{}", certificate.renewal_id), "").await;
            let now = info.json()["suggestedWindow"]["end"].clone();
            assert!(now.as_str() < window.as_str(), "{now} is before {window}");
            running.stop().await;
        })
    });
}

#[test]
fn a_name_that_is_not_proved_gets_nothing() {
    in_own_process("unproved", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let before = logged(house);
            let order = running.order(&client, &[HOST]).await;
            running.prove(&client, &order, 0, "x").await;
            let settled = running.settled(&client, &order).await;
            assert_eq!(settled["status"], "invalid");
            assert_eq!(settled["error"]["type"], "urn:ietf:params:acme:error:incorrectResponse");
            let request = json!({"csr": csr(&KeyPair::generate().unwrap(), &[HOST], &[])}).to_string();
            assert_eq!(running.post(&client, &format!("{order}/finalize"), &request).await.status, 403);
            assert_eq!(logged(house), before);
            running.stop().await;
        })
    });
}

#[test]
fn two_requests_with_one_nonce_are_one_request() {
    in_own_process("nonce", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let message =
                running.message(&client, &running.nonce().await, "new-order", &wanted("dns", &[HOST]).to_string());
            let asked = || running.ask("POST", "new-order", &message);
            let (one, other, third) = tokio::join!(asked(), asked(), asked());
            let mut statuses = [one.status, other.status, third.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 400, 400]);
            running.stop().await;
        })
    });
}

/// What a crash between the signature and its row leaves: an order that is being processed. Its certificate is in the log
/// and nobody has it.
#[test]
fn an_order_that_a_crash_left_half_done_is_finished_at_the_next_start() {
    in_own_process("crash", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let order = ready(&running, &client, &[HOST]).await;
            let request = csr(&KeyPair::generate().unwrap(), &[HOST], &[]);
            let payload = json!({ "csr": request }).to_string();
            assert_eq!(running.post(&client, &format!("{order}/finalize"), &payload).await.status, 200);
            running.stop().await;
            let id = order.trim_start_matches("order/");
            let half_done = json!({"processing": {"csr": request}}).to_string();
            house
                .sql(
                    "UPDATE orders SET stage = 'processing', certificate_sha256 = NULL, renewal_id = NULL,
                 document = json_set(document, '$.stage', json($2)) WHERE id = $1 RETURNING id",
                    &[id, &half_done],
                )
                .await;
            let before = logged(house);
            let running = house.start().await;
            let document = house.sql("SELECT document FROM orders WHERE id = $1", &[id]).await.remove(0);
            let stored: ca_acme::Order = serde_json::from_str(&document).unwrap();
            let after = logged(house);
            assert_eq!(after.len(), before.len() + 1, "it was signed once more");
            assert_eq!(
                after.last(),
                Some(&stored.certificate().unwrap().sha256),
                "and what is handed out is in the log"
            );
            running.stop().await;
            let running = house.start().await;
            assert_eq!(logged(house), after, "what is done is not done again");
            running.stop().await;
        })
    });
}

#[test]
fn what_was_being_looked_at_at_a_crash_is_told_to_begin_again() {
    in_own_process("probing", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let order = running.order(&client, &[HOST]).await;
            running.stop().await;
            let id = order.trim_start_matches("order/");
            let set = "UPDATE orders SET document = json_set(document, '$.authorizations[0].proof', 'processing')
                   WHERE id = $1 RETURNING id";
            house.sql(set, &[id]).await;
            let running = house.start().await;
            let document = house.sql("SELECT document FROM orders WHERE id = $1", &[id]).await.remove(0);
            assert!(document.contains("restarted meanwhile; make a new order"), "{document}");
            running.stop().await;
        })
    });
}

#[test]
fn an_order_of_a_fridge_with_nothing_in_its_statement_is_refused_with_the_place() {
    in_own_process("cannot", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let fridge = running.enrol("device-1").await;
            let identifier = data_encoding::HEXLOWER.encode(&EK);
            let payload = wanted("permanent-identifier", &[&identifier]).to_string();
            let answer = running.post(&fridge, "new-order", &payload).await;
            let order = running.path(answer.header("location"));
            let challenge = order.replace("order/", "challenge/") + "/0";
            running.post(&fridge, &challenge, &json!({"attObj": "AAAA"}).to_string()).await;
            let settled = running.settled(&fridge, &order).await;
            assert_eq!(settled["status"], "invalid");
            let detail = settled["error"]["detail"].as_str().unwrap();
            assert!(detail.starts_with("the attestation object cannot be read, at byte 1: "), "{settled}");
            running.stop().await;
        })
    });
}

/// Orders, proves and fetches a certificate for [`HOST`]; gives the order and the leaf, DER.
async fn certified(running: &Running<'_>, client: &house::Client, pair: &KeyPair) -> (String, Vec<u8>) {
    let order = ready(running, client, &[HOST]).await;
    let payload = json!({"csr": csr(pair, &[HOST], &[])}).to_string();
    assert_eq!(running.post(client, &format!("{order}/finalize"), &payload).await.status, 200);
    let chain = running.post(client, &order.replace("order/", "certificate/"), "").await.text;
    let leaf: String = chain.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    (order, data_encoding::BASE64.decode(leaf.as_bytes()).unwrap())
}

/// The serial numbers on the authority's lists.
fn listed(house: &House) -> Vec<String> {
    let mut found: Vec<String> = authority::revoked_serials(house.authority.dir()).unwrap().into_iter().collect();
    found.sort_unstable();
    found
}

async fn stored(house: &House, order: &str) -> ca_acme::Certificate {
    let id = order.trim_start_matches("order/");
    let document = house.sql("SELECT document FROM orders WHERE id = $1", &[id]).await.remove(0);
    let order: ca_acme::Order = serde_json::from_str(&document).unwrap();
    order.certificate().unwrap().clone()
}

#[test]
fn a_revoked_certificate_is_on_the_authoritys_list_and_nobody_elses_is() {
    in_own_process("revoke", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let (client, other) = (running.enrol("service-1").await, running.enrol("service-2").await);
            let (order, leaf) = certified(&running, &client, &KeyPair::generate().unwrap()).await;
            let (kept, _) = certified(&running, &client, &KeyPair::generate().unwrap()).await;
            let wanted = |reason: u8| json!({"certificate": world::b64(&leaf), "reason": reason}).to_string();
            assert_eq!(running.post(&other, "revoke-cert", &wanted(1)).await.status, 403);
            let odd = running.post(&client, "revoke-cert", &wanted(3)).await;
            assert_eq!(odd.json()["type"], "urn:ietf:params:acme:error:badRevocationReason");
            assert_eq!(listed(house), Vec::<String>::new());
            assert_eq!(stored(house, &order).await.revoked, None);

            let answer = running.post(&client, "revoke-cert", &wanted(1)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let certificate = stored(house, &order).await;
            assert_eq!(listed(house), std::slice::from_ref(&certificate.serial));
            assert_eq!(certificate.revoked.unwrap().reason, 1);
            assert_eq!(stored(house, &kept).await.revoked, None);
            let lists = house.authority.lists().unwrap();
            let read = lists.iter().find_map(|list| {
                use x509_parser::prelude::FromDer;
                let (_, parsed) =
                    x509_parser::revocation_list::CertificateRevocationList::from_der(&list.list).unwrap();
                parsed.iter_revoked_certificates().next().map(|one| one.reason_code().unwrap().1.0)
            });
            assert_eq!(read, Some(1), "the list says keyCompromise");
            let again = running.post(&client, "revoke-cert", &wanted(1)).await;
            assert_eq!(again.json()["type"], "urn:ietf:params:acme:error:alreadyRevoked");
            running.stop().await;
        })
    });
}

/// What a crash between the list and the row leaves: a certificate that is on the list, and a row that does not say so.
#[test]
fn a_revocation_that_a_crash_left_half_done_is_mended_by_asking_again() {
    in_own_process("revoke-crash", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let (order, leaf) = certified(&running, &client, &KeyPair::generate().unwrap()).await;
            let which = authority::Which::Serial(stored(house, &order).await.serial);
            house.authority.revoke(&which, authority::Reason::Superseded, authority::now_unix_s()).unwrap();
            let before = listed(house);
            let wanted = json!({"certificate": world::b64(&leaf)}).to_string();
            let answer = running.post(&client, "revoke-cert", &wanted).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(listed(house), before);
            assert!(stored(house, &order).await.revoked.is_some());
            running.stop().await;
        })
    });
}

/// A list that cannot be made is no revocation: nothing is stored as done.
#[test]
fn a_revocation_that_fails_is_not_stored_as_done() {
    in_own_process("revoke-fault", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let (order, leaf) = certified(&running, &client, &KeyPair::generate().unwrap()).await;
            house.authority.refresh_lists(authority::now_unix_s()).unwrap();
            let list = house.authority.dir().join("service.crl");
            let kept = std::fs::read(&list).unwrap();
            std::fs::write(&list, b"not the list that was logged").unwrap();
            let wanted = json!({"certificate": world::b64(&leaf)}).to_string();
            let answer = running.post(&client, "revoke-cert", &wanted).await;
            assert_eq!(answer.status, 500, "{}", answer.text);
            assert!(!answer.text.contains("service.crl"), "{}", answer.text);
            assert_eq!(stored(house, &order).await.revoked, None);
            std::fs::write(&list, kept).unwrap();
            assert_eq!(running.post(&client, "revoke-cert", &wanted).await.status, 200);
            assert_eq!(listed(house), [stored(house, &order).await.serial]);
            running.stop().await;
        })
    });
}

#[test]
fn a_row_that_no_code_wrote_is_our_fault_and_is_not_told() {
    in_own_process("corrupt", |token| {
        within(token, async |house| {
            let running = house.start().await;
            let client = running.enrol("service-1").await;
            let order = running.order(&client, &[HOST]).await;
            house.sql("UPDATE orders SET account = 'other' RETURNING id", &[]).await;
            let answer = running.post(&client, &order, "").await;
            assert_eq!((answer.status, answer.header("content-type")), (500, "application/problem+json"));
            assert!(answer.text.contains("serverInternal") && !answer.text.contains("document"), "{}", answer.text);
            running.stop().await;
        })
    });
}
