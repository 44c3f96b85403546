//! Fridges with TPMs in software (swtpm), the attestation service before a real authority, and the whole way from a boot to
//! a certificate. Fridges and the service speak to each other without a network, with the ACME server over TLS.
#![allow(dead_code, unreachable_pub)]

#[path = "../../../../device-attestation/service/tests/device/mod.rs"]
pub mod device;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use attest_evidence::{HashAlgorithm, PcrSelection};
use attest_service::{
    Attestation, AttestationKeyRequest, Begin, Certifier, Config, Fault, Finish, Service, Signer, Store, Values,
};
use attest_verifier::MakerRoots;
use authority::{AttestationKeyOrder, Authority, IssuedFiles, Listen, Names, Order, Profile, SubjectKey, TpmModel};
use ca_acme::Grant;
use ca_mtls::{TrustBundle, client_config};
use data_encoding::BASE64;
use device::swtpm::Swtpm;
use device::{header, jws, list, log, point, sha256, signer_of_values};
use fridge_tpm::{Attested, Attesting, Message, Reply, StoredKey, Tpm, TpmSigner, attest, attestation_object};
use ring::rand::SystemRandom;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::house::{Client, House, LIMIT, Running};
use crate::world::{b64, eab, party, wanted};

/// How far the clock of this process's servers is ahead, in seconds.
static AHEAD_S: AtomicI64 = AtomicI64::new(0);

/// The next version of the reference values.
static LISTS: AtomicU64 = AtomicU64::new(1);

pub fn clock() -> i64 {
    authority::now_unix_s() + AHEAD_S.load(Ordering::Relaxed)
}

pub fn later_by(seconds: i64) {
    AHEAD_S.fetch_add(seconds, Ordering::Relaxed);
}

/// The authority, asked without a network.
#[derive(Debug)]
struct Directly(Arc<Authority>);

#[async_trait]
impl Certifier for Directly {
    async fn certify(&self, request: &AttestationKeyRequest) -> Result<Vec<Vec<u8>>, Fault> {
        let attest_verifier::TpmModel { manufacturer, model, version } = request.tpm.clone();
        let (key, tpm) = (SubjectKey::from_point(&request.point).unwrap(), TpmModel { manufacturer, model, version });
        let order = AttestationKeyOrder::new(request.permanent_identifier, key, tpm).unwrap();
        let chain = self.0.issue_attestation_key(&order, clock()).unwrap();
        Ok(ders(&chain.chain_pem))
    }
}

pub fn ders(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.unwrap().to_vec()).collect()
}

/// A fridge: its TPM, and what was measured at its boot.
pub struct Fridge {
    pub tpm: Swtpm,
    pub asked: Tpm,
    pub booted: Vec<(u8, &'static [u8])>,
}

impl Fridge {
    pub fn new() -> Self {
        Self::booted(Swtpm::manufactured(), &device::BOOT)
    }

