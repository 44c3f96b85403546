//! Copies to be planted: each card in each form, as a program that leaks would write it, with something around it.
//!
//! They are made by other means than the needles (whole encodings of whole texts, the standard library's own integers
//! and escapes), so that a mistake in a needle does not agree with itself.

use std::io::Write;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use single_node::Fault;

use crate::canary::Canary;
use crate::forms::{self, Form};
use crate::hunt::{Finds, Hunt};

/// One planted copy.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Whose number it is, by its part in the story.
    pub part: &'static str,
    /// In which form.
    pub form: Form,
    /// What to plant.
    pub bytes: Vec<u8>,
}

/// A copy of each card in each form, in every variant of it that programs write.
#[must_use]
pub fn copies(canaries: &[Canary]) -> Vec<Copy> {
    let of = |card: &Canary| {
        let (part, digits) = (card.part(), card.digits().to_owned());
        let told = variants(&digits).into_iter().filter(move |(form, _)| forms::tells(&digits, *form));
        told.map(move |(form, bytes)| Copy { part, form, bytes })
    };
    canaries.iter().flat_map(of).collect()
}

/// All copies in one text, with something between them that belongs to none.
#[must_use]
pub fn in_one(copies: &[Copy]) -> Vec<u8> {
    copies.iter().flat_map(|copy| [&copy.bytes[..], b"\n|\n"].concat()).collect()
}

/// Packs `text` as gzip does.
///
/// # Errors
/// [`Fault`] when there is no memory for it.
pub fn gzip(text: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(text).and_then(|()| writer.finish()).map_err(Fault::of("gzip"))
}

/// Which of the planted copies the search did not find in a place that begins so: as often as they were planted, or
/// more.
#[must_use]
pub fn missed(hunt: &Hunt, copies: &[Copy], place: &str, finds: &Finds) -> Vec<String> {
    let planted = |part: &str, form| copies.iter().filter(|copy| copy.part == part && copy.form == form).count();
    let asked = hunt.canaries().iter().flat_map(|card| Form::ALL.map(|form| (card.part(), form)));
    asked
        .filter(|(part, form)| {
            finds.times(place, part, *form) < u64::try_from(planted(part, *form)).unwrap_or(u64::MAX)
        })
        .map(|(part, form)| format!("{place}: {part}, {form:?}"))
        .collect()
}

