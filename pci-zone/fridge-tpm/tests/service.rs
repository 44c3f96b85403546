//! A fridge is attested by the service itself, with a real (software) TPM, and signs nothing when anything was exchanged on
//! the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../device-attestation/service/tests/device/mod.rs"]
mod device;

use attest_statement::{Asked, StatementRefusal, Trust};
use attest_verdict::Appraised;
use device::{ACCOUNT, BOOT, Device, House, NEXT_BOOT, NOW, ORDER, decode, list, log, sha256};
use fridge_tpm::{
    Attested, Attesting, Fault, Message, Refusal, Reply, StoredKey, Tpm, TpmError, TpmSigner, attest,
    attestation_object,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The service, without a network between.
struct Direct<'a> {
    house: &'a House,
    runtime: &'a Runtime,
    /// What somebody on the way does to the first answer.
    alters: fn(&mut Value),
    sent: Vec<Message>,
}

impl fridge_tpm::Transport for Direct<'_> {
    fn post(&mut self, message: &Message) -> Result<Reply, String> {
        self.sent.push(message.clone());
        let body: Value = serde_json::from_str(&message.body).map_err(|error| error.to_string())?;
        let refused = |status, error: attest_service::AttestError| Reply {
            status,
            body: json!({"type": "about:blank", "detail": error.to_string()}).to_string().into_bytes(),
        };
        if message.path == "/v1/attestations" {
            return Ok(self.house.begin(&body).map_or_else(
                |error| refused(403, error),
                |begun| {
                    let mut begun = serde_json::to_value(begun).unwrap();
                    (self.alters)(&mut begun);
                    Reply { status: 201, body: begun.to_string().into_bytes() }
                },
            ));
        }
        let id = message.path.strip_prefix("/v1/attestations/").and_then(|rest| rest.strip_suffix("/evidence"));
        let finished = self.runtime.block_on(self.house.finish(id.unwrap(), &body, NOW));
        Ok(finished.map_or_else(
            |error| refused(403, error),
            |finished| Reply { status: 200, body: serde_json::to_vec(&finished).unwrap() },
        ))
    }
}

struct Fridge {
    device: Device,
    asked: Tpm,
    house: House,
    runtime: Runtime,
}

impl Fridge {
    fn new() -> Self {
        let (device, runtime) = (Device::new(), Runtime::new().unwrap());
        let house = runtime.block_on(House::new(&device));
        let asked = Tpm::open(&device.tpm.tcti().parse().unwrap()).unwrap();
        Self { device, asked, house, runtime }
    }

    /// A new key for TLS and its request, to be attested.
    fn attesting(&self, previous: Option<StoredKey>) -> Attesting {
        let registers = attest_evidence::PcrSelection::of(attest_evidence::HashAlgorithm::Sha256, [7]);
        let tls_key = self.asked.make_tls_key(registers).unwrap();
        let signer = TpmSigner::new(self.asked.clone(), tls_key.clone());
        Attesting {
            endorsement: self.asked.endorsement().unwrap(),
            ek_intermediates: vec![self.device.tpm.read("ca/issuer.der")],
            attestation_key: self.asked.attestation_key(&self.device.tpm.path("attestation.key")).unwrap(),
            tls_key,
            previous_tls_key: previous,
            request: signer.certificate_request("spiffe://larder.internal/fridge/f1").unwrap(),
            acme_account: ACCOUNT.to_owned(),
            acme_order: ORDER.to_owned(),
        }
    }

    fn attest(&self, attesting: &Attesting, alters: fn(&mut Value)) -> (Result<Attested, TpmError>, Vec<Message>) {
        let mut direct = Direct { house: &self.house, runtime: &self.runtime, alters, sent: vec![] };
        let attested = attest(&self.asked, attesting, &log(&self.device.booted), &mut direct);
        (attested, direct.sent)
    }

    fn open(&self, attested: &Attested) -> attest_verdict::Verdict {
        attest_verdict::Verdict::open(&attested.verdict, &self.house.issuer, NOW).unwrap()
    }
}

const HONEST: fn(&mut Value) = |_| ();

