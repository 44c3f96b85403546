//! A fridge's side of an attestation, played with a real (software) TPM and the tools that others wrote, and the service.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../statement/tests/authority/mod.rs"]
pub mod issuing;
#[path = "../../../verifier/tests/swtpm/mod.rs"]
pub mod swtpm;

use async_trait::async_trait;
use attest_service::{
    AttestError, Attestation, AttestationKeyRequest, Begin, Begun, Certifier, Fault, Finish, Finished, Refusal, Signer,
    Store, Values,
};
use attest_verdict::{Issuer, Transcript, Verdict};
use attest_verifier::MakerRoots;
use ca_identity::TrustDomain;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use swtpm::Swtpm;
use tempfile::TempDir;

/// 2100-01-01: the certificates of swtpm's maker begin when a test runs, and have no end.
pub const NOW: i64 = 4_102_444_800;
/// Register and what was measured.
pub const BOOT: [(u8, &[u8]); 2] = [(0, b"firmware 1"), (7, b"keys")];
pub const NEXT_BOOT: [(u8, &[u8]); 2] = [(0, b"firmware 2"), (7, b"keys")];
pub const ACCOUNT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
pub const ORDER: &str = "https://ca.larder.internal/acme/order/7";
const ENDORSEMENT: &str = "0x81010016";
const ATTESTATION: &str = "0x81010002";

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A log of the SHA-256 bank.
pub fn log(events: &[(u8, &[u8])]) -> Vec<u8> {
    let mut told = b"Spec ID Event03\0".to_vec();
    told.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0x00, 32, 0, 0]);
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(told.len()).unwrap().to_le_bytes());
    log.extend(told);
    for (register, measured) in events {
        log.extend(u32::from(*register).to_le_bytes());
        log.extend([8, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0x00]);
        log.extend(sha256(measured));
        log.extend([0; 4]);
    }
    log
}

/// A fridge.
pub struct Device {
    pub tpm: Swtpm,
    pub booted: Vec<(u8, &'static [u8])>,
    pub attestation_key: &'static str,
}

/// A key for TLS at a persistent handle of its TPM.
#[derive(Clone, Debug)]
pub struct Tls {
    pub handle: String,
    pub area: Vec<u8>,
    pub name: Vec<u8>,
    registers: &'static str,
}

impl Device {
    /// One as its maker ships it, after its first boot.
    pub fn new() -> Self {
        let tpm = Swtpm::manufactured();
        tpm.step(&format!("tpm2_createak -C {ENDORSEMENT} -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -f tss"));
        tpm.step(&format!("tpm2_evictcontrol -C o -c ak.ctx {ATTESTATION}"));
        Self { tpm, booted: vec![], attestation_key: ATTESTATION }.boot(&BOOT)
    }

