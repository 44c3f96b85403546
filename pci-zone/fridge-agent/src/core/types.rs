//! What happens to the machine and what it wants done, in the words of a session.

use pci_contract::{ScannedCode, SealedCard, SessionId};

use crate::hardware::{Command, TechnicianNote};
use crate::words::{Answer, IdToken, Record, TamperNote, TouchKind};

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentInput {
    /// A card was read; the driver holds the track.
    Swiped {
        /// The id for the session it may begin.
        session: SessionId,
    },
    /// The card of that swipe is sealed and wiped.
    Sealed {
        /// Of which swipe.
        session: SessionId,
        /// The sealed card.
        card: SealedCard,
    },
    /// The card of that swipe could not be sealed, and is wiped.
    NotSealed {
        /// Of which swipe.
        session: SessionId,
    },
    /// An ID token was shown; `None` when the text cannot be one.
    IdTokenShown {
        /// The id for the session it may begin.
        session: SessionId,
        /// The token.
        token: Option<IdToken>,
    },
    /// The door went open.
    DoorOpened,
    /// The door went shut.
    DoorClosed,
    /// The door went open while locked.
    DoorForced,
    /// A meal was moved.
    Touched {
        /// Which way.
        kind: TouchKind,
        /// Which meal.
        code: ScannedCode,
    },
    /// The service answers this session's stream.
    Connected,
    /// The stream broke; it is being opened again.
    Disconnected,
    /// The service answered.
    Answered {
        /// For which session.
        session: SessionId,
        /// Up to where all is safe with it.
        acknowledged: u64,
        /// The answer; `None` for a bare acknowledgement.
        answer: Option<Answer>,
    },
    /// The first message of that session could not be made durable, so it was not sent.
    OpenNotJournaled {
        /// Of which session.
        session: SessionId,
    },
    /// Something for the technician.
    Note(TechnicianNote),
    /// Time passed.
    Tick,
}

/// What the driver must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Seal the card of this swipe.
    Seal(SessionId),
    /// Make this durable before anything that follows.
    Journal(Record),
    /// Send this, which is durable.
    Send(Record),
    /// Delete the journal: the service said that the session is final, or it never began.
    Forget(SessionId),
    /// Make this durable, then report it until it is acknowledged.
    Report(TamperNote),
    /// Tell the hardware.
    Hardware(Command),
}
