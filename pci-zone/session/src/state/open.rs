//! The door is open: every touch is answered at once, and the hold follows the basket.

use pci_contract::{Money, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Closing, Ended, Moved, State, not_possible, repeats, show};
use crate::{
    Basket, Display, Effect, Effects, FridgeInput, Held, Input, Limit, Notice, Stage, StepError, Touch,
    basket::Sound,
    error::{CorruptSession, invariant},
    hold::Answer,
    settlement::{About, Ending, need},
    terms::Terms,
};

/// Someone is choosing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub(crate) terms: Terms,
    pub(crate) held: Held,
    pub(crate) basket: Basket,
    pub(crate) since: Timestamp,
    /// The fridge was told to sound.
    pub(crate) sounded: bool,
}

impl Open {
    pub(super) const fn new(terms: Terms, authorized: Money, now: Timestamp) -> Self {
        let basket = Basket::empty(authorized);
        Self { terms, held: Held::new(authorized), basket, since: now, sounded: false }
    }

    /// What is held, and whether it can grow.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// What has left the fridge.
    #[must_use]
    pub const fn basket(&self) -> &Basket {
        &self.basket
    }

    pub(super) fn step(self, about: About<'_>, input: Input, now: Timestamp) -> Moved {
        match input {
            Input::Fridge(FridgeInput::Touched(touch)) => self.touched(&touch),
            Input::Fridge(FridgeInput::DoorClosed | FridgeInput::DoorStayedShut) => {
                self.close(about, Ending::Closed, now)
            }
            Input::Abandoned => self.close(about, Ending::Abandoned, now),
            Input::Incremented { to } => {
                let before = self.held.clone();
                self.answered(before, |held| held.raised(to), &input)
            }
            Input::IncrementRefused { asked } => {
                let before = self.held.clone();
                self.answered(before, |held| held.not_raised(asked), &input)
            }
            Input::OpenTooLong => Ok(self.sound()),
            Input::Authorized { amount } => match repeats(amount, self.held.authorized()) {
                Ok(()) => Ok((State::Open(self), Effects::new())),
                Err(error) => Err((State::Open(self), error)),
            },
            Input::Fridge(FridgeInput::DoorOpened) | Input::PaymentUnavailable | Input::StayedShutTimeout => {
                Ok((State::Open(self), Effects::new()))
            }
            impossible @ (Input::Declined { .. }
            | Input::Captured { .. }
            | Input::Voided
            | Input::SettlementFailed { .. }) => {
                let error = not_possible(Stage::Open, &impossible);
                Err((State::Open(self), error))
            }
        }
    }

    pub(super) fn touched(mut self, touch: &Touch) -> Moved {
        let sound = match self.basket.touch(touch, self.terms.bearer.customer.as_ref()) {
            Ok(sound) => sound,
            Err(error) => return Err((State::Open(self), error)),
        };
        let mut effects = match sound {
            Sound::Nothing => Effects::new(),
            Sound::Alarm(barcode, kind) => show(Display::Alarm { barcode, kind }),
            Sound::Cleared(barcode) => show(Display::AlarmCleared { barcode }),
            Sound::Full => vec![Effect::Tell(Notice::BasketFull)],
        };
        match self.cover() {
            Ok(more) => effects.extend(more),
            Err(error) => return Err((State::Open(self), error)),
        }
        Ok((State::Open(self), effects))
    }

    /// An answer to the raise in flight; then the basket is looked at again, for it may have grown meanwhile.
    fn answered(
        mut self,
        before: Held,
        take: impl FnOnce(&mut Held) -> Result<Answer, StepError>,
        input: &Input,
    ) -> Moved {
        let outcome = match take(&mut self.held) {
            Ok(Answer::Taken | Answer::Late) => self.cover(),
            Ok(Answer::NotAsked) => Err(not_possible(Stage::Open, input)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(effects) => Ok((State::Open(self), effects)),
            Err(error) => Err((State::Open(Self { held: before, ..self }), error)),
        }
    }

    fn cover(&mut self) -> Result<Effects, StepError> {
        let need = need(&self.basket, &self.terms)?;
        self.held.cover(need)
    }

    fn sound(mut self) -> (State, Effects) {
        if std::mem::replace(&mut self.sounded, true) {
            return (State::Open(self), Effects::new());
        }
        (State::Open(self), vec![Effect::Show(Display::SoundDoor), Effect::Tell(Notice::OpenTooLong)])
    }

    fn close(self, about: About<'_>, ending: Ending, now: Timestamp) -> Moved {
        if self.held.asked().is_some() {
            return Ok((State::Closing(Closing::new(self, ending, now)), Effects::new()));
        }
        let authorized = self.held.authorized();
        Ended::enter(about, &self.terms, authorized, &self.basket, (ending, now), now)
            .map_err(|error| (State::Open(self), error))
    }

    /// What still matters to a fridge that comes back: alarms that sound, those that ended, since their end may not have
    /// reached it, a limit that is exceeded, the open door.
    pub(super) fn standing(&self) -> Effects {
        let mut effects: Effects = self
            .basket
            .sounding()
            .map(|(id, kind)| Effect::Show(Display::Alarm { barcode: id.clone(), kind }))
            .collect();
        let ended = self.basket.silenced().map(|id| Effect::Show(Display::AlarmCleared { barcode: id.clone() }));
        effects.extend(ended);
        let limit = self.held.authorized();
        let exceeded = need(&self.basket, &self.terms).and_then(|need| Ok(need.exceeds(limit)?)) == Ok(true);
        if exceeded && matches!(self.held.limit(), Limit::Reached { shown: true, .. }) {
            effects.push(Effect::Show(Display::LimitReached { limit }));
        }
        if self.sounded {
            effects.push(Effect::Show(Display::SoundDoor));
        }
        effects
    }

    pub(super) fn check(&self) -> Result<(), CorruptSession> {
        self.held.check()?;
        let covers = self.terms.hold.exceeds(self.held.authorized()) == Ok(false);
        invariant(covers, "the door unlocks on no less than the hold")?;
        self.basket.check(self.terms.hold)
    }
}
