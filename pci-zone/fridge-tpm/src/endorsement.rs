//! The key by which a TPM is known for good, its maker's certificate for it, and the credential that only this TPM opens.

use attest_evidence::{Curve, Public as Area};
use ring::digest::{SHA256, digest};
use rustls::pki_types::alg_id;
use rustls::sign::public_key_to_spki;
use tss_esapi::abstraction::ek;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::AuthHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, DigestList, EncryptedSecret, IdObject, Nonce};
use tss_esapi::traits::Marshall;
use zeroize::Zeroizing;

use crate::device::Step;
use crate::error::{HANDLE, INTEGRITY, fault, says};
use crate::template::selection_of;
use crate::{Corrupt, Fault, Refusal, StoredKey, TpmError};

const MEETING: &str = "met the endorsement key's policy";
/// Curves of endorsement keys, the one to prefer first.
const CURVES: [Curve; 2] = [Curve::P384, Curve::P256];
/// The two ways of the policy of an endorsement key on P-384, of which one must be met (EK Credential Profile 2.5, section
/// B.6): the endorsement hierarchy's authorization (PolicyA), which we meet, or one in NV (PolicyC). SHA-384.
const POLICY_A_SHA384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6, 0x4f, 0x43, 0x26,
    0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e, 0x8b, 0xb1, 0x13, 0x38,
    0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];
const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b, 0x6a, 0x16,
    0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94, 0x7c, 0x2d, 0x73, 0xe6,
    0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

/// A TPM's endorsement key and its maker's certificate for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The curve.
    pub curve: Curve,
    /// The key's public area, `TPMT_PUBLIC`.
    pub public_area: Vec<u8>,
    /// The certificate, DER. Whether it is genuine is not looked at here.
    pub certificate: Vec<u8>,
}

impl Endorsement {
    /// What this TPM is called for good: the SHA-256 of the endorsement key's SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`Corrupt::Key`] when the public area cannot be read.
    pub fn permanent_identifier(&self) -> Result<[u8; 32], TpmError> {
        let area = Area::parse(&self.public_area);
        let point = area.map_err(|_| Corrupt::Key("the endorsement key's public area cannot be read"))?.key.point();
        let algorithm = match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &public_key_to_spki(&algorithm, point)).as_ref());
        Ok(hash)
    }
}

/// Reads the certificate and makes the key that it is for.
pub(crate) fn read(step: &mut Step<'_>) -> Result<Endorsement, TpmError> {
    for curve in CURVES {
        let Some(certificate) = certificate(step, curve)? else { continue };
        let (_, public) = step.endorsement(curve)?;
        let public_area = public.marshall().map_err(fault("wrote the endorsement key's public area"))?;
        let point = Area::parse(&public_area).map(|area| area.key.point());
        let point = point.map_err(|_| Fault::AnotherEndorsementKey)?;
        // The point stands in the certificate as it is, whatever else stands there.
        if !certificate.windows(point.len()).any(|part| part == point) {
            return Err(Fault::AnotherEndorsementKey.into());
        }
        return Ok(Endorsement { curve, public_area, certificate });
    }
    Err(Fault::NoEndorsementCertificate.into())
}

/// The certificate for a curve's key; none when its place in the TPM is empty.
fn certificate(step: &mut Step<'_>, curve: Curve) -> Result<Option<Vec<u8>>, TpmError> {
    let read = step.bare(|context| ek::retrieve_ek_pubcert(context, selection_of(curve)));
    match read {
        Err(error) if says(error, HANDLE) => Ok(None),
        read => Ok(der(&read.map_err(fault("read the endorsement certificate"))?)),
    }
}

/// The certificate without what fills up its place, which some makers leave larger; none when there is no certificate.
fn der(filled: &[u8]) -> Option<Vec<u8>> {
    let [0x30, 0x82, high, low, ..] = filled else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low])).checked_add(4)?;
    filled.get(..length).map(<[u8]>::to_vec)
}

/// Opens a credential that was made for the endorsement key of this curve and for this attestation key.
pub(crate) fn activate(
    step: &mut Step<'_>,
    curve: Curve,
    attestation_key: &StoredKey,
    blob: &[u8],
    encrypted_secret: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let blob = sized(blob).and_then(|blob| IdObject::try_from(blob).ok()).ok_or(Refusal::Credential)?;
    let secret = sized(encrypted_secret).and_then(|secret| EncryptedSecret::try_from(secret).ok());
    let secret = secret.ok_or(Refusal::Credential)?;
    let attestation_key = step.stored(attestation_key)?;
    let (endorsement_key, _) = step.endorsement(curve)?;
    let policy = meet_policy(step, curve)?;
    let opened = step.raw((AuthSession::Password, Some(policy)), |context| {
        context.activate_credential(attestation_key, endorsement_key, blob, secret)
    });
    let opened = opened.map_err(|error| {
        // With another TPM's credential the integrity is wrong; with altered ones it may be any parameter.
        let altered = [INTEGRITY, VALUE, SIZE, INSUFFICIENT, ECC_POINT].iter().any(|code| says(error, *code));
        if altered { Refusal::Credential.into() } else { fault("opened the credential")(error) }
    })?;
    Ok(Zeroizing::new(opened.value().to_vec()))
}

const VALUE: u32 = 0x084;
const SIZE: u32 = 0x095;
const INSUFFICIENT: u32 = 0x09a;
const ECC_POINT: u32 = 0x0a7;

/// A session that meets the policy of the curve's endorsement key.
fn meet_policy(step: &mut Step<'_>, curve: Curve) -> Result<AuthSession, TpmError> {
    let hash = match curve {
        Curve::P256 => HashingAlgorithm::Sha256,
        Curve::P384 => HashingAlgorithm::Sha384,
    };
    let (session, policy) = step.session(SessionType::Policy, hash)?;
    step.with_password(MEETING, |context| {
        let (cp_hash, reference) = (Digest::default(), Nonce::default());
        context.policy_secret(policy, AuthHandle::Endorsement, Nonce::default(), cp_hash, reference, None)
    })?;
    if curve == Curve::P384 {
        either(step, policy)?;
    }
    Ok(session)
}

fn either(step: &mut Step<'_>, policy: PolicySession) -> Result<(), TpmError> {
    step.ask(MEETING, |context| {
        let mut ways = DigestList::new();
        for way in [POLICY_A_SHA384, POLICY_C_SHA384] {
            ways.add(Digest::try_from(&way[..])?)?;
        }
        context.policy_or(policy, ways)
    })
}

/// What is in a `TPM2B`, when it is whole and nothing follows.
fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == rest.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_cut_out_of_what_fills_its_place() {
        let whole = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(der(&whole).as_ref(), Some(&whole));
        assert_eq!(der(&[&whole[..], &[0xff; 40]].concat()).as_ref(), Some(&whole));
        assert_eq!(der(&whole[..whole.len() - 1]), None, "it is not whole");
        assert_eq!((der(&[0; 700]), der(&[]), der(&[0x30])), (None, None, None));
    }

    #[test]
    fn a_credential_is_whole_or_none() {
        assert_eq!(sized(&[0, 2, 8, 9]), Some(&[8, 9][..]));
        for other in [&[][..], &[0], &[0, 2, 8], &[0, 2, 8, 9, 9]] {
            assert_eq!(sized(other), None);
        }
    }
}
