//! Which sessions live in this process, and which session each fridge has open.
//!
//! One session is driven by one task; whoever has something for it finds the task's inbox here. Finding, starting and
//! leaving happen under one lock, so a message never goes to a task that has just gone.

use std::collections::HashMap;
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
    /// Another session that hangs; the fridge is now the new session's, and the old one must be ended.
    Hanging(SessionId),
}

struct Entry {
    inbox: mpsc::Sender<Turn>,
    attached: bool,
}

#[derive(Default)]
struct Tables {
    running: HashMap<SessionId, Entry>,
    open_at: HashMap<FridgeId, SessionId>,
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

    /// Hands `turn` to the session's task, or makes an inbox for a new one.
    pub(super) fn deliver(&self, session: SessionId, turn: Turn) -> Delivered {
        let mut tables = self.lock();
        if let Some(entry) = tables.running.get(&session) {
            return match entry.inbox.try_send(turn) {
                Ok(()) => Delivered::ToRunning,
                Err(_) => Delivered::Busy,
            };
        }
        let (inbox, turns) = mpsc::channel(INBOX);
        if inbox.try_send(turn).is_err() {
            return Delivered::Busy;
        }
        tables.running.insert(session, Entry { inbox, attached: false });
        Delivered::Start(turns)
    }

    /// Removes the session's task unless something waits in its inbox. True when it may go.
    pub(super) fn leave(&self, session: SessionId, turns: &mut mpsc::Receiver<Turn>) -> Option<Turn> {
        let mut tables = self.lock();
        if let Ok(turn) = turns.try_recv() {
            return Some(turn);
        }
        tables.running.remove(&session);
        None
    }

    /// Whether a task runs for the session.
    pub(super) fn is_running(&self, session: SessionId) -> bool {
        self.lock().running.contains_key(&session)
    }

    /// Notes whether the session's fridge is on the line.
    pub(super) fn set_attached(&self, session: SessionId, attached: bool) {
        if let Some(entry) = self.lock().running.get_mut(&session) {
            entry.attached = attached;
        }
    }

    /// Makes `session` the one session of `fridge`, unless another one is on the line.
    pub(super) fn claim(&self, fridge: &FridgeId, session: SessionId) -> Claim {
        let mut tables = self.lock();
        let claim = match tables.open_at.get(fridge) {
            None => Claim::Free,
            Some(open) if *open == session => Claim::Free,
            Some(open) if tables.running.get(open).is_some_and(|entry| entry.attached) => Claim::Busy,
            Some(open) => Claim::Hanging(*open),
        };
        if claim != Claim::Busy {
            tables.open_at.insert(fridge.clone(), session);
        }
        claim
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
