//! What a fridge says in one session, numbered as it is said, so that all of it can be said again.

use fridge_agent::proto::fridge_message::Body;
use fridge_agent::proto::{
    DoorClosed, DoorOpened, DoorStayedShut, FridgeMessage, Open, SealedCard, Touch, open, touch,
};
use uuid::Uuid;

/// A session id that nobody has used.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the tests' one source of ids")]
pub fn new_session() -> String {
    Uuid::now_v7().hyphenated().to_string()
}

/// The time of now, in microseconds since the Unix epoch, to the millisecond.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the tests' one clock")]
pub fn now_us() -> i64 {
    let (seconds, nanos) = Uuid::now_v7().get_timestamp().map_or((0, 0), |at| at.to_unix());
    i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1_000))
}

/// The messages of one session.
#[derive(Debug, Clone)]
pub struct Journal {
    session: String,
    clock_us: i64,
    messages: Vec<FridgeMessage>,
}

impl Journal {
    /// An empty journal of `session`.
    #[must_use]
    pub fn new(session: &str) -> Self {
        Self { session: session.to_owned(), clock_us: 0, messages: Vec::new() }
    }

    /// The fridge's clock stands at this for all that follows, in microseconds since the Unix epoch.
    #[must_use]
    pub fn at(mut self, clock_us: i64) -> Self {
        self.clock_us = clock_us;
        self
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Everything, from number 1.
    #[must_use]
    pub fn messages(&self) -> &[FridgeMessage] {
        &self.messages
    }

    /// The last number.
    #[must_use]
    pub fn last(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap_or(u64::MAX)
    }

    /// One more message, with the next number.
    pub fn add(&mut self, body: Body) -> FridgeMessage {
        let message = self.message(self.last().saturating_add(1), Some(body));
        self.messages.push(message.clone());
        message
    }

    /// A message of this session that is not put into the journal.
    #[must_use]
    pub fn message(&self, sequence: u64, body: Option<Body>) -> FridgeMessage {
        FridgeMessage { session_id: self.session.clone(), sequence, device_time_us: self.clock_us, body }
    }

    /// A customer is here, with a sealed card.
    pub fn open_card(&mut self, card: SealedCard) -> FridgeMessage {
        self.add(Body::Open(Open { shown_by: Some(open::ShownBy::Card(card)) }))
    }

    /// A customer is here, with an ID token.
    pub fn open_id_token(&mut self, id_token: &str) -> FridgeMessage {
        self.add(Body::Open(Open { shown_by: Some(open::ShownBy::IdToken(id_token.to_owned())) }))
    }

    /// The door was opened.
    pub fn door_opened(&mut self) -> FridgeMessage {
        self.add(Body::DoorOpened(DoorOpened {}))
    }

    /// A meal was taken.
    pub fn taken(&mut self, barcode: &str) -> FridgeMessage {
        self.add(touched(touch::Kind::Taken, barcode))
    }

    /// A meal was put back.
    pub fn returned(&mut self, barcode: &str) -> FridgeMessage {
        self.add(touched(touch::Kind::Returned, barcode))
    }

    /// The door is shut.
    pub fn door_closed(&mut self) -> FridgeMessage {
        self.add(Body::DoorClosed(DoorClosed {}))
    }

    /// The door was locked again unopened.
    pub fn door_stayed_shut(&mut self) -> FridgeMessage {
        self.add(Body::DoorStayedShut(DoorStayedShut {}))
    }
}

fn touched(kind: touch::Kind, barcode: &str) -> Body {
    Body::Touch(Touch { kind: kind.into(), barcode: barcode.to_owned() })
}
