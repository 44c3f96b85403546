//! The month after which a card is no longer good.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{CardError, Malformed};

/// Seconds of a day; POSIX time has no leap seconds.
const DAY_S: i64 = 86_400;

/// A month of expiry. The card is good through the last second of it, UTC.
///
/// Neither `Clone` nor printable: next to a card number it is cardholder data like the number itself.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Expiry {
    year: u16,
    month: u8,
}

impl Expiry {
    /// Parses four ASCII digits `YYMM`, the order of a track; the century is 20.
    ///
    /// # Errors
    /// [`Malformed::Expiry`] for anything else, or a month outside 01 to 12.
    pub fn parse_yymm(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<Self, CardError> {
        let Ok(digits) = <[u8; 4]>::try_from(text.as_ref()) else { return Err(Malformed::Expiry.into()) };
        let [y1, y2, m1, m2] = digits.map(|b| b.wrapping_sub(b'0'));
        let month = m1.saturating_mul(10).saturating_add(m2);
        if !digits.iter().all(u8::is_ascii_digit) || !(1..=12).contains(&month) {
            return Err(Malformed::Expiry.into());
        }
        Ok(Self { year: 2000 + u16::from(y1) * 10 + u16::from(y2), month })
    }

    /// The year, 2000 to 2099.
    #[must_use]
    pub const fn year(&self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(&self) -> u8 {
        self.month
    }

    /// The four digits `YYMM`, in ASCII.
    #[must_use]
    pub fn yymm(&self) -> [u8; 4] {
        let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or(0);
        let month = u16::from(self.month);
        [digit(self.year / 10), digit(self.year), digit(month / 10), digit(month)]
    }

    /// Whether the month is over at `now_unix_s`, in seconds since the Unix epoch.
    #[must_use]
    pub fn is_past(&self, now_unix_s: i64) -> bool {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        now_unix_s >= days_to_month(i64::from(year), i64::from(month)) * DAY_S
    }

    /// Refuses a card whose month is over at `now_unix_s`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`CardError::Expired`].
    pub fn check(&self, now_unix_s: i64) -> Result<(), CardError> {
        if self.is_past(now_unix_s) { Err(CardError::Expired) } else { Ok(()) }
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expiry(…)")
    }
}

/// Days from the Unix epoch to the first of a month from 1970 on, Gregorian.
fn days_to_month(year: i64, month: i64) -> i64 {
    // Years that begin in March put the leap day last, and months then have the lengths 31 30 31 30 31 31 30 31 30 31.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days_of_months = (153 * month + 2) / 5;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + days_of_months - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expiry(text: &str) -> Expiry {
        Expiry::parse_yymm(text).expect("YYMM")
    }

    #[test]
    fn the_first_second_of_the_next_month_is_too_late() {
        // 2028-03-01T00:00:00Z, after a leap day; 2030-01-01T00:00:00Z, over a new year; 2100 is no leap year.
        for (text, over_unix_s) in [("2802", 1_835_481_600), ("2912", 1_893_456_000), ("9912", 4_102_444_800)] {
            assert!(!expiry(text).is_past(over_unix_s - 1), "{text}");
            assert!(expiry(text).is_past(over_unix_s), "{text}");
            assert_eq!(expiry(text).check(over_unix_s), Err(CardError::Expired));
            assert_eq!(expiry(text).check(over_unix_s - 1), Ok(()));
        }
        assert!(!expiry("2802").is_past(i64::MIN));
        assert!(expiry("9912").is_past(i64::MAX));
    }

    #[test]
    fn only_four_digits_with_a_month() {
        for bad in ["", "281", "28011", "2800", "2813", "28 1", "2a01", "-101", "2899"] {
            assert_eq!(Expiry::parse_yymm(bad).expect_err(bad), Malformed::Expiry.into());
        }
        let parsed = expiry("2812");
        assert_eq!((parsed.year(), parsed.month(), parsed.yymm()), (2028, 12, *b"2812"));
        assert_eq!(format!("{parsed:?}"), "Expiry(…)");
    }

    proptest! {
        #[test]
        fn text_survives(year in 0_u16..100, month in 1_u8..=12) {
            let text = format!("{year:02}{month:02}");
            prop_assert_eq!(&expiry(&text).yymm()[..], text.as_bytes());
        }

        #[test]
        fn once_past_always_past(year in 0_u16..100, month in 1_u8..=12, a: i64, b: i64) {
            let expiry = expiry(&format!("{year:02}{month:02}"));
            prop_assert!(!expiry.is_past(a.min(b)) || expiry.is_past(a.max(b)));
        }

        #[test]
        fn each_month_has_28_to_31_days(year in 1970_i64..2101, month in 1_i64..=12) {
            let next = if month == 12 { days_to_month(year + 1, 1) } else { days_to_month(year, month + 1) };
            prop_assert!((28..=31).contains(&(next - days_to_month(year, month))));
        }
    }
}
