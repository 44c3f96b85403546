//! Judges a signed certificate before it leaves, by another parser than the one that wrote it and without its template.
//!
//! A mistake in the template, in the certificate library or in the token would otherwise be found by whoever profits from
//! it. So everything is read back out of the bytes and compared with the order: every field, every extension, that there
//! is no other extension, and the signature under the key of the issuer's own certificate. It proves nothing about the
//! party; that was the order's business.

use std::net::IpAddr;

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::attestation_key::{AIK_PURPOSE_DER, ATTRIBUTES};
use crate::log::Kind;
use crate::template::Life;
use crate::{AttestationKeyOrder, Order};

/// What was wrong with a certificate.
type Flaw = &'static str;

/// The public keys and the life a certificate must have.
pub(crate) struct Expected<'a> {
    /// The uncompressed point of the key it is for.
    pub(crate) point: &'a [u8],
    /// Serial number and times.
    pub(crate) life: &'a Life,
    /// The issuer's certificate, DER; a root's own for a root.
    pub(crate) issuer: &'a [u8],
}

/// Judges a leaf against its order.
pub(crate) fn leaf(der: &[u8], order: &Order, expected: &Expected<'_>) -> Result<(), Flaw> {
    let certificate = parse(der)?;
    end_entity(&certificate, expected)?;
    must(purposes(&certificate)? == (true, order.profile().serves()), "its extended key usage is another")?;
    check_names(&certificate, order)
}

/// Judges the certificate of an attestation key against its order.
pub(crate) fn attestation_key(der: &[u8], order: &AttestationKeyOrder, expected: &Expected<'_>) -> Result<(), Flaw> {
    let certificate = parse(der)?;
    end_entity(&certificate, expected)?;
    must(is_for_attestation(&certificate), "its extended key usage is another")?;
    let names = certificate.subject_alternative_name().ok().flatten().ok_or("it has no names")?;
    must(names.critical, "its names are not critical though its subject is empty")?;
    let [GeneralName::DirectoryName(name)] = names.value.general_names.as_slice() else {
        return Err("it has a name of another form");
    };
    let read = name.iter_attributes().map(|it| (it.attr_type().to_id_string(), it.as_str().unwrap_or_default()));
    let wanted = ATTRIBUTES.map(str::to_owned).into_iter().zip(order.tpm().values());
    must(read.eq(wanted), "it names another TPM")
}

/// What holds for every certificate of ours that is no authority's.
fn end_entity(certificate: &X509Certificate<'_>, expected: &Expected<'_>) -> Result<(), Flaw> {
    common(certificate, expected)?;
    must(certificate.subject().iter().next().is_none(), "its subject is not empty")?;
    must(certificate.extensions().len() == 6, "it has more or fewer extensions than six")?;
    let basic = certificate.basic_constraints().ok().flatten().ok_or("it has no basic constraints")?;
    must(basic.critical && !basic.value.ca, "it is not marked as no authority")?;
    must(basic.value.path_len_constraint.is_none(), "it has a path length")?;
    must(key_usage(certificate)? == DIGITAL_SIGNATURE, "its key usage is another")
}

/// Judges a certificate of the authority itself.
pub(crate) fn authority(der: &[u8], kind: Kind, expected: &Expected<'_>) -> Result<(), Flaw> {
    let certificate = parse(der)?;
    common(&certificate, expected)?;
    let basic = certificate.basic_constraints().ok().flatten().ok_or("it has no basic constraints")?;
    let below = if kind == Kind::Root { 1 } else { 0 };
    must(basic.critical && basic.value.ca, "it is not marked as an authority")?;
    must(basic.value.path_len_constraint == Some(below), "its path length is another")?;
    must(key_usage(&certificate)? == CERTIFICATES_AND_LISTS, "its key usage is another")?;
    must(certificate.subject_alternative_name().is_ok_and(|names| names.is_none()), "it has other names")?;
    let constrained = certificate.name_constraints().map_err(|_| "its name constraints cannot be read")?;
    match kind {
        Kind::Root => must(certificate.extended_key_usage().is_ok_and(|usage| usage.is_none()), "it has a purpose"),
        Kind::DeviceIntermediate => {
            must(purposes(&certificate)? == (true, false), "its extended key usage is another")?;
            let constraints = constrained.ok_or("it has no name constraints")?;
            must(constraints.critical, "its name constraints are not critical")?;
            let excluded = constraints.value.excluded_subtrees.as_deref().unwrap_or_default();
            let everything = |name: &GeneralName<'_>| match name {
                GeneralName::DNSName(name) => name.is_empty(),
                GeneralName::IPAddress(range) => range.iter().all(|byte| *byte == 0),
                _ => false,
            };
            must(excluded.len() == 3 && excluded.iter().all(|tree| everything(&tree.base)), "it may name hosts")
        }
        Kind::AttestationIntermediate => must(is_for_attestation(&certificate), "its extended key usage is another"),
        _ => must(purposes(&certificate)? == (true, true), "its extended key usage is another"),
    }
}

/// The public point in a certificate, for finding out whether it belongs to a key.
pub(crate) fn point_of(der: &[u8]) -> Result<Vec<u8>, Flaw> {
    Ok(parse(der)?.public_key().subject_public_key.data.to_vec())
}

