//! What a service is reached by, and what it proves over HTTP: a DNS name, or an address (RFC 8738).
//!
//! Each has one form as text and no text is both, so rows hold text alone and nobody has to note beside it which it is. An
//! address that nobody can be alone at is none here: what answered there would prove nothing.

use std::fmt;
use std::net::IpAddr;

/// A DNS name or an address that can be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in lower case, without wildcard.
    Dns(String),
    /// The address of one machine.
    Ip(IpAddr),
}

impl Host {
    /// A DNS name (RFC 1123 section 2.1).
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn dns(name: &str) -> Result<Self, String> {
        match is_host_name(name) {
            true => Ok(Self::Dns(name.to_owned())),
            false => Err(format!("{name:?} is no host name in lower case without wildcard")),
        }
    }

    /// An address.
    ///
    /// # Errors
    /// A sentence that says why no single machine has it.
    pub fn ip(address: IpAddr) -> Result<Self, String> {
        let why = match address {
            _ if address.is_unspecified() => "means no machine",
            _ if address.is_multicast() => "is many machines' (multicast)",
            IpAddr::V4(v4) if v4.is_broadcast() => "is everybody's (broadcast)",
            IpAddr::V4(v4) if v4.octets().starts_with(&[0]) => "means no machine",
            // A second way to say an IPv4 address would be a second certificate for one proof.
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address: write it as one",
            IpAddr::V4(_) | IpAddr::V6(_) => return Ok(Self::Ip(address)),
        };
        Err(format!("the address {address} {why}"))
    }

    /// Reads one as it stands in an order and in a row.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(_) => Self::ip(canonical(text)?),
            Err(_) => Self::dns(text),
        }
    }

    /// It as it stands in a URL: an IPv6 address in brackets (RFC 3986 section 3.2.2).
    #[must_use]
    pub fn in_url(&self) -> String {
        match self {
            Self::Ip(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Dns(_) | Self::Ip(IpAddr::V4(_)) => self.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// An address in the one form that RFC 8738 section 3 lets it have: dotted decimals (RFC 1123 section 2.1), or the shortest
/// in lower case (RFC 5952 section 4).
pub(crate) fn canonical(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is no address in its textual form"))?;
    let form = address.to_string();
    if form == text { Ok(address) } else { Err(format!("the address {text:?} is to be written {form:?}")) }
}

/// RFC 1123 section 2.1, in lower case, and not something that reads as an address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}
