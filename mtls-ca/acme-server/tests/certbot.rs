//! certbot, which others wrote, gets a certificate, renews it and takes it back, and OpenSSL and GnuTLS judge it. certbot
//! comes from PyPI: `./run test` installs it and names it in `LARDER_CERTBOT`, and then it must work. Without that and
//! without a certbot on the path, the test says that it tried nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authority::{Authority, AuthorityConfig, IssuedFiles, Names, Order, Pin, Profile, SubjectKey, now_unix_s};
use ca_identity::{SpiffeId, TrustDomain};
use test_token::{TestToken, in_own_process};

const HOST: &str = "admin.larder.internal";

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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// A server that is killed when the test ends, however it ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    dir: PathBuf,
    root: PathBuf,
    port: u16,
    proof_port: u16,
    _serving: Serving,
}

/// An authority and `larder-acme serve` before it.
fn start(token: &TestToken) -> World {
    let dir = token.directory().to_owned();
    let pin = dir.join("pin");
    std::fs::write(&pin, token.pin()).unwrap();
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = AuthorityConfig {
        dir: dir.join("ca"),
        module: token.module().to_owned(),
        token_label: token.label().to_owned(),
        pin: Pin::File(pin),
        trust_domain: TrustDomain::parse("larder.internal").unwrap(),
    };
    let authority = Authority::init(&config, now_unix_s()).unwrap();
    let (key, pair) = SubjectKey::generate().unwrap();
    let own = SpiffeId::parse("spiffe://larder.internal/service/authority").unwrap();
    let names = Names { dns: vec!["localhost".into()], ip: vec![] };
    let chain = authority.issue(&Order::new(Profile::Service, &own, names, key, 3600).unwrap(), now_unix_s()).unwrap();
    let files =
        IssuedFiles::write(&dir.join("own"), &chain, Some(pair.expose()), &authority.trust_bundle_pem()).unwrap();
    let (port, proof_port) = (free_port(), free_port());
    let ready = dir.join("ready");
    let serving = Command::new(env!("CARGO_BIN_EXE_larder-acme"))
        .arg("serve")
        .args(["--dir".as_ref(), dir.join("ca").as_os_str(), "--database".as_ref(), dir.join("acme.db").as_os_str()])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--origin", &format!("https://localhost:{port}")])
        .args([
            "--certificate".as_ref(),
            files.certificate.as_os_str(),
            "--key".as_ref(),
            files.key.unwrap().as_os_str(),
        ])
        .args(["--resolve", &format!("{HOST}=127.0.0.1:{proof_port}"), "--ready-file"])
        .arg(&ready)
        .spawn()
        .unwrap();
    let serving = Serving(serving);
    for _ in 0..400 {
        if ready.exists() {
            return World { root: files.bundle, dir, port, proof_port, _serving: serving };
        }
        std::thread::sleep(Duration::from_millis(50)); // it is another process; its file is all that it tells
    }
    panic!("larder-acme did not begin to serve");
}

/// Makes a binding key with the program itself: its id and its MAC key.
fn binding_key(world: &World, name: &str) -> (String, String) {
    let (file, database) = (world.dir.join(name), world.dir.join("acme.db"));
    let made = said(
        Command::new(env!("CARGO_BIN_EXE_larder-acme"))
            .args([
                "eab",
                "new",
                "--id",
                "spiffe://larder.internal/service/admin",
                "--dns",
                HOST,
                "--json",
                "--database",
            ])
            .args([database.as_os_str(), "--out".as_ref(), file.as_os_str()]),
    )
    .unwrap();
    let made: serde_json::Value = serde_json::from_str(made.lines().next().unwrap()).unwrap();
    (made["kid"].as_str().unwrap().to_owned(), std::fs::read_to_string(file).unwrap())
}

fn run_certbot(program: &Path, world: &World, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(more).args(["--non-interactive", "--server"]);
    command.arg(format!("https://localhost:{}/acme/directory", world.port));
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
        let judged = said(
            Command::new("openssl")
                .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver", "-verify_hostname", HOST])
                .args(["-CAfile".as_ref(), world.root.as_os_str()])
                .args(["-untrusted".as_ref(), live.join("chain.pem").as_os_str(), live.join("cert.pem").as_os_str()]),
        );
        assert!(judged.is_ok(), "{judged:?}");
        let judged = said(Command::new("certtool").args(["--verify", "--load-ca-certificate"]).args([
            world.root.as_os_str(),
            "--infile".as_ref(),
            live.join("fullchain.pem").as_os_str(),
        ]));
        assert!(judged.as_ref().is_ok_and(|said| said.contains("Chain verification output: Verified")), "{judged:?}");
        let revoked = run_certbot(
            &program,
            &world,
            &["revoke", "--cert-name", HOST, "--reason", "superseded", "--no-delete-after-revoke"],
        );
        assert!(revoked.is_ok(), "{revoked:?}");
        let serials = authority::revoked_serials(&world.dir.join("ca")).unwrap();
        let serial = ca_acme::Certificate::of_chain(&first).unwrap().serial;
        assert_eq!(serials.into_iter().collect::<Vec<_>>(), [serial]);
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
