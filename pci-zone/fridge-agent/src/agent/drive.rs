//! The driver: feeds the machine with what happens and carries its effects out, one after the other.
//!
//! The order of effects is the promise: a record is durable before its message is handed to the link. When the disk
//! fails, the first message of a session is not sent at all and the customer is refused; later ones go out all the
//! same, wait in memory for the disk, and the technician is told. Dropping the driver drops its tasks with it.

use std::sync::Arc;
use std::time::Duration;

use pci_contract::{SealingContext, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::clock::{self, Clock};
use crate::core::{AgentInput, AgentState, Answer, Effect, IdToken, Record};
use crate::hardware::{Command, Display, Hardware, HardwareEvent, TechnicianNote};
use crate::journal::{self, Recovered, SessionJournal};
use crate::link::{self, LinkEvent, LinkEventKind, Outbox};
use crate::service::Failure;
use crate::shared::{SEALING_KEY_UNKNOWN, Shared};
use crate::tamper::Reports;
use crate::{seal, tamper, wire};

/// The most inputs from our own tasks that wait for the driver.
const WAITING_INPUTS: usize = 64;

/// Runs one agent until it is stopped or its hardware is gone.
pub(super) async fn drive<H: Hardware>(shared: Arc<Shared>, hardware: H, mut stopped: oneshot::Receiver<()>) {
    let clock = Clock::start();
    let recovered = tokio::select! {
        recovered = recover(&shared) => recovered,
        _ = &mut stopped => return,
    };
    let mut driver = Driver::start(shared, hardware, clock, recovered).await;
    loop {
        let deadline = driver.state.deadline_ms().map(|at_ms| driver.clock.instant_at(at_ms));
        let retry = driver.retry_at;
        tokio::select! {
            _ = &mut stopped => return,
            event = driver.hardware.next_event() => match event {
                Some(event) => driver.event(event).await,
                None => return,
            },
            Some(event) = driver.links.recv() => driver.link_event(event).await,
            Some(input) = driver.sealed.recv() => driver.input(input).await,
            () = until(deadline) => driver.input(AgentInput::Tick).await,
            () = until(retry) => driver.retry_journal().await,
        }
        while driver.tasks.try_join_next().is_some() {}
    }
}

/// Reads the journals; a disk that cannot be read is asked again, because a fridge that forgot a session must not sell.
async fn recover(shared: &Shared) -> Recovered {
    loop {
        let disk = Arc::clone(&shared.config.disk);
        match tokio::task::spawn_blocking(move || journal::recover(&disk)).await {
            Ok(Ok(recovered)) => return recovered,
            Ok(Err(why)) => tracing::error!(%why, "the journal cannot be read"),
            Err(_) => tracing::error!("the journal cannot be read"),
        }
        tokio::time::sleep(Duration::from_millis(shared.config.limits.disk_retry_ms)).await;
    }
}

struct Driver<H> {
    shared: Arc<Shared>,
    hardware: H,
    clock: Clock,
    state: AgentState,
    /// The session under way, from its first durable record to its final answer.
    journal: Option<SessionJournal>,
    outbox: Option<Arc<Outbox>>,
    /// A card that was read and not yet handed to the sealing task.
    track2: Option<Zeroizing<Vec<u8>>>,
    link_sender: mpsc::Sender<LinkEvent>,
    links: mpsc::Receiver<LinkEvent>,
    sealed_sender: mpsc::Sender<AgentInput>,
    sealed: mpsc::Receiver<AgentInput>,
    reports: Reports,
    retry_at: Option<tokio::time::Instant>,
    /// The technician was told that the journal cannot be written.
    journal_is_ill: bool,
    tasks: JoinSet<()>,
}

impl<H: Hardware> Driver<H> {
    async fn start(shared: Arc<Shared>, mut hardware: H, clock: Clock, recovered: Recovered) -> Self {
        let limits = shared.config.limits;
        let mut tasks = JoinSet::new();
        let disk = Arc::clone(&shared.config.disk);
        let (reports, reporter) = tamper::start(shared.service.clone(), disk, recovered.reports, limits.max_reports);
        tasks.spawn(reporter);
        let fresh = Arc::clone(&shared);
        tasks.spawn(async move { fresh.keys.keep_fresh().await });

        let within = Duration::from_millis(limits.hardware_within_ms);
        let door_open = tokio::time::timeout(within, hardware.door_is_open()).await.unwrap_or(false);
        let (journal, records) = recovered.session.unzip();
        let records: Vec<Record> = records.unwrap_or_default();
        let outbox = records.first().map(|first| {
            let messages = records.iter().map(wire::message).collect();
            Arc::new(Outbox::new(first.session, messages))
        });
        let (state, effects) = AgentState::resume(limits, &records, door_open, clock.now(), clock::new_report_id());
        let (link_sender, links) = mpsc::channel(WAITING_INPUTS);
        let (sealed_sender, sealed) = mpsc::channel(WAITING_INPUTS);
        let mut driver = Self {
            shared,
            hardware,
            clock,
            state,
            journal,
            outbox,
            track2: None,
            link_sender,
            links,
            sealed_sender,
            sealed,
            reports,
            retry_at: None,
            journal_is_ill: false,
            tasks,
        };
        if let Some(outbox) = driver.outbox.clone() {
            driver.link(outbox);
        }
        driver.carry_out(effects).await;
        if recovered.corrupt > 0 {
            driver.input(AgentInput::Note(TechnicianNote::JournalCorrupt)).await;
        }
        driver
    }

    async fn event(&mut self, event: HardwareEvent) {
        let input = match event {
            HardwareEvent::CardSwiped { track2, session } => {
                self.track2 = Some(track2);
                AgentInput::Swiped { session: session.unwrap_or_else(clock::new_session_id) }
            }
            HardwareEvent::IdTokenShown { text, session } => AgentInput::IdTokenShown {
                session: session.unwrap_or_else(clock::new_session_id),
                token: IdToken::parse(&text),
            },
            HardwareEvent::DoorOpened => AgentInput::DoorOpened,
            HardwareEvent::DoorClosed => AgentInput::DoorClosed,
            HardwareEvent::DoorForced => AgentInput::DoorForced,
            HardwareEvent::Touched { kind, barcode } => {
                AgentInput::Touched { kind, code: pci_contract::ScannedCode::read(&barcode) }
            }
        };
        self.input(input).await;
        // The machine did not want this card: it is wiped here.
        self.track2 = None;
    }

    async fn link_event(&mut self, event: LinkEvent) {
        if self.state.session() != Some(event.session) {
            return;
        }
        match event.kind {
            LinkEventKind::Connected => self.input(AgentInput::Connected).await,
            LinkEventKind::Answered { acknowledged, answer } => {
                if matches!(&answer, Some(Answer::Refused(reason)) if reason.as_str() == SEALING_KEY_UNKNOWN) {
                    self.shared.keys.drop_key();
                }
                self.input(AgentInput::Answered { session: event.session, acknowledged, answer }).await;
            }
            LinkEventKind::Broken(failure) => {
                self.input(AgentInput::Disconnected).await;
                match failure {
                    Failure::Unreachable => {}
                    Failure::Superseded => self.input(AgentInput::Note(TechnicianNote::Superseded)).await,
                    Failure::Rejected => self.input(AgentInput::Note(TechnicianNote::ServiceRejects)).await,
                }
            }
        }
    }

    /// One step of the machine, and the inputs that its own effects cause.
    async fn input(&mut self, input: AgentInput) {
        let mut next = Some(input);
        // A failed first record causes one more input, a note another; nothing causes more.
        for _ in 0..4 {
            let Some(input) = next.take() else { return };
            let state = self.state.clone();
            let (state, effects) = state.step(input, self.clock.now(), clock::new_report_id());
            self.state = state;
            next = self.carry_out(effects).await;
        }
    }

    /// Carries effects out in order; the input they cause, if one fails in a way the machine must know.
    async fn carry_out(&mut self, effects: Vec<Effect>) -> Option<AgentInput> {
        for effect in effects {
            match effect {
                Effect::Seal(session) => self.seal(session),
                Effect::Journal(record) => {
                    if let Some(input) = self.write(record).await {
                        return Some(input);
                    }
                }
                Effect::Send(record) => self.send(&record),
                Effect::Forget(session) => self.forget(session).await,
                Effect::Report(note) => self.reports.report(note).await,
                Effect::Hardware(command) => self.command(command).await,
            }
        }
        None
    }

    /// Hands the card to a task that gets the key, seals and wipes it.
    fn seal(&mut self, session: SessionId) {
        let Some(track2) = self.track2.take() else { return };
        let (shared, sender) = (Arc::clone(&self.shared), self.sealed_sender.clone());
        self.tasks.spawn(async move {
            let context = SealingContext { fridge: shared.config.fridge.clone(), session };
            let within = Duration::from_millis(shared.config.limits.unreachable_after_ms);
            let key = tokio::time::timeout(within, shared.keys.obtained()).await;
            let card = match key {
                Ok(Ok(key)) => seal(track2, &context, &key).ok(),
                _ => None,
            };
            let input = match card {
                Some(card) => AgentInput::Sealed { session, card },
                None => AgentInput::NotSealed { session },
            };
            let _ = sender.send(input).await;
        });
    }

    /// Makes a record durable, or says what follows from failing to.
    async fn write(&mut self, record: Record) -> Option<AgentInput> {
        let (session, is_first) = (record.session, record.sequence == 1);
        let mut journal = match self.journal.take() {
            Some(journal) => journal,
            None if is_first => SessionJournal::create(Arc::clone(&self.shared.config.disk), session),
            // A writer that broke off in the middle left a file that must not be begun anew.
            None => {
                self.journal_behind().await;
                return None;
            }
        };
        let write = move || {
            let written = journal.append(&record);
            (journal, written)
        };
        let Ok((journal, written)) = tokio::task::spawn_blocking(write).await else {
            return is_first.then_some(AgentInput::OpenNotJournaled { session });
        };
        self.journal = Some(journal);
        match written {
            Ok(()) => {
                self.journal_well().await;
                None
            }
            Err(why) => {
                tracing::error!(%session, %why, "the journal cannot be written");
                if is_first {
                    self.journal_ill().await;
                    return Some(AgentInput::OpenNotJournaled { session });
                }
                self.journal_behind().await;
                None
            }
        }
    }

    /// Tells the technician, once until it is well again.
    async fn journal_ill(&mut self) {
        if !std::mem::replace(&mut self.journal_is_ill, true) {
            self.command(Command::Show(Display::Technician(TechnicianNote::JournalFull))).await;
        }
    }

    async fn journal_behind(&mut self) {
        self.journal_ill().await;
        let pause = Duration::from_millis(self.shared.config.limits.disk_retry_ms);
        self.retry_at = Some(tokio::time::Instant::now() + pause);
    }

    async fn journal_well(&mut self) {
        self.retry_at = None;
        if std::mem::take(&mut self.journal_is_ill) {
            self.command(Command::Show(Display::Technician(TechnicianNote::JournalWell))).await;
        }
    }

    /// Tries to write what waits in memory.
    async fn retry_journal(&mut self) {
        let Some(mut journal) = self.journal.take() else {
            self.retry_at = None;
            return;
        };
        let flush = move || {
            let written = journal.flush();
            (journal, written)
        };
        if let Ok((journal, written)) = tokio::task::spawn_blocking(flush).await {
            self.journal = Some(journal);
            match written {
                Ok(()) => self.journal_well().await,
                Err(_) => self.journal_behind().await,
            }
        }
    }

    /// Hands a durable record to the session's link, which the first one starts.
    fn send(&mut self, record: &Record) {
        let message = wire::message(record);
        match &self.outbox {
            Some(outbox) => outbox.push(message),
            None => {
                let outbox = Arc::new(Outbox::new(record.session, vec![message]));
                self.outbox = Some(Arc::clone(&outbox));
                self.link(outbox);
            }
        }
    }

    fn link(&mut self, outbox: Arc<Outbox>) {
        let service = self.shared.service.clone();
        self.tasks.spawn(link::run(service, outbox, self.link_sender.clone(), self.shared.config.limits));
    }

    async fn forget(&mut self, session: SessionId) {
        self.outbox = None;
        self.retry_at = None;
        let Some(journal) = self.journal.take() else { return };
        let removed = tokio::task::spawn_blocking(move || journal.remove()).await;
        if !matches!(removed, Ok(Ok(()))) {
            tracing::warn!(%session, "a journal that is final could not be deleted; it will be told once more");
        }
    }

    async fn command(&mut self, command: Command) {
        let within = Duration::from_millis(self.shared.config.limits.hardware_within_ms);
        if !matches!(tokio::time::timeout(within, self.hardware.act(command)).await, Ok(Ok(()))) {
            tracing::error!("the fridge's hardware does not obey");
        }
    }
}

async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
