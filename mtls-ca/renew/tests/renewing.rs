//! Certificates of services from the authority's own ACME server, with its keys in a token: the first one, the next, and
//! what is told when there is none. The files stay as they were unless all of it worked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../acme-server/tests/house/mod.rs"]
mod house;
#[path = "../../acme/tests/world/mod.rs"]
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ca_mtls::IdentityFiles;
use ca_renew::{Config, RenewError, Renewal, Responder, renew};
use data_encoding::BASE64URL_NOPAD;
use house::{House, Running, house};
use test_token::{TestToken, in_own_process};
use world::{HOST, MAC_KEY, OTHER_HOST, SERVICE};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn within<F: AsyncFnOnce(House, &TestToken)>(token: &TestToken, body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { body(house(token).await, token).await });
}

/// A settings file for a service with these names, and where its certificate goes.
fn settings(folder: &Path, running: &Running<'_>, names: &[&str], key: [u8; 32]) -> (PathBuf, IdentityFiles) {
    let at = |name: &str| folder.join(name);
    fs::write(at("bundle.pem"), running.house.authority.trust_bundle_pem()).unwrap();
    fs::write(at("account.mac"), format!("{}\n", BASE64URL_NOPAD.encode(&key))).unwrap();
    let port = running.address.port();
    let text = format!(
        "authority_address = \"localhost:{port}\"\nauthority_directory = \"{}\"\ntrust_bundle = {:?}\n\
         trust_domain = \"larder.internal\"\nhttp01_listen = \"127.0.0.1:0\"\n[[certificate]]\nparty = \
         \"service/admin\"\ndns = {names:?}\ncertificate = {:?}\nkey = {:?}\naccount = {:?}\naccount_key_id = \
         \"service-1\"\naccount_key_file = {:?}\n",
        running.url("directory"),
        at("bundle.pem"),
        at("cert.pem"),
        at("key.pem"),
        at("account.json"),
        at("account.mac"),
    );
    fs::write(at("renew.toml"), text).unwrap();
    (at("renew.toml"), IdentityFiles { certificate: at("cert.pem"), key: at("key.pem"), bundle: at("bundle.pem") })
}

fn no_chance() -> u64 {
    0
}

fn renewal(settings: &Path, responder: &Responder, now_unix_s: fn() -> i64) -> Renewal {
    let config = Config::load(settings).unwrap();
    let ((authority, trusts), wanted) = (config.authority().unwrap(), config.wanted[0].clone());
    Renewal { config, wanted, authority, trusts, board: responder.board(), now_unix_s, chance: no_chance }
}

/// Thirteen hours from now: past the middle of a day.
fn later() -> i64 {
    ca_renew::clock::now_unix_s() + 13 * 3_600
}

#[test]
fn a_service_gets_its_first_certificate_and_the_next_in_the_middle_of_its_life() {
    in_own_process("renewing", |token| {
        within(token, async |mut house, token| {
            let responder = Responder::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            house.host = responder.address().unwrap();
            let running = house.start().await;
            let (path, files) = settings(token.directory(), &running, &[HOST, OTHER_HOST], MAC_KEY);
            let (first, next) =
                (renewal(&path, &responder, ca_renew::clock::now_unix_s), renewal(&path, &responder, later));
            tokio::spawn(responder.run());
            renew(&first).await.unwrap();
            let (identity, _) = files.load().unwrap();
            assert_eq!(identity.id().as_str(), SERVICE);
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&files.key), mode(&files.certificate)), (0o600, 0o644));
            assert_eq!(mode(&token.directory().join("account.json")), 0o600);

            // Whose certificate is young is left alone; by a clock that is half a day ahead it is renewed at once.
            let before = identity.own().serial.clone();
            let quiet = tokio::time::timeout(Duration::from_millis(500), first.run()).await;
            assert!(quiet.is_err() && files.load().unwrap().0.own().serial == before);
            let keeping = tokio::spawn(next.run());
            let renewed = async {
                while files.load().is_ok_and(|(identity, _)| identity.own().serial == before) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, renewed).await.unwrap();
            keeping.abort();
            running.stop().await;
        });
    });
}

#[test]
fn what_fails_is_told_and_leaves_the_files_as_they_were() {
    in_own_process("refused", |token| {
        within(token, async |mut house, token| {
            let responder = Responder::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            house.host = responder.address().unwrap();
            let running = house.start().await;
            let told = async |names: &[&str], key: [u8; 32]| {
                let (path, files) = settings(token.directory(), &running, names, key);
                fs::write(&files.certificate, "as it was").unwrap();
                let failed = renew(&renewal(&path, &responder, ca_renew::clock::now_unix_s)).await.unwrap_err();
                assert_eq!(fs::read_to_string(&files.certificate).unwrap(), "as it was");
                assert!(!files.key.exists());
                failed
            };
            let wrong = told(&[HOST], [8; 32]).await;
            assert!(matches!(&wrong, RenewError::Refused(why) if why.contains("binding")), "{wrong}");
            let foreign = told(&["elsewhere.example"], MAC_KEY).await;
            assert!(matches!(&foreign, RenewError::Refused(why) if why.contains("elsewhere.example")), "{foreign}");
            fs::write(token.directory().join("account.json"), "{}").unwrap();
            let corrupt = told(&[HOST], MAC_KEY).await;
            assert!(matches!(&corrupt, RenewError::Corrupt(why) if why.contains("account.json")), "{corrupt}");
            fs::remove_file(token.directory().join("account.json")).unwrap();
            let (path, _) = settings(token.directory(), &running, &[HOST], MAC_KEY);
            fs::remove_file(token.directory().join("account.mac")).unwrap();
            let keyless = renew(&renewal(&path, &responder, ca_renew::clock::now_unix_s)).await.unwrap_err();
            assert!(matches!(&keyless, RenewError::Refused(why) if why.contains("larder-acme eab new")), "{keyless}");
            running.stop().await;
        });
    });
}

#[test]
fn settings_that_say_nothing_usable_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renew.toml");
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        let why = Config::load(&path).unwrap_err();
        assert!(matches!(why, RenewError::Refused(_)), "{why}");
    };
    let good = "authority_address = \"a:1\"\nauthority_directory = \"https://a:1/acme/directory\"\ntrust_bundle = \"b\"\n\
                trust_domain = \"larder.internal\"\nhttp01_listen = \"127.0.0.1:80\"\n[[certificate]]\nparty = \
                \"service/admin\"\ndns = [\"admin.example\"]\ncertificate = \"c\"\nkey = \"k\"\naccount = \"a\"\n\
                account_key_id = \"i\"\naccount_key_file = \"f\"\n";
    fs::write(&path, good).unwrap();
    assert!(Config::load(&path).is_ok());
    for (from, to) in [
        ("service/admin", "nobody"),
        ("[\"admin.example\"]", "[]"),
        ("larder.internal", "Larder Internal"),
        ("account = ", "acount = "),
        ("127.0.0.1:80", "here"),
    ] {
        refused(&good.replace(from, to));
    }
    assert!(matches!(Config::load(&folder.path().join("none")), Err(RenewError::Refused(_))));
}
