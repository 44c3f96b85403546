//! What the boot measured, event by event: the crypto-agile log of the TCG PC Client Platform Firmware Profile (revision
//! 1.06, sections 10.2.1, 10.2.2 and 10.4.5.1). Its numbers are little-endian, unlike all that a TPM itself says.
//!
//! A log is only a claim: it is worth something once a replay of it gives the values that a TPM quoted.

use crate::{HashAlgorithm, Malformed, Why, reader::Reader};

const STRUCTURE: &str = "event log";
/// The most bytes of a log. A fridge's boot measures some dozens of events; a PC's log has some ten thousand bytes.
const MOST_BYTES: usize = 256 * 1_024;
/// The most events of a log.
const MOST_EVENTS: usize = 1_024;
/// The most bytes that one event tells.
const MOST_EVENT_BYTES: usize = 32 * 1_024;
/// The most hash algorithms of a log.
const MOST_ALGORITHMS: usize = 8;
/// `EV_NO_ACTION`: it tells something and extends no register.
const NO_ACTION: u32 = 3;
/// How the first event begins: `TCG_EfiSpecIdEvent`.
const SIGNATURE: &[u8] = b"Spec ID Event03\0";
/// Registers that a log may speak of; more do not exist.
const REGISTERS: u32 = 32;

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// The events, in the order in which they happened, without the first, which only tells the log's form.
    pub events: Vec<Event<'a>>,
}

/// Something that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register that it extends.
    pub register: u8,
    /// Its kind, by its number in the profile.
    pub kind: u32,
    /// What the register was extended with, by bank.
    pub digests: Vec<Digest<'a>>,
    /// What is told of it. Nothing binds it to the digests; for most kinds they are its hash.
    pub told: &'a [u8],
}

impl Event<'_> {
    /// Whether it extends its register at all.
    #[must_use]
    pub const fn extends(&self) -> bool {
        self.kind != NO_ACTION
    }
}

/// A digest of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest<'a> {
    /// The bank.
    pub hash: HashAlgorithm,
    /// The digest.
    pub bytes: &'a [u8],
}

impl<'a> EventLog<'a> {
    /// Parses a log, all of its bytes. Digests of banks that are not known here are passed over.
    ///
    /// # Errors
    /// [`Malformed`] when it is no crypto-agile log, or larger than any fridge's.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(STRUCTURE, bytes, MOST_BYTES)?;
        let banks = Banks::read(&mut reader)?;
        let mut events = Vec::new();
        while !reader.is_at_end() {
            if events.len() == MOST_EVENTS {
                return Err(reader.wrong(Why::TooLarge { most: MOST_EVENTS }));
            }
            events.push(Event::read(&mut reader, &banks)?);
        }
        reader.end()?;
        Ok(Self { events })
    }
}

impl<'a> Event<'a> {
    /// `TCG_PCR_EVENT2`.
    fn read(reader: &mut Reader<'a>, banks: &Banks) -> Result<Self, Malformed> {
        let register = reader.u32_le()?;
        let register = u8::try_from(register).ok().filter(|_| register < REGISTERS);
        let register = register.ok_or_else(|| reader.wrong(Why::Value))?;
        let kind = reader.u32_le()?;
        let count = reader.u32_le()?;
        let count = reader.bounded(count, MOST_ALGORITHMS)?;
        let mut digests: Vec<Digest<'a>> = Vec::with_capacity(count);
        for _ in 0..count {
            let id = reader.u16_le()?;
            let size = banks.size(id).ok_or_else(|| reader.wrong(Why::Algorithm(id)))?;
            let bytes = reader.take(size)?;
            let Some(hash) = HashAlgorithm::from_id(id) else { continue };
            if digests.iter().any(|other| other.hash == hash) {
                return Err(reader.wrong(Why::Value));
            }
            digests.push(Digest { hash, bytes });
        }
        let told = read_told(reader)?;
        Ok(Self { register, kind, digests, told })
    }
}

fn read_told<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let size = reader.u32_le()?;
    let size = reader.bounded(size, MOST_EVENT_BYTES)?;
    reader.take(size)
}

/// The banks of a log, by id, with the sizes of their digests.
struct Banks(Vec<(u16, usize)>);

impl Banks {
    /// The first event, in the old form (`TCG_PCR_EVENT`): register 0, no action, a SHA-1 digest of zeros.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (register, kind) = (reader.u32_le()?, reader.u32_le()?);
        let digest = reader.take(HashAlgorithm::Sha1.bytes())?;
        if register != 0 || kind != NO_ACTION || digest.iter().any(|byte| *byte != 0) {
            return Err(reader.wrong(Why::Value));
        }
        let told = read_told(reader)?;
        Self::read_told(told)
    }

    /// `TCG_EfiSpecIdEvent`.
    fn read_told(told: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("first event of the log", told, MOST_EVENT_BYTES)?;
        if reader.take(SIGNATURE.len())? != SIGNATURE {
            return Err(reader.wrong(Why::Value));
        }
        // The platform's class, three bytes of version, the width of an integer on it.
        reader.take(4 + 3 + 1)?;
        let count = reader.u32_le()?;
        let count = reader.bounded(count, MOST_ALGORITHMS)?;
        let mut banks = Vec::with_capacity(count);
        for _ in 0..count {
            let (id, size) = (reader.u16_le()?, usize::from(reader.u16_le()?));
            let known = HashAlgorithm::from_id(id).map(HashAlgorithm::bytes);
            if size == 0 || size > HashAlgorithm::MOST_BYTES || known.is_some_and(|known| known != size) {
                return Err(reader.wrong(Why::Value));
            }
            banks.push((id, size));
        }
        // What the platform's maker adds.
        let added = usize::from(reader.u8()?);
        reader.take(added)?;
        reader.end()?;
        Ok(Self(banks))
    }

    fn size(&self, id: u16) -> Option<usize> {
        self.0.iter().find(|(bank, _)| *bank == id).map(|(_, size)| *size)
    }
}
