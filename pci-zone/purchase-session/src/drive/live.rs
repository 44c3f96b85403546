//! One task a session: it takes what the fridge says and what the processor answers, lets the pure machine decide, and
//! carries out what comes back.
//!
//! Order is what matters here. An alarm goes out at once, before anything is written. Everything else that others rely
//! on (unlock, receipt, a call to the processor, an acknowledgement) waits until the state that justifies it is on disk.
//! At most one commit of a session is under way; what happens meanwhile goes together into the next one. When a commit
//! fails the task ends: the disk holds the truth, and the fridge comes back with its journal.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pci_contract::{FridgeId, Money, SessionId, Timestamp};
use pci_processors::AuthorizationRef;
use pci_session::{Input, Session};
use pci_store::{CommitError, Contradiction};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::Drive;
use super::calls::{Authorized, Incremented, Means};
use super::outgoing::{After, Outgoing};
use super::steps::Found;
use super::told::Told;
use crate::clock;
use crate::message::{Answer, FridgeMessage, ServiceMessage, Unread};

/// What a stream of answers ends with when it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Something here failed; come back with the journal.
    Fault,
    /// Another connection speaks for this session now.
    Superseded,
    /// The fridge broke the protocol.
    Protocol(&'static str),
    /// What the fridge said is no message.
    Unread(Unread),
    /// This session belongs to another fridge.
    AnotherFridge,
}

impl From<Closed> for Status {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Fault => Self::unavailable("cannot go on now; come back with the journal"),
            Closed::Superseded => Self::aborted("another connection speaks for this session"),
            Closed::Protocol(what) => Self::invalid_argument(what),
            Closed::Unread(why) => Self::invalid_argument(why.to_string()),
            Closed::AnotherFridge => Self::permission_denied("this session belongs to another fridge"),
        }
    }
}

/// What a fridge sends, parsed.
pub type Inbound = Pin<Box<dyn Stream<Item = Result<FridgeMessage, Unread>> + Send>>;
/// Where its answers go.
pub(super) type AnswerSender = mpsc::Sender<Result<ServiceMessage, Closed>>;

/// Something for a session's task.
pub(super) enum Turn {
    /// Its fridge is on the line.
    Attach(Box<Attachment>),
    /// Its fridge has begun another session, or nobody drives it any more; end it, and say so once that is on disk.
    Abandon(oneshot::Sender<()>),
    /// The processor has said something; say so once it is on disk.
    Told(Box<Told>, oneshot::Sender<()>),
}

/// A fridge on the line.
pub(super) struct Attachment {
    pub(super) first: FridgeMessage,
    pub(super) inbound: Inbound,
    pub(super) answers: AnswerSender,
}

/// The line to the fridge, while there is one.
struct Line {
    since: Timestamp,
    inbound: Option<Inbound>,
    answers: AnswerSender,
}

/// A call to the processor has ended.
pub(super) enum Called {
    Authorized(Box<Authorized>),
    Incremented(Money, Incremented),
}

/// A session at work.
pub(super) struct Live {
    pub(super) drive: Arc<Drive>,
    pub(super) id: SessionId,
    pub(super) fridge: FridgeId,
    /// None before the session is admitted or found.
    pub(super) session: Option<Session>,
    pub(super) fence: u64,
    pub(super) authorization: Option<AuthorizationRef>,
    /// The last message whose effects are on disk.
    pub(super) safe: u64,
    /// What pays, until the processor is asked.
    pub(super) means: Option<Means>,
    /// An earlier run of this service may have asked for the hold already.
    pub(super) asked_before: bool,
    pub(super) outgoing: Outgoing,
    pub(super) calls: JoinSet<Called>,
    /// When the message came that the fridge now waits for an answer to.
    pub(super) asked_at: Instant,
    line: Option<Line>,
    committing: Option<Committing>,
    failed: bool,
}

type Commit = Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>>;

struct Committing {
    commit: Commit,
    after: VecDeque<After>,
    safe: u64,
}

/// What woke the task.
enum Woken {
    Turn(Turn),
    Message(Option<Result<FridgeMessage, Unread>>),
    LineGone,
    Called(Called),
    Committed(Result<(), CommitError>),
    Timer(Input),
}

