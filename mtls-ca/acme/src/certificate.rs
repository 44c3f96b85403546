//! An issued certificate as its order keeps it, and when it should be renewed (RFC 9773).
//!
//! It is read back from what the authority handed out, so that what is stored about it is what it says.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::problem::Problem;

/// The suggested window of renewal, in percent of a certificate's life: clients choose a moment in it, which spreads them.
const WINDOW_PERCENT: (i64, i64) = (40, 60);
/// How long before its revocation the window of a revoked certificate begins: it lies in the past, so "renew now".
const REVOKED_WINDOW_S: i64 = 3600;

/// When and why a certificate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// When, in seconds since the Unix epoch.
    pub unix_s: i64,
    /// The reason code (RFC 5280 section 5.3.1).
    pub reason: u8,
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The leaf and its issuers, PEM, leaf first.
    pub chain_pem: String,
    /// The leaf's serial number, lower-case hex.
    pub serial: String,
    /// SHA-256 of the leaf in DER, lower-case hex.
    pub sha256: String,
    /// How renewal information names it (RFC 9773 section 4.1).
    pub renewal_id: String,
    /// The subject public key, lower-case hex.
    pub point: String,
    /// First second of its life, since the Unix epoch.
    pub not_before_unix_s: i64,
    /// Last second of its life, since the Unix epoch.
    pub not_after_unix_s: i64,
    /// Whether it was revoked.
    pub revoked: Option<Revoked>,
}

impl Certificate {
    /// Reads a chain that the authority has just issued.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it: a fault of ours.
    pub fn of_chain(chain_pem: &str) -> Result<Self, &'static str> {
        let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|_| "it is no PEM")?;
        let Ok(([], leaf)) = X509Certificate::from_der(&der) else { return Err("its leaf cannot be read") };
        let issuer = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        });
        let issuer = issuer.ok_or("its leaf does not name its issuer's key")?;
        Ok(Self {
            chain_pem: chain_pem.to_owned(),
            serial: HEXLOWER.encode(leaf.raw_serial()),
            sha256: sha256(&der),
            renewal_id: format!("{}.{}", BASE64URL_NOPAD.encode(issuer), BASE64URL_NOPAD.encode(leaf.raw_serial())),
            point: HEXLOWER.encode(leaf.public_key().subject_public_key.data.as_ref()),
            not_before_unix_s: leaf.validity().not_before.timestamp(),
            not_after_unix_s: leaf.validity().not_after.timestamp(),
            revoked: None,
        })
    }

    /// The renewal information (RFC 9773 section 4.2); it does not say why, as there is one reason alone.
    pub(crate) fn renewal_info(&self) -> Value {
        let (start, end) = match self.revoked {
            Some(Revoked { unix_s, .. }) => (unix_s.saturating_sub(REVOKED_WINDOW_S), unix_s.saturating_sub(1)),
            None => (self.at_percent(WINDOW_PERCENT.0), self.at_percent(WINDOW_PERCENT.1)),
        };
        json!({ "suggestedWindow": { "start": moment(start), "end": moment(end) } })
    }

    /// The moment at which this part of its life is over.
    fn at_percent(&self, percent: i64) -> i64 {
        let life_s = self.not_after_unix_s.saturating_sub(self.not_before_unix_s);
        self.not_before_unix_s.saturating_add(life_s.saturating_mul(percent).saturating_div(100))
    }
}

/// SHA-256 of a certificate, or of a request for one, in DER; lower-case hex.
pub(crate) fn sha256(der: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, der).as_ref())
}

/// Checks the form of a certificate's name in renewal information.
pub(crate) fn check_renewal_id(id: &str) -> Result<(), Problem> {
    let part = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| (1..=64).contains(&bytes.len()));
    if id.split_once('.').is_some_and(|(issuer, serial)| part(issuer) && part(serial)) {
        return Ok(());
    }
    let detail = "a certificate is named by base64url(key identifier of its issuer) . base64url(serial number)";
    Err(Problem::malformed(detail))
}

/// A moment as RFC 3339 writes it, UTC, to the second.
pub(crate) fn moment(unix_s: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Certificate, Revoked, check_renewal_id, moment};

    fn certificate() -> Certificate {
        Certificate {
            chain_pem: String::new(),
            serial: "01".into(),
            sha256: String::new(),
            renewal_id: String::new(),
            point: String::new(),
            not_before_unix_s: 1_800_000_000,
            not_after_unix_s: 1_800_100_000,
            revoked: None,
        }
    }

    #[test]
    fn renewal_is_suggested_in_the_middle_of_a_life_and_at_once_when_revoked() {
        let mut certificate = certificate();
        let window = certificate.renewal_info();
        assert_eq!(window["suggestedWindow"]["start"], moment(1_800_040_000));
        assert_eq!(window["suggestedWindow"]["end"], moment(1_800_060_000));
        certificate.revoked = Some(Revoked { unix_s: 1_800_010_000, reason: 1 });
        let window = certificate.renewal_info();
        assert_eq!(window["suggestedWindow"]["start"], moment(1_800_006_400));
        assert_eq!(window["suggestedWindow"]["end"], moment(1_800_009_999), "in the past: renew now");
        assert!(window.get("explanationURL").is_none());
    }

    /// The example of RFC 9773 section 4.1.
    #[test]
    fn a_certificate_is_named_by_its_issuers_key_and_its_serial() {
        assert_eq!(check_renewal_id("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"), Ok(()));
        for bad in ["", ".", "AA", "AA.", ".AA", "AA.AA.AA", "A.AA", "AA.=="] {
            assert!(check_renewal_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Certificate::of_chain(bad).is_err());
        }
    }
}
