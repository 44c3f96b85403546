//! The key for TLS: the verifier believes that it is in the TPM and bound to the registers, TLS and certificate requests
//! are signed with it, and it dies with the firmware.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod fridge;
#[path = "../../../mtls-ca/mtls/tests/pki/mod.rs"]
mod pki;

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use attest_verifier::{CertifiedKey, KeyFlaw, Signed};
use ca_mtls::{Identity, client_config, server_config};
use fridge::swtpm::Swtpm;
use fridge::*;
use fridge_tpm::{Corrupt, Refusal, StoredKey, Tpm, TpmError, TpmSigner};
use pki::{CLIENT, FRIDGE, Pki, SESSION, domain, id, meet};
use rcgen::{CertificateSigningRequestParams, KeyUsagePurpose};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// A fridge after its boot, with an attestation key and a key for TLS that is bound to register 7.
struct Booted {
    tpm: Swtpm,
    asked: Tpm,
    key: StoredKey,
    tls: StoredKey,
}

fn booted() -> Booted {
    let tpm = Swtpm::new();
    boot(&tpm);
    let asked = open(&tpm);
    let (key, tls) = (attestation_key(&tpm), asked.make_tls_key(registers(&[7])).unwrap());
    Booted { tpm, asked, key, tls }
}

/// The policy of register 7 after a good boot, computed here (Part 3, section 23.7).
fn policy() -> [u8; 32] {
    let register = sha256(&[&[0; 32][..], &sha256(BOOT[1].1)].concat());
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0];
    sha256(&[&[0; 32][..], &[0, 0, 1, 0x7f], &selection, &sha256(&register)].concat())
}

fn assert_dead(asked: &Tpm, tls: &StoredKey) {
    let why = failed(asked.sign(tls, b"a message"));
    assert!(matches!(&why, TpmError::Refused(Refusal::Registers { registers }) if registers == "7"), "{why}");
    assert!(why.to_string().contains("its registers 7 are no longer what they were"), "{why}");
}

fn assert_signs(asked: &Tpm, tls: &StoredKey) {
    let message = vec![7; 5_000];
    let signature = asked.sign(tls, &message).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, tls.point()).verify(&message, &signature.der).unwrap();
    let numbers = attest_evidence::EcdsaSignature::parse(&signature.tpm).unwrap();
    let numbers = numbers.fixed(attest_evidence::Curve::P256).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, tls.point()).verify(&message, &numbers).unwrap();
}

#[test]
fn it_is_certified_as_bound_to_the_registers() {
    let Booted { tpm, asked, key, tls } = booted();
    let said = asked.certify(&tls, &key, NONCE).unwrap();
    let ak = accepted(&key);
    let statement = Signed::check(&ak, &said.statement, &said.signature, NONCE).unwrap();
    let certified = CertifiedKey::of(&statement, tls.public_area(), &policy()).unwrap();
    assert_eq!(certified.point(), tls.point());
    let unbound = CertifiedKey::of(&statement, tls.public_area(), &sha256(b"another policy"));
    assert_eq!(unbound, Err(KeyFlaw::Policy.into()));
    let other = asked.make_tls_key(registers(&[7])).unwrap();
    let another = CertifiedKey::of(&statement, other.public_area(), &policy());
    assert_eq!(another, Err(attest_verifier::Refusal::AnotherKey));
    assert_eq!(attest_verifier::name(&attest_evidence::Public::parse(tls.public_area()).unwrap()), tls.name());
    // Nothing else is worth a certificate: not an attestation key in its place.
    let own = asked.certify(&key, &key, NONCE).unwrap();
    let statement = Signed::check(&ak, &own.statement, &own.signature, NONCE).unwrap();
    assert_eq!(CertifiedKey::of(&statement, key.public_area(), &policy()), Err(KeyFlaw::Policy.into()));
    assert_empty(&tpm);
}

#[test]
fn it_signs_while_its_registers_stay_and_no_longer() {
    let Booted { tpm, asked, tls, .. } = booted();
    assert_signs(&asked, &tls);
    measure(&tpm, 8, b"a register that it is not bound to");
    assert_signs(&asked, &tls);
    measure(&tpm, 7, b"something more");
    assert_dead(&asked, &tls);
    assert_dead(&asked, &tls);
    // A new one is bound to what is now.
    let next = asked.make_tls_key(registers(&[7])).unwrap();
    assert_signs(&asked, &next);
    assert_dead(&asked, &tls);
    assert_empty(&tpm);
}

#[test]
fn it_lives_through_a_power_cut_and_not_through_other_firmware() {
    let Booted { tpm, tls, .. } = booted();
    let file = tpm.path("tls.key");
    tls.keep(&file).unwrap();
    let tpm = tpm.restarted();
    boot(&tpm);
    let kept = StoredKey::load(&file).unwrap().unwrap();
    assert_eq!(kept, tls);
    let asked = open(&tpm);
    assert_signs(&asked, &kept);
    let tpm = tpm.restarted();
    measure(&tpm, 7, b"other firmware");
    assert_dead(&asked, &kept);
    let tpm = tpm.restarted();
    boot(&tpm);
    assert_signs(&asked, &kept);
}

