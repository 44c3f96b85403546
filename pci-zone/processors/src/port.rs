//! The port: what the zone asks of a card processor, in the field's words, with no processor's shape in it.
//!
//! Every ask is a future of its own (`'static`), so that a driver can hold many in flight, and carries a key that makes
//! a repeat harmless. Errors are sorted by what may have happened outside, since that alone decides what is safe next.
//! It leaves the shapes of HTTP to the connectors.

use std::fmt;
use std::pin::Pin;

use pci_card::{Expiry, Pan};
use pci_contract::{Money, ReasonCode, SessionId};
use thiserror::Error;

use crate::key::IdempotencyKey;

/// An ask on its way. Dropping it leaves the outcome unknown, as a lost answer would.
pub type Ask<T> = Pin<Box<dyn Future<Output = Result<T, AskError>> + Send>>;

/// A card processor. Each verb that changes something carries a key; the same key and the same arguments answer as they
/// did the first time, declines included.
pub trait Processor: Send + Sync {
    /// Gives a card to the processor, which keeps it and answers with its own reference. The card number is consumed:
    /// when the answer is there (or the ask is dropped), it is gone.
    fn store_card(&self, key: &IdempotencyKey, pan: Pan, expiry: Expiry) -> Ask<StoredCard>;

    /// Holds `hold` on a card for a session.
    fn authorize(&self, key: &IdempotencyKey, session: SessionId, hold: Money, card: &StoredCard)
    -> Ask<Authorization>;

    /// Raises a hold to `to` in all; answers what is held now.
    fn increment(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, to: Money) -> Ask<Money>;

    /// Takes `amount` of a hold, once; the rest of it is let go.
    fn capture(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<Captured>;

    /// Lets a hold go.
    fn void(&self, key: &IdempotencyKey, authorization: &AuthorizationRef) -> Ask<()>;

    /// Gives back `amount` of what was taken; never more in all than was taken.
    fn refund(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<()>;

    /// What the processor knows of a session's payment. `None` says it knows of none *yet*: processors index their
    /// payments late (Stripe: up to a minute), so certainty comes from asking again with the same key.
    fn sync(&self, session: SessionId) -> Ask<Option<Standing>>;

    /// What is known of the processor without asking it, for a caller whose customer is waiting.
    fn outlook(&self) -> Outlook {
        Outlook::Fair
    }
}

/// Whether asking now is likely to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// As far as is known, yes.
    Fair,
    /// It was down a moment ago; somebody has to try.
    Trial,
    /// It is known to be down: an ask that may be left out will not be sent.
    Down,
}

/// Why an ask has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// The processor says no. Final for this key.
    #[error("declined: {0}")]
    Declined(ReasonCode),
    /// Certain: the processor did nothing. Ask again, or ask another processor.
    #[error("the processor was not reached")]
    NotSent,
    /// The processor may have acted. Only `sync` or the same key at the same processor is safe.
    #[error("the processor's answer is unknown")]
    Unknown,
    /// The processor finds the ask itself wrong, which is our fault; the same ask will not fare better.
    #[error("the processor rejected the request: {status} {code}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The processor's code: 1 to 40 characters of `a-z` and `_`, else `unreadable`.
        code: String,
    },
}

/// The text is not a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a reference has 1 to 128 letters, digits, '-' and '_', and at most twelve digits in a row")]
pub struct ReferenceError;

const MAX_REFERENCE_LENGTH: usize = 128;
/// The shortest card number has one digit more, so no reference can carry one.
const MAX_DIGIT_RUN: usize = 12;

fn check_reference(text: &str) -> Result<(), ReferenceError> {
    let spelled = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let digit_run = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if (1..=MAX_REFERENCE_LENGTH).contains(&text.len()) && spelled && digit_run <= MAX_DIGIT_RUN {
        Ok(())
    } else {
        Err(ReferenceError)
    }
}

macro_rules! references {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks a reference as the processor (or our own store) gives it.
            ///
            /// # Errors
            /// [`ReferenceError`] when it could not be one, or could hide a card number.
            pub fn parse(text: &str) -> Result<Self, ReferenceError> {
                check_reference(text)?;
                Ok(Self(text.into()))
            }

            /// The reference as text; it means something to its processor only.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

references! {
    /// The processor's reference to a card it keeps.
    StoredCard;
    /// The processor's reference to a hold and what became of it.
    AuthorizationRef;
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// How the processor calls it.
    pub reference: AuthorizationRef,
    /// What is held.
    pub amount: Money,
}

/// What was taken of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// What was taken.
    pub amount: Money,
}

/// Where a payment stands with the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How the processor calls it.
    pub authorization: AuthorizationRef,
    /// What was held, at most.
    pub authorized: Money,
    /// What was taken; refunds do not lessen it.
    pub captured: Money,
    /// What became of the hold.
    pub state: StandingState,
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingState {
    /// It stands.
    Held,
    /// It was taken, wholly or in part.
    Captured,
    /// It was let go.
    Voided,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_short_words() {
        for good in ["pm_1NxYz", "pi_3MtwBwLkdIwHu7ix28a3tqPa", "a", &"r".repeat(128)] {
            assert_eq!(StoredCard::parse(good).map(|card| card.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "pm 1", "pm/../1", "pm_\n", "é", "4242424242424242", "pm_4222222222222", &"r".repeat(129)] {
            assert_eq!(AuthorizationRef::parse(bad), Err(ReferenceError), "{bad}");
        }
    }

    #[test]
    fn an_error_says_no_more_than_its_code() {
        let rejected = AskError::Rejected { status: 400, code: "parameter_missing".to_owned() };
        assert_eq!(rejected.to_string(), "the processor rejected the request: 400 parameter_missing");
        assert_eq!(AskError::Declined(ReasonCode::CARD_DECLINED).to_string(), "declined: card_declined");
    }
}
