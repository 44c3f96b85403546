//! Idempotency keys: the one thing that makes a repeat harmless.
//!
//! A key is made from what is asked, never drawn by chance: session, verb, and how many of that verb came before. So
//! whoever asks again after a crash, from the journal or from the store, makes the same key; a fresh key for the same
//! act cannot be made. It leaves counting the asks of a session to the caller.

use std::fmt;

use pci_contract::{EnrollmentId, SessionId};
use thiserror::Error;

/// What a processor is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Keep a card and answer with a reference to it.
    StoreCard,
    /// Hold an amount on a card.
    Authorize,
    /// Hold more.
    Increment,
    /// Take (part of) what is held; the rest is let go.
    Capture,
    /// Let the hold go.
    Void,
    /// Give back (part of) what was taken.
    Refund,
}

impl Verb {
    /// Every verb, in the order of a payment's life.
    pub const ALL: [Self; 6] =
        [Self::StoreCard, Self::Authorize, Self::Increment, Self::Capture, Self::Void, Self::Refund];

    /// The verb's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoreCard => "store_card",
            Self::Authorize => "authorize",
            Self::Increment => "increment",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }

    /// Parses a stable name; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not an idempotency key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an idempotency key is '<uuid>-<verb>-<n>'")]
pub struct KeyError;

/// An idempotency key: `<session>-<verb>-<n>`. Equal asks have equal keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The key of a session's `n`-th ask of this verb, counted by the caller.
    #[must_use]
    pub fn new(session: SessionId, verb: Verb, n: u32) -> Self {
        Self(format!("{session}-{verb}-{n}").into())
    }

    /// The key under which an enrolment stores its card; an enrolment asks for nothing else.
    #[must_use]
    pub fn of_enrollment(enrollment: EnrollmentId) -> Self {
        Self(format!("{enrollment}-{}-0", Verb::StoreCard).into())
    }

    /// Parses a key that was written down before.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot have been made here.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (owner, ask) = text.split_at_checked(36).ok_or(KeyError)?;
        SessionId::parse(owner).map_err(|_| KeyError)?;
        let (verb, n) = ask.strip_prefix('-').and_then(|ask| ask.rsplit_once('-')).ok_or(KeyError)?;
        Verb::parse(verb).ok_or(KeyError)?;
        let number: u32 = n.parse().map_err(|_| KeyError)?;
        if number.to_string() == n { Ok(Self(text.into())) } else { Err(KeyError) }
    }

    /// The key as text: letters, digits, `-` and `_` only.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "0195a5e0-7c1e-7abc-8def-0123456789ab";

    #[test]
    fn the_same_ask_makes_the_same_key() {
        let session = SessionId::parse(SESSION).unwrap();
        let key = IdempotencyKey::new(session, Verb::Capture, 1);
        assert_eq!(key.as_str(), format!("{SESSION}-capture-1"));
        assert_eq!(key, IdempotencyKey::new(session, Verb::Capture, 1));
        assert_ne!(key, IdempotencyKey::new(session, Verb::Capture, 2));
        assert_ne!(key, IdempotencyKey::new(session, Verb::Void, 1));
    }

    #[test]
    fn every_key_survives_its_text() {
        let session = SessionId::parse(SESSION).unwrap();
        for verb in Verb::ALL {
            let key = IdempotencyKey::new(session, verb, 7);
            assert_eq!(IdempotencyKey::parse(key.as_str()), Ok(key));
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
        }
        let enrolled = IdempotencyKey::of_enrollment(EnrollmentId::parse(SESSION).unwrap());
        assert_eq!(IdempotencyKey::parse(enrolled.as_str()), Ok(enrolled));
    }

    #[test]
    fn what_we_never_made_is_no_key() {
        for bad in [
            "",
            "x",
            SESSION,
            &format!("{SESSION}-capture"),
            &format!("{SESSION}-capture-"),
            &format!("{SESSION}-capture-01"),
            &format!("{SESSION}-capture-+1"),
            &format!("{SESSION}-capture-4294967296"),
            &format!("{SESSION}-steal-1"),
            &format!("{SESSION}capture-1"),
            "4242424242424242",
            "é".repeat(40).as_str(),
        ] {
            assert_eq!(IdempotencyKey::parse(bad), Err(KeyError), "{bad}");
        }
    }
}
