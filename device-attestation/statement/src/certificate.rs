//! Whether an attestation key's certificate is one of our authority's (Web Authentication, section 8.3.1).
//!
//! The chain is webpki's to judge, and the purpose is demanded of every certificate in it: the intermediates that vouch for
//! services and fridges state others, so a certificate under one of those is none for an attestation key.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::CertificateRefusal;
use crate::refusal::short;

/// tcg-kp-AIKCertificate, 2.23.133.8.3, the content of its DER form.
const AK_CERTIFICATE_DER: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];
/// The TPM's manufacturer, model and version (TCG EK Credential Profile 2.5, section 3.1.2).
const TPM_ATTRIBUTES: [&str; 3] = ["2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"];

/// The point of an attestation key whose chain, leaf first, leads to one of `roots` and is valid at `now_unix_s`.
pub(crate) fn accept(
    chain: &[&[u8]],
    roots: &[TrustAnchor<'static>],
    now_unix_s: i64,
) -> Result<Vec<u8>, CertificateRefusal> {
    let (leaf, above) = chain.split_first().ok_or(CertificateRefusal::Unreadable)?;
    let Ok(([], certificate)) = X509Certificate::from_der(leaf) else { return Err(CertificateRefusal::Unreadable) };
    judge_chain(leaf, above, roots, now_unix_s).map_err(|why| refusal(&why, &certificate, now_unix_s))?;
    match flaw(&certificate) {
        Some(flaw) => Err(CertificateRefusal::Form(flaw)),
        None => Ok(certificate.public_key().subject_public_key.data.to_vec()),
    }
}

fn judge_chain(leaf: &[u8], above: &[&[u8]], roots: &[TrustAnchor<'static>], now_unix_s: i64) -> Result<(), Error> {
    let leaf = CertificateDer::from(leaf);
    let above: Vec<_> = above.iter().map(|der| CertificateDer::from(*der)).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now_unix_s).unwrap_or(0)));
    let usage = KeyUsage::required(AK_CERTIFICATE_DER);
    let leaf = EndEntityCert::try_from(&leaf)?;
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, roots, &above, now, usage, None, None).map(drop)
}

fn refusal(why: &Error, certificate: &X509Certificate<'_>, now_unix_s: i64) -> CertificateRefusal {
    let unix_s = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match why {
        Error::UnknownIssuer => CertificateRefusal::UnknownRoot { issuer: short(&certificate.issuer().to_string()) },
        Error::CertExpired { not_after, .. } => {
            CertificateRefusal::Expired { not_after_unix_s: unix_s(not_after), now_unix_s }
        }
        Error::CertNotValidYet { not_before, .. } => {
            CertificateRefusal::NotYetValid { not_before_unix_s: unix_s(not_before), now_unix_s }
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension | Error::CaUsedAsEndEntity => {
            CertificateRefusal::NotForAttestation
        }
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => CertificateRefusal::Forged,
        other => CertificateRefusal::Chain(short(&other.to_string())),
    }
}

/// What is not as WebAuthn has it.
fn flaw(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names_a_tpm = names.is_some_and(|names| {
        names.critical
            && matches!(names.value.general_names.as_slice(), [GeneralName::DirectoryName(tpm)]
            if TPM_ATTRIBUTES.iter().all(|wanted| {
                tpm.iter_attributes().filter(|one| one.attr_type().to_id_string() == *wanted).count() == 1
            }))
    });
    let holds = [
        (certificate.version() == X509Version::V3, "it is not of version 3"),
        (certificate.subject().iter().next().is_none(), "its subject is not empty"),
        (names_a_tpm, "its alternative name is not a TPM's manufacturer, model and version"),
        (!certificate.is_ca(), "it is an authority's"),
    ];
    holds.iter().find(|(holds, _)| !holds).map(|(_, flaw)| *flaw)
}