#[test]
fn a_fridge_is_attested_and_again_with_the_key_before() {
    let fridge = Fridge::new();
    let first = fridge.attesting(None);
    let attested = fridge.attest(&first, HONEST).0.unwrap();
    let verdict = fridge.open(&attested);
    assert_eq!((verdict.appraised, attested.reasons.len()), (Appraised::Affirming, 0));
    assert_eq!(verdict.binding.csr_sha256, sha256(&first.request));
    assert_eq!((verdict.binding.account.as_str(), verdict.binding.order.as_str()), (ACCOUNT, ORDER));
    assert_eq!(verdict.attestation_key, first.attestation_key.name());
    let second = fridge.attesting(Some(first.tls_key.clone()));
    assert_eq!(fridge.attest(&second, HONEST).0.unwrap().reasons, [""; 0]);
    // Without the key before it, the service wants a person to look.
    let third = fridge.attesting(None);
    let attested = fridge.attest(&third, HONEST).0.unwrap();
    assert_eq!(attested.reasons, ["it had a key for TLS before and does not show that it still has it"]);
    assert!(matches!(fridge.open(&attested).appraised, Appraised::Quarantine(_)));
}

const AUTHORIZATION: &str = "token.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

#[test]
fn a_fridge_answers_a_challenge_with_what_was_attested_and_the_authority_believes_it() {
    let fridge = Fridge::new();
    let attesting = fridge.attesting(None);
    let attested = fridge.attest(&attesting, HONEST).0.unwrap();
    let object = attestation_object(&fridge.asked, &attesting, &attested, AUTHORIZATION).unwrap();
    let domain = ca_identity::TrustDomain::parse("larder.internal").unwrap();
    let trust = Trust::new(&[&fridge.house.root], &domain).unwrap();
    let identifier = fridge.open(&attested).binding.permanent_identifier;
    let asked =
        Asked { permanent_identifier: &identifier, key_authorization: AUTHORIZATION, account: ACCOUNT, order: ORDER };
    let proved = trust.judge(&object, &asked, NOW).unwrap();
    assert_eq!(proved.point.as_slice(), attesting.tls_key.point());
    assert_eq!((proved.csr_sha256, proved.quarantine.len()), (sha256(&attesting.request), 0));
    // For another challenge, it has to certify anew.
    let other = Asked { key_authorization: "other.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", ..asked };
    assert_eq!(trust.judge(&object, &other, NOW), Err(StatementRefusal::Challenge));
    // A key that was not attested is none that the verdict is for, though the same TPM certifies it.
    let another = Attesting { tls_key: fridge.attesting(None).tls_key, ..attesting.clone() };
    let object = attestation_object(&fridge.asked, &another, &attested, AUTHORIZATION).unwrap();
    assert!(matches!(trust.judge(&object, &asked, NOW), Err(StatementRefusal::Verdict(_))));
    // What does not fit into an object is no verdict.
    let large = Attested { verdict: vec![0; 20 * 1_024 + 1], ..attested };
    let why = attestation_object(&fridge.asked, &attesting, &large, AUTHORIZATION);
    assert!(matches!(why, Err(TpmError::Fault(Fault::Service(_)))), "{why:?}");
}

#[test]
fn other_firmware_is_quarantine_with_its_reason() {
    let mut fridge = Fridge::new();
    let first = fridge.attesting(None);
    fridge.attest(&first, HONEST).0.unwrap();
    fridge.device = Device { tpm: fridge.device.tpm.restarted(), ..fridge.device }.boot(&NEXT_BOOT);
    let second = fridge.attesting(Some(first.tls_key.clone()));
    let attested = fridge.attest(&second, HONEST).0.unwrap();
    assert!(attested.reasons[0].starts_with("event 0 extended register 0 with "), "{:?}", attested.reasons);
    // Once it is released, it is good.
    fridge.runtime.block_on(fridge.house.replace_values(&list(2, &[&BOOT, &NEXT_BOOT]))).unwrap();
    let third = fridge.attesting(Some(second.tls_key.clone()));
    assert_eq!(fridge.attest(&third, HONEST).0.unwrap().reasons, [""; 0]);
}

