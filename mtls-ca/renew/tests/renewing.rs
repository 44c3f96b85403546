//! Certificates of services from the authority's own ACME server, with its keys in a token: the first one, the next, and
//! what is told when there is none. The files stay as they were unless all of it worked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../acme-server/tests/house/mod.rs"]
mod house;
#[path = "../../acme/tests/world/mod.rs"]
mod world;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ca_mtls::IdentityFiles;
use ca_renew::{Config, RenewError, Renewal, Responder, renew};
use data_encoding::BASE64URL_NOPAD;
use house::{ADDRESS, House, Running, house};
use test_token::{TestToken, in_own_process};
use tokio::sync::watch;
use world::{HOST, MAC_KEY, OTHER_HOST, SERVICE};

/// Any port of this machine's.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn within<F: AsyncFnOnce(House, &TestToken)>(token: &TestToken, body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { body(house(token).await, token).await });
}

/// A settings file for a service with these names, and where its certificate goes.
fn settings(folder: &Path, running: &Running<'_>, names: &[&str], key: [u8; 32]) -> (PathBuf, IdentityFiles) {
    let wanted = Entry { folder: folder.to_owned(), dns: names, ip: &[], account_key: "service-1" };
    let path = write_settings(folder, running, ANY_PORT, &[&wanted], key);
    (path, wanted.files(folder))
}

/// One certificate of a settings file, in a folder of its own.
struct Entry<'a> {
    folder: PathBuf,
    dns: &'a [&'a str],
    ip: &'a [&'a str],
    account_key: &'a str,
}

impl Entry<'_> {
    fn files(&self, bundle: &Path) -> IdentityFiles {
        let at = |name: &str| self.folder.join(name);
        IdentityFiles { certificate: at("cert.pem"), key: at("key.pem"), bundle: bundle.join("bundle.pem") }
    }
}

