//! sslscan, which others wrote, tries every version of SSL and TLS at each listener of the identity side: the
//! authority's, the ACME server's and the attestation service's. Two of them ask for no certificate, so anybody may
//! knock there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fleet;
use crate::house;
use crate::judges;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fleet::{Fleet, Fridge};
use house::{House, house};
use judges::{SSLSCAN, named, said, spoken};
use test_token::in_own_process;

#[test]
fn sslscan_finds_tls_1_3_and_nothing_older() {
    let Some(sslscan) = named(SSLSCAN) else {
        return;
    };
    in_own_process("scanned", |token| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { scan(&house(token).await, sslscan).await });
    });
}

async fn scan(house: &House, sslscan: PathBuf) {
    let fridge = Fridge::new(); // for its maker: the service starts with none but some it believes
    let fleet = Fleet::serve(house, &[&fridge]).await;
    let ([authority, attestation], acme) = (fleet.listeners().unwrap(), fleet.running.address);
    tokio::task::spawn_blocking(move || {
        for (name, address) in [("authority", authority), ("attestation", attestation), ("acme", acme)] {
            assert_eq!(spoken(&sslscan, &address.to_string()), ["tls 1.3"], "{name}");
        }
    })
    .await
    .unwrap();
    fleet.running.stop().await;
}

/// A server of OpenSSL's that is killed when the test ends, however it ends.
struct Older(Child);

impl Drop for Older {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Older {
    /// With OpenSSL's own choice of versions; and where it listens.
    fn start(folder: &Path) -> (Self, String) {
        let mut make = Command::new("openssl");
        make.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=older".split(' '));
        said(make.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder)).unwrap();
        let mut serve = Command::new("openssl");
        serve.args(["s_server", "-www", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"]);
        serve.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Self(serve.spawn().unwrap());
        let told = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = told.filter_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned)).next();
        (server, address.expect("it tells where it listens"))
    }
}

/// A judge who finds nothing anywhere would be none.
#[test]
fn sslscan_finds_what_is_older_where_it_is() {
    let Some(sslscan) = named(SSLSCAN) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = Older::start(folder.path());
    assert_eq!(spoken(&sslscan, &address), ["tls 1.2", "tls 1.3"]);
}
