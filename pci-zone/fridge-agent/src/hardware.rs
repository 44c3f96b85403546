//! The port to the fridge's hardware: lock, siren, display, door contact, shelf scanners, card and token reader.
//!
//! Small on purpose, so that a driver for a real board is an afternoon's work and the simulated one tells the truth.
//! Commands are obeyed or fail; they decide nothing. What happens at the fridge comes as [`HardwareEvent`]s, in order.
//! Every wait on the hardware is bounded by the caller.

use std::future::Future;

use pci_contract::{Money, ReasonCode, ScannedCode, SessionId};
use thiserror::Error;
use zeroize::Zeroizing;

pub use crate::words::AlarmKind;
use crate::words::{Receipt, TouchKind, Unlock};

/// The hardware did not do what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the fridge's hardware does not answer")]
pub struct HardwareFault;

/// What happened at the fridge.
pub enum HardwareEvent {
    /// A card was read. The buffer is the only copy and wipes itself.
    CardSwiped {
        /// Track 2 as the reader gave it.
        track2: Zeroizing<Vec<u8>>,
        /// The session id to use, when the reader brings one (a replayed day does).
        session: Option<SessionId>,
    },
    /// An ID token was shown.
    IdTokenShown {
        /// Its text.
        text: String,
        /// The session id to use, when the reader brings one.
        session: Option<SessionId>,
    },
    /// The door went open after an unlock.
    DoorOpened,
    /// The door went shut.
    DoorClosed,
    /// The door went open while it was locked.
    DoorForced,
    /// A meal was moved.
    Touched {
        /// Out or in.
        kind: TouchKind,
        /// What the scanner read, unchecked.
        barcode: String,
    },
}

impl std::fmt::Debug for HardwareEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CardSwiped { .. } => "CardSwiped(…)",
            Self::IdTokenShown { .. } => "IdTokenShown(…)",
            Self::DoorOpened => "DoorOpened",
            Self::DoorClosed => "DoorClosed",
            Self::DoorForced => "DoorForced",
            Self::Touched { .. } => "Touched(…)",
        })
    }
}

/// Why the siren sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Siren {
    /// A meal was taken that is not this customer's, or must not be sold.
    Meal,
    /// The door has been open for too long.
    DoorOpenTooLong,
    /// The door was opened by force.
    Forced,
}

/// A note for the technician, shown in a corner of the display and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TechnicianNote {
    /// The journal cannot be written.
    JournalFull,
    /// The journal could be written again.
    JournalWell,
    /// A journal was found that no agent could have written; it was put aside.
    JournalCorrupt,
    /// Another device speaks to the service with this fridge's identity.
    Superseded,
    /// The service does not accept what this fridge sends.
    ServiceRejects,
}

/// What the display says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Display {
    /// Nobody is here: show a card or an ID token.
    Ready,
    /// Someone is here: one moment.
    OneMoment,
    /// The door is unlocked: hold, credit, own meals, prices.
    Unlocked {
        /// Of which session.
        session: SessionId,
        /// What the service said.
        unlock: Unlock,
    },
    /// The door stays shut.
    Refused {
        /// Of which session.
        session: SessionId,
        /// Why.
        reason: ReasonCode,
    },
    /// Put this meal back.
    Alarm {
        /// Which meal.
        barcode: ScannedCode,
        /// What is wrong with it.
        kind: AlarmKind,
    },
    /// It was put back.
    AlarmCleared {
        /// Which meal.
        barcode: ScannedCode,
    },
    /// The basket is worth more than could be authorized.
    LimitReached {
        /// How much could be.
        limit: Option<Money>,
    },
    /// Please close the door.
    DoorOpenTooLong,
    /// The session ended without an answer from the service yet; the receipt follows when there is one.
    Settling,
    /// What was bought.
    Receipt {
        /// Of which session.
        session: SessionId,
        /// What the service said.
        receipt: Receipt,
    },
    /// A note for the technician.
    Technician(TechnicianNote),
}

/// What the hardware is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Release the lock.
    Unlock,
    /// Engage the lock; an open door locks when it shuts.
    Lock,
    /// Sound the siren.
    Sound(Siren),
    /// Silence the siren.
    Silence,
    /// Show a text.
    Show(Display),
}

/// A fridge's hardware.
pub trait Hardware: Send + 'static {
    /// Carries out a command.
    ///
    /// # Errors
    /// [`HardwareFault`] when the hardware does not answer.
    fn act(&mut self, command: Command) -> impl Future<Output = Result<(), HardwareFault>> + Send;

    /// The next event; `None` when there will be no more. May be dropped and called again without losing an event.
    fn next_event(&mut self) -> impl Future<Output = Option<HardwareEvent>> + Send;

    /// Whether the door stands open now.
    fn door_is_open(&mut self) -> impl Future<Output = bool> + Send;
}
