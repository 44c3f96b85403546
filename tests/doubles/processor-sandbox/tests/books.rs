//! The sandbox seen from outside, over TLS and HTTP and as a program: Stripe's shape, books that add up, and books that
//! outlive a kill.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

const CARD: &str = "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2040";

/// The program, killed when dropped.
struct Program {
    child: Child,
    base: String,
    control: String,
    root_pem: String,
    api_key: String,
}

impl Program {
    fn start(dir: &Path, extra: &[&str]) -> Self {
        let ready = dir.join("ready.json");
        drop(std::fs::remove_file(&ready));
        let mut command = Command::new(env!("CARGO_BIN_EXE_processor-sandbox"));
        let child =
            command.arg("--ready").arg(&ready).arg("--books").arg(dir.join("books")).args(extra).spawn().unwrap();
        let text = (0..1_000)
            .find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                std::fs::read_to_string(&ready).ok()
            })
            .expect("the sandbox does not come up");
        let said: Value = serde_json::from_str(&text).unwrap();
        let word = |name: &str| said[name].as_str().unwrap().to_owned();
        let root_pem = std::fs::read_to_string(word("root_pem")).unwrap();
        let address = |name: &str| word(name).rsplit('/').next().unwrap().to_owned();
        Self { child, base: address("base_url"), control: address("control_url"), root_pem, api_key: word("api_key") }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the processor's API over TLS; status and body, or nothing when the answer was lost.
    fn ask(&self, method: &str, path: &str, key: Option<&str>, form: &str) -> Option<(u16, Value)> {
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let authorization = format!("authorization: Bearer {}\r\n{key}", self.api_key);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_slice(self.root_pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, TcpStream::connect(&self.base).ok()?);
        exchange(&mut tls, method, path, &authorization, form)
    }

    fn post(&self, path: &str, key: &str, form: &str) -> (u16, Value) {
        self.ask("POST", path, Some(key), form).unwrap()
    }

    fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        exchange(&mut TcpStream::connect(&self.control).unwrap(), method, path, "", body).unwrap()
    }

    fn ledger(&self) -> Value {
        self.control("GET", "/control/ledger", "").1
    }

    fn hold(&self, key: &str, session: &str, amount: i64) -> String {
        let (_, method) = self.post("/v1/payment_methods", &format!("{key}-card"), CARD);
        let method = method["id"].as_str().unwrap();
        let form = format!(
            "amount={amount}&currency=usd&payment_method={method}&capture_method=manual&confirm=true\
             &metadata%5Bsession%5D={session}"
        );
        let (status, intent) = self.post("/v1/payment_intents", key, &form);
        assert_eq!((status, &intent["status"]), (200, &json!("requires_capture")), "{intent}");
        intent["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn exchange(io: &mut (impl Read + Write), method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, Value)> {
    let length = body.len();
    write!(
        io,
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    // A lost answer ends without ceremony.
    drop(io.read_to_string(&mut answer));
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

fn total(count: u64, sum: i64) -> Value {
    json!({"count": count, "sum": sum})
}

#[test]
fn a_payment_in_stripes_shape() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Program::start(dir.path(), &[]);
    let (status, method) = sandbox.post("/v1/payment_methods", "card", CARD);
    assert_eq!((status, &method["object"], &method["card"]["last4"]), (200, &json!("payment_method"), &json!("4242")));
    assert_eq!(method["card"]["brand"], json!("visa"));

    let intent = sandbox.hold("one", "session-1", 2_500);
    let path = format!("/v1/payment_intents/{intent}");
    let (_, held) = sandbox.ask("GET", &path, None, "").unwrap();
    assert_eq!((&held["amount_capturable"], &held["metadata"]["session"]), (&json!(2_500), &json!("session-1")));
    let (status, raised) = sandbox.post(&format!("{path}/increment_authorization"), "raise", "amount=3000");
    assert_eq!((status, &raised["amount"]), (200, &json!(3_000)));
    let (status, taken) = sandbox.post(&format!("{path}/capture"), "take", "amount_to_capture=1200");
    assert_eq!((status, &taken["status"], &taken["amount_received"]), (200, &json!("succeeded"), &json!(1_200)));
    assert_eq!(taken["amount_capturable"], json!(0), "the rest is let go");
    let (status, refund) = sandbox.post("/v1/refunds", "back", &format!("payment_intent={intent}&amount=200"));
    assert_eq!((status, &refund["object"], &refund["status"]), (200, &json!("refund"), &json!("succeeded")));

    let query = "/v1/payment_intents/search?query=metadata%5B%27session%27%5D%3A%27session-1%27";
    let (_, found) = sandbox.ask("GET", query, None, "").unwrap();
    assert_eq!((&found["object"], &found["data"][0]["id"]), (&json!("search_result"), &json!(intent)));
    assert_eq!(found["data"].as_array().unwrap().len(), 1);

    let other = sandbox.hold("two", "session-2", 700);
    sandbox.hold("three", "session-3", 900);
    let (status, gone) = sandbox.post(&format!("/v1/payment_intents/{other}/cancel"), "let-go", "");
    assert_eq!((status, &gone["status"]), (200, &json!("canceled")));
    let expected = json!({
        "authorized": total(3, 4_600), "captured": total(1, 1_200), "voided": total(1, 700),
        "refunded": total(1, 200), "open": total(1, 900),
    });
    assert_eq!(sandbox.ledger(), expected);
    let (_, listed) = sandbox.control("GET", "/control/intents?session=session-1", "");
    let view =
        json!({"id": intent, "status": "succeeded", "amount": 3_000, "amount_received": 1_200, "amount_refunded": 200});
    assert_eq!(listed, json!({"intents": [view]}));
    assert_eq!(sandbox.control("GET", "/control/intents?from=1", "").1["intents"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.control("GET", "/healthz", "").0, 200);
}

#[test]
fn errors_in_stripes_shape() {
    let dir = tempfile::tempdir().unwrap();
    let mut sandbox = Program::start(dir.path(), &[]);
    let error = |(status, body): (u16, Value)| (status, body["error"]["type"].clone(), body["error"]["code"].clone());
    let invalid = |status: u16, code: &str| (status, json!("invalid_request_error"), json!(code));
    assert_eq!(error(sandbox.post("/v1/payment_methods", "a", "type=card")), invalid(400, "parameter_missing"));
    assert_eq!(error(sandbox.post("/v1/refunds", "b", "payment_intent=pi_x")), invalid(404, "resource_missing"));
    let nowhere = sandbox.ask("GET", "/v1/nowhere", None, "").unwrap();
    assert_eq!((nowhere.0, &nowhere.1["error"]["code"]), (404, &Value::Null));
    let wrong = CARD.replace("4242424242424242", "4242424242424241");
    let incorrect = (402, json!("card_error"), json!("incorrect_number"));
    assert_eq!(error(sandbox.post("/v1/payment_methods", "c", &wrong)), incorrect);

    let intent = sandbox.hold("hold", "s", 2_500);
    let reused = error(sandbox.post(&format!("/v1/payment_intents/{intent}/cancel"), "hold", ""));
    assert_eq!(reused, (400, json!("idempotency_error"), Value::Null));

    sandbox.control("POST", "/control/declines", r#"{"declines":{"4242424242424242":"lost_card"}}"#);
    let (_, method) = sandbox.post("/v1/payment_methods", "d", CARD);
    let form = format!(
        "amount=1&currency=usd&payment_method={}&capture_method=manual&confirm=true",
        method["id"].as_str().unwrap()
    );
    let (status, declined) = sandbox.post("/v1/payment_intents", "e", &form);
    let error_body = &declined["error"];
    assert_eq!(
        (status, &error_body["code"], &error_body["decline_code"]),
        (402, &json!("card_declined"), &json!("lost_card"))
    );
    sandbox.control("POST", "/control/declines", r#"{"declines":{"4242424242424242":null}}"#);
    assert_eq!(sandbox.post("/v1/payment_intents", "e", &form), (402, declined), "a decline is told again");
    assert_eq!(sandbox.post("/v1/payment_intents", "f", &form).0, 200);

    assert_eq!(sandbox.control("POST", "/control/switches", r#"{"fail_5xx":true}"#).0, 200);
    assert_eq!(sandbox.post("/v1/payment_methods", "g", CARD).0, 503);
    assert_eq!(sandbox.control("POST", "/control/switches", r#"{"nonsense":true}"#).0, 400);
    sandbox.control("POST", "/control/switches", r#"{"fail_5xx":false,"down":true}"#);
    assert_eq!(sandbox.ask("GET", "/v1/nowhere", None, ""), None);
    sandbox.control("POST", "/control/switches", r#"{"down":false}"#);
    sandbox.api_key = "sk_test_other".to_owned();
    assert_eq!(sandbox.post("/v1/payment_methods", "h", CARD).0, 401);
}

#[test]
fn a_killed_sandbox_keeps_its_books_its_name_and_its_root() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Program::start(dir.path(), &[]);
    let (base, root) = (sandbox.base.clone(), sandbox.root_pem.clone());
    let intent = sandbox.hold("hold", "s", 2_500);
    sandbox.control("POST", "/control/switches", r#"{"lose_answers_for":["capture"]}"#);
    let capture = format!("/v1/payment_intents/{intent}/capture");
    assert_eq!(sandbox.ask("POST", &capture, Some("take"), "amount_to_capture=900"), None);
    let ledger = sandbox.ledger();
    assert_eq!(ledger["captured"], total(1, 900));
    sandbox.kill();

    // Killed in the middle of a line: it was never answered.
    let books = dir.path().join("books");
    std::fs::OpenOptions::new().append(true).open(&books).unwrap().write_all(b"{\"Entry\":{\"as").unwrap();
    let sandbox = Program::start(dir.path(), &["--listen", &base]);
    assert_eq!((&sandbox.base, sandbox.root_pem.replace('\r', "")), (&base, root.replace('\r', "")));
    assert_eq!(sandbox.ledger(), ledger);
    let (status, taken) = sandbox.post(&capture, "take", "amount_to_capture=900");
    assert_eq!((status, &taken["amount_received"]), (200, &json!(900)));
    assert_eq!(sandbox.post("/v1/refunds", "back", &format!("payment_intent={intent}")).1["amount"], json!(900));
    sandbox.kill();

    let again = Program::start(dir.path(), &[]);
    assert_eq!(again.ledger()["refunded"], total(1, 900));
    let kept = std::fs::read_to_string(&books).unwrap();
    assert!(!kept.contains("4242424242424242"), "the books hold no card number");
    assert!(!kept.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > 12), "nor anything like one");
}

#[test]
fn books_that_are_not_ours_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("books"), "{\"Decline\":{}}\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_processor-sandbox"))
        .arg("--ready")
        .arg(dir.path().join("ready"))
        .arg("--books")
        .arg(dir.path().join("books"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("books"));
    assert!(!dir.path().join("ready").exists());
}