    pub fn boot(mut self, measured: &[(u8, &'static [u8])]) -> Self {
        for (register, bytes) in measured {
            self.tpm.run(&format!("tpm2_pcrextend {register}:sha256={}", HEXLOWER.encode(&sha256(bytes))));
        }
        self.booted = measured.to_vec();
        self
    }

    pub fn restarted(self) -> Self {
        Self { tpm: self.tpm.restarted(), ..self }.boot(&BOOT)
    }

    /// The same with the next firmware.
    pub fn updated(self) -> Self {
        Self { tpm: self.tpm.restarted(), ..self }.boot(&NEXT_BOOT)
    }

    pub fn copied(&self) -> Self {
        Self { tpm: self.tpm.copied(), booted: vec![], attestation_key: ATTESTATION }.boot(&BOOT)
    }

    /// A new key for TLS, usable while register 7 is as it is.
    pub fn tls(&self, number: u8) -> Tls {
        self.bound(number, "7")
    }

    /// A new key for TLS, usable while these registers are as they are.
    pub fn bound(&self, number: u8, registers: &'static str) -> Tls {
        let handle = format!("0x810100{:02x}", 0x30 + number);
        self.tpm.step("tpm2_createprimary -C o -G ecc -c primary.ctx");
        self.tpm.step(&format!("tpm2_createpolicy --policy-pcr -l sha256:{registers} -L policy"));
        let fixed = "fixedtpm|fixedparent|sensitivedataorigin|sign";
        self.tpm.step(&format!(
            "tpm2_create -C primary.ctx -G ecc256:ecdsa-sha256:null -a {fixed} -L policy -u tls.pub -r tls.priv"
        ));
        self.tpm.step("tpm2_load -C primary.ctx -u tls.pub -r tls.priv -c tls.ctx");
        self.tpm.step(&format!("tpm2_evictcontrol -C o -c tls.ctx {handle}"));
        let area = self.tpm.area("tls.pub");
        Tls { handle, name: [&[0, 0x0b][..], &sha256(&area)].concat(), area, registers }
    }

    pub fn begin(&self, tls: &Tls, previous: Option<&Tls>) -> Value {
        self.tpm.run("tpm2_nvread 0x1c00016 -o ek.der");
        self.tpm.run(&format!("tpm2_readpublic -c {} -f tss -o now.pub", self.attestation_key));
        let mut begin = json!({
            "ek_certificate": encode(&self.tpm.read("ek.der")),
            "ek_intermediates": [encode(&self.tpm.read("ca/issuer.der"))],
            "ak_public": encode(&self.tpm.area("now.pub")),
            "tls_key_public": encode(&tls.area),
            "csr_sha256": encode(&sha256(b"a request")),
            "acme_account": ACCOUNT,
            "acme_order": ORDER,
        });
        if let Some(previous) = previous {
            begin["previous_tls_key"] = encode(&previous.name).into();
        }
        begin
    }

    /// Opens the credential; none when this TPM does not.
    pub fn activate(&self, begun: &Begun) -> Option<Vec<u8>> {
        let (blob, secret) = (decode(&begun.credential_blob), decode(&begun.encrypted_secret));
        self.tpm.write("credential", &[&[0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1][..], &blob, &secret].concat());
        let policies = [
            (
                "policy_a",
                "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53",
            ),
            (
                "policy_c",
                "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165",
            ),
        ];
        for (file, digest) in policies {
            self.tpm.write(file, &HEXLOWER.decode(digest.as_bytes()).unwrap());
        }
        self.tpm.run(
            "tpm2_startauthsession --policy-session -g sha384 -S session.ctx
             tpm2_policysecret -S session.ctx -c e
             tpm2_policyor -S session.ctx -l sha384:policy_a,policy_c",
        );
        let key = self.attestation_key;
        let opened = self.tpm.attempt(&format!(
            "tpm2_activatecredential -c {key} -C {ENDORSEMENT} -i credential -o secret -P session:session.ctx"
        ));
        self.tpm.flush();
        opened.status.success().then(|| self.tpm.read("secret"))
    }

    /// The hash that the device computes of what it sent and got.
    pub fn nonce(begin: &Value, begun: &Begun) -> [u8; 32] {
        let field = |name: &str| decode(begin[name].as_str().unwrap());
        let area_name = |area: Vec<u8>| {
            let hash: Vec<u8> = match area[3] {
                0x0b => sha256(&area).to_vec(),
                _ => digest(&ring::digest::SHA384, &area).as_ref().to_vec(),
            };
            [&area[2..4], &hash].concat()
        };
        let csr_sha256: [u8; 32] = field("csr_sha256").try_into().unwrap();
        let identifier: [u8; 32] = HEXLOWER.decode(begun.permanent_identifier.as_bytes()).unwrap().try_into().unwrap();
        Transcript {
            challenge: &decode(&begun.challenge),
            permanent_identifier: &identifier,
            attestation_key: &area_name(field("ak_public")),
            tls_key: &area_name(field("tls_key_public")),
            csr_sha256: &csr_sha256,
            account: begin["acme_account"].as_str().unwrap(),
            order: begin["acme_order"].as_str().unwrap(),
        }
        .hash()
    }

    /// `TPM2_Certify`, whose nonce the tool does not let one choose.
    pub fn certify(&self, tls: &Tls, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let handle = |text: &str| u32::from_str_radix(&text[2..], 16).unwrap().to_be_bytes();
        let password = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let body = [
            &0x148_u32.to_be_bytes()[..],
            &handle(&tls.handle),
            &handle(self.attestation_key),
            &18_u32.to_be_bytes(),
            &password,
            &password,
            &sized(nonce),
            &[0, 0x10],
        ]
        .concat();
        let length = u32::try_from(body.len() + 6).unwrap();
        self.tpm.write("command", &[&[0x80, 2][..], &length.to_be_bytes(), &body].concat());
        self.tpm.step("tpm2_send -o response command");
        let response = self.tpm.read("response");
        assert_eq!(response[6..10], [0; 4], "TPM2_Certify failed");
        let parameters = usize::try_from(u32::from_be_bytes(response[10..14].try_into().unwrap())).unwrap();
        let parameters = &response[14..14 + parameters];
        let statement = usize::from(u16::from_be_bytes([parameters[0], parameters[1]]));
        (parameters[2..2 + statement].to_vec(), parameters[2 + statement..].to_vec())
    }

    pub fn quote(&self, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (key, nonce) = (self.attestation_key, HEXLOWER.encode(nonce));
        self.tpm.step(&format!("tpm2_quote -c {key} -l sha256:0,7 -q {nonce} -m quote.attest -s quote.sig -g sha256"));
        (self.tpm.read("quote.attest"), self.tpm.read("quote.sig"))
    }

    /// A signature of a key for TLS over the nonce.
    pub fn sign(&self, tls: &Tls, nonce: &[u8]) -> Vec<u8> {
        self.tpm.write("nonce", nonce);
        let (handle, registers) = (&tls.handle, tls.registers);
        self.tpm.run(&format!(
            "tpm2_startauthsession --policy-session -S session.ctx
             tpm2_policypcr -S session.ctx -l sha256:{registers}"
        ));
        self.tpm.step(&format!("tpm2_sign -c {handle} -g sha256 -o signature -p session:session.ctx nonce"));
        self.tpm.read("signature")
    }

    /// The evidence for this nonce.
    pub fn evidence(&self, secret: &[u8], nonce: &[u8], tls: &Tls, previous: Option<&Tls>) -> Value {
        let ((quote, quote_signature), (certify, certify_signature)) = (self.quote(nonce), self.certify(tls, nonce));
        let mut finish = json!({
            "secret": encode(secret),
            "quote": encode(&quote),
            "quote_signature": encode(&quote_signature),
            "certify": encode(&certify),
            "certify_signature": encode(&certify_signature),
            "event_log": encode(&log(&self.booted)),
        });
        if let Some(previous) = previous {
            finish["previous_signature"] = encode(&self.sign(previous, nonce)).into();
        }
        finish
    }

    /// Both steps.
    pub async fn attest(&self, house: &House, tls: &Tls, previous: Option<&Tls>) -> Result<Finished, AttestError> {
        let begin = self.begin(tls, previous);
        let begun = house.begin(&begin)?;
        let nonce = Self::nonce(&begin, &begun);
        assert_eq!(begun.nonce, encode(&nonce), "both sides compute the same");
        let evidence = self.evidence(&self.activate(&begun).unwrap(), &nonce, tls, previous);
        house.finish(&begun.id, &evidence, NOW).await
    }
}

/// Plays the authority towards the service: certifies attestation keys, unless it is away.
pub struct Certifies {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
    pub away: AtomicBool,
    pub asked: Mutex<Vec<AttestationKeyRequest>>,
}

impl std::fmt::Debug for Certifies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certifies").finish_non_exhaustive()
    }
}

impl Certifies {
    pub fn under(root: &CertifiedIssuer<'static, KeyPair>) -> Arc<Self> {
        let (issuer, away) = (issuing::intermediate(root), AtomicBool::new(false));
        Arc::new(Self { issuer, away, asked: Mutex::default() })
    }
}

#[async_trait]
impl Certifier for Certifies {
    async fn certify(&self, request: &AttestationKeyRequest) -> Result<Vec<Vec<u8>>, Fault> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Fault::Authority("nobody answers".to_owned()));
        }
        self.asked.lock().unwrap().push(request.clone());
        Ok(issuing::certify(&issuing::leaf(NOW), &request.point, &self.issuer))
    }
}

