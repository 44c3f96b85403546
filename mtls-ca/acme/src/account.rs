//! Accounts (RFC 8555 section 7.1.2): a key, and through the binding key it was made with, what it may have.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::jwk::Jwk;
use crate::problem::{Kind, Problem};
use crate::url::{Route, Urls};

/// The most contacts of an account, and bytes of one.
const MOST_CONTACTS: usize = 4;
const MOST_CONTACT_BYTES: usize = 254;

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountStatus {
    /// It can.
    Valid,
    /// Its holder gave it up; it never comes back.
    Deactivated,
}

/// An account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id, the last part of its URL.
    pub id: String,
    /// Its key.
    pub key: Jwk,
    /// Whether it can be used.
    pub status: AccountStatus,
    /// `mailto:` URLs of who looks after it.
    pub contact: Vec<String>,
    /// The binding key it was made with.
    pub eab_kid: String,
    /// When it was made, in seconds since the Unix epoch.
    pub created_unix_s: i64,
}

impl Account {
    /// The account object.
    pub(crate) fn to_json(&self, urls: &Urls) -> Value {
        json!({
            "status": self.status,
            "contact": self.contact,
            "orders": urls.of(&Route::Orders(self.id.clone())),
        })
    }
}

/// Checks contacts: `mailto:` URLs without headers, each of one address.
pub(crate) fn check_contacts(contact: Vec<String>) -> Result<Vec<String>, Problem> {
    if contact.len() > MOST_CONTACTS {
        return Err(Problem::new(Kind::InvalidContact, format!("an account has at most {MOST_CONTACTS} contacts")));
    }
    for url in &contact {
        let Some(address) = url.strip_prefix("mailto:") else {
            return Err(Problem::new(
                Kind::UnsupportedContact,
                "a contact is a mailto: URL; other schemes are not used",
            ));
        };
        let printable = address.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b','));
        let parts = address.split_once('@').is_some_and(|(who, place)| !who.is_empty() && !place.is_empty());
        if url.len() > MOST_CONTACT_BYTES || !printable || !parts {
            return Err(Problem::new(Kind::InvalidContact, "a contact is no mailto: URL of one plain address"));
        }
    }
    Ok(contact)
}
