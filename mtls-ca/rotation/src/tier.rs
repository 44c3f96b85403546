//! What is rotated, and how its generations are named: `device-2` is the second key of the device intermediate, and so the
//! token, the files and the log call it. A number is never used again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An authority of the house whose key is replaced from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The root, which everybody trusts.
    Root,
    /// The intermediate above fridges.
    Device,
    /// The intermediate above services and operators.
    Service,
    /// The intermediate above the attestation keys of TPMs.
    Attestation,
}

impl Tier {
    /// Every tier, the root first.
    pub const ALL: [Self; 4] = [Self::Root, Self::Device, Self::Service, Self::Attestation];

    /// The tier's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Device => "device",
            Self::Service => "service",
            Self::Attestation => "attestation",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One generation of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId {
    /// Which tier.
    pub tier: Tier,
    /// Counted from one.
    pub number: u32,
}

impl GenerationId {
    /// The generation of this number.
    #[must_use]
    pub const fn new(tier: Tier, number: u32) -> Self {
        Self { tier, number }
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.tier, self.number)
    }
}

/// A text that names no generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a generation is named <tier>-<number>, such as device-2")]
pub struct UnknownGeneration;

impl FromStr for GenerationId {
    type Err = UnknownGeneration;

    fn from_str(text: &str) -> Result<Self, UnknownGeneration> {
        let (tier, number) = text.rsplit_once('-').ok_or(UnknownGeneration)?;
        let tier = Tier::ALL.into_iter().find(|known| known.as_str() == tier).ok_or(UnknownGeneration)?;
        let read = Self::new(tier, number.parse().map_err(|_| UnknownGeneration)?);
        // One name, one spelling: no sign, no leading zeros.
        if read.number > 0 && read.to_string() == text { Ok(read) } else { Err(UnknownGeneration) }
    }
}

#[cfg(test)]
mod tests {
    use super::{GenerationId, Tier};

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        for tier in Tier::ALL {
            for number in [1, 2, 10, u32::MAX] {
                let id = GenerationId::new(tier, number);
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
        for bad in ["", "root", "root-", "root-0", "root-01", "root-+1", "Root-1", "leaf-1", "root-4294967296", "-1"] {
            assert!(bad.parse::<GenerationId>().is_err(), "{bad}");
        }
    }
}
