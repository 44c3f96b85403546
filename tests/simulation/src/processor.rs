//! A processor with books: the same key gets the same answer, whatever it did the first time.

use std::collections::BTreeMap;

use pci_contract::{ReasonCode, SessionId};
use pci_session::Input;

use crate::{chance::Chance, outcome::Failure, world::usd};

/// What is asked of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Authorize,
    Increment,
    Capture,
    Void,
}

/// A question, and the key by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) session: SessionId,
    pub(crate) verb: Verb,
    /// Zero for a void.
    pub(crate) minor: i64,
}

/// What is on the books for a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) held_minor: i64,
    pub(crate) captured_minor: i64,
    pub(crate) captures: u32,
    /// Whether the hold is gone: captured, released or expired.
    pub(crate) closed: bool,
}

/// A raise that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raise {
    asked_minor: i64,
    /// What is held after it; `None` when it was refused.
    granted_minor: Option<i64>,
}

impl Raise {
    /// Whether it shows that the card is not good for this much.
    pub(crate) const fn limits(&self, minor: i64) -> bool {
        match self.granted_minor {
            Some(granted) => granted < self.asked_minor && granted < minor,
            None => self.asked_minor <= minor,
        }
    }
}

/// The processor.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    answers: BTreeMap<Question, Input>,
    pub(crate) accounts: BTreeMap<SessionId, Account>,
}

impl Processor {
    /// Answers a question; the second time as the first.
    pub(crate) fn answer(&mut self, question: Question, chance: &mut Chance) -> Result<Input, Failure> {
        if let Some(answer) = self.answers.get(&question) {
            return Ok(answer.clone());
        }
        let account = self.accounts.entry(question.session).or_default();
        let answer = match question.verb {
            Verb::Authorize => account.authorize(question.minor, chance),
            Verb::Increment => account.increment(question.minor, chance),
            Verb::Capture => account.capture(question, chance)?,
            Verb::Void => account.void(question, chance)?,
        };
        self.answers.insert(question, answer.clone());
        Ok(answer)
    }

    /// The raises that a session asked for, and what came of them.
    pub(crate) fn raises(&self, session: SessionId) -> Vec<Raise> {
        let of_session = |question: &Question| question.session == session && question.verb == Verb::Increment;
        let raise = |(question, answer): (&Question, &Input)| Raise {
            asked_minor: question.minor,
            granted_minor: match answer {
                Input::Incremented { to } => Some(to.minor()),
                _ => None,
            },
        };
        self.answers.iter().filter(|(question, _)| of_session(question)).map(raise).collect()
    }

    /// How many different questions of this kind a session asked.
    pub(crate) fn asked(&self, session: SessionId, verb: Verb) -> usize {
        self.answers.keys().filter(|question| question.session == session && question.verb == verb).count()
    }
}

impl Account {
    fn authorize(&mut self, minor: i64, chance: &mut Chance) -> Input {
        match chance.below(30) {
            0 | 1 => return Input::Declined { reason: ReasonCode::CARD_DECLINED },
            2 => self.held_minor = minor / 2,
            _ => self.held_minor = minor,
        }
        Input::Authorized { amount: usd(self.held_minor) }
    }

    fn increment(&mut self, to_minor: i64, chance: &mut Chance) -> Input {
        let more = to_minor - self.held_minor;
        match chance.below(6) {
            _ if self.closed || more <= 0 => return Input::IncrementRefused { asked: usd(to_minor) },
            0 => return Input::IncrementRefused { asked: usd(to_minor) },
            1 if more > 1 => self.held_minor += more / 2,
            _ => self.held_minor = to_minor,
        }
        Input::Incremented { to: usd(self.held_minor) }
    }

    fn capture(&mut self, question: Question, chance: &mut Chance) -> Result<Input, Failure> {
        if self.captures > 0 || self.closed {
            return Err(Failure::new(format!("{} is captured again, or after its release", question.session)));
        }
        if question.minor > self.held_minor || question.minor <= 0 {
            return Err(Failure::new(format!("{} is captured beyond its hold, or for nothing", question.session)));
        }
        self.closed = true;
        if chance.one_in(30) {
            return Ok(Input::SettlementFailed { reason: ReasonCode::CARD_DECLINED });
        }
        self.captures += 1;
        self.captured_minor = question.minor;
        Ok(Input::Captured { amount: usd(question.minor) })
    }

    fn void(&mut self, question: Question, chance: &mut Chance) -> Result<Input, Failure> {
        if self.captures > 0 || self.held_minor == 0 {
            return Err(Failure::new(format!("{} is released with nothing held", question.session)));
        }
        self.closed = true;
        if chance.one_in(30) {
            return Ok(Input::SettlementFailed { reason: ReasonCode::CARD_DECLINED });
        }
        Ok(Input::Voided)
    }
}