fn variants(digits: &str) -> Vec<(Form, Vec<u8>)> {
    let mut all: Vec<(Form, Vec<u8>)> =
        texts(digits).into_iter().map(|(form, text)| (form, text.into_bytes())).collect();
    let sentence = format!("card {digits} was declined");
    all.push((Form::Utf16, sentence.encode_utf16().flat_map(u16::to_le_bytes).collect()));
    all.push((Form::Utf16, sentence.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    all.push((Form::Bcd, nibbles(&format!("{digits}D3112201F"))));
    all.push((Form::Bcd, nibbles(&format!("0{digits}"))));
    all.push((Form::Unpacked, digits.bytes().map(|digit| digit - b'0').collect()));
    if let Ok(number) = digits.parse::<u64>() {
        all.push((Form::Integer, number.to_le_bytes().to_vec()));
        all.push((Form::Integer, number.to_be_bytes().to_vec()));
        let mut field = vec![0x08];
        prost::encoding::encode_varint(number, &mut field);
        all.push((Form::Integer, field));
    }
    if let Ok(number) = digits.parse::<f64>() {
        all.push((Form::Integer, number.to_le_bytes().to_vec()));
    }
    all.extend(forms::hashes(digits.as_bytes()).into_iter().map(|hash| (Form::Hash, hash)));
    all
}

fn texts(digits: &str) -> Vec<(Form, String)> {
    let (bin, last_four) = (digits.get(..6).unwrap_or_default(), digits.get(digits.len() - 4..).unwrap_or_default());
    let bin8 = digits.get(..8).unwrap_or_default();
    let fours = |between: &str| {
        let groups: Vec<String> =
            digits.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into()).collect();
        groups.join(between)
    };
    let mut all = vec![
        (Form::Ascii, format!(r#"{{"level":"DEBUG","pan":"{digits}"}}"#)),
        (Form::Ascii, format!(";{digits}=31122010000000000?")),
        (Form::Spaced, format!("card no. {}", fours(" "))),
        (Form::Dashed, format!("card no. {}", fours("-"))),
        (Form::Hex, HEXLOWER.encode(format!("pan={digits}&").as_bytes())),
        (Form::Hex, HEXUPPER.encode(format!("pan={digits}&").as_bytes())),
        (Form::Url, format!("card={}&", fours("%20"))),
        (Form::Url, format!("card={}&", fours("+"))),
        (Form::Url, digits.bytes().map(|digit| format!("%{digit:x}")).collect()),
        (Form::Reversed, digits.chars().rev().collect()),
        (Form::ByteList, format!("{:?}", digits.as_bytes())),
        (Form::ByteList, serde_json::json!({ "body": digits.as_bytes() }).to_string()),
        (Form::Split, format!(r#"{{"bin":"{bin}","last4":"{last_four}"}}"#)),
        (Form::Split, format!("{bin}******{last_four}")),
        (Form::Split, format!("{bin8}XXXX{last_four}")),
    ];
    for before in ["", "4", "42"] {
        all.push((Form::Base64, BASE64.encode(format!("{before}{digits}=3112").as_bytes())));
        all.push((Form::Base64, BASE64URL.encode(format!("{before}{digits}?").as_bytes())));
    }
    for hash in forms::hashes(digits.as_bytes()) {
        let encoded =
            [HEXLOWER.encode(&hash), HEXUPPER.encode(&hash), BASE64.encode(&hash), BASE32_NOPAD.encode(&hash)];
        all.extend(encoded.map(|text| (Form::Hash, format!("sha:{text}"))));
    }
    all
}

/// Packs hexadecimal digits, two a byte; an odd one at the end gets a filler, as ISO 9564 and EMV do.
fn nibbles(text: &str) -> Vec<u8> {
    let even = if text.len().is_multiple_of(2) { text.to_owned() } else { format!("{text}F") };
    HEXUPPER.decode(even.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards() -> Vec<Canary> {
        let list = include_str!("../../walls/test_pans.txt").lines().filter(|line| !line.starts_with('#'));
        list.map(|digits| Canary::new("the card", digits)).collect()
    }

    #[test]
    fn every_copy_of_every_published_card_is_found_by_itself_in_its_own_form() {
        let mut tried = 0;
        for card in cards() {
            let hunt = Hunt::new(std::slice::from_ref(&card), &[]).expect("a hunt");
            for copy in copies(std::slice::from_ref(&card)) {
                let mut finds = Finds::default();
                hunt.search("here", 0, &copy.bytes, &mut finds);
                let shown = String::from_utf8_lossy(&copy.bytes).into_owned();
                assert!(finds.times("here", "the card", copy.form) > 0, "{:?}: {shown}", copy.form);
                tried += 1;
            }
        }
        assert!(tried > 18 * 40, "{tried}");
    }

    #[test]
    fn every_form_is_planted() {
        let card = [Canary::new("the card", "2223003122003222")];
        let planted = copies(&card);
        for form in Form::ALL {
            assert!(planted.iter().any(|copy| copy.form == form), "{form:?}");
        }
    }

    #[test]
    fn a_copy_that_is_not_there_is_missed() {
        let card = [Canary::new("the card", "2223003122003222")];
        let (hunt, planted) = (Hunt::new(&card, &[]).expect("a hunt"), copies(&card));
        let mut finds = Finds::default();
        hunt.search("here", 0, &in_one(&planted), &mut finds);
        assert_eq!(missed(&hunt, &planted, "here", &finds), Vec::<String>::new());
        for left_out in Form::ALL {
            let some: Vec<Copy> = planted.iter().filter(|copy| copy.form != left_out).cloned().collect();
            let mut finds = Finds::default();
            hunt.search("here", 0, &in_one(&some), &mut finds);
            let expected = [format!("here: the card, {left_out:?}")];
            assert_eq!(missed(&hunt, &planted, "here", &finds), expected, "{left_out:?}");
        }
    }

    #[test]
    fn another_card_is_not_this_one() {
        let cards = [Canary::new("this", "2223003122003222"), Canary::new("that", "36227206271667")];
        let hunt = Hunt::new(&cards[..1], &[]).expect("a hunt");
        let mut finds = Finds::default();
        hunt.search("here", 0, &in_one(&copies(&cards[1..])), &mut finds);
        assert!(finds.is_clean(), "{finds}");
    }
}