#[test]
fn nothing_is_signed_when_anything_was_exchanged() {
    let fridge = Fridge::new();
    let attesting = fridge.attesting(None);
    let exchanges: [fn(&mut Value); 3] = [
        |begun| begun["nonce"] = json!(device::encode(&[7; 32])),
        |begun| begun["challenge"] = json!(device::encode(&[7; 32])),
        |begun| begun["nonce"] = json!(""),
    ];
    for exchanged in exchanges {
        let (why, sent) = fridge.attest(&attesting, exchanged);
        assert!(matches!(why, Err(TpmError::Refused(Refusal::Transcript))), "{why:?}");
        assert_eq!(sent.len(), 1, "evidence was sent");
    }
    let (why, sent) = fridge.attest(&attesting, |begun| begun["credential_blob"] = begun["encrypted_secret"].clone());
    assert!(matches!(why, Err(TpmError::Refused(Refusal::Credential))), "{why:?}");
    assert_eq!(sent.len(), 1, "evidence was sent");
    let (why, _) = fridge.attest(&attesting, |begun| begun["pcr_selection"] = json!([]));
    assert!(matches!(why, Err(TpmError::Refused(Refusal::Selection))), "{why:?}");
    for senseless in [
        (|begun| begun["id"] = json!("../../x")) as fn(&mut Value),
        |begun| begun["id"] = json!(7),
        |begun| begun["challenge"] = json!("="),
        |begun| *begun = json!([]),
    ] {
        let (why, sent) = fridge.attest(&attesting, senseless);
        assert!(matches!(why, Err(TpmError::Fault(Fault::Service(_)))), "{why:?}");
        assert_eq!(sent.len(), 1, "evidence was sent");
    }
    // Of the selection the service decides: another one than it asked for is refused there.
    let (why, _) = fridge.attest(&attesting, |begun| begun["pcr_selection"] = json!([0]));
    let Err(TpmError::Refused(Refusal::Attestation(detail))) = why else { panic!("{why:?}") };
    assert!(detail.starts_with("the quote of the registers: "), "{detail}");
}

#[test]
fn what_the_service_refuses_is_told_in_its_words() {
    let fridge = Fridge::new();
    let mut attesting = fridge.attesting(None);
    attesting.ek_intermediates.clear();
    let why = fridge.attest(&attesting, HONEST).0.unwrap_err().to_string();
    assert!(why.starts_with("the attestation service refuses: ") && why.contains("maker"), "{why}");
    let reply = |status, body: &str| Attested::of(&Reply { status, body: body.as_bytes().to_vec() });
    let told = |status, body: &str| reply(status, body).unwrap_err().to_string();
    assert!(told(503, "{\"detail\": \"busy\\n\"}").contains("busy;"), "{}", told(503, "{\"detail\": \"busy\\n\"}"));
    assert!(matches!(reply(500, "<html>"), Err(TpmError::Fault(Fault::Service(why))) if why == "status 500"));
    for body in [
        "",
        "{}",
        "{\"verdict\": \"AA\", \"attestation_key_certificate\": [\"MAA\"], \"appraisal\": \"affirming\", \"reasons\": [\"x\"]}",
        "{\"verdict\": \"AA\", \"attestation_key_certificate\": [\"MAA\"], \"appraisal\": \"quarantine\", \"reasons\": []}",
        "{\"verdict\": \"AA\", \"attestation_key_certificate\": [\"MAA\"], \"appraisal\": \"fine\", \"reasons\": []}",
        "{\"verdict\": \"AA\", \"appraisal\": \"affirming\", \"reasons\": []}",
        "{\"verdict\": \"AA\", \"attestation_key_certificate\": [\"=\"], \"appraisal\": \"affirming\", \"reasons\": []}",
        "{\"verdict\": \"A\", \"attestation_key_certificate\": [\"MAA\"], \"appraisal\": \"affirming\", \"reasons\": []}",
    ] {
        assert!(matches!(reply(200, body), Err(TpmError::Fault(Fault::Service(_)))), "{body}");
    }
    assert!(reply(200, &format!("{}{}", " ".repeat(64 * 1_024), "{}")).is_err());
    let good = reply(200, "{\"verdict\": \"AA\", \"attestation_key_certificate\": [\"MAA\"], \"appraisal\": \"affirming\", \"reasons\": [], \"more\": 1}").unwrap();
    assert_eq!(
        good,
        Attested { verdict: decode("AA"), attestation_key_certificate: vec![decode("MAA")], reasons: vec![] }
    );
}
