//! A whole name: `spiffe://<trust-domain>/<kind>/<name>`.
//!
//! Strict on purpose: lowercase scheme, no port, query, fragment or percent encoding, exactly two path segments, so that
//! equal parties have equal bytes and a comparison needs no normal form. It leaves which party it is to `role`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{Name, NameError, Role, ServiceName, TrustDomain, TrustDomainError, UnknownService, Zone};

/// The most bytes of a SPIFFE id (SPIFFE-ID section 2.3).
const MAX_SPIFFE_ID: usize = 2048;

const SCHEME: &str = "spiffe://";

/// Why a text is not a SPIFFE id of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SpiffeIdError {
    /// Longer than 2048 bytes.
    #[error("a SPIFFE id has at most {MAX_SPIFFE_ID} bytes")]
    Length,
    /// Does not begin with `spiffe://`.
    #[error("a SPIFFE id begins with spiffe://")]
    Scheme,
    /// The part before the path is not a trust domain.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
    /// Not exactly two path segments, or the first is not `fridge`, `quarantine`, `service` or `operator`.
    #[error("the path is /fridge/<id>, /quarantine/<id>, /service/<name> or /operator/<name>")]
    Path,
    /// The last segment is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The last segment names no service of the house.
    #[error(transparent)]
    Service(#[from] UnknownService),
}

/// The name of one party. Equal parties are equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    role: Role,
    text: Box<str>,
}

impl SpiffeId {
    /// Parses a whole id.
    ///
    /// # Errors
    /// [`SpiffeIdError`] says which part is not as it must be.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_SPIFFE_ID {
            return Err(SpiffeIdError::Length);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeIdError::Path)?;
        Ok(Self::new(&TrustDomain::parse(domain)?, parse_path(path)?))
    }

    /// Parses a path such as `service/admin` or `/fridge/f1` as an id of `trust_domain`.
    ///
    /// # Errors
    /// [`SpiffeIdError`] says which part is not as it must be.
    pub fn parse_path_in(trust_domain: &TrustDomain, path: &str) -> Result<Self, SpiffeIdError> {
        Ok(Self::new(trust_domain, parse_path(path.strip_prefix('/').unwrap_or(path))?))
    }

    /// The id of a party of this role.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain, role: Role) -> Self {
        let text = format!("{SCHEME}{trust_domain}/{}/{}", role.kind(), role.name()).into();
        Self { trust_domain: trust_domain.clone(), role, text }
    }

    /// The id of a service.
    #[must_use]
    pub fn service(trust_domain: &TrustDomain, service: ServiceName) -> Self {
        Self::new(trust_domain, Role::Service(service))
    }

    /// The id of a fridge.
    ///
    /// # Errors
    /// [`SpiffeIdError::Name`] when `name` is not one.
    pub fn fridge(trust_domain: &TrustDomain, name: &str) -> Result<Self, SpiffeIdError> {
        Ok(Self::new(trust_domain, Role::Fridge(Name::parse(name)?)))
    }

    /// The id that a fridge has while it is in quarantine; `None` of any other party.
    #[must_use]
    pub fn quarantined(&self) -> Option<Self> {
        match &self.role {
            Role::Fridge(name) => Some(Self::new(&self.trust_domain, Role::Quarantined(name.clone()))),
            Role::Quarantined(_) | Role::Service(_) | Role::Operator(_) => None,
        }
    }

    /// The id of an operator.
    ///
    /// # Errors
    /// [`SpiffeIdError::Name`] when `name` is not one.
    pub fn operator(trust_domain: &TrustDomain, name: &str) -> Result<Self, SpiffeIdError> {
        Ok(Self::new(trust_domain, Role::Operator(Name::parse(name)?)))
    }

    /// Whose authority vouches for the party.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Which party it is.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The zone the party stands in.
    #[must_use]
    pub const fn zone(&self) -> Zone {
        self.role.zone()
    }

    /// The whole id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn parse_path(path: &str) -> Result<Role, SpiffeIdError> {
    let (kind, name) = path.split_once('/').ok_or(SpiffeIdError::Path)?;
    if name.contains('/') {
        return Err(SpiffeIdError::Path);
    }
    match kind {
        "fridge" => Ok(Role::Fridge(Name::parse(name)?)),
        "quarantine" => Ok(Role::Quarantined(Name::parse(name)?)),
        "service" => Ok(Role::Service(ServiceName::parse(name)?)),
        "operator" => Ok(Role::Operator(Name::parse(name)?)),
        _ => Err(SpiffeIdError::Path),
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;
    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}
