//! The card number, and the little that its first and last digits tell.

use std::fmt;

use zeroize::Zeroizing;

use crate::{CardError, Malformed};

/// A primary account number: 13 to 19 digits with a right Luhn check digit, in one heap buffer that is wiped on drop.
///
/// Not `Clone`, `Copy`, `PartialEq` or serializable, and its `Debug` shows nothing: two parts of a program that need a
/// card number must hand it over, and two cards are compared by their tokens.
pub struct Pan(Zeroizing<Box<[u8]>>);

impl Pan {
    /// The fewest digits.
    pub const MIN_DIGITS: usize = 13;
    /// The most digits.
    pub const MAX_DIGITS: usize = 19;

    /// Parses ASCII digits without spaces or dashes. The caller's buffer stays the caller's to wipe.
    ///
    /// # Errors
    /// [`Malformed::PanDigit`], [`Malformed::PanLength`] or [`Malformed::CheckDigit`], in this order.
    pub fn parse(digits: &(impl AsRef<[u8]> + ?Sized)) -> Result<Self, CardError> {
        let digits = digits.as_ref();
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::PanDigit.into());
        }
        if !(Self::MIN_DIGITS..=Self::MAX_DIGITS).contains(&digits.len()) {
            return Err(Malformed::PanLength.into());
        }
        if !luhn_holds(digits) {
            return Err(Malformed::CheckDigit.into());
        }
        Ok(Self(Zeroizing::new(digits.into())))
    }

    /// The digits, in ASCII. Whoever writes this word answers for every copy made of what it returns.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The last four digits, in ASCII: the most that may be shown (PCI DSS 3.4.1).
    #[must_use]
    pub fn last_four(&self) -> [u8; 4] {
        self.0.last_chunk().copied().unwrap_or(*b"0000")
    }

    /// Who issued it, as far as the first digits tell.
    #[must_use]
    pub fn brand(&self) -> Brand {
        Brand::of_first_four(self.0.iter().take(4).fold(0, |number, digit| number * 10 + u16::from(digit & 0x0f)))
    }
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pan(…)")
    }
}

/// A card brand, as far as the first four digits tell. Where brands share a range (622126 to 622925 is UnionPay's and
/// Discover's) the issuer's own brand is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brand {
    /// Visa: 4.
    Visa,
    /// Mastercard: 51 to 55, 2221 to 2720.
    Mastercard,
    /// American Express: 34, 37.
    Amex,
    /// Discover: 6011, 644 to 649, 65.
    Discover,
    /// JCB: 3528 to 3589.
    Jcb,
    /// Diners Club: 300 to 305, 3095, 36, 38, 39.
    Diners,
    /// UnionPay: 62, 81.
    Unionpay,
    /// None of the above.
    Other,
}

impl Brand {
    const fn of_first_four(digits: u16) -> Self {
        match digits {
            4000..=4999 => Self::Visa,
            5100..=5599 | 2221..=2720 => Self::Mastercard,
            3400..=3499 | 3700..=3799 => Self::Amex,
            6011 | 6440..=6599 => Self::Discover,
            3528..=3589 => Self::Jcb,
            3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => Self::Diners,
            6200..=6299 | 8100..=8199 => Self::Unionpay,
            _ => Self::Other,
        }
    }
}

