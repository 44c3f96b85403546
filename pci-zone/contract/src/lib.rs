//! The door of the PCI zone: the only crate of it that the rest of the house may import.
//!
//! It holds the words both sides of the wall use: ids, tokens, money, the events that go out and the reference rows
//! that come in. It is so small because it is read by everyone, and so strict because it is the one place where card
//! data could leak by accident: **no type here can hold a card number**. Ids that people choose refuse runs of digits
//! long enough to be one, and everything else is a UUID, a token or a number with a unit.
//!
//! It leaves transport (protobuf, HTTP) to the binaries, the rules of a purchase to `pci-session`, and the card itself
//! to `pci-card`, which this crate does not know.

mod event;
mod feed;
mod id;
mod meal;
mod money;
mod reason;
mod sealing;
mod token;

pub use event::{
    CardEnrolled, Envelope, EventBody, FridgeTampered, MealLine, MealStatus, Outcome, PaymentFailed, PaymentSettled,
    PurchaseFinalized, PurchaseRefused, Settlement, TamperKind, TheftConfirmed,
};
pub use feed::{CardRow, CustomerRow, FeedPage, FeedRow, FridgeRow, LockRow, MealRow, MealTypeRow, PolicyRow};
pub use id::{
    CustomerId, EnrollmentId, EventId, ExpertId, FridgeId, IdError, IdTokenDigest, ReferralCode, SessionId,
    SubscriptionId,
};
pub use meal::{Gtin, MealId, MealIdError, ScannedCode};
pub use money::{Currency, Money, MoneyError};
pub use reason::{ReasonCode, ReasonError};
pub use sealing::{SealedCard, SealedCardError, SealingContext, SealingKey, SealingKeyId};
pub use token::{Brand, CardRef, LastFour, Token, TokenError};

/// A moment, in microseconds since the Unix epoch, UTC. Time is always an argument; nothing here reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds from `earlier` to `self`; negative when `self` is the earlier one, and saturating.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment in RFC 3339, UTC, with microseconds; the epoch for a moment no calendar holds.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let nanos = i128::from(self.0) * 1_000;
        time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
    }

    /// Parses an RFC 3339 moment; `None` when the text is not one.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn a_moment_survives_its_text() {
        let at = Timestamp::from_micros(1_772_431_228_323_335);
        assert_eq!(at.rfc3339(), "2026-03-02T06:00:28.323335Z");
        assert_eq!(Timestamp::parse_rfc3339(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
