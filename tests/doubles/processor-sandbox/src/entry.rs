//! What the books are made of: one entry for each thing that happened, and the answer it was given.
//!
//! Entries hold decisions, not requests, so that reading them back never decides anew. None holds a card number.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A line of the books.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Line {
    /// The first line: the salt of all digests in these books, in letters.
    Salt(String),
    /// From now on this card is declined for this reason, or no longer.
    Decline { card: Digest, reason: Option<String> },
    /// From now on this card holds at most so much, in minor units, or any amount.
    Limit { card: Digest, most_minor: Option<i64> },
    /// A request was decided.
    Entry(Entry),
}

/// A decided request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its idempotency key and body, when it had a key.
    pub(crate) asked: Option<Asked>,
    /// What was decided.
    pub(crate) act: Act,
}

/// How a repeat is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) key: Digest,
    pub(crate) body: Digest,
}

/// What was decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    /// A card was kept.
    Stored(Method),
    /// A hold was placed, or declined for a reason.
    Authorized { method: u32, session: Option<Digest>, terms: Terms, declined: Option<String> },
    /// A hold was raised, or not for a reason.
    Raised { intent: u32, to: i64, declined: Option<String> },
    /// A hold was taken in part or wholly.
    Captured { intent: u32, amount: i64 },
    /// A hold was let go.
    Voided { intent: u32 },
    /// Money was given back.
    Refunded { intent: u32, amount: i64 },
    /// Refused, for a reason a repeat must be told again.
    Refused(Refusal),
}

/// A card as it is kept: by digest, with no more of its number than the last four digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) card: Digest,
    pub(crate) brand: Brand,
    pub(crate) last4: String,
    pub(crate) exp_month: u8,
    pub(crate) exp_year: u16,
    pub(crate) created: i64,
}

/// The terms of a payment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) amount: i64,
    /// Lowercase.
    pub(crate) currency: String,
    /// A JSON object.
    pub(crate) metadata: Box<str>,
    pub(crate) created: i64,
}

/// A card's brand, as Stripe spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Brand {
    Visa,
    Mastercard,
    Amex,
    Discover,
    Diners,
    Jcb,
    Unionpay,
    Unknown,
}

impl Brand {
    pub(crate) fn of(number: &str) -> Self {
        let first = |digits: usize| number.get(..digits).and_then(|head| head.parse::<u32>().ok()).unwrap_or(0);
        match (first(1), first(2), first(4)) {
            (4, ..) => Self::Visa,
            (_, 51..=55, _) | (_, _, 2221..=2720) => Self::Mastercard,
            (_, 34 | 37, _) => Self::Amex,
            (_, 62, _) => Self::Unionpay,
            (_, 60 | 64 | 65, _) => Self::Discover,
            (_, 30 | 36 | 38 | 39, _) => Self::Diners,
            (_, 35, _) => Self::Jcb,
            _ => Self::Unknown,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "visa",
            Self::Mastercard => "mastercard",
            Self::Amex => "amex",
            Self::Discover => "discover",
            Self::Diners => "diners",
            Self::Jcb => "jcb",
            Self::Unionpay => "unionpay",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a PaymentIntent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Its charge was declined; it holds nothing.
    RequiresPaymentMethod,
    /// The hold stands.
    RequiresCapture,
    /// The hold was taken.
    Succeeded,
    /// The hold was let go.
    Canceled,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// A refusal that a repeat with the same key is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The card number fails its check digit.
    IncorrectNumber,
    /// The card has expired.
    ExpiredCard,
    /// The payment is not in a state that allows this.
    UnexpectedState(Status),
    /// More than is held, or more than was taken.
    AmountTooLarge,
    /// A hold can only be raised.
    AmountTooSmall,
    /// All that was taken has been given back.
    AlreadyRefunded,
}

/// The answer a request was given, as small as can be: a million are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Method(u32),
    Intent { intent: u32, status: Status, amount: i64, received: i64 },
    Refund(u32),
    Declined { intent: u32, reason: u32 },
    Refused(Refusal),
}
