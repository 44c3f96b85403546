//! Drives purchases: the pure machine decides, this carries out. What is here in one word a file: `live` is a session at
//! work, `open` its admission, `show` its answers, `calls` its talk with the processor, `settle` and `payment` what
//! remains to be done after its end, `told` how that comes back to it, `registry` where it is found, `leases` who may
//! write it.

mod calls;
mod enroll;
mod leases;
mod live;
mod open;
mod outgoing;
mod payment;
mod registry;
mod settle;
mod show;
mod steps;
mod told;

use std::sync::Arc;
use std::time::Duration;

use pci_contract::{
    EventBody, EventId, FridgeId, FridgeTampered, ScannedCode, SealingKey, SessionId, TamperKind, Timestamp,
};
use pci_processors::Processor;
use pci_session::Notice;
use pci_store::{Batch, CommitError, NewEvent, Reference, Store, StoreError};
use pci_vault::Vault;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

pub use live::{Closed, Inbound};

use crate::authorize::{self, Denied, Permit};
use crate::clock;
use crate::config::Limits;
use crate::message::ServiceMessage;
use crate::metrics::{self, Metrics};
use leases::Leases;
use live::{Attachment, Live, Turn};
use registry::{Delivered, Registry};
use settle::Settler;

/// Answers that may wait for a fridge to read them.
const ANSWERS: usize = 64;
/// How long a new stream may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// Open sessions read at once when starting.
const OPEN_SESSIONS_PAGE: u32 = 1_000;

/// Why a call could not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DriveError {
    /// The session is another fridge's.
    #[error("the session belongs to another fridge")]
    AnotherFridge,
    /// Too much at once.
    #[error("too much at once")]
    Busy,
    /// The caller may not do this.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Something of ours, or that we depend on, failed. Trying again with the same id is safe.
    #[error("a dependency failed")]
    Fault,
}

/// What the driver is made of.
pub struct Parts {
    /// The zone's database.
    pub store: Arc<Store>,
    /// Where cards are opened.
    pub vault: Arc<Vault>,
    /// Who authorizes.
    pub processor: Arc<dyn Processor>,
    /// Bounds.
    pub limits: Limits,
    /// How long a customer waits for an authorization, retries included.
    pub open_budget: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Everything the sessions of this process share.
pub struct Drive {
    store: Arc<Store>,
    reference: Arc<Reference>,
    vault: Arc<Vault>,
    processor: Arc<dyn Processor>,
    limits: Limits,
    open_budget: Duration,
    metrics: Arc<Metrics>,
    registry: Registry,
    settler: Settler,
    leases: Leases,
    run_id: String,
}

impl Drive {
    /// Takes up the work: knows the open sessions, and goes on settling what an earlier run left.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn start(parts: Parts, stop: CancellationToken) -> Result<Arc<Self>, StoreError> {
        let open = open_sessions(&parts.store).await?;
        let (settler, jobs) = Settler::new(parts.limits.settlements);
        let drive = Arc::new(Self {
            reference: parts.store.reference(),
            store: parts.store,
            vault: parts.vault,
            processor: parts.processor,
            limits: parts.limits,
            open_budget: parts.open_budget,
            metrics: parts.metrics,
            registry: Registry::new(open),
            settler,
            leases: Leases::default(),
            run_id: clock::run_id(),
        });
        tokio::spawn(settle::run(Arc::clone(&drive), jobs, stop));
        Ok(drive)
    }

    /// The key that cards are sealed to.
    #[must_use]
    pub fn sealing_key(&self, _permit: &Permit<authorize::SealingKey>) -> SealingKey {
        self.vault.sealing_key()
    }

