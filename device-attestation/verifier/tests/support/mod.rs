//! A TPM of software: it makes what a TPM makes, and whatever a forger would make, in the bytes of the specification.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

pub const FIXED: u32 = (1 << 1) | (1 << 4);
pub const INSIDE: u32 = 1 << 5;
pub const WITH_AUTH: u32 = 1 << 6;
pub const RESTRICTED: u32 = 1 << 16;
pub const DECRYPTS: u32 = 1 << 17;
pub const SIGNS: u32 = 1 << 18;
/// What an attestation key has.
pub const ATTESTS: u32 = FIXED | INSIDE | WITH_AUTH | RESTRICTED | SIGNS;
/// What a key for TLS has.
pub const SERVES: u32 = FIXED | INSIDE | SIGNS;

pub const NONCE: &[u8] = b"what was asked";
pub const POLICY: [u8; 32] = [7; 32];
pub const ASKED: [u8; 2] = [0, 7];
pub const SEPARATOR: u32 = 4;

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A key with its private half.
pub struct Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Key {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    /// A `TPMT_PUBLIC` that signs by ECDSA with the hash of this id.
    pub fn area_with(&self, attributes: u32, policy: &[u8], hash: u16) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let mut area = vec![0x00, 0x23, 0x00, 0x0b];
        area.extend(attributes.to_be_bytes());
        area.extend(sized(policy));
        area.extend([0x00, 0x10, 0x00, 0x18]);
        area.extend(hash.to_be_bytes());
        area.extend([0x00, 0x03, 0x00, 0x10]);
        area.extend(sized(&point[1..33]));
        area.extend(sized(&point[33..]));
        area
    }

    pub fn area(&self, attributes: u32, policy: &[u8]) -> Vec<u8> {
        self.area_with(attributes, policy, 0x000b)
    }

    /// A `TPMT_SIGNATURE`.
    pub fn sign(&self, statement: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&self.random, statement).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        [&[0x00, 0x18, 0x00, 0x0b][..], &sized(r), &sized(s)].concat()
    }
}

pub fn name(area: &[u8]) -> Vec<u8> {
    [&[0x00, 0x0b][..], &sha256(area)].concat()
}

fn attest(kind: u16, nonce: &[u8], said: &[u8]) -> Vec<u8> {
    let mut statement = vec![0xff, 0x54, 0x43, 0x47];
    statement.extend(kind.to_be_bytes());
    statement.extend(sized(&[0, 0x0b]));
    statement.extend(sized(nonce));
    statement.extend(5_000_u64.to_be_bytes());
    statement.extend(3_u32.to_be_bytes());
    statement.extend(1_u32.to_be_bytes());
    statement.push(1);
    statement.extend(0x2016_0511_u64.to_be_bytes());
    statement.extend(said);
    statement
}

/// A quote of `registers` of the SHA-256 bank, whose values have this digest.
pub fn quote(nonce: &[u8], registers: &[u8], values: &[u8; 32]) -> Vec<u8> {
    let mut map = [0_u8; 3];
    registers.iter().for_each(|register| map[usize::from(register / 8)] |= 1 << (register % 8));
    let said = [&[0, 0, 0, 1, 0x00, 0x0b, 3][..], &map, &sized(values)].concat();
    attest(0x8018, nonce, &said)
}

pub fn certification(nonce: &[u8], area: &[u8]) -> Vec<u8> {
    certification_of(nonce, &name(area))
}

/// The certification of the key of this name.
pub fn certification_of(nonce: &[u8], name: &[u8]) -> Vec<u8> {
    attest(0x8017, nonce, &[sized(name), sized(name)].concat())
}

/// A log of the SHA-256 bank: register, kind and digest of each event.
pub fn log(events: &[(u32, u32, [u8; 32])]) -> Vec<u8> {
    let mut told = b"Spec ID Event03\0".to_vec();
    told.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0x00, 32, 0, 0]);
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(told.len()).unwrap().to_le_bytes());
    log.extend(told);
    for (register, kind, digest) in events {
        log.extend(register.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend([1, 0, 0, 0, 0x0b, 0x00]);
        log.extend(digest);
        log.extend([0; 4]);
    }
    log
}

/// The digest of the values that `ASKED` have after these events.
pub fn values_after(events: &[(u32, u32, [u8; 32])]) -> [u8; 32] {
    let mut values = [[0; 32]; 8];
    for (register, _, digest) in events.iter().filter(|(_, kind, _)| *kind != 3) {
        let value = &mut values[usize::try_from(*register).unwrap()];
        *value = sha256(&[&value[..], digest].concat());
    }
    sha256(&ASKED.map(|register| values[usize::from(register)]).concat())
}
