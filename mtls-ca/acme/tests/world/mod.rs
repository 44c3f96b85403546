//! A server over rows in memory, and clients that sign as the RFCs say, or as wrong as a test asks for.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;

use ca_acme::{
    Account, AccountBy, Acme, Answer, ApprovedOrder, Body, Certificate, Chance, Context, DeviceProof, EabKey, Effect,
    Grant, Host, Needs, Order, OrderBy, Request, Urls,
};
use ca_identity::SpiffeId;
use data_encoding::BASE64URL_NOPAD;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub const NOW: i64 = 1_800_000_000;
pub const ORIGIN: &str = "https://ca.larder.internal";
pub const SERVICE: &str = "spiffe://larder.internal/service/admin";
pub const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
pub const HOST: &str = "admin.larder.internal";
pub const OTHER_HOST: &str = "admin.example";
pub const MAC_KEY: [u8; 32] = [9; 32];
pub const EK: [u8; 32] = [0xE4; 32];

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

pub fn url(path: &str) -> String {
    format!("{ORIGIN}/acme/{path}")
}

/// A key that signs messages.
pub enum Signer {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap())
    }

    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap())
    }

    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    pub fn jwk(&self) -> Value {
        match self {
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A message with exactly this header; the payload as text, since "" is not "{}".
    pub fn message(&self, header: &Value, payload: &str) -> Value {
        let (protected, payload) = (b64(header.to_string()), b64(payload));
        let signature = b64(self.sign(format!("{protected}.{payload}").as_bytes()));
        json!({ "protected": protected, "payload": payload, "signature": signature })
    }
}

/// An external account binding, as RFC 8555 section 7.3.4 shows it.
pub fn binding(kid: &str, mac_key: &[u8], jwk: &Value, url: &str) -> Value {
    binding_with(&json!({"alg": "HS256", "kid": kid, "url": url}), mac_key, jwk)
}

pub fn binding_with(header: &Value, mac_key: &[u8], jwk: &Value) -> Value {
    let (protected, payload) = (b64(header.to_string()), b64(jwk.to_string()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, mac_key);
    let code = ring::hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    json!({ "protected": protected, "payload": payload, "signature": b64(code.as_ref()) })
}

pub struct World {
    pub acme: Acme,
    pub now: i64,
    seed: u8,
    pub accounts: BTreeMap<String, Account>,
    pub eabs: BTreeMap<String, EabKey>,
    pub orders: BTreeMap<String, Order>,
    /// What was to be done besides storing rows, newest last.
    pub effects: Vec<Effect>,
}

/// An account at a world's server.
pub struct Holder {
    pub signer: Signer,
    pub kid: String,
}

pub fn eab(kid: &str, grant: Grant) -> EabKey {
    let mac_key = Zeroizing::new(MAC_KEY);
    EabKey { kid: kid.into(), mac_key, grant, account: None, created_unix_s: NOW, revoked_unix_s: None, barred: None }
}

/// DNS names and addresses.
pub fn hosts(texts: &[&str]) -> Vec<Host> {
    texts.iter().map(|text| Host::parse(text).unwrap()).collect()
}

pub fn party(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

impl World {
    /// Two service keys and a device key that are not used yet.
    pub fn new() -> Self {
        let service = || Grant::service(party(SERVICE), hosts(&[HOST, OTHER_HOST])).unwrap();
        let eabs = [
            eab("service-1", service()),
            eab("service-2", service()),
            eab("device-1", Grant::device(party(FRIDGE), EK).unwrap()),
        ];
        Self {
            acme: Acme::new(Urls::new(ORIGIN), [1; 32]),
            now: NOW,
            seed: 0,
            accounts: BTreeMap::new(),
            eabs: eabs.into_iter().map(|key| (key.kid.clone(), key)).collect(),
            orders: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    fn chance(&mut self) -> Chance {
        self.seed = self.seed.checked_add(1).expect("a test asks less than 256 times");
        Chance::new([self.seed; 32])
    }

    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let media_type = (method == "POST").then_some("application/jose+json");
        self.ask_as(method, path, body, media_type)
    }

    pub fn ask_as(&mut self, method: &str, path: &str, body: &str, media_type: Option<&str>) -> Answer {
        let (now, chance) = (self.now, self.chance());
        let path = format!("/acme/{path}");
        let request = Request { method, path: &path, media_type, body: body.as_bytes() };
        let opened = match self.acme.open(&request, now, &chance) {
            Ok(opened) => opened,
            Err(answer) => return answer,
        };
        let context = self.load(opened.needs());
        let (answer, effects) = self.acme.handle(opened, context, now, &chance);
        for effect in effects {
            match effect {
                Effect::PutEab(key) => drop(self.eabs.insert(key.kid.clone(), key)),
                Effect::PutAccount(account) => drop(self.accounts.insert(account.id.clone(), account)),
                Effect::PutOrder(order) => drop(self.orders.insert(order.id.clone(), order)),
                other => self.effects.push(other),
            }
        }
        answer
    }

    fn load(&self, needs: &Needs) -> Context {
        let account = needs.account.as_ref().and_then(|by| match by {
            AccountBy::Id(id) => self.accounts.get(id).cloned(),
            AccountBy::Thumbprint(print) => self.accounts.values().find(|a| &a.key.thumbprint() == print).cloned(),
        });
        let kid = needs.eab_kid.as_ref().or(account.as_ref().map(|account| &account.eab_kid));
        let eab = kid.and_then(|kid| self.eabs.get(kid).cloned());
        let certified = |wanted: &dyn Fn(&Certificate) -> bool| {
            self.orders.values().find(|order| order.certificate().is_some_and(wanted)).cloned()
        };
        let order = needs.order.as_ref().and_then(|by| match by {
            OrderBy::Id(id) => self.orders.get(id).cloned(),
            OrderBy::CertificateSha256(hash) => certified(&|one| &one.sha256 == hash),
            OrderBy::RenewalId(id) => certified(&|one| &one.renewal_id == id),
        });
        let own = |order: &&Order| account.as_ref().is_some_and(|account| account.id == order.account);
        let print = needs.key_taken.as_ref();
        let replaced =
            |id: &String| self.orders.values().any(|o| o.replaces.as_ref() == Some(id) && o.certificate().is_some());
        Context {
            key_taken: print.is_some_and(|print| self.accounts.values().any(|a| &a.key.thumbprint() == print)),
            replaced: needs.replaced.as_ref().is_some_and(replaced),
            order_ids: self.orders.values().filter(own).map(|order| order.id.clone()).collect(),
            open_orders: self.orders.values().filter(own).filter(|order| order.is_open(self.now)).count(),
            account,
            eab,
            order,
        }
    }

    pub fn nonce(&mut self) -> String {
        header(&self.ask("HEAD", "new-nonce", ""), "replay-nonce")
    }

    /// A message that is right in everything, by an account.
    pub fn post(&mut self, holder: &Holder, path: &str, payload: &str) -> Answer {
        let header =
            json!({"alg": holder.signer.algorithm(), "kid": holder.kid, "nonce": self.nonce(), "url": url(path)});
        let message = holder.signer.message(&header, payload).to_string();
        self.ask("POST", path, &message)
    }

    /// A message that is right in everything, by a key alone.
    pub fn post_by_key(&mut self, signer: &Signer, path: &str, payload: &Value) -> Answer {
        let header = json!({"alg": signer.algorithm(), "jwk": signer.jwk(), "nonce": self.nonce(), "url": url(path)});
        let message = signer.message(&header, &payload.to_string()).to_string();
        self.ask("POST", path, &message)
    }

    /// Makes an account with this binding key.
    pub fn enrol(&mut self, kid: &str) -> Holder {
        let signer = Signer::new();
        let binding = binding(kid, &MAC_KEY, &signer.jwk(), &url("new-account"));
        let answer = self.post_by_key(&signer, "new-account", &json!({"externalAccountBinding": binding}));
        assert_eq!(answer.status, 201, "{answer:?}");
        Holder { signer, kid: header(&answer, "location") }
    }

    /// Orders these identifiers; gives the path of the order.
    pub fn order(&mut self, holder: &Holder, kind: &str, names: &[&str]) -> String {
        let answer = self.post(holder, "new-order", &wanted(kind, names).to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        path_of(&header(&answer, "location"))
    }

    /// Orders these names and proves all of them.
    pub fn proved(&mut self, holder: &Holder, names: &[&str]) -> String {
        let path = self.order(holder, "dns", names);
        for place in 0..names.len() {
            let challenge = path.replace("order/", "challenge/") + &format!("/{place}");
            assert_eq!(self.post(holder, &challenge, "{}").status, 200);
            self.tell(&path, place, Ok(None));
        }
        path
    }

    /// What came of a proof.
    pub fn tell(&mut self, path: &str, place: usize, outcome: Result<Option<DeviceProof>, ca_acme::Problem>) {
        let id = path.trim_start_matches("order/");
        let order = self.orders.remove(id).unwrap().proved(place, outcome, self.now);
        self.orders.insert(id.to_owned(), order);
    }

    pub fn finalize(&mut self, holder: &Holder, path: &str, csr: &str) -> Answer {
        self.post(holder, &format!("{path}/finalize"), &json!({ "csr": csr }).to_string())
    }

    /// The order that may be signed, if there is one.
    pub fn approved(&self) -> Option<&ApprovedOrder> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Issue(approved) => Some(approved),
            _ => None,
        })
    }

    /// Signs what was approved last, by an issuer of the test's own, and stores it.
    pub fn issue(&mut self, path: &str, pair: &KeyPair) -> Certificate {
        let certificate = Certificate::of_chain(&sign(pair, self.now)).unwrap();
        let id = path.trim_start_matches("order/");
        let order = self.orders.remove(id).unwrap().issued(certificate.clone());
        self.orders.insert(id.to_owned(), order);
        certificate
    }

    /// An order with its certificate, and the key of that.
    pub fn certified(&mut self, holder: &Holder) -> (String, Certificate, KeyPair) {
        let path = self.proved(holder, &[HOST]);
        let pair = KeyPair::generate().unwrap();
        let answer = self.finalize(holder, &path, &csr(&pair, &[HOST], &[]));
        assert_eq!(answer.status, 200, "{answer:?}");
        let certificate = self.issue(&path, &pair);
        (path, certificate, pair)
    }
}

pub fn wanted(kind: &str, names: &[&str]) -> Value {
    let identifier = |name: &&str| json!({"type": kind, "value": name});
    json!({ "identifiers": names.iter().map(identifier).collect::<Vec<_>>() })
}

pub fn path_of(url: &str) -> String {
    url.strip_prefix(&format!("{ORIGIN}/acme/")).unwrap().to_owned()
}

/// What a device proves with this key and this request, in base64url.
pub fn device(pair: &KeyPair, csr: &str, quarantine: &[&str]) -> DeviceProof {
    let der = BASE64URL_NOPAD.decode(csr.as_bytes()).unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, &der);
    let reasons = quarantine.iter().map(|reason| (*reason).to_owned()).collect();
    DeviceProof::new(pair.der_bytes().try_into().unwrap(), hash.as_ref().try_into().unwrap(), reasons)
}

/// A request in base64url.
pub fn csr(pair: &KeyPair, dns: &[&str], uris: &[&str]) -> String {
    let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
    csr_for(pair, None, dns.chain(uris).collect())
}

/// A request for these names, whatever they are, in base64url.
pub fn csr_for(pair: &KeyPair, common_name: Option<&str>, names: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
    }
    params.subject_alt_names = names;
    b64(params.serialize_request(pair).unwrap().der())
}