    /// How many sessions run here, and how many fridges have one open.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.registry.counts()
    }

    /// Takes a fridge's stream; the answers come out of the receiver.
    ///
    /// # Errors
    /// [`DriveError::Denied`] when the caller is no fridge.
    pub fn purchase(
        self: &Arc<Self>,
        permit: Permit<authorize::Purchase>,
        mut inbound: Inbound,
    ) -> Result<mpsc::Receiver<Result<ServiceMessage, Closed>>, DriveError> {
        let fridge = permit.fridge()?;
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let drive = Arc::clone(self);
        tokio::spawn(async move {
            let first = match tokio::time::timeout(FIRST_WORD, inbound.next()).await {
                Ok(Some(Ok(first))) => first,
                Ok(Some(Err(unread))) => {
                    let _ = answers.send(Err(Closed::Unread(unread))).await;
                    return;
                }
                Ok(None) | Err(_) => return,
            };
            let session = first.session;
            let refusal = answers.clone();
            let turn = Turn::Attach(Box::new(Attachment { first, inbound, answers }));
            if drive.deliver(session, &fridge, turn).is_err() {
                let _ = refusal.send(Err(Closed::Fault)).await;
            }
        });
        Ok(receiver)
    }

    /// Books what a fridge noticed outside any session. The report's id is the event's, so a repeat books nothing.
    ///
    /// # Errors
    /// [`DriveError`] when the caller is no fridge or the event cannot be stored.
    pub async fn report_tamper(
        &self,
        permit: &Permit<authorize::ReportTamper>,
        id: EventId,
        kind: TamperKind,
        code: Option<ScannedCode>,
        at: Timestamp,
    ) -> Result<(), DriveError> {
        let body = EventBody::FridgeTampered(FridgeTampered { fridge: permit.fridge()?, kind, code, at });
        let event = NewEvent { id, body, at: clock::now() };
        let batch = Batch { events: vec![event], ..Batch::default() };
        self.store.commit(batch).await.map_err(|error| {
            tracing::error!(%error, "a tamper report could not be stored");
            DriveError::Fault
        })
    }

    /// Hands `turn` to the session's task, starting one if none runs.
    fn deliver(self: &Arc<Self>, session: SessionId, fridge: &FridgeId, turn: Turn) -> Result<(), DriveError> {
        match self.registry.deliver(session, fridge, turn) {
            Delivered::ToRunning => Ok(()),
            Delivered::Busy => Err(DriveError::Busy),
            Delivered::Start(turns) => {
                tokio::spawn(Live::new(Arc::clone(self), session, fridge.clone()).run(turns));
                Ok(())
            }
        }
    }

    /// Tells operators what they should look at; by a count, since a log line wakes nobody.
    fn tell_operators(&self, session: SessionId, fridge: &FridgeId, notice: &Notice) {
        tracing::warn!(%session, %fridge, ?notice, "for operators");
        let notice = match notice {
            Notice::OpenTooLong => "open_too_long",
            Notice::BasketFull => "basket_full",
            Notice::TouchAfterEnd { .. } => "touch_after_end",
            Notice::OpenedAfterEnd => "opened_after_end",
            Notice::VoidFailed { .. } => "void_failed",
        };
        self.metrics.notices.get_or_create(&metrics::Notice { notice }).inc();
    }

    /// The fence under which this process writes sessions of `fridge`.
    async fn fence(&self, fridge: &FridgeId) -> Result<u64, CommitError> {
        self.leases.fence(&self.store, fridge, &self.run_id).await
    }
}

/// The session that keeps each fridge busy.
async fn open_sessions(store: &Store) -> Result<Vec<(FridgeId, SessionId)>, StoreError> {
    let mut open = Vec::new();
    let mut after = None;
    loop {
        let page = store.unfinished_sessions(after, OPEN_SESSIONS_PAGE).await?;
        let Some(last) = page.last() else { return Ok(open) };
        after = Some(last.session.id());
        let busy = page.into_iter().filter(|stored| stored.session.holds_fridge());
        open.extend(busy.map(|stored| (stored.session.fridge().clone(), stored.session.id())));
    }
}
