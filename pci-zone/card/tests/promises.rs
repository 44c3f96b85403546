//! What the card types promise not to be able to do, and what they do with every published test card.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::marker::PhantomData;

use pci_card::{Brand, CardError, Expiry, Malformed, Pan, Track2};
use proptest::prelude::*;

/// Asks the compiler whether a type has a trait: an inherent constant, where it applies, hides the trait's.
struct Has<T: ?Sized>(PhantomData<T>);

trait HasNot {
    const CLONE: bool = false;
    const COPY: bool = false;
    const DISPLAY: bool = false;
    const EQ: bool = false;
    const DEFAULT: bool = false;
}

impl<T: ?Sized> HasNot for Has<T> {}

macro_rules! asks {
    ($name:ident: $bound:path) => {
        impl<T: $bound> Has<T> {
            const $name: bool = true;
        }
    };
}

asks!(CLONE: Clone);
asks!(COPY: Copy);
asks!(DISPLAY: std::fmt::Display);
asks!(EQ: PartialEq);
asks!(DEFAULT: Default);

#[test]
fn the_question_itself_can_be_answered_yes() {
    for yes in [Has::<u8>::CLONE, Has::<u8>::COPY, Has::<u8>::DISPLAY, Has::<u8>::EQ, Has::<u8>::DEFAULT] {
        assert!(yes);
    }
}

macro_rules! promises {
    ($($name:ident: $type:ty;)*) => {$(
        #[test]
        fn $name() {
            assert!(!Has::<$type>::CLONE, "a clone is a copy nobody wipes");
            assert!(!Has::<$type>::COPY);
            assert!(!Has::<$type>::DISPLAY, "what can be shown gets into a log");
            assert!(!Has::<$type>::EQ, "cards are compared by their tokens");
            assert!(!Has::<$type>::DEFAULT, "parsing is the only constructor");
            assert!(std::mem::needs_drop::<$type>(), "something is wiped");
        }
    )*};
}

promises! {
    a_card_number_cannot_be_copied_shown_or_compared: Pan;
    an_expiry_cannot_be_copied_shown_or_compared: Expiry;
    a_track_cannot_be_copied_shown_or_compared: Track2;
}

#[test]
fn every_published_test_card_reads_from_a_track() {
    for (digits, brand) in [
        ("4242424242424242", Brand::Visa),
        ("4111111111111111", Brand::Visa),
        ("4012888888881881", Brand::Visa),
        ("4222222222222", Brand::Visa),
        ("4000000000000002", Brand::Visa),
        ("4000000000009995", Brand::Visa),
        ("4000000000000341", Brand::Visa),
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
    ] {
        for text in [format!("{digits}=2912"), format!(";{digits}=2912201?"), format!(";{digits}=29122011234567?")] {
            let track = Track2::parse(text.as_bytes()).expect("a published card");
            assert_eq!((track.pan().brand(), track.pan().expose()), (brand, digits.as_bytes()), "{text}");
        }
    }
}

#[test]
fn only_service_codes_that_say_so_have_a_chip() {
    for (code, chip) in [("101", false), ("120", false), ("201", true), ("221", true), ("601", true), ("701", false)] {
        let track = Track2::parse(format!("4242424242424242=2912{code}").as_bytes()).expect("a track");
        assert_eq!(track.service_code().map(pci_card::ServiceCode::has_chip), Some(chip), "{code}");
    }
    assert!(Track2::parse(b"4242424242424242=2912").expect("a track").service_code().is_none());
}

#[test]
fn no_error_repeats_what_it_was_given() {
    for text in ["4242424242424241=2912", "424242424242=2912", "4242424242424242=2913", "4242424242424242=2912x"] {
        let error = Track2::parse(text.as_bytes()).expect_err("not a card");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("42") && !shown.contains("29"), "{shown}");
        }
    }
}

#[test]
fn every_month_of_a_century_ends_once() {
    // The months one after the other: each is good when the one before it has just ended.
    let mut over_before = 946_684_800; // 2000-01-01T00:00:00Z
    for months in 0..1200_u32 {
        let expiry = Expiry::parse_yymm(&format!("{:02}{:02}", months / 12, months % 12 + 1)).expect("YYMM");
        assert!(!expiry.is_past(over_before), "month {months}");
        let length_days = (28..=31).find(|days| expiry.is_past(over_before + days * 86_400)).expect("a month ends");
        over_before += length_days * 86_400;
        assert!(!expiry.is_past(over_before - 1), "month {months} ends at midnight");
    }
    assert_eq!(over_before, 4_102_444_800, "2100-01-01T00:00:00Z");
}

proptest! {
    #[test]
    fn a_brand_is_in_the_first_four_digits(head in "[0-9]{4}", one in "[0-9]{8,14}", other in "[0-9]{8,14}") {
        let brand = |body: &str| {
            let digits = (0..10).map(|check| format!("{head}{body}{check}")).find(|digits| Pan::parse(digits).is_ok());
            Pan::parse(&digits.expect("one check digit fits")).expect("it parsed").brand()
        };
        prop_assert_eq!(brand(&one), brand(&other));
    }

    #[test]
    fn sentinels_come_in_pairs(open in any::<bool>(), close in any::<bool>()) {
        let text = format!("{}4242424242424242=2912{}", if open { ";" } else { "" }, if close { "?" } else { "" });
        prop_assert_eq!(Track2::parse(text.as_bytes()).is_ok(), open == close);
    }

    #[test]
    fn a_cut_track_is_never_another_card(length in 0_usize..37) {
        let whole = ";4242424242424242=29122011234567890?";
        let cut = &whole[..length.min(whole.len() - 1)];
        let error = Track2::parse(cut.as_bytes()).expect_err("a sentinel is missing");
        prop_assert_eq!(error, CardError::Malformed(Malformed::Track));
    }
}
