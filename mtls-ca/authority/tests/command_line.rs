//! `larder-ca` as people run it: the program itself, its words, its files and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ca_mtls::IdentityFiles;
use test_token::TestToken;
use world::{dir, file, log_lines};

/// Runs `larder-ca` and gives what it said, or what it complained of.
fn larder_ca(token: &TestToken, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder-ca"));
    let output = token.apply(command.args(arguments)).stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.success(), complained.is_empty(), "{said}{complained}");
    if output.status.success() { Ok(said) } else { Err(complained) }
}

fn made(label: &str) -> TestToken {
    let token = TestToken::create(label).unwrap();
    let pin = file(&token, "pin", token.pin());
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = larder_ca(&token, &init(&token, &pin, dir(&token).to_str().unwrap())).unwrap();
    assert!(said.contains("Made the authority of larder.internal") && said.contains("Next: larder-ca issue"), "{said}");
    token
}

fn init<'a>(token: &'a TestToken, pin: &'a Path, dir: &'a str) -> [&'a str; 9] {
    let (module, pin) = (token.module().to_str().unwrap(), pin.to_str().unwrap());
    ["init", "--dir", dir, "--module", module, "--token-label", token.label(), "--pin-file", pin]
}

fn issue(token: &TestToken, more: &[&str]) -> Result<String, String> {
    let (dir, out) = (dir(token), token.directory().join("out"));
    let place = ["issue", "--dir", dir.to_str().unwrap(), "--out", out.to_str().unwrap()];
    larder_ca(token, &[place.as_slice(), more].concat())
}

#[test]
fn from_nothing_to_an_identity_that_services_load() {
    let token = made("cli");
    for (profile, name, whole) in [
        ("service", "purchase-session", "spiffe://larder.internal/service/purchase-session"),
        ("service", "service/admin", "spiffe://larder.internal/service/admin"),
        ("device", "spiffe://larder.internal/fridge/f1", "spiffe://larder.internal/fridge/f1"),
        ("operator", "ada", "spiffe://larder.internal/operator/ada"),
    ] {
        let said = issue(&token, &["--profile", profile, "--id", name]).unwrap();
        assert!(said.contains(&format!("Issued a {profile} certificate to {whole}.")), "{said}");
        assert!(said.contains("Next: ") && said.contains("(mode 0600)"), "{said}");
        let out = token.directory().join("out");
        let files = IdentityFiles {
            certificate: out.join("cert.pem"),
            key: out.join("key.pem"),
            bundle: out.join("bundle.pem"),
        };
        let (identity, bundle) = files.load().unwrap();
        assert_eq!(identity.id().as_str(), whole);
        assert_eq!(bundle.count(), 1);
        assert!(said.contains(&identity.own().serial));
    }
    assert_eq!(log_lines(&dir(&token)).len(), 9);
}

