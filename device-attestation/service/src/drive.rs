//! An attestation from its beginning to its verdict. Pure but for the store, which it asks at one point: time and chance are
//! arguments, and nothing here knows of HTTP.
//!
//! The evidence is looked at only after the TPM has given the secret back, so whatever is said of a device is said by its
//! own TPM: nobody else can have it quarantined.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use attest_evidence::Public;
use attest_verdict::{Appraised, Verdict};
use attest_verifier::{AttestationKey, EndorsementCertificate, MakerRoots, name};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::evidence::{self, Checked};
use crate::history::{self, Shown};
use crate::open::{ID_BYTES, LIFE_S, Open, OpenAttestations, SECRET_BYTES};
use crate::signer::Signer;
use crate::store::Store;
use crate::text::{hex, moment};
use crate::values::Values;
use crate::wire::{Begin, Begun, Finish, Finished, encode};
use crate::{AttestError, AttestationKeyRequest, Certifier, Fault, Refusal};

/// The attestation service without its surroundings.
#[derive(Debug)]
pub struct Attestation {
    roots: MakerRoots,
    values: RwLock<Arc<Values>>,
    open: Mutex<OpenAttestations>,
    signer: RwLock<Arc<Signer>>,
    certifier: Arc<dyn Certifier>,
    store: Store,
}

impl Attestation {
    /// The service with these makers' roots, this list of reference values, this key for its verdicts, and whoever certifies
    /// attestation keys.
    ///
    /// # Errors
    /// [`AttestError`] when a newer list was in force before, or the database fails.
    pub async fn new(
        roots: MakerRoots,
        values: Values,
        signer: Signer,
        certifier: Arc<dyn Certifier>,
        store: Store,
        now_unix_s: i64,
    ) -> Result<Self, AttestError> {
        store.accept_values(values.version, &values.sha256, now_unix_s).await?;
        let (values, signer) = (RwLock::new(Arc::new(values)), RwLock::new(Arc::new(signer)));
        Ok(Self { roots, values, open: Mutex::default(), signer, certifier, store })
    }

    /// Puts another list of reference values in force.
    ///
    /// # Errors
    /// [`AttestError`] when it is older than one that was in force, or the database fails; the one before stays.
    pub async fn replace_values(&self, values: Values, now_unix_s: i64) -> Result<(), AttestError> {
        self.store.accept_values(values.version, &values.sha256, now_unix_s).await?;
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(values);
        Ok(())
    }

