//! What the processor holds for a session, and the one increment that may be in flight.
//!
//! One at a time, because two raises that cross each other have no order at the processor. What was refused is not
//! asked for again, nor anything above it; a smaller raise is, if the basket ever needs just that. So each refusal lowers
//! what may still be asked for, and a session asks a bounded number of times. A raise that was granted in part says
//! exactly what the card is good for: nothing beyond it is asked for.
//!
//! What the basket came to need while a raise was in flight is remembered, even if it has fallen again, and asked for
//! after the answer, the most first. So what is held in the end follows from the touches and from what the card is good
//! for, not from how fast the processor answers: one day played at two paces, or through crashes, leaves equal books.

use pci_contract::Money;
use serde::{Deserialize, Serialize};

use crate::{
    Display, Effect, Effects, StepError,
    error::{CorruptSession, invariant},
};

/// The most needs that are remembered while a raise is in flight; one beyond them costs the smallest its place.
const MOST_WANTED: usize = 16;

/// The hold while a door is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    authorized: Money,
    limit: Limit,
    /// The most that was ever asked for. What was given up may still be granted, but no more than this.
    #[serde(default)]
    most_asked: Option<Money>,
    /// The least that was refused and was not granted since: a smaller raise that is granted does not undo it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Money>,
    /// What the basket needed beyond the hold while a raise was in flight, the smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wanted: Vec<Money>,
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
        /// The fridge was told that what is held now is the limit.
        #[serde(default)]
        shown: bool,
    },
    /// A raise was refused, in whole or in part.
    Reached {
        /// The least that is known not to be granted, or what is held when it was granted in part.
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
        Self { authorized, limit: Limit::Free, most_asked: None, refused: None, wanted: Vec::new() }
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
        self.want(need)?;
        if let Limit::Asked { .. } = self.limit {
            return Ok(Effects::new());
        }
        if let Some(to) = self.wanted.pop() {
            return self.ask(to);
        }
        match self.limit {
            Limit::Reached { asked, shown: false } if need.exceeds(self.authorized)? => {
                self.limit = Limit::Reached { asked, shown: true };
                Ok(vec![Effect::Show(Display::LimitReached { limit: self.authorized })])
            }
            _ => Ok(Effects::new()),
        }
    }

    /// Remembers `need`, and forgets what is held by now or known not to be granted.
    fn want(&mut self, need: Money) -> Result<(), StepError> {
        let mut wanted = Vec::with_capacity(self.wanted.len().saturating_add(1));
        for amount in self.wanted.iter().copied().chain([need]) {
            if self.may_ask(amount)? && !wanted.contains(&amount) {
                wanted.push(amount);
            }
        }
        wanted.sort_unstable_by_key(|amount| amount.minor());
        if wanted.len() > MOST_WANTED {
            wanted.remove(0);
        }
        self.wanted = wanted;
        Ok(())
    }

    /// Whether it is more than what is held, and neither asked for already nor known not to be granted.
    fn may_ask(&self, to: Money) -> Result<bool, StepError> {
        let open = match self.limit {
            Limit::Free => true,
            Limit::Asked { to: asked, .. } => asked != to,
            Limit::Reached { asked, .. } => asked.exceeds(to)?,
        };
        let below = self.refused.map_or(Ok(true), |refused| refused.exceeds(to))?;
        Ok(open && below && to.exceeds(self.authorized)?)
    }

    fn ask(&mut self, to: Money) -> Result<Effects, StepError> {
        let shown = matches!(self.limit, Limit::Reached { shown: true, .. });
        let most = match self.most() {
            Some(most) if !to.exceeds(most)? => most,
            _ => to,
        };
        (self.most_asked, self.limit) = (Some(most), Limit::Asked { to, shown });
        Ok(vec![Effect::Increment { to }])
    }

    /// The most that was ever asked for; an older row tells only of the last raise.
    const fn most(&self) -> Option<Money> {
        match (self.most_asked, self.limit) {
            (Some(most), _) => Some(most),
            (None, Limit::Asked { to, .. }) => Some(to),
            (None, Limit::Reached { asked, .. }) => Some(asked),
            (None, Limit::Free) => None,
        }
    }

    /// The hold was raised to `to`, in whole or in part. Less than was asked is a refusal of the rest.
    pub(crate) fn raised(&mut self, to: Money) -> Result<Answer, StepError> {
        if !to.exceeds(self.authorized)? {
            return if to.is_positive() { Ok(Answer::Late) } else { Err(StepError::Amount) };
        }
        let Some(most) = self.most() else { return Ok(Answer::NotAsked) };
        if to.exceeds(most)? {
            return Err(StepError::Amount);
        }
        let (limit, answer) = match self.limit {
            // A raise that had been given up was granted after all.
            Limit::Free => (Limit::Free, Answer::Late),
            Limit::Reached { asked, .. } if !asked.exceeds(to)? => (Limit::Free, Answer::Late),
            reached @ Limit::Reached { .. } => (reached, Answer::Late),
            Limit::Asked { to: asked, .. } if !asked.exceeds(to)? => (Limit::Free, Answer::Taken),
            Limit::Asked { .. } => (Limit::Reached { asked: to, shown: false }, Answer::Taken),
        };
        self.refused = match self.refused {
            Some(refused) if refused.exceeds(to)? => Some(refused),
            _ => None,
        };
        // The hold is another now, so its limit is to be said again when it is met.
        self.limit = match (limit, self.refused) {
            (Limit::Free, Some(asked)) => Limit::Reached { asked, shown: false },
            (limit, _) => limit,
        };
        self.authorized = to;
        Ok(answer)
    }

    /// A raise to `asked` was refused. Only the one in flight counts.
    pub(crate) fn not_raised(&mut self, asked: Money) -> Result<Answer, StepError> {
        let Some(most) = self.most() else { return Ok(Answer::NotAsked) };
        if asked.exceeds(most)? {
            return Err(StepError::Amount);
        }
        Ok(match self.limit {
            Limit::Asked { to, shown } if to == asked => {
                (self.limit, self.refused) = (Limit::Reached { asked, shown }, Some(asked));
                Answer::Taken
            }
            Limit::Free | Limit::Reached { .. } | Limit::Asked { .. } => Answer::Late,
        })
    }

    /// The raise in flight, if any.
    pub(crate) const fn asked(&self) -> Option<Effect> {
        match self.limit {
            Limit::Asked { to, .. } => Some(Effect::Increment { to }),
            Limit::Free | Limit::Reached { .. } => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), CorruptSession> {
        invariant(self.authorized.is_positive(), "what is held is positive")?;
        let beyond = match self.limit {
            Limit::Free => true,
            Limit::Asked { to, .. } => to.exceeds(self.authorized) == Ok(true),
            Limit::Reached { asked, .. } => self.authorized.exceeds(asked) == Ok(false),
        };
        invariant(beyond, "a raise asks for more than is held")?;
        let refused = self.refused.is_none_or(|refused| refused.exceeds(self.authorized) == Ok(true));
        invariant(refused, "what was refused is not held")?;
        let comparable = self.wanted.iter().all(|it| it.exceeds(self.authorized).is_ok());
        invariant(comparable && self.wanted.len() <= MOST_WANTED, "what is wanted is bounded and of one currency")
    }
}
