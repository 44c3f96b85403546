//! Decides requests, one at a time: what a processor does with a card, a hold, a capture.
//!
//! All decisions happen under one lock in the order they arrive, so that two refunds at once cannot both spend the same
//! money. A request is first claimed by its key, then decided; between the two other requests may pass, and a second
//! one with the same key is told to wait.

use std::collections::HashSet;
use std::io;

use crate::books::Books;
use crate::clock;
use crate::digest::Digest;
use crate::entry::{Act, Answer, Asked, Brand, Entry, Line, Method, Refusal, Status, Terms};
use crate::journal::Journal;

/// The most a payment may be, in minor units (as Stripe).
pub(crate) const MAX_AMOUNT_MINOR: i64 = 99_999_999;

/// A well-formed request.
pub(crate) enum Ask {
    StoreCard { number: String, exp_month: u8, exp_year: u16 },
    Authorize { method: u32, amount: i64, currency: String, session: Option<String>, metadata: Box<str> },
    Increment { intent: u32, to: i64 },
    Capture { intent: u32, amount: Option<i64> },
    Void { intent: u32 },
    Refund { intent: u32, amount: Option<i64> },
}

/// What a key says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is new: decide it.
    New,
    /// It was answered before.
    Answered(Answer),
    /// The key was used for something else.
    OtherBody,
    /// The same key is being decided.
    InUse,
}

/// The desk with its books.
pub(crate) struct Desk {
    pub(crate) books: Books,
    journal: Journal,
    in_use: HashSet<Digest>,
}

impl Desk {
    pub(crate) fn new((books, journal): (Books, Journal)) -> Self {
        Self { books, journal, in_use: HashSet::new() }
    }

    /// Claims a key for a request.
    pub(crate) fn claim(&mut self, asked: Option<Asked>) -> Claim {
        let Some(Asked { key, body }) = asked else { return Claim::New };
        match self.books.answered(key) {
            Some((known, answer)) if known == body => Claim::Answered(answer),
            Some(_) => Claim::OtherBody,
            None if self.in_use.insert(key) => Claim::New,
            None => Claim::InUse,
        }
    }

    /// Lets a claimed key go without an answer.
    pub(crate) fn release(&mut self, asked: Option<Asked>) {
        if let Some(Asked { key, .. }) = asked {
            self.in_use.remove(&key);
        }
    }

    /// Decides a claimed request, writes the decision down and answers; `None` when something it names does not exist.
    pub(crate) fn decide(&mut self, asked: Option<Asked>, ask: Ask) -> io::Result<Option<Answer>> {
        self.release(asked);
        let Some(act) = self.judge(ask) else { return Ok(None) };
        self.write(Line::Entry(Entry { asked, act }))
    }

    /// Writes a line down and books it.
    pub(crate) fn write(&mut self, line: Line) -> io::Result<Option<Answer>> {
        self.journal.write(&line)?;
        Ok(self.books.book(line))
    }

    fn judge(&self, ask: Ask) -> Option<Act> {
        match ask {
            Ask::StoreCard { number, exp_month, exp_year } => Some(self.store(&number, exp_month, exp_year)),
            Ask::Authorize { method, amount, currency, session, metadata } => {
                let card = self.books.method(method)?.card;
                let terms = Terms { amount, currency, metadata, created: clock::now_unix_s() };
                let session = session.map(|session| self.books.session_digest(&session));
                let declined = self.books.decline_of(card).map(str::to_owned);
                Some(Act::Authorized { method, session, terms, declined })
            }
            Ask::Increment { intent, to } => self.raise(intent, to),
            Ask::Capture { intent, amount } => {
                let known = self.books.intent(intent)?;
                let amount = amount.unwrap_or(known.terms.amount);
                Some(match known.status {
                    Status::RequiresCapture if amount > known.terms.amount => Act::Refused(Refusal::AmountTooLarge),
                    Status::RequiresCapture => Act::Captured { intent, amount },
                    status => Act::Refused(Refusal::UnexpectedState(status)),
                })
            }
            Ask::Void { intent } => Some(match self.books.intent(intent)?.status {
                Status::RequiresCapture | Status::RequiresPaymentMethod => Act::Voided { intent },
                status => Act::Refused(Refusal::UnexpectedState(status)),
            }),
            Ask::Refund { intent, amount } => self.refund(intent, amount),
        }
    }

    fn store(&self, number: &str, exp_month: u8, exp_year: u16) -> Act {
        if !passes_luhn(number) {
            return Act::Refused(Refusal::IncorrectNumber);
        }
        let (year, month) = year_and_month(clock::now_unix_s());
        if (i64::from(exp_year), exp_month) < (year, month) {
            return Act::Refused(Refusal::ExpiredCard);
        }
        Act::Stored(Method {
            card: self.card_digest(number),
            brand: Brand::of(number),
            last4: number.get(number.len().saturating_sub(4)..).unwrap_or_default().to_owned(),
            exp_month,
            exp_year,
            created: clock::now_unix_s(),
        })
    }

    fn raise(&self, intent: u32, to: i64) -> Option<Act> {
        let known = self.books.intent(intent)?;
        let card = self.books.method(known.method)?.card;
        let over_limit = self.books.limit_of(card).is_some_and(|most| to > most);
        let declined =
            self.books.decline_of(card).map(str::to_owned).or_else(|| over_limit.then(|| "insufficient_funds".into()));
        Some(match known.status {
            Status::RequiresCapture if to <= known.terms.amount => Act::Refused(Refusal::AmountTooSmall),
            Status::RequiresCapture => Act::Raised { intent, to, declined },
            status => Act::Refused(Refusal::UnexpectedState(status)),
        })
    }

    fn refund(&self, intent: u32, amount: Option<i64>) -> Option<Act> {
        let known = self.books.intent(intent)?;
        let left = known.received.saturating_sub(known.refunded);
        let amount = amount.unwrap_or(left);
        Some(match known.status {
            Status::Succeeded if left == 0 => Act::Refused(Refusal::AlreadyRefunded),
            Status::Succeeded if amount > left => Act::Refused(Refusal::AmountTooLarge),
            Status::Succeeded => Act::Refunded { intent, amount },
            status => Act::Refused(Refusal::UnexpectedState(status)),
        })
    }

    /// How a card is known in these books.
    pub(crate) fn card_digest(&self, number: &str) -> Digest {
        self.books.digester.of("card", &[number.as_bytes()])
    }
}

fn passes_luhn(number: &str) -> bool {
    let digit = |letter: char| letter.to_digit(10);
    let sum = number.chars().rev().enumerate().try_fold(0_u32, |sum, (place, letter)| {
        let doubled = digit(letter)? * if place % 2 == 1 { 2 } else { 1 };
        Some(sum + doubled / 10 + doubled % 10)
    });
    (12..=19).contains(&number.len()) && sum.is_some_and(|sum| sum % 10 == 0)
}

fn year_and_month(unix_s: i64) -> (i64, u8) {
    let at = time::OffsetDateTime::from_unix_timestamp(unix_s).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    (i64::from(at.year()), u8::from(at.month()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits() {
        assert!(passes_luhn("4242424242424242"));
        assert!(passes_luhn("6205500000000000004"));
        for bad in ["4242424242424241", "", "42", "424242424242424x"] {
            assert!(!passes_luhn(bad), "{bad}");
        }
    }

    #[test]
    fn months_are_of_the_calendar() {
        assert_eq!(year_and_month(1_772_431_228), (2026, 3));
        assert_eq!(year_and_month(0), (1970, 1));
    }
}
