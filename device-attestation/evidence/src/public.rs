//! The public area of a key: `TPMT_PUBLIC` (Part 2, section 12.2.4), of ECC keys.

use crate::{HashAlgorithm, Malformed, Why, reader::Reader};

const STRUCTURE: &str = "public area of a key (TPMT_PUBLIC)";
/// The most bytes of one.
const MOST_BYTES: usize = 512;
/// `TPM_ALG_NULL`.
const NULL: u16 = 0x0010;
/// `TPM_ALG_ECC`.
const ECC: u16 = 0x0023;
/// `TPM_ALG_AES`.
const AES: u16 = 0x0006;
/// `TPM_ALG_CFB`, the one mode that a TPM uses for what it stores outside.
const CFB: u16 = 0x0043;
/// `TPM_ALG_ECDSA`.
pub(crate) const ECDSA: u16 = 0x0018;

/// A key's public area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public<'a> {
    bytes: &'a [u8],
    /// The hash of its name.
    pub name_hash: HashAlgorithm,
    /// What it may do, and how it came to be.
    pub attributes: Attributes,
    /// The digest of the policy that lets it be used; empty when there is none.
    pub policy: &'a [u8],
    /// How it protects its children; only of keys that have some.
    pub symmetric: Symmetric,
    /// How it signs, when it signs in one way only.
    pub scheme: Scheme,
    /// The key itself.
    pub key: EccPublic<'a>,
}

/// How a key protects what is stored under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetric {
    /// Nothing is stored under it.
    None,
    /// AES in cipher feedback mode, with so many bits.
    AesCfb(u16),
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As each call says.
    Any,
    /// ECDSA over this hash.
    Ecdsa(HashAlgorithm),
}

/// A curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Bytes of a coordinate.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// A point on a curve. Whether it lies on it is not checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EccPublic<'a> {
    /// The curve.
    pub curve: Curve,
    x: &'a [u8],
    y: &'a [u8],
}

impl EccPublic<'_> {
    /// The point in uncompressed form (SEC 1, section 2.3.3): 4, x, y, each coordinate at its full width.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        let mut point = vec![4];
        for coordinate in [self.x, self.y] {
            point.resize(point.len() + self.curve.bytes().saturating_sub(coordinate.len()), 0);
            point.extend_from_slice(coordinate);
        }
        point
    }
}

/// `TPMA_OBJECT` (Part 2, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(u32);

impl Attributes {
    /// Bits without a meaning, which must be zero.
    const RESERVED: u32 = !0b1111_0000_1100_1111_0110;

    /// The attributes that these bits stand for; `None` when one of them has no meaning.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & Self::RESERVED == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// It cannot leave this TPM, nor can its parents.
    #[must_use]
    pub const fn is_fixed(self) -> bool {
        let fixed = (1 << 1) | (1 << 4);
        self.0 & fixed == fixed
    }

    /// The TPM made its private part itself.
    #[must_use]
    pub const fn is_made_inside(self) -> bool {
        self.0 & (1 << 5) != 0
    }

    /// Whoever knows its password, which may be empty, can use it without its policy.
    #[must_use]
    pub const fn is_usable_without_policy(self) -> bool {
        self.0 & (1 << 6) != 0
    }

    /// It signs, or decrypts, only what the TPM made or knows.
    #[must_use]
    pub const fn is_restricted(self) -> bool {
        self.0 & (1 << 16) != 0
    }

    /// It decrypts.
    #[must_use]
    pub const fn decrypts(self) -> bool {
        self.0 & (1 << 17) != 0
    }

    /// It signs.
    #[must_use]
    pub const fn signs(self) -> bool {
        self.0 & (1 << 18) != 0
    }
}

impl<'a> Public<'a> {
    /// Parses a public area, all of its bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are no public area of an ECC key of a known form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(STRUCTURE, bytes, MOST_BYTES)?;
        let kind = reader.u16()?;
        if kind != ECC {
            return Err(reader.wrong(Why::Algorithm(kind)));
        }
        let name_hash = HashAlgorithm::read(&mut reader)?;
        let bits = reader.u32()?;
        let attributes = Attributes::from_bits(bits).ok_or_else(|| reader.wrong(Why::Value))?;
        let policy = reader.sized(HashAlgorithm::MOST_BYTES)?;
        let symmetric = Symmetric::read(&mut reader)?;
        let scheme = Scheme::read(&mut reader)?;
        let curve = Curve::read(&mut reader)?;
        // A key derivation scheme; no key of the forms read here has one.
        let derivation = reader.u16()?;
        if derivation != NULL {
            return Err(reader.wrong(Why::Algorithm(derivation)));
        }
        let key = EccPublic { curve, x: reader.sized(curve.bytes())?, y: reader.sized(curve.bytes())? };
        reader.end()?;
        Ok(Self { bytes, name_hash, attributes, policy, symmetric, scheme, key })
    }

    /// The bytes it was read from: what its name is the hash of.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Symmetric {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u16()? {
            NULL => Ok(Self::None),
            AES => {
                let (bits, mode) = (reader.u16()?, reader.u16()?);
                if !matches!(bits, 128 | 192 | 256) {
                    return Err(reader.wrong(Why::Value));
                }
                if mode == CFB { Ok(Self::AesCfb(bits)) } else { Err(reader.wrong(Why::Algorithm(mode))) }
            }
            other => Err(reader.wrong(Why::Algorithm(other))),
        }
    }
}

impl Scheme {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u16()? {
            NULL => Ok(Self::Any),
            ECDSA => Ok(Self::Ecdsa(HashAlgorithm::read(reader)?)),
            other => Err(reader.wrong(Why::Algorithm(other))),
        }
    }
}

impl Curve {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u16()? {
            0x0003 => Ok(Self::P256),
            0x0004 => Ok(Self::P384),
            other => Err(reader.wrong(Why::Algorithm(other))),
        }
    }
}