/// Luhn's check (ISO/IEC 7812-1 annex B) over ASCII digits.
fn luhn_holds(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit & 0x0f);
            if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Published test numbers with what their first digits say.
    const PUBLISHED: [(&str, Brand); 16] = [
        ("4242424242424242", Brand::Visa),
        ("4111111111111111", Brand::Visa),
        ("4222222222222", Brand::Visa),
        ("4000000000000002", Brand::Visa),
        ("5555555555554444", Brand::Mastercard),
        ("2223003122003222", Brand::Mastercard),
        ("5105105105105100", Brand::Mastercard),
        ("378282246310005", Brand::Amex),
        ("371449635398431", Brand::Amex),
        ("6011111111111117", Brand::Discover),
        ("3530111333300000", Brand::Jcb),
        ("30569309025904", Brand::Diners),
        ("36227206271667", Brand::Diners),
        ("6200000000000005", Brand::Unionpay),
        ("6205500000000000004", Brand::Unionpay),
        ("0000000000000000", Brand::Other),
    ];

    fn refusal(digits: &str) -> CardError {
        Pan::parse(digits).expect_err("not a card number")
    }

    #[test]
    fn published_numbers_parse_and_name_their_brand() {
        for (digits, brand) in PUBLISHED {
            let pan = Pan::parse(digits).expect("a published test number");
            assert_eq!(pan.expose(), digits.as_bytes());
            assert_eq!(pan.brand(), brand, "{digits}");
            assert_eq!(&pan.last_four(), digits.as_bytes().last_chunk::<4>().expect("four digits"));
        }
    }

    #[test]
    fn lengths_outside_13_to_19_are_told_from_a_wrong_check_digit() {
        // Both have a right check digit: only their length is wrong.
        assert!(luhn_holds(b"424242424242") && luhn_holds(b"42424242424242424242"));
        assert_eq!(refusal("424242424242"), Malformed::PanLength.into());
        assert_eq!(refusal("42424242424242424242"), Malformed::PanLength.into());
        assert_eq!(refusal(""), Malformed::PanLength.into());
        assert_eq!(refusal("4242424242424241"), Malformed::CheckDigit.into());
        assert_eq!(refusal("4242 4242 4242 4242"), Malformed::PanDigit.into());
        assert_eq!(refusal("424242424242424２"), Malformed::PanDigit.into());
    }

    #[test]
    fn nothing_printable_holds_a_digit() {
        let pan = Pan::parse("4242424242424242").expect("a test number");
        assert_eq!(format!("{pan:?}"), "Pan(…)");
        assert!(!refusal("4242424242424241").to_string().contains("42"));
    }

    #[test]
    fn edges_of_brand_ranges() {
        for (first, brand) in [
            (2220, Brand::Other),
            (2221, Brand::Mastercard),
            (2720, Brand::Mastercard),
            (2721, Brand::Other),
            (5099, Brand::Other),
            (5600, Brand::Other),
            (3527, Brand::Other),
            (3590, Brand::Other),
            (3094, Brand::Other),
            (3095, Brand::Diners),
            (6439, Brand::Other),
            (6440, Brand::Discover),
            (6599, Brand::Discover),
            (6300, Brand::Other),
        ] {
            assert_eq!(Brand::of_first_four(first), brand, "{first}");
        }
    }

    /// Digits with a right check digit, `1..=24` in all.
    fn with_check_digit() -> impl Strategy<Value = String> {
        "[0-9]{0,23}".prop_map(|body| {
            let check = (b'0'..=b'9').find(|&d| luhn_holds(format!("{body}{}", char::from(d)).as_bytes()));
            format!("{body}{}", char::from(check.expect("one of ten digits fits")))
        })
    }

    proptest! {
        #[test]
        fn exactly_one_check_digit_fits(body in "[0-9]{12,18}") {
            let fitting = (0..10).filter(|digit| Pan::parse(&format!("{body}{digit}")).is_ok()).count();
            prop_assert_eq!(fitting, 1);
        }

        #[test]
        fn length_alone_decides_for_right_check_digits(digits in with_check_digit()) {
            prop_assert_eq!(Pan::parse(&digits).is_ok(), (13..=19).contains(&digits.len()));
        }

        #[test]
        fn one_wrong_digit_is_always_caught(digits in with_check_digit(), place in 0_usize..19, off in 1_u8..10) {
            prop_assume!((13..=19).contains(&digits.len()) && place < digits.len());
            let mut wrong = digits.into_bytes();
            wrong[place] = b'0' + (wrong[place] - b'0' + off) % 10;
            prop_assert_eq!(Pan::parse(&wrong).expect_err("one digit is wrong"), Malformed::CheckDigit.into());
        }

        #[test]
        fn any_bytes_are_refused_or_kept_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(pan) = Pan::parse(&bytes) {
                prop_assert_eq!(pan.expose(), &bytes[..]);
            }
        }
    }
}
