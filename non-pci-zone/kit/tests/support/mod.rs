//! A throw-away PKI and a running service, for tests over real mutual TLS.
//!
//! The four services include this file by path, so that their tests need no crate of their own. It proves nothing by
//! itself: certificates come from rcgen, not from the authority.
#![allow(dead_code, unreachable_pub)]

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ca_identity::{SpiffeId, TrustDomain};
use http::Method;
use ops_kit::{AuthorityConfig, CancellationToken, Client, Config, Fault, Identity, Limits, Reply, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub const DOMAIN: &str = "larder.internal";

pub fn party(path: &str) -> SpiffeId {
    SpiffeId::parse_path_in(&TrustDomain::parse(DOMAIN).unwrap(), path).unwrap()
}

pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub root_pem: String,
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root_pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), root_pem }
    }

    /// A certificate and a key, both PEM.
    pub fn issue(&self, path: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(party(path).as_str().try_into().unwrap())];
        if path.starts_with("service/") {
            params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(self.root_pem.as_bytes()).unwrap()
    }

    pub fn identity(&self, path: &str) -> Identity {
        let (certificate, key) = self.issue(path);
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes what a service needs to be itself: `tls.crt`, `tls.key` and `roots.pem`.
pub fn write_files(folder: &Path, pki: &Pki, service: &str) {
    let (certificate, key) = pki.issue(&format!("service/{service}"));
    write_private(&folder.join("tls.crt"), &certificate);
    write_private(&folder.join("tls.key"), &key);
    write_private(&folder.join("roots.pem"), &pki.root_pem);
}

/// Waits until the service has told its address, or `ended`, which panics.
pub async fn ready(file: &Path, ended: impl Future<Output = ()>) -> SocketAddr {
    let told = async {
        loop {
            if let Ok(text) = std::fs::read_to_string(file) {
                return text.trim().parse().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let bounded = tokio::time::timeout(Duration::from_secs(30), told);
    tokio::select! {
        address = bounded => address.expect("the service is ready in time"),
        () = ended => unreachable!("it panics"),
    }
}

/// A service that runs, and can be stopped and started again on the same files.
pub struct Running {
    pub pki: Pki,
    pub folder: tempfile::TempDir,
    pub service: &'static str,
    pub address: SocketAddr,
    /// Who is followed, from the next start on.
    pub authority: Option<AuthorityConfig>,
    ending: CancellationToken,
    task: Option<JoinHandle<Result<(), Fault>>>,
}

impl Running {
    pub async fn start<E, S, F>(service: &'static str, settings: E, serve: S) -> Self
    where
        S: FnOnce(Config<E>, CancellationToken) -> F,
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        write_files(folder.path(), &pki, service);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let ending = CancellationToken::new();
        let mut running = Self { pki, folder, service, address, authority: None, ending, task: None };
        running.begin(settings, serve).await;
        running
    }

    pub async fn begin<E, S, F>(&mut self, settings: E, serve: S)
    where
        S: FnOnce(Config<E>, CancellationToken) -> F,
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let file = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: file("tls.crt"),
            key: file("tls.key"),
            trust_bundle: file("roots.pem"),
            trust_domain: DOMAIN.to_owned(),
            database: file("x.sqlite"),
            ready_file: Some(file("ready")),
            authority: self.authority.clone(),
            limits: Limits::default(),
            service: settings,
        };
        self.ending = CancellationToken::new();
        let mut task = tokio::spawn(serve(config, self.ending.clone()));
        let ended = async { panic!("the service ended: {:?}", (&mut task).await) };
        self.address = ready(&file("ready"), ended).await;
        self.task = Some(task);
    }

    pub async fn stop(&mut self) {
        self.ending.cancel();
        std::fs::remove_file(self.folder.path().join("ready")).unwrap();
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    pub fn client(&self, path: &str) -> Client {
        let server = party(&format!("service/{}", self.service));
        Client::new(&self.pki.identity(path), &self.pki.bundle(), &server, self.address).unwrap()
    }
}

/// POSTs events as the purchase session does.
pub async fn deliver(client: &Client, events: &[Value]) -> Reply {
    let headers = [("content-type", "application/cloudevents-batch+json")];
    client.send(Method::POST, "/inbox", &headers, Some(&json!(events))).await.unwrap()
}

/// An event in its envelope; its id is made of its sequence.
pub fn event(sequence: u64, kind: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": format!("00000000-0000-7000-8000-{sequence:012}"), "source": "/pci/purchase-session",
        "subject": "x", "time": "2026-03-02T06:00:28.323335Z", "sequence": sequence.to_string(), "type": kind, "data": data,
    })
}

pub const SESSION: &str = "4ed615ae-e6a0-47bb-82f2-6b7777de3d19";
pub const TOKEN: &str = "tok_1_abcdefghijklmnopqrstuvwxyz";

pub fn usd(minor: i64) -> Value {
    json!({"minor": minor, "currency": "USD"})
}

pub fn card() -> Value {
    json!({"token": TOKEN, "brand": "visa", "last_four": "4242"})
}

/// Data of a finalized purchase: `meals` are barcode, status and price.
pub fn finalized(session: &str, customer: Option<&str>, meals: &[(&str, &str, i64)]) -> Value {
    let lines: Vec<Value> = meals
        .iter()
        .map(|(barcode, status, price)| {
            json!({"barcode": barcode, "status": status, "price": usd(*price), "owner_subscription": null, "expert": null,
                   "referral_code": null})
        })
        .collect();
    let due: i64 = meals.iter().map(|(_, _, price)| price).sum();
    json!({
        "session": session, "fridge": "FR-0001", "customer": customer, "card": card(), "referral_code": null, "expert": null,
        "subscription": null, "outcome": if due > 0 { "charged" } else { "no_purchase" }, "charged": usd(due),
        "credit_used": usd(0), "unpaid": usd(0), "meals": lines, "alarms": [], "stray_returns": [], "unidentified": [],
        "not_sellable": [], "opened_at": 1_772_431_228_000_000_i64, "closed_at": 1_772_431_268_000_000_i64,
    })
}
