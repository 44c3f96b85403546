//! Why evidence is not believed, in words for whoever stands before the fridge.

use attest_evidence::Malformed;
use thiserror::Error;

/// Why evidence is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A structure cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A key is not of the kind it must be.
    #[error(transparent)]
    Key(#[from] KeyFlaw),
    /// The signature is not of this key over this statement.
    #[error("the attestation key did not sign this statement, or it was altered since")]
    Signature,
    /// The statement answers another question.
    #[error("the statement answers an earlier or another question: its nonce is not the one that was given")]
    Nonce,
    /// The statement is about something else.
    #[error("the statement is no {0}")]
    NotA(&'static str),
    /// Other registers were quoted than were asked for.
    #[error("other registers were quoted than were asked for")]
    Selection,
    /// The log does not tell how the registers came to be.
    #[error("the boot log does not lead to the quoted registers: it was altered, cut, or is of another boot")]
    Log,
    /// No credential can be made of it.
    #[error("a credential's secret has 1 to 32 bytes, and chance must be had to seal it")]
    Secret,
    /// The key that is vouched for is another.
    #[error("the key that is vouched for is another than the one presented")]
    AnotherKey,
}

/// Why a key is not fit for what it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum KeyFlaw {
    /// It may be outside the TPM as well.
    #[error("the key may leave its TPM, so it says nothing of this one")]
    NotFixed,
    /// It was made elsewhere and brought in.
    #[error("the key was not made inside the TPM")]
    BroughtIn,
    /// A key without restriction signs whatever it is given.
    #[error("the attestation key is not restricted, so it would sign a forged statement as well")]
    NotRestricted,
    /// It does not sign, or does more than that.
    #[error("the attestation key must sign and do nothing else")]
    NotForSigning,
    /// An endorsement key that is none.
    #[error("the endorsement key must open what is sealed to it and do nothing else")]
    NotForStorage,
    /// A curve, a hash or a scheme that is not among those used here.
    #[error(
        "the key's algorithms are not those used here: ECDSA on P-256 with SHA-256 to attest, ECC with AES to endorse"
    )]
    Algorithm,
    /// The certified key is bound to another policy, or to none.
    #[error("the key is not bound to the policy that holds it to the measured firmware")]
    Policy,
}
