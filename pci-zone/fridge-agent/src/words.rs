//! The words of a session: what a fridge tells (records) and what it is told (answers).
//!
//! They mirror the protocol but hold checked values, so that whoever gets one need not doubt it. A record is the one
//! thing that is journaled and sent; no field of it can hold a card number: a card is sealed, a barcode is parsed.

use pci_contract::{Money, ReasonCode, ScannedCode, SealedCard, SessionId, TamperKind, Timestamp};
use uuid::Uuid;

/// A moment: even time for deadlines, the wall clock for the record only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the agent started.
    pub elapsed_ms: u64,
    /// The fridge's wall clock, which may be wrong.
    pub wall: Timestamp,
}

/// Which way a meal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TouchKind {
    /// Out of the fridge.
    Taken,
    /// Back into it.
    Returned,
}

/// An ID token's text: 1 to 128 bytes without control characters, and not a card number.
#[derive(Clone, PartialEq, Eq)]
pub struct IdToken(String);

impl IdToken {
    /// The longest text.
    pub const MAX_BYTES: usize = 128;

    /// Checks a text; `None` when it cannot be an ID token. A reader will give a card's number as readily as a token,
    /// and a card number may not be journaled; so what could be one is not taken for a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        let is_card = pci_card::Pan::parse(text).is_ok() || pci_card::Track2::parse(text.as_bytes()).is_ok();
        (fits && !is_card).then(|| Self(text.to_owned()))
    }

    /// The text, for the message that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for IdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdToken(…)")
    }
}

/// How a customer showed who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownBy {
    /// By a card, sealed.
    Card(SealedCard),
    /// By an ID token.
    IdToken(IdToken),
}

/// What a fridge tells of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A customer is here.
    Open(ShownBy),
    /// The door went open.
    DoorOpened,
    /// A meal was moved.
    Touched {
        /// Which way.
        kind: TouchKind,
        /// Which meal.
        code: ScannedCode,
    },
    /// The door went shut.
    DoorClosed,
    /// The door was locked again without having been opened.
    DoorStayedShut,
}

impl Body {
    /// Whether the session's customer can do no more after it.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        matches!(self, Self::DoorClosed | Self::DoorStayedShut)
    }
}

/// One numbered message of a session, as it is journaled and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of which session.
    pub session: SessionId,
    /// 1 for Open, then one more for each.
    pub sequence: u64,
    /// The fridge's clock.
    pub device_time: Timestamp,
    /// What happened.
    pub body: Body,
}

/// What a fridge noticed outside any session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TamperNote {
    /// Made once; a repeat carries the same.
    pub report: Uuid,
    /// What happened.
    pub kind: TamperKind,
    /// The meal that moved, if one did.
    pub code: Option<ScannedCode>,
    /// The fridge's clock.
    pub device_time: Timestamp,
}

/// The door may be unlocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlock {
    /// The amount held on the card.
    pub hold: Option<Money>,
    /// The credit this purchase may use.
    pub credit: Option<Money>,
    /// The customer's own meals in this fridge.
    pub own_meals: Vec<OwnMeal>,
    /// The prices in this fridge.
    pub prices: Vec<Price>,
    /// Lock again after so many seconds if the door was not opened.
    pub open_within_s: u32,
    /// Sound after the door has been open for so many seconds.
    pub open_limit_s: u32,
}

/// One of the customer's own meals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMeal {
    /// Which meal.
    pub code: ScannedCode,
    /// Its name.
    pub name: String,
    /// The vivid sign on it.
    pub sign: String,
    /// Whether it is paid for.
    pub prepaid: bool,
}

/// The price of a meal type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Its GTIN.
    pub gtin: String,
    /// Its name.
    pub name: String,
    /// What one costs.
    pub price: Option<Money>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// `charged`, `free`, `no_purchase`, `abandoned` or `unknown_session`.
    pub outcome: String,
    /// Charged to the card.
    pub charged: Option<Money>,
    /// Paid by credit.
    pub credit_used: Option<Money>,
    /// Owed beyond what could be authorized.
    pub unpaid: Option<Money>,
    /// The meals kept.
    pub lines: Vec<ReceiptLine>,
}

/// One meal of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptLine {
    /// Which meal.
    pub code: ScannedCode,
    /// Its name.
    pub name: String,
    /// Its price.
    pub price: Option<Money>,
}

/// Why an alarm is given for a meal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// It belongs to someone else.
    NotYours,
    /// It is expired or was too warm.
    NotSellable,
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Unlock the door.
    Unlock(Unlock),
    /// Keep it shut. Final.
    Refused(ReasonCode),
    /// Sound the alarm.
    Alarm {
        /// What is wrong.
        kind: AlarmKind,
        /// With which meal.
        code: ScannedCode,
    },
    /// The meal was put back.
    AlarmCleared {
        /// Which meal.
        code: ScannedCode,
    },
    /// The basket is worth more than could be authorized.
    LimitReached {
        /// How much could be.
        limit: Option<Money>,
    },
    /// The door has been open for too long.
    SoundDoor,
    /// The session has ended. Final.
    Receipt(Receipt),
}

impl Answer {
    /// Whether the session ends with it and its journal may go.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Receipt(_))
    }
}
