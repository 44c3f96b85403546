//! The vault: sealed cards in, tokens out, with keys that never leave the HSM.
//!
//! It is the only crate of the PCI service that speaks PKCS#11, and the only one that both opens sealed cards and makes
//! tokens, so that the distance a card number travels in clear is one function long. A card that opens comes out as a
//! [`CardRef`] for everyone and a short-lived [`pci_card::Pan`] for the processor. [`Vault::open`] has no effects, so a
//! [`VaultFault`] may always be retried.
//!
//! The way in: `lib.rs` (this) checks what needs no HSM → `floor.rs` queues → `worker.rs` runs → `job.rs` opens and
//! tokenizes with `hpke.rs` (pure) and `hsm.rs` (PKCS#11). `plan.rs` and `keys.rs` are which keys there are, `check.rs` by
//! what they are known again, `lock.rs` keeps processes that start at once apart.
//!
//! It leaves to others: the time (an argument), who may ask (the service), what a token is good for (`pci-session`),
//! and key ceremonies (people; `policies/keys.toml` says what must come out of them).

mod check;
mod floor;
mod handles;
mod hpke;
mod hsm;
mod job;
mod keys;
mod lock;
mod plan;
mod worker;

use std::{path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

pub use self::check::KeyCheck;
pub use self::hpke::{DoesNotOpen, POINT_BYTES, Recipient, SharedSecret, is_point};
pub use hsm::HsmError;
pub use keys::KeyError;
use pci_card::{CardError, Expiry, Pan};
use pci_contract::{CardRef, SealedCard, SealingContext, SealingKey, Token};
pub use plan::{KeyKind, KeyMechanism, KeyPlan, KeyPlanError, KeyState, KeyUse, KeyZone, PlannedKey, Purpose};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

use crate::{
    floor::Floor,
    hsm::{Bench, Module},
    job::Job,
    worker::{Fingerprint, Opener},
};

/// How to reach the HSM and how hard to work it.
pub struct VaultConfig {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The label of the one token to use.
    pub token_label: String,
    /// The user's PIN.
    pub pin: Zeroizing<String>,
    /// The plan of all keys; the vault takes those of the pci zone.
    pub keys: KeyPlan,
    /// What is known of the keys from earlier starts, whoever kept it; empty at the very first.
    pub known: Vec<KeyCheck>,
    /// A file that all processes of this machine which use the same token lock while they open it.
    pub lock_file: PathBuf,
    /// Worker threads; 2 suits SoftHSM, a network HSM takes more.
    pub threads: usize,
    /// The most cards that wait for a worker.
    pub queue: usize,
    /// Cards opened before the module is quietly recycled; each leaves some 235 bytes behind in SoftHSM.
    pub recycle_after: u64,
    /// How long a caller waits for an answer, in milliseconds.
    pub answer_within_ms: u64,
}

impl VaultConfig {
    /// With the usual two threads, a queue of 1,024, a recycle every 250,000 cards and 5 seconds for an answer; nothing
    /// is known of the keys.
    #[must_use]
    pub fn new(
        module: PathBuf,
        token_label: String,
        pin: Zeroizing<String>,
        keys: KeyPlan,
        lock_file: PathBuf,
    ) -> Self {
        let (threads, queue, recycle_after, answer_within_ms) = (2, 1_024, 250_000, 5_000);
        let known = Vec::new();
        Self { module, token_label, pin, keys, known, lock_file, threads, queue, recycle_after, answer_within_ms }
    }
}

/// Why a vault does not start.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The module does not load, open or let us in.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The keys in the token are not those of the plan.
    #[error(transparent)]
    Key(KeyError),
    /// No thread could be started.
    #[error("starting the vault's threads: {0}")]
    Threads(#[source] std::io::Error),
}

impl From<KeyError> for VaultError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Hsm(error) => Self::Hsm(error),
            error => Self::Key(error),
        }
    }
}

/// A card that opened.
#[derive(Debug)]
pub struct OpenedCard {
    /// What the world may know of it.
    pub card: CardRef,
    /// Its tokens under earlier token keys, the latest first: for looking up what was linked before a rotation.
    pub earlier_tokens: Vec<Token>,
    /// Its number, for the processor and no one else.
    pub pan: Pan,
    /// Its month of expiry, not past.
    pub expiry: Expiry,
}

/// Why a card did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The sealing is no good: the sender's fault.
    #[error(transparent)]
    Refused(#[from] SealRefusal),
    /// It opened, and what was in it is no card, or an expired one.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Our fault, or the HSM's. Nothing happened; a retry is safe.
    #[error(transparent)]
    Fault(#[from] VaultFault),
}

/// What is wrong with a sealed card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum SealRefusal {
    /// It is sealed to a key the vault does not have (any more): ask for the sealing key again.
    #[error("the card is sealed to an unknown key")]
    UnknownKey,
    /// Its encapsulated key is no point of the curve.
    #[error("the encapsulated key is not on the curve")]
    NotAPoint,
    /// It does not open: altered, cut, for another key, or for another fridge or session.
    #[error("the sealed card does not open")]
    DoesNotOpen,
}

