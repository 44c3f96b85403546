//! Which platform configuration registers: `TPML_PCR_SELECTION` (Part 2, section 10.9.7).

use crate::{HashAlgorithm, Malformed, Why, reader::Reader};

/// The most banks of one selection; a TPM has as many as it has hash algorithms.
const MOST_BANKS: usize = 8;
/// The most bytes of a bank's bit map: 32 registers.
const MOST_MAP_BYTES: usize = 4;

/// Registers of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    /// The bank.
    pub hash: HashAlgorithm,
    /// Bit `n` stands for register `n`.
    map: u32,
}

impl PcrSelection {
    /// A selection of these registers; those beyond 31 do not exist and are left out.
    #[must_use]
    pub fn of(hash: HashAlgorithm, registers: impl IntoIterator<Item = u8>) -> Self {
        let bits = registers.into_iter().filter_map(|register| 1_u32.checked_shl(u32::from(register)));
        Self { hash, map: bits.fold(0, |map, bit| map | bit) }
    }

    /// The registers, in their order.
    pub fn registers(&self) -> impl Iterator<Item = u8> {
        let map = self.map;
        (0..32).filter(move |register| map & (1 << register) != 0)
    }

    /// Whether this register is one of them.
    #[must_use]
    pub fn contains(&self, register: u8) -> bool {
        1_u32.checked_shl(u32::from(register)).is_some_and(|bit| self.map & bit != 0)
    }

    /// The selection alone, as a list (`TPML_PCR_SELECTION`), written as a TPM with 24 registers writes it; a register beyond
    /// those is left out.
    #[must_use]
    pub fn to_list(&self) -> Vec<u8> {
        let [low, middle, high, _] = self.map.to_le_bytes();
        [&[0, 0, 0, 1][..], &self.hash.id().to_be_bytes(), &[3, low, middle, high]].concat()
    }

    pub(crate) fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        let count = reader.u32()?;
        let count = reader.bounded(count, MOST_BANKS)?;
        let mut list: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let selection = Self::read(reader)?;
            // A bank that is named twice could be read either way.
            if list.iter().any(|other| other.hash == selection.hash) {
                return Err(reader.wrong(Why::Value));
            }
            list.push(selection);
        }
        Ok(list)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let hash = HashAlgorithm::read(reader)?;
        let bytes = usize::from(reader.u8()?);
        if bytes > MOST_MAP_BYTES {
            return Err(reader.wrong(Why::TooLarge { most: MOST_MAP_BYTES }));
        }
        let map = reader.take(bytes)?.iter().rev().fold(0_u32, |map, byte| (map << 8) | u32::from(*byte));
        Ok(Self { hash, map })
    }
}
