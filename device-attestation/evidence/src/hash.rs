//! The hash algorithms by their TPM names (TCG Algorithm Registry, `TPM_ALG_ID`).

use crate::{Malformed, Why, reader::Reader};

/// A hash algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-1: old logs and banks have it; nothing of ours relies on it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// The most bytes of a digest of any of them.
    pub(crate) const MOST_BYTES: usize = 64;

    /// By its TPM name; `None` for one that is not known here.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000b => Some(Self::Sha256),
            0x000c => Some(Self::Sha384),
            0x000d => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its TPM name.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// Bytes of its digest.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let wrong = |reader: &Reader<'_>, id| reader.wrong(Why::Algorithm(id));
        let id = reader.u16()?;
        Self::from_id(id).ok_or_else(|| wrong(reader, id))
    }
}
