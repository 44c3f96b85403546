//! How the store fails, sorted by whose fault it is.
//!
//! A [`Fault`] is the database's: opaque outside, with the cause kept for the log. A [`Corrupt`] row is one that no
//! code of ours could have written; it is refused, never repaired. What a caller did wrong has its own word in
//! [`CommitError`] and [`FeedError`]. No message carries a stored value beyond the row's key.

use std::sync::Arc;

use thiserror::Error;

/// The database did not do what it was asked. Nothing was half-written.
#[derive(Debug, Clone, Error)]
#[error("the purchase database failed while it {doing}")]
pub struct Fault {
    doing: &'static str,
    retry_safe: bool,
    #[source]
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    pub(crate) fn new(doing: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { doing, retry_safe: true, cause: Some(Arc::new(cause)) }
    }

    pub(crate) const fn without_cause(doing: &'static str, retry_safe: bool) -> Self {
        Self { doing, retry_safe, cause: None }
    }

    /// Whether asking for the very same thing again is safe. False only where the answer was lost for good, as when
    /// the store was shut down.
    #[must_use]
    pub const fn retry_safe(&self) -> bool {
        self.retry_safe
    }
}

/// A stored row that no code of ours could have written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("row {key} of table {table} is corrupt: {why}")]
pub struct Corrupt {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What cannot be.
    pub why: &'static str,
}

impl Corrupt {
    pub(crate) fn new(table: &'static str, key: impl Into<String>, why: &'static str) -> Self {
        Self { table, key: key.into(), why }
    }
}

/// Why the store could not be opened or read.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A row cannot be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A migration that was applied is not the one this program carries.
    #[error("migration {version} was applied with another text than this program's")]
    MigrationChanged {
        /// Which.
        version: i64,
    },
}

/// Why a batch was not written. None of it was.
#[derive(Debug, Clone, Error)]
pub enum CommitError {
    /// Another driver has taken the fridge's lease since; this one must stop.
    #[error("another driver holds the fridge's lease, with fence {current}")]
    Fenced {
        /// The fence of the present lease; 0 when the fridge never had one.
        current: u64,
    },
    /// The batch contradicts what is stored.
    #[error("the batch contradicts what is stored: {0}")]
    Conflict(Contradiction),
    /// The database failed. A batch may always be sent again: every part of it is keyed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A row cannot be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// What a batch said that cannot be true beside what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// The fridge has another open session.
    #[error("the fridge has another open session")]
    FridgeBusy,
    /// The same intent key was used for something else.
    #[error("the intent's key was used for another request")]
    IntentDiffers,
    /// The intent was never asked, or was answered otherwise.
    #[error("the intent was never asked or was answered otherwise")]
    AnswerDiffers,
    /// The session belongs to another fridge, or has let go of its fridge and would keep it busy again.
    #[error("the session belongs to another fridge or has left it")]
    SessionDiffers,
    /// A batch has more parts than a session can have.
    #[error("the batch has too many parts")]
    TooLarge,
    /// A number does not fit the database.
    #[error("a number does not fit the database")]
    Number,
}

/// Why a feed's page was not taken. None of it was.
#[derive(Debug, Clone, Error)]
pub enum FeedError {
    /// The page is older than what was already taken: its revision or its booked place went back.
    #[error("the {feed} feed went back")]
    WentBack {
        /// Which feed.
        feed: &'static str,
    },
    /// The database failed. The same page may be applied again.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A row cannot be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fault(fault) => Self::Fault(fault),
            StoreError::Corrupt(corrupt) => Self::Corrupt(corrupt),
            StoreError::MigrationChanged { .. } => Self::Fault(Fault::without_cause("was opened", false)),
        }
    }
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fault(fault) => Self::Fault(fault),
            StoreError::Corrupt(corrupt) => Self::Corrupt(corrupt),
            StoreError::MigrationChanged { .. } => Self::Fault(Fault::without_cause("was opened", false)),
        }
    }
}
