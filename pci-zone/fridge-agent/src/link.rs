//! Keeps the stream of one session up: opens it, sends the whole journal from number 1, then each new message, and
//! opens it again when it breaks, until the service's last word.
//!
//! Only durable messages come here, so a stream may be cut at any point and nothing is lost by opening the next. What
//! the answers mean is the machine's. Everything is bounded: messages on the way, waits for an owed answer, resends a
//! stream, and the pause between two streams.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pci_contract::SessionId;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::backoff::Backoff;
use crate::clock;
use crate::config::Limits;
use crate::proto::{FridgeMessage, ServiceMessage, fridge_message};
use crate::service::{Failure, Service};
use crate::wire::{Heard, heard};
use crate::words::Answer;

/// The most messages between us and the network.
const ON_THE_WAY: usize = 16;
/// The most times a service may ask one stream to send again.
const MAX_RESENDS: u32 = 64;
/// How long the service may take to end a stream after its last word.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a link tells the driver.
#[derive(Debug)]
pub(crate) struct LinkEvent {
    pub(crate) session: SessionId,
    pub(crate) kind: LinkEventKind,
}

#[derive(Debug)]
pub(crate) enum LinkEventKind {
    Connected,
    Answered { acknowledged: u64, answer: Option<Answer> },
    Broken(Failure),
}

/// The durable messages of one session, shared by the driver, which adds, and the link, which sends.
pub(crate) struct Outbox {
    session: SessionId,
    messages: Mutex<Vec<FridgeMessage>>,
    more: Notify,
}

impl Outbox {
    /// An outbox that begins with the messages of a journal.
    pub(crate) fn new(session: SessionId, messages: Vec<FridgeMessage>) -> Self {
        Self { session, messages: Mutex::new(messages), more: Notify::new() }
    }

    /// One more message, which is durable.
    pub(crate) fn push(&self, message: FridgeMessage) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.more.notify_one();
    }

    fn at(&self, index: usize) -> Option<FridgeMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    /// The index of the first message numbered `sequence` or more.
    fn index_of(&self, sequence: u64) -> usize {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.partition_point(|message| message.sequence < sequence)
    }
}

/// Why a stream ended.
enum Ended {
    /// With the service's last word.
    Final,
    /// Without it.
    Broken(Failure),
    /// The driver is gone.
    Abandoned,
}

/// Keeps the session's stream up until its last word.
pub(crate) async fn run(service: Service, outbox: Arc<Outbox>, events: mpsc::Sender<LinkEvent>, limits: Limits) {
    let mut backoff = Backoff::default();
    loop {
        let mut stream = Stream { outbox: &outbox, events: &events, limits: &limits, heard_any: false };
        let failure = match stream.run(&service).await {
            Ended::Final | Ended::Abandoned => return,
            Ended::Broken(failure) => failure,
        };
        if stream.heard_any {
            backoff.reset();
        }
        if stream.tell(LinkEventKind::Broken(failure)).await.is_err() {
            return;
        }
        let pause = match failure {
            Failure::Unreachable => backoff.next(clock::chance()),
            Failure::Superseded | Failure::Rejected => backoff.longest(clock::chance()),
        };
        tokio::time::sleep(pause).await;
    }
}

struct Stream<'a> {
    outbox: &'a Outbox,
    events: &'a mpsc::Sender<LinkEvent>,
    limits: &'a Limits,
    heard_any: bool,
}

