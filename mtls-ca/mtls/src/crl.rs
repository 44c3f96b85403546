//! A revocation list (RFC 5280, section 5) that may be believed: signed by an authority that a root of ours vouches for, and
//! not from the future.
//!
//! The parse is the check, so a [`CheckedCrl`] is proof of it. A list whose `nextUpdate` is past is still taken, because what
//! it revokes stays revoked and a dead authority must not become an outage of the fleet; that it is overdue is for
//! `revocation` to tell and for operators to hear. It leaves whether the list is newer than the one in force to
//! `revocation`.

use std::collections::HashSet;

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, ParsedExtension};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::TrustBundle;
use crate::peer::{hex, parse};

/// The most bytes of a list; one of 20,000 entries has some 800 KB.
const MAX_CRL_BYTES: usize = 8 * 1024 * 1024;
/// The most lists of one text; an authority has two, and four while it changes its intermediates.
const MAX_LISTS: usize = 16;
/// Bytes of an uncompressed P-256 point.
const POINT_BYTES: usize = 65;
/// The AlgorithmIdentifier of ecdsa-with-SHA256, DER (RFC 5758, section 3.2).
const ALGORITHM_DER: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// Clocks differ: a list may be from so many seconds ahead.
const SKEW_S: i64 = 10 * 60;

/// Why a revocation list is not believed. The list in force stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CrlError {
    /// It is larger than any list of ours.
    #[error("the revocation list has {0} bytes, more than {MAX_CRL_BYTES}")]
    TooLarge(usize),
    /// Bytes that are no list, or a list without its number.
    #[error("the revocation list cannot be read: {0}")]
    Malformed(&'static str),
    /// The authority that signed it is not one of ours.
    #[error(
        "the authority that issued the revocation list is not vouched for by a root we trust, or may not issue lists"
    )]
    UnknownIssuer,
    /// The list is not signed by the authority that it came with.
    #[error("the revocation list is not signed by the authority it names")]
    Signature,
    /// The clock of one side is wrong.
    #[error("the revocation list begins at {this_update_s} s and the time here is {now_s} s; check both clocks")]
    FromTheFuture {
        /// `thisUpdate`, seconds since the Unix epoch.
        this_update_s: i64,
        /// The time here, seconds since the Unix epoch.
        now_s: i64,
    },
    /// A newer list is in force.
    #[error("the revocation list has number {found}, but number {known} is in force; an old list is being shown")]
    Older {
        /// The number in force, hex.
        known: String,
        /// The number of the list refused, hex.
        found: String,
    },
}

/// A revocation list that may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCrl {
    pub(crate) issuer: String,
    pub(crate) number: Vec<u8>,
    pub(crate) next_update_s: i64,
    pub(crate) serials: HashSet<Box<str>>,
}

