//! The service as a process: told by a file, silent on standard output, ended by SIGTERM.
//!
//! A failure is: an address that is not told, a word on standard output, a log line that is not JSON, an end that is not
//! clean, or a service that starts with a certificate of another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../kit/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::{Pki, party, write_files};
use tokio::process::{Child, Command};

fn spawn(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ops-admin"))
        .arg("--config")
        .arg(folder.join("config.toml"))
        .env_remove("LARDER_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn write_config(folder: &Path) {
    let mut text = String::from("listen = \"127.0.0.1:0\"\ntrust_domain = \"larder.internal\"\n");
    for (key, file) in [
        ("certificate", "tls.crt"),
        ("key", "tls.key"),
        ("trust_bundle", "roots.pem"),
        ("database", "x.sqlite"),
        ("ready_file", "ready"),
    ] {
        text.push_str(&format!("{key} = \"{}\"\n", folder.join(file).display()));
    }
    std::fs::write(folder.join("config.toml"), text).unwrap();
}

#[tokio::test]
async fn a_process_tells_its_address_and_ends_when_told() {
    let (folder, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    write_files(folder.path(), &pki, "admin");
    write_config(folder.path());
    let mut process = spawn(folder.path());
    let ready = folder.path().join("ready");
    let address = support::ready(&ready, async { panic!("the service ended: {:?}", process.wait().await) }).await;
    let (identity, server) = (pki.identity("service/monitor"), party("service/admin"));
    let client = ops_kit::Client::new(&identity, &pki.bundle(), &server, address).unwrap();
    let health = client.get("/healthz").await.unwrap();
    assert_eq!((health.status.as_u16(), &health.json()["service"]), (200, &serde_json::json!("admin")));
    let id = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), process.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(ended.stdout.is_empty(), "nothing is printed");
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("\"ready\"") && log.contains("\"ended\""), "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn a_process_with_the_certificate_of_another_service_does_not_start() {
    let (folder, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    write_files(folder.path(), &pki, "status");
    write_config(folder.path());
    let ended = tokio::time::timeout(Duration::from_secs(20), spawn(folder.path()).wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("service/status"), "{log}");
    assert!(!folder.path().join("ready").exists());
}
