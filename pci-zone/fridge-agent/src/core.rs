//! The pure heart of the agent: state and input in, state and effects out. No disk, network, clock, chance or hardware.
//!
//! It is total: an input that makes no sense in a state changes nothing, because a fridge in the field must go on
//! whatever its sensors and its network say. What it guarantees, whatever the order of inputs (see `tests`): a message
//! is journaled before it is sent; numbers run 1, 2, 3 …; the lock is released only on the service's word, in the
//! session that asked for it; and a session is forgotten only after a final answer.
//!
//! It leaves to the driver how a card is sealed, how a record becomes durable and how a stream is kept up.

mod closing;
mod session;
mod types;

use pci_contract::{ReasonCode, ScannedCode, SessionId, TamperKind};
use uuid::Uuid;

pub use crate::words::{
    Answer, Body, IdToken, Now, OwnMeal, Price, Receipt, ReceiptLine, Record, ShownBy, TamperNote, TouchKind, Unlock,
};
pub use types::{AgentInput, Effect};

use crate::config::Limits;
use crate::hardware::{Command, Display, Siren};
use session::{Asking, Closing, Open, Unlocked};

/// Everything the machine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentState {
    limits: Limits,
    door_open: bool,
    connected: bool,
    stage: Stage,
}

/// Where the fridge is in a purchase; each stage knows what it needs and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nobody is here.
    Idle,
    /// A card was read and is being sealed; nothing is journaled yet.
    Sealing { session: SessionId, until_ms: u64 },
    /// Asked whether the door may open.
    Asking(Asking),
    /// Unlocked, not yet opened.
    Unlocked(Unlocked),
    /// The door is open.
    Open(Open),
    /// The customer is done; the service's last word is awaited.
    Closing(Closing),
}

/// What a step may use besides the state: the moment, a fresh id, and where effects go.
struct Step<'a> {
    now: Now,
    fresh: Uuid,
    effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    fn command(&mut self, command: Command) {
        self.effects.push(Effect::Hardware(command));
    }

    fn show(&mut self, display: Display) {
        self.command(Command::Show(display));
    }

    fn refuse(&mut self, session: SessionId, reason: ReasonCode) {
        self.show(Display::Refused { session, reason });
    }

    /// Journals and sends one record.
    fn tell(&mut self, record: &Record) {
        self.effects.push(Effect::Journal(record.clone()));
        self.effects.push(Effect::Send(record.clone()));
    }

    /// Reports what happens outside any session.
    fn report(&mut self, kind: TamperKind, code: Option<ScannedCode>) {
        let note = TamperNote { report: self.fresh, kind, code, device_time: self.now.wall };
        self.effects.push(Effect::Report(note));
    }

    fn after_ms(&self, wait_ms: u64) -> u64 {
        self.now.elapsed_ms.saturating_add(wait_ms)
    }
}

impl AgentState {
    /// A fridge that just started: `records` is the journal of the session it was in, empty if there was none. The
    /// hardware says whether the door is open.
    #[must_use]
    pub fn resume(limits: Limits, records: &[Record], door_open: bool, now: Now, fresh: Uuid) -> (Self, Vec<Effect>) {
        let mut effects = vec![Effect::Hardware(Command::Lock), Effect::Hardware(Command::Silence)];
        let mut step = Step { now, fresh, effects: &mut effects };
        let stage = match (records.first(), records.last()) {
            (Some(first), Some(last)) => session::resume(first.session, last, door_open, &limits, &mut step),
            _ => Stage::Idle,
        };
        match stage {
            Stage::Open(_) => {}
            _ if door_open => forced(&mut step),
            _ => step.show(Display::Ready),
        }
        (Self { limits, door_open, connected: false, stage }, effects)
    }

