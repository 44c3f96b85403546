//! Keyed digests: how the sandbox knows a card or a request again without keeping it.
//!
//! Written as letters `a` to `p` only, so that neither books nor ids ever hold a run of digits.

use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

/// 128 bits of HMAC-SHA-256 under the salt of one set of books.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(u128);

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        letters(&digest.0.to_be_bytes())
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = from_letters(&text).and_then(|bytes| bytes.try_into().ok()).ok_or("not a digest")?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

/// Makes the digests of one set of books.
pub(crate) struct Digester(hmac::Key);

impl Digester {
    pub(crate) fn new(salt: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, salt))
    }

    /// The digest of a thing of this kind.
    pub(crate) fn of(&self, kind: &str, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(&kind.as_bytes()).chain(parts) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let first: [u8; 16] = context.sign().as_ref().first_chunk().copied().unwrap_or_default();
        Digest(u128::from_be_bytes(first))
    }
}

/// Bytes as letters, two a byte.
pub(crate) fn letters(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(|nibble| char::from(b'a' + nibble)).collect()
}

/// The reverse of [`letters`].
pub(crate) fn from_letters(text: &str) -> Option<Vec<u8>> {
    let nibble = |letter: u8| letter.checked_sub(b'a').filter(|nibble| *nibble < 16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_both_ways() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_letters(&letters(&bytes)), Some(bytes));
        for bad in ["a", "aq", "a1", "é"] {
            assert_eq!(from_letters(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_digest_depends_on_salt_kind_and_every_part() {
        let ours = Digester::new(b"salt");
        let digest = ours.of("card", &[b"ab", b"c"]);
        assert_eq!(digest, ours.of("card", &[b"ab", b"c"]));
        assert_ne!(digest, ours.of("card", &[b"a", b"bc"]));
        assert_ne!(digest, ours.of("key", &[b"ab", b"c"]));
        assert_ne!(digest, Digester::new(b"other").of("card", &[b"ab", b"c"]));
        assert_eq!(Digest::try_from(String::from(digest)), Ok(digest));
    }
}
