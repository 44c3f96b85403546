//! Both steps of an attestation, from the fridge's side: what is sent, what must come back, and what the TPM is asked
//! between them. How it travels is a port, so that everything here can be tried without a network.
//!
//! The fridge computes by itself what the TPM signs over (the transcript) and never signs what the service merely claims:
//! with another key, request, account or order put in between, both hashes differ and nothing is signed. Whether the
//! service is the right one, and what becomes of the verdict, is left to the agent.

use attest_evidence::{HashAlgorithm, PcrSelection};
use attest_verdict::Transcript;
use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Endorsement, Fault, Refusal, Statement, StoredKey, Tpm, TpmError};

/// Where attestations live at the service.
const ATTESTATIONS: &str = "/v1/attestations";
/// The most bytes of an answer: a verdict has some thousand.
const MOST_REPLY_BYTES: usize = 64 * 1_024;
/// How many digits an attestation's id has.
const ID_DIGITS: usize = 32;
/// The most characters of what a service says that are told on.
const MOST_TOLD: usize = 400;

/// What is to be attested, and for which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attesting {
    /// Who made the TPM.
    pub endorsement: Endorsement,
    /// The certificates above the endorsement certificate, DER; a TPM does not hold them.
    pub ek_intermediates: Vec<Vec<u8>>,
    /// The attestation key.
    pub attestation_key: StoredKey,
    /// The new key for TLS.
    pub tls_key: StoredKey,
    /// The key for TLS before it, when there was one.
    pub previous_tls_key: Option<StoredKey>,
    /// The certificate request, DER.
    pub request: Vec<u8>,
    /// The ACME account: its key's thumbprint (RFC 7638).
    pub acme_account: String,
    /// The ACME order's URL.
    pub acme_order: String,
}

/// A request: `POST` to a path, with a body of JSON (`application/json`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The path.
    pub path: String,
    /// The body.
    pub body: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The way to the attestation service.
pub trait Transport {
    /// Sends a request and waits for the answer, for a bounded time and number of bytes.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    fn post(&mut self, message: &Message) -> Result<Reply, String>;
}

/// What the service asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    id: String,
    blob: Vec<u8>,
    encrypted_secret: Vec<u8>,
    nonce: [u8; 32],
    selection: PcrSelection,
}

/// What the TPM answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    secret: Zeroizing<Vec<u8>>,
    quote: Statement,
    certify: Statement,
    previous_signature: Option<Vec<u8>>,
}

/// What the service made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The verdict, sealed for whoever relies on it.
    pub verdict: Vec<u8>,
    /// The attestation key's certificate and those above it, DER, leaf first.
    pub attestation_key_certificate: Vec<Vec<u8>>,
    /// Why it is quarantine; none when it is affirming.
    pub reasons: Vec<String>,
}

/// Both steps: begins, asks the TPM, and ends. `event_log` is the boot's, as the kernel gives it.
///
/// # Errors
/// [`Refusal::Attestation`] when the service refuses, [`Refusal::Transcript`] when something was exchanged on the way,
/// [`Fault::Service`] when it fails or cannot be reached, and what any question to a TPM may meet.
pub fn attest(
    tpm: &Tpm,
    attesting: &Attesting,
    event_log: &[u8],
    transport: &mut dyn Transport,
) -> Result<Attested, TpmError> {
    let mut post =
        |message: &Message| transport.post(message).map_err(|why| TpmError::from(Fault::Service(told(&why))));
    let challenge = attesting.challenge(&post(&attesting.begin())?)?;
    let evidence = Evidence::of(tpm, attesting, &challenge)?;
    Attested::of(&post(&challenge.finish(&evidence, event_log))?)
}

#[derive(Serialize)]
struct BeginText {
    ek_certificate: String,
    ek_intermediates: Vec<String>,
    ek_public: String,
    ak_public: String,
    tls_key_public: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_tls_key: Option<String>,
    csr_sha256: String,
    acme_account: String,
    acme_order: String,
}

/// What a fridge needs of the answer; a newer service may say more.
#[derive(Deserialize)]
struct BegunText {
    id: String,
    credential_blob: String,
    encrypted_secret: String,
    challenge: String,
    nonce: String,
    pcr_selection: Vec<u8>,
}

#[derive(Serialize)]
struct FinishText {
    secret: String,
    quote: String,
    quote_signature: String,
    certify: String,
    certify_signature: String,
    event_log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_signature: Option<String>,
}

#[derive(Deserialize)]
struct FinishedText {
    verdict: String,
    attestation_key_certificate: Vec<String>,
    appraisal: String,
    reasons: Vec<String>,
}

/// RFC 9457.
#[derive(Deserialize)]
struct ProblemText {
    detail: String,
}

impl Attesting {
    /// The first step's request.
    #[must_use]
    pub fn begin(&self) -> Message {
        let text = BeginText {
            ek_certificate: encode(&self.endorsement.certificate),
            ek_intermediates: self.ek_intermediates.iter().map(|der| encode(der)).collect(),
            ek_public: encode(&self.endorsement.public_area),
            ak_public: encode(self.attestation_key.public_area()),
            tls_key_public: encode(self.tls_key.public_area()),
            previous_tls_key: self.previous_tls_key.as_ref().map(|key| encode(&key.name())),
            csr_sha256: encode(&sha256(&self.request)),
            acme_account: self.acme_account.clone(),
            acme_order: self.acme_order.clone(),
        };
        Message { path: ATTESTATIONS.to_owned(), body: json(&text) }
    }

