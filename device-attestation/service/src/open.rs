//! Attestations that were begun and whose evidence has not come yet. They live in memory: whoever began one before a
//! restart begins again.
//!
//! An id is given out once and taken once, whatever comes with it. An ended one is remembered for a while, so that who
//! comes with it again, or too late, is told which of the two it was.

use std::collections::BTreeMap;

use attest_evidence::PcrSelection;
use attest_verdict::Transcript;
use attest_verifier::{AttestationKey, PermanentIdentifier, TpmModel};
use zeroize::Zeroizing;

use crate::Refusal;

/// How long the evidence may take, in seconds.
pub const LIFE_S: i64 = 300;
/// How many are kept, open or ended, of all devices and of one.
const MOST: usize = 8_192;
const MOST_OF_ONE: usize = 8;
/// How many bytes of chance are in an id, a secret and a challenge.
pub(crate) const ID_BYTES: usize = 16;
pub(crate) const SECRET_BYTES: usize = 32;

/// An attestation's id.
pub(crate) type Id = [u8; ID_BYTES];

/// What was agreed on when an attestation began.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) permanent_identifier: PermanentIdentifier,
    pub(crate) tpm: TpmModel,
    pub(crate) attestation_key: AttestationKey,
    pub(crate) tls_area: Vec<u8>,
    pub(crate) tls_name: Vec<u8>,
    pub(crate) previous: Option<Vec<u8>>,
    pub(crate) csr_sha256: [u8; 32],
    pub(crate) account: String,
    pub(crate) order: String,
    pub(crate) secret: Zeroizing<[u8; SECRET_BYTES]>,
    pub(crate) challenge: [u8; SECRET_BYTES],
    pub(crate) selection: PcrSelection,
    pub(crate) expires_at_unix_s: i64,
}

impl Open {
    pub(crate) fn transcript(&self) -> Transcript<'_> {
        Transcript {
            challenge: &self.challenge,
            permanent_identifier: self.permanent_identifier.as_bytes(),
            attestation_key: self.attestation_key.name(),
            tls_key: &self.tls_name,
            csr_sha256: &self.csr_sha256,
            account: &self.account,
            order: &self.order,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct OpenAttestations(BTreeMap<Id, Entry>);

#[derive(Debug)]
struct Entry {
    device: PermanentIdentifier,
    expires_at_unix_s: i64,
    /// None once it was taken.
    open: Option<Box<Open>>,
}

impl OpenAttestations {
    /// Keeps one under a new id.
    pub(crate) fn insert(&mut self, id: Id, open: Open, now_unix_s: i64) -> Result<(), Refusal> {
        let (device, expires_at_unix_s) = (open.permanent_identifier, open.expires_at_unix_s);
        if self.0.len() >= MOST {
            self.0.retain(|_, entry| entry.expires_at_unix_s.saturating_add(LIFE_S) >= now_unix_s);
        }
        if self.0.len() >= MOST {
            return Err(Refusal::Busy { wait_s: LIFE_S });
        }
        // Anybody can begin one for a device whose certificate he has seen, but must not be able to lock it out so: its
        // oldest makes room.
        let own = self.0.iter().filter(|(_, entry)| entry.device == device);
        let own: Vec<_> = own.map(|(id, entry)| (entry.expires_at_unix_s, *id)).collect();
        if own.len() >= MOST_OF_ONE
            && let Some((_, oldest)) = own.iter().min()
        {
            self.0.remove(oldest);
        }
        self.0.insert(id, Entry { device, expires_at_unix_s, open: Some(Box::new(open)) });
        Ok(())
    }

    /// Takes one back that could not be ended by our own fault: who sent its evidence may send it again. One that made room
    /// meanwhile stays away.
    pub(crate) fn put_back(&mut self, id: &Id, open: Open) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.open = Some(Box::new(open));
        }
    }

    /// Takes one out for good, unless it is put back.
    pub(crate) fn take(&mut self, id: &Id, now_unix_s: i64) -> Result<Open, Refusal> {
        let entry = self.0.get_mut(id).ok_or(Refusal::Unknown)?;
        let open = entry.open.take().ok_or(Refusal::Used)?;
        let expires_at_unix_s = entry.expires_at_unix_s;
        if now_unix_s > expires_at_unix_s {
            // A clock that was wrong for a moment burns nothing.
            entry.open = Some(open);
            return Err(Refusal::Expired { expires_at_unix_s, now_unix_s });
        }
        Ok(*open)
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