    /// Signs verdicts with another key and chain from now on.
    pub fn replace_signer(&self, signer: Signer) {
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signer);
    }

    /// Begins an attestation.
    ///
    /// # Errors
    /// [`AttestError::Refused`] when the keys or the certificate are not believed, or too many are under way;
    /// [`AttestError::Fault`] when there is no chance to be had.
    pub fn begin(&self, begin: Begin, now_unix_s: i64, random: &dyn SecureRandom) -> Result<Begun, AttestError> {
        let of = |what| move |why| Refusal::Evidence { what, why };
        let roots = &self.roots;
        let certificate =
            EndorsementCertificate::accept(&begin.ek_certificate, &begin.ek_intermediates, roots, now_unix_s)
                .map_err(Refusal::Certificate)?;
        let tpm = certificate.tpm().cloned().ok_or(Refusal::Model)?;
        let endorsement = certificate.key(begin.ek_public.as_deref()).map_err(of("the endorsement key"))?;
        let attestation_key = AttestationKey::accept(&begin.ak_public).map_err(of("the attestation key"))?;
        let tls_name = Public::parse(&begin.tls_key_public).map(|key| name(&key));
        let tls_name = tls_name.map_err(|why| of("the key for TLS")(why.into()))?;
        let id = chance::<ID_BYTES>(random)?;
        let secret = Zeroizing::new(chance::<SECRET_BYTES>(random)?);
        let credential = endorsement
            .credential(&attestation_key, secret.as_slice(), random)
            .map_err(of("the credential for these keys"))?;
        let values = Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner));
        let open = Open {
            permanent_identifier: certificate.permanent_identifier(),
            tpm,
            attestation_key,
            tls_area: begin.tls_key_public,
            tls_name,
            previous: begin.previous_tls_key,
            csr_sha256: begin.csr_sha256,
            account: begin.acme_account,
            order: begin.acme_order,
            secret,
            challenge: chance(random)?,
            selection: values.selection(),
            expires_at_unix_s: now_unix_s.saturating_add(LIFE_S),
        };
        let begun = Begun {
            id: hex(&id),
            credential_blob: encode(&credential.blob),
            encrypted_secret: encode(&credential.secret),
            challenge: encode(&open.challenge),
            permanent_identifier: open.permanent_identifier.to_string(),
            nonce: encode(&open.transcript().hash()),
            pcr_selection: open.selection.registers().collect(),
            expires_at: moment(open.expires_at_unix_s),
        };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, open, now_unix_s)?;
        Ok(begun)
    }

    /// Ends an attestation: the evidence is judged, the device's history is taken further, and a verdict is given, which
    /// may be quarantine.
    ///
    /// # Errors
    /// [`AttestError::Refused`] when the evidence is not believed, [`AttestError::Fault`] or [`AttestError::Corrupt`] when
    /// the database, the authority or the key for verdicts fails; then the same evidence may come again.
    pub async fn finish(&self, id: &str, finish: &Finish, now_unix_s: i64) -> Result<Finished, AttestError> {
        let id = read_id(id).ok_or(Refusal::Unknown)?;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take(&id, now_unix_s)?;
        let finished = self.conclude(&open, finish, now_unix_s).await;
        if matches!(finished, Err(AttestError::Fault(_) | AttestError::Corrupt(_))) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).put_back(&id, open);
        }
        finished
    }

    async fn conclude(&self, open: &Open, finish: &Finish, now_unix_s: i64) -> Result<Finished, AttestError> {
        if !same(&finish.secret, open.secret.as_slice()) {
            return Err(Refusal::Secret.into());
        }
        let transcript = open.transcript();
        let nonce = transcript.hash();
        let values = Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner));
        let checked = evidence::check(open, finish, &values, &nonce)?;
        // Before anything is kept of the device: without the authority it has shown nothing. That the key is in this TPM is
        // true of a device in quarantine as well.
        let request = AttestationKeyRequest {
            permanent_identifier: *open.permanent_identifier.as_bytes(),
            point: open.attestation_key.point().to_vec(),
            tpm: open.tpm.clone(),
        };
        let chain = self.certifier.certify(&request).await?;
        let mut reasons = checked.reasons.clone();
        reasons.extend(self.history(open, finish, &checked, &nonce, now_unix_s).await?);
        let verdict = Verdict {
            binding: transcript.binding(checked.spki_sha256),
            nonce,
            attestation_key: open.attestation_key.name().to_vec(),
            appraised: match reasons.is_empty() {
                true => Appraised::Affirming,
                false => Appraised::Quarantine(reasons.clone()),
            },
            reference_values: values.version,
            issued_at_unix_s: now_unix_s,
        };
        let signer = Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner));
        let sealed = signer.seal(&verdict)?;
        let appraisal = if reasons.is_empty() { "affirming" } else { "quarantine" };
        tracing::info!(device = %open.permanent_identifier, appraisal, ?reasons, order = open.order, "attested");
        let attestation_key_certificate = chain.iter().map(|der| encode(der)).collect();
        Ok(Finished { verdict: encode(&sealed), attestation_key_certificate, appraisal, reasons })
    }

    /// Holds the device against what is known of it, and keeps what it showed.
    async fn history(
        &self,
        open: &Open,
        finish: &Finish,
        checked: &Checked,
        nonce: &[u8; 32],
        now_unix_s: i64,
    ) -> Result<Option<String>, AttestError> {
        let device = open.permanent_identifier.to_string();
        let shown = Shown {
            clock: checked.clock,
            key: checked.key.clone(),
            previous: open.previous.clone(),
            registers: checked.registers.clone(),
        };
        let signature = finish.previous_signature.as_deref();
        let outcome = self
            .store
            .with_device(&device, now_unix_s, |known| {
                let named =
                    shown.previous.as_ref().zip(known).and_then(|(name, known)| Some((known, known.key(name)?)));
                let holds = named.is_none_or(|(known, key)| match signature {
                    Some(signature) => evidence::previous_signed(key, signature, nonce),
                    None => known.may_have_died(&shown.registers),
                });
                if holds { Ok(history::judge(known, &shown)) } else { Err(Refusal::PreviousKey) }
            })
            .await?;
        if outcome.alarm {
            tracing::error!(alarm = true, %device, reason = outcome.reason, "a device may have been copied");
        }
        Ok(outcome.reason)
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn chance<const N: usize>(random: &dyn SecureRandom) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| Fault::Chance)?;
    Ok(bytes)
}

fn read_id(text: &str) -> Option<[u8; ID_BYTES]> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
