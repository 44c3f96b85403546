//! Meals by their barcode: a GS1 element string that names one single meal.
//!
//! A barcode has a 14-digit trade item number in it, which is as long as some card numbers. Two rules keep a card
//! number out: a number that begins like a card (not with 0) and passes the card check digit is refused, and a serial
//! number holds at most twelve digits in a row, as in the SGTIN-96 coding of GS1's tag data standard.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{MAX_DIGIT_RUN, longest_digit_run};

/// Why a scanned text does not name a meal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MealIdError {
    /// Not `(01)` and a number, optionally `(17)` and a date, and `(21)` and a serial.
    #[error("a meal's barcode reads (01)GTIN(21)serial, optionally with (17)YYMMDD")]
    Form,
    /// Not 14 digits, or the check digit is wrong (GS1 General Specifications 7.9).
    #[error("the trade item number is not a GTIN-14 with a valid check digit")]
    Gtin,
    /// The serial is empty, too long, or of characters GS1 does not allow.
    #[error("a serial has 1 to 20 letters, digits, '-', '.' or '_'")]
    Serial,
    /// The number could be a card number.
    #[error("the barcode holds what could be a card number")]
    CardLike,
}

/// A meal type by its GTIN-14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gtin([u8; 14]);

impl Gtin {
    /// Parses fourteen digits whose last one is GS1's check digit.
    ///
    /// # Errors
    /// [`MealIdError::Gtin`] when they are not, [`MealIdError::CardLike`] when they could be a card number.
    pub fn parse(text: &str) -> Result<Self, MealIdError> {
        let digits: [u8; 14] = text.as_bytes().try_into().map_err(|_| MealIdError::Gtin)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(MealIdError::Gtin);
        }
        let sum: u32 = digits.iter().zip([3, 1].iter().cycle()).map(|(d, weight)| u32::from(d - b'0') * weight).sum();
        if !sum.is_multiple_of(10) {
            return Err(MealIdError::Gtin);
        }
        if !text.starts_with('0') && passes_card_check(&digits) {
            return Err(MealIdError::CardLike);
        }
        Ok(Self(digits))
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("00000000000000")
    }
}

/// The check of ISO/IEC 7812-1 annex B, kept here because this crate may not know what a card is.
fn passes_card_check(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

impl fmt::Display for Gtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Gtin {
    type Error = MealIdError;
    fn try_from(text: String) -> Result<Self, MealIdError> {
        Self::parse(&text)
    }
}

impl From<Gtin> for String {
    fn from(gtin: Gtin) -> Self {
        gtin.as_str().to_owned()
    }
}

/// One single meal, by its barcode as scanned: `(01)GTIN(21)serial`, `(17)YYMMDD` before or after the serial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MealId {
    text: Box<str>,
    gtin: Gtin,
}

impl MealId {
    /// Parses a barcode. The text is kept as it was scanned.
    ///
    /// # Errors
    /// [`MealIdError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MealIdError> {
        let rest = text.strip_prefix("(01)").ok_or(MealIdError::Form)?;
        let (gtin, rest) = rest.split_at_checked(14).ok_or(MealIdError::Form)?;
        let gtin = Gtin::parse(gtin)?;
        let rest = match rest.strip_prefix("(17)") {
            Some(after) => take_date(after)?,
            None => rest,
        };
        let serial = rest.strip_prefix("(21)").ok_or(MealIdError::Form)?;
        let serial = match serial.split_once("(17)") {
            Some((serial, date)) if take_date(date)?.is_empty() => serial,
            Some(_) => return Err(MealIdError::Form),
            None => serial,
        };
        check_serial(serial)?;
        Ok(Self { text: text.into(), gtin })
    }

    /// The barcode as scanned.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The meal's type.
    #[must_use]
    pub const fn gtin(&self) -> Gtin {
        self.gtin
    }
}

fn take_date(text: &str) -> Result<&str, MealIdError> {
    let (date, rest) = text.split_at_checked(6).ok_or(MealIdError::Form)?;
    if date.bytes().all(|b| b.is_ascii_digit()) { Ok(rest) } else { Err(MealIdError::Form) }
}

fn check_serial(serial: &str) -> Result<(), MealIdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if serial.is_empty() || serial.len() > 20 || !serial.bytes().all(allowed) {
        return Err(MealIdError::Serial);
    }
    if longest_digit_run(serial) > MAX_DIGIT_RUN {
        return Err(MealIdError::CardLike);
    }
    Ok(())
}

impl fmt::Display for MealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for MealId {
    type Error = MealIdError;
    fn try_from(text: String) -> Result<Self, MealIdError> {
        Self::parse(&text)
    }
}

impl From<MealId> for String {
    fn from(meal: MealId) -> Self {
        meal.text.into()
    }
}

/// What a fridge's scanner read: a meal, or something that is none. What is none is not kept, since a scanner will
/// read a card's number as readily as a meal's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ScannedCode {
    /// A well-formed barcode of a meal, known to us or not.
    Meal(MealId),
    /// Anything else.
    Unreadable,
}

impl ScannedCode {
    /// Reads a scanned text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        MealId::parse(text).map_or(Self::Unreadable, Self::Meal)
    }

    /// The barcode, or `unreadable`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Meal(meal) => meal.as_str(),
            Self::Unreadable => "unreadable",
        }
    }
}

impl From<String> for ScannedCode {
    fn from(text: String) -> Self {
        Self::read(&text)
    }
}

impl From<ScannedCode> for String {
    fn from(code: ScannedCode) -> Self {
        code.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barcode_is_read_with_its_optional_date() {
        for text in [
            "(01)09500000000198(21)00000335",
            "(01)09500000000198(17)310101(21)00000335",
            "(01)09500000000198(21)00000335(17)310101",
        ] {
            let meal = MealId::parse(text).expect(text);
            assert_eq!((meal.as_str(), meal.gtin().as_str()), (text, "09500000000198"));
        }
    }

    #[test]
    fn what_is_no_barcode_is_refused_with_its_reason() {
        for (text, why) in [
            ("", MealIdError::Form),
            ("09500000000198", MealIdError::Form),
            ("(01)09500000000199(21)1", MealIdError::Gtin),
            ("(01)0950000000019", MealIdError::Form),
            ("(01)09500000000198", MealIdError::Form),
            ("(01)09500000000198(21)", MealIdError::Serial),
            ("(01)09500000000198(21)a b", MealIdError::Serial),
            ("(01)09500000000198(21)1(17)3101", MealIdError::Form),
            ("(01)09500000000198(21)1(17)310101x", MealIdError::Form),
        ] {
            assert_eq!(MealId::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn no_barcode_holds_a_card_number() {
        assert_eq!(MealId::parse("(01)09500000000198(21)4242424242424242"), Err(MealIdError::CardLike));
        assert_eq!(ScannedCode::read("4242424242424242").as_str(), "unreadable");
        assert_eq!(ScannedCode::read("36227206271667"), ScannedCode::Unreadable);
    }
}
