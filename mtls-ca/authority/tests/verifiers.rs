//! What the authority issues, as others judge it: webpki, OpenSSL in its strict mode, and two parties who meet over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::process::Command;
use std::time::Duration;

use authority::{Authority, IssuedChain, now_unix_s};
use ca_mtls::{Identity, TrustBundle, accept, client_config, connect, peer, server_config};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use test_token::{TestToken, in_own_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use world::{ADA, FRIDGE, HOST, SESSION, attestation_key, config, domain, file, id, issue};

const NOW: i64 = 1_800_000_000;
const DAY_S: i64 = 86_400;

fn webpki_says(bundle: &str, chain: &IssuedChain, usage: KeyUsage, at_unix_s: i64) -> Result<(), webpki::Error> {
    let root = CertificateDer::from_pem_slice(bundle.as_bytes()).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.chain_pem.as_bytes()).map(Result::unwrap).collect();
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at_unix_s.unsigned_abs()));
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], at, usage, None, None).map(|_| ())
}

#[test]
fn webpki_accepts_each_leaf_for_its_own_use_and_time() {
    in_own_process("webpki", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let bundle = authority.trust_bundle_pem();
        for (name, serves) in [(FRIDGE, false), (ADA, false), (SESSION, true)] {
            let chain = issue(&authority, name, NOW).0;
            assert_eq!(webpki_says(&bundle, &chain, KeyUsage::client_auth(), NOW), Ok(()), "{name}");
            assert_eq!(webpki_says(&bundle, &chain, KeyUsage::server_auth(), NOW).is_ok(), serves, "{name}");
            assert!(webpki_says(&bundle, &chain, KeyUsage::client_auth(), NOW - 599).is_ok(), "clocks differ");
            assert!(webpki_says(&bundle, &chain, KeyUsage::client_auth(), NOW - 601).is_err());
            assert!(webpki_says(&bundle, &chain, KeyUsage::client_auth(), NOW + DAY_S).is_ok());
            assert!(webpki_says(&bundle, &chain, KeyUsage::client_auth(), NOW + DAY_S + 1).is_err());
            let leaf = CertificateDer::from_pem_slice(chain.chain_pem.as_bytes()).unwrap();
            let leaf = EndEntityCert::try_from(&leaf).unwrap();
            let host = ServerName::try_from(HOST).unwrap();
            assert_eq!(leaf.verify_is_valid_for_subject_name(&host).is_ok(), serves, "{name}");
        }
    });
}

fn openssl_says(
    token: &TestToken,
    bundle: &str,
    chain: &IssuedChain,
    purpose: &str,
    at_unix_s: i64,
) -> Result<(), String> {
    let (root, chain) = (file(token, "root.pem", bundle), file(token, "chain.pem", &chain.chain_pem));
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime", &at_unix_s.to_string()])
        .args(["-CAfile".as_ref(), root.as_os_str(), "-untrusted".as_ref(), chain.as_os_str(), chain.as_os_str()])
        .output()
        .expect("openssl is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn openssl_accepts_each_chain_in_its_strict_mode() {
    in_own_process("openssl", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let bundle = authority.trust_bundle_pem();
        for (name, serves) in [(FRIDGE, false), (ADA, false), (SESSION, true)] {
            let chain = issue(&authority, name, NOW).0;
            assert_eq!(openssl_says(token, &bundle, &chain, "sslclient", NOW), Ok(()), "{name}");
            let as_server = openssl_says(token, &bundle, &chain, "sslserver", NOW);
            assert_eq!(as_server.is_ok(), serves, "{name}: {as_server:?}");
            let late = openssl_says(token, &bundle, &chain, "sslclient", NOW + DAY_S + 1).unwrap_err();
            assert!(late.contains("expired"), "{late}");
        }
    });
}

#[test]
fn a_service_and_a_fridge_meet_over_tls() {
    in_own_process("tls", |token| {
        let now = now_unix_s(); // rustls judges by the clock of the machine
        let authority = Authority::init(&config(token), now).unwrap();
        let identity = |name: &str| {
            let (chain, pair) = issue(&authority, name, now);
            (Identity::from_pem(chain.chain_pem.as_bytes(), pair.expose().as_bytes()).unwrap(), chain)
        };
        let bundle = TrustBundle::from_pem(authority.trust_bundle_pem().as_bytes()).unwrap();
        let (service, service_chain) = identity(SESSION);
        let server = server_config(&service, &bundle, &domain(), &[b"h2"]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for name in [FRIDGE, ADA] {
            let (party, chain) = identity(name);
            let client = client_config(&party, &bundle, &id(SESSION), &[b"h2"]).unwrap();
            let (near, far) = tokio::io::duplex(64 * 1024);
            let limit = Duration::from_secs(20);
            let (seen, met) = runtime.block_on(async {
                let host = ServerName::try_from(HOST).unwrap();
                let serving = async {
                    let (mut tls, peer) = accept(server.clone(), far, limit).await.unwrap();
                    tls.write_all(b"hello").await.unwrap();
                    tls.shutdown().await.unwrap();
                    peer
                };
                let asking = async {
                    let (mut tls, peer) = connect(client, host, near, limit).await.unwrap();
                    let mut heard = [0; 5];
                    tls.read_exact(&mut heard).await.unwrap();
                    assert_eq!(&heard, b"hello");
                    peer
                };
                tokio::join!(serving, asking)
            });
            assert_eq!((seen.id, seen.serial, seen.not_after), (id(name), chain.serial, chain.not_after_unix_s));
            assert_eq!((met.id, met.serial), (id(SESSION), service_chain.serial.clone()));
        }
    });
}

/// tcg-kp-AIKCertificate, 2.23.133.8.3.
const AIK: [u8; 5] = [0x67, 0x81, 0x05, 0x08, 0x03];

#[test]
fn an_attestation_key_is_vouched_for_and_is_no_party() {
    in_own_process("aik", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        let (order, pair) = attestation_key();
        let chain = authority.issue_attestation_key(&order, NOW).unwrap();
        assert_eq!((chain.not_before_unix_s, chain.not_after_unix_s), (NOW - 600, NOW + 3600));
        let bundle = authority.trust_bundle_pem();
        assert_eq!(webpki_says(&bundle, &chain, KeyUsage::required(&AIK), NOW), Ok(()));
        assert!(webpki_says(&bundle, &chain, KeyUsage::required(&AIK), NOW + 3601).is_err());
        for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
            assert!(webpki_says(&bundle, &chain, usage, NOW).is_err(), "TLS is none of its purposes");
        }
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(chain.chain_pem.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(certificates[1].as_ref(), authority.attestation_intermediate_der());
        assert!(peer(&certificates).is_err(), "it names nobody");
        assert!(Identity::from_pem(chain.chain_pem.as_bytes(), pair.expose().as_bytes()).is_err());
        let strict = openssl_says(token, &bundle, &chain, "any", NOW);
        assert_eq!(strict, Ok(()));
        for purpose in ["sslclient", "sslserver"] {
            assert!(openssl_says(token, &bundle, &chain, purpose, NOW).is_err(), "{purpose}");
        }
        assert_eq!(authority.signatures(), authority.head().entries);
    });
}
