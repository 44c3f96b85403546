//! A TPM's signature: `TPMT_SIGNATURE` (Part 2, section 11.3.4), of ECDSA.

use crate::{Curve, HashAlgorithm, Malformed, Why, public::ECDSA, reader::Reader};

const STRUCTURE: &str = "signature (TPMT_SIGNATURE)";
/// The most bytes of one: two numbers of the larger curve.
const MOST_BYTES: usize = 2 + 2 + 2 * (2 + Curve::P384.bytes());

/// An ECDSA signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcdsaSignature<'a> {
    /// The hash of what is signed.
    pub hash: HashAlgorithm,
    r: &'a [u8],
    s: &'a [u8],
}

impl<'a> EcdsaSignature<'a> {
    /// Parses a signature, all of its bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are none of ECDSA.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(STRUCTURE, bytes, MOST_BYTES)?;
        let algorithm = reader.u16()?;
        if algorithm != ECDSA {
            return Err(reader.wrong(Why::Algorithm(algorithm)));
        }
        let hash = HashAlgorithm::read(&mut reader)?;
        let (r, s) = (reader.sized(Curve::P384.bytes())?, reader.sized(Curve::P384.bytes())?);
        reader.end()?;
        Ok(Self { hash, r, s })
    }

    /// Both numbers at the full width of `curve`, one behind the other; `None` when one is wider.
    #[must_use]
    pub fn fixed(&self, curve: Curve) -> Option<Vec<u8>> {
        let mut fixed = Vec::with_capacity(2 * curve.bytes());
        for number in [self.r, self.s] {
            fixed.resize(fixed.len() + curve.bytes().checked_sub(number.len())?, 0);
            fixed.extend_from_slice(number);
        }
        Some(fixed)
    }
}
