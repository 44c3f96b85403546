//! A cursor over a structure's bytes. Every step may fail and none can go past the end; it never allocates.

use crate::{Malformed, Why};

/// The bytes of one structure that are still to be read.
pub(crate) struct Reader<'a> {
    structure: &'static str,
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over the bytes of a `structure`, of `most` at the most.
    pub(crate) fn new(structure: &'static str, bytes: &'a [u8], most: usize) -> Result<Self, Malformed> {
        if bytes.len() > most {
            return Err(Malformed { structure, at: 0, why: Why::TooLarge { most } });
        }
        Ok(Self { structure, whole: bytes.len(), rest: bytes })
    }

    /// What is wrong here.
    pub(crate) const fn wrong(&self, why: Why) -> Malformed {
        Malformed { structure: self.structure, at: self.whole - self.rest.len(), why }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.wrong(Why::Short))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.wrong(Why::Short))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A `TPM2B`: two bytes of length and so many bytes, of which there may be `most`.
    pub(crate) fn sized(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let count = usize::from(self.u16()?);
        if count > most {
            return Err(self.wrong(Why::TooLarge { most }));
        }
        self.take(count)
    }

    /// A count of entries, of which there may be `most`.
    pub(crate) fn bounded(&self, count: u32, most: usize) -> Result<usize, Malformed> {
        usize::try_from(count).ok().filter(|count| *count <= most).ok_or_else(|| self.wrong(Why::TooLarge { most }))
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The end, where it must be.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong(Why::LeftOver)) }
    }
}
