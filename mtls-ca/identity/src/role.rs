//! What kind of party a name speaks of, and which zone of the house that party stands in.
//!
//! Roles are a closed enum, and so are services: a `match` on them breaks at compile time when one is added, which is
//! how every access table in the house hears of it. It leaves the text form of a whole name to `spiffe`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The most characters of a fridge's or operator's name; a UUID in hyphenated form has exactly as many.
const MAX_NAME: usize = 36;

/// The longest run of digits in a name: a card number has at least thirteen (ISO/IEC 7812-1), so none can pass as one.
const MAX_DIGIT_RUN: usize = 12;

/// Why a text is not the name of a fridge or an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty, or longer than 36 characters.
    #[error("a name has 1 to {MAX_NAME} characters")]
    Length,
    /// A character other than `A-Z a-z 0-9 . _ -`.
    #[error("a name holds only letters, digits, '.', '_' and '-'")]
    Character,
    /// `.` or `..`, which a path could take for a direction.
    #[error("'.' and '..' are not names")]
    Dots,
    /// A run of digits long enough to be a card number.
    #[error("a name holds at most {MAX_DIGIT_RUN} digits in a row")]
    DigitRun,
}

/// The name of a fridge or an operator: one path segment, 1 to 36 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule does not hold.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(NameError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(NameError::Character);
        }
        if matches!(text, "." | "..") {
            return Err(NameError::Dots);
        }
        if text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > MAX_DIGIT_RUN) {
            return Err(NameError::DigitRun);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no service of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no service has this name")]
pub struct UnknownService;

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Every service of the house; there are no others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ServiceName { $($(#[$doc])* $name,)* }

        impl ServiceName {
            /// All services, in the order they are declared.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The service's name as it stands in its id.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

services! {
    /// The purchase-session service, the heart of the PCI zone.
    PurchaseSession = "purchase-session";
    /// Meal types, prices, policies and operators.
    Admin = "admin";
    /// The state of fridges: doors, temperatures, food-safety locks.
    Status = "status";
    /// Which meal is in which fridge.
    Inventory = "inventory";
    /// Customers, wallets, subscriptions and standing.
    Customers = "customers";
    /// The web and mobile application.
    Console = "console";
    /// The certificate authority.
    Authority = "authority";
    /// The verifier of fridges' evidence.
    Attestation = "attestation";
    /// What collects metrics and health.
    Monitor = "monitor";
}

impl ServiceName {
    /// Finds the service of this name.
    ///
    /// # Errors
    /// [`UnknownService`] when the house has none.
    pub fn parse(text: &str) -> Result<Self, UnknownService> {
        Self::ALL.iter().copied().find(|service| service.as_str() == text).ok_or(UnknownService)
    }

    /// The zone the service runs in. Only the purchase-session service stands in the card zone.
    #[must_use]
    pub const fn zone(self) -> Zone {
        match self {
            Self::PurchaseSession => Zone::Pci,
            Self::Admin
            | Self::Status
            | Self::Inventory
            | Self::Customers
            | Self::Console
            | Self::Authority
            | Self::Attestation
            | Self::Monitor => Zone::NonPci,
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServiceName {
    type Err = UnknownService;
    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Self::parse(text)
    }
}

/// What kind of party a name speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A fridge, by its id.
    Fridge(Name),
    /// A fridge that is genuine and must not sell: its firmware is not known, or its TPM was copied. Nobody lets it in but
    /// where that is written down.
    Quarantined(Name),
    /// A service of the house.
    Service(ServiceName),
    /// A person who works for the operator.
    Operator(Name),
}

impl Role {
    /// The zone a party of this role stands in.
    #[must_use]
    pub const fn zone(&self) -> Zone {
        match self {
            Self::Fridge(_) | Self::Quarantined(_) => Zone::Device,
            Self::Service(service) => service.zone(),
            Self::Operator(_) => Zone::People,
        }
    }

    /// The first path segment of the role's ids.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Fridge(_) => "fridge",
            Self::Quarantined(_) => "quarantine",
            Self::Service(_) => "service",
            Self::Operator(_) => "operator",
        }
    }

    /// The second path segment: the party's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Fridge(name) | Self::Quarantined(name) | Self::Operator(name) => name.as_str(),
            Self::Service(service) => service.as_str(),
        }
    }
}

/// A part of the house between which every flow is written down in `policies/zones.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// The cardholder-data environment.
    Pci,
    /// Our services that never see card data.
    NonPci,
    /// The fridges, which stand in public places.
    Device,
    /// Operators and their machines.
    People,
}

impl Zone {
    /// The zone's name as policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pci => "pci",
            Self::NonPci => "non-pci",
            Self::Device => "device",
            Self::People => "people",
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, NameError, Role, ServiceName, UnknownService, Zone};

    #[test]
    fn every_service_is_found_by_its_own_name_and_by_no_other() {
        for service in ServiceName::ALL {
            assert_eq!(ServiceName::parse(service.as_str()), Ok(*service));
            assert_eq!(ServiceName::parse(&service.as_str().to_uppercase()), Err(UnknownService));
        }
        assert_eq!(ServiceName::parse("billing"), Err(UnknownService));
        assert_eq!("console".parse(), Ok(ServiceName::Console));
    }

    #[test]
    fn only_the_purchase_session_stands_in_the_card_zone() {
        for service in ServiceName::ALL {
            assert_eq!(service.zone() == Zone::Pci, *service == ServiceName::PurchaseSession, "{service}");
        }
        assert_eq!(Role::Fridge(Name::parse("f1").unwrap()).zone(), Zone::Device);
        assert_eq!(Role::Quarantined(Name::parse("f1").unwrap()).zone(), Zone::Device);
        assert_eq!(Role::Operator(Name::parse("ada").unwrap()).zone(), Zone::People);
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        assert_eq!(Name::parse(""), Err(NameError::Length));
        assert_eq!(Name::parse(&"a".repeat(37)), Err(NameError::Length));
        assert!(Name::parse(&"a".repeat(36)).is_ok());
        for bad in ["a b", "a/b", "a%2fb", "ä", "a\n", "a:b"] {
            assert_eq!(Name::parse(bad), Err(NameError::Character), "{bad}");
        }
        assert_eq!(Name::parse("."), Err(NameError::Dots));
        assert_eq!(Name::parse(".."), Err(NameError::Dots));
        assert!(Name::parse("...").is_ok(), "three dots are no direction");
    }

    #[test]
    fn no_name_can_hold_a_card_number() {
        assert!(Name::parse("fridge-123456789012").is_ok());
        assert_eq!(Name::parse("fridge-1234567890123"), Err(NameError::DigitRun));
        assert!(Name::parse("01890a5d-ac96-774b-bcce-123456789012").is_ok(), "a UUID is a name");
    }
}
