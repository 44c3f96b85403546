//! How a card crosses the fridge's network and our own front: sealed, so that no message, buffer or log can hold it.
//!
//! The suite is HPKE (RFC 9180) base mode, DHKEM(P-256, HKDF-SHA256) 0x0010, HKDF-SHA256 0x0001, AES-128-GCM 0x0001,
//! one message per encapsulated key. The plain text is the card's track-2 text `PAN=YYMM…`. `info` is
//! [`SealingContext::INFO`]; the associated data binds the card to one fridge and one session, so that a sealed card
//! taken from one message is worth nothing in another. The sealing itself is the fridge's, the opening the vault's.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{FridgeId, SessionId};

/// Why a sealed card is not even worth opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealedCardError {
    /// The encapsulated key is not 65 bytes that begin with 04 (SEC 1, uncompressed point).
    #[error("the encapsulated key is not an uncompressed P-256 point")]
    EncapsulatedKey,
    /// The cipher text is shorter than its tag or longer than a track.
    #[error("the sealed card has {min} to {max} bytes")]
    Length {
        /// The fewest bytes.
        min: usize,
        /// The most bytes.
        max: usize,
    },
    /// The key id is not 1 to 40 characters of `a-z 0-9 -`.
    #[error("not a sealing key id")]
    KeyId,
}

/// Names one sealing key of the vault, for example `seal-1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealingKeyId(Box<str>);

impl SealingKeyId {
    /// Parses 1 to 40 characters of `a-z 0-9 -`.
    ///
    /// # Errors
    /// [`SealedCardError::KeyId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, SealedCardError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=40).contains(&text.len()) && text.bytes().all(allowed);
        if !fits || crate::id::longest_digit_run(text) > crate::id::MAX_DIGIT_RUN {
            return Err(SealedCardError::KeyId);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SealingKeyId {
    type Error = SealedCardError;
    fn try_from(text: String) -> Result<Self, SealedCardError> {
        Self::parse(&text)
    }
}

impl From<SealingKeyId> for String {
    fn from(id: SealingKeyId) -> Self {
        id.0.into()
    }
}

/// The public half of a sealing key, as fridges get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingKey {
    /// Which key it is.
    pub id: SealingKeyId,
    /// The uncompressed P-256 point (SEC 1 section 2.3.3).
    pub public: [u8; 65],
}

/// What a sealed card is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingContext {
    /// The fridge whose reader read the card.
    pub fridge: FridgeId,
    /// The session (or the enrolment, whose id takes the same place) it was read for.
    pub session: SessionId,
}

impl SealingContext {
    /// HPKE's `info`.
    pub const INFO: &'static [u8] = b"larder sealed card v1";

    /// HPKE's associated data: the fridge id, a zero byte, the session id in hyphenated text.
    #[must_use]
    pub fn associated_data(&self) -> Vec<u8> {
        format!("{}\0{}", self.fridge, self.session).into_bytes()
    }
}

/// A sealed card as it came over the wire: its shape is checked, its content is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCard {
    key: SealingKeyId,
    encapsulated_key: Box<[u8; 65]>,
    cipher_text: Box<[u8]>,
}

impl SealedCard {
    /// The fewest bytes of cipher text: a tag alone.
    pub const MIN_BYTES: usize = 16;
    /// The most bytes of cipher text: a track and a tag, with room to spare.
    pub const MAX_BYTES: usize = 128;

    /// Checks the shape of a sealed card.
    ///
    /// # Errors
    /// [`SealedCardError`] says which part cannot be one.
    pub fn parse(key_id: &str, encapsulated_key: &[u8], cipher_text: &[u8]) -> Result<Self, SealedCardError> {
        let key = SealingKeyId::parse(key_id)?;
        let encapsulated_key: [u8; 65] = encapsulated_key.try_into().map_err(|_| SealedCardError::EncapsulatedKey)?;
        if encapsulated_key.first() != Some(&4) {
            return Err(SealedCardError::EncapsulatedKey);
        }
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&cipher_text.len()) {
            return Err(SealedCardError::Length { min: Self::MIN_BYTES, max: Self::MAX_BYTES });
        }
        Ok(Self { key, encapsulated_key: Box::new(encapsulated_key), cipher_text: cipher_text.into() })
    }

    /// Which key it is sealed to.
    #[must_use]
    pub const fn key(&self) -> &SealingKeyId {
        &self.key
    }

    /// The sender's encapsulated key, an uncompressed point that is not yet known to lie on the curve.
    #[must_use]
    pub const fn encapsulated_key(&self) -> &[u8; 65] {
        &self.encapsulated_key
    }

    /// Cipher text and tag.
    #[must_use]
    pub const fn cipher_text(&self) -> &[u8] {
        &self.cipher_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_bound_to_fridge_and_session() {
        let context = SealingContext {
            fridge: FridgeId::parse("FR-0001").expect("a name"),
            session: SessionId::parse("4ed615ae-e6a0-47bb-82f2-6b7777de3d19").expect("a UUID"),
        };
        assert_eq!(context.associated_data(), b"FR-0001\x004ed615ae-e6a0-47bb-82f2-6b7777de3d19");
    }

    #[test]
    fn shapes_that_cannot_be_a_sealed_card_are_refused() {
        let point = [4_u8; 65];
        assert!(SealedCard::parse("seal-1", &point, &[0; 40]).is_ok());
        assert_eq!(SealedCard::parse("Seal", &point, &[0; 40]), Err(SealedCardError::KeyId));
        assert_eq!(SealedCard::parse("seal-1", &[4; 64], &[0; 40]), Err(SealedCardError::EncapsulatedKey));
        assert_eq!(SealedCard::parse("seal-1", &[2; 65], &[0; 40]), Err(SealedCardError::EncapsulatedKey));
        let length = Err(SealedCardError::Length { min: 16, max: 128 });
        assert_eq!(SealedCard::parse("seal-1", &point, &[0; 15]), length);
        assert_eq!(SealedCard::parse("seal-1", &point, &[0; 129]), length);
    }
}
