//! What tpm2-tools make with a TPM that others wrote (swtpm) is believed, credentials of ours are opened by them, and what
//! is not true is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;
use crate::swtpm;

use attest_evidence::{Curve, HashAlgorithm, PcrSelection, Public};
use attest_verifier::{
    Appraisal, AttestationKey, CertifiedKey, CheckedQuote, Credential, EndorsementCertificate, EndorsementKey,
    MakerRoots, ReferenceValues, Refusal, ReplayedQuote, Signed,
};
use ring::rand::SystemRandom;
use support::{ASKED, log, name, sha256};
use swtpm::Swtpm;

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const BOOT: [(u32, u32, &[u8]); 3] = [(0, 8, b"firmware"), (7, 4, b"keys"), (7, 8, b"more keys")];
const SECRET: &[u8] = b"a secret of thirty-two bytes !!!";
/// `TPM2_PolicySecret` of the endorsement hierarchy, SHA-384 (EK Credential Profile 2.5, PolicyA).
const POLICY_A_SHA384: &str =
    "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53";
/// Its alternative, an authorization in NV (PolicyC); the key's own policy (PolicyB) is one or the other.
const POLICY_C_SHA384: &str =
    "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165";

fn nonce() -> Vec<u8> {
    unhex(NONCE)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn asked() -> PcrSelection {
    PcrSelection::of(HashAlgorithm::Sha256, ASKED)
}

/// A TPM with an endorsement key on P-256 and an attestation key under it, after a boot.
fn booted() -> Swtpm {
    let tpm = Swtpm::new();
    tpm.step("tpm2_createek -G ecc -c ek.ctx -u ek.pub -f tss");
    attestation_key(&tpm, "ak");
    for (register, _, measured) in BOOT {
        tpm.run(&format!("tpm2_pcrextend {register}:sha256={}", hex(&sha256(measured))));
    }
    tpm
}

fn attestation_key(tpm: &Swtpm, named: &str) {
    tpm.step(&format!("tpm2_createak -C ek.ctx -c {named}.ctx -G ecc -g sha256 -s ecdsa -u {named}.pub -f tss"));
}

fn accepted(tpm: &Swtpm, named: &str) -> AttestationKey {
    AttestationKey::accept(&tpm.area(&format!("{named}.pub"))).unwrap()
}

fn quote(tpm: &Swtpm, nonce: &str, registers: &str) -> (Vec<u8>, Vec<u8>) {
    tpm.step(&format!("tpm2_quote -c ak.ctx -l sha256:{registers} -q {nonce} -m quote.attest -s quote.sig -g sha256"));
    (tpm.read("quote.attest"), tpm.read("quote.sig"))
}

fn boot_log() -> Vec<u8> {
    log(&BOOT.map(|(register, kind, measured)| (register, kind, sha256(measured))))
}

fn appraise(key: &AttestationKey, quote: &[u8], signature: &[u8]) -> Result<Appraisal, Refusal> {
    let statement = Signed::check(key, quote, signature, &nonce())?;
    let mut good = ReferenceValues::default();
    for (register, _, measured) in BOOT {
        good.add(u8::try_from(register).unwrap(), &sha256(measured));
    }
    Ok(Appraisal::of(&ReplayedQuote::of(CheckedQuote::of(&statement, asked())?, &boot_log())?, &good))
}

#[test]
fn a_quote_is_believed_and_checkquote_agrees() {
    let tpm = booted();
    let (quote, signature) = quote(&tpm, NONCE, "0,7");
    assert_eq!(appraise(&accepted(&tpm, "ak"), &quote, &signature), Ok(Appraisal::Good));
    tpm.step("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
    let check = |nonce: &str| {
        tpm.attempt(&format!("tpm2_checkquote -u ak.pem -m quote.attest -s quote.sig -g sha256 -q {nonce}"))
    };
    assert!(check(NONCE).status.success());
    assert!(!check(&NONCE.replace("00", "01")).status.success());
}

#[test]
fn an_old_nonce_another_set_and_a_changed_register_are_refused() {
    let tpm = booted();
    let key = accepted(&tpm, "ak");
    let refused = |nonce: &str, registers: &str| {
        let (quote, signature) = quote(&tpm, nonce, registers);
        appraise(&key, &quote, &signature)
    };
    assert_eq!(refused(&NONCE.replace("00", "01"), "0,7"), Err(Refusal::Nonce));
    assert_eq!(refused(NONCE, "0"), Err(Refusal::Selection));
    assert_eq!(refused(NONCE, "0,7,8"), Err(Refusal::Selection));
    let other_bank = {
        tpm.step(&format!("tpm2_quote -c ak.ctx -l sha384:0,7 -q {NONCE} -m quote.attest -s quote.sig -g sha256"));
        appraise(&key, &tpm.read("quote.attest"), &tpm.read("quote.sig"))
    };
    assert_eq!(other_bank, Err(Refusal::Selection));
    assert_eq!(refused(NONCE, "0,7"), Ok(Appraisal::Good));
    tpm.run(&format!("tpm2_pcrextend 7:sha256={}", hex(&sha256(b"something else"))));
    assert_eq!(refused(NONCE, "0,7"), Err(Refusal::Log));
}

#[test]
fn a_bit_flipped_anywhere_is_found() {
    let tpm = booted();
    let key = accepted(&tpm, "ak");
    let (quote, signature) = quote(&tpm, NONCE, "0,7");
    let flips = |whole: &[u8]| -> Vec<Vec<u8>> {
        let flip = |bit: usize| {
            let mut altered = whole.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            altered
        };
        (0..whole.len() * 8).map(flip).collect()
    };
    for altered in flips(&quote) {
        assert_eq!(appraise(&key, &altered, &signature), Err(Refusal::Signature));
    }
    for altered in flips(&signature) {
        let refused = appraise(&key, &quote, &altered);
        assert!(matches!(refused, Err(Refusal::Signature | Refusal::Malformed(_))), "{refused:?}");
    }
    // A public area that was altered is refused, signs nothing, or is a key of another name, for which no credential of
    // this TPM opens.
    let mut of_another_name = None;
    for altered in flips(&tpm.area("ak.pub")) {
        let Ok(other) = AttestationKey::accept(&altered) else { continue };
        assert_ne!(other.name(), key.name());
        if appraise(&other, &quote, &signature).is_ok() {
            of_another_name = Some(other);
        }
    }
    let other = of_another_name.expect("the policy and some attributes are known by the name alone");
    assert_eq!(activate_p256(&tpm, "ak", &credential(&tpm, &other)), None);
    assert_eq!(activate_p256(&tpm, "ak", &credential(&tpm, &key)).as_deref(), Some(SECRET));
}

fn endorsement_key(tpm: &Swtpm) -> EndorsementKey {
    let area = tpm.area("ek.pub");
    let point = Public::parse(&area).unwrap().key.point();
    EndorsementKey::accept(&area, &point).unwrap()
}

fn credential(tpm: &Swtpm, key: &AttestationKey) -> Credential {
    endorsement_key(tpm).credential(key, SECRET, &SystemRandom::new()).unwrap()
}

/// As tpm2-tools keep a credential: a mark, a version, the two parts.
fn write_credential(tpm: &Swtpm, made: &Credential) {
    let file = [&[0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1][..], &made.blob, &made.secret].concat();
    tpm.write("credential", &file);
    let _ = std::fs::remove_file(tpm.path("secret"));
}

fn opened(tpm: &Swtpm, line: &str) -> Option<Vec<u8>> {
    let success = tpm.attempt(line).status.success();
    tpm.flush();
    success.then(|| tpm.read("secret"))
}

fn activate_p256(tpm: &Swtpm, ak: &str, made: &Credential) -> Option<Vec<u8>> {
    write_credential(tpm, made);
    tpm.run(
        "tpm2_startauthsession --policy-session -S session.ctx
         tpm2_policysecret -S session.ctx -c e",
    );
    let ask = format!("tpm2_activatecredential -c {ak}.ctx -C ek.ctx -i credential -o secret -P session:session.ctx");
    opened(tpm, &ask)
}

fn activate_p384(tpm: &Swtpm, ek: &str, made: &Credential) -> Option<Vec<u8>> {
    write_credential(tpm, made);
    tpm.write("policy_a", &unhex(POLICY_A_SHA384));
    tpm.write("policy_c", &unhex(POLICY_C_SHA384));
    tpm.run(
        "tpm2_startauthsession --policy-session -g sha384 -S session.ctx
         tpm2_policysecret -S session.ctx -c e
         tpm2_policyor -S session.ctx -l sha384:policy_a,policy_c",
    );
    let ask = format!("tpm2_activatecredential -c ak.ctx -C {ek} -i credential -o secret -P session:session.ctx");
    opened(tpm, &ask)
}

#[test]
fn a_credential_is_opened_by_its_tpm_for_its_key_alone() {
    let (tpm, stranger) = (booted(), booted());
    attestation_key(&stranger, "other");
    let (key, other) = (accepted(&tpm, "ak"), accepted(&stranger, "other"));
    assert_eq!(activate_p256(&tpm, "ak", &credential(&tpm, &key)).as_deref(), Some(SECRET));
    // A key of another TPM that claims to be beside this endorsement key.
    let claimed = credential(&tpm, &other);
    assert_eq!(activate_p256(&tpm, "ak", &claimed), None, "the endorsement key's TPM does not have it");
    assert_eq!(activate_p256(&stranger, "other", &claimed), None, "its own TPM does not have the endorsement key");
}

#[test]
fn a_credential_for_an_endorsement_key_on_p384_is_opened() {
    let tpm = Swtpm::new();
    tpm.step("tpm2_createek -G ecc384 -c ek.ctx -u ek.pub -f tss");
    attestation_key(&tpm, "ak");
    assert_eq!(Public::parse(&tpm.area("ek.pub")).unwrap().key.curve, Curve::P384);
    let key = accepted(&tpm, "ak");
    for length in [1, 16, 32] {
        let made = endorsement_key(&tpm).credential(&key, &SECRET[..length], &SystemRandom::new()).unwrap();
        assert_eq!(activate_p384(&tpm, "ek.ctx", &made).as_deref(), Some(&SECRET[..length]));
    }
    let mut altered = credential(&tpm, &key);
    *altered.blob.last_mut().unwrap() ^= 1;
    assert_eq!(activate_p384(&tpm, "ek.ctx", &altered), None);
}

#[test]
fn a_tpm_as_its_maker_ships_it_opens_what_is_made_for_its_certificate() {
    let tpm = Swtpm::manufactured();
    tpm.run("tpm2_nvread 0x1c00016 -o ek.der");
    let roots = MakerRoots::new(&[tpm.read("ca/root.der")]).unwrap();
    // Certificates of swtpm's maker have no end, and begin in the second in which they are made.
    let year_2100 = 4_102_444_800;
    let issuer = tpm.read("ca/issuer.der");
    let certificate = EndorsementCertificate::accept(&tpm.read("ek.der"), &[issuer], &roots, year_2100).unwrap();
    tpm.run("tpm2_readpublic -c 0x81010016 -f tss -o ek.pub");
    tpm.step("tpm2_createak -C 0x81010016 -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -f tss");
    assert_eq!(certificate.key(None), certificate.key(Some(&tpm.area("ek.pub"))));
    let made = certificate.key(None).unwrap().credential(&accepted(&tpm, "ak"), SECRET, &SystemRandom::new()).unwrap();
    assert_eq!(activate_p384(&tpm, "0x81010016", &made).as_deref(), Some(SECRET));
}

/// A key for TLS that signs only while register 7 stays as it is.
fn tls_key(tpm: &Swtpm) -> (Vec<u8>, Vec<u8>) {
    tpm.step("tpm2_createprimary -C o -G ecc -c primary.ctx");
    tpm.step("tpm2_createpolicy --policy-pcr -l sha256:7 -L policy");
    let fixed = "fixedtpm|fixedparent|sensitivedataorigin|sign";
    tpm.step(&format!(
        "tpm2_create -C primary.ctx -G ecc256:ecdsa-sha256:null -a {fixed} -L policy -u tls.pub -r tls.priv"
    ));
    tpm.step("tpm2_load -C primary.ctx -u tls.pub -r tls.priv -c tls.ctx");
    (tpm.area("tls.pub"), tpm.read("policy"))
}

fn certify(tpm: &Swtpm, key: &str, by: &str) -> (Vec<u8>, Vec<u8>) {
    tpm.write("nonce", &nonce());
    tpm.step(&format!("tpm2_certify -c {key}.ctx -C {by}.ctx -g sha256 -o certify.attest -s certify.sig"));
    (tpm.read("certify.attest"), tpm.read("certify.sig"))
}

#[test]
fn a_certified_key_is_believed_and_no_other() {
    let tpm = booted();
    attestation_key(&tpm, "other");
    let (area, policy) = tls_key(&tpm);
    // The tool puts a constant of its own in the place of the nonce.
    let tools_nonce = [0x00, 0xff, 0x55, 0xaa];
    let check = |(statement, signature): &(Vec<u8>, Vec<u8>), by: &str, area: &[u8]| {
        let statement = Signed::check(&accepted(&tpm, by), statement, signature, &tools_nonce)?;
        CertifiedKey::of(&statement, area, &policy)
    };
    let said = certify(&tpm, "tls", "ak");
    let certified = check(&said, "ak", &area).unwrap();
    assert_eq!(certified.point(), Public::parse(&area).unwrap().key.point());
    tpm.run("tpm2_readpublic -c tls.ctx -f der -o tls.der");
    assert_eq!(certified.spki(), tpm.read("tls.der"));
    assert_eq!(check(&said, "other", &area), Err(Refusal::Signature));
    assert_eq!(check(&certify(&tpm, "tls", "other"), "ak", &area), Err(Refusal::Signature));
    assert_eq!(check(&certify(&tpm, "other", "ak"), "ak", &area), Err(Refusal::AnotherKey));
    let (statement, signature) = &said;
    let refused = Signed::check(&accepted(&tpm, "ak"), statement, signature, &nonce()).map(drop);
    assert_eq!(refused, Err(Refusal::Nonce));
    for bit in 0..area.len() * 8 {
        let mut altered = area.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let refused = check(&said, "ak", &altered);
        assert!(matches!(refused, Err(Refusal::AnotherKey | Refusal::Malformed(_))), "bit {bit}: {refused:?}");
    }
}

#[test]
fn names_are_those_that_the_tpm_gives() {
    let tpm = booted();
    tpm.step("tpm2_readpublic -c ak.ctx -n ak.name");
    assert_eq!(accepted(&tpm, "ak").name(), tpm.read("ak.name"));
    assert_eq!(name(&tpm.area("ak.pub")), tpm.read("ak.name"));
    tpm.step("tpm2_createek -G ecc384 -c ek.ctx -u ek.pub -f tss");
    attestation_key(&tpm, "large");
    tpm.step("tpm2_readpublic -c large.ctx -n large.name");
    assert_eq!(accepted(&tpm, "large").name(), tpm.read("large.name"));
}
