//! The certificate signing request (PKCS #10) of a finalization. Two things are asked of it: which key, with the proof that
//! its maker holds it, and that it wishes for no name beyond the order's. Nothing else of it is read.

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::certificate::sha256;
use crate::problem::{Kind, Problem};

/// The most bytes of a request; ours have some 400.
const MOST_BYTES: usize = 8 * 1024;
/// Bytes of an uncompressed P-256 point.
const POINT_BYTES: usize = 65;
/// id-ecPublicKey and prime256v1 (RFC 5480 section 2.1), ecdsa-with-SHA256 (RFC 5758 section 3.2).
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const PRIME256V1: &str = "1.2.840.10045.3.1.7";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Csr {
    /// The uncompressed point of the P-256 key.
    pub(crate) point: [u8; POINT_BYTES],
    /// The SHA-256 of the whole request, DER, lower-case hex.
    pub(crate) sha256: String,
    /// The common names of its subject, in lower case.
    pub(crate) common_names: Vec<String>,
    /// The DNS names it wishes for, in lower case.
    pub(crate) dns: Vec<String>,
    /// The addresses it wishes for.
    pub(crate) ip: Vec<IpAddr>,
    /// The URIs it wishes for.
    pub(crate) uris: Vec<String>,
}

impl Csr {
    /// Checks a request as it stands in a finalization.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let der = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| bad("it is not base64url without padding"))?;
        if der.len() > MOST_BYTES {
            return Err(bad("it is far too long"));
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
            return Err(bad("it is no PKCS #10 request in DER"));
        };
        let point = point(&request)?;
        if request.signature_algorithm.algorithm.to_id_string() != ECDSA_WITH_SHA256 {
            return Err(bad("it is not signed with ECDSA and SHA-256"));
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point)
            .verify(request.certification_request_info.raw, &request.signature_value.data)
            .map_err(|_| bad("it is not signed with the key that it is for"))?;
        let nameless = Self {
            point,
            sha256: sha256(&der),
            common_names: Vec::new(),
            dns: Vec::new(),
            ip: Vec::new(),
            uris: Vec::new(),
        };
        nameless.named(&request)
    }

    /// With the names that the request wishes for; any form of name that is none of ours is refused.
    fn named(mut self, request: &X509CertificationRequest<'_>) -> Result<Self, Problem> {
        let subject = &request.certification_request_info.subject;
        for common_name in subject.iter_common_name() {
            let text = common_name.as_str().map_err(|_| bad("its common name cannot be read"))?;
            self.common_names.push(text.to_ascii_lowercase());
        }
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(wished) = extension else { continue };
            for name in &wished.general_names {
                match name {
                    GeneralName::DNSName(name) => self.dns.push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => self.ip.push(address(bytes)?),
                    GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
                    _ => return Err(bad("it asks for a name that is neither a DNS name nor an address nor a URI")),
                }
            }
        }
        Ok(self)
    }
}

fn point(request: &X509CertificationRequest<'_>) -> Result<[u8; POINT_BYTES], Problem> {
    let key = &request.certification_request_info.subject_pki;
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if key.algorithm.algorithm.to_id_string() != EC_PUBLIC_KEY
        || curve.is_none_or(|curve| curve.to_id_string() != PRIME256V1)
    {
        return Err(bad("its key is not a P-256 key; make one (certbot: --key-type ecdsa --elliptic-curve secp256r1)"));
    }
    let point = <[u8; POINT_BYTES]>::try_from(key.subject_public_key.data.as_ref());
    point.map_err(|_| bad("its key is not an uncompressed point"))
}

/// An address as it stands in a certificate (RFC 5280 section 4.2.1.6): four bytes, or sixteen.
fn address(bytes: &[u8]) -> Result<IpAddr, Problem> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_err(|_| bad("it asks for an address that has neither 4 nor 16 bytes"))
}

fn bad(why: &str) -> Problem {
    Problem::new(Kind::BadCsr, format!("the certificate signing request cannot be accepted: {why}"))
}
