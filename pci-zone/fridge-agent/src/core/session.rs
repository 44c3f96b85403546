//! The stages of a session while the customer is here: asked, unlocked, open.
//!
//! Every deadline runs on even time. An answer that is given again after a reconnection is recognised and not shown
//! twice. What the service says after the customer is gone is `closing`'s.

use std::collections::BTreeSet;

use pci_contract::{Money, ReasonCode, ScannedCode, SessionId};

use super::{AgentInput, AgentState, Answer, Body, Effect, Record, ShownBy, Stage, Step, Unlock, aside};
use crate::config::Limits;
use crate::hardware::{AlarmKind, Command, Display, Siren, TechnicianNote};

/// What was told in a session so far, and what was shown of the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) session: SessionId,
    /// The number of the last record.
    pub(super) last: u64,
    alarms: BTreeSet<ScannedCode>,
    limit_shown: Option<Option<Money>>,
}

impl Told {
    fn new(session: SessionId, last: u64) -> Self {
        Self { session, last, alarms: BTreeSet::new(), limit_shown: None }
    }

    /// The next record of the session, journaled and sent.
    pub(super) fn tell(&mut self, body: Body, step: &mut Step<'_>) {
        self.last = self.last.saturating_add(1);
        step.tell(&Record { session: self.session, sequence: self.last, device_time: step.now.wall, body });
    }

    /// Forgets the journal and shows the service's last word; the door is as the caller left it.
    pub(super) fn end(&self, answer: Answer, step: &mut Step<'_>) {
        let session = self.session;
        step.effects.push(Effect::Forget(session));
        match answer {
            Answer::Refused(reason) => step.refuse(session, reason),
            Answer::Receipt(receipt) => step.show(Display::Receipt { session, receipt }),
            _ => {}
        }
    }

    /// Shows an answer about the basket, unless it was shown already. `siren` is false once the door is shut.
    pub(super) fn basket(&mut self, answer: Answer, siren: bool, step: &mut Step<'_>) {
        match answer {
            Answer::Alarm { kind, code } => self.alarm(kind, code, siren, step),
            Answer::AlarmCleared { code } if self.alarms.remove(&code) => {
                if self.alarms.is_empty() {
                    step.command(Command::Silence);
                }
                step.show(Display::AlarmCleared { barcode: code });
            }
            Answer::LimitReached { limit } if self.limit_shown != Some(limit) => {
                self.limit_shown = Some(limit);
                step.show(Display::LimitReached { limit });
            }
            _ => {}
        }
    }

    fn alarm(&mut self, kind: AlarmKind, code: ScannedCode, siren: bool, step: &mut Step<'_>) {
        if self.alarms.insert(code.clone()) {
            if siren {
                step.command(Command::Sound(Siren::Meal));
            }
            step.show(Display::Alarm { barcode: code, kind });
        }
    }

    fn close(mut self, body: Body, step: &mut Step<'_>) -> Stage {
        step.command(Command::Lock);
        self.tell(body.clone(), step);
        Stage::Closing(Closing { told: self, ending: body })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) told: Told,
    asked_ms: u64,
    pub(super) until_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unlocked {
    pub(super) told: Told,
    pub(super) lock_ms: u64,
    open_limit_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) told: Told,
    pub(super) sound_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) told: Told,
    /// The record that ended the customer's part.
    pub(super) ending: Body,
}

/// Goes on after a restart, from the last record of the journal and what the door says now.
pub(super) fn resume(
    session: SessionId,
    last: &Record,
    door_open: bool,
    limits: &Limits,
    step: &mut Step<'_>,
) -> Stage {
    let mut told = Told::new(session, last.sequence);
    match (&last.body, door_open) {
        (Body::DoorClosed | Body::DoorStayedShut, _) => Stage::Closing(Closing { told, ending: last.body.clone() }),
        // Whoever stood here is gone, or must ask again.
        (Body::Open(_), false) => told.close(Body::DoorStayedShut, step),
        // Only the service knows whether it had let him in; if it had not, it says so and the door was forced.
        (Body::Open(_), true) => {
            told.tell(Body::DoorOpened, step);
            Stage::Open(Open { told, sound_ms: Some(step.after_ms(limits.open_limit_ms)) })
        }
        (Body::DoorOpened | Body::Touched { .. }, false) => told.close(Body::DoorClosed, step),
        (Body::DoorOpened | Body::Touched { .. }, true) => {
            Stage::Open(Open { told, sound_ms: Some(step.after_ms(limits.open_limit_ms)) })
        }
    }
}

impl AgentState {
    /// Begins a session: the first record, and a bound on the wait for its answer.
    pub(super) fn ask(&self, session: SessionId, shown_by: ShownBy, step: &mut Step<'_>) -> Stage {
        let mut told = Told::new(session, 0);
        told.tell(Body::Open(shown_by), step);
        let until_ms = step.after_ms(self.limits.unreachable_after_ms);
        Stage::Asking(Asking { told, asked_ms: step.now.elapsed_ms, until_ms })
    }

