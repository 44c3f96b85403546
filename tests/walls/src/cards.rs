//! Card numbers in the repository: only published test numbers, and only where cards are the matter.
//!
//! A number is looked for as it would be written: 13 to 19 digits that begin with 3 to 6 and pass Luhn, in one run, with
//! underscores, or in the groups that are printed on cards. Barcodes and times do not begin so, or stand among letters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::{CannotLook, Violations};

/// Where card numbers may stand, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// A file or folder of the repository, with the reason.
    pub places: BTreeMap<String, String>,
}

impl Places {
    /// Reads the table.
    ///
    /// # Errors
    /// [`CannotLook`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, CannotLook> {
        toml::from_str(text).map_err(|e| CannotLook(format!("card_places.toml: {e}")))
    }

    fn allows(&self, path: &Path) -> bool {
        self.places.keys().any(|place| path.starts_with(place))
    }
}

/// The published test numbers, one a line; `#` begins a remark.
#[must_use]
pub fn published(text: &str) -> BTreeSet<String> {
    let number = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    text.lines().map(number).filter(|line| !line.is_empty()).collect()
}

/// Checks one text.
#[must_use]
pub fn check(path: &Path, text: &str, places: &Places, published: &BTreeSet<String>) -> Violations {
    let mut found = Vec::new();
    for (line, at) in text.lines().zip(1..) {
        for number in numbers(line) {
            let place = format!("{}:{at}", path.display());
            let masked = format!(
                "{}…{}",
                number.get(..6).unwrap_or_default(),
                number.get(number.len() - 4..).unwrap_or_default()
            );
            if !published.contains(&number) {
                found.push(format!("{place}: {masked} is a card number that is on no published list: never commit it"));
            } else if !places.allows(path) {
                found.push(format!("{place}: {masked} stands where cards are not the matter (see card_places.toml)"));
            }
        }
    }
    found
}

/// The card numbers in a line, digits only.
fn numbers(line: &str) -> Vec<String> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let starts = bytes.get(at).is_some_and(u8::is_ascii_digit) && !joins(before);
        if !starts {
            at += 1;
            continue;
        }
        let end = run_end(bytes, at);
        let run = line.get(at..end).unwrap_or_default();
        let digits: String = run.chars().filter(char::is_ascii_digit).collect();
        let after = line.get(end..).and_then(|text| text.chars().next());
        if !joins(after) && printed_as_a_card(run) && looks_like_a_card(&digits) {
            found.push(digits);
        }
        at = end.max(at + 1);
    }
    found
}

/// Whether the character beside a run of digits makes it an identifier or a hash instead of a number.
fn joins(beside: Option<char>) -> bool {
    beside.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The end of a run of digits with single separators between them.
fn run_end(bytes: &[u8], start: usize) -> usize {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = start;
    while digit(end) || (matches!(bytes.get(end), Some(b' ' | b'-' | b'_')) && digit(end + 1)) {
        end += 1;
    }
    end
}

/// One run, underscores anywhere, or the groups of a printed card.
fn printed_as_a_card(run: &str) -> bool {
    let groups: Vec<usize> =
        run.split([' ', '-']).map(|group| group.chars().filter(char::is_ascii_digit).count()).collect();
    groups.len() == 1
        || matches!(groups.as_slice(), [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3] | [4, 4, 4, 4, 2])
}

fn looks_like_a_card(digits: &str) -> bool {
    let range = digits.starts_with(['3', '4', '5', '6']) || is_mastercard_2(digits);
    range && (13..=19).contains(&digits.len()) && passes_luhn(digits)
}

/// The part of the numbers beginning with 2 that is a card range (2221 to 2720, 16 digits); the rest are times and ids.
fn is_mastercard_2(digits: &str) -> bool {
    let range: Option<u16> = digits.get(..4).and_then(|d| d.parse().ok());
    digits.len() == 16 && range.is_some_and(|r| (2221..=2720).contains(&r))
}

/// The check of ISO/IEC 7812-1, annex B.
#[must_use]
pub fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .zip([1_u32, 2].into_iter().cycle())
        .map(|(byte, weight)| {
            let value = u32::from(byte.wrapping_sub(b'0')) * weight;
            value / 10 + value % 10
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> Violations {
        let places = Places::parse("[places]\n\"pci-zone/card\" = \"cards are its matter\"").expect("a table");
        check(
            Path::new(path),
            line,
            &places,
            &published("4242424242424242 # a remark\n\n371449635398431\n2223003122003222"),
        )
    }

    #[test]
    fn a_published_number_in_its_place_is_fine() {
        assert_eq!(found("pci-zone/card/src/pan.rs", "parse(\"4242424242424242=3012\")"), Violations::new());
    }

    #[test]
    fn a_published_number_elsewhere_is_found_however_it_is_written() {
        let ways = [
            "x = \"4242424242424242\"",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "let n = 4242_4242_4242_4242;",
            "3714 496353 98431",
            "pan=2223003122003222&x",
        ];
        for line in ways {
            assert_eq!(found("ops/src/lib.rs", line).len(), 1, "{line}");
        }
    }

    #[test]
    fn an_unpublished_number_is_found_even_in_its_place() {
        let unpublished = format!("45{}", "00000000000007");
        assert!(passes_luhn(&unpublished));
        let found = found("pci-zone/card/src/pan.rs", &unpublished);
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|v| v.contains("no published list") && !v.contains(&unpublished)), "{found:?}");
    }

    #[test]
    fn what_is_no_card_number_is_left_alone() {
        let lines = [
            "(01)09500000000198(21)00000335",
            "at 1772431228323335 microseconds",
            "4242424242424241",
            "sha256 a4242424242424242f",
            "2026 1000 2000 3000",
            "tok_4242424242424242",
            concat!("4242424", "24242424\u{ff12}"),
        ];
        for line in lines {
            assert_eq!(found("ops/src/lib.rs", line), Violations::new(), "{line}");
        }
    }
}