/// A settings file whose responder listens here.
fn write_settings(
    folder: &Path,
    running: &Running<'_>,
    http01_listen: SocketAddr,
    entries: &[&Entry<'_>],
    key: [u8; 32],
) -> PathBuf {
    fs::write(folder.join("bundle.pem"), running.house.authority.trust_bundle_pem()).unwrap();
    let port = running.address.port();
    let mut text = format!(
        "authority_address = \"localhost:{port}\"\nauthority_directory = \"{}\"\ntrust_bundle = {:?}\n\
         trust_domain = \"larder.internal\"\nhttp01_listen = \"{http01_listen}\"\n",
        running.url("directory"),
        folder.join("bundle.pem"),
    );
    for Entry { folder, dns, ip, account_key } in entries {
        let at = |name: &str| folder.join(name);
        fs::create_dir_all(folder).unwrap();
        fs::write(at("account.mac"), format!("{}\n", BASE64URL_NOPAD.encode(&key))).unwrap();
        text += &format!(
            "[[certificate]]\nparty = \"service/admin\"\ndns = {dns:?}\nip = {ip:?}\ncertificate = {:?}\nkey = {:?}\n\
             account = {:?}\naccount_key_id = \"{account_key}\"\naccount_key_file = {:?}\n",
            at("cert.pem"),
            at("key.pem"),
            at("account.json"),
            at("account.mac"),
        );
    }
    fs::write(folder.join("renew.toml"), text).unwrap();
    folder.join("renew.toml")
}

fn no_chance() -> u64 {
    0
}

fn renewal(settings: &Path, responder: &Responder, now_unix_s: fn() -> i64) -> Renewal {
    let config = Config::load(settings).unwrap();
    let ((authority, trusts), wanted) = (config.authority().unwrap(), config.wanted[0].clone());
    let asked = watch::channel(()).1;
    Renewal { config, wanted, authority, trusts, board: responder.board(), asked, now_unix_s, chance: no_chance }
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

/// The names and addresses in a certificate, in the words of the parser.
fn named(files: &IdentityFiles) -> Vec<String> {
    let pem = fs::read(&files.certificate).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let leaf = pem.parse_x509().unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    names.value.general_names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_certificate_has_the_addresses_that_were_wanted_and_may_be_had() {
    in_own_process("addresses", |token| {
        within(token, async |mut house, token| {
            let responder = Responder::bind(ANY_PORT).await.unwrap();
            house.host = responder.address().unwrap();
            let running = house.start().await;
            let mut entry =
                Entry { folder: token.directory().join("a"), dns: &[HOST], ip: &[ADDRESS], account_key: "service-1" };
            let files = entry.files(token.directory());
            let settings = |entry: &Entry<'_>| write_settings(token.directory(), &running, ANY_PORT, &[entry], MAC_KEY);
            let path = settings(&entry);
            let renewal = |path: &Path| renewal(path, &responder, ca_renew::clock::now_unix_s);
            let got = renewal(&path);
            let refused = |ip: &'static [&'static str], entry: &mut Entry<'static>| {
                entry.ip = ip;
                renewal(&settings(entry))
            };
            let elsewhere = refused(&["192.0.2.7"], &mut entry);
            let (board, serving) = (responder.board(), tokio::spawn(responder.run()));
            renew(&got).await.unwrap();
            let names = named(&files);
            assert_eq!(names[1..], [format!("DNSName({HOST})"), "IPAddress(7f:00:00:01)".to_owned()], "and who it is");
            let before = fs::read(&files.certificate).unwrap();
            let why = renew(&elsewhere).await.unwrap_err();
            assert!(matches!(&why, RenewError::Refused(why) if why.contains("192.0.2.7")), "{why}");

            // An address at which somebody else answers is not proved.
            serving.abort();
            let mute = renew(&Renewal { board, ..got }).await.unwrap_err();
            assert!(matches!(&mute, RenewError::Refused(_)), "{mute}");
            assert_eq!(fs::read(&files.certificate).unwrap(), before);
            running.stop().await;
        });
    });
}

#[test]
fn who_asks_for_the_next_certificate_gets_it_and_nobody_asks_for_ever() {
    in_own_process("asked", |token| {
        within(token, async |mut house, token| {
            let responder = Responder::bind(ANY_PORT).await.unwrap();
            house.host = responder.address().unwrap();
            let running = house.start().await;
            let (path, files) = settings(token.directory(), &running, &[HOST], MAC_KEY);
            let (ask, asked) = watch::channel(());
            let keeping = Renewal { asked, ..renewal(&path, &responder, ca_renew::clock::now_unix_s) };
            let deaf = renewal(&path, &responder, ca_renew::clock::now_unix_s);
            tokio::spawn(responder.run());
            renew(&keeping).await.unwrap();
            let serial = || files.load().ok().map(|(identity, _)| identity.own().serial.clone());
            let keeping = tokio::spawn(keeping.run());
            let mut before = serial();
            for _ in 0..2 {
                ask.send_replace(());
                before = another(&before, serial).await;
            }
            // Whoever could ask is gone: it is kept as before, and young.
            drop(ask);
            let quiet = tokio::time::timeout(Duration::from_millis(500), deaf.run()).await;
            assert!(quiet.is_err() && serial() == before && !keeping.is_finished());
            keeping.abort();
            running.stop().await;
        });
    });
}

#[test]
fn a_certificate_that_was_taken_back_is_replaced_as_soon_as_the_authority_says_so() {
    in_own_process("hinted", |token| {
        within(token, async |mut house, token| {
            let responder = Responder::bind(ANY_PORT).await.unwrap();
            house.host = responder.address().unwrap();
            let folder = token.directory().to_owned();
            let mut entry = Entry { folder: folder.clone(), dns: &[HOST], ip: &[ADDRESS], account_key: "service-1" };
            let files = entry.files(&folder);
            let (board, serial) = (responder.board(), || files.load().ok().map(|(it, _)| it.own().serial.clone()));
            let running = house.start().await;
            let path = write_settings(&folder, &running, ANY_PORT, &[&entry], MAC_KEY);
            let first = renewal(&path, &responder, ca_renew::clock::now_unix_s);
            tokio::spawn(responder.run());
            renew(&first).await.unwrap();
            let held = serial();
            running.stop().await;
            let which = authority::Which::Serial(held.clone().unwrap());
            house.authority.revoke(&which, authority::Reason::Superseded, authority::now_unix_s()).unwrap();

            // The server reads the lists when it begins; it listens elsewhere now, so the account is another.
            let running = house.start().await;
            fs::remove_file(folder.join("account.json")).unwrap();
            entry.account_key = "service-2";
            let config = Config::load(&write_settings(&folder, &running, ANY_PORT, &[&entry], MAC_KEY)).unwrap();
            let ((authority, trusts), wanted) = (config.authority().unwrap(), config.wanted[0].clone());
            let keeping = tokio::spawn(Renewal { config, wanted, authority, trusts, board, ..first }.run());
            another(&held, serial).await;
            keeping.abort();
            running.stop().await;
        });
    });
}

/// Waits until there is another than before.
async fn another(before: &Option<String>, now: impl Fn() -> Option<String>) -> Option<String> {
    let changed = async {
        loop {
            match now() {
                next @ Some(_) if &next != before => return next,
                _ => tokio::time::sleep(Duration::from_millis(20)).await, // it is files that change
            }
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("there is another certificate in time")
}

/// A process that is killed when the test ends, however it ends.
struct Program(Child);

impl Program {
    fn start(settings: &Path) -> Self {
        let log = fs::File::create(settings.with_extension("log")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_larder-renew"));
        Self(program.arg(settings).stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_program_keeps_several_and_replaces_all_of_them_when_it_is_told_to() {
    in_own_process("program", |token| {
        within(token, async |mut house, token| {
            // The program listens where the authority will look: a port that was free just now.
            house.host = Responder::bind(ANY_PORT).await.unwrap().address().unwrap();
            let running = house.start().await;
            let at = |name: &str| token.directory().join(name);
            let one = Entry { folder: at("one"), dns: &[HOST, OTHER_HOST], ip: &[ADDRESS], account_key: "service-1" };
            let two = Entry { folder: at("two"), dns: &[], ip: &[ADDRESS], account_key: "service-2" };
            let files = [one.files(token.directory()), two.files(token.directory())];
            let path = write_settings(token.directory(), &running, house.host, &[&one, &two], MAC_KEY);
            let serial = |files: &IdentityFiles| files.load().ok().map(|(identity, _)| identity.own().serial.clone());
            let mut program = Program::start(&path);
            let mut held = [None, None];
            for round in 0..2 {
                if round > 0 {
                    program.signal("HUP");
                }
                for (held, files) in held.iter_mut().zip(&files) {
                    *held = another(held, || serial(files)).await;
                }
            }
            assert_eq!([named(&files[0]).len(), named(&files[1]).len()], [4, 2]);

            // A dead authority: what is held stays, the program lives, and keeps trying; its log says why there is none.
            running.stop().await;
            let text = fs::read_to_string(path.with_extension("log")).unwrap();
            program.signal("HUP");
            let told = async {
                while fs::read_to_string(path.with_extension("log")).unwrap().matches("no new certificate").count() < 2
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{text}"));
            assert_eq!([serial(&files[0]), serial(&files[1])], held);
            assert!(program.0.try_wait().unwrap().is_none());
            program.signal("TERM");
            assert!(program.0.wait().unwrap().success());
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
    assert_eq!(Config::load(&path).unwrap().wanted[0].ip, [] as [std::net::IpAddr; 0]);
    let alone = good.replace("dns = [\"admin.example\"]", "ip = [\"127.0.0.1\", \"::1\"]");
    fs::write(&path, alone).unwrap();
    let wanted = &Config::load(&path).unwrap().wanted[0];
    assert_eq!((wanted.dns.len(), wanted.ip.len()), (0, 2), "a service may have addresses alone");
    for (from, to) in [
        ("service/admin", "nobody"),
        ("[\"admin.example\"]", "[]"),
        ("dns = [\"admin.example\"]\n", ""),
        ("dns = [\"admin.example\"]", "ip = [\"admin.example\"]"),
        ("dns = [\"admin.example\"]", "ip = [\"127.0.0.1/8\"]"),
        ("larder.internal", "Larder Internal"),
        ("account = ", "acount = "),
        ("127.0.0.1:80", "here"),
    ] {
        refused(&good.replace(from, to));
    }
    assert!(matches!(Config::load(&folder.path().join("none")), Err(RenewError::Refused(_))));
}