    pub fn booted(tpm: Swtpm, measured: &[(u8, &'static [u8])]) -> Self {
        for (register, bytes) in measured {
            let hash = data_encoding::HEXLOWER.encode(&sha256(bytes));
            tpm.run(&format!("tpm2_pcrextend {register}:sha256={hash}"));
        }
        let asked = Tpm::open(&tpm.tcti().parse().unwrap()).unwrap();
        Self { tpm, asked, booted: measured.to_vec() }
    }

    /// After a power cut, with this firmware.
    pub fn rebooted(self, measured: &[(u8, &'static [u8])]) -> Self {
        Self::booted(self.tpm.restarted(), measured)
    }

    pub fn root(&self) -> Vec<u8> {
        self.tpm.read("ca/root.der")
    }

    /// What it is called for good, computed by OpenSSL.
    pub fn identifier(&self) -> [u8; 32] {
        self.tpm.write("ek.der", &self.asked.endorsement().unwrap().certificate);
        let openssl = |arguments: &[&str]| {
            let mut command = std::process::Command::new("openssl");
            let output = command.args(arguments).current_dir(self.tpm.path(".")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        self.tpm.write("ek.pub", &openssl(&["x509", "-inform", "DER", "-in", "ek.der", "-pubkey", "-noout"]));
        sha256(&openssl(&["pkey", "-pubin", "-in", "ek.pub", "-outform", "DER"]))
    }
}

/// What a fridge has at the end.
#[derive(Debug)]
pub struct Enrolled {
    pub chain_pem: String,
    pub tls_key: StoredKey,
    pub order: Value,
}

/// An order and what was attested for it.
pub struct Prepared {
    pub order: String,
    pub challenge: String,
    pub key_authorization: String,
    pub attesting: Attesting,
    pub attested: Attested,
}

/// The attestation service and the ACME server, before one authority.
pub struct Fleet<'a> {
    pub running: Running<'a>,
    pub store: Store,
    way: Way,
}

impl<'a> Fleet<'a> {
    /// Believes the makers of these fridges' TPMs.
    pub async fn start(house: &'a House, fridges: &[&Fridge]) -> Self {
        let authority = Arc::clone(&house.authority);
        let (key, pair) = SubjectKey::generate().unwrap();
        let id = party("spiffe://larder.internal/service/attestation");
        let order = Order::new(Profile::Service, &id, Names { dns: vec!["localhost".into()], ip: vec![] }, key, 86_400);
        let chain = authority.issue(&order.unwrap(), clock()).unwrap();
        let pem: String = pair.expose().lines().filter(|line| !line.starts_with('-')).collect();
        let signer = Signer::new(ders(&chain.chain_pem), &BASE64.decode(pem.as_bytes()).unwrap()).unwrap();
        let values_key = signer_of_values();
        // A service that starts again shows a newer list or the same, and this key is new.
        let version = LISTS.fetch_add(1, Ordering::Relaxed);
        let values = jws(&values_key, &header(), &list(version, &[&device::BOOT]));
        let values = Values::read(values.as_bytes(), &point(&values_key)).unwrap();
        let store = Store::open(&house.database.with_file_name("attestation.db"), clock()).await.unwrap();
        let roots: Vec<_> = fridges.iter().map(|fridge| fridge.root()).collect();
        let (roots, certifier) = (MakerRoots::new(&roots).unwrap(), Arc::new(Directly(authority)));
        let attestation = Attestation::new(roots, values, signer, certifier, store.clone(), clock()).await.unwrap();
        Self { running: house.start_at(clock).await, store, way: Way::Direct(Arc::new(attestation)) }
    }

    /// The three servers as they are run, each behind its listener.
    pub async fn serve(house: &'a House, fridges: &[&Fridge]) -> Self {
        let folder = house.database.parent().unwrap();
        let at = |name: &str| folder.join(name);
        let (ready, names) = (at("authority.address"), || Names { dns: vec!["localhost".into()], ip: vec![] });
        let services = "127.0.0.1:0".parse().unwrap();
        let listen = Listen { services, names: names(), ready_file: Some(ready.clone()) };
        tokio::spawn(authority::serve(Arc::clone(&house.authority), listen, clock, std::future::pending()));
        let authority: SocketAddr = until(|| std::fs::read_to_string(&ready).ok()?.trim().parse().ok()).await;
        let (key, pair) = SubjectKey::generate().unwrap();
        let id = party("spiffe://larder.internal/service/attestation");
        let order = Order::new(Profile::Service, &id, names(), key, 86_400).unwrap();
        let chain = house.authority.issue(&order, clock()).unwrap();
        let bundle = house.authority.trust_bundle_pem();
        let own = IssuedFiles::write(&at("attestation"), &chain, Some(pair.expose()), &bundle).unwrap();
        let values_key = signer_of_values();
        std::fs::write(at("values.jws"), jws(&values_key, &header(), &list(1, &[&device::BOOT]))).unwrap();
        std::fs::write(at("values.pem"), pem("PUBLIC KEY", &[SPKI_P256, &point(&values_key)].concat())).unwrap();
        let roots: String = fridges.iter().map(|fridge| pem("CERTIFICATE", &fridge.root())).collect();
        std::fs::write(at("makers.pem"), roots).unwrap();
        let config = Config {
            listen: services,
            certificate: own.certificate,
            key: own.key.unwrap(),
            database: at("attestation.db"),
            maker_roots: at("makers.pem"),
            reference_values: at("values.jws"),
            reference_values_key: at("values.pem"),
            ready_file: None,
            authority: attest_service::AuthorityConfig { address: authority, bundle: own.bundle.clone() },
        };
        let service = Service::open(config, clock).await.unwrap();
        let address = service.address().unwrap();
        tokio::spawn(service.run(std::future::pending()));
        let bundle = TrustBundle::load(&own.bundle).unwrap();
        let tls = client_config(&house.identity, &bundle, &id, &[b"http/1.1"]).unwrap();
        let store = Store::open(&at("attestation.db"), clock()).await.unwrap();
        Self { running: house.start_at(clock).await, store, way: Way::Network { authority, address, tls } }
    }

    /// Where the authority and the attestation service listen, when they do.
    pub fn listeners(&self) -> Option<[SocketAddr; 2]> {
        match &self.way {
            Way::Direct(_) => None,
            Way::Network { authority, address, .. } => Some([*authority, *address]),
        }
    }

    /// An external account key for a fridge, as a factory gives it one.
    pub async fn account_key(&self, fridge: &Fridge, kid: &str, name: &str) {
        let grant = Grant::device(party(&format!("spiffe://larder.internal/fridge/{name}")), fridge.identifier());
        let mut key = eab(kid, grant.unwrap());
        key.created_unix_s = clock();
        self.running.house.store.add_eab(&key).await.unwrap();
    }

    /// An external account key for a fridge, and an account made with it.
    pub async fn account(&self, fridge: &Fridge, kid: &str, name: &str) -> Client {
        self.account_key(fridge, kid, name).await;
        self.running.enrol(kid).await
    }

    /// Orders for this device; gives the order's path, or what it was refused with.
    pub async fn order(&self, client: &Client, identifier: &[u8; 32]) -> Result<String, Value> {
        let identifier = data_encoding::HEXLOWER.encode(identifier);
        let payload = wanted("permanent-identifier", &[&identifier]).to_string();
        let answer = self.running.post(client, "new-order", &payload).await;
        if answer.status == 201 { Ok(self.running.path(answer.header("location"))) } else { Err(answer.json()) }
    }

    /// Orders, makes a key for TLS and has it attested for the order.
    pub async fn prepare(
        &self,
        fridge: &Fridge,
        client: &Client,
        name: &str,
        previous: Option<&StoredKey>,
    ) -> Prepared {
        let order = self.order(client, &fridge.identifier()).await.unwrap();
        let challenge = order.replace("order/", "challenge/") + "/0";
        let token = self.running.post(client, &challenge, "").await.json()["token"].as_str().unwrap().to_owned();
        let thumbprint = ca_acme::Jwk::parse(&client.signer.jwk()).unwrap().thumbprint();
        let url = self.running.url(&order);
        let attesting = attesting(fridge, name, previous, &thumbprint, &url);
        let attested = self.attest(fridge, &attesting);
        Prepared { order, challenge, key_authorization: format!("{token}.{thumbprint}"), attesting, attested }
    }

    pub fn attest(&self, fridge: &Fridge, attesting: &Attesting) -> Attested {
        let mut transport = self.way.clone();
        tokio::task::block_in_place(|| attest(&fridge.asked, attesting, &log(&fridge.booted), &mut transport)).unwrap()
    }

    /// Answers a challenge with this object, and waits until the order is settled.
    pub async fn answer(&self, client: &Client, prepared: &Prepared, object: &[u8]) -> Value {
        let payload = json!({ "attObj": b64(object) }).to_string();
        let answer = self.running.post(client, &prepared.challenge, &payload).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.running.settled(client, &prepared.order).await
    }

    pub async fn finalize(&self, client: &Client, order: &str, request: &[u8]) -> Value {
        let payload = json!({ "csr": b64(request) }).to_string();
        self.running.post(client, &format!("{order}/finalize"), &payload).await.json()
    }

    pub async fn chain(&self, client: &Client, order: &str) -> String {
        self.running.post(client, &order.replace("order/", "certificate/"), "").await.text
    }

    /// The whole way.
    pub async fn enrol(&self, fridge: &Fridge, client: &Client, name: &str, previous: Option<&StoredKey>) -> Enrolled {
        let prepared = self.prepare(fridge, client, name, previous).await;
        let order = self.answer(client, &prepared, &object(fridge, &prepared)).await;
        assert_eq!(order["status"], "ready", "{order}");
        let order = self.finalize(client, &prepared.order, &prepared.attesting.request).await;
        assert_eq!(order["status"], "valid", "{order}");
        let chain_pem = self.chain(client, &prepared.order).await;
        Enrolled { chain_pem, tls_key: prepared.attesting.tls_key, order }
    }
}

/// The object that answers a prepared order's challenge.
pub fn object(fridge: &Fridge, prepared: &Prepared) -> Vec<u8> {
    let Prepared { attesting, attested, key_authorization, .. } = prepared;
    attestation_object(&fridge.asked, attesting, attested, key_authorization).unwrap()
}

pub fn attesting(fridge: &Fridge, name: &str, previous: Option<&StoredKey>, account: &str, order: &str) -> Attesting {
    let tls_key = fridge.asked.make_tls_key(PcrSelection::of(HashAlgorithm::Sha256, [7])).unwrap();
    let signer = TpmSigner::new(fridge.asked.clone(), tls_key.clone());
    Attesting {
        endorsement: fridge.asked.endorsement().unwrap(),
        ek_intermediates: vec![fridge.tpm.read("ca/issuer.der")],
        attestation_key: fridge.asked.attestation_key(&fridge.tpm.path("attestation.key")).unwrap(),
        tls_key,
        previous_tls_key: previous.cloned(),
        request: signer.certificate_request(&format!("spiffe://larder.internal/fridge/{name}")).unwrap(),
        acme_account: account.to_owned(),
        acme_order: order.to_owned(),
    }
}

/// What stands before a point in a SubjectPublicKeyInfo of a key on P-256.
const SPKI_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// Looks until it is there.
async fn until<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // a server says that it is ready by a file
    }
    panic!("it never came");
}

/// The way to the attestation service.
#[derive(Clone)]
enum Way {
    /// Without a network between.
    Direct(Arc<Attestation>),
    /// As a fridge goes.
    Network { authority: SocketAddr, address: SocketAddr, tls: Arc<rustls::ClientConfig> },
}

impl fridge_tpm::Transport for Way {
    fn post(&mut self, message: &Message) -> Result<Reply, String> {
        match self {
            Self::Direct(attestation) => directly(attestation, message),
            Self::Network { address, tls, .. } => {
                Handle::current().block_on(over_tls(*address, Arc::clone(tls), message))
            }
        }
    }
}

fn directly(attestation: &Attestation, message: &Message) -> Result<Reply, String> {
    let body = message.body.as_bytes();
    let said = |why: &dyn std::fmt::Display| why.to_string();
    if message.path == "/v1/attestations" {
        let begin = Begin::parse(body).map_err(|why| said(&why))?;
        let begun = attestation.begin(begin, clock(), &SystemRandom::new()).map_err(|why| said(&why))?;
        return Ok(Reply { status: 201, body: serde_json::to_vec(&begun).unwrap() });
    }
    let id = message.path.trim_start_matches("/v1/attestations/").trim_end_matches("/evidence");
    let finish = Finish::parse(body).map_err(|why| said(&why))?;
    let finished = Handle::current().block_on(attestation.finish(id, &finish, clock())).map_err(|why| said(&why))?;
    Ok(Reply { status: 200, body: serde_json::to_vec(&finished).unwrap() })
}

async fn over_tls(address: SocketAddr, tls: Arc<rustls::ClientConfig>, message: &Message) -> Result<Reply, String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut tls, _) = ca_mtls::connect(tls, "localhost".try_into().unwrap(), stream, LIMIT).await.unwrap();
    let Message { path, body } = message;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(LIMIT, tls.read_to_end(&mut heard)).await.expect("it answers in time");
    let end = heard.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&heard[9..12]).unwrap().parse().unwrap();
    Ok(Reply { status, body: heard[end + 4..].to_vec() })
}