    /// One step.
    #[must_use]
    pub fn step(mut self, input: AgentInput, now: Now, fresh: Uuid) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        if self.door_open && matches!(input, AgentInput::DoorOpened | AgentInput::DoorForced) {
            // It stands open already, as we were told or saw at the start.
            return (self, effects);
        }
        let mut step = Step { now, fresh, effects: &mut effects };
        match &input {
            AgentInput::DoorOpened | AgentInput::DoorForced => self.door_open = true,
            AgentInput::DoorClosed => self.door_open = false,
            AgentInput::Connected => self.connected = true,
            AgentInput::Disconnected => self.connected = false,
            AgentInput::Note(note) => step.show(Display::Technician(*note)),
            _ => {}
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        self.stage = match stage {
            Stage::Idle => self.idle(input, &mut step),
            Stage::Sealing { session, until_ms } => self.sealing(session, until_ms, input, &mut step),
            Stage::Asking(asking) => self.asking(asking, input, &mut step),
            Stage::Unlocked(unlocked) => self.unlocked(unlocked, input, &mut step),
            Stage::Open(open) => self.open(open, input, &mut step),
            Stage::Closing(closing) => self.closing(closing, input, &mut step),
        };
        (self, effects)
    }

    /// When a [`AgentInput::Tick`] is wanted, in elapsed milliseconds.
    #[must_use]
    pub const fn deadline_ms(&self) -> Option<u64> {
        match &self.stage {
            Stage::Idle | Stage::Closing(_) => None,
            Stage::Sealing { until_ms, .. } => Some(*until_ms),
            Stage::Asking(asking) => Some(asking.until_ms),
            Stage::Unlocked(unlocked) => Some(unlocked.lock_ms),
            Stage::Open(open) => open.sound_ms,
        }
    }

    /// The session whose stream must be kept up, from its first journaled message to its final answer.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match &self.stage {
            Stage::Idle | Stage::Sealing { .. } => None,
            Stage::Asking(asking) => Some(asking.told.session),
            Stage::Unlocked(unlocked) => Some(unlocked.told.session),
            Stage::Open(open) => Some(open.told.session),
            Stage::Closing(closing) => Some(closing.told.session),
        }
    }

    fn idle(&self, input: AgentInput, step: &mut Step<'_>) -> Stage {
        match input {
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } if self.door_open => {
                step.refuse(session, ReasonCode::FRIDGE_OUT_OF_SERVICE);
            }
            AgentInput::Swiped { session } => {
                step.show(Display::OneMoment);
                step.effects.push(Effect::Seal(session));
                return Stage::Sealing { session, until_ms: step.after_ms(self.limits.unreachable_after_ms) };
            }
            AgentInput::IdTokenShown { session, token: Some(token) } => {
                step.show(Display::OneMoment);
                return self.ask(session, ShownBy::IdToken(token), step);
            }
            AgentInput::IdTokenShown { session, token: None } => step.refuse(session, ReasonCode::UNKNOWN_ID_TOKEN),
            other => aside(other, step),
        }
        Stage::Idle
    }

    fn sealing(&self, session: SessionId, until_ms: u64, input: AgentInput, step: &mut Step<'_>) -> Stage {
        match input {
            AgentInput::Sealed { session: of, card } if of == session => {
                return self.ask(session, ShownBy::Card(card), step);
            }
            AgentInput::NotSealed { session: of } if of == session => {
                step.refuse(session, ReasonCode::PAYMENT_UNAVAILABLE);
                return Stage::Idle;
            }
            AgentInput::Tick if step.now.elapsed_ms >= until_ms => {
                step.refuse(session, ReasonCode::PAYMENT_UNAVAILABLE);
                return Stage::Idle;
            }
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } => {
                step.refuse(session, ReasonCode::FRIDGE_BUSY);
            }
            other => aside(other, step),
        }
        Stage::Sealing { session, until_ms }
    }
}

/// What any stage without an open door does with what it does not expect: doors and meals that move are reported.
fn aside(input: AgentInput, step: &mut Step<'_>) {
    match input {
        AgentInput::DoorOpened | AgentInput::DoorForced => forced(step),
        AgentInput::DoorClosed => {
            step.command(Command::Lock);
            step.command(Command::Silence);
        }
        AgentInput::Touched { code, .. } => step.report(TamperKind::MealMoved, Some(code)),
        _ => {}
    }
}

fn forced(step: &mut Step<'_>) {
    step.command(Command::Sound(Siren::Forced));
    step.report(TamperKind::DoorForced, None);
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
