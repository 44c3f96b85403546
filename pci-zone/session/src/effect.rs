//! What a step asks its driver to do. The driver stores the new state and the events in one transaction first, then
//! acts; whatever it had no time for is asked for again by the stored state (`Session::resume`, `Session::asked`).

use pci_contract::{EventBody, MealId, Money, Outcome, ReasonCode, ScannedCode};
use serde::{Deserialize, Serialize};

use crate::TouchKind;

/// The effects of a step, in the order in which they are to be done.
pub type Effects = Vec<Effect>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the processor to hold this amount on the session's card.
    Authorize {
        /// How much.
        amount: Money,
    },
    /// Ask the processor to raise the hold.
    Increment {
        /// To how much in all.
        to: Money,
    },
    /// Ask the processor to take this amount and release the rest.
    Capture {
        /// How much; never more than is held.
        amount: Money,
    },
    /// Ask the processor to release the hold.
    Void,
    /// Tell the fridge.
    Show(Display),
    /// Tell the world, in the transaction that stores the state.
    Emit(EventBody),
    /// Tell the operators.
    Tell(Notice),
}

/// What the fridge is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Display {
    /// Unlock the door.
    Unlock {
        /// What is held.
        hold: Money,
        /// The credit that may be used.
        credit: Money,
    },
    /// The door stays shut. Final.
    Refused(ReasonCode),
    /// This meal is not to be taken.
    Alarm {
        /// The meal.
        barcode: MealId,
        /// Why; never whose it is.
        kind: AlarmKind,
    },
    /// The meal that sounded is back.
    AlarmCleared {
        /// The meal.
        barcode: MealId,
    },
    /// The basket is worth more than could be authorized.
    LimitReached {
        /// What could be.
        limit: Money,
    },
    /// The door has been open for too long.
    SoundDoor,
    /// The session has ended. Final.
    Receipt(Receipt),
}

/// Why a meal sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// It belongs to someone else.
    NotYours,
    /// It is expired, was too warm or was withdrawn.
    NotSellable,
}

/// The end of a session, as the fridge shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How it ended.
    pub outcome: Outcome,
    /// What is charged, unpaid part included.
    pub charged: Money,
    /// What credit paid.
    pub credit_used: Money,
    /// Owed beyond what could be authorized.
    pub unpaid: Money,
    /// The meals, sorted by barcode.
    pub lines: Vec<ReceiptLine>,
}

/// A meal on a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// Which.
    pub barcode: MealId,
    /// What was due for it.
    pub price: Money,
}

/// What operators should look at. Nothing here is needed to end the session rightly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The door has been open for longer than the fridge's limit.
    OpenTooLong,
    /// The session has as many different barcodes as it can hold; further ones are left to the inventory snapshot.
    BasketFull,
    /// A meal moved, says the fridge, after its session had ended. Not charged.
    TouchAfterEnd {
        /// Which way.
        kind: TouchKind,
        /// The meal.
        code: ScannedCode,
    },
    /// The door was opened, says the fridge, after its session had ended.
    OpenedAfterEnd,
    /// The processor will not release a hold; it expires by itself.
    VoidFailed {
        /// The processor's reason.
        reason: ReasonCode,
    },
}
