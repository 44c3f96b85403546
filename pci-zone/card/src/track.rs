//! Track 2 of a card (ISO/IEC 7813), or the same text made from a chip or a phone.

use std::fmt;

use zeroize::Zeroizing;

use crate::{CardError, Expiry, Malformed, Pan};

/// The three digits that say where and how a card may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceCode([u8; 3]);

impl ServiceCode {
    /// The digits, in ASCII.
    #[must_use]
    pub const fn digits(self) -> [u8; 3] {
        self.0
    }

    /// Whether the card carries a chip (ISO/IEC 7813: the first digit is 2 or 6).
    #[must_use]
    pub const fn has_chip(self) -> bool {
        let Self([first, _, _]) = self;
        matches!(first, b'2' | b'6')
    }
}

/// What is kept of a track 2: `PAN=YYMM`, then perhaps a service code. The discretionary data behind it, which holds
/// verification values, is checked for shape and not kept.
pub struct Track2 {
    pan: Pan,
    expiry: Expiry,
    service_code: Option<ServiceCode>,
}

impl Track2 {
    /// The most bytes of a track 2 with both sentinels (ISO/IEC 7813, without the check character of the stripe).
    pub const MAX_BYTES: usize = 39;

    /// Parses `PAN=YYMM`, then nothing, or three digits of service code and any number of discretionary digits; all
    /// of it bare or between the sentinels `;` and `?`. The caller's buffer stays the caller's to wipe.
    ///
    /// # Errors
    /// [`CardError::Malformed`] with the first rule that is broken. A past expiry is no error here: no time is known.
    pub fn parse(text: &[u8]) -> Result<Self, CardError> {
        if text.len() > Self::MAX_BYTES {
            return Err(Malformed::Track.into());
        }
        let (digits, rest) = split_at_separator(without_sentinels(text)?).ok_or(Malformed::Track)?;
        let pan = Pan::parse(digits)?;
        let (expiry, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Expiry)?;
        let expiry = Expiry::parse_yymm(expiry)?;
        if !rest.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::Track.into());
        }
        let service_code = match rest {
            [] => None,
            _ => Some(ServiceCode(*rest.first_chunk().ok_or(Malformed::Track)?)),
        };
        Ok(Self { pan, expiry, service_code })
    }

    /// The card number.
    #[must_use]
    pub const fn pan(&self) -> &Pan {
        &self.pan
    }

    /// The month of expiry.
    #[must_use]
    pub const fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    /// The service code, when the track has one.
    #[must_use]
    pub const fn service_code(&self) -> Option<ServiceCode> {
        self.service_code
    }

    /// Gives the parts away, so that each can go its own way without a copy.
    #[must_use]
    pub fn into_parts(self) -> (Pan, Expiry) {
        (self.pan, self.expiry)
    }

    /// The text `PAN=YYMM` and service code, without sentinels, in a buffer that is wiped on drop: what a fridge
    /// seals. Whoever writes this word answers for every copy made of what it returns.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<Vec<u8>> {
        // The whole capacity at once: a buffer that grows leaves unwiped pieces behind.
        let mut text = Zeroizing::new(Vec::with_capacity(Self::MAX_BYTES));
        text.extend_from_slice(self.pan.expose());
        text.push(b'=');
        text.extend_from_slice(&self.expiry.yymm());
        if let Some(service_code) = self.service_code {
            text.extend_from_slice(&service_code.digits());
        }
        text
    }
}

impl fmt::Debug for Track2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Track2(…)")
    }
}

fn without_sentinels(text: &[u8]) -> Result<&[u8], Malformed> {
    match (text.strip_prefix(b";"), text.strip_suffix(b"?")) {
        (None, None) => Ok(text),
        (Some(rest), Some(_)) => rest.strip_suffix(b"?").ok_or(Malformed::Track),
        _ => Err(Malformed::Track),
    }
}

fn split_at_separator(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = text.split_at_checked(text.iter().position(|&b| b == b'=')?)?;
    rest.split_first().map(|(_, after)| (before, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> CardError {
        Track2::parse(text.as_bytes()).expect_err("not a track")
    }

    #[test]
    fn bare_and_full_tracks_say_the_same() {
        for text in ["4242424242424242=2812", ";4242424242424242=2812?", ";4242424242424242=28122011234500000?"] {
            let track = Track2::parse(text.as_bytes()).expect("a track");
            assert_eq!(track.pan().expose(), b"4242424242424242", "{text}");
            assert_eq!((track.expiry().year(), track.expiry().month()), (2028, 12));
        }
    }

    #[test]
    fn verification_data_is_not_kept() {
        let track = Track2::parse(b";4242424242424242=28122019998887776?").expect("a track");
        let service_code = track.service_code().expect("a service code");
        assert_eq!((service_code.digits(), service_code.has_chip()), (*b"201", true));
        assert_eq!(&track.expose_text()[..], b"4242424242424242=2812201");
        assert_eq!(format!("{track:?}"), "Track2(…)");
        let (pan, expiry) = track.into_parts();
        assert_eq!((pan.last_four(), expiry.yymm()), (*b"4242", *b"2812"));
    }

    #[test]
    fn each_broken_rule_has_its_name() {
        for (text, rule) in [
            ("", Malformed::Track),
            ("?", Malformed::Track),
            (";?", Malformed::Track),
            ("4242424242424242", Malformed::Track),
            (";4242424242424242=2812", Malformed::Track),
            ("4242424242424242=2812?", Malformed::Track),
            ("4242424242424242=281220", Malformed::Track),
            ("4242424242424242=2812=01", Malformed::Track),
            ("4242424242424242=2812201a", Malformed::Track),
            ("4242424242424242=28122010000000000000000", Malformed::Track),
            ("4242424242424242=281", Malformed::Expiry),
            ("4242424242424242=2813", Malformed::Expiry),
            ("4242424242424242==201", Malformed::Expiry),
            ("424242424242=2812", Malformed::PanLength),
            ("42424242424242424242=2812", Malformed::PanLength),
            ("=2812", Malformed::PanLength),
            ("4242424242424241=2812", Malformed::CheckDigit),
            ("%B4242424242424242=2812", Malformed::PanDigit),
        ] {
            assert_eq!(refusal(text), rule.into(), "{text}");
        }
    }

    #[test]
    fn the_longest_card_fits_the_longest_track() {
        let text = ";6205500000000000004=2812201123456789?";
        assert!(text.len() <= Track2::MAX_BYTES && Track2::parse(text.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_exposed_parses_to_itself(yy in 0_u8..100, mm in 1_u8..=12, service in proptest::option::of("[0-9]{3}")) {
            let text = format!("6205500000000000004={yy:02}{mm:02}{}", service.unwrap_or_default());
            let track = Track2::parse(text.as_bytes()).expect("a track");
            prop_assert_eq!(&track.expose_text()[..], text.as_bytes());
        }

        #[test]
        fn any_bytes_are_refused_or_a_card(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(track) = Track2::parse(&bytes) {
                prop_assert!(Pan::parse(track.pan().expose()).is_ok());
            }
        }

        #[test]
        fn no_near_miss_panics(text in ";?[0-9]{0,21}=?[0-9=]{0,12}\\??") {
            let parsed = Track2::parse(text.as_bytes());
            prop_assert!(parsed.is_err() || text.contains('='));
        }
    }
}
