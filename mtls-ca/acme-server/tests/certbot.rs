//! certbot, which others wrote, gets a certificate, renews it and takes it back, and OpenSSL and GnuTLS judge it. certbot
//! comes from PyPI: `./run test` installs it and names it in `LARDER_CERTBOT`, and then it must work. Without that and
//! without a certbot on the path, the test says that it tried nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::judges;
use crate::served;

use std::path::{Path, PathBuf};
use std::process::Command;

use judges::said;
use served::{HOST, World, binding_key, binding_key_for, start};
use test_token::in_own_process;

/// The certbot that `LARDER_CERTBOT` names, or the one on the path; at least version 5, whose renewals ask for renewal
/// information (RFC 9773).
fn certbot() -> Option<PathBuf> {
    let named = std::env::var_os("LARDER_CERTBOT").map(PathBuf::from);
    let program = named.clone().unwrap_or_else(|| "certbot".into());
    let version = || -> Option<u32> {
        let output = Command::new(&program).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().strip_prefix("certbot ")?.split('.').next()?.parse().ok()
    };
    let usable = version().is_some_and(|major| major >= 5);
    assert!(usable || named.is_none(), "LARDER_CERTBOT is {}, and that is no certbot of version 5", program.display());
    usable.then_some(program)
}

fn run_certbot(program: &Path, world: &World, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(more).args(["--non-interactive", "--server"]);
    command.arg(world.directory());
    for (flag, folder) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(flag).arg(world.dir.join(folder));
    }
    said(command.env("REQUESTS_CA_BUNDLE", &world.root))
}

#[test]
fn certbot_gets_revokes_and_renews_what_openssl_and_gnutls_accept() {
    let Some(program) = certbot() else {
        eprintln!("NOT TRIED: certbot is not here; `./run test` installs it and sets LARDER_CERTBOT");
        return;
    };
    in_own_process("certbot", |token| {
        let world = start(token);
        let (kid, mac_key) = binding_key(&world, "mac");
        let proof_port = world.proof_port.to_string();
        let order = ["certonly", "--standalone", "--http-01-port", &proof_port, "-d", HOST];
        let account = ["--agree-tos", "-m", "ops@larder.example", "--no-eff-email"];
        let curve = ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"];
        let wrong = mac_key.chars().rev().collect::<String>();
        let binding =
            |mac: &str| vec!["--eab-kid".to_owned(), kid.clone(), "--eab-hmac-key".to_owned(), mac.to_owned()];
        let all = |mac: &str| -> Vec<String> {
            let fixed = order.iter().chain(&account).chain(&curve).map(|text| (*text).to_owned());
            fixed.chain(binding(mac)).collect()
        };
        let run = |arguments: &[String]| {
            run_certbot(&program, &world, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let refused = run(&all(&wrong)).unwrap_err();
        assert!(refused.contains("not made with its MAC key"), "{refused}");
        run(&all(&mac_key)).unwrap();
        let live = world.dir.join("config/live").join(HOST);
        let first = std::fs::read_to_string(live.join("cert.pem")).unwrap();
        world.is_accepted(&live.join("fullchain.pem"));
        let revoked = run_certbot(
            &program,
            &world,
            &["revoke", "--cert-name", HOST, "--reason", "superseded", "--no-delete-after-revoke"],
        );
        assert!(revoked.is_ok(), "{revoked:?}");
        assert_eq!(world.revoked(), [ca_acme::Certificate::of_chain(&first).unwrap().serial]);
        // Of a certificate this young only the renewal information says that it is due, because it was taken back.
        let renew = |more: &[&str]| {
            run_certbot(&program, &world, &[&["renew", "--no-random-sleep-on-renew"], more].concat()).unwrap()
        };
        let renewed = renew(&[]);
        let second = std::fs::read_to_string(live.join("cert.pem")).unwrap();
        assert_ne!(second, first, "{renewed}");
        let early = renew(&[]);
        assert!(early.contains("not yet due"), "{early}");
        assert_eq!(std::fs::read_to_string(live.join("cert.pem")).unwrap(), second);
        renew(&["--force-renewal"]);
        assert_ne!(std::fs::read_to_string(live.join("cert.pem")).unwrap(), second);
    });
}

#[test]
fn certbot_gets_a_certificate_for_an_address_beside_a_name() {
    let Some(program) = certbot() else {
        eprintln!("NOT TRIED: certbot is not here; `./run test` installs it and sets LARDER_CERTBOT");
        return;
    };
    in_own_process("address", |token| {
        let world = start(token);
        let (kid, mac_key) = binding_key_for(&world, "mac", &["--dns", HOST, "--ip", "127.0.0.1"]);
        let proof_port = world.proof_port.to_string();
        let order = |address: &str| {
            let order =
                ["certonly", "--standalone", "--http-01-port", &proof_port, "-d", HOST, "--ip-address", address];
            let account = ["--agree-tos", "-m", "ops@larder.example", "--no-eff-email"];
            let key = ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1", "--eab-kid", &kid];
            let all = [&order[..], &account, &key, &["--eab-hmac-key", &mac_key, "--expand"]].concat();
            run_certbot(&program, &world, &all)
        };
        let refused = order("127.0.0.2").unwrap_err();
        assert!(refused.contains("may not have \"127.0.0.2\""), "{refused}");
        order("127.0.0.1").unwrap();
        let chain = world.dir.join("config/live").join(HOST).join("fullchain.pem");
        world.is_accepted(&chain);
        let judged = |ip: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", ip, "-CAfile"]);
            said(openssl.arg(&world.root).arg("-untrusted").arg(&chain).arg(&chain))
        };
        assert!(judged("127.0.0.1").is_ok(), "{:?}", judged("127.0.0.1"));
        assert!(judged("127.0.0.2").is_err(), "of another address it says nothing");
    });
}
