//! The thread that speaks to the TPM. Libtss2 waits for the TPM without end and must not be entered twice, so one thread
//! does nothing else, takes one question after the other from a bounded queue, and whoever asks waits for so long and no
//! longer. An answer that came too late is dropped; a question changes nothing that would have to be undone.
//!
//! The calls block; who must not be blocked asks from a thread that may be.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use attest_evidence::PcrSelection;
use tss_esapi::constants::PropertyTag;
use zeroize::Zeroizing;

use crate::device::{Device, Step};
use crate::{Endorsement, Fault, Signature, Statement, StoredKey, TpmAddress, TpmError, attest, endorsement, tls_key};

/// The most questions that wait.
const MOST_WAITING: usize = 32;
/// How long an answer may take, with all that waits before it, in seconds. A discrete TPM makes a key in some seconds.
const WAIT_S: u64 = 60;

type Question = Box<dyn FnOnce(&mut Device) + Send>;

/// A TPM. Clones speak to the same one; it is closed with the last of them.
#[derive(Debug, Clone)]
pub struct Tpm {
    queue: SyncSender<Question>,
}

impl Tpm {
    /// Opens a TPM, and sees whether it answers.
    ///
    /// # Errors
    /// [`Fault::NotThere`] and [`Fault::NotStarted`], mostly.
    pub fn open(address: &TpmAddress) -> Result<Self, TpmError> {
        let (queue, questions) = sync_channel::<Question>(MOST_WAITING);
        let mut device = Device::new(address.clone());
        let speak = move || questions.into_iter().for_each(|question| question(&mut device));
        thread::Builder::new().name("tpm".to_owned()).spawn(speak).map_err(|_| Fault::Stopped)?;
        let tpm = Self { queue };
        // A TPM that nobody started answers this as well, and nothing after it.
        tpm.ask(|step| step.ask("told its maker", |context| context.get_tpm_property(PropertyTag::Manufacturer)))?;
        Ok(tpm)
    }

    /// The endorsement key and the maker's certificate for it: on P-384 when there is one, else on P-256.
    ///
    /// # Errors
    /// [`Fault::NoEndorsementCertificate`] and [`Fault::AnotherEndorsementKey`], beside what any question may meet.
    pub fn endorsement(&self) -> Result<Endorsement, TpmError> {
        self.ask(endorsement::read)
    }

    /// The attestation key that is kept in this file, made and kept when there is none: it is the same after a restart.
    ///
    /// # Errors
    /// [`Fault::File`], [`Corrupt::Key`](crate::Corrupt::Key), and what any question may meet.
    pub fn attestation_key(&self, file: &Path) -> Result<StoredKey, TpmError> {
        if let Some(key) = StoredKey::load(file)? {
            return Ok(key);
        }
        let key = self.ask(attest::make_key)?;
        key.keep(file)?;
        Ok(key)
    }

    /// Opens a credential: `blob` is its `TPM2B_ID_OBJECT`, `encrypted_secret` its `TPM2B_ENCRYPTED_SECRET`, as they were
    /// made for this endorsement key and this attestation key.
    ///
    /// # Errors
    /// [`Refusal::Credential`](crate::Refusal::Credential) when it was made for others, and what any question may meet.
    pub fn activate(
        &self,
        endorsement: &Endorsement,
        attestation_key: &StoredKey,
        blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (curve, key) = (endorsement.curve, attestation_key.clone());
        let (blob, secret) = (blob.to_vec(), encrypted_secret.to_vec());
        self.ask(move |step| endorsement::activate(step, curve, &key, &blob, &secret))
    }

    /// Quotes registers of the SHA-256 bank, with a nonce of 1 to 34 bytes.
    ///
    /// # Errors
    /// [`Refusal::Selection`](crate::Refusal::Selection), [`Refusal::Nonce`](crate::Refusal::Nonce),
    /// [`Corrupt::AnotherTpm`](crate::Corrupt::AnotherTpm), and what any question may meet.
    pub fn quote(
        &self,
        attestation_key: &StoredKey,
        selection: PcrSelection,
        nonce: &[u8],
    ) -> Result<Statement, TpmError> {
        let (key, nonce) = (attestation_key.clone(), nonce.to_vec());
        self.ask(move |step| attest::quote(step, &key, &selection, &nonce))
    }

    /// Makes a key for TLS that signs only while these registers of the SHA-256 bank hold what they hold now. It is for the
    /// caller to keep it.
    ///
    /// # Errors
    /// [`Refusal::Selection`](crate::Refusal::Selection), and what any question may meet.
    pub fn make_tls_key(&self, selection: PcrSelection) -> Result<StoredKey, TpmError> {
        self.ask(move |step| tls_key::make(step, selection))
    }

    /// Certifies by the attestation key that a key is in this TPM, with a nonce of 1 to 34 bytes.
    ///
    /// # Errors
    /// [`Refusal::Nonce`](crate::Refusal::Nonce), [`Corrupt::AnotherTpm`](crate::Corrupt::AnotherTpm), and what any
    /// question may meet.
    pub fn certify(&self, key: &StoredKey, by: &StoredKey, nonce: &[u8]) -> Result<Statement, TpmError> {
        let (key, by, nonce) = (key.clone(), by.clone(), nonce.to_vec());
        self.ask(move |step| attest::certify(step, &key, &by, &nonce))
    }

    /// Signs a message, of any length, with a key for TLS.
    ///
    /// # Errors
    /// [`Refusal::Registers`](crate::Refusal::Registers) when its registers hold something else now,
    /// [`Corrupt::Key`](crate::Corrupt::Key) when it is no key for TLS,
    /// [`Corrupt::AnotherTpm`](crate::Corrupt::AnotherTpm), and what any question may meet.
    pub fn sign(&self, key: &StoredKey, message: &[u8]) -> Result<Signature, TpmError> {
        let (key, message) = (key.clone(), message.to_vec());
        self.ask(move |step| tls_key::sign(step, &key, &message))
    }

    /// Asks, and asks once more when the way to the TPM broke: it may have been restarted.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Step<'_>) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (answer, answers) = sync_channel(1);
        let question = Box::new(move |device: &mut Device| {
            let first = device.step(&question);
            let outcome = if first.as_ref().is_err_and(TpmError::is_lost) { device.step(&question) } else { first };
            // Nobody waits any more: the answer is dropped.
            let _ = answer.send(outcome);
        });
        self.queue.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => Fault::Busy { most: MOST_WAITING },
            TrySendError::Disconnected(_) => Fault::Stopped,
        })?;
        answers.recv_timeout(Duration::from_secs(WAIT_S)).map_err(|error| match error {
            RecvTimeoutError::Timeout => Fault::Slow { wait_s: WAIT_S },
            RecvTimeoutError::Disconnected => Fault::Stopped,
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_a_thread_that_ended_are_told_at_once() {
        let (queue, questions) = sync_channel::<Question>(MOST_WAITING);
        let tpm = Tpm { queue };
        for _ in 0..MOST_WAITING {
            assert!(tpm.queue.try_send(Box::new(|_| ())).is_ok());
        }
        let busy = tpm.endorsement();
        assert!(matches!(busy, Err(TpmError::Fault(Fault::Busy { most: MOST_WAITING }))), "{busy:?}");
        drop(questions);
        let stopped = tpm.endorsement();
        assert!(matches!(stopped, Err(TpmError::Fault(Fault::Stopped))), "{stopped:?}");
    }
}
