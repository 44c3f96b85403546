//! The answer to a device-attest-01 challenge (draft-ietf-acme-device-attest, section 5): a WebAuthn attestation object in
//! the `tpm` format (Web Authentication, sections 6.5.4 and 8.3), with two members of ours in its statement.
//!
//! It has one form, the canonical CBOR that WebAuthn demands: members in their order, each once, none besides. Of the two
//! the first is the attestation key's public area, since a certificate holds its point and not what makes it fit to attest;
//! the second is the attestation service's verdict.

use crate::{Malformed, Why, cbor::Writer, reader::Reader};

const STRUCTURE: &str = "attestation object";
/// The most bytes of one, as much as a request to the ACME server can carry.
const MOST_BYTES: usize = 32 * 1_024;
/// The most certificates, and the most bytes of one; ours have some 700.
const MOST_CERTIFICATES: usize = 4;
const MOST_CERTIFICATE_BYTES: usize = 4 * 1_024;
/// The most bytes of a TPM's structure.
const MOST_TPM_BYTES: usize = 1_024;
/// The most bytes of a verdict with its signer's chain.
const MOST_VERDICT_BYTES: usize = 20 * 1_024;
/// ES256 is −7 (RFC 9053, section 2.1).
const ES256: u32 = 6;
const FORMAT: &str = "tpm";
const VERSION: &str = "2.0";

/// An attestation object. None of it was looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationObject<'a> {
    /// `x5c`: the attestation key's certificate and those above it, DER, leaf first.
    pub certificates: Vec<&'a [u8]>,
    /// `sig`: the attestation key's `TPMT_SIGNATURE` over the statement.
    pub signature: &'a [u8],
    /// `certInfo`: the statement, a `TPMS_ATTEST`.
    pub statement: &'a [u8],
    /// `pubArea`: the certified key's `TPMT_PUBLIC`.
    pub public_area: &'a [u8],
    /// `larder-ak-area`: the attestation key's `TPMT_PUBLIC`.
    pub attestation_key: &'a [u8],
    /// `larder-verdict`: the sealed verdict on the device.
    pub verdict: &'a [u8],
}

impl<'a> AttestationObject<'a> {
    /// Parses an object, all of its bytes. `authData` may be absent or empty: nobody authenticates to a site here.
    ///
    /// # Errors
    /// [`Malformed`] when it is none of this one form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(STRUCTURE, bytes, MOST_BYTES)?;
        let members = reader.cbor_map(&[2, 3])?;
        reader.cbor_text("fmt")?;
        reader.cbor_text(FORMAT)?;
        reader.cbor_text("attStmt")?;
        let object = Self::statement(&mut reader)?;
        if members == 3 {
            reader.cbor_text("authData")?;
            reader.cbor_bytes(0)?;
        }
        reader.end()?;
        Ok(object)
    }

    fn statement(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.cbor_map(&[8])?;
        reader.cbor_text("alg")?;
        reader.cbor_negative(ES256)?;
        reader.cbor_text("sig")?;
        let signature = reader.cbor_bytes(MOST_TPM_BYTES)?;
        reader.cbor_text("ver")?;
        reader.cbor_text(VERSION)?;
        reader.cbor_text("x5c")?;
        let certificates = (0..reader.cbor_array(MOST_CERTIFICATES)?)
            .map(|_| reader.cbor_bytes(MOST_CERTIFICATE_BYTES))
            .collect::<Result<_, _>>()?;
        reader.cbor_text("pubArea")?;
        let public_area = reader.cbor_bytes(MOST_TPM_BYTES)?;
        reader.cbor_text("certInfo")?;
        let statement = reader.cbor_bytes(MOST_TPM_BYTES)?;
        reader.cbor_text("larder-ak-area")?;
        let attestation_key = reader.cbor_bytes(MOST_TPM_BYTES)?;
        reader.cbor_text("larder-verdict")?;
        let verdict = reader.cbor_bytes(MOST_VERDICT_BYTES)?;
        Ok(Self { certificates, signature, statement, public_area, attestation_key, verdict })
    }

    /// The bytes that [`Self::parse`] reads, without `authData`.
    ///
    /// # Errors
    /// [`Malformed`] when a part is larger than it may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let mut to = Writer::default();
        to.map(2);
        to.text("fmt");
        to.text(FORMAT);
        to.text("attStmt");
        to.map(8);
        to.text("alg");
        to.negative(ES256);
        to.text("sig");
        to.bytes(self.signature);
        to.text("ver");
        to.text(VERSION);
        to.text("x5c");
        to.array(self.certificates.len());
        self.certificates.iter().for_each(|certificate| to.bytes(certificate));
        for (name, bytes) in [
            ("pubArea", self.public_area),
            ("certInfo", self.statement),
            ("larder-ak-area", self.attestation_key),
            ("larder-verdict", self.verdict),
        ] {
            to.text(name);
            to.bytes(bytes);
        }
        let again = AttestationObject::parse(&to.0).map(|read| read == *self);
        match again {
            Ok(true) => Ok(to.0),
            Ok(false) => Err(Malformed { structure: STRUCTURE, at: 0, why: Why::Value }),
            Err(why) => Err(why),
        }
    }
}
