//! What a TPM signs of itself: `TPMS_ATTEST` (Part 2, section 10.12.8), as a quote or as the certification of a key.

use crate::{HashAlgorithm, Malformed, PcrSelection, Why, reader::Reader};

/// The name, for errors.
const STRUCTURE: &str = "attestation (TPMS_ATTEST)";
/// The most bytes of one: a quote of every bank with the largest names is far below.
const MOST_BYTES: usize = 1_024;
/// `TPM_GENERATED_VALUE`: a TPM signs nothing from outside that begins so with a restricted key.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_CERTIFY`.
const CERTIFY: u16 = 0x8017;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// A name is a hash algorithm and a digest.
const MOST_NAME: usize = 2 + HashAlgorithm::MOST_BYTES;

/// A statement of a TPM, whose signature is still to be checked over the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest<'a> {
    /// The qualified name of the key that signed.
    pub signer: &'a [u8],
    /// What the asker gave, such as a nonce.
    pub extra_data: &'a [u8],
    /// How far the TPM's clock and counters have come.
    pub clock: Clock,
    /// The version of the TPM's own firmware, in its maker's numbering.
    pub firmware: u64,
    /// What is said.
    pub said: Said<'a>,
}

/// `TPMS_CLOCK_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM was powered, since it was last cleared.
    pub millis: u64,
    /// Times it was reset.
    pub resets: u32,
    /// Times it was restarted or resumed since the last reset.
    pub restarts: u32,
    /// Whether no larger value of `millis` was ever given out.
    pub safe: bool,
}

/// What a TPM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// These registers have these values.
    Quote(Quoted<'a>),
    /// This key is in me.
    Certify(Certified<'a>),
}

/// `TPMS_QUOTE_INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Which registers.
    pub selection: Vec<PcrSelection>,
    /// The digest of all their values, in the order of the selection.
    pub digest: &'a [u8],
}

/// `TPMS_CERTIFY_INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified<'a> {
    /// The key's name: the hash of its public area.
    pub name: &'a [u8],
    /// The same, with the names of its parents.
    pub qualified_name: &'a [u8],
}

impl<'a> Attest<'a> {
    /// Parses the bytes that a TPM signed, all of them.
    ///
    /// # Errors
    /// [`Malformed`] when they are no quote or certification, or not made by a TPM itself.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(STRUCTURE, bytes, MOST_BYTES)?;
        if reader.u32()? != GENERATED {
            return Err(reader.wrong(Why::NotGenerated));
        }
        let kind = reader.u16()?;
        let signer = reader.sized(MOST_NAME)?;
        let extra_data = reader.sized(MOST_NAME)?;
        let clock = Clock::read(&mut reader)?;
        let firmware = reader.u64()?;
        let said = match kind {
            QUOTE => Said::Quote(Quoted {
                selection: PcrSelection::read_list(&mut reader)?,
                digest: reader.sized(HashAlgorithm::MOST_BYTES)?,
            }),
            CERTIFY => {
                Said::Certify(Certified { name: reader.sized(MOST_NAME)?, qualified_name: reader.sized(MOST_NAME)? })
            }
            other => return Err(reader.wrong(Why::Kind(other))),
        };
        reader.end()?;
        Ok(Self { signer, extra_data, clock, firmware, said })
    }
}

impl Clock {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (millis, resets, restarts) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let safe = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(reader.wrong(Why::Value)),
        };
        Ok(Self { millis, resets, restarts, safe })
    }
}
