//! `larder-acme` as people run it: external account keys from the terminal, and what is in the database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use acme_server::{AcmeServerError, Store};
use serde_json::Value;

/// Runs a command on external account keys over a database in this folder.
fn eab(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let database = dir.join("acme.db");
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder-acme"));
    command.args(["eab", arguments[0], "--database"]).arg(database).args(&arguments[1..]).current_dir(dir);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(said) } else { Err(complained) }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_shown_without_its_secret_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let made = eab(
        dir.path(),
        &["new", "--id", "service/admin", "--dns", "admin.example", "--dns", "admin.larder.internal", "--out", "mac"],
    )
    .unwrap();
    assert!(made.contains("Made an external account key for spiffe://") && made.contains("Next: "), "{made}");
    let secret = std::fs::read_to_string(dir.path().join("mac")).unwrap();
    assert_eq!(data_encoding::BASE64URL_NOPAD.decode(secret.as_bytes()).unwrap().len(), 32);
    assert!(!made.contains(&secret));
    assert_eq!((mode(&dir.path().join("mac")), mode(&dir.path().join("acme.db"))), (0o600, 0o600));

    let table = eab(dir.path(), &["list"]).unwrap();
    assert!(table.contains("unused") && table.contains("admin.example, admin.larder.internal"), "{table}");
    assert!(!table.contains(&secret) && table.contains("Next: "), "{table}");
    let listed: Value = serde_json::from_str(&eab(dir.path(), &["list", "--json"]).unwrap()).unwrap();
    assert_eq!((&listed["profile"], &listed["state"]), (&"service".into(), &"unused".into()));
    let kid = listed["kid"].as_str().unwrap();
    assert!(made.contains(kid));

    let revoked = eab(dir.path(), &["revoke", kid]).unwrap();
    assert!(revoked.contains(kid) && revoked.contains("Next: "), "{revoked}");
    assert!(eab(dir.path(), &["list"]).unwrap().contains("revoked"));
    let again = eab(dir.path(), &["revoke", kid]).unwrap_err();
    assert!(again.contains("no key") && again.contains("eab list"), "{again}");
}

#[test]
fn a_key_may_allow_addresses_beside_names_and_alone() {
    let dir = tempfile::tempdir().unwrap();
    let of = |arguments: &[&str]| -> Value {
        let made = eab(dir.path(), &[&["new", "--id", "service/admin", "--json"][..], arguments].concat()).unwrap();
        serde_json::from_str(&made).unwrap()
    };
    let both = of(&["--ip", "192.0.2.7", "--dns", "admin.example", "--ip", "2001:DB8:0::7", "--out", "both"]);
    assert_eq!(both["identifiers"], serde_json::json!(["admin.example", "192.0.2.7", "2001:db8::7"]));
    let alone = of(&["--ip", "127.0.0.1", "--out", "alone"]);
    assert_eq!((&alone["identifiers"], &alone["profile"]), (&serde_json::json!(["127.0.0.1"]), &"service".into()));
    let table = eab(dir.path(), &["list"]).unwrap();
    assert!(table.contains("admin.example, 192.0.2.7, 2001:db8::7"), "read back from its row: {table}");
}

#[test]
fn a_fridges_key_is_for_its_endorsement_key() {
    let dir = tempfile::tempdir().unwrap();
    let hash = "AB".repeat(32);
    let made = eab(dir.path(), &["new", "--id", "fridge/f1", "--ek-sha256", &hash, "--out", "mac", "--json"]).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["profile"], &made["identifiers"][0]), (&"device".into(), &hash.to_lowercase().into()));
    assert_eq!(made["mac_key_file"], "mac");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let hash = "ab".repeat(32);
    for (arguments, words) in [
        (vec!["--id", "service/admin"], "between 1 and 16 DNS names and addresses"),
        (vec!["--id", "fridge/f1", "--dns", "a.example"], "is no service"),
        (vec!["--id", "service/admin", "--dns", "*.example"], "no host name"),
        (vec!["--id", "service/admin", "--ek-sha256", &hash], "is no fridge"),
        (vec!["--id", "fridge/f1", "--ek-sha256", "abcd"], "64 hex digits"),
        (vec!["--id", "fridge/f1", "--ek-sha256", &hash, "--dns", "a.example"], "not both"),
        (vec!["--id", "fridge/f1", "--ek-sha256", &hash, "--ip", "192.0.2.7"], "not both"),
        (vec!["--id", "fridge/f1", "--ip", "192.0.2.7"], "is no service"),
        (vec!["--id", "service/admin", "--ip", "0.0.0.0"], "means no machine"),
        (vec!["--id", "service/admin", "--ip", "255.255.255.255"], "broadcast"),
        (vec!["--id", "service/admin", "--ip", "ff02::1"], "multicast"),
        (vec!["--id", "service/admin", "--ip", "::ffff:192.0.2.7"], "write it as one"),
        (vec!["--id", "service/admin", "--ip", "admin.example"], "invalid value"),
        (vec!["--id", "service/admin", "--dns", "192.0.2.7"], "no host name"),
        (vec!["--id", "nobody", "--dns", "a.example"], "no name of a party"),
    ] {
        let refused = eab(dir.path(), &[&["new", "--out", "mac"][..], &arguments].concat()).unwrap_err();
        assert!(refused.contains(words), "{arguments:?}: {refused}");
        assert!(!dir.path().join("mac").exists(), "{arguments:?}");
    }
    std::fs::write(dir.path().join("mac"), "mine").unwrap();
    let refused = eab(dir.path(), &["new", "--id", "service/admin", "--dns", "a.example", "--out", "mac"]).unwrap_err();
    assert!(refused.contains("cannot write mac"), "{refused}");
    assert_eq!(std::fs::read_to_string(dir.path().join("mac")).unwrap(), "mine");
    assert_eq!(eab(dir.path(), &["list", "--json"]).unwrap(), "");
}

async fn vandal(database: &Path, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_key_that_no_code_wrote_is_refused_by_its_name() {
    for statement in [
        "UPDATE eab_keys SET mac_key = X'00'",
        "UPDATE eab_keys SET profile = 'operator'",
        "UPDATE eab_keys SET profile = 'device'",
        "UPDATE eab_keys SET party = 'nobody'",
        "UPDATE eab_keys SET identifiers = '[]'",
        "UPDATE eab_keys SET identifiers = 'x'",
        "UPDATE eab_keys SET identifiers = '[\"0.0.0.0\"]'",
        "UPDATE eab_keys SET identifiers = '[\"2001:DB8::7\"]'",
        "UPDATE eab_keys SET identifiers = '[\"Admin.example\"]'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        eab(dir.path(), &["new", "--id", "service/admin", "--dns", "a.example", "--out", "mac"]).unwrap();
        let database = dir.path().join("acme.db");
        assert_eq!(Store::open(&database).await.unwrap().eabs().await.unwrap().len(), 1);
        vandal(&database, statement).await;
        let refused = Store::open(&database).await.unwrap().eabs().await.unwrap_err();
        assert!(matches!(refused, AcmeServerError::Corrupt { .. }), "{statement}: {refused}");
        assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
    }
}

#[tokio::test]
async fn a_database_with_another_schema_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("acme.db");
    drop(Store::open(&database).await.unwrap());
    vandal(&database, "UPDATE _sqlx_migrations SET checksum = X'00'").await;
    assert!(matches!(Store::open(&database).await, Err(AcmeServerError::Corrupt { .. })));
}
