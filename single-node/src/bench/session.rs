//! One purchase as a fridge speaks it, and the same words to whoever else is measured.
//!
//! Each message waits until the one before it is acknowledged. Customers are slower than disks, so in life every touch
//! is a write of its own; a client that sent all at once would let the service save writes it cannot save in life.

use std::time::Duration;

use fridge_agent::proto::{self, ServiceMessage, fridge_message, open, service_message, touch};
use pci_contract::{SealingContext, SealingKey, SessionId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zeroize::Zeroizing;

use super::fridges::{Client, Fridge};
use super::world;
use crate::Fault;

/// How long a whole session may take.
const SESSION_WITHIN: Duration = Duration::from_secs(60);
/// Cards that are shown: published test numbers, which no processor declines.
const CARDS: [&str; 6] = [
    "4242424242424242=3012",
    "4111111111111111=3012",
    "5555555555554444=3012",
    "378282246310005=3012",
    "6011111111111117=3012",
    "3530111333300000=3012",
];

/// The card of the `n`th customer, as a reader reads it.
pub(super) fn track2(n: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(CARDS.get(n % CARDS.len()).map_or_else(Vec::new, |card| card.as_bytes().to_vec()))
}

/// A purchase to be made: a card that was sealed before, and two meals.
#[derive(Clone)]
pub(super) struct Purchase {
    pub(super) session: SessionId,
    pub(super) shown: proto::SealedCard,
    pub(super) meals: [String; 2],
}

impl Purchase {
    /// The `n`th purchase at `fridge`.
    ///
    /// # Errors
    /// [`Fault`] when the key cannot be used.
    pub(super) fn seal(fridge: &Fridge, n: usize, key: &SealingKey) -> Result<Self, Fault> {
        let session = fridge_agent::clock::new_session_id();
        let context = SealingContext { fridge: fridge.id.clone(), session };
        let card = fridge_agent::seal(track2(fridge.number + n), &context, key).map_err(Fault::of("a card"))?;
        let meals = [2 * n, 2 * n + 1].map(|meal| world::meal(fridge.number, meal));
        Ok(Self { session, shown: (&card).into(), meals })
    }
}

/// How long the customer waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    /// From the card to the unlocked door.
    pub(super) open: Duration,
    /// From the shut door to the receipt.
    pub(super) close: Duration,
}

/// Makes a purchase from the card to the receipt.
///
/// # Errors
/// [`Fault`] when it ends otherwise.
pub(super) async fn purchase(client: &Client, purchase: Purchase) -> Result<Waited, Fault> {
    let session = purchase.session;
    let bought = async {
        let began = Instant::now();
        let (mut line, _) = Line::open(client, purchase.session, purchase.shown).await?;
        let open = began.elapsed();
        line.tell(fridge_message::Body::DoorOpened(proto::DoorOpened {})).await?;
        for barcode in purchase.meals {
            line.tell(touched(touch::Kind::Taken, &barcode)).await?;
        }
        let began = Instant::now();
        line.close().await?;
        Ok(Waited { open, close: began.elapsed() })
    };
    let late = |_| Fault::new(format!("session {session} did not end within {SESSION_WITHIN:?}"));
    tokio::time::timeout(SESSION_WITHIN, bought).await.map_err(late)?
}

/// A touch of a meal.
pub(super) fn touched(kind: touch::Kind, barcode: &str) -> fridge_message::Body {
    fridge_message::Body::Touch(proto::Touch { kind: kind.into(), barcode: barcode.to_owned() })
}

/// The stream of an open session.
pub(super) struct Line {
    session: String,
    sequence: u64,
    sender: mpsc::Sender<proto::FridgeMessage>,
    answers: Streaming<ServiceMessage>,
}

impl Line {
    /// Shows a card and waits until the door unlocks; the stream, and the answer that unlocked.
    ///
    /// # Errors
    /// [`Fault`] when it does not.
    pub(super) async fn open(
        client: &Client,
        session: SessionId,
        card: proto::SealedCard,
    ) -> Result<(Self, ServiceMessage), Fault> {
        let (sender, receiver) = mpsc::channel(4);
        let session = session.to_string();
        let first = proto::Open { shown_by: Some(open::ShownBy::Card(card)) };
        let first = message(&session, 1, fridge_message::Body::Open(first));
        sender.send(first).await.map_err(Fault::of("a purchase stream"))?;
        let call = client.clone().purchase(ReceiverStream::new(receiver)).await;
        let answers = call.map_err(Fault::of("a purchase stream"))?.into_inner();
        let mut line = Self { session, sequence: 1, sender, answers };
        let unlock = line.until(|body| matches!(body, Some(service_message::Body::Unlock(_)))).await?;
        Ok((line, unlock))
    }

    /// Says what happened and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`Fault`] when the stream ends.
    pub(super) async fn tell(&mut self, body: fridge_message::Body) -> Result<(), Fault> {
        self.say(body).await?;
        let sequence = self.sequence;
        loop {
            if self.next().await?.acknowledged >= sequence {
                return Ok(());
            }
        }
    }

    /// Says what happened.
    ///
    /// # Errors
    /// [`Fault`] when the stream has ended.
    pub(super) async fn say(&mut self, body: fridge_message::Body) -> Result<(), Fault> {
        self.sequence += 1;
        let message = message(&self.session, self.sequence, body);
        self.sender.send(message).await.map_err(Fault::of("a purchase stream"))
    }

    /// Waits for the answer that `wanted` says, skipping others.
    ///
    /// # Errors
    /// [`Fault`] when a refusal comes, or the stream ends.
    pub(super) async fn until(
        &mut self,
        wanted: impl Fn(&Option<service_message::Body>) -> bool,
    ) -> Result<ServiceMessage, Fault> {
        loop {
            let answer = self.next().await?;
            if wanted(&answer.body) {
                return Ok(answer);
            }
            if let Some(service_message::Body::Refused(refused)) = answer.body {
                return Err(Fault::new(format!("session {} was refused: {}", self.session, refused.reason)));
            }
        }
    }

    /// Waits until the stream has ended, however it does.
    pub(super) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.answers.message().await {}
    }

    /// Shuts the door, waits for the receipt and for the stream to end.
    ///
    /// # Errors
    /// [`Fault`] when no receipt comes.
    pub(super) async fn close(mut self) -> Result<ServiceMessage, Fault> {
        self.say(fridge_message::Body::DoorClosed(proto::DoorClosed {})).await?;
        let receipt = self.until(|body| matches!(body, Some(service_message::Body::Receipt(_)))).await?;
        while self.answers.message().await.map_err(Fault::of("a purchase stream"))?.is_some() {}
        Ok(receipt)
    }

    async fn next(&mut self) -> Result<ServiceMessage, Fault> {
        let answer = self.answers.message().await.map_err(Fault::of("a purchase stream"))?;
        answer.ok_or_else(|| Fault::new(format!("the stream of session {} ended early", self.session)))
    }
}

fn message(session: &str, sequence: u64, body: fridge_message::Body) -> proto::FridgeMessage {
    // What a fridge's clock says is noted and not judged.
    proto::FridgeMessage {
        session_id: session.to_owned(),
        sequence,
        device_time_us: 1_772_431_200_000_000,
        body: Some(body),
    }
}