/// The last second of a certificate's life, since the Unix epoch.
pub(crate) fn not_after_unix_s(der: &[u8]) -> Result<i64, Flaw> {
    Ok(parse(der)?.validity().not_after.timestamp())
}

/// digitalSignature alone, as x509-parser counts bits.
const DIGITAL_SIGNATURE: u16 = 1;
/// keyCertSign and cRLSign.
const CERTIFICATES_AND_LISTS: u16 = (1 << 5) | (1 << 6);

/// The AlgorithmIdentifier of ecdsa-with-SHA256, DER (RFC 5758 section 3.2).
const ALGORITHM_DER: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// The same as text.
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";

/// What holds for every certificate of ours.
fn common(certificate: &X509Certificate<'_>, expected: &Expected<'_>) -> Result<(), Flaw> {
    let issuer = parse(expected.issuer)?;
    must(certificate.version() == X509Version::V3, "it is not of version 3")?;
    must(certificate.signature_algorithm.algorithm.to_id_string() == ECDSA_WITH_SHA256, "its algorithm is another")?;
    must(certificate.tbs_certificate.signature == certificate.signature_algorithm, "it names two algorithms")?;
    must(framed(certificate), "what surrounds its signed part is not written as it must be")?;
    let signer = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer.public_key().subject_public_key.data.as_ref());
    must(
        signer.verify(certificate.tbs_certificate.as_ref(), certificate.signature_value.data.as_ref()).is_ok(),
        "its signature does not verify",
    )?;
    must(certificate.issuer().as_raw() == issuer.subject().as_raw(), "it names another issuer")?;
    must(certificate.raw_serial() == expected.life.serial, "its serial number is another")?;
    let validity = certificate.validity();
    must(validity.not_before.timestamp() == expected.life.not_before_unix_s, "it begins at another time")?;
    must(validity.not_after.timestamp() == expected.life.not_after_unix_s, "it ends at another time")?;
    must(validity.not_after <= issuer.validity().not_after, "it outlives its issuer")?;
    must(certificate.public_key().subject_public_key.data.as_ref() == expected.point, "it is for another key")?;
    let self_signed = certificate.as_raw() == issuer.as_raw();
    must(subject_key(certificate).is_some(), "it has no subject key identifier")?;
    must(self_signed || authority_key(certificate) == subject_key(&issuer), "it points to another issuer's key")
}

/// Whether the bytes around the signed part are the only ones they can be. The signature does not cover them, and the
/// parser reads some of them (the kind of a SEQUENCE, unused bits) more kindly than others do.
fn framed(certificate: &X509Certificate<'_>) -> bool {
    let signature: &[u8] = certificate.signature_value.data.as_ref();
    let Ok(bits) = u8::try_from(signature.len().saturating_add(1)) else { return false };
    let body = [certificate.tbs_certificate.as_ref(), &ALGORITHM_DER, &[0x03, bits, 0], signature].concat();
    let Ok(length) = u16::try_from(body.len()) else { return false };
    bits < 0x80 && certificate.as_raw() == [&[0x30, 0x82], length.to_be_bytes().as_slice(), &body].concat()
}

fn check_names(certificate: &X509Certificate<'_>, order: &Order) -> Result<(), Flaw> {
    let names = certificate.subject_alternative_name().ok().flatten().ok_or("it has no names")?;
    must(names.critical, "its names are not critical though its subject is empty")?;
    let (mut uris, mut dns, mut ip) = (Vec::new(), Vec::new(), Vec::new());
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => dns.push(*name),
            GeneralName::IPAddress(bytes) => ip.push(address(bytes).ok_or("it has an address that is none")?),
            _ => return Err("it has a name of another form"),
        }
    }
    must(uris == [order.id().as_str()], "it names another party")?;
    must(dns == order.names().dns, "its host names are others")?;
    must(ip == order.names().ip, "its addresses are others")
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok();
    v4().or_else(v6)
}

fn key_usage(certificate: &X509Certificate<'_>) -> Result<u16, Flaw> {
    let usage = certificate.key_usage().ok().flatten().ok_or("it has no key usage")?;
    must(usage.critical, "its key usage is not critical")?;
    let KeyUsage { flags } = usage.value;
    Ok(*flags)
}

/// Whether its one purpose is to vouch for attestation keys.
fn is_for_attestation(certificate: &X509Certificate<'_>) -> bool {
    let Ok(Some(usage)) = certificate.extended_key_usage() else { return false };
    let usage = usage.value;
    let named = usage.any
        || usage.client_auth
        || usage.server_auth
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing;
    !named && matches!(usage.other.as_slice(), [one] if one.as_bytes() == AIK_PURPOSE_DER)
}

/// Whether it is for clients and for servers; any other purpose is a flaw.
fn purposes(certificate: &X509Certificate<'_>) -> Result<(bool, bool), Flaw> {
    let usage = certificate.extended_key_usage().ok().flatten().ok_or("it has no extended key usage")?.value;
    let others = usage.any
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty();
    must(!others, "it is good for more than was ordered")?;
    Ok((usage.client_auth, usage.server_auth))
}

fn subject_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().map(X509Extension::parsed_extension).find_map(|extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

fn authority_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().map(X509Extension::parsed_extension).find_map(|extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Flaw> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err("it cannot be read"),
    }
}

fn must(holds: bool, flaw: Flaw) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(flaw) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
