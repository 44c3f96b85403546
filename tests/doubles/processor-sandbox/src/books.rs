//! The processor's own books: cards by digest, payments, refunds, the answers given, and running totals.
//!
//! Everything is found by index or by digest, so that a million payments are as quick as one. The books change by
//! [`Books::book`] only, live and when they are read back, and it decides nothing.

use std::collections::HashMap;

use serde::Serialize;

use crate::digest::{Digest, Digester, letters};
use crate::entry::{Act, Answer, Asked, Entry, Line, Method, Status, Terms};

/// How many, and how much in minor units, all currencies together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// How many.
    pub count: u64,
    /// How much.
    pub sum: i64,
}

impl Total {
    const fn add(&mut self, amount: i64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(amount);
    }

    const fn take(&mut self, amount: i64) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.saturating_sub(amount);
    }
}

/// The totals of the books.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Holds placed, with what each held in the end.
    pub authorized: Total,
    /// Holds taken, with what was taken.
    pub captured: Total,
    /// Holds let go, with what they held.
    pub voided: Total,
    /// Refunds, with what was given back.
    pub refunded: Total,
    /// Holds that still stand.
    pub open: Total,
}

/// A payment.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) method: u32,
    pub(crate) terms: Terms,
    pub(crate) status: Status,
    pub(crate) received: i64,
    pub(crate) refunded: i64,
    /// The payment before this one with the same session.
    pub(crate) earlier: Option<u32>,
}

/// A refund.
#[derive(Debug)]
pub(crate) struct Refund {
    pub(crate) intent: u32,
    pub(crate) amount: i64,
}

/// The books.
pub(crate) struct Books {
    pub(crate) digester: Digester,
    /// What all ids of these books begin with.
    pub(crate) prefix: String,
    pub(crate) methods: Vec<Method>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) refunds: Vec<Refund>,
    pub(crate) ledger: Ledger,
    newest_of_session: HashMap<Digest, u32>,
    answers: HashMap<Digest, (Digest, Answer)>,
    declines: HashMap<Digest, String>,
    limits: HashMap<Digest, i64>,
    reasons: Vec<String>,
}

impl Books {
    pub(crate) fn new(salt: &[u8]) -> Self {
        let digester = Digester::new(salt);
        let prefix = letters(ring::digest::digest(&ring::digest::SHA256, salt).as_ref()).chars().take(8).collect();
        Self {
            digester,
            prefix,
            methods: Vec::new(),
            intents: Vec::new(),
            refunds: Vec::new(),
            ledger: Ledger::default(),
            newest_of_session: HashMap::new(),
            answers: HashMap::new(),
            declines: HashMap::new(),
            limits: HashMap::new(),
            reasons: Vec::new(),
        }
    }

    /// The answer given to this key before, and the body it was given to.
    pub(crate) fn answered(&self, key: Digest) -> Option<(Digest, Answer)> {
        self.answers.get(&key).copied()
    }

