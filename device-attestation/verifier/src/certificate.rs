//! Whether an endorsement key is one of a genuine TPM: its certificate, up to the root of a TPM maker (TCG EK Credential
//! Profile 2.5; RFC 5280).
//!
//! The chain (signatures, times, constraints, purpose) is webpki's to judge. What is ours: the certificate states that it
//! is one for an endorsement key, which webpki would let it leave out, and its key is of a curve that a credential can be
//! made for, in the one encoding that such a key has. A root's own validity is not looked at, as RFC 5280 does not: whoever
//! no longer trusts a maker takes its root out.
//!
//! It leaves to others: whether the certificate was revoked (makers rarely say; a stolen device is barred by its permanent
//! identifier), and that the device holds the key (the credential).

use std::fmt;
use std::time::Duration;

use attest_evidence::Curve;
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::refusal::{CertificateRefusal, RootsFlaw};
use crate::{EndorsementKey, Refusal, spki};

/// tcg-kp-EKCertificate, 2.23.133.8.1, the content of its DER form.
const EK_CERTIFICATE_DER: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// The same as text.
const EK_CERTIFICATE: &str = "2.23.133.8.1";
/// The most bytes of one certificate; those of makers have 700 to 2,000.
const MOST_BYTES: usize = 8 * 1_024;
/// The most intermediates; makers have one to three.
const MOST_INTERMEDIATES: usize = 8;
/// The most roots.
const MOST_ROOTS: usize = 256;
/// tcg-at-tpmManufacturer, -tpmModel and -tpmVersion.
const TPM_ATTRIBUTES: [&str; 3] = ["2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"];
/// The most bytes of one of them; makers write some ten.
const MOST_MODEL_BYTES: usize = 64;
/// The most characters that an issuer's name takes in a text; a device chooses it.
const MOST_NAME_CHARACTERS: usize = 160;
/// The roots of the TPM makers whose TPMs are believed.
#[derive(Debug, Clone)]
pub struct MakerRoots(Vec<TrustAnchor<'static>>);

impl MakerRoots {
    /// Takes roots, as certificates in DER.
    ///
    /// # Errors
    /// [`RootsFlaw`] when there is none or too many, or one cannot be a root: a torn list is not half a list.
    pub fn new<D: AsRef<[u8]>>(roots: &[D]) -> Result<Self, RootsFlaw> {
        if roots.is_empty() || roots.len() > MOST_ROOTS {
            return Err(RootsFlaw::Count { found: roots.len(), most: MOST_ROOTS });
        }
        let root = |(der, number): (&D, usize)| {
            let is_authority = read(der.as_ref()).is_some_and(|certificate| certificate.is_ca());
            let der = CertificateDer::from(der.as_ref());
            let anchor = anchor_from_trusted_cert(&der).ok().filter(|_| is_authority);
            anchor.map(|anchor| anchor.to_owned()).ok_or(RootsFlaw::NoRoot { number })
        };
        Ok(Self(roots.iter().zip(1..).map(root).collect::<Result<_, _>>()?))
    }
}

/// What a device is called for good: the SHA-256 of its endorsement key's SubjectPublicKeyInfo in DER, whole, that is with
/// the algorithm and the curve. `openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum` tells the same.
/// Its text is 64 digits of lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermanentIdentifier([u8; 32]);

impl PermanentIdentifier {
    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PermanentIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a TPM is, as its maker writes it (TCG EK Credential Profile 2.5, section 3.2.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmModel {
    /// Who made it, such as `id:53544D20`.
    pub manufacturer: String,
    /// Its part number.
    pub model: String,
    /// The version of its firmware, such as `id:00010002`.
    pub version: String,
}

/// An endorsement key for which a TPM maker vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementCertificate {
    tpm: Option<TpmModel>,
    curve: Curve,
    point: Vec<u8>,
    permanent_identifier: PermanentIdentifier,
}

impl EndorsementCertificate {
    /// Accepts a certificate in DER that leads through `intermediates`, in any order, to one of `roots`, and is valid at
    /// `now_unix_s`.
    ///
    /// # Errors
    /// [`CertificateRefusal`], with what a technician can do.
    pub fn accept<D: AsRef<[u8]>>(
        der: &[u8],
        intermediates: &[D],
        roots: &MakerRoots,
        now_unix_s: i64,
    ) -> Result<Self, CertificateRefusal> {
        let shown = intermediates.iter().map(AsRef::as_ref);
        if intermediates.len() > MOST_INTERMEDIATES || shown.clone().chain([der]).any(|one| one.len() > MOST_BYTES) {
            let (most, most_bytes) = (MOST_INTERMEDIATES, MOST_BYTES);
            return Err(CertificateRefusal::TooLarge { most, most_bytes });
        }
        let certificate = read(der).ok_or(CertificateRefusal::Unreadable)?;
        let intermediates: Vec<_> = shown.map(CertificateDer::from).collect();
        judge_chain(der, &intermediates, roots, now_unix_s).map_err(|why| refusal(&why, &certificate, now_unix_s))?;
        if !is_for_endorsement(&certificate) {
            return Err(CertificateRefusal::NotForEndorsement);
        }
        let (curve, point) = spki::point(certificate.public_key().raw).ok_or(CertificateRefusal::Algorithm)?;
        let mut identifier = [0; 32];
        identifier.copy_from_slice(digest(&SHA256, certificate.public_key().raw).as_ref());
        let tpm = tpm_model(&certificate);
        Ok(Self { tpm, curve, point, permanent_identifier: PermanentIdentifier(identifier) })
    }

    /// What the device is called for good.
    #[must_use]
    pub const fn permanent_identifier(&self) -> PermanentIdentifier {
        self.permanent_identifier
    }

    /// What the TPM is; `None` when its maker does not say it, or says it twice, or in letters of another alphabet.
    #[must_use]
    pub const fn tpm(&self) -> Option<&TpmModel> {
        self.tpm.as_ref()
    }

    /// The key of the certificate, for which credentials are made. `public_area` is its `TPMT_PUBLIC`; without one it is
    /// taken to be made by the template that the TCG prescribes for its curve (L-2 on P-256, H-3 on P-384), and a TPM whose
    /// key was made otherwise cannot open a credential.
    ///
    /// # Errors
    /// As [`EndorsementKey::accept`].
    pub fn key(&self, public_area: Option<&[u8]>) -> Result<EndorsementKey, Refusal> {
        match public_area {
            Some(area) => EndorsementKey::accept(area, &self.point),
            None => Ok(EndorsementKey::of_template(self.curve, &self.point)),
        }
    }
}

fn judge_chain(
    der: &[u8],
    intermediates: &[CertificateDer<'_>],
    roots: &MakerRoots,
    now_unix_s: i64,
) -> Result<(), Error> {
    let der = CertificateDer::from(der);
    // Before 1970 no certificate was valid yet, as none is at its first second.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now_unix_s).unwrap_or(0)));
    let purpose = KeyUsage::required_if_present(EK_CERTIFICATE_DER);
    EndEntityCert::try_from(&der)?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &roots.0, intermediates, now, purpose, None, None)
        .map(drop)
}

/// Webpki's reason, as one for a technician.
fn refusal(why: &Error, certificate: &X509Certificate<'_>, now_unix_s: i64) -> CertificateRefusal {
    let unix_s = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match why {
        Error::UnknownIssuer => CertificateRefusal::UnknownRoot { issuer: issuer(certificate) },
        Error::CertExpired { not_after, .. } => {
            CertificateRefusal::Expired { not_after_unix_s: unix_s(not_after), now_unix_s }
        }
        Error::CertNotValidYet { not_before, .. } => {
            CertificateRefusal::NotYetValid { not_before_unix_s: unix_s(not_before), now_unix_s }
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension | Error::CaUsedAsEndEntity => {
            CertificateRefusal::NotForEndorsement
        }
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => CertificateRefusal::Forged,
        other => CertificateRefusal::Chain(other.to_string().chars().take(MOST_NAME_CHARACTERS).collect()),
    }
}

/// The issuer's name, short and without anything that could pass for another line.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    certificate.issuer().to_string().escape_debug().take(MOST_NAME_CHARACTERS).collect()
}

/// Whether a certificate states that it is one for an endorsement key that agrees on secrets.
fn is_for_endorsement(certificate: &X509Certificate<'_>) -> bool {
    let purpose = certificate.extended_key_usage().ok().flatten();
    let stated = purpose.is_some_and(|usage| usage.value.other.iter().any(|oid| oid.to_id_string() == EK_CERTIFICATE));
    let agrees = match certificate.key_usage() {
        Ok(None) => true,
        // An RSA key's says that it enciphers; that it is of no use here is told by its algorithm.
        Ok(Some(usage)) => usage.value.key_agreement() || usage.value.key_encipherment(),
        Err(_) => false,
    };
    stated && agrees && !certificate.is_ca()
}

/// The three attributes in the certificate's one directory name.
fn tpm_model(certificate: &X509Certificate<'_>) -> Option<TpmModel> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut directories = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DirectoryName(directory) => Some(directory),
        _ => None,
    });
    let (Some(directory), None) = (directories.next(), directories.next()) else { return None };
    let attribute = |oid: &str| {
        let mut found = directory.iter_attributes().filter(|one| one.attr_type().to_id_string() == oid);
        let (Some(one), None) = (found.next(), found.next()) else { return None };
        let text = one.as_str().ok()?;
        let is_one =
            (1..=MOST_MODEL_BYTES).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_one.then(|| text.to_owned())
    };
    let [manufacturer, model, version] = TPM_ATTRIBUTES.map(attribute);
    Some(TpmModel { manufacturer: manufacturer?, model: model?, version: version? })
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}