impl Live {
    pub(super) fn new(drive: Arc<Drive>, id: SessionId, fridge: FridgeId) -> Self {
        Self {
            drive,
            id,
            fridge,
            session: None,
            fence: 0,
            authorization: None,
            safe: 0,
            means: None,
            asked_before: false,
            outgoing: Outgoing::default(),
            calls: JoinSet::new(),
            asked_at: Instant::now(),
            line: None,
            committing: None,
            failed: false,
        }
    }

    /// Runs until nothing is left to do for the session here.
    pub(super) async fn run(mut self, mut turns: mpsc::Receiver<Turn>) {
        loop {
            self.start_commit();
            if self.failed {
                self.give_up(&mut turns).await;
                return;
            }
            if self.is_idle() {
                match self.drive.registry.leave(self.id, &self.fridge, &mut turns) {
                    None => return,
                    Some(turn) => self.turn(turn).await,
                }
                continue;
            }
            match self.wait(&mut turns).await {
                Woken::Turn(turn) => self.turn(turn).await,
                Woken::Message(Some(Ok(message))) => self.message(message).await,
                Woken::Message(Some(Err(unread))) => {
                    tracing::info!(session = %self.id, why = %unread, "the fridge's stream broke");
                    self.end_line(Some(Closed::Unread(unread))).await;
                }
                Woken::Message(None) => self.half_close(),
                Woken::LineGone => self.end_line(None).await,
                Woken::Called(called) => self.called(called).await,
                Woken::Committed(result) => self.committed(result).await,
                Woken::Timer(input) => self.input(input).await,
            }
        }
    }

    async fn wait(&mut self, turns: &mut mpsc::Receiver<Turn>) -> Woken {
        let timer = self.timer();
        let Self { line, calls, committing, .. } = self;
        let (inbound, answers) = match line {
            Some(line) => (line.inbound.as_mut(), Some(&line.answers)),
            None => (None, None),
        };
        tokio::select! {
            Some(turn) = turns.recv() => Woken::Turn(turn),
            message = next(inbound) => Woken::Message(message),
            () = gone(answers) => Woken::LineGone,
            Some(Ok(called)) = calls.join_next(), if !calls.is_empty() => Woken::Called(called),
            result = committed(committing.as_mut()) => Woken::Committed(result),
            input = fires(timer) => Woken::Timer(input),
        }
    }

    fn is_idle(&self) -> bool {
        self.line.is_none() && self.calls.is_empty() && self.committing.is_none() && self.outgoing.is_empty()
    }

    /// Whether the processor is being asked for the hold, or will be once the commit under way has ended.
    pub(super) fn is_asking(&self) -> bool {
        let waits =
            |committing: &Committing| committing.after.iter().any(|after| matches!(after, After::Authorize(..)));
        !self.calls.is_empty() || self.committing.as_ref().is_some_and(waits)
    }

