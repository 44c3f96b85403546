//! Whether whoever signed a verdict may: the attestation service of our trust domain, under one of our roots.

use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::VerdictRefusal;

/// The most roots; during a rotation there are two.
const MOST_ROOTS: usize = 16;

/// Whose verdicts are believed: the attestation service's.
#[derive(Debug, Clone)]
pub struct Issuer {
    roots: Vec<TrustAnchor<'static>>,
    id: SpiffeId,
}

impl Issuer {
    /// The attestation service of `trust_domain`, under these roots (certificates in DER).
    ///
    /// # Errors
    /// [`VerdictRefusal::Roots`] when there is none or too many, or one cannot be a root.
    pub fn new<D: AsRef<[u8]>>(roots: &[D], trust_domain: &TrustDomain) -> Result<Self, VerdictRefusal> {
        if roots.is_empty() || roots.len() > MOST_ROOTS {
            return Err(VerdictRefusal::Roots);
        }
        let root = |der: &D| {
            let is_authority = read(der.as_ref()).is_some_and(|certificate| certificate.is_ca());
            let der = CertificateDer::from(der.as_ref());
            let anchor = anchor_from_trusted_cert(&der).ok().filter(|_| is_authority);
            anchor.map(|anchor| anchor.to_owned()).ok_or(VerdictRefusal::Roots)
        };
        let roots = roots.iter().map(root).collect::<Result<_, _>>()?;
        Ok(Self { roots, id: SpiffeId::service(trust_domain, ServiceName::Attestation) })
    }

    /// The point of the signer's key, when its chain, leaf first, is the service's.
    pub(crate) fn accept(&self, chain: &[Vec<u8>], now_unix_s: i64) -> Result<Vec<u8>, VerdictRefusal> {
        let (leaf, above) = chain.split_first().ok_or(VerdictRefusal::Malformed("the chain"))?;
        self.judge_chain(leaf, above, now_unix_s).map_err(|why| refusal(&why, now_unix_s))?;
        let leaf = read(leaf).ok_or(VerdictRefusal::Malformed("the certificate"))?;
        match name(&leaf) {
            Some(name) if name == self.id => Ok(leaf.public_key().subject_public_key.data.to_vec()),
            Some(found) => Err(VerdictRefusal::Name { expected: self.id.to_string(), found: found.to_string() }),
            None => Err(VerdictRefusal::Name { expected: self.id.to_string(), found: "nobody".to_owned() }),
        }
    }

    fn judge_chain(&self, leaf: &[u8], above: &[Vec<u8>], now_unix_s: i64) -> Result<(), Error> {
        let leaf = CertificateDer::from(leaf);
        let above: Vec<_> = above.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now_unix_s).unwrap_or(0)));
        // A device's certificate is for clients alone, and so is the authority above it.
        let usage = KeyUsage::required(SERVER_AUTH_DER);
        let leaf = EndEntityCert::try_from(&leaf)?;
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &self.roots, &above, now, usage, None, None).map(drop)
    }
}

/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1, the content of its DER form.
const SERVER_AUTH_DER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

fn refusal(why: &Error, now_unix_s: i64) -> VerdictRefusal {
    let unix_s = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match why {
        Error::CertExpired { not_after, .. } => {
            VerdictRefusal::SignerExpired { not_after_unix_s: unix_s(not_after), now_unix_s }
        }
        Error::CertNotValidYet { not_before, .. } => {
            VerdictRefusal::SignerNotYetValid { not_before_unix_s: unix_s(not_before), now_unix_s }
        }
        other => VerdictRefusal::Chain(other.to_string()),
    }
}

/// The one party that a certificate names.
fn name(certificate: &X509Certificate<'_>) -> Option<SpiffeId> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => SpiffeId::parse(uri).ok(),
        _ => None,
    }
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}
