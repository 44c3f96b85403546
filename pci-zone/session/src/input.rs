//! What a session can be told: by the fridge, by the processor (through the driver), and by the driver's timers.

use pci_contract::{CustomerId, Money, ReasonCode, ScannedCode, SubscriptionId, Timestamp};

/// Anything a session can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The processor holds this amount. Also said when an authorization turns up after the driver had given up on it.
    Authorized {
        /// What is held; positive.
        amount: Money,
    },
    /// The processor refuses the hold.
    Declined {
        /// The processor's reason.
        reason: ReasonCode,
    },
    /// No answer in time, or the vault or the processor cannot be reached.
    PaymentUnavailable,
    /// The fridge reports; normally through `Session::receive`, which numbers it.
    Fridge(FridgeInput),
    /// The hold was raised. An answer that raised nothing is `IncrementRefused`.
    Incremented {
        /// What is held now, in all.
        to: Money,
    },
    /// The hold was not raised, or the driver gave up asking.
    IncrementRefused {
        /// What had been asked for. An answer may come twice, when another raise is in flight already.
        asked: Money,
    },
    /// The door has been open for longer than the fridge's limit.
    OpenTooLong,
    /// The door was not opened in time. To be said only while the fridge's stream is alive: a fridge that cannot be
    /// heard may have its door open, and what it reports after the end is not charged. The exceptions are a session that
    /// was authorized without anybody to tell, and one of which nothing was heard for very long (`Session::is_unheard`).
    StayedShutTimeout,
    /// The fridge lost this session: it began another.
    Abandoned,
    /// The capture was done.
    Captured {
        /// What was taken; exactly what was asked.
        amount: Money,
    },
    /// The hold was released.
    Voided,
    /// The capture or void will never be done; not for answers that may still come.
    SettlementFailed {
        /// Why.
        reason: ReasonCode,
    },
}

/// An [`Input`] without its data, for tables, metrics and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputKind {
    /// [`Input::Authorized`]
    Authorized,
    /// [`Input::Declined`]
    Declined,
    /// [`Input::PaymentUnavailable`]
    PaymentUnavailable,
    /// [`FridgeInput::DoorOpened`]
    DoorOpened,
    /// [`FridgeInput::Touched`]
    Touched,
    /// [`FridgeInput::DoorClosed`]
    DoorClosed,
    /// [`FridgeInput::DoorStayedShut`]
    DoorStayedShut,
    /// [`Input::Incremented`]
    Incremented,
    /// [`Input::IncrementRefused`]
    IncrementRefused,
    /// [`Input::OpenTooLong`]
    OpenTooLong,
    /// [`Input::StayedShutTimeout`]
    StayedShutTimeout,
    /// [`Input::Abandoned`]
    Abandoned,
    /// [`Input::Captured`]
    Captured,
    /// [`Input::Voided`]
    Voided,
    /// [`Input::SettlementFailed`]
    SettlementFailed,
}

impl Input {
    /// Which input this is.
    #[must_use]
    pub const fn kind(&self) -> InputKind {
        match self {
            Self::Authorized { .. } => InputKind::Authorized,
            Self::Declined { .. } => InputKind::Declined,
            Self::PaymentUnavailable => InputKind::PaymentUnavailable,
            Self::Fridge(FridgeInput::DoorOpened) => InputKind::DoorOpened,
            Self::Fridge(FridgeInput::Touched(_)) => InputKind::Touched,
            Self::Fridge(FridgeInput::DoorClosed) => InputKind::DoorClosed,
            Self::Fridge(FridgeInput::DoorStayedShut) => InputKind::DoorStayedShut,
            Self::Incremented { .. } => InputKind::Incremented,
            Self::IncrementRefused { .. } => InputKind::IncrementRefused,
            Self::OpenTooLong => InputKind::OpenTooLong,
            Self::StayedShutTimeout => InputKind::StayedShutTimeout,
            Self::Abandoned => InputKind::Abandoned,
            Self::Captured { .. } => InputKind::Captured,
            Self::Voided => InputKind::Voided,
            Self::SettlementFailed { .. } => InputKind::SettlementFailed,
        }
    }
}

/// What a fridge reports after its Open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FridgeInput {
    /// The door was opened.
    DoorOpened,
    /// A meal was taken or put back.
    Touched(Touch),
    /// The door is shut and locked again.
    DoorClosed,
    /// The door was locked again without having been opened.
    DoorStayedShut,
}

/// A meal moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Which way.
    pub kind: TouchKind,
    /// What the scanner read.
    pub code: ScannedCode,
    /// What the reference tables say of it; `None` for a barcode they do not know.
    pub facts: Option<MealFacts>,
    /// The fridge's clock; noted, never trusted: nothing in this crate depends on it.
    pub at_device: Timestamp,
}

/// Which way a meal moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TouchKind {
    /// Out of the fridge.
    Taken,
    /// Back into it.
    Returned,
}

/// What the reference tables say of a meal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MealFacts {
    /// Its price at the session's price revision; never negative.
    pub price: Money,
    /// Whose it is; nobody's when free for all.
    pub owner: Option<CustomerId>,
    /// The subscription it was made for.
    pub owner_subscription: Option<SubscriptionId>,
    /// Whether its owner paid for it in advance.
    pub prepaid: bool,
    /// Neither expired, nor exposed, nor withdrawn.
    pub sellable: bool,
}

/// A fridge's message with its place in the session: 1 is the Open, each later message one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The place.
    pub sequence: u64,
    /// The report.
    pub body: FridgeInput,
}
