//! A key as it is kept outside of the TPM: its public area, and its private part wrapped by the TPM's storage root key, so
//! that no other TPM can use it. The file is therefore no secret; what it needs is to be there after a power cut.
//!
//! The form is ours: a mark, the registers that a key for TLS is bound to (one bit each), then both parts with their sizes.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use attest_evidence::{HashAlgorithm, PcrSelection, Public as Area};
use ring::digest::{SHA256, digest};
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::error::fault;
use crate::{Corrupt, Fault, TpmError};

/// What every file begins with.
const MARK: &[u8] = b"larder tpm key 1\n";
/// The most bytes of either part.
const MOST_BYTES: usize = 1_024;
/// The most bytes of a file.
const MOST_FILE_BYTES: u64 = 4_096;

/// A key of a TPM.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    public: Vec<u8>,
    private: Vec<u8>,
    point: Vec<u8>,
    registers: Option<PcrSelection>,
}

impl StoredKey {
    /// A key that the TPM has just made.
    pub(crate) fn made(public: &Public, private: &Private, registers: Option<PcrSelection>) -> Result<Self, TpmError> {
        let public = public.marshall().map_err(fault("wrote a key's public area"))?;
        Ok(Self::new(public, private.value().to_vec(), registers)?)
    }

    fn new(public: Vec<u8>, private: Vec<u8>, registers: Option<PcrSelection>) -> Result<Self, Corrupt> {
        let area = Area::parse(&public).map_err(|_| Corrupt::Key("its public area cannot be read"))?;
        if area.name_hash != HashAlgorithm::Sha256 {
            return Err(Corrupt::Key("its name is not by SHA-256"));
        }
        let point = area.key.point();
        Ok(Self { public, private, point, registers })
    }

    /// Its public area, `TPMT_PUBLIC`.
    #[must_use]
    pub fn public_area(&self) -> &[u8] {
        &self.public
    }

    /// Its name, by which the TPM speaks of it: the hash of its public area, with the hash's id before it.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut name = HashAlgorithm::Sha256.id().to_be_bytes().to_vec();
        name.extend_from_slice(digest(&SHA256, &self.public).as_ref());
        name
    }

    /// Its point, uncompressed.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// The registers that it is bound to; none of an attestation key.
    #[must_use]
    pub const fn registers(&self) -> Option<PcrSelection> {
        self.registers
    }

    /// Both parts as the TPM takes them.
    pub(crate) fn blobs(&self) -> Result<(Public, Private), TpmError> {
        let public = Public::unmarshall(&self.public).map_err(|_| Corrupt::Key("its public area cannot be read"))?;
        let private = Private::try_from(self.private.clone());
        Ok((public, private.map_err(|_| Corrupt::Key("its private part is too large"))?))
    }

    /// The bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bit = |register: u8| 1_u32.checked_shl(u32::from(register)).unwrap_or(0);
        let map = self.registers.iter().flat_map(PcrSelection::registers).fold(0, |map, register| map | bit(register));
        let mut bytes = [MARK, &map.to_be_bytes()].concat();
        for part in [&self.public, &self.private] {
            // Neither comes near the bound, which the reader checks.
            bytes.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Reads the bytes of a file, all of them. Whether the key is one of this TPM shows when it is used.
    ///
    /// # Errors
    /// [`Corrupt::Key`] when they are no key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        const SHORT: Corrupt = Corrupt::Key("it ends too early");
        let rest = bytes.strip_prefix(MARK).ok_or(Corrupt::Key("it does not begin as one"))?;
        let (map, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let map = u32::from_be_bytes(*map);
        let (public, rest) = sized(rest).ok_or(SHORT)?;
        let (private, rest) = sized(rest).ok_or(SHORT)?;
        if !rest.is_empty() {
            return Err(Corrupt::Key("there are bytes left over"));
        }
        let set = |register: &u8| map.checked_shr(u32::from(*register)).is_some_and(|bits| bits & 1 == 1);
        let registers = (map != 0).then(|| PcrSelection::of(HashAlgorithm::Sha256, (0..32).filter(set)));
        Self::new(public.to_vec(), private.to_vec(), registers)
    }

    /// Reads a file; none when it is not there.
    ///
    /// # Errors
    /// [`Fault::File`] when it cannot be read, [`Corrupt::Key`] when it holds no key.
    pub fn load(path: &Path) -> Result<Option<Self>, TpmError> {
        let file = match File::open(path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed(path, "read"))?,
        };
        let mut bytes = Vec::new();
        file.take(MOST_FILE_BYTES).read_to_end(&mut bytes).map_err(failed(path, "read"))?;
        Ok(Some(Self::from_bytes(&bytes)?))
    }

    /// Writes its file, in one step and onto the disk: after a power cut there is the former key or this one.
    ///
    /// # Errors
    /// [`Fault::File`].
    pub fn keep(&self, path: &Path) -> Result<(), TpmError> {
        let new = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&self.to_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        Ok(write().map_err(failed(path, "written"))?)
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registers = self.registers.map(|selection| selection.registers().collect::<Vec<_>>());
        f.debug_struct("StoredKey").field("registers", &registers).finish_non_exhaustive()
    }
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(std::io::Error) -> Fault {
    move |cause| Fault::File { path: path.to_owned(), doing, cause: Arc::new(cause) }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MOST_BYTES { None } else { rest.split_at_checked(length) }
}