    pub(super) fn asking(&self, mut asking: Asking, input: AgentInput, step: &mut Step<'_>) -> Stage {
        let session = asking.told.session;
        match input {
            AgentInput::Answered { session: of, answer: Some(answer), .. } if of == session => {
                return self.answer_to_open(asking, answer, step);
            }
            AgentInput::OpenNotJournaled { session: of } if of == session => {
                asking.told.end(Answer::Refused(ReasonCode::FRIDGE_OUT_OF_SERVICE), step);
                return Stage::Idle;
            }
            AgentInput::Tick if step.now.elapsed_ms >= asking.until_ms => {
                step.refuse(session, ReasonCode::PAYMENT_UNAVAILABLE);
                return asking.told.close(Body::DoorStayedShut, step);
            }
            // A service that was reached may take its time with the processor, but not for ever.
            AgentInput::Connected => {
                asking.until_ms = asking.asked_ms.saturating_add(self.limits.answer_within_ms);
            }
            AgentInput::Disconnected => {
                asking.until_ms = asking.until_ms.min(step.after_ms(self.limits.unreachable_after_ms));
            }
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } => {
                step.refuse(session, ReasonCode::FRIDGE_BUSY);
            }
            other => aside(other, step),
        }
        Stage::Asking(asking)
    }

    fn answer_to_open(&self, asking: Asking, answer: Answer, step: &mut Step<'_>) -> Stage {
        let unlock = match answer {
            Answer::Unlock(unlock) => unlock,
            last if last.is_final() => {
                asking.told.end(last, step);
                return Stage::Idle;
            }
            _ => return Stage::Asking(asking),
        };
        let mut told = asking.told;
        let open_limit_ms = self.open_limit_ms(&unlock);
        let lock_ms = step.after_ms(self.open_within_ms(&unlock));
        if self.door_open {
            // It was forced while we asked, and that was reported; from here on the customer answers for it.
            step.command(Command::Silence);
            step.show(Display::Unlocked { session: told.session, unlock });
            told.tell(Body::DoorOpened, step);
            return Stage::Open(Open { told, sound_ms: Some(step.after_ms(open_limit_ms)) });
        }
        step.command(Command::Unlock);
        step.show(Display::Unlocked { session: told.session, unlock });
        Stage::Unlocked(Unlocked { told, lock_ms, open_limit_ms })
    }

    pub(super) fn unlocked(&self, mut unlocked: Unlocked, input: AgentInput, step: &mut Step<'_>) -> Stage {
        let session = unlocked.told.session;
        match input {
            AgentInput::DoorOpened | AgentInput::DoorForced => {
                unlocked.told.tell(Body::DoorOpened, step);
                let sound_ms = Some(step.after_ms(unlocked.open_limit_ms));
                return Stage::Open(Open { told: unlocked.told, sound_ms });
            }
            AgentInput::Tick if step.now.elapsed_ms >= unlocked.lock_ms => {
                step.show(Display::Settling);
                return unlocked.told.close(Body::DoorStayedShut, step);
            }
            AgentInput::Answered { session: of, answer: Some(answer), .. } if of == session && answer.is_final() => {
                step.command(Command::Lock);
                unlocked.told.end(answer, step);
                return Stage::Idle;
            }
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } => {
                step.refuse(session, ReasonCode::FRIDGE_BUSY);
            }
            other => aside(other, step),
        }
        Stage::Unlocked(unlocked)
    }

    pub(super) fn open(&self, mut open: Open, input: AgentInput, step: &mut Step<'_>) -> Stage {
        match input {
            AgentInput::Touched { kind, code } => self.touched(&mut open.told, Body::Touched { kind, code }, step),
            AgentInput::DoorClosed => {
                step.command(Command::Silence);
                step.show(Display::Settling);
                return open.told.close(Body::DoorClosed, step);
            }
            AgentInput::Answered { session, acknowledged, answer } if session == open.told.session => {
                // More is safe with the service than we remember: our journal lost its tail. Number on from there.
                open.told.last = open.told.last.max(acknowledged);
                return open_answered(open, answer, step);
            }
            AgentInput::Tick if open.sound_ms.is_some_and(|sound_ms| step.now.elapsed_ms >= sound_ms) => {
                sound_door(&mut open, step);
            }
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } => {
                step.refuse(session, ReasonCode::FRIDGE_BUSY);
            }
            _ => {}
        }
        Stage::Open(open)
    }

    /// A touch is told, up to the most that a session may hold; the room of the last record is the door's.
    fn touched(&self, told: &mut Told, body: Body, step: &mut Step<'_>) {
        if told.last.saturating_add(1) < self.limits.max_records {
            told.tell(body, step);
        } else {
            step.show(Display::Technician(TechnicianNote::JournalFull));
        }
    }

    /// Within 1 s and 5 min, whatever the service says: an unlocked door is never left alone.
    fn open_within_ms(&self, unlock: &Unlock) -> u64 {
        let wanted_ms = u64::from(unlock.open_within_s) * 1_000;
        if wanted_ms == 0 { self.limits.open_within_ms } else { wanted_ms.min(300_000) }
    }

    fn open_limit_ms(&self, unlock: &Unlock) -> u64 {
        let wanted_ms = u64::from(unlock.open_limit_s) * 1_000;
        if wanted_ms == 0 { self.limits.open_limit_ms } else { wanted_ms }
    }
}

fn open_answered(mut open: Open, answer: Option<Answer>, step: &mut Step<'_>) -> Stage {
    match answer {
        Some(Answer::SoundDoor) => sound_door(&mut open, step),
        Some(last) if last.is_final() => {
            // The service ended the session and the door still stands open: what moves from now on is nobody's.
            step.command(Command::Sound(Siren::DoorOpenTooLong));
            open.told.end(last, step);
            return Stage::Idle;
        }
        Some(answer) => open.told.basket(answer, true, step),
        None => {}
    }
    Stage::Open(open)
}

/// Once an opening, whether our own clock or the service says so first.
fn sound_door(open: &mut Open, step: &mut Step<'_>) {
    if open.sound_ms.take().is_some() {
        step.command(Command::Sound(Siren::DoorOpenTooLong));
        step.show(Display::DoorOpenTooLong);
    }
}
