//! The object held against what was asked, against our authority, and against itself.

use attest_evidence::{AttestationObject, Curve, Public};
use attest_verdict::{Appraised, Binding, Issuer, Verdict, VerdictRefusal};
use attest_verifier::{AttestationKey, CertifiedKey, Refusal, Signed};
use ca_identity::TrustDomain;
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::{StatementRefusal, certificate};

const STATEMENT: &str = "the TPM's statement";
const CERTIFIED: &str = "the key that the TPM certified";

/// What the challenge is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The device that was ordered for: the SHA-256 of its endorsement key's SubjectPublicKeyInfo.
    pub permanent_identifier: &'a [u8; 32],
    /// The challenge's key authorization (RFC 8555, section 8.1).
    pub key_authorization: &'a str,
    /// The account, by its key's thumbprint (RFC 7638).
    pub account: &'a str,
    /// The order, by its URL.
    pub order: &'a str,
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The key, which is in the device's TPM: an uncompressed point on P-256.
    pub point: [u8; 65],
    /// The SHA-256 of the one certificate request (DER) that the verdict is good for.
    pub csr_sha256: [u8; 32],
    /// Why the device must not sell; none when all is well with it.
    pub quarantine: Vec<String>,
}

/// Whom we believe: our own authority, for attestation keys and for the attestation service.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Vec<TrustAnchor<'static>>,
    verdicts: Issuer,
}

impl Trust {
    /// Believes what leads to these roots (certificates in DER), and verdicts of the attestation service of this domain.
    ///
    /// # Errors
    /// [`VerdictRefusal::Roots`] when there is none or too many, or one cannot be a root.
    pub fn new<D: AsRef<[u8]>>(roots: &[D], trust_domain: &TrustDomain) -> Result<Self, VerdictRefusal> {
        let verdicts = Issuer::new(roots, trust_domain)?;
        let anchor = |der: &D| {
            let der = CertificateDer::from(der.as_ref());
            anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned()).map_err(|_| VerdictRefusal::Roots)
        };
        Ok(Self { roots: roots.iter().map(anchor).collect::<Result<_, _>>()?, verdicts })
    }

    /// Judges an attestation object as the answer to what was asked, at this time.
    ///
    /// # Errors
    /// [`StatementRefusal`] with the first thing that does not hold, and what to do.
    pub fn judge(&self, object: &[u8], asked: &Asked<'_>, now_unix_s: i64) -> Result<Proved, StatementRefusal> {
        let object = AttestationObject::parse(object)?;
        let certified_point = certificate::accept(&object.certificates, &self.roots, now_unix_s)?;
        let of = |what| move |why| StatementRefusal::Evidence { what, why };
        let key = AttestationKey::accept(object.attestation_key).map_err(of("the attestation key"))?;
        if key.point() != certified_point {
            return Err(StatementRefusal::AnotherCertificate);
        }
        let nonce = digest(&SHA256, asked.key_authorization.as_bytes());
        let signed =
            Signed::check(&key, object.statement, object.signature, nonce.as_ref()).map_err(|why| match why {
                Refusal::Nonce => StatementRefusal::Challenge,
                why => of(STATEMENT)(why),
            })?;
        // That the policy is one of those that hold a key to good firmware is the verdict's to say.
        let policy = Public::parse(object.public_area)?.policy;
        let certified = CertifiedKey::of(&signed, object.public_area, policy).map_err(of(CERTIFIED))?;
        let point = <[u8; 65]>::try_from(certified.point()).ok().filter(|_| certified.curve() == Curve::P256);
        let point = point.ok_or(StatementRefusal::Curve)?;
        let verdict = Verdict::open(object.verdict, &self.verdicts, now_unix_s)?;
        answers(&verdict, &key, &certified, asked)?;
        let quarantine = match verdict.appraised {
            Appraised::Affirming => Vec::new(),
            Appraised::Quarantine(reasons) => reasons,
        };
        Ok(Proved { point, csr_sha256: verdict.binding.csr_sha256, quarantine })
    }
}

/// Whether the verdict is about this device, these keys, this account and this order.
fn answers(
    verdict: &Verdict,
    key: &AttestationKey,
    certified: &CertifiedKey,
    asked: &Asked<'_>,
) -> Result<(), StatementRefusal> {
    if verdict.attestation_key != key.name() {
        return Err(StatementRefusal::AnotherAttestationKey);
    }
    let mut tls_key_sha256 = [0; 32];
    tls_key_sha256.copy_from_slice(digest(&SHA256, &certified.spki()).as_ref());
    verdict.answers(&Binding {
        permanent_identifier: *asked.permanent_identifier,
        tls_key_sha256,
        // The request comes when the order is finalized, and is held against this then.
        csr_sha256: verdict.binding.csr_sha256,
        account: asked.account.to_owned(),
        order: asked.order.to_owned(),
    })?;
    Ok(())
}
