//! The stages of a session by name: for errors, metrics and columns, which must not need to know the states themselves.

/// A [`State`](crate::State) without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The processor was asked for the hold.
    Authorizing,
    /// The door may be opened.
    Unlocked,
    /// The door is open.
    Open,
    /// The door is shut; the decision waits for an increment in flight.
    Closing,
    /// Decided; the processor may still have to answer.
    Ended,
    /// The door stayed shut.
    Refused,
}

impl Stage {
    /// The stage's name, as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorizing => "authorizing",
            Self::Unlocked => "unlocked",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Ended => "ended",
            Self::Refused => "refused",
        }
    }
}
