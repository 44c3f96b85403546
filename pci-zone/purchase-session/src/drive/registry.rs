//! Which sessions live in this process, and which session each fridge has open.
//!
//! One session is driven by one task; whoever has something for it finds the task's inbox here. Finding, starting and
//! leaving happen under one lock, so a message never goes to a task that has just gone. A fridge that names another's
//! session gets a task of its own, which finds out: it must not come near the rightful one's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pci_contract::{FridgeId, SessionId};
use tokio::sync::mpsc;

use super::live::Turn;

/// Turns that may wait for one session.
const INBOX: usize = 8;

/// What came of asking for a session's task.
pub(super) enum Delivered {
    /// The turn is in the inbox of the task that already runs.
    ToRunning,
    /// No task ran: start one on this inbox, which holds the turn already.
    Start(mpsc::Receiver<Turn>),
    /// The session's task cannot take more.
    Busy,
}

/// What stands in the way of a new session at a fridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing; the fridge is now this session's.
    Free,
    /// Another session, with its fridge on the line.
    Busy,
    /// Another session that hangs; end it, then claim again.
    Hanging(SessionId),
}

struct Entry {
    inbox: mpsc::Sender<Turn>,
    attached: bool,
}

#[derive(Default)]
struct Tables {
    running: HashMap<SessionId, BTreeMap<FridgeId, Entry>>,
    open_at: HashMap<FridgeId, SessionId>,
}

impl Tables {
    fn entry(&mut self, session: SessionId, fridge: &FridgeId) -> Option<&mut Entry> {
        self.running.get_mut(&session)?.get_mut(fridge)
    }

    fn is_attached(&self, session: SessionId, fridge: &FridgeId) -> bool {
        self.running.get(&session).and_then(|tasks| tasks.get(fridge)).is_some_and(|entry| entry.attached)
    }
}

/// The table of running sessions.
#[derive(Default)]
pub(super) struct Registry {
    tables: Mutex<Tables>,
}

impl Registry {
    /// A registry that knows these sessions to be open.
    pub(super) fn new(open: impl IntoIterator<Item = (FridgeId, SessionId)>) -> Self {
        let tables = Tables { open_at: open.into_iter().collect(), ..Tables::default() };
        Self { tables: Mutex::new(tables) }
    }

    /// Hands `turn` to the task of `fridge`'s session, or makes an inbox for a new one.
    pub(super) fn deliver(&self, session: SessionId, fridge: &FridgeId, turn: Turn) -> Delivered {
        let mut tables = self.lock();
        if let Some(entry) = tables.entry(session, fridge) {
            return match entry.inbox.try_send(turn) {
                Ok(()) => Delivered::ToRunning,
                Err(_) => Delivered::Busy,
            };
        }
        let (inbox, turns) = mpsc::channel(INBOX);
        if inbox.try_send(turn).is_err() {
            return Delivered::Busy;
        }
        tables.running.entry(session).or_default().insert(fridge.clone(), Entry { inbox, attached: false });
        Delivered::Start(turns)
    }

    /// Removes the session's task unless something waits in its inbox; that is the answer then.
    pub(super) fn leave(
        &self,
        session: SessionId,
        fridge: &FridgeId,
        turns: &mut mpsc::Receiver<Turn>,
    ) -> Option<Turn> {
        let mut tables = self.lock();
        if let Ok(turn) = turns.try_recv() {
            return Some(turn);
        }
        if let Some(tasks) = tables.running.get_mut(&session) {
            tasks.remove(fridge);
            if tasks.is_empty() {
                tables.running.remove(&session);
            }
        }
        None
    }

    /// Whether a task runs for the session.
    pub(super) fn is_running(&self, session: SessionId) -> bool {
        self.lock().running.contains_key(&session)
    }

    /// Notes whether the session's fridge is on the line.
    pub(super) fn set_attached(&self, session: SessionId, fridge: &FridgeId, attached: bool) {
        if let Some(entry) = self.lock().entry(session, fridge) {
            entry.attached = attached;
        }
    }

    /// Makes `session` the one session of `fridge`, unless there is another. A session that hangs keeps its place
    /// until it has ended, so that it cannot be forgotten when its successor is refused.
    pub(super) fn claim(&self, fridge: &FridgeId, session: SessionId) -> Claim {
        let mut tables = self.lock();
        match tables.open_at.get(fridge) {
            Some(open) if *open != session => {
                let open = *open;
                if tables.is_attached(open, fridge) { Claim::Busy } else { Claim::Hanging(open) }
            }
            _ => {
                tables.open_at.insert(fridge.clone(), session);
                Claim::Free
            }
        }
    }

    /// Notes that the disk knows `session` to keep `fridge` busy.
    pub(super) fn is_open(&self, fridge: &FridgeId, session: SessionId) {
        self.lock().open_at.insert(fridge.clone(), session);
    }

    /// The fridge is free again, if it was this session's.
    pub(super) fn release(&self, fridge: &FridgeId, session: SessionId) {
        let mut tables = self.lock();
        if tables.open_at.get(fridge) == Some(&session) {
            tables.open_at.remove(fridge);
        }
    }

    /// How many tasks run and how many fridges have a session.
    pub(super) fn counts(&self) -> (usize, usize) {
        let tables = self.lock();
        (tables.running.len(), tables.open_at.len())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn fridge(name: &str) -> FridgeId {
        FridgeId::parse(name).expect("a fridge")
    }

    fn session(last: u8) -> SessionId {
        SessionId::parse(&format!("4ed615ae-e6a0-47bb-82f2-6b7777de3d{last:02x}")).expect("a session")
    }

    fn turn() -> Turn {
        Turn::Abandon(oneshot::channel().0)
    }

    #[test]
    fn a_session_that_hangs_keeps_its_fridge_until_it_has_ended() {
        let registry = Registry::new([(fridge("FR-1"), session(1))]);
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Hanging(session(1)));
        registry.release(&fridge("FR-1"), session(2));
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Hanging(session(1)), "it was not forgotten");
        registry.release(&fridge("FR-1"), session(1));
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Free);
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Free, "it is its own");
        assert_eq!(registry.claim(&fridge("FR-1"), session(3)), Claim::Hanging(session(2)));
    }

    #[test]
    fn a_session_on_the_line_makes_its_fridge_busy() {
        let registry = Registry::new([(fridge("FR-1"), session(1))]);
        assert!(matches!(registry.deliver(session(1), &fridge("FR-1"), turn()), Delivered::Start(_)));
        registry.set_attached(session(1), &fridge("FR-1"), true);
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Busy);
        registry.set_attached(session(1), &fridge("FR-1"), false);
        assert_eq!(registry.claim(&fridge("FR-1"), session(2)), Claim::Hanging(session(1)));
    }

    #[test]
    fn a_fridge_that_names_anothers_session_gets_a_task_of_its_own() {
        let registry = Registry::default();
        let Delivered::Start(mut theirs) = registry.deliver(session(1), &fridge("FR-2"), turn()) else {
            panic!("nothing ran");
        };
        let Delivered::Start(mut own) = registry.deliver(session(1), &fridge("FR-1"), turn()) else {
            panic!("the other's task must not take it");
        };
        assert!(matches!(registry.deliver(session(1), &fridge("FR-1"), turn()), Delivered::ToRunning));
        while registry.leave(session(1), &fridge("FR-2"), &mut theirs).is_some() {}
        assert!(registry.is_running(session(1)));
        while registry.leave(session(1), &fridge("FR-1"), &mut own).is_some() {}
        assert!(!registry.is_running(session(1)));
    }
}
