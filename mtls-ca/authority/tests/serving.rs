//! The authority as a server, by its own program: a gateway waits, somebody revokes in another process, and the gateway has
//! the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authority::{
    Approval, Approver, Authority, AuthorityConfig, Kind, Pin, Reason, SubjectKey, Which, now_unix_s, read_log,
};
use ca_mtls::{CheckedCrl, Identity, SignedBundle, TrustBundle, client_config, connect};
use ca_rotation::{Direction, Tier};
use data_encoding::BASE64URL_NOPAD;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use test_token::{TestToken, in_own_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use world::{ADA, FRIDGE, SESSION, attestation_key, config, dir, domain, file, id, issue, people};

const LIMIT: Duration = Duration::from_secs(20);

/// A running `larder-ca serve`, ended with its value.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(token: &TestToken) -> Self {
        let pin = file(token, "pin", token.pin());
        std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
        let ready: PathBuf = token.directory().join("ready");
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder-ca"));
        command
            .args(["serve", "--services", "127.0.0.1:0", "--ip", "127.0.0.1"])
            .args(["--dir".as_ref(), dir(token).as_os_str(), "--pin-file".as_ref(), pin.as_os_str()])
            .args(["--ready-file".as_ref(), ready.as_os_str()]);
        let child = token.apply(&mut command).stdout(Stdio::null()).spawn().unwrap();
        Self { child, address: wait_for(&ready) }
    }

    /// Ends it as an operator would, and says whether it ended well.
    fn end(mut self) -> bool {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        told.success() && self.child.wait().unwrap().success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(path: &Path) -> String {
    let begun = Instant::now();
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ if begun.elapsed() > LIMIT => panic!("it did not get ready"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

struct Gateway {
    identity: Identity,
    bundle: TrustBundle,
    address: String,
}

impl Gateway {
    fn new(authority: &Authority, served: &Served, name: &str) -> Self {
        let (chain, key) = issue(authority, name, now_unix_s());
        Self {
            identity: Identity::from_pem(chain.chain_pem.as_bytes(), key.expose().as_bytes()).unwrap(),
            bundle: TrustBundle::from_pem(authority.trust_bundle_pem().as_bytes()).unwrap(),
            address: served.address.clone(),
        }
    }

    /// One question; the status, the tag and the body.
    async fn ask(&self, tag: &str, wait_s: u32) -> (u16, String, Vec<u8>) {
        self.say(&format!(
            "GET /v1/revocations?wait_s={wait_s} HTTP/1.1\r\nhost: authority\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    /// Asks for the bundle after this version.
    async fn follow(&self, tag: &str, wait_s: u32) -> (u16, String, Vec<u8>) {
        self.say(&format!(
            "GET /bundle?wait_s={wait_s} HTTP/1.1\r\nhost: authority\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    /// Asks for the certificate of an attestation key.
    async fn post(&self, body: &str) -> (u16, String, Vec<u8>) {
        let length = body.len();
        self.say(&format!(
            "POST /attestation-keys HTTP/1.1\r\nhost: authority\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    /// One request; the status, the tag and the body of the answer.
    async fn say(&self, question: &str) -> (u16, String, Vec<u8>) {
        let server = id("spiffe://larder.internal/service/authority");
        let tls = client_config(&self.identity, &self.bundle, &server, &[b"http/1.1"]).unwrap();
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let (mut stream, _) = connect(tls, name, stream, LIMIT).await.unwrap();
        stream.write_all(question.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..at].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
        (status, tag, answer[at + 4..].to_vec())
    }

    fn revoked(&self, pem: &[u8]) -> usize {
        let lists = CheckedCrl::check_pem(pem, &self.bundle, now_unix_s()).unwrap();
        lists.iter().map(CheckedCrl::revoked).sum()
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_gateway_that_waits_has_the_list_as_soon_as_somebody_revokes() {
    in_own_process("word", |token| {
        let authority = Authority::init(&config(token), now_unix_s()).unwrap();
        let served = Served::start(token);
        let gateway = Gateway::new(&authority, &served, SESSION);
        run(async {
            let (status, tag, body) = gateway.ask("", 0).await;
            assert_eq!((status, gateway.revoked(&body)), (200, 0));
            let waiting = gateway.ask(&tag, 20);
            let revoking = async {
                let which = Which::Serial(issue(&authority, FRIDGE, now_unix_s()).0.serial);
                let begun = Instant::now();
                authority.revoke(&which, Reason::KeyCompromise, now_unix_s()).unwrap();
                begun
            };
            let ((status, next, body), begun) = tokio::join!(waiting, revoking);
            assert_eq!((status, gateway.revoked(&body)), (200, 1));
            assert!(begun.elapsed() < Duration::from_secs(10), "not only when the wait was over");
            assert_ne!(next, tag);
            let (status, same, body) = gateway.ask(&next, 0).await;
            assert_eq!((status, same, body.len()), (304, next, 0));
        });
        assert!(served.end());
        let mut subjects = Vec::new();
        read_log(&dir(token), |entry| subjects.push(entry.subject.clone())).unwrap();
        assert!(subjects.iter().any(|subject| subject == "spiffe://larder.internal/service/authority"), "its own");
    });
}

#[test]
fn a_fridge_is_not_told_and_a_stranger_does_not_get_in() {
    in_own_process("strangers", |token| {
        let authority = Authority::init(&config(token), now_unix_s()).unwrap();
        let served = Served::start(token);
        let fridge = Gateway::new(&authority, &served, FRIDGE);
        assert_eq!(run(fridge.ask("", 0)).0, 403);
        let stranger = async {
            let mut plain = TcpStream::connect(&served.address).await.unwrap();
            plain.write_all(b"GET /v1/revocations HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(LIMIT, plain.read_to_end(&mut answer)).await.unwrap();
            answer
        };
        assert!(!run(stranger).starts_with(b"HTTP"), "without TLS there is no conversation");
    });
}

#[test]
fn a_list_put_there_by_somebody_else_is_not_published() {
    in_own_process("foreign", |token| {
        let authority = Authority::init(&config(token), now_unix_s()).unwrap();
        let served = Served::start(token);
        let gateway = Gateway::new(&authority, &served, SESSION);
        let (_, tag, _) = run(gateway.ask("", 0));
        let list = dir(token).join("device.crl");
        let right = std::fs::read(&list).unwrap();
        std::fs::write(&list, b"rubbish").unwrap();
        let (status, same, _) = run(gateway.ask(&tag, 1));
        assert_eq!((status, same), (304, tag.clone()), "what was published stays");
        std::fs::write(&list, right).unwrap();
        let which = Which::Party(id(SESSION));
        authority.revoke(&which, Reason::Superseded, now_unix_s()).unwrap();
        assert_eq!(run(gateway.ask(&tag, 20)).0, 200);
    });
}

#[test]
fn a_port_in_use_is_told() {
    in_own_process("port", |token| {
        let _authority = Authority::init(&config(token), now_unix_s()).unwrap();
        let pin = file(token, "pin", token.pin());
        std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder-ca"));
        command.args(["serve", "--services", &taken.local_addr().unwrap().to_string(), "--ip", "127.0.0.1"]).args([
            "--dir".as_ref(),
            dir(token).as_os_str(),
            "--pin-file".as_ref(),
            pin.as_os_str(),
        ]);
        let output = token.apply(&mut command).output().unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && complained.contains("cannot listen on"), "{complained}");
        let opened = Authority::open(&AuthorityConfig { pin: Pin::File(pin), ..config(token) });
        assert!(opened.is_ok(), "nothing was harmed");
    });
}

#[test]
fn only_the_attestation_service_has_attestation_keys_certified() {
    in_own_process("vouch", |token| {
        let authority = Authority::init(&config(token), now_unix_s()).unwrap();
        let served = Served::start(token);
        let subject = attestation_key().0.subject();
        let point = BASE64URL_NOPAD.encode(SubjectKey::generate().unwrap().0.point());
        let body = serde_json::json!({
            "permanent_identifier": subject.strip_prefix("attestation-key/").unwrap(),
            "point": point,
            "tpm": { "manufacturer": "id:53544D20", "model": "ST33HTPHAHD4", "version": "id:00010002" },
        });
        let body = body.to_string();
        for name in [FRIDGE, ADA, SESSION, "spiffe://larder.internal/service/authority"] {
            let (status, _, answer) = run(Gateway::new(&authority, &served, name).post(&body));
            assert_eq!(status, 403, "{name}");
            assert!(String::from_utf8_lossy(&answer).contains("not_attestation"));
        }
        let before = read_log(&dir(token), |_| ()).unwrap().entries;
        let attestation = Gateway::new(&authority, &served, "spiffe://larder.internal/service/attestation");
        assert_eq!(read_log(&dir(token), |_| ()).unwrap().entries, before + 1, "its own certificate, no refusal's");
        let (status, _, chain) = run(attestation.post(&body));
        assert_eq!(status, 201);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).map(Result::unwrap).collect();
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1].as_ref(), authority.attestation_intermediate_der());
        let mut last = None;
        read_log(&dir(token), |entry| last = Some((entry.kind, entry.subject.clone()))).unwrap();
        assert_eq!(last, Some((Kind::AttestationKey, subject)));
        assert_eq!(run(attestation.post(&body.replace("id:53544D20", ""))).0, 400);
        assert_eq!(run(attestation.post(&"x".repeat(2000))).0, 413, "a body is bounded");
        let get = "GET /attestation-keys HTTP/1.1\r\nhost: authority\r\nconnection: close\r\n\r\n";
        assert_eq!(run(attestation.say(get)).0, 405);
    });
}

/// Takes the next step of a rotation, with the agreement of these people.
fn step(authority: &Authority, keys: &[KeyPair], tier: Tier) {
    let act = authority.propose(tier, Direction::Next, now_unix_s()).unwrap().to_sign;
    let agree = |act: String| keys.iter().map(|key| Approval::sign(&act, &key.serialize_pem()).unwrap()).collect();
    let approvals: Vec<Approval> = act.map(agree).unwrap_or_default();
    authority.rotate(tier, Direction::Next, &approvals, now_unix_s()).unwrap();
}

#[test]
fn a_follower_is_given_the_bundle_as_soon_as_there_is_one_and_its_question_is_its_word() {
    in_own_process("follow", |token| {
        let (approvers, keys): (Vec<Approver>, Vec<KeyPair>) = people(["ada", "bob"]).into_iter().unzip();
        let authority = Authority::init_with(&config(token), &approvers, now_unix_s()).unwrap();
        let served = Served::start(token);
        let gateway = Gateway::new(&authority, &served, SESSION);
        let heard = || authority.standing(now_unix_s()).unwrap().evidence.heard;
        run(async {
            let (status, tag, body) = gateway.follow("", 0).await;
            assert_eq!((status, tag.as_str()), (200, "\"1\""));
            let first = String::from_utf8(body).unwrap();
            assert_eq!(SignedBundle::check(&first, &gateway.bundle, &domain(), 0).unwrap().version(), 1);
            assert!(heard().is_empty());
            let waiting = gateway.follow("\"1\"", 20);
            let publishing = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                step(&authority, &keys, Tier::Root);
                step(&authority, &keys, Tier::Root);
                Instant::now()
            };
            let ((status, tag, body), begun) = tokio::join!(waiting, publishing);
            assert_eq!((status, tag.as_str()), (200, "\"2\""));
            assert!(begun.elapsed() < Duration::from_secs(10), "not only when the wait was over");
            let second = String::from_utf8(body).unwrap();
            let second = SignedBundle::check(&second, &gateway.bundle, &domain(), 1).unwrap();
            assert_eq!((second.version(), second.bundle().count()), (2, 2));
            assert_eq!(heard()["purchase-session"].version, 1, "it has not said yet that it has the second");
            assert_eq!(gateway.follow("\"2\"", 0).await.0, 304);
            assert_eq!(heard()["purchase-session"].version, 2);
            assert_eq!(gateway.follow("\"9\"", 0).await.0, 409);
            assert_eq!(heard()["purchase-session"].version, 2);
        });
        assert_eq!(run(Gateway::new(&authority, &served, FRIDGE).follow("\"1\"", 0)).0, 403);
        assert_eq!(heard().len(), 1);
    });
}

#[test]
fn the_server_itself_changes_over_when_something_was_decided() {
    in_own_process("itself", |token| {
        let (approvers, keys): (Vec<Approver>, Vec<KeyPair>) = people(["ada", "bob"]).into_iter().unzip();
        let authority = Authority::init_with(&config(token), &approvers, now_unix_s()).unwrap();
        let served = Served::start(token);
        let gateway = Gateway::new(&authority, &served, SESSION);
        let own = || {
            let text = std::fs::read(dir(token).join("server/cert.pem")).unwrap();
            ca_mtls::peer(&[CertificateDer::from_pem_slice(&text).unwrap()]).unwrap().issuer
        };
        assert!(own().ends_with("service-intermediate 1"));
        (0..3).for_each(|_| step(&authority, &keys, Tier::Service));
        let begun = Instant::now();
        while !own().ends_with("service-intermediate 2") {
            assert!(begun.elapsed() < LIMIT, "it still shows a certificate of {}", own());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(run(gateway.ask("", 0)).0, 200, "who was enrolled before still gets in");
        let (status, _, lists) = run(Gateway::new(&authority, &served, SESSION).ask("", 0));
        assert_eq!(status, 200);
        assert_eq!(CheckedCrl::check_pem(&lists, &gateway.bundle, now_unix_s()).unwrap().len(), 3);
    });
}
