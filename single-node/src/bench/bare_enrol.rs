//! The cryptography that servers cannot leave out of an attested enrolment, alone and one after the other: nothing is
//! parsed, judged, sent or remembered, and keys are in memory.

use std::time::Duration;

use ring::agreement::{Algorithm, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use tokio::time::Instant;

use super::statistics::number;
use crate::Fault;

/// How long it is measured.
const DURATION: Duration = Duration::from_millis(500);
/// What is signed: as long as a certificate.
const TEXT: [u8; 700] = [7; 700];

/// Signatures that are checked on P-256: six messages of ACME; the quote, the new key and the last one; a leaf, what is
/// above it and the handshake, by either side of the talk between attestation service and authority; the attestation
/// key's chain, the verdict's, the verdict, and the new key once more; the certificate request; both new certificates,
/// by their own authority.
const CHECKED: usize = 6 + 3 + 6 + 6 + 1 + 2;
/// Signatures that are made on P-256: four handshakes' sides, the verdict, both new certificates.
const MADE: usize = 4 + 1 + 2;
/// Agreements on X25519: of the same sides.
const AGREED: usize = 4;
/// The TPM's certificate and the one above it, which makers sign on P-384.
const MAKERS: usize = 2;

/// In words, for the report.
pub(super) const WORDS: &str =
    "24 ECDSA checks, 7 signatures and 4 key agreements of 256 bits, 2 checks and 1 agreement of 384 bits";

type Check = (signature::UnparsedPublicKey<Vec<u8>>, Vec<u8>);

/// Milliseconds of one enrolment's cryptography on one processor.
///
/// # Errors
/// [`Fault`] when the system gives no chance.
pub(super) fn ms() -> Result<f64, Fault> {
    let (why, random) = ("bare cryptography", SystemRandom::new());
    let key = |algorithm| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(Fault::of(why))?;
        EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(Fault::of(why))
    };
    let check = |key: &EcdsaKeyPair, algorithm| -> Result<Check, Fault> {
        let signature = key.sign(&random, &TEXT).map_err(Fault::of(why))?.as_ref().to_vec();
        Ok((signature::UnparsedPublicKey::new(algorithm, key.public_key().as_ref().to_vec()), signature))
    };
    let ours = key(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let our = check(&ours, &signature::ECDSA_P256_SHA256_FIXED)?;
    let makers = check(&key(&ECDSA_P384_SHA384_FIXED_SIGNING)?, &signature::ECDSA_P384_SHA384_FIXED)?;
    let checked = |(key, signature): &Check| key.verify(&TEXT, signature).map_err(Fault::of(why));
    let (mut enrolments, began) = (0, Instant::now());
    while began.elapsed() < DURATION {
        (0..CHECKED).try_for_each(|_| checked(&our))?;
        (0..MADE).try_for_each(|_| ours.sign(&random, &TEXT).map(drop).map_err(Fault::of(why)))?;
        (0..AGREED).try_for_each(|_| agree(&X25519, &random))?;
        (0..MAKERS).try_for_each(|_| checked(&makers))?;
        agree(&ECDH_P384, &random)?;
        enrolments += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1_000.0 / number(enrolments))
}

/// A new key, and what it has in common with another's; here with its own.
fn agree(algorithm: &'static Algorithm, random: &SystemRandom) -> Result<(), Fault> {
    let why = "bare cryptography";
    let key = EphemeralPrivateKey::generate(algorithm, random).map_err(Fault::of(why))?;
    let public = key.compute_public_key().map_err(Fault::of(why))?;
    agree_ephemeral(key, &UnparsedPublicKey::new(algorithm, public), |_| ()).map_err(Fault::of(why))
}
