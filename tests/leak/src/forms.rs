//! How a number can be written, and the bytes that betray each way.
//!
//! A needle is the part of a written number that is the same wherever it stands: base64 without the characters that its
//! neighbours share, packed digits without the half byte at an odd end, integers without their leading zeros. Where
//! so little is left that chance would find it (packed `4000000000000002` is `40`, zeros and `02`), there is no needle
//! in that form: a search that cries wolf is soon switched off. [`tells`] says where that is so.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use md5::{Digest, Md5};
use ring::digest;

/// A way of writing a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Digits.
    Ascii,
    /// Digits in groups, with spaces.
    Spaced,
    /// Digits in groups, with dashes.
    Dashed,
    /// Two bytes a digit, either end first.
    Utf16,
    /// Each digit's byte in hexadecimal.
    Hex,
    /// Base64, beginning at any of the three offsets.
    Base64,
    /// Two digits a byte.
    Bcd,
    /// A digit's value a byte.
    Unpacked,
    /// A whole number or a float: either end first, or seven bits a byte.
    Integer,
    /// As URLs write it: each digit escaped, or groups with their spaces escaped.
    Url,
    /// Backwards.
    Reversed,
    /// The list of its bytes, as a debugger or a careless `Debug` prints it.
    ByteList,
    /// A hash without a key, which a few seconds of guessing undo.
    Hash,
    /// First six or eight digits, and the last four not far from them.
    Split,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Ascii,
        Self::Spaced,
        Self::Dashed,
        Self::Utf16,
        Self::Hex,
        Self::Base64,
        Self::Bcd,
        Self::Unpacked,
        Self::Integer,
        Self::Url,
        Self::Reversed,
        Self::ByteList,
        Self::Hash,
        Self::Split,
    ];
}

/// The fewest bytes of a needle of plain bytes that differ from its commonest one.
const LEAST_UNCOMMON_BYTES: usize = 4;
/// Bytes of a hash that suffice, so that a truncated one is found, too.
const HASH_BYTES: usize = 16;

/// The needles of every form but [`Form::Split`], which is no single run of bytes.
#[must_use]
pub fn needles(digits: &str) -> Vec<(Form, Vec<u8>)> {
    let mut all: Vec<(Form, Vec<u8>)> = Vec::new();
    let mut add = |form, needles: Vec<Vec<u8>>| all.extend(needles.into_iter().map(|needle| (form, needle)));
    let ascii = digits.as_bytes();
    add(Form::Ascii, vec![ascii.to_vec()]);
    add(Form::Spaced, grouped(digits, " "));
    add(Form::Dashed, grouped(digits, "-"));
    add(Form::Utf16, [u16::to_le_bytes, u16::to_be_bytes].map(|bytes| utf16(digits, bytes)).to_vec());
    add(Form::Hex, vec![HEXLOWER.encode(ascii).into_bytes()]);
    add(Form::Base64, (0..3).map(|offset| base64(ascii, offset)).collect());
    add(Form::Bcd, telling([0, 1].map(|from| packed(ascii.get(from..).unwrap_or_default())).to_vec()));
    add(Form::Unpacked, telling(vec![ascii.iter().map(|digit| digit & 0x0f).collect()]));
    add(Form::Integer, telling(integers(digits)));
    add(Form::Url, urls(digits));
    add(Form::Reversed, vec![ascii.iter().rev().copied().collect()]);
    add(Form::ByteList, [", ", ","].map(|between| byte_list(ascii, between)).to_vec());
    add(Form::Hash, hashes(ascii).iter().flat_map(|hash| written_hashes(hash)).collect());
    all.sort();
    all.dedup();
    all
}

/// Whether a number can be told from chance in this form.
#[must_use]
pub fn tells(digits: &str, form: Form) -> bool {
    form == Form::Split || needles(digits).iter().any(|(known, _)| *known == form)
}

/// The needles of a form if chance would write none of them, and none otherwise.
fn telling(needles: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let times = |needle: &[u8], byte: &u8| needle.iter().filter(|other| *other == byte).count();
    let commonest = |needle: &[u8]| needle.iter().map(|byte| times(needle, byte)).max().unwrap_or(0);
    let told = needles.iter().all(|needle| needle.len() - commonest(needle) >= LEAST_UNCOMMON_BYTES);
    if told { needles } else { Vec::new() }
}

/// The groups in which a number of this length is printed on cards; and fours.
fn groups(digits: &str) -> Vec<Vec<&str>> {
    let printed: &[usize] = match digits.len() {
        13 => &[4, 3, 3, 3],
        14 => &[4, 6, 4],
        15 => &[4, 6, 5],
        _ => &[],
    };
    [printed, &[4; 5]].into_iter().filter(|sizes| !sizes.is_empty()).map(|sizes| cut(digits, sizes)).collect()
}

