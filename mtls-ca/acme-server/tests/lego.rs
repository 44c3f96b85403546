//! lego, which others wrote, gets a certificate, replaces it and takes one back, and OpenSSL and GnuTLS judge it. It is
//! another reading of RFC 8555 than certbot's, in another language, with a JOSE of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::judges;
use crate::served;

use std::path::Path;
use std::process::Command;

use judges::{LEGO, named, said};
use served::{HOST, World, binding_key, binding_key_for, start};
use test_token::in_own_process;

/// lego with an account in a folder of this name; it wants the external account key with every command.
fn run_lego(program: &Path, world: &World, account: &str, key: (&str, &str), more: &[&str]) -> Result<String, String> {
    run_lego_for(program, world, account, key, &[HOST], more)
}

/// The same for these names and addresses.
fn run_lego_for(
    program: &Path,
    world: &World,
    account: &str,
    (kid, mac_key): (&str, &str),
    names: &[&str],
    more: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("--path").arg(world.dir.join(account)).args(["--server", &world.directory(), "--accept-tos"]);
    command.args(["--email", "ops@larder.example", "--eab", "--kid", kid, "--hmac", mac_key]);
    command.args(names.iter().flat_map(|name| ["--domains", name]));
    command.args(["--http", "--http.port", &format!("127.0.0.1:{}", world.proof_port)]).args(more);
    said(command.env("LEGO_CA_CERTIFICATES", &world.root))
}

#[test]
fn lego_gets_renews_and_revokes_what_openssl_and_gnutls_accept() {
    let Some(program) = named(LEGO) else {
        return;
    };
    in_own_process("lego", |token| {
        let world = start(token);
        let (kid, mac_key) = binding_key(&world, "mac");
        let wrong: String = mac_key.chars().rev().collect();
        let refused = run_lego(&program, &world, "stranger", (&kid, &wrong), &["run"]).unwrap_err();
        assert!(refused.contains("not made with its MAC key"), "{refused}");
        let run = |more: &[&str]| run_lego(&program, &world, "lego", (&kid, &mac_key), more).unwrap();
        let chain = world.dir.join(format!("lego/certificates/{HOST}.crt"));
        let serial = || {
            let chain = std::fs::read_to_string(&chain).unwrap();
            ca_acme::Certificate::of_chain(&chain).unwrap().serial
        };
        run(&["run"]);
        world.is_accepted(&chain);
        let first = serial();
        run(&["renew", "--no-random-sleep"]);
        world.is_accepted(&chain);
        let second = serial();
        assert_ne!(second, first);
        assert_eq!(world.revoked(), Vec::<String>::new());
        run(&["revoke", "--reason", "4", "--keep"]);
        assert_eq!(world.revoked(), [second]);
        let refused = run_lego(&program, &world, "another", (&kid, &mac_key), &["run"]).unwrap_err();
        assert!(refused.contains("has made its account already, and makes one only"), "{refused}");
    });
}

#[test]
fn lego_gets_a_certificate_for_an_address_beside_a_name() {
    let Some(program) = named(LEGO) else {
        return;
    };
    in_own_process("address", |token| {
        let world = start(token);
        let (kid, mac_key) = binding_key_for(&world, "mac", &["--dns", HOST, "--ip", "127.0.0.1"]);
        let run =
            |account: &str, names: &[&str]| run_lego_for(&program, &world, account, (&kid, &mac_key), names, &["run"]);
        let refused = run("lego", &[HOST, "127.0.0.2"]).unwrap_err();
        assert!(refused.contains("may not have \"127.0.0.2\""), "{refused}");
        run("lego", &[HOST, "127.0.0.1"]).unwrap();
        let chain = world.dir.join(format!("lego/certificates/{HOST}.crt"));
        world.is_accepted(&chain);
        let address = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip"];
        let judged = |ip: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(address).args([ip, "-CAfile"]).arg(&world.root).arg("-untrusted").arg(&chain).arg(&chain);
            said(&mut openssl)
        };
        assert!(judged("127.0.0.1").is_ok(), "{:?}", judged("127.0.0.1"));
        assert!(judged("127.0.0.2").is_err(), "of another address it says nothing");
    });
}
