//! The client's side of ACME against a server that says what the test wants it to: nonces that were used up, refusals of
//! every kind, orders that come to no end. That the right server accepts what is signed is tried where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../mtls/tests/pki/mod.rs"]
mod pki;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ca_client::{Account, AcmeError, Credentials, Identifier, Order, Web};
use ca_http::{Limits, Request, Response, Server, Tls};
use ca_mtls::{EnrolmentClient, EnrolmentServer};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderName, StatusCode};
use pki::{Ask, Pki, SESSION, id, make};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

fn now() -> i64 {
    1_800_000_000
}

/// A server whose answers to posts stand in a script, and what was posted.
struct Scripted {
    web: Web,
    origin: String,
    script: Arc<Mutex<VecDeque<(u16, Value)>>>,
    heard: Arc<Mutex<Vec<(String, Value, Value)>>>,
}

fn decoded(message: &Value, name: &str) -> Value {
    let bytes = BASE64URL_NOPAD.decode(message[name].as_str().unwrap().as_bytes()).unwrap();
    if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
}

impl Scripted {
    async fn start() -> Self {
        let pki = Pki::new("root");
        let identity = make(&pki.service, &Ask { dns: vec!["localhost".into()], ..Ask::for_id(SESSION) }).identity();
        let tls = Tls::Enrolment(Arc::new(EnrolmentServer::new(&identity, &[b"http/1.1"]).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let script = Arc::<Mutex<VecDeque<(u16, Value)>>>::default();
        let heard = Arc::<Mutex<Vec<(String, Value, Value)>>>::default();
        let shared = (origin.clone(), Arc::clone(&script), Arc::clone(&heard), Arc::new(Mutex::new(0_u32)));
        let answer = move |request: Request| {
            let (origin, script, heard, count) = shared.clone();
            async move {
                let mut count = count.lock().unwrap();
                *count += 1;
                let (status, body) = match request.path.as_str() {
                    "/directory" => (
                        200,
                        json!({
                            "newNonce": format!("{origin}/nonce"), "newAccount": format!("{origin}/account"),
                            "newOrder": format!("{origin}/order"), "renewalInfo": format!("{origin}/info"),
                        }),
                    ),
                    "/nonce" => (200, Value::Null),
                    path => {
                        let message: Value = serde_json::from_slice(&request.body).unwrap();
                        let said = (decoded(&message, "protected"), decoded(&message, "payload"));
                        heard.lock().unwrap().push((path.to_owned(), said.0, said.1));
                        script.lock().unwrap().pop_front().expect("nothing more was to be asked")
                    }
                };
                let response = Response::json(StatusCode::from_u16(status).unwrap(), &body);
                let response = response.header(HeaderName::from_static("replay-nonce"), &format!("nonce-{count}"));
                response.header(http::header::LOCATION, &format!("{origin}/it"))
            }
        };
        tokio::spawn(Server::new(tls, Limits::default(), now, answer).run(listener, std::future::pending()));
        let tls = EnrolmentClient::new(&pki.bundle()).config(&id(SESSION), &[b"http/1.1"]).unwrap();
        let web = Web::new(origin.strip_prefix("https://").unwrap().to_owned(), tls);
        Self { web, origin, script, heard }
    }

    fn says(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.script.lock().unwrap().extend(answers);
    }

    async fn account(&self) -> (Account, Credentials) {
        self.says([(201, json!({}))]);
        let directory = format!("{}/directory", self.origin);
        let made = Account::create(self.web.clone(), &directory, "kid-1", b"secret").await.unwrap();
        self.heard.lock().unwrap().clear();
        made
    }

    fn order(&self, status: &str) -> Value {
        json!({ "status": status, "authorizations": [format!("{}/authz", self.origin)],
                "finalize": format!("{}/finalize", self.origin) })
    }
}

fn refused(detail: &str) -> Value {
    json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": detail })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_kept_and_opened_again() {
    let scripted = Scripted::start().await;
    scripted.says([(201, json!({}))]);
    let directory = format!("{}/directory", scripted.origin);
    let (account, kept) = Account::create(scripted.web.clone(), &directory, "kid-1", b"secret").await.unwrap();
    let (path, header, payload) = scripted.heard.lock().unwrap()[0].clone();
    assert_eq!(
        (path.as_str(), &header["alg"], &header["url"]),
        ("/account", &json!("ES256"), &json!(format!("{}/account", scripted.origin)))
    );
    let binding = &payload["externalAccountBinding"];
    assert_eq!(decoded(binding, "protected"), json!({"alg": "HS256", "kid": "kid-1", "url": header["url"]}));
    assert_eq!(decoded(binding, "payload"), header["jwk"]);
    assert_eq!(account.thumbprint().len(), 43);

    let text = serde_json::to_string(&kept).unwrap();
    assert!(!format!("{kept:?}").contains(text.split('"').rev().nth(1).unwrap()), "the key is not printed");
    let again = Account::open(scripted.web.clone(), &serde_json::from_str(&text).unwrap()).await.unwrap();
    assert_eq!(again.thumbprint(), account.thumbprint());
    let bad = text.replace(":\"MI", ":\"NI");
    assert!(matches!(
        Account::open(scripted.web.clone(), &serde_json::from_str(&bad).unwrap()).await,
        Err(AcmeError::Refused(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_nonce_is_replaced_and_not_for_ever() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    let used = || (400, json!({ "type": BAD_NONCE }));
    scripted.says([used(), used(), (201, scripted.order("pending"))]);
    let order = Order::place(&account, "service", &[Identifier::Dns("a.example".into())]).await.unwrap();
    assert_eq!(order.url(), format!("{}/it", scripted.origin));
    let heard = scripted.heard.lock().unwrap().clone();
    let nonces: std::collections::BTreeSet<String> =
        heard.iter().map(|(_, header, _)| header["nonce"].to_string()).collect();
    assert_eq!((heard.len(), nonces.len()), (3, 3), "each nonce once");
    assert_eq!(heard[2].2, json!({ "profile": "service", "identifiers": [{ "type": "dns", "value": "a.example" }] }));
    scripted.says([used(), used(), used(), used()]);
    let over = Order::place(&account, "service", &[]).await.unwrap_err();
    assert_eq!(over, AcmeError::Nonce);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_identifier_is_ordered_as_what_it_is() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    let ip = |text: &str| Identifier::Ip(text.parse().unwrap());
    let wanted = [Identifier::Dns("a.example".into()), ip("192.0.2.7"), ip("2001:DB8:0:0::0:1")];
    scripted.says([(201, scripted.order("pending")), (201, scripted.order("pending"))]);
    Order::place(&account, "service", &wanted).await.unwrap();
    Order::place(&account, "device", &[Identifier::Permanent("e4".into())]).await.unwrap();
    let heard = scripted.heard.lock().unwrap().clone();
    let named = |kind: &str, value: &str| json!({ "type": kind, "value": value });
    let expected = [named("dns", "a.example"), named("ip", "192.0.2.7"), named("ip", "2001:db8::1")];
    assert_eq!(
        heard[0].2,
        json!({ "profile": "service", "identifiers": expected }),
        "in the one form that RFC 8738 has"
    );
    let expected = [named("permanent-identifier", "e4")];
    assert_eq!(heard[1].2, json!({ "profile": "device", "identifiers": expected }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_with_their_reason_wherever_they_come() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    let place = async || Order::place(&account, "device", &[Identifier::Permanent("e4".into())]).await;
    scripted.says([(403, refused("the key is barred"))]);
    assert_eq!(place().await.unwrap_err(), AcmeError::Refused("the authority refuses: the key is barred".into()));
    scripted.says([(503, json!({}))]);
    assert!(matches!(place().await.unwrap_err(), AcmeError::Failed(why) if why.contains("503")));

    // Another proof than the one that is offered; and one that is offered.
    scripted.says([(201, scripted.order("pending"))]);
    let order = place().await.unwrap();
    let challenge = json!({ "type": "http-01", "url": format!("{}/challenge", scripted.origin), "token": "t" });
    let authorization = json!({ "status": "pending", "challenges": [challenge] });
    scripted.says([
        (200, authorization.clone()),
        (200, authorization),
        (200, json!({ "status": "valid", "challenges": [] })),
    ]);
    assert!(
        matches!(order.challenges("device-attest-01").await, Err(AcmeError::Refused(why)) if why.contains("device-attest-01"))
    );
    let challenges = order.challenges("http-01").await.unwrap();
    assert_eq!(challenges[0].key_authorization, format!("t.{}", account.thumbprint()));
    assert_eq!(order.challenges("http-01").await.unwrap(), [], "what is proved needs nothing");

    // The order comes to nothing, for a reason.
    let mut over = scripted.order("invalid");
    over["error"] = refused("quote with an old nonce");
    scripted.says([(200, json!({})), (200, over)]);
    order.meet(&challenges[0], &json!({})).await.unwrap();
    let why = order.certificate(b"request").await.unwrap_err();
    assert_eq!(why, AcmeError::Refused("the authority refuses: quote with an old nonce".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_waited_for() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    scripted.says([(201, scripted.order("pending"))]);
    let order = Order::place(&account, "service", &[]).await.unwrap();
    let mut valid = scripted.order("valid");
    valid["certificate"] = json!(format!("{}/chain", scripted.origin));
    let looks = [scripted.order("pending"), scripted.order("ready"), scripted.order("processing"), valid];
    scripted.says(looks.map(|order| (200, order)));
    scripted.says([(200, json!("the chain"))]);
    assert_eq!(order.certificate(b"request").await.unwrap(), "\"the chain\"");
    let paths: Vec<String> = scripted.heard.lock().unwrap().iter().map(|(path, _, _)| path.clone()).collect();
    assert_eq!(paths, ["/order", "/it", "/it", "/finalize", "/it", "/chain"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_cannot_be_decided_is_told_and_not_waited_for() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    scripted.says([(201, scripted.order("pending"))]);
    let order = Order::place(&account, "service", &[]).await.unwrap();
    scripted.says([(); 3].map(|()| (200, scripted.order("pending"))));
    let challenge = json!({
        "type": "device-attest-01", "url": "u", "token": "t", "error": refused("the clock of the device is a day behind"),
    });
    scripted.says([(200, json!({ "status": "pending", "challenges": [challenge] }))]);
    let why = order.certificate(b"request").await.unwrap_err();
    let told = "the authority cannot decide: the clock of the device is a day behind";
    assert_eq!(why, AcmeError::Failed(told.into()), "asking again is right");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_that_an_order_is_ready_need_not_wait_again() {
    let scripted = Scripted::start().await;
    let (account, _) = scripted.account().await;
    let mut valid = scripted.order("valid");
    valid["certificate"] = json!(format!("{}/chain", scripted.origin));
    scripted.says([(201, scripted.order("pending")), (200, scripted.order("ready")), (200, valid), (200, json!("it"))]);
    let mut order = Order::place(&account, "service", &[]).await.unwrap();
    order.look().await.unwrap();
    assert_eq!(order.certificate(b"request").await.unwrap(), "\"it\"");
    let paths: Vec<String> = scripted.heard.lock().unwrap().iter().map(|(path, _, _)| path.clone()).collect();
    assert_eq!(paths, ["/order", "/it", "/finalize", "/chain"]);
}
