//! What each of a fridge's keys may do: the public areas from which a TPM makes them (TPM 2.0 Library, Part 2, section
//! 12.2.4), and the registers that a key is bound to.

use attest_evidence::{Curve, HashAlgorithm, PcrSelection};
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek};
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, PcrSelectionList, PcrSlot, Public,
    PublicBuilder, PublicEccParameters, SymmetricDefinitionObject,
};

use crate::error::fault;
use crate::{Refusal, TpmError};

const MAKING: &str = "prepared a key's template";
/// Registers of a fridge; PCs have 24.
const REGISTERS: std::ops::Range<u8> = 0..24;

/// The endorsement key of a curve: templates H-3 on P-384 and L-2 on P-256 (TCG EK Credential Profile 2.5, appendix B).
pub(crate) fn endorsement(curve: Curve) -> Result<Public, TpmError> {
    ek::create_ek_public_from_default_template_2(selection_of(curve), None).map_err(fault(MAKING))
}

/// A curve, as the certificate's place in the TPM is found by.
pub(crate) const fn selection_of(curve: Curve) -> AsymmetricAlgorithmSelection {
    AsymmetricAlgorithmSelection::Ecc(match curve {
        Curve::P256 => EccCurve::NistP256,
        Curve::P384 => EccCurve::NistP384,
    })
}

/// The storage root key, under which the others are kept (TCG TPM v2.0 Provisioning Guidance, section 7.5.1).
pub(crate) fn storage_root() -> Result<Public, TpmError> {
    let may = inside().with_restricted(true).with_decrypt(true).with_user_with_auth(true);
    let parameters = PublicEccParameters::new(
        SymmetricDefinitionObject::AES_128_CFB,
        EccScheme::Null,
        EccCurve::NistP256,
        KeyDerivationFunctionScheme::Null,
    );
    public(may, Digest::default(), parameters)
}

/// An attestation key: it signs only what the TPM itself made.
pub(crate) fn attestation_key() -> Result<Public, TpmError> {
    let may = inside().with_restricted(true).with_sign_encrypt(true).with_user_with_auth(true);
    public(may, Digest::default(), signing())
}

/// A key for TLS: without its policy nobody can use it.
pub(crate) fn tls_key(policy: Digest) -> Result<Public, TpmError> {
    public(inside().with_sign_encrypt(true).with_user_with_auth(false), policy, signing())
}

/// A key that was made in the TPM and never leaves it. Guesses at other keys' passwords do not lock it, as it has none.
fn inside() -> ObjectAttributesBuilder {
    ObjectAttributes::builder()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_no_da(true)
}

const fn signing() -> PublicEccParameters {
    PublicEccParameters::new(
        SymmetricDefinitionObject::Null,
        EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
        EccCurve::NistP256,
        KeyDerivationFunctionScheme::Null,
    )
}

fn public(may: ObjectAttributesBuilder, policy: Digest, parameters: PublicEccParameters) -> Result<Public, TpmError> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(may.build().map_err(fault(MAKING))?)
        .with_auth_policy(policy)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
        .map_err(fault(MAKING))
}

/// Registers as the TPM takes them.
pub(crate) fn registers(selection: &PcrSelection) -> Result<PcrSelectionList, TpmError> {
    let registers: Vec<u8> = selection.registers().collect();
    let exist = registers.iter().all(|register| REGISTERS.contains(register));
    if selection.hash != HashAlgorithm::Sha256 || registers.is_empty() || !exist {
        return Err(Refusal::Selection.into());
    }
    let slot = |register: &u8| PcrSlot::try_from(1_u32.checked_shl(u32::from(*register)).unwrap_or(0));
    let slots = registers.iter().map(slot).collect::<Result<Vec<_>, _>>().map_err(fault(MAKING))?;
    let list = PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build();
    list.map_err(fault(MAKING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_that_no_boot_extends_and_other_banks_are_refused() {
        assert!(registers(&PcrSelection::of(HashAlgorithm::Sha256, [0, 7, 23])).is_ok());
        let others = [
            PcrSelection::of(HashAlgorithm::Sha256, []),
            PcrSelection::of(HashAlgorithm::Sha256, [24]),
            PcrSelection::of(HashAlgorithm::Sha256, [0, 31]),
            PcrSelection::of(HashAlgorithm::Sha1, [0]),
            PcrSelection::of(HashAlgorithm::Sha384, [0]),
        ];
        for selection in others {
            let refused = registers(&selection);
            assert!(matches!(refused, Err(TpmError::Refused(Refusal::Selection))), "{selection:?}");
        }
    }
}