impl CheckedCrl {
    /// Checks the list `crl` and the authority's certificate `issuer` that came with it (both DER) under the roots of
    /// `bundle`, at `now_s`, seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`CrlError`], never [`CrlError::Older`].
    pub fn check(crl: &[u8], issuer: &CertificateDer<'_>, bundle: &TrustBundle, now_s: i64) -> Result<Self, CrlError> {
        if crl.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLarge(crl.len()));
        }
        let authority = parse(issuer).map_err(|_| CrlError::UnknownIssuer)?;
        if !may_issue(&authority, now_s) || !bundle.anchors().iter().any(|root| vouches(root, &authority)) {
            return Err(CrlError::UnknownIssuer);
        }
        let (rest, list) =
            CertificateRevocationList::from_der(crl).map_err(|_| CrlError::Malformed("it is no list"))?;
        if !rest.is_empty() {
            return Err(CrlError::Malformed("something stands behind it"));
        }
        let signed = signed_by(
            &authority.public_key().subject_public_key.data,
            list.tbs_cert_list.as_ref(),
            &list.signature_value.data,
        );
        if list.issuer().as_raw() != authority.subject().as_raw() || !signed || !is_framed(&list, crl) {
            return Err(CrlError::Signature);
        }
        let this_update_s = list.last_update().timestamp();
        if this_update_s > now_s.saturating_add(SKEW_S) {
            return Err(CrlError::FromTheFuture { this_update_s, now_s });
        }
        let next_update = list.next_update().ok_or(CrlError::Malformed("it does not say when the next one comes"))?;
        let number = list.crl_number().ok_or(CrlError::Malformed("it has no number"))?.to_bytes_be();
        if list.extensions().iter().any(|extension| extension.critical && !is_known(extension.parsed_extension())) {
            return Err(CrlError::Malformed("it has a critical extension that is not understood"));
        }
        Ok(Self {
            issuer: list.issuer().to_string(),
            number,
            next_update_s: next_update.timestamp(),
            serials: list.iter_revoked_certificates().map(|entry| hex(entry.raw_serial()).into()).collect(),
        })
    }

    /// Checks the lists of a PEM text as an authority publishes them: each issuer's certificate, and behind it the list it
    /// signed. See [`Self::check`].
    ///
    /// # Errors
    /// [`CrlError`] of the first that is not believed; then none of them is.
    pub fn check_pem(pem: &[u8], bundle: &TrustBundle, now_s: i64) -> Result<Vec<Self>, CrlError> {
        let unreadable = |_| CrlError::Malformed("the text is not PEM");
        let mut issuers = CertificateDer::pem_slice_iter(pem);
        let mut checked = Vec::new();
        for list in CertificateRevocationListDer::pem_slice_iter(pem).take(MAX_LISTS) {
            let issuer = issuers.next().ok_or(CrlError::UnknownIssuer)?.map_err(unreadable)?;
            checked.push(Self::check(list.map_err(unreadable)?.as_ref(), &issuer, bundle, now_s)?);
        }
        if checked.is_empty() { Err(CrlError::Malformed("there is no list in the text")) } else { Ok(checked) }
    }

    /// When the next list is due at the latest, seconds since the Unix epoch.
    #[must_use]
    pub const fn next_update_s(&self) -> i64 {
        self.next_update_s
    }

    /// How many certificates it revokes.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.serials.len()
    }
}

/// Whether the bytes around the signed part are the only ones they can be, since the signature does not cover them.
fn is_framed(list: &CertificateRevocationList<'_>, crl: &[u8]) -> bool {
    let signature: &[u8] = &list.signature_value.data;
    let Ok(bits) = u8::try_from(signature.len().saturating_add(1)) else { return false };
    let body = [list.tbs_cert_list.as_ref(), &ALGORITHM_DER, &[0x03, bits, 0], signature].concat();
    let length: Vec<u8> = body.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let header = match (length.as_slice(), u8::try_from(length.len())) {
        ([short], _) if *short < 0x80 => vec![0x30, *short],
        (_, Ok(bytes)) => [&[0x30, 0x80 | bytes], length.as_slice()].concat(),
        (_, Err(_)) => return false,
    };
    bits < 0x80 && crl == [header, body].concat()
}

/// Whether it is an authority in its time that may sign lists.
fn may_issue(certificate: &X509Certificate<'_>, now_s: i64) -> bool {
    let validity = certificate.validity();
    let in_time = validity.not_before.timestamp() <= now_s && now_s <= validity.not_after.timestamp();
    let signs_lists = certificate.key_usage().ok().flatten().is_some_and(|usage| usage.value.crl_sign());
    in_time && certificate.is_ca() && signs_lists
}

/// Whether this root signed that certificate. An anchor holds the contents of its key's SEQUENCE; the point ends them.
fn vouches(root: &TrustAnchor<'_>, certificate: &X509Certificate<'_>) -> bool {
    let spki = root.subject_public_key_info.as_ref();
    let point = spki.len().checked_sub(POINT_BYTES).and_then(|at| spki.get(at..)).unwrap_or_default();
    signed_by(point, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

/// Every key of our authority is P-256 and signs with SHA-256.
fn signed_by(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
}

/// The scope of a list could be narrowed by an extension; one that is not understood means the list is not (RFC 5280,
/// section 5.2).
const fn is_known(extension: &ParsedExtension<'_>) -> bool {
    matches!(extension, ParsedExtension::CRLNumber(_) | ParsedExtension::AuthorityKeyIdentifier(_))
}
