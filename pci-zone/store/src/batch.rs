//! What a driver writes: a batch, all of it or nothing.
//!
//! Every part of a batch is keyed (session and fence, touch number, intent key, event id, token, enrolment id), so a
//! batch whose answer was lost may be sent again as it is. Turning the parts into rows happens in the caller's task;
//! the one writer only copies them into the database.

use pci_contract::{CardRef, CustomerId, EnrollmentId, EventBody, EventId, Money, ScannedCode, SessionId, Timestamp};
use pci_session::{Session, TouchKind};

/// Writes that belong together. Start from `Batch::default()`.
#[derive(Debug, Default)]
pub struct Batch {
    /// The session's new state.
    pub session: Option<SessionWrite>,
    /// Touches to put on record.
    pub touches: Vec<TouchRecord>,
    /// Payment intents asked or answered.
    pub intents: Vec<IntentWrite>,
    /// Events to tell the world, in this order.
    pub events: Vec<NewEvent>,
    /// A card that the processor now keeps.
    pub stored_card: Option<StoredCard>,
    /// A card that entered a wallet. When this enrolment is on record already, the whole batch is taken as done.
    pub enrollment: Option<Enrollment>,
}

/// A session's state, written by the driver that holds the fridge's lease.
#[derive(Debug)]
pub struct SessionWrite {
    /// The state.
    pub session: Session,
    /// The fence of the driver's lease on the fridge.
    pub fence: u64,
    /// Now.
    pub at: Timestamp,
}

/// One touch as a fridge reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchRecord {
    /// The session.
    pub session: SessionId,
    /// The number of the fridge's message; the same number twice is the same touch.
    pub sequence: u64,
    /// Taken or returned.
    pub kind: TouchKind,
    /// What the scanner read.
    pub code: ScannedCode,
    /// When, by the fridge's clock.
    pub device_time: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
}

/// What a processor is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Hold an amount.
    Authorize,
    /// Hold more.
    Increment,
    /// Take what was held, or a part of it.
    Capture,
    /// Let go of the hold.
    Void,
    /// Give back.
    Refund,
}

/// How an intent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntentOutcome {
    /// The processor did it.
    Done,
    /// The processor refused.
    Declined,
    /// It is certain that the processor never did it, and it is no longer wanted.
    Dropped,
    /// The processor calls the request itself wrong: our fault, for an operator to look at.
    Rejected,
}

macro_rules! words {
    ($kind:ident: $($variant:ident = $word:literal),+) => {
        impl $kind {
            /// The word in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The kind a stored word means; `None` for a word no code of ours writes.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
words!(Verb: Authorize = "authorize", Increment = "increment", Capture = "capture", Void = "void", Refund = "refund");
words!(IntentOutcome: Done = "done", Declined = "declined", Dropped = "dropped", Rejected = "rejected");

/// A step in the life of a payment intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentWrite {
    /// Written before the processor is called. The same key again counts another attempt; with another session, verb
    /// or amount it is a contradiction.
    Ask {
        /// The key the processor gets.
        key: String,
        /// The session it pays for.
        session: SessionId,
        /// What is asked.
        verb: Verb,
        /// For how much.
        amount: Money,
        /// Now.
        at: Timestamp,
    },
    /// Written when the processor answered. The first answer stands; the same one again changes nothing, another is a
    /// contradiction.
    Answer {
        /// The key that was asked.
        key: String,
        /// How it ended.
        outcome: IntentOutcome,
        /// The processor's reference, when it gave one.
        reference: Option<String>,
        /// Now.
        at: Timestamp,
    },
}

/// An event to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id; an id that is in the outbox already is not told again.
    pub id: EventId,
    /// Type and data.
    pub body: EventBody,
    /// When it happened.
    pub at: Timestamp,
}

/// A card that the processor keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCard {
    /// The card.
    pub card: CardRef,
    /// The processor's opaque reference.
    pub reference: String,
}

/// A card that entered a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// The id made by the device that read the card.
    pub id: EnrollmentId,
    /// Whose wallet.
    pub customer: CustomerId,
    /// The card.
    pub card: CardRef,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_database() {
        for verb in [Verb::Authorize, Verb::Increment, Verb::Capture, Verb::Void, Verb::Refund] {
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
        }
        for outcome in [IntentOutcome::Done, IntentOutcome::Declined, IntentOutcome::Dropped, IntentOutcome::Rejected] {
            assert_eq!(IntentOutcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Verb::parse("Authorize"), None);
    }
}
