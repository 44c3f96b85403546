//! What the processor holds for a session, and the one increment that may be in flight.
//!
//! One at a time, because two raises that cross each other have no order at the processor. A refused raise is final
//! for the session: asking again would only repeat the refusal while the door is open.

use pci_contract::Money;
use serde::{Deserialize, Serialize};

use crate::{
    Display, Effect, Effects, StepError,
    error::{CorruptSession, invariant},
};

/// The hold while a door is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    authorized: Money,
    limit: Limit,
}

/// Whether the hold can still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Nothing more was needed so far, or all of it was granted.
    Free,
    /// A raise is in flight.
    Asked {
        /// To how much in all.
        to: Money,
    },
    /// A raise was refused, in whole or in part.
    Reached {
        /// What had been asked for.
        asked: Money,
        /// The fridge was told, which happens once.
        shown: bool,
    },
}

/// What became of an answer to a raise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was the one awaited.
    Taken,
    /// It was known, or came after the driver had given up.
    Late,
    /// Nobody asked.
    NotAsked,
}

impl Held {
    pub(crate) const fn new(authorized: Money) -> Self {
        Self { authorized, limit: Limit::Free }
    }

    /// What may be captured.
    #[must_use]
    pub const fn authorized(&self) -> Money {
        self.authorized
    }

    /// Whether the hold can still grow.
    #[must_use]
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// What must be done so that `need` is held: nothing, one increment, or to say once that the limit is reached.
    pub(crate) fn cover(&mut self, need: Money) -> Result<Effects, StepError> {
        if !need.exceeds(self.authorized)? {
            return Ok(Effects::new());
        }
        match self.limit {
            Limit::Free => {
                self.limit = Limit::Asked { to: need };
                Ok(vec![Effect::Increment { to: need }])
            }
            Limit::Reached { asked, shown: false } => {
                self.limit = Limit::Reached { asked, shown: true };
                Ok(vec![Effect::Show(Display::LimitReached { limit: self.authorized })])
            }
            Limit::Asked { .. } | Limit::Reached { shown: true, .. } => Ok(Effects::new()),
        }
    }

    /// The hold was raised to `to`, in whole or in part. Less than was asked is a refusal of the rest.
    pub(crate) fn raised(&mut self, to: Money) -> Result<Answer, StepError> {
        if !to.exceeds(self.authorized)? {
            return if to.is_positive() { Ok(Answer::Late) } else { Err(StepError::Amount) };
        }
        let (limit, answer) = match self.limit {
            Limit::Free => return Ok(Answer::NotAsked),
            Limit::Asked { to: asked } | Limit::Reached { asked, .. } if to.exceeds(asked)? => {
                return Err(StepError::Amount);
            }
            Limit::Asked { to: asked } if to == asked => (Limit::Free, Answer::Taken),
            Limit::Asked { to: asked } => (Limit::Reached { asked, shown: false }, Answer::Taken),
            reached @ Limit::Reached { .. } => (reached, Answer::Late),
        };
        (self.authorized, self.limit) = (to, limit);
        Ok(answer)
    }

    /// The raise in flight was refused.
    pub(crate) const fn not_raised(&mut self) -> Answer {
        match self.limit {
            Limit::Free => Answer::NotAsked,
            Limit::Reached { .. } => Answer::Late,
            Limit::Asked { to } => {
                self.limit = Limit::Reached { asked: to, shown: false };
                Answer::Taken
            }
        }
    }

    /// The raise in flight, if any.
    pub(crate) const fn asked(&self) -> Option<Effect> {
        match self.limit {
            Limit::Asked { to } => Some(Effect::Increment { to }),
            Limit::Free | Limit::Reached { .. } => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), CorruptSession> {
        invariant(self.authorized.is_positive(), "what is held is positive")?;
        let beyond = match self.limit {
            Limit::Free => true,
            Limit::Asked { to } => to.exceeds(self.authorized) == Ok(true),
            Limit::Reached { asked, .. } => self.authorized.exceeds(asked) == Ok(false),
        };
        invariant(beyond, "a raise asks for more than is held")
    }
}
