//! The little of CBOR (RFC 8949) that an attestation object needs: texts, byte strings, arrays, maps and two integers, of
//! definite length and each in the one shortest form (CTAP 2.1, section 8, as WebAuthn demands).

use crate::{Malformed, Why, reader::Reader};

/// Major types (RFC 8949, section 3.1).
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
/// An argument of a head that follows in 1, 2 or 4 bytes.
const IN_ONE: u8 = 24;
const IN_TWO: u8 = 25;
const IN_FOUR: u8 = 26;

impl<'a> Reader<'a> {
    /// The head of an item of this major type, and its argument.
    fn head(&mut self, major: u8) -> Result<u32, Malformed> {
        let first = self.u8()?;
        if first >> 5 != major {
            return Err(self.wrong(Why::Value));
        }
        let (argument, least) = match first & 0x1f {
            IN_ONE => (u32::from(self.u8()?), u32::from(IN_ONE)),
            IN_TWO => (u32::from(self.u16()?), 1 << 8),
            IN_FOUR => (self.u32()?, 1 << 16),
            short if short < IN_ONE => (u32::from(short), 0),
            _ => return Err(self.wrong(Why::Value)),
        };
        if argument < least { Err(self.wrong(Why::Value)) } else { Ok(argument) }
    }

    /// A map, which must have so many pairs as one of these numbers says; gives out which.
    pub(crate) fn cbor_map(&mut self, pairs: &[u32]) -> Result<u32, Malformed> {
        let found = self.head(MAP)?;
        if pairs.contains(&found) { Ok(found) } else { Err(self.wrong(Why::Value)) }
    }

    /// The number of an array's items, of which there are one to `most`.
    pub(crate) fn cbor_array(&mut self, most: usize) -> Result<usize, Malformed> {
        let found = self.head(ARRAY)?;
        if found == 0 { Err(self.wrong(Why::Value)) } else { self.bounded(found, most) }
    }

    /// A text, which must be this one.
    pub(crate) fn cbor_text(&mut self, expected: &'static str) -> Result<(), Malformed> {
        let length = self.head(TEXT)?;
        let length = self.bounded(length, expected.len()).map_err(|_| self.wrong(Why::Expected(expected)))?;
        let found = self.take(length)?;
        if found == expected.as_bytes() { Ok(()) } else { Err(self.wrong(Why::Expected(expected))) }
    }

    /// A byte string of at most so many bytes.
    pub(crate) fn cbor_bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let length = self.head(BYTES)?;
        let length = self.bounded(length, most)?;
        self.take(length)
    }

    /// A negative integer, which must be −1 − `argument`.
    pub(crate) fn cbor_negative(&mut self, argument: u32) -> Result<(), Malformed> {
        if self.head(NEGATIVE)? == argument { Ok(()) } else { Err(self.wrong(Why::Value)) }
    }
}

/// What [`Reader`] reads, written.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    fn head(&mut self, major: u8, argument: u32) {
        let major = major << 5;
        let [_, _, high, low] = argument.to_be_bytes();
        match (u8::try_from(argument), u16::try_from(argument)) {
            (Ok(short), _) if short < IN_ONE => self.0.push(major | short),
            (Ok(_), _) => self.0.extend([major | IN_ONE, low]),
            (_, Ok(_)) => self.0.extend([major | IN_TWO, high, low]),
            _ => {
                self.0.push(major | IN_FOUR);
                self.0.extend(argument.to_be_bytes());
            }
        }
    }

    pub(crate) fn map(&mut self, pairs: u32) {
        self.head(MAP, pairs);
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.head(ARRAY, length(items));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.head(TEXT, length(text.len()));
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, length(bytes.len()));
        self.0.extend(bytes);
    }

    /// −1 − `argument`.
    pub(crate) fn negative(&mut self, argument: u32) {
        self.head(NEGATIVE, argument);
    }
}

/// A length, which is bounded far below where a number of 32 bits ends.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Writer;
    use crate::{Why, reader::Reader};

    fn bytes(input: &[u8]) -> Result<Vec<u8>, Why> {
        let mut reader = Reader::new("test", input, 1 << 20).unwrap();
        reader.cbor_bytes(70_000).map(<[u8]>::to_vec).map_err(|malformed| malformed.why)
    }

    /// The examples of RFC 8949, appendix A, and what is around the edges of a head.
    #[test]
    fn what_is_written_is_shortest_and_read_again() {
        let mut writer = Writer::default();
        writer.negative(6);
        writer.text("IETF");
        writer.bytes(&[1, 2, 3, 4]);
        writer.array(3);
        writer.map(2);
        writer.negative(999);
        assert_eq!(writer.0, [&[0x26, 0x64][..], b"IETF", &[0x44, 1, 2, 3, 4, 0x83, 0xa2, 0x39, 0x03, 0xe7]].concat());
        for (length, head) in [(0, 1), (23, 1), (24, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5)] {
            let mut writer = Writer::default();
            writer.bytes(&vec![7; length]);
            assert_eq!(writer.0.len(), length + head);
            assert_eq!(bytes(&writer.0), Ok(vec![7; length]));
        }
    }

    #[test]
    fn longer_forms_other_types_and_open_ends_are_refused() {
        for longer in [&[0x58, 1, 7][..], &[0x58, 23], &[0x59, 0, 1, 7], &[0x59, 0, 255], &[0x5a, 0, 0, 255, 255]] {
            assert_eq!(bytes(longer), Err(Why::Value), "{longer:02x?}");
        }
        for other in [&[0x5f, 0xff][..], &[0x5b, 0, 0, 0, 0, 0, 0, 0, 1, 7], &[0x5c], &[0x61, b'a'], &[0x80], &[0xf6]] {
            assert_eq!(bytes(other), Err(Why::Value), "{other:02x?}");
        }
        for short in [&[][..], &[0x41], &[0x58], &[0x59, 1], &[0x5a, 0, 1, 0], &[0x58, 24, 1]] {
            assert_eq!(bytes(short), Err(Why::Short), "{short:02x?}");
        }
        assert_eq!(bytes(&[0x5a, 0, 1, 0x11, 0x71]), Err(Why::TooLarge { most: 70_000 }));
    }
}
