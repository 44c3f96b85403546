//! The cards of the story. Each has one part in it, so that a number that is found says by which way it leaked.
//!
//! Numbers are published test numbers (`tests/walls/test_pans.txt`), since no others may stand in this repository. What
//! a card holds besides, and a number that no card has, is made anew for each run.

use ring::rand::{SecureRandom, SystemRandom};
use single_node::Fault;

/// Digits in the longest discretionary data that fits a track beside a number of 16 digits (ISO/IEC 7813).
const DISCRETIONARY_DIGITS: usize = 13;

/// A number that must not be found, with its part in the story.
#[derive(Clone)]
pub struct Canary {
    part: &'static str,
    digits: String,
}

impl Canary {
    /// A number with its part.
    #[must_use]
    pub fn new(part: &'static str, digits: &str) -> Self {
        Self { part, digits: digits.to_owned() }
    }

    /// The number with its check digit off by one, as a dirty stripe is read.
    #[must_use]
    pub fn misread(part: &'static str, digits: &str) -> Self {
        let (front, last) = digits.split_at(digits.len().saturating_sub(1));
        let last = last.parse::<u8>().map_or(0, |digit| (digit + 1) % 10);
        Self { part, digits: format!("{front}{last}") }
    }

    /// Random digits, as the discretionary data of a track.
    ///
    /// # Errors
    /// [`Fault`] when the system has no randomness.
    pub fn discretionary(part: &'static str) -> Result<Self, Fault> {
        let mut bytes = [0_u8; DISCRETIONARY_DIGITS];
        SystemRandom::new().fill(&mut bytes).map_err(Fault::of("no randomness"))?;
        let digits = bytes.iter().map(|byte| char::from(b'0' + byte % 10)).collect();
        Ok(Self { part, digits })
    }

    /// Its part in the story.
    #[must_use]
    pub const fn part(&self) -> &'static str {
        self.part
    }

    /// Its digits.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// Track 2 of the card, without sentinels.
    #[must_use]
    pub fn track2(&self, expiry: &str) -> String {
        format!("{}={expiry}", self.digits)
    }
}

/// Prints its part alone.
impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Canary({})", self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misread_card_differs_in_its_last_digit() {
        assert_eq!(Canary::misread("x", "4012888888881881").digits(), "4012888888881882");
        assert_eq!(Canary::misread("x", "371449635398439").digits(), "371449635398430");
    }

    #[test]
    fn discretionary_data_is_new_each_time() {
        let (one, other) = (Canary::discretionary("x").unwrap(), Canary::discretionary("x").unwrap());
        assert_ne!(one.digits(), other.digits());
        assert!(one.digits().len() == 13 && one.digits().bytes().all(|byte| byte.is_ascii_digit()));
    }

    #[test]
    fn a_canary_prints_its_part_alone() {
        let canary = Canary::new("swiped", "4012888888881881");
        assert_eq!(format!("{canary:?}"), "Canary(swiped)");
        assert_eq!(canary.track2("3112"), "4012888888881881=3112");
    }
}
