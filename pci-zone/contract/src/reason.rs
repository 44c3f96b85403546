//! Why a fridge's door stays shut: short stable codes that go over the wire, into events and onto a display.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not 1 to 40 characters of `a-z` and `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a reason code has 1 to 40 characters of a-z and '_'")]
pub struct ReasonError;

/// A reason code: 1 to 40 characters of `a-z` and `_`. Ours are the constants; a processor's own pass through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReasonCode(std::borrow::Cow<'static, str>);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl ReasonCode {$(
            $(#[$doc])*
            pub const $name: Self = Self(std::borrow::Cow::Borrowed($code));
        )*}
    };
}

reasons! {
    /// The fridge is not enrolled or not in service.
    FRIDGE_OUT_OF_SERVICE = "fridge_out_of_service";
    /// The fridge is locked for food safety.
    FRIDGE_LOCKED = "fridge_locked";
    /// The fridge has another open session.
    FRIDGE_BUSY = "fridge_busy";
    /// The ID token is unknown or not active.
    UNKNOWN_ID_TOKEN = "unknown_id_token";
    /// The card data is not well formed, or was not sealed for this session.
    INVALID_CARD = "invalid_card";
    /// The card was sealed to a key that the vault does not have: ask for the sealing key again.
    SEALING_KEY_UNKNOWN = "sealing_key_unknown";
    /// The card has expired.
    EXPIRED_CARD = "expired_card";
    /// The customer is blocked, or has reached the limit of thefts.
    CUSTOMER_BLOCKED = "customer_blocked";
    /// The anonymous card is blocked, or has reached the limit of thefts.
    CARD_BLOCKED = "card_blocked";
    /// A balance is unpaid.
    UNPAID_BALANCE = "unpaid_balance";
    /// The customer's wallet holds no card.
    NO_WALLET_CARD = "no_wallet_card";
    /// The processor or the vault cannot be reached.
    PAYMENT_UNAVAILABLE = "payment_unavailable";
    /// The processor declines without saying more.
    CARD_DECLINED = "card_declined";
    /// The processor says the account holds too little.
    INSUFFICIENT_FUNDS = "insufficient_funds";
}

impl ReasonCode {
    /// Parses a code.
    ///
    /// # Errors
    /// [`ReasonError`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, ReasonError> {
        let well_formed = (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if well_formed { Ok(Self(text.to_owned().into())) } else { Err(ReasonError) }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ReasonCode {
    type Error = ReasonError;
    fn try_from(text: String) -> Result<Self, ReasonError> {
        Self::parse(&text)
    }
}

impl From<ReasonCode> for String {
    fn from(reason: ReasonCode) -> Self {
        reason.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words() {
        assert_eq!(ReasonCode::parse("card_declined"), Ok(ReasonCode::CARD_DECLINED));
        for bad in ["", "Card", "4242424242424242", "no spaces", &"x".repeat(41)] {
            assert_eq!(ReasonCode::parse(bad), Err(ReasonError), "{bad}");
        }
    }
}
