//! Check values: by what a key is known again years later, without being told to anyone.
//!
//! A token that was replaced by another of the same label looks right in every attribute, and a start that then makes
//! "missing" keys would give every card a new token: no customer would be known and no debt found. So each key has a
//! check value, which whoever keeps the tokens keeps with them. It is a hash that only the key gives (a secret key's) or
//! that anyone may know (a public key's), cut to eight bytes; it says nothing about any token.

use pci_contract::SealingKey;

use crate::{
    handles::TokenHandle,
    hsm::{Bench, HsmError},
};

/// What is hashed under a token key. No card's text begins so, since those begin with another domain.
const DOMAIN: &[u8] = b"larder key check v1";
/// Bytes of a hash that a check value has.
const CHECK_BYTES: usize = 8;

/// The check value of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCheck {
    /// The key's label.
    pub label: String,
    /// Sixteen hexadecimal digits.
    pub value: String,
}

impl KeyCheck {
    pub(crate) fn of_sealing(label: &str, key: &SealingKey) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, &key.public);
        Self::new(label, hash.as_ref())
    }

    pub(crate) fn of_token(bench: &Bench, handle: &TokenHandle) -> Result<Self, HsmError> {
        Ok(Self::new(&handle.label, bench.mac(handle.key, DOMAIN)?.as_slice()))
    }

    fn new(label: &str, hash: &[u8]) -> Self {
        use std::fmt::Write;
        let value = hash.iter().take(CHECK_BYTES).fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { label: label.to_owned(), value }
    }
}

/// Whether a key of this label was there before, and so must not be made anew.
pub(crate) fn is_known(known: &[KeyCheck], label: &str) -> bool {
    known.iter().any(|check| check.label == label)
}

/// Holds the keys that were found against what is known of them: the label of the first that is another. A key of which
/// nothing is known is right.
pub(crate) fn another<'a>(known: &[KeyCheck], found: &'a [KeyCheck]) -> Option<&'a str> {
    let other = |check: &&KeyCheck| known.iter().any(|k| k.label == check.label && k.value != check.value);
    found.iter().find(other).map(|check| check.label.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(label: &str, byte: u8) -> KeyCheck {
        KeyCheck::new(label, &[byte; 32])
    }

    #[test]
    fn a_check_value_is_short_and_hexadecimal() {
        assert_eq!(check("a", 0x0f).value, "0f0f0f0f0f0f0f0f");
    }

    #[test]
    fn only_a_known_key_can_be_another() {
        let known = [check("a", 1), check("retired", 2)];
        assert_eq!(another(&known, &[check("a", 1), check("new", 3)]), None);
        assert_eq!(another(&known, &[check("new", 3), check("a", 2)]), Some("a"));
        assert!(is_known(&known, "retired") && !is_known(&known, "new"));
    }
}