fn sign(pair: &KeyPair, now: i64) -> String {
    let moment = |unix_s| time::OffsetDateTime::from_unix_timestamp(unix_s).unwrap();
    let mut issuer = CertificateParams::default();
    issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let issuer = rcgen::CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::default();
    (leaf.not_before, leaf.not_after) = (moment(now), moment(now + 86_400));
    leaf.use_authority_key_identifier_extension = true;
    leaf.signed_by(pair, &issuer).unwrap().pem()
}

pub fn header(answer: &Answer, name: &str) -> String {
    let found = answer.headers.iter().find(|(one, _)| *one == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer:?}")).1.clone()
}

pub fn body(answer: &Answer) -> &Value {
    match &answer.body {
        Body::Json(value) => value,
        other => panic!("no JSON: {other:?}"),
    }
}

/// That it was refused with this type, and with these words for people.
pub fn refused(answer: &Answer, kind: &str, words: &str) {
    let Body::Problem(problem) = &answer.body else { panic!("not refused: {answer:?}") };
    assert_eq!(problem.kind.urn(), format!("urn:ietf:params:acme:error:{kind}"), "{problem:?}");
    assert!(problem.detail.contains(words), "{words:?}: {problem:?}");
    assert!(answer.status >= 400 && problem.to_json()["status"] == answer.status, "{answer:?}");
    assert!(!header(answer, "replay-nonce").is_empty(), "a client can try again at once");
}