/// The service, with an authority of its own and whoever signs reference values.
pub struct House {
    pub service: Attestation,
    pub issuer: Issuer,
    pub root: Vec<u8>,
    pub certifier: Arc<Certifies>,
    pub values_key: EcdsaKeyPair,
    pub folder: TempDir,
}

pub fn signer_of_values() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap()
}

/// A signed list.
pub fn jws(key: &EcdsaKeyPair, header: &Value, payload: &Value) -> String {
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(payload.to_string().as_bytes()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(signature.as_ref()))
}

pub fn header() -> Value {
    json!({"alg": "ES256", "typ": "larder-reference-values+jws"})
}

/// A list in which these boots are good.
pub fn list(version: u64, boots: &[&[(u8, &[u8])]]) -> Value {
    let event = |(register, measured): &(u8, &[u8])| json!({"register": register, "sha256": HEXLOWER.encode(&sha256(measured))});
    let firmware = boots.iter().zip(1..).map(|(boot, number)| {
        json!({"name": format!("firmware {number}"), "events": boot.iter().map(event).collect::<Vec<_>>()})
    });
    json!({
        "version": version,
        "registers": [0, 7],
        "tls_key_policies": [HEXLOWER.encode(&policy())],
        "firmware": firmware.collect::<Vec<_>>(),
    })
}

