//! The service as it is run: its files, its listener that asks for no certificate, its answers, and its commands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::device;
use crate::log::Log;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest_service::{Command, Config, ServeError, Service};
use attest_verdict::{Issuer, Verdict};
use ca_http::{Limits, Response, Server, Tls};
use ca_identity::TrustDomain;
use ca_mtls::{Identity, TrustBundle};
use clap::Parser;
use device::*;
use rcgen::{CertifiedIssuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Long enough for a loaded machine; nothing that works waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn clock() -> i64 {
    NOW
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Runs a command of `larder-attest`.
async fn command(line: &[&str]) -> Result<String, ServeError> {
    let line = Line::parse_from([&["larder-attest"], line].concat());
    let mut out = Vec::new();
    line.command.run(clock, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

fn write_key(path: &Path, pair: &KeyPair) {
    fs::write(path, pair.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder with all that the service is told.
struct Files {
    folder: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    /// Where the authority is, when there is one.
    authority: SocketAddr,
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Plays the authority, at the address where it is looked for, for one party alone.
async fn serve_as_authority(files: &Files) -> JoinHandle<()> {
    let (leaf, pair) = named(&files.root, "service/authority");
    let identity = Identity::from_pem(leaf.pem().as_bytes(), pair.serialize_pem().as_bytes()).unwrap();
    let bundle = TrustBundle::from_pem(files.root.pem().as_bytes()).unwrap();
    let domain = TrustDomain::parse("larder.internal").unwrap();
    let config = ca_mtls::server_config(&identity, &bundle, &domain, &[b"http/1.1"]).unwrap();
    let issuer = Arc::new(issuing::intermediate(&files.root));
    let listener = tokio::net::TcpListener::bind(files.authority).await.unwrap();
    let server = Server::new(Tls::Mutual(config), Limits::default(), clock, move |request| {
        let issuer = Arc::clone(&issuer);
        async move {
            assert_eq!((request.path.as_str(), request.method.as_str()), ("/attestation-keys", "POST"));
            assert_eq!(request.peer.unwrap().id.to_string(), "spiffe://larder.internal/service/attestation");
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(asked["tpm"]["model"], "swtpm");
            let chain = issuing::certify(&issuing::leaf(NOW), &decode(asked["point"].as_str().unwrap()), &issuer);
            let pem = |der: &Vec<u8>| {
                let text = data_encoding::BASE64.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            };
            let body: String = chain.iter().map(pem).collect();
            Response::with_body(http::StatusCode::CREATED, "application/pem-certificate-chain", body)
        }
    });
    tokio::spawn(server.run(listener, std::future::pending()))
}

impl Files {
    async fn new(device: &Device) -> Self {
        let (root, leaf, pair) = authority();
        let authority = free_address();
        let files = Self { folder: TempDir::new().unwrap(), root, authority };
        fs::write(files.at("roots.pem"), files.root.pem()).unwrap();
        fs::write(files.at("cert.pem"), leaf.pem()).unwrap();
        write_key(files.at("key.pem").as_ref(), &pair);
        fs::copy(device.tpm.path("ca/swtpm-localca-rootca-cert.pem"), files.at("makers.pem")).unwrap();
        let signer = KeyPair::generate().unwrap();
        write_key(files.at("signer.pem").as_ref(), &signer);
        fs::write(files.at("signer.pub"), signer.public_key_pem()).unwrap();
        files.sign(1, &[&BOOT]).await.unwrap();
        let at = |name: &str| files.at(name);
        let settings = format!(
            "listen = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\ndatabase = {:?}\nmaker_roots = {:?}\n\
             reference_values = {:?}\nreference_values_key = {:?}\n[authority]\naddress = \"{}\"\nbundle = {:?}\n",
            at("cert.pem"),
            at("key.pem"),
            at("attestation.db"),
            at("makers.pem"),
            at("values.jws"),
            at("signer.pub"),
            files.authority,
            at("roots.pem")
        );
        fs::write(files.at("attest.toml"), settings).unwrap();
        files
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn sign(&self, version: u64, boots: &[&[(u8, &[u8])]]) -> Result<String, ServeError> {
        fs::write(self.at("values.json"), list(version, boots).to_string()).unwrap();
        let (values, key, out) = (self.at("values.json"), self.at("signer.pem"), self.at("values.jws"));
        command(&["sign-values", "--values", &values, "--key", &key, "--out", &out]).await
    }

    async fn open(&self) -> Result<Service, ServeError> {
        Service::open(Config::load(self.at("attest.toml").as_ref())?, clock).await
    }
}

/// A service that runs, and a client without a certificate.
struct Running {
    address: SocketAddr,
    client: TlsConnector,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    async fn start(files: &Files) -> Self {
        let service = files.open().await.unwrap();
        let address = service.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(service.run(async move { stopped.await.unwrap() }));
        let mut roots = RootCertStore::empty();
        roots.add(files.root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        Self { address, client: TlsConnector::from(Arc::new(config)), stop, ended }
    }

    /// One request, as it stands there, and the status and the body of the answer.
    async fn ask(&self, method: &str, path: &str, media_type: &str, body: &str) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut tls = self.client.connect(ServerName::try_from("attestation").unwrap(), stream).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: attestation\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        tls.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, "application/json", &body.to_string()).await
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

#[tokio::test]
async fn a_fridge_without_a_certificate_is_attested_over_the_wire() {
    let device = Device::new();
    let files = Files::new(&device).await;
    let service = Running::start(&files).await;
    let tls = device.tls(0);
    let begin = device.begin(&tls, None);
    let (status, answer) = service.post("/v1/attestations", &begin).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!((&answer["pcr_selection"], &answer["expires_at"]), (&[0, 7][..].into(), &"2100-01-01T00:05:00Z".into()));
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    let begun = attest_service::Begun {
        id: text("id"),
        credential_blob: text("credential_blob"),
        encrypted_secret: text("encrypted_secret"),
        challenge: text("challenge"),
        permanent_identifier: text("permanent_identifier"),
        nonce: text("nonce"),
        pcr_selection: vec![0, 7],
        expires_at: text("expires_at"),
    };
    let nonce = Device::nonce(&begin, &begun);
    let evidence = device.evidence(&device.activate(&begun).unwrap(), &nonce, &tls, None);
    let place = format!("/v1/attestations/{}/evidence", begun.id);
    // While the authority is away, nothing is lost.
    for _ in 0..2 {
        let (status, answer) = service.post(&place, &evidence).await;
        assert_eq!((status, &answer["type"]), (503, &"urn:larder:problem:again".into()), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("send the same again in a moment"));
    }
    let authority = serve_as_authority(&files).await;
    let (status, answer) = service.post(&place, &evidence).await;
    authority.abort();
    assert_eq!(answer["attestation_key_certificate"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!((status, &answer["appraisal"]), (200, &"affirming".into()), "{answer}");
    let issuer = Issuer::new(&[files.root.der()], &TrustDomain::parse("larder.internal").unwrap()).unwrap();
    let verdict = Verdict::open(&decode(answer["verdict"].as_str().unwrap()), &issuer, NOW).unwrap();
    assert_eq!(verdict.nonce, nonce);

    let (status, answer) = service.post(&place, &evidence).await;
    assert_eq!((status, &answer["type"]), (409, &"urn:larder:problem:used_attestation".into()));
    service.end().await;
    // A person lets it out; there is nobody else.
    let (config, identifier) = (files.at("attest.toml"), begun.permanent_identifier);
    let said = command(&["release", "--config", &config, &identifier]).await.unwrap();
    assert!(said.starts_with(&format!("Released {identifier}.\nNext: ")), "{said}");
    let unknown = command(&["release", "--config", &config, &"00".repeat(32)]).await.unwrap_err();
    assert!(unknown.to_string().contains("was ever attested here: check the identifier"), "{unknown}");
}

#[tokio::test]
async fn a_replaced_certificate_that_cannot_be_used_is_an_alarm_until_it_can() {
    let (log, _kept) = Log::keep();
    let device = Device::new();
    let files = Files::new(&device).await;
    let service = Running::start(&files).await;
    let says = async |alarm| {
        let said = async {
            while log.alarms().last().is_none_or(|(_, last)| *last != alarm) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{alarm}: {:?}", log.lines()));
    };
    let good = fs::read(files.at("cert.pem")).unwrap();
    fs::write(files.at("cert.pem"), "rubbish").unwrap();
    says(true).await;
    assert!(log.first_alarm().words.contains("replaced files are not usable"), "{:?}", log.first_alarm());
    assert_eq!(service.ask("GET", "/", "text/plain", "").await.0, 404, "the last good one stays");
    fs::write(files.at("cert.pem"), good).unwrap();
    says(false).await;
    assert_eq!(log.alarms().len(), 2, "{:?}", log.alarms());
    service.end().await;
}

#[tokio::test]
async fn whatever_else_is_asked_is_refused_with_its_reason() {
    let device = Device::new();
    let files = Files::new(&device).await;
    let service = Running::start(&files).await;
    let begin = device.begin(&device.tls(0), None).to_string();
    let json = "application/json";
    let id = "/v1/attestations/00112233445566778899aabbccddeeff/evidence";
    let finish = serde_json::json!({
        "secret": "", "quote": "", "quote_signature": "", "certify": "", "certify_signature": "", "event_log": ""
    });
    for (method, path, media_type, body, status, code) in [
        ("GET", "/v1/attestations", json, "", 405, "method"),
        ("POST", "/", json, begin.as_str(), 404, "not_found"),
        ("POST", "/v1/attestations/", json, &begin, 404, "not_found"),
        ("POST", "/v1/attestationsx", json, &begin, 404, "not_found"),
        ("POST", "/v1/attestations", "text/plain", &begin, 415, "media_type"),
        ("POST", "/v1/attestations", json, "{}", 400, "bad_request"),
        ("POST", id, json, &finish.to_string(), 404, "unknown_attestation"),
        ("POST", id, json, "{\"more\": 1}", 400, "bad_request"),
        ("POST", "/v1/attestations", json, &begin.replace("ak_public\":\"A", "ak_public\":\"B"), 403, "evidence"),
        ("POST", "/v1/attestations", json, &"x".repeat(512 * 1_024 + 1), 413, "too_large"),
    ] {
        let (found, answer) = service.ask(method, path, media_type, body).await;
        let problem = format!("urn:larder:problem:{code}");
        assert_eq!((found, answer["type"].as_str()), (status, Some(problem.as_str())), "{method} {path}: {answer}");
    }
    service.end().await;
}

#[tokio::test]
async fn the_service_starts_with_right_files_alone_and_says_which_is_wrong() {
    let device = Device::new();
    let files = Files::new(&device).await;
    drop(files.open().await.unwrap());
    let (good_list, good_key) = (fs::read(files.at("values.jws")).unwrap(), fs::read(files.at("key.pem")).unwrap());
    let why = |outcome: Result<Service, ServeError>| outcome.unwrap_err().to_string();

    // A list that somebody else signed, one that was altered, one that is older.
    let other = KeyPair::generate().unwrap();
    let signer = fs::read(files.at("signer.pem")).unwrap();
    write_key(files.at("signer.pem").as_ref(), &other);
    files.sign(9, &[&NEXT_BOOT]).await.unwrap();
    assert!(why(files.open().await).contains("signed with another key than the one in the settings"));
    fs::write(files.at("signer.pem"), signer).unwrap();
    let said = files.sign(2, &[&BOOT, &NEXT_BOOT]).await.unwrap();
    assert!(said.starts_with("Signed version 2 of the reference values."), "{said}");
    drop(files.open().await.unwrap());
    fs::write(files.at("values.jws"), &good_list).unwrap();
    assert!(why(files.open().await).contains("have version 1, and version 2 was in force before"));
    files.sign(3, &[&BOOT]).await.unwrap();
    let (no_list, key) = (files.at("signer.pub"), files.at("signer.pem"));
    let empty = command(&["sign-values", "--values", &no_list, "--key", &key, "--out", "x"]).await;
    assert!(empty.unwrap_err().to_string().contains("its payload is no list of reference values"));

    // A certificate of another service, a key of another certificate, a key that others may read.
    let (leaf, pair) = named(&files.root, "service/admin");
    let certificate = fs::read(files.at("cert.pem")).unwrap();
    fs::write(files.at("cert.pem"), leaf.pem()).unwrap();
    assert!(files.open().await.is_err());
    write_key(files.at("key.pem").as_ref(), &pair);
    assert!(
        why(files.open().await).contains("names spiffe://larder.internal/service/admin, but only service/attestation")
    );
    fs::write(files.at("cert.pem"), certificate).unwrap();
    fs::write(files.at("key.pem"), good_key).unwrap();
    fs::set_permissions(files.at("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(why(files.open().await).contains("others than its owner may use it"));
    fs::set_permissions(files.at("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    drop(files.open().await.unwrap());

    // Roots that are none, and settings that are none.
    fs::write(files.at("makers.pem"), leaf.pem()).unwrap();
    assert!(why(files.open().await).contains("certificate number 1 of the TPM makers' roots is no authority's"));
    fs::write(files.at("attest.toml"), "listen = \"127.0.0.1:0\"\nmore = 1\n").unwrap();
    assert!(why(files.open().await).contains("attest.toml"));
}
