//! Revocation lists (RFC 5280, section 5): what goes into one, and the reading back by another parser than the one that wrote
//! it. Pure but for the signature.
//!
//! The list is the memory of what was revoked: the next one is made from the one before. So the one before is read as
//! strictly as a stranger's, and its hash is held against the issuance log by `revoke`.

use data_encoding::HEXLOWER;
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::template::TokenKey;
use crate::{AuthorityError, Fault, Refusal};

/// A list is good for so long. Longer than any outage of the authority should be, since a verifier that insists on a
/// fresh list admits nobody afterwards.
pub(crate) const LIST_LIFE_S: i64 = 6 * 60 * 60;

/// Why a certificate is taken back (RFC 5280, section 5.3.1; those that concern us).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is said.
    Unspecified,
    /// The key is, or may be, in others' hands: a fridge was stolen, a board copied.
    KeyCompromise,
    /// Another certificate took its place.
    Superseded,
    /// The party is no more.
    CessationOfOperation,
    /// The party may no longer do what it could.
    PrivilegeWithdrawn,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The reason as the standard writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    const fn encoded(self) -> Option<RevocationReason> {
        match self {
            // To be left out rather than said (section 5.3.1).
            Self::Unspecified => None,
            Self::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Self::Superseded => Some(RevocationReason::Superseded),
            Self::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(RevocationReason::PrivilegeWithdrawn),
        }
    }
}

/// One certificate that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Lowercase hex.
    pub(crate) serial: String,
    pub(crate) at_unix_s: i64,
    pub(crate) reason: Reason,
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) number: u64,
    pub(crate) this_update_unix_s: i64,
    pub(crate) entries: Vec<Revoked>,
}

/// Signs a list for the issuer whose certificate (DER) and key these are; gives its DER.
pub(crate) fn sign(list: &List, issuer: &[u8], key: &TokenKey<'_>) -> Result<Vec<u8>, AuthorityError> {
    let time = |unix_s| OffsetDateTime::from_unix_timestamp(unix_s).map_err(|_| Refusal::Time(unix_s));
    let entry = |revoked: &Revoked| {
        let serial = HEXLOWER.decode(revoked.serial.as_bytes()).map_err(|why| Fault::Encoding(why.to_string()))?;
        Ok::<_, AuthorityError>(RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: time(revoked.at_unix_s)?,
            reason_code: revoked.reason.encoded(),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: time(list.this_update_unix_s)?,
        next_update: time(list.this_update_unix_s.saturating_add(LIST_LIFE_S))?,
        crl_number: SerialNumber::from(list.number),
        issuing_distribution_point: None,
        revoked_certs: list.entries.iter().map(entry).collect::<Result<_, _>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer =
        Issuer::from_ca_cert_der(&CertificateDer::from(issuer), key).map_err(|why| Fault::Encoding(why.to_string()))?;
    let signed = params.signed_by(&issuer).map_err(|why| key.cause(&why))?;
    Ok(signed.der().to_vec())
}

/// Reads a list of the issuer whose certificate (DER) this is, and checks that he signed it.
pub(crate) fn read(der: &[u8], issuer: &[u8]) -> Result<List, &'static str> {
    let (_, issuer) = X509Certificate::from_der(issuer).map_err(|_| "its issuer's certificate cannot be read")?;
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| "it is no revocation list")?;
    if !rest.is_empty() {
        return Err("something stands behind it");
    }
    if list.issuer().as_raw() != issuer.subject().as_raw() {
        return Err("it names another issuer");
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer.public_key().subject_public_key.data.as_ref())
        .verify(list.tbs_cert_list.as_ref(), &list.signature_value.data)
        .map_err(|_| "its signature does not verify")?;
    let this_update_unix_s = list.last_update().timestamp();
    let next = list.next_update().map(|next| next.timestamp());
    if next != Some(this_update_unix_s.saturating_add(LIST_LIFE_S)) {
        return Err("its next update is at another time");
    }
    let number = list.crl_number().and_then(|number| u64::try_from(number).ok()).ok_or("it has no number of ours")?;
    let entries = list.iter_revoked_certificates().map(|entry| {
        let code = entry.reason_code().map_or(0, |(_, reason)| reason.0);
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
        Ok(Revoked {
            serial: HEXLOWER.encode(entry.raw_serial()),
            at_unix_s: entry.revocation_date.timestamp(),
            reason: reason.ok_or("it gives a reason that is none of ours")?,
        })
    });
    Ok(List { number, this_update_unix_s, entries: entries.collect::<Result<_, &'static str>>()? })
}

#[cfg(test)]
#[path = "crl_tests.rs"]
mod tests;
