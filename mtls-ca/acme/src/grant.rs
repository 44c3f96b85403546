//! External account binding (RFC 8555 section 7.3.4): a key made by the security team or in the factory, which says what
//! the account that shows it may have. One key, one account, one party.

use ca_identity::{Role, SpiffeId};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::certificate::{Revoked, moment};
use crate::host::Host;
use crate::jwk::Jwk;
use crate::jws::{Flattened, Signer};
use crate::problem::{Kind, Problem};

/// The most DNS names and addresses of a grant, and identifiers of an order.
pub const MOST_NAMES: usize = 16;

/// A kind of certificate, as the directory announces it (draft-ietf-acme-profiles).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A service: DNS names and addresses, proved by http-01.
    Service,
    /// A fridge: its TPM, proved by device-attest-01.
    Device,
}

impl Profile {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Device => "device",
        }
    }

    /// What it is, for people.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Service => "A service of the house, by its DNS names and addresses (http-01)",
            Self::Device => "A fridge, by the endorsement key of its TPM (device-attest-01)",
        }
    }
}

/// What an account may have: a profile, and exactly one party. Made by its constructors alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    party: SpiffeId,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Service { hosts: Vec<Host> },
    Device { ek_sha256: [u8; 32] },
}

impl Grant {
    /// A service with these DNS names and addresses, of which there is at least one.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn service(party: SpiffeId, hosts: Vec<Host>) -> Result<Self, String> {
        if !matches!(party.role(), Role::Service(_)) {
            return Err(format!("{party} is no service"));
        }
        if hosts.is_empty() || hosts.len() > MOST_NAMES {
            let count = hosts.len();
            return Err(format!("a service has between 1 and {MOST_NAMES} DNS names and addresses here, not {count}"));
        }
        Ok(Self { party, what: What::Service { hosts } })
    }

    /// A fridge with the TPM whose endorsement key has this SHA-256 (over its SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn device(party: SpiffeId, ek_sha256: [u8; 32]) -> Result<Self, String> {
        if !matches!(party.role(), Role::Fridge(_)) {
            return Err(format!("{party} is no fridge"));
        }
        Ok(Self { party, what: What::Device { ek_sha256 } })
    }

    /// The one party.
    #[must_use]
    pub const fn party(&self) -> &SpiffeId {
        &self.party
    }

    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        match self.what {
            What::Service { .. } => Profile::Service,
            What::Device { .. } => Profile::Device,
        }
    }

    /// The identifiers that may be ordered: DNS names and addresses, or the one permanent identifier.
    #[must_use]
    pub fn identifiers(&self) -> Vec<String> {
        match &self.what {
            What::Service { hosts } => hosts.iter().map(Host::to_string).collect(),
            What::Device { ek_sha256 } => vec![HEXLOWER.encode(ek_sha256)],
        }
    }
}

/// A binding key as it is stored.
#[derive(Clone)]
pub struct EabKey {
    /// Its id.
    pub kid: String,
    /// The MAC key, 32 bytes.
    pub mac_key: Zeroizing<[u8; 32]>,
    /// What it is good for.
    pub grant: Grant,
    /// The account that was made with it.
    pub account: Option<String>,
    /// When it was made, in seconds since the Unix epoch.
    pub created_unix_s: i64,
    /// When it was revoked, in seconds since the Unix epoch: its account can order nothing any more.
    pub revoked_unix_s: Option<i64>,
    /// That a certificate of its party, or for its device, was revoked as stolen after the key was made: then it is worth
    /// no more than the certificate. The authority's lists say it.
    pub barred: Option<Revoked>,
}

impl EabKey {
    /// The grant, while it holds.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] when the key was revoked, or a certificate that it led to.
    pub(crate) fn in_force(&self) -> Result<&Grant, Problem> {
        if self.revoked_unix_s.is_some() {
            let detail = format!("the external account key {:?} was revoked; ask for another one", self.kid);
            return Err(Problem::new(Kind::Unauthorized, detail));
        }
        if let Some(Revoked { unix_s, reason }) = self.barred {
            let (party, kid, at) = (self.grant.party(), &self.kid, moment(unix_s));
            let detail = format!(
                "a certificate of {party} was revoked at {at} with the reason {reason} (RFC 5280 section 5.3.1), after the \
                 external account key {kid:?} was made, so nothing is issued by that key any more: when somebody has looked \
                 at the device, have a new key made (`larder-acme eab new`) and make an account with it"
            );
            return Err(Problem::new(Kind::Unauthorized, detail));
        }
        Ok(&self.grant)
    }
}

impl std::fmt::Debug for EabKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EabKey").field("kid", &self.kid).field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// The id of the binding key that a binding names.
pub(crate) fn kid_of(binding: &Value) -> Result<String, Problem> {
    match Flattened::of_value(binding)?.signer {
        Signer::Kid(kid) => Ok(kid),
        Signer::Jwk(_) => Err(Problem::malformed("the external account binding names its key by a kid, not by a jwk")),
    }
}

/// Verifies a binding of `account_key` to `key`, for a request to `url`.
pub(crate) fn verify(binding: &Value, key: Option<&EabKey>, account_key: &Jwk, url: &str) -> Result<(), Problem> {
    let unknown = || Problem::new(Kind::Unauthorized, "the external account key is not known here; check its id");
    let (binding, key) = (Flattened::of_value(binding)?, key.ok_or_else(unknown)?);
    if binding.nonce.is_some() {
        return Err(Problem::malformed("the external account binding has a nonce, which it must not have"));
    }
    if binding.url != url {
        return Err(Problem::malformed("the external account binding is for another url than the request"));
    }
    let bound: Value = binding.authenticated(key.mac_key.as_slice())?.json()?;
    if &Jwk::parse(&bound)? != account_key {
        let detail = "the external account binding is for another key than the one that signed the request";
        return Err(Problem::new(Kind::Unauthorized, detail));
    }
    key.in_force().map(|_| ())
}
