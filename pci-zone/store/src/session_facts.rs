//! What of a session is stored beside its state, to be searched for and checked against.
//!
//! One place says how `pci-session`'s words become columns, for writing and for reading: so a row whose columns and
//! state disagree can only be one that no code of ours wrote.

use pci_contract::{CustomerId, FridgeId, Money, SessionId, Timestamp, Token};
use pci_session::Session;

/// The columns of a session.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) session: SessionId,
    pub(crate) fridge: &'a FridgeId,
    pub(crate) stage: &'static str,
    /// The fridge is busy with it.
    pub(crate) busy: bool,
    /// Only a late answer can change it any more.
    pub(crate) done: bool,
    pub(crate) customer: Option<&'a CustomerId>,
    pub(crate) token: Option<&'a Token>,
    pub(crate) price_revision: Option<i64>,
    pub(crate) opened_at: Timestamp,
    /// The credit that is reserved for it.
    pub(crate) credit: Option<Money>,
}

/// What `session` says of itself.
pub(crate) fn of(session: &Session) -> Facts<'_> {
    Facts {
        session: session.id(),
        fridge: session.fridge(),
        stage: session.stage().as_str(),
        busy: session.holds_fridge(),
        done: session.is_final(),
        customer: session.customer(),
        token: session.card().map(|card| &card.token),
        price_revision: session.price_revision(),
        opened_at: session.opened_at(),
        credit: session.reserved_credit(),
    }
}
