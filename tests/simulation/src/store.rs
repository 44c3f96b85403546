//! What survives a crash: sessions as JSON, events, and the questions to the processor with whether each is answered.
//! A commit is all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use pci_contract::{CustomerId, EventBody, SessionId};
use pci_session::{Effect, Session};

use crate::{
    outcome::Failure,
    processor::{Question, Verb},
};

/// The durable part of the service.
#[derive(Debug, Default)]
pub(crate) struct Store {
    sessions: BTreeMap<SessionId, String>,
    pub(crate) events: Vec<EventBody>,
    pub(crate) unanswered: BTreeSet<Question>,
}

impl Store {
    /// One transaction: the state, its events, what is to be asked, and what was answered.
    pub(crate) fn commit(
        &mut self,
        session: &Session,
        effects: &[Effect],
        answered: Option<Question>,
    ) -> Result<(), Failure> {
        let json = serde_json::to_string(session).map_err(|error| Failure::new(error.to_string()))?;
        self.sessions.insert(session.id(), json);
        for effect in effects {
            if let Effect::Emit(event) = effect {
                self.events.push(event.clone());
            }
            self.unanswered.extend(question(session.id(), effect));
        }
        if let Some(question) = answered {
            self.unanswered.remove(&question);
        }
        Ok(())
    }

    pub(crate) fn load(&self, id: SessionId) -> Result<Option<Session>, Failure> {
        let Some(json) = self.sessions.get(&id) else { return Ok(None) };
        serde_json::from_str(json).map(Some).map_err(|error| Failure::new(format!("{id} cannot be read: {error}")))
    }

    pub(crate) fn load_all(&self) -> Result<BTreeMap<SessionId, Session>, Failure> {
        self.sessions.keys().filter_map(|id| self.load(*id).map(|found| Some((*id, found?))).transpose()).collect()
    }

    /// The credit that a customer's ended sessions used.
    pub(crate) fn credit_used_minor(&self, customer: &CustomerId) -> i64 {
        let used = |event: &EventBody| match event {
            EventBody::PurchaseFinalized(data) if data.customer.as_ref() == Some(customer) => data.credit_used.minor(),
            _ => 0,
        };
        self.events.iter().map(used).sum()
    }
}

/// The question an effect asks, if it asks one.
pub(crate) const fn question(session: SessionId, effect: &Effect) -> Option<Question> {
    let (verb, minor) = match effect {
        Effect::Authorize { amount } => (Verb::Authorize, amount.minor()),
        Effect::Increment { to } => (Verb::Increment, to.minor()),
        Effect::Capture { amount } => (Verb::Capture, amount.minor()),
        Effect::Void => (Verb::Void, 0),
        Effect::Show(_) | Effect::Emit(_) | Effect::Tell(_) => return None,
    };
    Some(Question { session, verb, minor })
}
