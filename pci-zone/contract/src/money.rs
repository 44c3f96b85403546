//! Money: a whole number of minor units and the currency they are of. Arithmetic is checked; nothing rounds.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why an operation on money has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// The sum does not fit.
    #[error("the amount does not fit")]
    Overflow,
    /// Two currencies met.
    #[error("{left} and {right} cannot be added")]
    Currency {
        /// The first operand's currency.
        left: Currency,
        /// The second operand's currency.
        right: Currency,
    },
    /// Not three capital letters.
    #[error("a currency is three capital letters (ISO 4217)")]
    Code,
}

/// A currency by its ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The United States dollar.
    pub const USD: Self = Self(*b"USD");

    /// Parses three capital letters.
    ///
    /// # Errors
    /// [`MoneyError::Code`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Code)?;
        if code.iter().all(u8::is_ascii_uppercase) { Ok(Self(code)) } else { Err(MoneyError::Code) }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(text: String) -> Result<Self, MoneyError> {
        Self::parse(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// An amount in minor units (cents for USD) of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount of `minor` units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in this currency.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether the amount is exactly nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// Whether the amount is more than nothing.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.minor > 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError`] when it does not fit or the currencies differ.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.minor.checked_add(other.minor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::Overflow)
    }

    /// The difference, which may be negative.
    ///
    /// # Errors
    /// [`MoneyError`] when it does not fit or the currencies differ.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.minor.checked_sub(other.minor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::Overflow)
    }

    /// The smaller of two amounts.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] when the currencies differ.
    pub fn min(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Ok(if self.minor <= other.minor { self } else { other })
    }

    /// Whether this is more than `other`.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] when the currencies differ.
    pub fn exceeds(self, other: Self) -> Result<bool, MoneyError> {
        self.same_currency(other)?;
        Ok(self.minor > other.minor)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::Currency { left: self.currency, right: other.currency })
        }
    }
}

impl fmt::Display for Money {
    /// Two decimals, which is right for every currency a fridge trades in so far; for people, never for parsing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(f, "{sign}{}.{:02} {}", minor / 100, minor % 100, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EUR: Currency = Currency(*b"EUR");

    #[test]
    fn sums_are_checked() {
        let most = Money::new(i64::MAX, EUR);
        assert_eq!(most.plus(Money::new(1, EUR)), Err(MoneyError::Overflow));
        assert_eq!(
            Money::new(1, EUR).plus(Money::new(1, Currency::USD)),
            Err(MoneyError::Currency { left: EUR, right: Currency::USD })
        );
        assert_eq!(Money::new(-5, EUR).to_string(), "-0.05 EUR");
    }

    #[test]
    fn a_currency_is_three_capitals() {
        assert_eq!(Currency::parse("EUR"), Ok(EUR));
        for bad in ["eur", "EU", "EURO", "E R", ""] {
            assert_eq!(Currency::parse(bad), Err(MoneyError::Code), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn minus_undoes_plus(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
            let (a, b) = (Money::new(a, EUR), Money::new(b, EUR));
            prop_assert_eq!(a.plus(b).and_then(|sum| sum.minus(b)), Ok(a));
        }
    }
}
