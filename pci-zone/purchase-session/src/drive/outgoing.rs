//! What a session still has to write, and what may be done only once that is written.

use std::collections::VecDeque;

use pci_contract::{Money, Timestamp};
use pci_session::{Display, Session};
use pci_store::{Batch, IntentWrite, NewEvent, SessionWrite, StoredCard, TouchRecord};
use tokio::sync::oneshot;

use super::calls::Means;

/// Done after the commit that justifies it.
pub(super) enum After {
    /// Tell the fridge.
    Show(Display),
    /// Ask the processor for the hold.
    Authorize(Money, Means),
    /// Ask the processor to raise the hold.
    Increment(Money),
    /// Hand over what the processor still has to do.
    Settle,
    /// Let go of the fridge, and of the credit when nothing of it is reserved any more.
    LetGo {
        /// Whether the session reserves no credit any more.
        credit: bool,
    },
    /// Say that it is on disk.
    OnDisk(oneshot::Sender<()>),
}

/// The next batch of a session in the making.
#[derive(Default)]
pub(super) struct Outgoing {
    changed: bool,
    pub(super) touches: Vec<TouchRecord>,
    pub(super) intents: Vec<IntentWrite>,
    pub(super) events: Vec<NewEvent>,
    pub(super) stored_card: Option<StoredCard>,
    pub(super) after: VecDeque<After>,
}

impl Outgoing {
    /// Notes that the session's state has changed.
    pub(super) fn session_changed(&mut self) {
        self.changed = true;
    }

    /// Whether nothing waits to be written or done.
    pub(super) fn is_empty(&self) -> bool {
        !self.changed && self.after.is_empty() && self.events.is_empty() && self.intents.is_empty()
    }

    /// Whether something is to be written, rather than only done.
    fn writes(&self) -> bool {
        self.changed || !self.events.is_empty() || !self.intents.is_empty()
    }

    /// What to write (nothing when there is only something to do), and what to do after it. Nothing at all when nothing
    /// has gathered.
    pub(super) fn take(
        &mut self,
        session: Option<&Session>,
        fence: u64,
        at: Timestamp,
    ) -> Option<(Option<Batch>, VecDeque<After>)> {
        if self.is_empty() {
            return None;
        }
        let writes = self.writes();
        let gathered = std::mem::take(self);
        let session = session.filter(|_| gathered.changed);
        let batch = writes.then(|| Batch {
            session: session.map(|session| SessionWrite { session: session.clone(), fence, at }),
            touches: gathered.touches,
            intents: gathered.intents,
            events: gathered.events,
            stored_card: gathered.stored_card,
            enrollment: None,
        });
        Some((batch, gathered.after))
    }
}