impl Stream<'_> {
    async fn run(&mut self, service: &Service) -> Ended {
        let (sender, receiver) = mpsc::channel(ON_THE_WAY);
        let mut cursor = Cursor { index: 0, owed_since: None, ending: false };
        // The first messages go in before the call, for a service that reads before it answers at all.
        while let Some(message) = self.outbox.at(cursor.index) {
            let owes = owes_answer(&message);
            if sender.try_send(message).is_err() {
                break;
            }
            cursor.sent(owes);
        }
        let mut client = service.client();
        let call = client.purchase(ReceiverStream::new(receiver));
        let call_within = Duration::from_millis(self.limits.call_within_ms);
        let mut answers = match tokio::time::timeout(call_within, call).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return broken(&status),
            Err(_) => return Ended::Broken(Failure::Unreachable),
        };
        if self.tell(LinkEventKind::Connected).await.is_err() {
            return Ended::Abandoned;
        }
        self.converse(cursor, sender, &mut answers).await
    }

    async fn converse(
        &mut self,
        mut cursor: Cursor,
        sender: mpsc::Sender<FridgeMessage>,
        answers: &mut tonic::Streaming<ServiceMessage>,
    ) -> Ended {
        let silence = Duration::from_millis(self.limits.silence_ms);
        let mut resends = 0;
        loop {
            let next = self.outbox.at(cursor.index);
            let owed_until = cursor.owed_since.map(|since| since + silence);
            let answer = tokio::select! {
                answer = answers.message() => answer,
                Ok(permit) = sender.reserve(), if next.is_some() => {
                    if let Some(message) = next {
                        let owes = owes_answer(&message);
                        permit.send(message);
                        cursor.sent(owes);
                    }
                    continue;
                }
                () = self.outbox.more.notified(), if next.is_none() => continue,
                () = until(owed_until) => {
                    tracing::warn!(session = %self.outbox.session, "the service owes an answer and is silent");
                    return Ended::Broken(Failure::Unreachable);
                }
            };
            let message = match answer {
                Ok(Some(message)) => message,
                Ok(None) => return Ended::Broken(Failure::Unreachable),
                Err(status) => return broken(&status),
            };
            cursor.heard();
            match self.hear(message).await {
                Ok(Next::Go) => {}
                Ok(Next::Admitted) => cursor.admitted(),
                Ok(Next::ResendFrom(sequence)) if resends < MAX_RESENDS => {
                    resends += 1;
                    cursor.index = self.outbox.index_of(sequence);
                }
                Ok(Next::ResendFrom(_)) => return Ended::Broken(Failure::Rejected),
                Ok(Next::Final) => {
                    drop(sender);
                    let rest = async { while let Ok(Some(_)) = answers.message().await {} };
                    let _ = tokio::time::timeout(FAREWELL, rest).await;
                    return Ended::Final;
                }
                Err(ended) => return ended,
            }
        }
    }

    async fn hear(&mut self, message: ServiceMessage) -> Result<Next, Ended> {
        if message.session_id != self.outbox.session.to_string() {
            return Err(Ended::Broken(Failure::Rejected));
        }
        let heard = heard(message.body).map_err(|why| {
            tracing::error!(session = %self.outbox.session, %why, "the service does not keep the protocol");
            Ended::Broken(Failure::Rejected)
        })?;
        self.heard_any = true;
        let answer = match heard {
            Heard::ResendFrom(sequence) => return Ok(Next::ResendFrom(sequence)),
            Heard::Answer(answer) => answer,
        };
        let is_final = answer.as_ref().is_some_and(Answer::is_final);
        let is_unlock = matches!(answer, Some(Answer::Unlock(_)));
        self.tell(LinkEventKind::Answered { acknowledged: message.acknowledged, answer })
            .await
            .map_err(|_| Ended::Abandoned)?;
        Ok(match (is_final, is_unlock) {
            (true, _) => Next::Final,
            (false, true) => Next::Admitted,
            (false, false) => Next::Go,
        })
    }

    async fn tell(&self, kind: LinkEventKind) -> Result<(), mpsc::error::SendError<LinkEvent>> {
        self.events.send(LinkEvent { session: self.outbox.session, kind }).await
    }
}

enum Next {
    Go,
    Admitted,
    ResendFrom(u64),
    Final,
}

/// How far a stream has sent, and since when the service owes it an answer.
struct Cursor {
    index: usize,
    owed_since: Option<Instant>,
    /// Whether the customer's last message is out: then only the service's last word settles what it owes.
    ending: bool,
}

impl Cursor {
    fn sent(&mut self, owes: bool) {
        self.ending = owes && self.index > 0;
        self.index = self.index.saturating_add(1);
        self.owed_since = owes.then(Instant::now);
    }

    fn heard(&mut self) {
        self.owed_since = self.owed_since.map(|_| Instant::now());
    }

    fn admitted(&mut self) {
        if !self.ending {
            self.owed_since = None;
        }
    }
}

/// The first message and the last are never left without an answer; a touch may be.
fn owes_answer(message: &FridgeMessage) -> bool {
    use fridge_message::Body;
    matches!(message.body, Some(Body::Open(_) | Body::DoorClosed(_) | Body::DoorStayedShut(_)))
}

fn broken(status: &tonic::Status) -> Ended {
    tracing::debug!(code = ?status.code(), "a purchase stream broke");
    Ended::Broken(Failure::from(status))
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