    /// Takes the answer to it.
    ///
    /// # Errors
    /// As [`attest`].
    pub fn challenge(&self, reply: &Reply) -> Result<Challenge, TpmError> {
        let text: BegunText = answer(reply)?;
        let is_id = text.id.len() == ID_DIGITS && text.id.bytes().all(|digit| digit.is_ascii_hexdigit());
        let transcript = Transcript {
            challenge: &decode(&text.challenge)?,
            permanent_identifier: &self.endorsement.permanent_identifier()?,
            attestation_key: &self.attestation_key.name(),
            tls_key: &self.tls_key.name(),
            csr_sha256: &sha256(&self.request),
            account: &self.acme_account,
            order: &self.acme_order,
        };
        let nonce = transcript.hash();
        if decode(&text.nonce)? != nonce {
            return Err(Refusal::Transcript.into());
        }
        Ok(Challenge {
            id: Some(text.id).filter(|_| is_id).ok_or_else(senseless)?,
            blob: decode(&text.credential_blob)?,
            encrypted_secret: decode(&text.encrypted_secret)?,
            nonce,
            selection: PcrSelection::of(HashAlgorithm::Sha256, text.pcr_selection),
        })
    }
}

impl Challenge {
    /// The second step's request.
    #[must_use]
    pub fn finish(&self, evidence: &Evidence, event_log: &[u8]) -> Message {
        let text = FinishText {
            secret: encode(&evidence.secret),
            quote: encode(&evidence.quote.statement),
            quote_signature: encode(&evidence.quote.signature),
            certify: encode(&evidence.certify.statement),
            certify_signature: encode(&evidence.certify.signature),
            event_log: encode(event_log),
            previous_signature: evidence.previous_signature.as_deref().map(encode),
        };
        Message { path: format!("{ATTESTATIONS}/{}/evidence", self.id), body: json(&text) }
    }
}

impl Evidence {
    /// Asks the TPM. A previous key that signs no more, since the firmware is another, is left out; the service then says
    /// what it makes of that.
    ///
    /// # Errors
    /// What any question to a TPM may meet.
    pub fn of(tpm: &Tpm, attesting: &Attesting, challenge: &Challenge) -> Result<Self, TpmError> {
        let (key, nonce) = (&attesting.attestation_key, &challenge.nonce);
        let secret = tpm.activate(&attesting.endorsement, key, &challenge.blob, &challenge.encrypted_secret)?;
        let previous = attesting.previous_tls_key.as_ref().map(|previous| tpm.sign(previous, nonce));
        let previous_signature = match previous {
            None | Some(Err(TpmError::Refused(Refusal::Registers { .. }))) => None,
            Some(signed) => Some(signed?.tpm),
        };
        Ok(Self {
            secret,
            quote: tpm.quote(key, challenge.selection, nonce)?,
            certify: tpm.certify(&attesting.tls_key, key, nonce)?,
            previous_signature,
        })
    }
}

impl Attested {
    /// Takes the answer to the second step.
    ///
    /// # Errors
    /// As [`attest`].
    pub fn of(reply: &Reply) -> Result<Self, TpmError> {
        let text: FinishedText = answer(reply)?;
        // Quarantine has its reasons, and nothing else has any.
        match text.appraisal.as_str() {
            "affirming" if text.reasons.is_empty() => (),
            "quarantine" if !text.reasons.is_empty() => (),
            _ => return Err(senseless().into()),
        }
        let certificates = text.attestation_key_certificate.iter().map(|der| decode(der));
        Ok(Self {
            verdict: decode(&text.verdict)?,
            attestation_key_certificate: certificates.collect::<Result<_, _>>()?,
            reasons: text.reasons.iter().map(|reason| told(reason)).collect(),
        })
    }
}

/// The body of an answer that is none of refusal and fault.
fn answer<'a, T: Deserialize<'a>>(reply: &'a Reply) -> Result<T, TpmError> {
    if reply.body.len() > MOST_REPLY_BYTES {
        return Err(senseless().into());
    }
    if matches!(reply.status, 200 | 201) {
        return Ok(serde_json::from_slice(&reply.body).map_err(|_| senseless())?);
    }
    let problem: Option<ProblemText> = serde_json::from_slice(&reply.body).ok();
    let detail = problem.map_or_else(|| format!("status {}", reply.status), |problem| told(&problem.detail));
    match reply.status {
        400..=499 => Err(Refusal::Attestation(detail).into()),
        _ => Err(Fault::Service(detail).into()),
    }
}

pub(crate) fn senseless() -> Fault {
    Fault::Service("its answer makes no sense".to_owned())
}

/// Words of others, short and on one line.
fn told(words: &str) -> String {
    words.chars().filter(|character| !character.is_control()).take(MOST_TOLD).collect()
}

fn json(text: &impl Serialize) -> String {
    // Nothing but texts and lists of them, for which there is no failure.
    serde_json::to_string(text).unwrap_or_default()
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, TpmError> {
    Ok(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| senseless())?)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
