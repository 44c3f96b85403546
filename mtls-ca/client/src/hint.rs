//! When the authority would have a certificate renewed (RFC 9773).

use rustls_pki_types::CertificateDer;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use crate::{Account, AcmeError, Span};

/// The window that the authority suggests for this certificate, and when to ask again, in seconds.
///
/// # Errors
/// [`AcmeError`]; [`AcmeError::Refused`] when the certificate names no key of its authority.
pub async fn hint(account: &Account, leaf: &CertificateDer<'_>) -> Result<(Span, u64), AcmeError> {
    let refused = || AcmeError::Refused("the certificate names no key of its authority".to_owned());
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| refused())?;
    let identifier = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    });
    let (info, again_s) = account.renewal(identifier.ok_or_else(refused)?, parsed.raw_serial()).await?;
    let moment = |name: &str| {
        let text = info.get("suggestedWindow").and_then(|window| window.get(name)).and_then(Value::as_str);
        let moment = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        moment.ok_or_else(|| AcmeError::Failed("the authority's renewal information makes no sense".to_owned()))
    };
    let (from_s, to_s) = (moment("start")?.unix_timestamp(), moment("end")?.unix_timestamp());
    Ok((Span { from_s, to_s }, again_s))
}