    async fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Attach(attachment) => self.attach(*attachment).await,
            Turn::Told(told, booked) => self.told(*told, booked).await,
            Turn::Abandon(ended) => {
                self.end_line(Some(Closed::Superseded)).await;
                match self.find().await {
                    Found::Here => self.input(Input::Abandoned).await,
                    Found::Nowhere => self.drive.registry.release(&self.fridge, self.id),
                    Found::Fault => return self.fail(),
                }
                self.outgoing.after.push_back(After::OnDisk(ended));
            }
        }
    }

    async fn attach(&mut self, attachment: Attachment) {
        self.end_line(Some(Closed::Superseded)).await;
        let since = clock::now();
        self.line = Some(Line { since, inbound: Some(attachment.inbound), answers: attachment.answers });
        self.drive.registry.set_attached(self.id, &self.fridge, true);
        self.message(attachment.first).await;
    }

    /// The fridge has said all it has to say, and may still read.
    fn half_close(&mut self) {
        if let Some(line) = &mut self.line {
            line.inbound = None;
        }
        let waits = !self.calls.is_empty() || self.committing.is_some() || !self.outgoing.is_empty();
        if !waits {
            self.line = None;
            self.drive.registry.set_attached(self.id, &self.fridge, false);
        }
    }

    /// Whether its fridge is on the line.
    pub(super) const fn is_attached(&self) -> bool {
        self.line.is_some()
    }

    /// Hangs up, with `closed` as the last word when there is one.
    pub(super) async fn end_line(&mut self, closed: Option<Closed>) {
        if let Some(line) = self.line.take() {
            self.drive.registry.set_attached(self.id, &self.fridge, false);
            if let Some(closed) = closed {
                let bound = Duration::from_secs(self.drive.limits.slow_reader_s);
                let _ = tokio::time::timeout(bound, line.answers.send(Err(closed))).await;
            }
        }
    }

    /// Answers the fridge, if it is on the line. A fridge that does not read within the bound is hung up on.
    pub(super) async fn answer(&mut self, body: Option<Answer>) {
        let Some(line) = &self.line else { return };
        let ends = body.as_ref().is_some_and(Answer::is_final);
        let message = ServiceMessage { session: self.id, acknowledged: self.safe, body };
        let bound = Duration::from_secs(self.drive.limits.slow_reader_s);
        let sent = tokio::time::timeout(bound, line.answers.send(Ok(message))).await;
        if ends || !matches!(sent, Ok(Ok(()))) {
            self.end_line(None).await;
        }
    }

    fn start_commit(&mut self) {
        if self.committing.is_some() || self.failed {
            return;
        }
        let Some((batch, after)) = self.outgoing.take(self.session.as_ref(), self.fence, clock::now()) else { return };
        let store = Arc::clone(&self.drive.store);
        let safe = self.session.as_ref().map_or(0, Session::received);
        let commit: Commit = Box::pin(async move {
            match batch {
                Some(batch) => store.commit(batch).await,
                None => Ok(()),
            }
        });
        self.committing = Some(Committing { commit, after, safe });
    }

    async fn committed(&mut self, result: Result<(), CommitError>) {
        let Some(done) = self.committing.take() else { return };
        if let Err(error) = result {
            tracing::error!(session = %self.id, %error, "the session's state could not be written");
            self.drive.leases.forget(&self.fridge, self.fence).await;
            if matches!(error, CommitError::Conflict(Contradiction::FridgeBusy)) {
                self.learn_open_session().await;
            }
            return self.fail();
        }
        let progressed = done.safe > self.safe;
        self.safe = done.safe;
        let mut answered = false;
        for after in done.after {
            answered |= self.after(after).await;
        }
        if progressed && !answered {
            self.answer(None).await;
        }
    }

    /// The timer that runs while the fridge is on the line; without it, nobody knows what the door does.
    fn timer(&self) -> Option<(Instant, Input)> {
        let line = self.line.as_ref()?;
        let (at, input) = self.session.as_ref()?.timer(line.since)?;
        let micros = u64::try_from(at.micros_since(clock::now())).unwrap_or(0);
        Some((Instant::now() + Duration::from_micros(micros), input))
    }

    /// Gives the task up at its next turn: what it has in memory cannot be relied on.
    pub(super) const fn fail(&mut self) {
        self.failed = true;
    }

    /// The disk knows a session of this fridge that memory does not: note it, so that it is ended when the fridge
    /// comes back.
    async fn learn_open_session(&mut self) {
        match self.drive.store.open_session_of(&self.fridge).await {
            Ok(Some(open)) => self.drive.registry.is_open(&self.fridge, open.session.id()),
            Ok(None) => {}
            Err(error) => tracing::error!(fridge = %self.fridge, %error, "its open session could not be read"),
        }
    }

    /// Ends after a failed commit: what is in memory is not true any more. A session of which nothing is on disk has
    /// never been: it keeps neither the fridge nor credit.
    async fn give_up(&mut self, turns: &mut mpsc::Receiver<Turn>) {
        if self.session.is_some() && self.safe == 0 {
            self.drive.registry.release(&self.fridge, self.id);
            self.drive.reference.release_credit(self.id);
        }
        self.end_line(Some(Closed::Fault)).await;
        while let Some(turn) = self.drive.registry.leave(self.id, &self.fridge, turns) {
            if let Turn::Attach(attachment) = turn {
                let _ = attachment.answers.try_send(Err(Closed::Fault));
            }
        }
    }
}

async fn next(inbound: Option<&mut Inbound>) -> Option<Result<FridgeMessage, Unread>> {
    match inbound {
        Some(inbound) => inbound.next().await,
        None => pending().await,
    }
}

async fn gone(answers: Option<&AnswerSender>) {
    match answers {
        Some(answers) => answers.closed().await,
        None => pending().await,
    }
}

async fn committed(committing: Option<&mut Committing>) -> Result<(), CommitError> {
    match committing {
        Some(committing) => committing.commit.as_mut().await,
        None => pending().await,
    }
}

async fn fires(timer: Option<(Instant, Input)>) -> Input {
    match timer {
        Some((at, input)) => {
            tokio::time::sleep_until(at).await;
            input
        }
        None => pending().await,
    }
}
