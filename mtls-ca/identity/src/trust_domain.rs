//! The trust domain: the part of a name that says whose authority vouches for it.
//!
//! SPIFFE allows lowercase letters, digits, `.`, `-` and `_`, at most 255 characters. Uppercase is refused rather than
//! folded, so that two texts are the same domain exactly when they are the same bytes. It leaves paths to `spiffe`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The most characters of a trust domain (SPIFFE-ID section 2.1).
const MAX_TRUST_DOMAIN: usize = 255;

/// Why a text is not a trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TrustDomainError {
    /// Empty, or longer than 255 characters.
    #[error("a trust domain has 1 to {MAX_TRUST_DOMAIN} characters")]
    Length,
    /// A character other than `a-z 0-9 . - _`.
    #[error("a trust domain holds only lowercase letters, digits, '.', '-' and '_'")]
    Character,
}

/// A checked trust domain, such as `larder.internal`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Checks the text of a trust domain; neither scheme nor path belongs to it.
    ///
    /// # Errors
    /// [`TrustDomainError`] says which rule does not hold.
    pub fn parse(text: &str) -> Result<Self, TrustDomainError> {
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN {
            return Err(TrustDomainError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(TrustDomainError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;
    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{TrustDomain, TrustDomainError};

    #[test]
    fn the_default_domain_is_one() {
        assert_eq!(TrustDomain::parse(crate::SINGLE_NODE_TRUST_DOMAIN).unwrap().as_str(), "larder.internal");
    }

    #[test]
    fn what_is_not_a_domain_is_refused() {
        assert_eq!(TrustDomain::parse(""), Err(TrustDomainError::Length));
        assert_eq!(TrustDomain::parse(&"a".repeat(256)), Err(TrustDomainError::Length));
        assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
        for bad in
            ["Larder.internal", "larder internal", "larder/internal", "larder:8443", "user@larder", "lärder", "a\0"]
        {
            assert_eq!(TrustDomain::parse(bad), Err(TrustDomainError::Character), "{bad}");
        }
    }
}