fn cut<'a>(digits: &'a str, sizes: &[usize]) -> Vec<&'a str> {
    let mut rest = digits;
    let mut parts = Vec::new();
    for size in sizes {
        let (part, after) = rest.split_at(rest.len().min(*size));
        parts.push(part);
        rest = after;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn grouped(digits: &str, between: &str) -> Vec<Vec<u8>> {
    groups(digits).iter().map(|groups| groups.join(between).into_bytes()).collect()
}

fn utf16(digits: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    digits.encode_utf16().flat_map(bytes).collect()
}

/// The characters that base64 makes of `text` alone when `offset` bytes stand before it, whatever stands around it.
fn base64(text: &[u8], offset: usize) -> Vec<u8> {
    let padded = [vec![0; offset.min(3)].as_slice(), text, &[0; 3]].concat();
    let encoded = BASE64_NOPAD.encode(&padded).into_bytes();
    let (first, end) = ((offset * 8).div_ceil(6), (offset + text.len()) * 8 / 6);
    encoded.get(first..end).unwrap_or_default().to_vec()
}

/// Two digits a byte; an odd one at the end is left out.
fn packed(digits: &[u8]) -> Vec<u8> {
    digits.as_chunks::<2>().0.iter().map(|[high, low]| (high & 0x0f) << 4 | low & 0x0f).collect()
}

fn integers(digits: &str) -> Vec<Vec<u8>> {
    let Ok(number) = digits.parse::<u64>() else { return Vec::new() };
    let big: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let little = big.iter().rev().copied().collect();
    let mut all = vec![big, little, varint(number)];
    if let Ok(float) = digits.parse::<f64>() {
        all.extend([float.to_be_bytes().to_vec(), float.to_le_bytes().to_vec()]);
    }
    all
}

/// Seven bits a byte, the lowest first, as Protocol Buffers write it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
    bytes
}

fn urls(digits: &str) -> Vec<Vec<u8>> {
    let mut all = vec![digits.bytes().map(|digit| format!("%{digit:02X}")).collect::<String>().into_bytes()];
    all.extend(["+", "%20", "%2D", "%2d"].iter().flat_map(|between| grouped(digits, between)));
    all
}

fn byte_list(text: &[u8], between: &str) -> Vec<u8> {
    text.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes()
}

/// The hashes that people take: MD5, SHA-1 and the SHA-2 family.
#[must_use]
pub fn hashes(text: &[u8]) -> Vec<Vec<u8>> {
    let known =
        [&digest::SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA256, &digest::SHA384, &digest::SHA512, &digest::SHA512_256];
    let mut all: Vec<Vec<u8>> = known.iter().map(|hash| digest::digest(hash, text).as_ref().to_vec()).collect();
    all.push(Md5::digest(text).to_vec());
    all
}

fn written_hashes(hash: &[u8]) -> Vec<Vec<u8>> {
    let hash = hash.get(..HASH_BYTES).unwrap_or(hash);
    let base32 = whole_characters(BASE32_NOPAD.encode(hash), 5);
    vec![
        hash.to_vec(),
        HEXLOWER.encode(hash).into_bytes(),
        HEXUPPER.encode(hash).into_bytes(),
        whole_characters(BASE64_NOPAD.encode(hash), 6).into_bytes(),
        whole_characters(BASE64URL_NOPAD.encode(hash), 6).into_bytes(),
        base32.to_ascii_lowercase().into_bytes(),
        base32.into_bytes(),
    ]
}