/// Why the vault could not do its work; always safe to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum VaultFault {
    /// The queue is full.
    #[error("the vault is busy")]
    Busy,
    /// The HSM is gone and being brought back.
    #[error("the HSM is not there")]
    Lost,
    /// The HSM failed at this card.
    #[error("the HSM failed")]
    Hsm,
    /// There was no answer in time.
    #[error("the vault did not answer in time")]
    Late,
}

/// Whether the vault can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VaultHealth {
    /// It works, or will after a quiet recycle that no caller notices.
    Ready,
    /// The HSM is gone and being brought back; every call is refused.
    Recovering,
}

/// Health, and how many times the HSM has been opened, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VaultStatus {
    /// Whether the vault can work.
    pub health: VaultHealth,
    /// Counts openings of the module: each recycle and each recovery adds one.
    pub generation: u64,
}

/// The vault. Dropping it finishes the work at hand, logs out and finalizes the module.
pub struct Vault {
    floor: Arc<Floor<Job, Bench>>,
    sealing: Vec<SealingKey>,
    active: SealingKey,
    checks: Vec<KeyCheck>,
    answer_within: Duration,
    supervisor: Option<JoinHandle<()>>,
}

impl Vault {
    /// Opens the module, logs in, creates the missing keys of the plan, checks all of them and starts the threads.
    /// The module must not be in use by this process: a vault owns it. Blocks; call it before there is a runtime.
    ///
    /// # Errors
    /// [`VaultError`] when the HSM cannot be reached, any key is weaker than planned, or one that is known is another.
    pub fn start(config: VaultConfig) -> Result<Self, VaultError> {
        let module = Module::load(&config.module, &config.token_label, &config.pin)?;
        let threads = config.threads.max(1);
        let opener = Opener { module, plan: config.keys, lock_file: config.lock_file, threads, known: config.known };
        let mut opened = opener.open(|keeper| keys::create_missing(keeper, &opener.plan, &opener.known))?;
        let Fingerprint { sealing, checks } = opened.fingerprint.clone();
        let missing = || VaultError::Key(KeyError::Missing("for sealing".to_owned()));
        let active = sealing.first().cloned().ok_or_else(missing)?;
        let benches = std::mem::take(&mut opened.benches);
        let floor = Arc::new(Floor::new(config.queue, config.recycle_after, benches));
        let supervisor = worker::spawn(opener, opened, Arc::clone(&floor)).map_err(VaultError::Threads)?;
        let answer_within = Duration::from_millis(config.answer_within_ms);
        Ok(Self { floor, sealing, active, checks, answer_within, supervisor: Some(supervisor) })
    }

    /// The check values of all keys, to be kept and given to the next start as known.
    #[must_use]
    pub fn key_checks(&self) -> &[KeyCheck] {
        &self.checks
    }

    /// The key fridges should seal to.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        self.active.clone()
    }

    /// Opens a sealed card, checks what is in it against `now_unix_s` (seconds since the Unix epoch) and makes its
    /// token. Must be called within a tokio runtime with time. Giving up on the future is safe at any point;
    /// keeping it without asking it for its end is not, since answers to others may come by way of it.
    ///
    /// # Errors
    /// [`OpenError`] says whose fault it is: the sealing's, the card's, or ours.
    pub async fn open(
        &self,
        card: SealedCard,
        context: SealingContext,
        now_unix_s: i64,
    ) -> Result<OpenedCard, OpenError> {
        if !self.sealing.iter().any(|key| key.id == *card.key()) {
            return Err(SealRefusal::UnknownKey.into());
        }
        if !is_point(card.encapsulated_key()) {
            return Err(SealRefusal::NotAPoint.into());
        }
        let (answer, answered) = oneshot::channel();
        self.floor.submit(Job { card, associated_data: context.associated_data(), now_unix_s, answer })?;
        match tokio::time::timeout(self.answer_within, answered).await {
            Ok(Ok(answer)) => answer.outcome,
            // The job was dropped without an answer: the HSM was lost while it waited.
            Ok(Err(_)) => Err(VaultFault::Lost.into()),
            Err(_) => Err(VaultFault::Late.into()),
        }
    }

    /// Asks for a quiet recycle of the module. Calls wait for it, a few tens of milliseconds; none fails.
    pub fn recycle(&self) {
        self.floor.recycle();
    }

    /// Whether the vault can work now.
    #[must_use]
    pub fn health(&self) -> VaultHealth {
        self.floor.status().borrow().health
    }

    /// Health and openings as they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<VaultStatus> {
        self.floor.status().subscribe()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.floor.close();
        if self.supervisor.take().is_some_and(|supervisor| supervisor.join().is_err()) {
            tracing::error!("the vault's supervisor panicked");
        }
    }
}
