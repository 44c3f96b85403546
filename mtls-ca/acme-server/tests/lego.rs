//! lego, which others wrote, gets a certificate, replaces it and takes one back, and OpenSSL and GnuTLS judge it. It is
//! another reading of RFC 8555 than certbot's, in another language, with a JOSE of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::judges;
use crate::served;

use std::path::Path;
use std::process::Command;

use judges::{LEGO, named, said};
use served::{HOST, World, binding_key, start};
use test_token::in_own_process;

/// lego with an account in a folder of this name; it wants the external account key with every command.
fn run_lego(
    program: &Path,
    world: &World,
    account: &str,
    (kid, mac_key): (&str, &str),
    more: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("--path").arg(world.dir.join(account)).args(["--server", &world.directory(), "--accept-tos"]);
    command.args(["--email", "ops@larder.example", "--eab", "--kid", kid, "--hmac", mac_key, "--domains", HOST]);
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
