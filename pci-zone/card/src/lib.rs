//! A payment card as it is read: parsed once, held as briefly as possible, wiped when dropped.
//!
//! Card data is dangerous because text travels so easily: into a log, an error, a clone nobody wipes. So a card number
//! is a type of its own here, made only by [`Pan::parse`] or [`Track2::parse`], kept in one heap buffer that is wiped
//! on drop, not cloneable, not comparable, not serializable and not printable; the one way to its digits is the visible
//! word `expose`. Verification data (the discretionary part of a track) is checked for shape and never kept at all.
//! Errors name the rule that failed and never a digit.
//!
//! It imports nobody, reads no clock and does no I/O. It leaves to others who may hold a card (`pci-vault`,
//! `pci-processors`, the fridge) and what a card is called afterwards (`pci-contract`, which does not know this crate).

mod expiry;
mod pan;
mod track;

pub use expiry::Expiry;
pub use pan::{Brand, Pan};
use thiserror::Error;
pub use track::{ServiceCode, Track2};

/// Why something presented as a card is not one that can be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum CardError {
    /// The data has not the shape of a card.
    #[error("the card data is not well formed: {0}")]
    Malformed(#[from] Malformed),
    /// The data is well formed and the month of expiry is over. [`Expiry::check`] says so; parsing never does, because
    /// it knows no time.
    #[error("the card has expired")]
    Expired,
}

/// The rule that card data breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    /// A card number has 13 to 19 digits (ISO/IEC 7812-1 allows fewer; no brand issues them).
    #[error("a card number has 13 to 19 digits")]
    PanLength,
    /// A character of the card number is not a digit.
    #[error("a card number has only digits")]
    PanDigit,
    /// The last digit is not the Luhn check digit of the others.
    #[error("the check digit is wrong")]
    CheckDigit,
    /// The expiry is not four digits `YYMM` with a month from 01 to 12.
    #[error("the expiry is not YYMM")]
    Expiry,
    /// The text is not a track 2: too long, no separator, a lone sentinel, half a service code, a character that is no
    /// digit.
    #[error("the text is not a track 2")]
    Track,
}
