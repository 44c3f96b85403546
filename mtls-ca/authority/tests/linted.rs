//! pkilint, which others wrote, reads all that the authority signs against RFC 5280: its own certificates, each kind of
//! leaf, the certificate of an attestation key, revocation lists with and without entries.
//!
//! What it reports from WARNING on counts, but for one finding that is false. Below that it notes that it does not know
//! how key identifiers are computed here, which RFC 5280 leaves to the authority (section 4.2.1.2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::judges;
use crate::world;

use std::path::Path;
use std::process::Command;

use authority::{Authority, IssuedChain, Reason, Which, now_unix_s};
use judges::PKILINT;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use test_token::in_own_process;
use world::{ADA, FRIDGE, QUARANTINED, SESSION, attestation_key, config, issue};

/// It takes only schemes that it knows for those of URIs. RFC 3986 has no such list (section 3.1), and SPIFFE is
/// registered.
const FALSE_FINDING: (&str, &str) = ("pkix.invalid_uri_syntax", "Invalid URI syntax: \"spiffe://larder.internal/");

/// What one of its programs finds in a file, each as its code and what it says of it.
fn findings(program: &Path, options: &[&str], file: &Path) -> Vec<(String, String)> {
    let mut command = Command::new(program);
    command.arg("lint").args(options).args(["--severity", "WARNING", "--format", "JSON", "--document-format", "DER"]);
    let output = command.arg(file).output().unwrap(); // it ends with the number of findings
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let results = report["results"].as_array().unwrap().iter();
    let found = results.flat_map(|result| result["finding_descriptions"].as_array().unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    found.map(|finding| (text(&finding["code"]), text(&finding["message"]))).collect()
}

fn is_false((code, message): &(String, String)) -> bool {
    code == FALSE_FINDING.0 && message.starts_with(FALSE_FINDING.1)
}

fn ders(chain: &IssuedChain) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(chain.chain_pem.as_bytes()).map(|der| der.unwrap().to_vec()).collect()
}

#[test]
fn pkilint_accepts_all_that_the_authority_signs() {
    let Some(programs) = judges::named(PKILINT) else {
        return;
    };
    in_own_process("pkilint", |token| {
        let now = now_unix_s();
        let authority = Authority::init(&config(token), now).unwrap();
        let file = token.directory().join("judged.der");
        let certificate = |what: &str, der: &[u8], false_findings: usize| {
            std::fs::write(&file, der).unwrap();
            let found = findings(&programs.join("lint_pkix_cert"), &[], &file);
            let (known, real): (Vec<_>, Vec<_>) = found.into_iter().partition(is_false);
            assert!(real.is_empty() && known.len() == false_findings, "{what}: {real:?}, and {known:?}");
        };
        let root = CertificateDer::from_pem_slice(authority.trust_bundle_pem().as_bytes()).unwrap();
        certificate("the root", &root, 0);
        for name in [FRIDGE, QUARANTINED, ADA, SESSION] {
            let chain = ders(&issue(&authority, name, now).0);
            certificate(name, &chain[0], 1);
            certificate("its issuer", &chain[1], 0);
        }
        let chain = ders(&authority.issue_attestation_key(&attestation_key().0, now).unwrap());
        certificate("an attestation key's", &chain[0], 0);
        certificate("its issuer", &chain[1], 0);

        let lists = |what: &str| {
            let lists = authority.lists().unwrap();
            assert!(!lists.is_empty());
            for list in lists {
                std::fs::write(&file, &list.list).unwrap();
                let found = findings(&programs.join("lint_crl"), &["--type", "CRL", "--profile", "PKIX"], &file);
                assert!(found.is_empty(), "{what}: {found:?}");
            }
        };
        authority.refresh_lists(now).unwrap();
        lists("a list of nobody");
        for (name, reason) in [FRIDGE, SESSION, ADA, QUARANTINED, FRIDGE].into_iter().zip(Reason::ALL) {
            let serial = issue(&authority, name, now).0.serial;
            authority.revoke(&Which::Serial(serial), reason, now).unwrap();
        }
        lists("a list");
    });
}

/// A judge who finds nothing in anything would be none: an authority that does not say what its key is for.
#[test]
fn pkilint_finds_what_is_wrong_in_a_certificate() {
    let Some(programs) = judges::named(PKILINT) else {
        return;
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("judged.der");
    std::fs::write(&file, certificate.der()).unwrap();
    let found = findings(&programs.join("lint_pkix_cert"), &[], &file);
    assert!(found.iter().any(|(code, _)| code == "pkix.ca_certificate_no_ku_extension"), "{found:?}");
}