/// The policy of a key that is usable while register 7 is as it is after a good boot (Part 3, section 23.7).
pub fn policy() -> [u8; 32] {
    let register = sha256(&[&[0; 32][..], &sha256(BOOT[1].1)].concat());
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0];
    sha256(&[&[0; 32][..], &[0, 0, 1, 0x7f], &selection, &sha256(&register)].concat())
}

pub fn point(key: &EcdsaKeyPair) -> Vec<u8> {
    key.public_key().as_ref().to_vec()
}

fn years(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(3000, 1, 1));
    params
}

/// A root, and the attestation service's certificate and key under it.
pub fn authority() -> (CertifiedIssuer<'static, KeyPair>, rcgen::Certificate, KeyPair) {
    let mut root = years(CertificateParams::default());
    root.distinguished_name.push(DnType::CommonName, "root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let (leaf, pair) = named(&root, "service/attestation");
    (root, leaf, pair)
}

/// A certificate that names this party.
pub fn named(root: &CertifiedIssuer<'static, KeyPair>, path: &str) -> (rcgen::Certificate, KeyPair) {
    let mut leaf = years(CertificateParams::default());
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    leaf.is_ca = IsCa::ExplicitNoCa;
    let uri = format!("spiffe://larder.internal/{path}");
    let names = [SanType::URI(uri.as_str().try_into().unwrap()), SanType::DnsName("attestation".try_into().unwrap())];
    leaf.subject_alt_names = names.to_vec();
    let pair = KeyPair::generate().unwrap();
    (leaf.signed_by(&pair, root).unwrap(), pair)
}

impl House {
    pub async fn new(device: &Device) -> Self {
        let (root, leaf, pair) = authority();
        let signer = Signer::new(vec![leaf.der().to_vec()], pair.serialized_der()).unwrap();
        let domain = TrustDomain::parse("larder.internal").unwrap();
        let issuer = Issuer::new(&[root.der()], &domain).unwrap();
        let (values_key, folder) = (signer_of_values(), TempDir::new().unwrap());
        let values = jws(&values_key, &header(), &list(1, &[&BOOT]));
        let values = Values::read(values.as_bytes(), &point(&values_key)).unwrap();
        let store = Store::open(&folder.path().join("attestation.db"), NOW).await.unwrap();
        let roots = MakerRoots::new(&[device.tpm.read("ca/root.der")]).unwrap();
        let certifier = Certifies::under(&root);
        let service = Attestation::new(roots, values, signer, Arc::clone(&certifier) as _, store, NOW).await.unwrap();
        Self { service, issuer, root: root.der().to_vec(), certifier, values_key, folder }
    }

    pub fn begin(&self, begin: &Value) -> Result<Begun, AttestError> {
        self.service.begin(Begin::parse(begin.to_string().as_bytes())?, NOW, &SystemRandom::new())
    }

    pub async fn finish(&self, id: &str, finish: &Value, now_unix_s: i64) -> Result<Finished, AttestError> {
        let finish = Finish::parse(finish.to_string().as_bytes())?;
        self.service.finish(id, &finish, now_unix_s).await
    }

    pub async fn replace_values(&self, list: &Value) -> Result<(), AttestError> {
        let values = jws(&self.values_key, &header(), list);
        self.service.replace_values(Values::read(values.as_bytes(), &point(&self.values_key))?, NOW).await
    }

    pub fn open(&self, finished: &Finished) -> Verdict {
        Verdict::open(&decode(&finished.verdict), &self.issuer, NOW).unwrap()
    }
}

pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, AttestError>) -> Refusal {
    match outcome {
        Err(AttestError::Refused(refusal)) => refusal,
        other => panic!("{other:?} is no refusal"),
    }
}
