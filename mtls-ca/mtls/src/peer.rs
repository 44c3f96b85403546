//! Who is on the other side of a connection, read from the certificate it showed.
//!
//! A [`Peer`] is small and cloneable so that a server can put it beside every request of a connection and ask each time
//! whether the certificate has expired meanwhile: a connection may outlive the certificate it began with. It leaves the
//! chain to `verify`, which has been through it before anybody calls [`peer`], and what the peer may do to policies.

use ca_identity::{SpiffeId, SpiffeIdError};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Why a certificate does not say who its holder is, or may not be used as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerError {
    /// The connection has no certificate.
    #[error("no certificate was shown")]
    NoCertificate,
    /// Bytes that are not one X.509 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Not exactly one URI among the subject's alternative names.
    #[error("the certificate holds {0} URI names; exactly one is required")]
    UriCount(usize),
    /// The one URI is not the name of a party.
    #[error("the certificate's URI is no name of a party: {0}")]
    Name(#[from] SpiffeIdError),
    /// The name belongs to another trust domain.
    #[error("the certificate names {0}, which is of another trust domain")]
    TrustDomain(Box<SpiffeId>),
    /// The name is another than the one the connection was for.
    #[error("the certificate names {found}, but {expected} was expected")]
    Unexpected {
        /// Whom we wanted to reach.
        expected: Box<SpiffeId>,
        /// Who answered.
        found: Box<SpiffeId>,
    },
    /// The certificate does not say that it may be used on this side of a connection.
    #[error("the certificate's extended key usage does not allow this side of a connection")]
    Purpose,
    /// A certificate authority's own certificate shown as if it were a party's.
    #[error("the certificate is an authority's, not a party's")]
    Authority,
    /// The authority took the certificate back.
    #[error("the certificate with serial number {serial} was revoked; the party must be issued another")]
    Revoked {
        /// Its serial number, lowercase hex.
        serial: String,
    },
    /// The certificate was good when the connection began and is not any more.
    #[error("the certificate expired at {not_after_unix_s} s; the time now is {now_unix_s} s")]
    Expired {
        /// The last second of its life, since the Unix epoch.
        not_after_unix_s: i64,
        /// When it was asked, seconds since the Unix epoch.
        now_unix_s: i64,
    },
}

/// The party on the other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: SpiffeId,
    /// The certificate's serial number, lowercase hex without separators.
    pub serial: String,
    /// The name of the authority that issued it, as RFC 4514 writes names; with the serial number it names the certificate.
    pub issuer: String,
    /// The last second of the certificate's life, since the Unix epoch.
    pub not_after: i64,
}

impl Peer {
    /// Whether the certificate still lives; to be asked for each request, since connections outlive certificates.
    ///
    /// # Errors
    /// [`PeerError::Expired`], with both times, when it does not.
    pub const fn check_alive(&self, now_unix_s: i64) -> Result<(), PeerError> {
        if now_unix_s > self.not_after {
            return Err(PeerError::Expired { not_after_unix_s: self.not_after, now_unix_s });
        }
        Ok(())
    }
}

/// Reads who a verified certificate chain (leaf first) belongs to.
///
/// It does not verify the chain: pass only what rustls hands out after a handshake under this crate's configurations.
///
/// # Errors
/// [`PeerError`] when there is no certificate, or it does not name exactly one party.
pub fn peer(certificates: &[CertificateDer<'_>]) -> Result<Peer, PeerError> {
    let leaf = parse(certificates.first().ok_or(PeerError::NoCertificate)?)?;
    Ok(Peer {
        id: name_of(&leaf)?,
        serial: hex(leaf.raw_serial()),
        issuer: leaf.issuer().to_string(),
        not_after: leaf.validity().not_after.timestamp(),
    })
}

/// Parses exactly one certificate, with nothing behind it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerError> {
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PeerError::Malformed),
    }
}

/// The one party a certificate names.
pub(crate) fn name_of(certificate: &X509Certificate<'_>) -> Result<SpiffeId, PeerError> {
    let names = certificate.subject_alternative_name().map_err(|_| PeerError::Malformed)?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(SpiffeId::parse(uri)?),
        (None, _) => Err(PeerError::UriCount(0)),
        (Some(_), more) => Err(PeerError::UriCount(more.saturating_add(1))),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Peer, PeerError, hex, peer};
    use ca_identity::SpiffeId;
    use rustls_pki_types::CertificateDer;

    #[test]
    fn a_certificate_lives_through_its_last_second() {
        let id = SpiffeId::parse("spiffe://larder.internal/fridge/f1").unwrap();
        let peer = Peer { id, serial: "0a".into(), issuer: "CN=one".into(), not_after: 100 };
        assert_eq!(peer.check_alive(100), Ok(()));
        assert_eq!(peer.check_alive(101), Err(PeerError::Expired { not_after_unix_s: 100, now_unix_s: 101 }));
    }

    #[test]
    fn nothing_and_rubbish_are_nobody() {
        assert_eq!(peer(&[]), Err(PeerError::NoCertificate));
        assert_eq!(peer(&[CertificateDer::from(vec![0x30, 0x03, 1, 2])]), Err(PeerError::Malformed));
        assert_eq!(peer(&[CertificateDer::from(vec![])]), Err(PeerError::Malformed));
    }

    #[test]
    fn a_serial_is_lowercase_hex() {
        assert_eq!(hex(&[0x00, 0xAB, 0x10]), "00ab10");
    }
}
