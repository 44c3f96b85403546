//! A fridge with a TPM in software that others wrote (swtpm), and the verifier that judges what its TPM says.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../../device-attestation/verifier/tests/swtpm/mod.rs"]
pub mod swtpm;

use attest_evidence::{Clock, HashAlgorithm, PcrSelection};
use attest_verifier::{
    Appraisal, AttestationKey, CheckedQuote, EndorsementCertificate, MakerRoots, ReferenceValues, ReplayedQuote, Signed,
};
use fridge_tpm::{Endorsement, Statement, StoredKey, Tpm, TpmError};
use ring::digest::{SHA256, digest};
use swtpm::Swtpm;

/// 2100-01-01: certificates of swtpm's maker begin in the second in which they are made, and have no end.
pub const NOW_UNIX_S: i64 = 4_102_444_800;
pub const NONCE: &[u8; 32] = b"a nonce of thirty-two bytes  !!!";
pub const SECRET: &[u8; 32] = b"a secret of thirty-two bytes !!!";
/// Register and what was measured.
pub const BOOT: [(u8, &[u8]); 2] = [(0, b"firmware 1"), (7, b"keys")];

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn registers(registers: &[u8]) -> PcrSelection {
    PcrSelection::of(HashAlgorithm::Sha256, registers.iter().copied())
}

pub fn open(tpm: &Swtpm) -> Tpm {
    Tpm::open(&tpm.tcti().parse().unwrap()).unwrap()
}

pub fn attestation_key(tpm: &Swtpm) -> StoredKey {
    open(tpm).attestation_key(&tpm.path("attestation.key")).unwrap()
}

/// Measures into a register.
pub fn measure(tpm: &Swtpm, register: u8, bytes: &[u8]) {
    tpm.run(&format!("tpm2_pcrextend {register}:sha256={}", hex(&sha256(bytes))));
}

pub fn boot(tpm: &Swtpm) {
    BOOT.iter().for_each(|(register, bytes)| measure(tpm, *register, bytes));
}

/// The log of that boot, in the SHA-256 bank.
pub fn boot_log() -> Vec<u8> {
    let mut told = b"Spec ID Event03\0".to_vec();
    told.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0x00, 32, 0, 0]);
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(told.len()).unwrap().to_le_bytes());
    log.extend(told);
    for (register, measured) in BOOT {
        log.extend(u32::from(register).to_le_bytes());
        log.extend([8, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0x00]);
        log.extend(sha256(measured));
        log.extend([0; 4]);
    }
    log
}

pub fn accepted(key: &StoredKey) -> AttestationKey {
    AttestationKey::accept(key.public_area()).unwrap()
}

/// What the verifier makes of a quote of registers 0 and 7, and how far the TPM's clock had come.
pub fn appraise(
    key: &StoredKey,
    quote: &Statement,
    nonce: &[u8],
) -> Result<(Appraisal, Clock), attest_verifier::Refusal> {
    let mut good = ReferenceValues::default();
    BOOT.iter().for_each(|(register, measured)| good.add(*register, &sha256(measured)));
    let statement = Signed::check(&accepted(key), &quote.statement, &quote.signature, nonce)?;
    let quote = CheckedQuote::of(&statement, registers(&[0, 7]))?;
    let clock = quote.clock();
    Ok((Appraisal::of(&ReplayedQuote::of(quote, &boot_log())?, &good), clock))
}

/// The maker's certificate, as the verifier accepts it.
pub fn certified_by_its_maker(tpm: &Swtpm, endorsement: &Endorsement) -> EndorsementCertificate {
    let roots = MakerRoots::new(&[tpm.read("ca/root.der")]).unwrap();
    let issuers = [tpm.read("ca/issuer.der")];
    EndorsementCertificate::accept(&endorsement.certificate, &issuers, &roots, NOW_UNIX_S).unwrap()
}

/// The error of what must fail.
pub fn failed<T>(outcome: Result<T, TpmError>) -> TpmError {
    match outcome {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error,
    }
}

/// Nothing is left behind in the TPM.
pub fn assert_empty(tpm: &Swtpm) {
    for what in ["handles-transient", "handles-loaded-session"] {
        let listed = tpm.attempt(&format!("tpm2_getcap {what}"));
        assert!(listed.status.success() && listed.stdout.is_empty(), "{what}: {listed:?}");
    }
}
