//! What the authority may be asked for. An [`Order`] can only be made by its constructor, which is the whole check of a
//! request; so whatever reaches the signer has been through it.
//!
//! Nothing in an order comes from the request's own wishes but the key: names, uses and times are said by the caller.

use std::net::IpAddr;

use ca_identity::{Role, SpiffeId};

use crate::{Refusal, SubjectKey};

/// The most host names and addresses of one certificate.
const MAX_NAMES: usize = 16;
/// The shortest life of a leaf: less would be over before clocks agree on it.
const MIN_LIFETIME_S: u32 = 5 * 60;
/// The longest life of a leaf. Without revocation, this bounds how long a stolen key is good for.
const MAX_LIFETIME_S: u32 = 7 * 24 * 60 * 60;
/// The life of a leaf when nothing else is asked for.
const DEFAULT_LIFETIME_S: u32 = 24 * 60 * 60;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A fridge, in quarantine or not: client only, its one URI and nothing else; under the device intermediate.
    Device,
    /// A service: client and server, its one URI, host names and addresses; under the service intermediate.
    Service,
    /// A person: client only, one URI and nothing else; under the service intermediate.
    Operator,
}

impl Profile {
    /// The profile's name on the command line and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Service => "service",
            Self::Operator => "operator",
        }
    }

    /// The life of a leaf when nothing else is asked for, in seconds.
    #[must_use]
    pub const fn default_lifetime_s(self) -> u32 {
        DEFAULT_LIFETIME_S
    }

    /// Whether the holder may be a server.
    pub(crate) const fn serves(self) -> bool {
        matches!(self, Self::Service)
    }
}

/// Host names and addresses of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names: lowercase letters, digits and hyphens; no wildcards.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

/// A checked order for one leaf.
#[derive(Debug, Clone)]
pub struct Order {
    profile: Profile,
    id: SpiffeId,
    names: Names,
    key: SubjectKey,
    lifetime_s: u32,
}

impl Order {
    /// Checks a request.
    ///
    /// # Errors
    /// [`Refusal`] when the profile is not for this party, names are given to who may have none, a name is none, or the
    /// lifetime (in seconds) is out of bounds.
    pub fn new(
        profile: Profile,
        id: &SpiffeId,
        names: Names,
        key: SubjectKey,
        lifetime_s: u32,
    ) -> Result<Self, Refusal> {
        let fits = matches!(
            (profile, id.role()),
            (Profile::Device, Role::Fridge(_) | Role::Quarantined(_))
                | (Profile::Service, Role::Service(_))
                | (Profile::Operator, Role::Operator(_))
        );
        if !fits {
            return Err(Refusal::Profile { profile: profile.as_str(), id: Box::new(id.clone()) });
        }
        check_names(profile, &names)?;
        if !(MIN_LIFETIME_S..=MAX_LIFETIME_S).contains(&lifetime_s) {
            return Err(Refusal::Lifetime { asked_s: lifetime_s, min_s: MIN_LIFETIME_S, max_s: MAX_LIFETIME_S });
        }
        Ok(Self { profile, id: id.clone(), names, key, lifetime_s })
    }

    /// What the certificate is for.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Whom it names.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) const fn key(&self) -> &SubjectKey {
        &self.key
    }

    pub(crate) const fn lifetime_s(&self) -> u32 {
        self.lifetime_s
    }
}

fn check_names(profile: Profile, names: &Names) -> Result<(), Refusal> {
    let count = names.dns.len().saturating_add(names.ip.len());
    if profile != Profile::Service && count > 0 {
        return Err(Refusal::NamesNotAllowed);
    }
    if count > MAX_NAMES {
        return Err(Refusal::Names(format!("{count} names were given; a certificate has at most {MAX_NAMES}")));
    }
    match names.dns.iter().find(|name| !is_host_name(name)) {
        Some(name) => Err(Refusal::Names(format!(
            "{name:?} is no host name: labels of lowercase letters, digits and hyphens, joined by dots, no wildcard"
        ))),
        None => Ok(()),
    }
}

/// RFC 1123 section 2.1, in lowercase only, and not something that reads as an address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::{MAX_LIFETIME_S, MIN_LIFETIME_S, Names, Order, Profile, is_host_name};
    use crate::{Refusal, SubjectKey};
    use ca_identity::SpiffeId;

    fn order(profile: Profile, id: &str, names: Names, lifetime_s: u32) -> Result<Order, Refusal> {
        let key = SubjectKey::generate().unwrap().0;
        Order::new(profile, &SpiffeId::parse(id).unwrap(), names, key, lifetime_s)
    }

    const FRIDGE: &str = "spiffe://larder.internal/fridge/f1";
    const QUARANTINED: &str = "spiffe://larder.internal/quarantine/f1";
    const ADMIN: &str = "spiffe://larder.internal/service/admin";
    const ADA: &str = "spiffe://larder.internal/operator/ada";

    #[test]
    fn a_profile_is_for_its_own_kind_of_party() {
        let pairs = [
            (Profile::Device, FRIDGE),
            (Profile::Device, QUARANTINED),
            (Profile::Service, ADMIN),
            (Profile::Operator, ADA),
        ];
        for (profile, _) in pairs {
            for (own, id) in pairs {
                let outcome = order(profile, id, Names::default(), 3600);
                assert_eq!(outcome.is_ok(), profile == own, "{profile:?} {id}");
                if let Err(refusal) = outcome {
                    assert_eq!(refusal.code(), "profile");
                }
            }
        }
    }

    #[test]
    fn only_services_have_host_names() {
        let names = || Names { dns: vec!["localhost".into()], ip: vec!["127.0.0.1".parse().unwrap()] };
        assert!(order(Profile::Service, ADMIN, names(), 3600).is_ok());
        assert!(matches!(order(Profile::Device, FRIDGE, names(), 3600), Err(Refusal::NamesNotAllowed)));
        assert!(matches!(order(Profile::Operator, ADA, names(), 3600), Err(Refusal::NamesNotAllowed)));
        let many = Names { dns: vec!["a".into(); 17], ip: vec![] };
        assert!(matches!(order(Profile::Service, ADMIN, many, 3600), Err(Refusal::Names(_))));
    }

    #[test]
    fn a_lifetime_is_bounded_on_both_sides() {
        for (lifetime_s, good) in [
            (0, false),
            (MIN_LIFETIME_S - 1, false),
            (MIN_LIFETIME_S, true),
            (MAX_LIFETIME_S, true),
            (MAX_LIFETIME_S + 1, false),
        ] {
            assert_eq!(order(Profile::Device, FRIDGE, Names::default(), lifetime_s).is_ok(), good, "{lifetime_s}");
        }
        for profile in [Profile::Device, Profile::Service, Profile::Operator] {
            assert!(profile.default_lifetime_s() <= MAX_LIFETIME_S);
        }
    }

    #[test]
    fn host_names_are_told_from_what_is_none() {
        for good in ["localhost", "admin.larder.internal", "a-1.b", "1a.example"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "*.a", "A.b", "a_b", "-a", "a-", "127.0.0.1", "a b", "ä", "a/b"] {
            assert!(!is_host_name(bad), "{bad}");
        }
        assert!(!is_host_name(&"a".repeat(64)));
    }
}
