//! The order for a certificate of a TPM's attestation key, and the one name such a certificate bears.
//!
//! It says what the attestation service found: this key lives in a TPM of this make, and it is restricted to signing what
//! that TPM attests (Web Authentication level 3, section 8.3.1). It is no party's: there is no URI in it and its one purpose
//! is none of TLS, so nobody can knock with it. It leaves signing to `authority`.

use data_encoding::HEXLOWER;

use crate::{Refusal, SubjectKey};

/// The life of a certificate of an attestation key. It is asked for again with each attestation.
pub(crate) const LIFETIME_S: i64 = 60 * 60;
/// tcg-kp-AIKCertificate, 2.23.133.8.3 (TCG EK Credential Profile, section 3.2.16), the content of its DER form.
pub(crate) const AIK_PURPOSE_DER: [u8; 5] = [0x67, 0x81, 0x05, 0x08, 0x03];
/// The same as numbers.
pub(crate) const AIK_PURPOSE: [u64; 5] = [2, 23, 133, 8, 3];
/// tcg-at-tpmManufacturer, tcg-at-tpmModel, tcg-at-tpmVersion: 2.23.133.2.1, .2 and .3 (section 3.2.9).
pub(crate) const ATTRIBUTES: [&str; 3] = ["2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"];
const ATTRIBUTE_ARC_DER: [u8; 4] = [0x67, 0x81, 0x05, 0x02];
/// The most bytes of one of the three; makers write some ten.
const MAX_ATTRIBUTE_BYTES: usize = 64;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
/// directoryName, the fifth form of a GeneralName; explicit, because a Name is a CHOICE.
const DIRECTORY_NAME: u8 = 0xA4;

/// What a TPM is, as its endorsement certificate writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmModel {
    /// Who made it, such as `id:53544D20`.
    pub manufacturer: String,
    /// Its part number.
    pub model: String,
    /// The version of its firmware, such as `id:00010002`.
    pub version: String,
}

impl TpmModel {
    /// The three in the order of [`ATTRIBUTES`].
    pub(crate) fn values(&self) -> [&str; 3] {
        [&self.manufacturer, &self.model, &self.version]
    }
}

/// A checked order for the certificate of an attestation key.
#[derive(Debug, Clone)]
pub struct AttestationKeyOrder {
    identifier: [u8; 32],
    key: SubjectKey,
    tpm: TpmModel,
}

impl AttestationKeyOrder {
    /// Checks a request. `identifier` is the SHA-256 of the SubjectPublicKeyInfo of the TPM's endorsement key: the device's
    /// permanent identifier.
    ///
    /// # Errors
    /// [`Refusal::Tpm`] when one of the three attributes is empty, has more than 64 bytes, or is not printable ASCII.
    pub fn new(identifier: [u8; 32], key: SubjectKey, tpm: TpmModel) -> Result<Self, Refusal> {
        for (name, value) in ["manufacturer", "model", "version"].into_iter().zip(tpm.values()) {
            let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if value.is_empty() || value.len() > MAX_ATTRIBUTE_BYTES || !printable {
                return Err(Refusal::Tpm { attribute: name, value: value.chars().take(MAX_ATTRIBUTE_BYTES).collect() });
            }
        }
        Ok(Self { identifier, key, tpm })
    }

    /// How the log names it: `attestation-key/<permanent identifier, lowercase hex>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("attestation-key/{}", HEXLOWER.encode(&self.identifier))
    }

    pub(crate) const fn key(&self) -> &SubjectKey {
        &self.key
    }

    pub(crate) const fn tpm(&self) -> &TpmModel {
        &self.tpm
    }

    /// The content of the subject alternative name: one directoryName with the three attributes, each in a
    /// RelativeDistinguishedName of its own.
    pub(crate) fn name_der(&self) -> Vec<u8> {
        let names: Vec<u8> =
            (1..).zip(self.tpm.values()).flat_map(|(number, value)| attribute(number, value)).collect();
        der(SEQUENCE, &der(DIRECTORY_NAME, &der(SEQUENCE, &names)))
    }
}

fn attribute(number: u8, value: &str) -> Vec<u8> {
    let kind = [ATTRIBUTE_ARC_DER.as_slice(), &[number]].concat();
    let pair = [der(OBJECT_IDENTIFIER, &kind), der(UTF8_STRING, value.as_bytes())].concat();
    der(SET, &der(SEQUENCE, &pair))
}

/// One DER element. What is put together here has some 250 bytes at most; a length takes one byte or three.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length = match (high, low) {
        (0, low) if low < 0x80 => vec![low],
        (0, low) => vec![0x81, low],
        (high, low) => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), content].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
    use x509_parser::prelude::FromDer;

    use super::{ATTRIBUTES, AttestationKeyOrder, TpmModel};
    use crate::{Refusal, SubjectKey};

    pub(crate) fn tpm(model: &str) -> TpmModel {
        TpmModel { manufacturer: "id:53544D20".into(), model: model.into(), version: "id:00010002".into() }
    }

    pub(crate) fn order(model: &str) -> Result<AttestationKeyOrder, Refusal> {
        AttestationKeyOrder::new([0xAB; 32], SubjectKey::generate().unwrap().0, tpm(model))
    }

    #[test]
    fn the_log_names_it_by_its_permanent_identifier() {
        assert_eq!(order("ST33").unwrap().subject(), format!("attestation-key/{}", "ab".repeat(32)));
    }

    #[test]
    fn an_attribute_is_there_is_short_and_is_text() {
        for good in ["ST33HTPHAHD4", "x", &"x".repeat(64), "NPCT 75x/A"] {
            assert!(order(good).is_ok(), "{good}");
        }
        for bad in ["", &"x".repeat(65), "ä", "a\nb", "a\0"] {
            let refused = order(bad).unwrap_err();
            assert!(matches!(&refused, Refusal::Tpm { attribute: "model", .. }), "{refused}");
        }
    }

    #[test]
    fn another_parser_reads_the_name_whatever_its_length() {
        for model in ["x".to_owned(), "x".repeat(40), "x".repeat(64)] {
            let longest = TpmModel { manufacturer: model.clone(), model: model.clone(), version: model.clone() };
            let order = AttestationKeyOrder::new([1; 32], SubjectKey::generate().unwrap().0, longest).unwrap();
            let der = order.name_der();
            let (rest, names) = SubjectAlternativeName::from_der(&der).unwrap();
            assert!(rest.is_empty());
            let [GeneralName::DirectoryName(name)] = names.general_names.as_slice() else { panic!("{names:?}") };
            let read: Vec<_> = name
                .iter_attributes()
                .map(|it| (it.attr_type().to_id_string(), it.as_str().unwrap().to_owned()))
                .collect();
            assert_eq!(read, ATTRIBUTES.map(|kind| (kind.to_owned(), model.clone())));
            assert_eq!(name.iter_rdn().count(), 3);
        }
    }
}