#[test]
fn nobody_uses_it_past_its_policy() {
    let Booted { tpm, asked, key, tls } = booted();
    // Its two parts as the tools take them, under the same storage root.
    let bytes = tls.to_bytes();
    let public = 2 + tls.public_area().len();
    let parts = &bytes[bytes.len() - private_bytes(&bytes, public) - public..];
    tpm.write("tls.pub", &parts[..public]);
    tpm.write("tls.priv", &parts[public..]);
    tpm.write("message", b"anything");
    let may = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    tpm.step(&format!("tpm2_createprimary -C o -G ecc256:null:aes128cfb -a {may} -c root.ctx"));
    tpm.step("tpm2_load -C root.ctx -u tls.pub -r tls.priv -c tls.ctx");
    assert!(!tpm.attempt("tpm2_sign -c tls.ctx -g sha256 -o signature message").status.success(), "with its password");
    tpm.flush();
    tpm.run(
        "tpm2_startauthsession --policy-session -S session.ctx
         tpm2_policypcr -S session.ctx -l sha256:7",
    );
    tpm.step("tpm2_sign -c tls.ctx -g sha256 -o signature -p session:session.ctx message");
    // An attestation key signs nothing from outside.
    let why = failed(asked.sign(&key, b"a message"));
    assert!(matches!(why, TpmError::Corrupt(Corrupt::Key(_))), "{why}");
}

/// How long the part behind the public one is, with its size.
fn private_bytes(file: &[u8], public: usize) -> usize {
    file.len() - b"larder tpm key 1\n".len() - 4 - public
}

/// A certificate for the request of the TPM's key.
fn identity(pki: &Pki, signer: &TpmSigner) -> Identity {
    let request = signer.certificate_request(FRIDGE).unwrap();
    let mut request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
    request.params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    request.params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    request.params.extended_key_usages = vec![CLIENT];
    request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    request.params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let leaf = request.signed_by(&pki.device).unwrap();
    let chain = vec![leaf.der().clone(), pki.device.der().clone()];
    Identity::new(chain, Arc::new(signer.clone())).unwrap()
}

#[tokio::test]
async fn a_fridge_shows_itself_over_mutual_tls_until_its_firmware_changes() {
    let Booted { tpm, asked, tls, .. } = booted();
    let pki = Pki::new("root");
    let signer = TpmSigner::new(asked, tls);
    let fridge = identity(&pki, &signer);
    let server = server_config(&pki.leaf(SESSION).identity(), &pki.bundle(), &domain(), &[b"h2"]).unwrap();
    let client = client_config(&fridge, &pki.bundle(), &id(SESSION), &[b"h2"]).unwrap();
    for _ in 0..3 {
        let (server_saw, client_saw) = meet(Arc::clone(&server), Arc::clone(&client)).await;
        assert_eq!(server_saw.unwrap().id, id(FRIDGE));
        assert_eq!(client_saw.unwrap().id, id(SESSION));
    }
    assert_empty(&tpm);
    measure(&tpm, 7, b"something more");
    let (server_saw, client_saw) = meet(server, client).await;
    assert!(server_saw.is_err());
    let why = client_saw.unwrap_err();
    assert!(why.contains("its registers 7 are no longer what they were when the key was made"), "{why}");
}

#[test]
fn a_key_and_a_certificate_of_another_do_not_go_together() {
    let Booted { asked, tls, .. } = booted();
    let pki = Pki::new("root");
    let chain = vec![rcgen_leaf(&pki), pki.device.der().clone()];
    assert!(Identity::new(chain, Arc::new(TpmSigner::new(asked, tls))).is_err());
}

fn rcgen_leaf(pki: &Pki) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pki.leaf(FRIDGE).chain_pem.as_bytes()).unwrap()
}

#[test]
fn openssl_believes_its_request_and_a_dead_key_says_why_it_makes_none() {
    let Booted { tpm, asked, tls, .. } = booted();
    let signer = TpmSigner::new(asked, tls);
    tpm.write("request.der", &signer.certificate_request(FRIDGE).unwrap());
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(tpm.path(".")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = openssl(&["req", "-inform", "DER", "-in", "request.der", "-verify", "-noout", "-text"]);
    assert!(text.contains(&format!("URI:{FRIDGE}")) && text.contains("Subject: \n"), "{text}");
    assert!(text.contains("ecdsa-with-SHA256") && text.contains("prime256v1"), "{text}");
    let why = failed(signer.certificate_request("fridge\u{fc}"));
    assert!(matches!(why, TpmError::Refused(Refusal::Name(_))), "{why}");
    measure(&tpm, 7, b"something more");
    let why = failed(signer.certificate_request(FRIDGE));
    assert!(matches!(why, TpmError::Refused(Refusal::Registers { .. })), "{why}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how fast it is cannot be told without a clock")]
fn many_sign_at_once_and_how_fast_is_told() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    let Booted { tpm, asked, tls, .. } = booted();
    asked.sign(&tls, b"the first one loads the key").unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|_| assert_signs(&asked, &tls)));
        }
    });
    let each = began.elapsed() / u32::try_from(THREADS * EACH).unwrap();
    println!("a signature takes {each:?}: {:.0} in a second", 1.0 / each.as_secs_f64());
    assert_empty(&tpm);
}