/// The characters of an encoded prefix that do not depend on what follows it.
fn whole_characters(mut encoded: String, bits: usize) -> String {
    encoded.truncate(HASH_BYTES * 8 / bits);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCOVER: &str = "6011111111111117";
    const MASTERCARD: &str = "2223003122003222";

    fn of(digits: &str, form: Form) -> Vec<Vec<u8>> {
        needles(digits).into_iter().filter(|(known, _)| *known == form).map(|(_, needle)| needle).collect()
    }

    fn texts(digits: &str, form: Form) -> Vec<String> {
        of(digits, form).into_iter().map(|needle| String::from_utf8(needle).expect("text")).collect()
    }

    #[test]
    fn numbers_are_grouped_as_cards_print_them() {
        assert_eq!(texts(MASTERCARD, Form::Spaced), ["2223 0031 2200 3222"]);
        assert_eq!(texts("371449635398431", Form::Dashed), ["3714-4963-5398-431", "3714-496353-98431"]);
        assert_eq!(texts("30569309025904", Form::Spaced), ["3056 9309 0259 04", "3056 930902 5904"]);
        assert_eq!(texts("4222222222222", Form::Dashed), ["4222-222-222-222", "4222-2222-2222-2"]);
        assert_eq!(texts("6205500000000000004", Form::Spaced), ["6205 5000 0000 0000 004"]);
    }

    #[test]
    fn base64_is_known_whatever_stands_around_the_number() {
        for before in 0..6 {
            for after in 0..4 {
                let text = [&b"{\"pan\""[..before], MASTERCARD.as_bytes(), &b"\"}, "[..after]].concat();
                let encoded = BASE64_NOPAD.encode(&text);
                let found = texts(MASTERCARD, Form::Base64).iter().filter(|needle| encoded.contains(*needle)).count();
                assert_eq!(found, 1, "{before} before, {after} after");
            }
        }
    }

    #[test]
    fn packed_digits_are_known_with_either_half_of_a_byte_first() {
        assert_eq!(
            of(MASTERCARD, Form::Bcd),
            [vec![0x22, 0x23, 0x00, 0x31, 0x22, 0x00, 0x32, 0x22], vec![0x22, 0x30, 0x03, 0x12, 0x20, 0x03, 0x22]]
        );
        assert_eq!(
            of("371449635398431", Form::Bcd),
            [vec![0x37, 0x14, 0x49, 0x63, 0x53, 0x98, 0x43], vec![0x71, 0x44, 0x96, 0x35, 0x39, 0x84, 0x31]]
        );
        assert_eq!(of("30569309025904", Form::Unpacked), [vec![3, 0, 5, 6, 9, 3, 0, 9, 0, 2, 5, 9, 0, 4]]);
    }

    #[test]
    fn integers_are_known_without_their_zeros() {
        let number = 30_569_309_025_904_u64;
        let found = of("30569309025904", Form::Integer);
        assert!(
            found.contains(&number.to_be_bytes()[2..].to_vec()) && found.contains(&number.to_le_bytes()[..6].to_vec())
        );
        assert!(found.contains(&varint(number)) && found.contains(&30_569_309_025_904_f64.to_le_bytes().to_vec()));
        let mut proto = Vec::new();
        prost::encoding::encode_varint(number, &mut proto);
        assert_eq!(varint(number), proto);
    }

    #[test]
    fn the_other_forms_are_as_one_would_write_them() {
        assert!(texts(DISCOVER, Form::Hex).contains(&"36303131313131313131313131313137".to_owned()));
        assert_eq!(texts(DISCOVER, Form::Reversed), ["7111111111111106"]);
        assert!(
            texts("30569309025904", Form::ByteList)
                .contains(&format!("{:?}", b"30569309025904").replace(['[', ']'], ""))
        );
        assert!(texts(DISCOVER, Form::Url).contains(&"6011+1111+1111+1117".to_owned()));
        assert!(texts(DISCOVER, Form::Url).iter().any(|text| text.starts_with("%36%30%31")));
        assert!(of(DISCOVER, Form::Utf16).contains(&DISCOVER.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    }

    #[test]
    fn hashes_are_those_of_the_standards() {
        // RFC 1321, FIPS 180-4: the examples for "abc".
        let [sha1, sha256, sha384, sha512, sha512_256, md5] = hashes(b"abc").try_into().expect("six hashes");
        assert_eq!(HEXLOWER.encode(&md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(HEXLOWER.encode(&sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(HEXLOWER.encode(&sha256).starts_with("ba7816bf8f01cfea414140de5dae2223"));
        assert!(HEXLOWER.encode(&sha384).starts_with("cb00753f45a35e8bb5a03d699ac65007"));
        assert!(HEXLOWER.encode(&sha512).starts_with("ddaf35a193617abacc417349ae204131"));
        assert!(HEXLOWER.encode(&sha512_256).starts_with("53048e2681941ef99b2e29b76b4c7dab"));
    }

    #[test]
    fn what_chance_would_find_is_not_looked_for_and_nothing_else_is_left_out() {
        let silent = |digits| Form::ALL.into_iter().filter(|form| !tells(digits, *form)).collect::<Vec<_>>();
        assert_eq!(silent(DISCOVER), [Form::Bcd, Form::Unpacked]);
        assert_eq!(silent("4000000000000002"), [Form::Bcd, Form::Unpacked]);
        assert_eq!(silent("4222222222222"), [Form::Bcd, Form::Unpacked]);
        for digits in [MASTERCARD, "371449635398431", "30569309025904", "36227206271667", "5105105105105100"] {
            assert_eq!(silent(digits), [], "{digits}");
        }
    }
}
