//! The token that stands for a card everywhere outside the vault, and the little else that may be known of a card.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{base32_lower, is_base32_lower};

/// Bytes of the keyed hash that a token carries.
const MAC_BYTES: usize = 16;
/// Characters those bytes take in unpadded base32.
const MAC_TEXT: usize = 26;

/// Why a text is not a token or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not `tok_`, a key version and 26 characters of base32.
    #[error("not a card token")]
    Token,
    /// Not four digits.
    #[error("not the last four digits of a card")]
    LastFour,
    /// Not a known brand.
    #[error("not a card brand")]
    Brand,
}

/// A card's token: `tok_`, the version of the HSM key that made it, `_`, and the lowercase base32 of 16 bytes of
/// HMAC-SHA-256 over the card number. The same card under the same key has the same token; there is no way back.
/// PCI DSS 3.5.1.1 calls this a keyed cryptographic hash of the entire PAN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(Box<str>);

impl Token {
    /// The token of a keyed hash made under version `key_version` of the token key.
    #[must_use]
    pub fn from_mac(key_version: u16, mac: [u8; MAC_BYTES]) -> Self {
        Self(format!("tok_{key_version}_{}", base32_lower(&mac)).into())
    }

    /// Parses a token.
    ///
    /// # Errors
    /// [`TokenError::Token`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let (version, mac) =
            text.strip_prefix("tok_").and_then(|rest| rest.split_once('_')).ok_or(TokenError::Token)?;
        let version_is_plain = version.parse::<u16>().is_ok_and(|number| number.to_string() == version);
        if !version_is_plain || mac.len() != MAC_TEXT || !mac.bytes().all(is_base32_lower) {
            return Err(TokenError::Token);
        }
        Ok(Self(text.into()))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;
    fn try_from(text: String) -> Result<Self, TokenError> {
        Self::parse(&text)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0.into()
    }
}

/// The last four digits of a card: the most that is ever shown (PCI DSS 3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LastFour([u8; 4]);

impl LastFour {
    /// Parses exactly four digits.
    ///
    /// # Errors
    /// [`TokenError::LastFour`] for anything else.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let digits: [u8; 4] = text.as_bytes().try_into().map_err(|_| TokenError::LastFour)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(TokenError::LastFour) }
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("0000")
    }
}

impl TryFrom<String> for LastFour {
    type Error = TokenError;
    fn try_from(text: String) -> Result<Self, TokenError> {
        Self::parse(&text)
    }
}

impl From<LastFour> for String {
    fn from(last_four: LastFour) -> Self {
        last_four.as_str().to_owned()
    }
}

/// Who issued the card, as far as its first digits tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Brand {
    /// Visa.
    Visa,
    /// Mastercard.
    Mastercard,
    /// American Express.
    Amex,
    /// Discover.
    Discover,
    /// JCB.
    Jcb,
    /// Diners Club.
    Diners,
    /// UnionPay.
    Unionpay,
    /// None of the above.
    Other,
}

impl Brand {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "visa",
            Self::Mastercard => "mastercard",
            Self::Amex => "amex",
            Self::Discover => "discover",
            Self::Jcb => "jcb",
            Self::Diners => "diners",
            Self::Unionpay => "unionpay",
            Self::Other => "other",
        }
    }
}

/// All that the world outside the vault knows of a card.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CardRef {
    /// The card's token.
    pub token: Token,
    /// Its brand.
    pub brand: Brand,
    /// Its last four digits.
    pub last_four: LastFour,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_nothing_else_does() {
        let token = Token::from_mac(1, [7; 16]);
        assert_eq!(Token::parse(token.as_str()), Ok(token.clone()));
        for bad in
            ["", "tok_", "tok_1_", "tok_01_abcdefghijklmnopqrstuvwxyz", "4242424242424242", "tok_1_4242424242424242"]
        {
            assert_eq!(Token::parse(bad), Err(TokenError::Token), "{bad}");
        }
    }

    #[test]
    fn last_four_is_four_digits() {
        assert!(LastFour::parse("4242").is_ok());
        for bad in ["424", "42424", "42a4", ""] {
            assert_eq!(LastFour::parse(bad), Err(TokenError::LastFour));
        }
    }
}
