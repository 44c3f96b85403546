//! The attestation key, and what it states: what the registers hold, and which other keys are in this TPM.

use attest_evidence::PcrSelection;
use tss_esapi::handles::ObjectHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Attest, Data, Public, Signature, SignatureScheme};
use tss_esapi::traits::Marshall;

use crate::device::Step;
use crate::error::fault;
use crate::{Refusal, StoredKey, TpmError, template};

/// The most bytes of a nonce: a TPM takes as many as its name of a key has.
const MOST_NONCE: usize = 34;

/// What a TPM states, and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The statement, `TPMS_ATTEST`.
    pub statement: Vec<u8>,
    /// The signature, `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

impl Statement {
    fn of(doing: &'static str, (statement, signature): &(Attest, Signature)) -> Result<Self, TpmError> {
        let (statement, signature) = (statement.marshall(), signature.marshall());
        Ok(Self { statement: statement.map_err(fault(doing))?, signature: signature.map_err(fault(doing))? })
    }
}

/// Makes an attestation key: restricted, ECDSA on P-256 with SHA-256.
pub(crate) fn make_key(step: &mut Step<'_>) -> Result<StoredKey, TpmError> {
    make(step, "made the attestation key", template::attestation_key()?, None)
}

/// Makes a key under the storage root.
pub(crate) fn make(
    step: &mut Step<'_>,
    doing: &'static str,
    public: Public,
    registers: Option<PcrSelection>,
) -> Result<StoredKey, TpmError> {
    let root = step.storage_root()?;
    let made = step.with_password(doing, |context| context.create(root, public, None, None, None, None))?;
    StoredKey::made(&made.out_public, &made.out_private, registers)
}

/// Quotes these registers.
pub(crate) fn quote(
    step: &mut Step<'_>,
    key: &StoredKey,
    selection: &PcrSelection,
    nonce: &[u8],
) -> Result<Statement, TpmError> {
    const DOING: &str = "quoted the registers";
    let (registers, nonce) = (template::registers(selection)?, data(nonce)?);
    let key = step.stored(key)?;
    let said = step.with_password(DOING, |context| context.quote(key, nonce, SignatureScheme::Null, registers))?;
    Statement::of(DOING, &said)
}

/// Certifies that another key is in this TPM.
pub(crate) fn certify(
    step: &mut Step<'_>,
    key: &StoredKey,
    by: &StoredKey,
    nonce: &[u8],
) -> Result<Statement, TpmError> {
    const DOING: &str = "certified a key";
    let nonce = data(nonce)?;
    let (key, by) = (ObjectHandle::from(step.stored(key)?), step.stored(by)?);
    // Its administrator's authorization, which is the empty password: it lets nobody sign.
    let both = (AuthSession::Password, Some(AuthSession::Password));
    let said = step.raw(both, |context| context.certify(key, by, nonce, SignatureScheme::Null));
    Statement::of(DOING, &said.map_err(fault(DOING))?)
}

fn data(nonce: &[u8]) -> Result<Data, TpmError> {
    let refused = || Refusal::Nonce { bytes: nonce.len(), most: MOST_NONCE };
    if nonce.is_empty() || nonce.len() > MOST_NONCE {
        return Err(refused().into());
    }
    Ok(Data::try_from(nonce).map_err(|_| refused())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_a_bound() {
        for good in [1, 32, MOST_NONCE] {
            assert!(data(&vec![7; good]).is_ok(), "{good}");
        }
        for bytes in [0, MOST_NONCE + 1, 500] {
            let refused = data(&vec![7; bytes]);
            let expected = Refusal::Nonce { bytes, most: MOST_NONCE };
            assert!(matches!(refused, Err(TpmError::Refused(why)) if why == expected), "{bytes}");
        }
    }
}
