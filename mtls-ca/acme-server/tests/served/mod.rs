//! An authority with `larder-acme serve` before it, as a program of its own, for ACME clients that others wrote; and
//! OpenSSL and GnuTLS, which judge what these get.
#![allow(dead_code, unreachable_pub)]

use crate::judges;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use authority::{Authority, AuthorityConfig, IssuedFiles, Names, Order, Pin, Profile, SubjectKey, now_unix_s};
use ca_identity::{SpiffeId, TrustDomain};
use judges::said;
use test_token::TestToken;

/// The host that clients prove.
pub const HOST: &str = "admin.larder.internal";

/// A server that is killed when the test ends, however it ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct World {
    pub dir: PathBuf,
    /// The trust bundle, PEM.
    pub root: PathBuf,
    pub port: u16,
    /// Where the server looks for proofs of [`HOST`], and of addresses.
    pub proof_port: u16,
    _serving: Serving,
}

/// An authority and `larder-acme serve` before it.
pub fn start(token: &TestToken) -> World {
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
        .args(["--http01-port", &proof_port.to_string()])
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
pub fn binding_key(world: &World, name: &str) -> (String, String) {
    binding_key_for(world, name, &["--dns", HOST])
}

/// The same for what it is to allow.
pub fn binding_key_for(world: &World, name: &str, allows: &[&str]) -> (String, String) {
    let (file, database) = (world.dir.join(name), world.dir.join("acme.db"));
    let made = said(
        Command::new(env!("CARGO_BIN_EXE_larder-acme"))
            .args(["eab", "new", "--id", "spiffe://larder.internal/service/admin", "--json"])
            .args(allows)
            .arg("--database")
            .args([database.as_os_str(), "--out".as_ref(), file.as_os_str()]),
    )
    .unwrap();
    let made: serde_json::Value = serde_json::from_str(made.lines().next().unwrap()).unwrap();
    (made["kid"].as_str().unwrap().to_owned(), std::fs::read_to_string(file).unwrap())
}

impl World {
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/acme/directory", self.port)
    }

    /// The serial numbers that were taken back.
    pub fn revoked(&self) -> Vec<String> {
        authority::revoked_serials(&self.dir.join("ca")).unwrap().into_iter().collect()
    }

    /// OpenSSL and GnuTLS accept this chain, leaf first, as [`HOST`]'s.
    pub fn is_accepted(&self, chain: &Path) {
        let judged = said(
            Command::new("openssl")
                .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver", "-verify_hostname", HOST])
                .args(["-CAfile".as_ref(), self.root.as_os_str()])
                .args(["-untrusted".as_ref(), chain.as_os_str(), chain.as_os_str()]),
        );
        assert!(judged.is_ok(), "{judged:?}");
        let judged = said(Command::new("certtool").args(["--verify", "--load-ca-certificate"]).args([
            self.root.as_os_str(),
            "--infile".as_ref(),
            chain.as_os_str(),
        ]));
        assert!(judged.as_ref().is_ok_and(|said| said.contains("Chain verification output: Verified")), "{judged:?}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
