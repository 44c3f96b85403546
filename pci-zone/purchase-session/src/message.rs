//! What a fridge says and what it is answered, in our own types: parsed once in `rpc::wire`, used in `drive`.

use pci_contract::{Gtin, IdTokenDigest, MealId, Money, ReasonCode, ScannedCode, SealedCard, SessionId, Timestamp};
use pci_session::{AlarmKind, Receipt, TouchKind};
use thiserror::Error;

/// A field that cannot be what it should be. The text names it and never repeats its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{field}: {what}")]
pub struct BadField {
    /// Which field.
    pub field: &'static str,
    /// What it should be.
    pub what: &'static str,
}

/// Why what came over a fridge's stream is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unread {
    /// One of its fields is wrong.
    #[error(transparent)]
    Field(BadField),
    /// It has too many bytes.
    #[error("a message is longer than allowed")]
    TooLong,
    /// Its bytes are none of the protocol's, or the stream broke while they came.
    #[error("a message cannot be read")]
    Unreadable,
}

/// One numbered message of a fridge.
#[derive(Debug)]
pub struct FridgeMessage {
    /// Which session it is about.
    pub session: SessionId,
    /// Its number, from 1.
    pub sequence: u64,
    /// The fridge's own clock; noted, never trusted.
    pub device_time: Timestamp,
    /// What it says.
    pub body: FridgeBody,
}

/// What a fridge can say.
#[derive(Debug)]
pub enum FridgeBody {
    /// A customer is here.
    Open(ShownBy),
    /// The door was opened.
    DoorOpened,
    /// A meal was touched.
    Touch {
        /// Taken or returned.
        kind: TouchKind,
        /// What the scanner read.
        code: ScannedCode,
    },
    /// The door is shut and locked.
    DoorClosed,
    /// The door was locked again unopened.
    DoorStayedShut,
}

/// How a customer made himself known.
#[derive(Debug)]
pub enum ShownBy {
    /// By a card, sealed by the fridge.
    Card(SealedCard),
    /// By card data that cannot be a sealed card.
    UnreadableCard,
    /// By an ID token.
    IdToken(IdTokenDigest),
}

/// One answer to a fridge.
#[derive(Debug)]
pub struct ServiceMessage {
    /// Which session it is about.
    pub session: SessionId,
    /// Every message up to this number is safe.
    pub acknowledged: u64,
    /// What to do; nothing for a bare acknowledgement.
    pub body: Option<Answer>,
}

/// What a fridge can be told.
#[derive(Debug)]
pub enum Answer {
    /// Unlock the door.
    Unlock(Box<Unlock>),
    /// Keep the door shut. Final.
    Refused(ReasonCode),
    /// Sound the alarm.
    Alarm {
        /// For which meal.
        barcode: MealId,
        /// Why.
        kind: AlarmKind,
    },
    /// Silence the alarm for a meal.
    AlarmCleared(MealId),
    /// The basket exceeds what could be authorized.
    LimitReached(Money),
    /// A message is missing.
    ResendFrom(u64),
    /// The door has been open for too long.
    SoundDoor,
    /// The session has ended. Final.
    Receipt(Box<Receipt>, Vec<ReceiptLine>),
    /// A close that belongs to no session. Final.
    UnknownSession,
}

impl Answer {
    /// Whether the stream ends after this answer.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Receipt(..) | Self::UnknownSession)
    }
}

/// What the fridge shows when it unlocks.
#[derive(Debug)]
pub struct Unlock {
    /// What was authorized.
    pub hold: Money,
    /// The credit this purchase may use.
    pub credit: Money,
    /// The customer's own meals in this fridge.
    pub own_meals: Vec<OwnMeal>,
    /// The prices that hold for this session.
    pub prices: Vec<Price>,
    /// Lock again after so many seconds unopened.
    pub open_within_s: u32,
    /// Sound after so many seconds open.
    pub open_limit_s: u32,
}

/// A subscription meal that waits for its owner.
#[derive(Debug)]
pub struct OwnMeal {
    /// Its barcode.
    pub barcode: MealId,
    /// What it is.
    pub name: String,
    /// Its vivid sign.
    pub sign: String,
    /// Whether it is paid for.
    pub prepaid: bool,
}

/// The price of a meal type.
#[derive(Debug)]
pub struct Price {
    /// Which type.
    pub gtin: Gtin,
    /// What it is.
    pub name: String,
    /// What it costs.
    pub price: Money,
}

/// One line of a receipt.
#[derive(Debug)]
pub struct ReceiptLine {
    /// Which meal.
    pub barcode: MealId,
    /// What it is.
    pub name: String,
    /// What was due for it.
    pub price: Money,
}