#[test]
fn a_request_is_asked_for_its_key_only() {
    let token = made("csr");
    let (key, csr) = (token.directory().join("own.key"), token.directory().join("own.csr"));
    let status = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=wish"])
        .args(["-addext", "subjectAltName=DNS:wish.example", "-keyout", key.to_str().unwrap()])
        .args(["-out", csr.to_str().unwrap()])
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(status.success());
    let said = issue(&token, &["--profile", "device", "--id", "f1", "--csr", csr.to_str().unwrap()]).unwrap();
    assert!(said.contains("where the request was made"), "{said}");
    assert!(!token.directory().join("out/key.pem").exists());
    let text = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in", token.directory().join("out/cert.pem").to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("URI:spiffe://larder.internal/fridge/f1") && !text.contains("wish"), "{text}");
    let rubbish = file(&token, "rubbish.csr", "rubbish");
    let error = issue(&token, &["--profile", "device", "--id", "f1", "--csr", rubbish.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("the key cannot be certified") && error.contains("make a P-256 key"), "{error}");
}

#[test]
fn the_list_shows_the_log_and_finds_a_changed_line() {
    let token = made("list");
    issue(&token, &["--profile", "service", "--id", "admin", "--dns", "localhost", "--ip", "127.0.0.1"]).unwrap();
    let dir = dir(&token);
    let table = larder_ca(&token, &["list", "--dir", dir.to_str().unwrap()]).unwrap();
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("SERIAL"), "{table}");
    assert!(rows[6].contains("service") && rows[6].contains("good") && rows[6].contains("service/admin"), "{table}");
    assert!(rows[7].contains("6 entries, head "), "{table}");
    let json = larder_ca(&token, &["list", "--json", "--dir", dir.to_str().unwrap()]).unwrap();
    assert_eq!(json.lines().collect::<Vec<_>>(), log_lines(&dir), "as they stand in the log, and nothing else");
    let changed = log_lines(&dir).join("\n").replace("service/admin", "service/console") + "\n";
    std::fs::write(dir.join("issued.jsonl"), changed).unwrap();
    let error = larder_ca(&token, &["list", "--dir", dir.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("damaged or was changed at line 6"), "{error}");
    let error = issue(&token, &["--profile", "device", "--id", "f1"]).unwrap_err();
    assert!(error.contains("line 6"), "nothing is issued over a damaged log: {error}");
}

#[test]
fn every_refusal_says_what_to_do() {
    let token = made("refuse");
    let pin = token.directory().join("pin");
    let ca = dir(&token);
    let error = larder_ca(&token, &init(&token, &pin, ca.to_str().unwrap())).unwrap_err();
    assert!(error.contains("already holds an authority") && error.contains("larder-ca list"), "{error}");
    let other = token.directory().join("other");
    let error = larder_ca(&token, &init(&token, &pin, other.to_str().unwrap())).unwrap_err();
    assert!(error.contains("give a fresh token"), "{error}");
    let error = larder_ca(&token, &["list", "--dir", other.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("holds no authority; make one with `larder-ca init"), "{error}");
    for (arguments, words) in [
        (["--profile", "device", "--id", "service/admin", "--lifetime-hours", "1"], "the profile device is not for"),
        (["--profile", "service", "--id", "billing", "--lifetime-hours", "1"], "no service has this name"),
        (["--profile", "service", "--id", "admin", "--lifetime-hours", "169"], "it must be between"),
        (["--profile", "service", "--id", "admin", "--lifetime-hours", "0"], "it must be between"),
        (["--profile", "device", "--id", "f1", "--dns", "localhost"], "leave --dns and --ip out"),
        (["--profile", "service", "--id", "admin", "--dns", "*.example"], "no wildcard"),
        (
            ["--profile", "device", "--id", "spiffe://other.example/fridge/f1", "--ip", "::1"],
            "leave --dns and --ip out",
        ),
        (
            ["--profile", "operator", "--id", "spiffe://other.example/operator/a", "--lifetime-hours", "1"],
            "trust domain",
        ),
    ] {
        let error = issue(&token, &arguments).unwrap_err();
        assert!(error.starts_with("larder-ca: ") && error.contains(words), "{arguments:?}: {error}");
    }
    assert_eq!(log_lines(&ca).len(), 5, "a refusal signs nothing");
    let said = larder_ca(&token, &["renew", "--dir", ca.to_str().unwrap()]).unwrap();
    assert!(said.contains("Nothing to renew"), "{said}");
}

#[test]
fn revoking_is_shown_first_and_done_with_yes() {
    let token = made("revoke");
    let ca = dir(&token);
    let place = ["revoke", "--dir", ca.to_str().unwrap()];
    let revoke = |more: &[&str]| larder_ca(&token, &[place.as_slice(), more].concat());
    issue(&token, &["--profile", "device", "--id", "f1"]).unwrap();
    let serial: String = {
        let line: serde_json::Value = serde_json::from_str(log_lines(&ca).last().unwrap()).unwrap();
        line["serial"].as_str().unwrap().to_owned()
    };
    let shown = revoke(&["--party", "fridge/f1"]).unwrap();
    assert!(
        shown.contains(&serial) && shown.contains("Nothing was revoked") && shown.contains("with --yes"),
        "{shown}"
    );
    assert_eq!(log_lines(&ca).len(), 6);
    let done = revoke(&["--serial", &serial.to_uppercase(), "--reason", "key-compromise", "--yes"]).unwrap();
    assert!(done.contains("Revoked 1, reason keyCompromise") && done.contains("Next: "), "{done}");
    let json = revoke(&["--party", "spiffe://larder.internal/fridge/f1", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["revoked"], &json["certificates"][0]["serial"]), (&false.into(), &serial.as_str().into()));
    for (wrong, why) in [
        (&["--party", "fridge/f2", "--yes"][..], "nothing to revoke"),
        (&["--party", "f1", "--yes"], "is no name of a party"),
        (&["--serial", "00", "--yes"], "nothing to revoke"),
        (&["--yes"], "--serial"),
    ] {
        let complained = revoke(wrong).unwrap_err();
        assert!(complained.contains(why), "{complained}");
    }
    let said = larder_ca(&token, &["crl", "--dir", ca.to_str().unwrap()]).unwrap();
    assert!(said.contains("device.crl") && ca.join("service.crl").exists(), "{said}");
    let listed = larder_ca(&token, &["list", "--dir", ca.to_str().unwrap()]).unwrap();
    let line = listed.lines().find(|line| line.starts_with(&serial)).unwrap();
    assert!(line.contains("  revoked   spiffe://larder.internal/fridge/f1"), "{line}");
    assert!(listed.contains("device-list") && listed.contains("1 certificate revoked"), "{listed}");
}
