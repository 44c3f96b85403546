//! Names of people, places and happenings. Each is a type of its own, checked once where it enters.
//!
//! A name that people choose is short printable text without spaces, and never holds more than twelve digits in a row:
//! a card number has at least thirteen, so no name can carry one past a wall. It leaves meals to `meal`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The longest run of digits any name of ours may hold; the shortest card number has one more (ISO/IEC 7812-1).
pub(crate) const MAX_DIGIT_RUN: usize = 12;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdError {
    /// Empty, or longer than the kind of name allows.
    #[error("a name has 1 to {max} characters")]
    Length {
        /// The most characters this kind of name may have.
        max: usize,
    },
    /// A character other than `A-Z a-z 0-9 . _ -`.
    #[error("a name holds only letters, digits, '.', '_' and '-'")]
    Character,
    /// A run of digits long enough to be a card number.
    #[error("a name holds at most {MAX_DIGIT_RUN} digits in a row")]
    DigitRun,
    /// Not a UUID in hyphenated lowercase form.
    #[error("not a UUID")]
    Uuid,
    /// Not `idt_` and 52 characters of lowercase base32.
    #[error("not the digest of an ID token")]
    Digest,
}

/// The longest run of ASCII digits in `text`.
pub(crate) fn longest_digit_run(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

fn check_name(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length { max });
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(IdError::Character);
    }
    if longest_digit_run(text) > MAX_DIGIT_RUN {
        return Err(IdError::DigitRun);
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $max:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks a name: 1 to the kind's most characters of `A-Z a-z 0-9 . _ -`, at most twelve digits in a row.
            ///
            /// # Errors
            /// [`IdError`] says which of these does not hold.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check_name(text, $max)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    )*};
}

names! {
    /// A fridge, as its certificate names it.
    FridgeId: 36;
    /// A customer of the subscription side.
    CustomerId: 36;
    /// A subscription that meals are made for.
    SubscriptionId: 36;
    /// The expert (dietician, coach) who earns on a purchase.
    ExpertId: 36;
    /// The code by which a customer was referred.
    ReferralCode: 36;
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that its maker vouches for.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Parses a UUID of any version in its hyphenated form (RFC 9562 section 4).
            ///
            /// # Errors
            /// [`IdError::Uuid`] when the text is not one.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if text.len() != 36 {
                    return Err(IdError::Uuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::Uuid)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }
    )*};
}

uuids! {
    /// A purchase session. The fridge makes it (UUIDv7) before it sends anything, so a repeat is always recognised.
    SessionId;
    /// An event; consumers book each id once.
    EventId;
    /// An enrolment of a card into a wallet, made by the device that reads the card.
    EnrollmentId;
}

/// What is kept of an ID token: `idt_` and the lowercase base32 of its SHA-256. The token itself is a bearer secret
/// that a customer shows at the fridge; nobody stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdTokenDigest(Box<str>);

impl IdTokenDigest {
    /// The digest of a presented token.
    #[must_use]
    pub fn of(id_token: &str) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, id_token.as_bytes());
        Self(format!("idt_{}", base32_lower(hash.as_ref())).into())
    }

    /// Parses a stored digest.
    ///
    /// # Errors
    /// [`IdError::Digest`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let body = text.strip_prefix("idt_").ok_or(IdError::Digest)?;
        if body.len() != 52 || !body.bytes().all(is_base32_lower) {
            return Err(IdError::Digest);
        }
        Ok(Self(text.into()))
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IdTokenDigest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<IdTokenDigest> for String {
    fn from(digest: IdTokenDigest) -> Self {
        digest.0.into()
    }
}

/// Unpadded lowercase base32 (RFC 4648 section 6): mostly letters, so it never reads as a card number.
pub(crate) fn base32_lower(bytes: &[u8]) -> String {
    let mut text = data_encoding::BASE32_NOPAD.encode(bytes);
    text.make_ascii_lowercase();
    text
}

pub(crate) fn is_base32_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        assert!(FridgeId::parse("FR-0001").is_ok());
        assert_eq!(FridgeId::parse(""), Err(IdError::Length { max: 36 }));
        assert_eq!(FridgeId::parse(&"x".repeat(37)), Err(IdError::Length { max: 36 }));
        assert_eq!(CustomerId::parse("CU 1"), Err(IdError::Character));
        assert_eq!(CustomerId::parse("CU/1"), Err(IdError::Character));
    }

    #[test]
    fn a_name_cannot_be_a_card_number() {
        assert_eq!(FridgeId::parse("4242424242424242"), Err(IdError::DigitRun));
        assert!(FridgeId::parse("424242424242").is_ok());
        assert!(serde_json::from_str::<CustomerId>("\"4242424242424242\"").is_err());
    }

    #[test]
    fn any_version_of_uuid_names_a_session() {
        let text = "4ed615ae-e6a0-47bb-82f2-6b7777de3d19";
        assert_eq!(SessionId::parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
        assert_eq!(SessionId::parse("4ed615aee6a047bb82f26b7777de3d19"), Err(IdError::Uuid));
    }

    #[test]
    fn the_digest_of_a_token_survives_its_text() {
        let digest = IdTokenDigest::of("idt-64746e73");
        assert_eq!(IdTokenDigest::parse(digest.as_str()), Ok(digest.clone()));
        assert_ne!(digest, IdTokenDigest::of("idt-64746e74"));
        assert_eq!(IdTokenDigest::parse("idt-64746e73"), Err(IdError::Digest));
    }
}
