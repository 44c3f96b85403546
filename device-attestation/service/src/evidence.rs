//! What a TPM says, from the bytes to what may be believed of it. Pure: it asks the verifier in the only order there is and
//! keeps what the verdict and the device's history need.

use attest_evidence::{Clock, Curve, EcdsaSignature, HashAlgorithm};
use attest_verifier::{Appraisal, CertifiedKey, CheckedQuote, KeyFlaw, ReplayedQuote, Signed};
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};

use crate::history::TlsKey;
use crate::open::Open;
use crate::values::Values;
use crate::wire::Finish;
use crate::{Refusal, text};

/// The most unknown events that a verdict names; the others are counted.
const MOST_EVENTS_TOLD: usize = 8;

/// Evidence that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// How far the TPM's clock and counters had come.
    pub(crate) clock: Clock,
    /// The new key for TLS.
    pub(crate) key: TlsKey,
    /// The digest of what the quoted registers hold.
    pub(crate) registers: Vec<u8>,
    /// The SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) spki_sha256: [u8; 32],
    /// Why what runs is not known to be good; none when it is.
    pub(crate) reasons: Vec<String>,
}

/// Checks the evidence for what was agreed on.
pub(crate) fn check(open: &Open, finish: &Finish, values: &Values, nonce: &[u8; 32]) -> Result<Checked, Refusal> {
    let of = |what| move |why| Refusal::Evidence { what, why };
    let key = &open.attestation_key;
    let quote = "the quote of the registers";
    let statement = Signed::check(key, &finish.quote, &finish.quote_signature, nonce).map_err(of(quote))?;
    let checked = CheckedQuote::of(&statement, open.selection).map_err(of(quote))?;
    let clock = checked.clock();
    let replayed = ReplayedQuote::of(checked, &finish.event_log).map_err(of("the boot log"))?;
    let reasons = reasons(&Appraisal::of(&replayed, &values.good));
    let policies = std::iter::once(replayed.policy()).chain(values.tls_key_policies.iter().cloned());
    let certified = certified(open, finish, policies, nonce).map_err(of("the certification of the key for TLS"))?;
    let mut spki_sha256 = [0; 32];
    spki_sha256.copy_from_slice(digest(&SHA256, &certified.spki()).as_ref());
    let key = TlsKey { name: open.tls_name.clone(), point: certified.point().to_vec() };
    Ok(Checked { clock, key, registers: replayed.registers().to_vec(), spki_sha256, reasons })
}

/// The key for TLS, bound to one of the policies that may be: to what was quoted, whatever that is, or to one of the list.
fn certified(
    open: &Open,
    finish: &Finish,
    policies: impl Iterator<Item = Vec<u8>>,
    nonce: &[u8; 32],
) -> Result<CertifiedKey, attest_verifier::Refusal> {
    let statement = Signed::check(&open.attestation_key, &finish.certify, &finish.certify_signature, nonce)?;
    let mut refused = KeyFlaw::Policy.into();
    for policy in policies {
        match CertifiedKey::of(&statement, &open.tls_area, &policy) {
            Ok(certified) => return Ok(certified),
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

/// Whether a key of before signed the nonce: a `TPMT_SIGNATURE` by ECDSA, of SHA-256 on P-256 or SHA-384 on P-384.
pub(crate) fn previous_signed(key: &TlsKey, signature: &[u8], nonce: &[u8; 32]) -> bool {
    let curves: [(Curve, HashAlgorithm, &EcdsaVerificationAlgorithm); 2] = [
        (Curve::P256, HashAlgorithm::Sha256, &ECDSA_P256_SHA256_FIXED),
        (Curve::P384, HashAlgorithm::Sha384, &ECDSA_P384_SHA384_FIXED),
    ];
    let Ok(signature) = EcdsaSignature::parse(signature) else { return false };
    curves.into_iter().any(|(curve, hash, algorithm)| {
        let fits = key.point.len() == curve.bytes().saturating_mul(2).saturating_add(1) && signature.hash == hash;
        let numbers = signature.fixed(curve).filter(|_| fits);
        numbers.is_some_and(|numbers| UnparsedPublicKey::new(algorithm, &key.point).verify(nonce, &numbers).is_ok())
    })
}

/// What an appraisal means, for people.
fn reasons(appraisal: &Appraisal) -> Vec<String> {
    match appraisal {
        Appraisal::Good => Vec::new(),
        Appraisal::NothingMeasured(register) => {
            vec![format!("nothing was measured into register {register}, so nothing is known of that part")]
        }
        Appraisal::Unknown(events) => {
            let told = events.iter().take(MOST_EVENTS_TOLD).map(|event| {
                let (at, register, digest) = (event.at, event.register, text::hex(&event.digest));
                format!("event {at} extended register {register} with {digest}, which is no reference value")
            });
            let more = events.len().saturating_sub(MOST_EVENTS_TOLD);
            let more = (more > 0).then(|| format!("{more} more events are no reference values"));
            told.chain(more).collect()
        }
    }
}