    pub(crate) fn intent(&self, index: u32) -> Option<&Intent> {
        self.intents.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn method(&self, index: u32) -> Option<&Method> {
        self.methods.get(usize::try_from(index).ok()?)
    }

    /// Why a card is declined, if it is.
    pub(crate) fn decline_of(&self, card: Digest) -> Option<&str> {
        self.declines.get(&card).map(String::as_str)
    }

    /// The most a card holds.
    pub(crate) fn limit_of(&self, card: Digest) -> Option<i64> {
        self.limits.get(&card).copied()
    }

    pub(crate) fn reason(&self, index: u32) -> &str {
        usize::try_from(index).ok().and_then(|index| self.reasons.get(index)).map_or("generic_decline", String::as_str)
    }

    /// A session's payments, the newest first.
    pub(crate) fn of_session(&self, session: &str) -> Vec<u32> {
        let digest = self.session_digest(session);
        let newest = self.newest_of_session.get(&digest).copied();
        std::iter::successors(newest, |index| self.intent(*index).and_then(|intent| intent.earlier)).collect()
    }

    pub(crate) fn session_digest(&self, session: &str) -> Digest {
        self.digester.of("session", &[session.as_bytes()])
    }

    /// Books a line that is not the first; answers what the request is answered.
    pub(crate) fn book(&mut self, line: Line) -> Option<Answer> {
        match line {
            Line::Salt(_) => None,
            Line::Decline { card, reason } => {
                set(&mut self.declines, card, reason);
                None
            }
            Line::Limit { card, most_minor } => {
                set(&mut self.limits, card, most_minor);
                None
            }
            Line::Entry(Entry { asked, act }) => {
                let answer = self.act(act)?;
                if let Some(Asked { key, body }) = asked {
                    self.answers.insert(key, (body, answer));
                }
                Some(answer)
            }
        }
    }

    fn act(&mut self, act: Act) -> Option<Answer> {
        match act {
            Act::Stored(method) => Some(Answer::Method(push(&mut self.methods, method)?)),
            Act::Authorized { method, session, terms, declined } => self.authorize(method, session, terms, declined),
            Act::Raised { intent, declined: Some(reason), .. } => {
                Some(Answer::Declined { intent, reason: self.reason_index(reason)? })
            }
            Act::Raised { intent, to, declined: None } => {
                let raised = intent_mut(&mut self.intents, intent)?;
                let by = to.saturating_sub(raised.terms.amount);
                raised.terms.amount = to;
                self.ledger.authorized.sum = self.ledger.authorized.sum.saturating_add(by);
                self.ledger.open.sum = self.ledger.open.sum.saturating_add(by);
                self.snapshot(intent)
            }
            Act::Captured { intent, amount } => {
                let held = self.end(intent, Status::Succeeded)?;
                intent_mut(&mut self.intents, intent)?.received = amount;
                self.ledger.open.take(held);
                self.ledger.captured.add(amount);
                self.snapshot(intent)
            }
            Act::Voided { intent } => {
                let stood = self.intent(intent)?.status == Status::RequiresCapture;
                let held = self.end(intent, Status::Canceled)?;
                if stood {
                    self.ledger.open.take(held);
                    self.ledger.voided.add(held);
                }
                self.snapshot(intent)
            }
            Act::Refunded { intent, amount } => {
                let refunded = &mut intent_mut(&mut self.intents, intent)?.refunded;
                *refunded = refunded.saturating_add(amount);
                self.ledger.refunded.add(amount);
                Some(Answer::Refund(push(&mut self.refunds, Refund { intent, amount })?))
            }
            Act::Refused(refusal) => Some(Answer::Refused(refusal)),
        }
    }

    fn authorize(
        &mut self,
        method: u32,
        session: Option<Digest>,
        terms: Terms,
        declined: Option<String>,
    ) -> Option<Answer> {
        let earlier = session.and_then(|session| self.newest_of_session.get(&session).copied());
        let status = if declined.is_some() { Status::RequiresPaymentMethod } else { Status::RequiresCapture };
        let amount = terms.amount;
        let intent = Intent { method, terms, status, received: 0, refunded: 0, earlier };
        let intent = push(&mut self.intents, intent)?;
        if let Some(session) = session {
            self.newest_of_session.insert(session, intent);
        }
        if let Some(reason) = declined {
            return Some(Answer::Declined { intent, reason: self.reason_index(reason)? });
        }
        self.ledger.authorized.add(amount);
        self.ledger.open.add(amount);
        self.snapshot(intent)
    }

    /// Ends a payment; answers what it held.
    fn end(&mut self, index: u32, status: Status) -> Option<i64> {
        let intent = intent_mut(&mut self.intents, index)?;
        intent.status = status;
        Some(intent.terms.amount)
    }

    /// The answer that shows a payment as it is now.
    pub(crate) fn snapshot(&self, index: u32) -> Option<Answer> {
        let Intent { status, received, terms, .. } = self.intent(index)?;
        Some(Answer::Intent { intent: index, status: *status, amount: terms.amount, received: *received })
    }

    fn reason_index(&mut self, reason: String) -> Option<u32> {
        let known = self.reasons.iter().position(|known| *known == reason);
        known.map_or_else(|| push(&mut self.reasons, reason), |index| u32::try_from(index).ok())
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Option<u32> {
    let index = u32::try_from(list.len()).ok()?;
    list.push(item);
    Some(index)
}

fn intent_mut(intents: &mut [Intent], index: u32) -> Option<&mut Intent> {
    intents.get_mut(usize::try_from(index).ok()?)
}

fn set<V>(map: &mut HashMap<Digest, V>, key: Digest, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
