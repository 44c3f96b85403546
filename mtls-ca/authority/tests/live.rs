//! Rotation while everything runs: the authority's server, two services that follow it over real TLS, a fridge, and handshakes
//! between them without a pause, through the replacement of a leaf, an intermediate and a root, all the way forward and back.
//!
//! What counts as a failure: one handshake that does not succeed. What parties do by themselves is here done by the test: each
//! renews its certificate when the step before asks for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authority::{
    Approval, Approver, Authority, IssuedFiles, Listen, Names, Order, Profile, SubjectKey, now_unix_s, serve,
};
use ca_mtls::{
    BundleFollower, Follower, IdentityFiles, Lists, NextBundle, ReloadingClient, ReloadingServer, accept, connect,
};
use ca_rotation::{Direction, Refusal, Step, Tier};
use rcgen::KeyPair;
use rustls_pki_types::ServerName;
use test_token::{TestToken, in_own_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use world::{FRIDGE, SESSION, config, domain, id, people};

const LIMIT: Duration = Duration::from_secs(30);
const ADMIN: &str = "spiffe://larder.internal/service/admin";
/// Long after everything that lives now has ended: for gates that wait for that, since the test does not.
const LATER_S: i64 = 9 * 24 * 3600;

/// A party with its files, as a server and as a client.
struct Party {
    name: &'static str,
    dir: PathBuf,
    server: Option<Arc<ReloadingServer>>,
    client: Arc<ReloadingClient>,
}

impl Party {
    fn new(token: &TestToken, authority: &Authority, name: &'static str) -> Self {
        let dir = token.directory().join(name.rsplit('/').next().unwrap());
        enrol(authority, name, &dir, true);
        let files = || IdentityFiles {
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
            bundle: dir.join("bundle.pem"),
        };
        let serves = name.contains("/service/");
        let server = serves.then(|| Arc::new(ReloadingServer::new(files(), &domain(), &[]).unwrap()));
        let client = Arc::new(ReloadingClient::new(files()).unwrap());
        Self { name, dir, server, client }
    }

    /// Gets another certificate. A fridge takes the trust bundle along, a service follows it by itself.
    fn renew(&self, authority: &Authority) {
        enrol(authority, self.name, &self.dir, self.server.is_none());
        self.client.reload().unwrap();
        if let Some(server) = &self.server {
            assert!(server.reload().unwrap().new_certificate);
        }
    }
}

fn enrol(authority: &Authority, name: &str, dir: &Path, with_bundle: bool) {
    let (profile, names) = match name.contains("/service/") {
        true => (Profile::Service, Names { dns: vec!["localhost".into()], ip: vec![] }),
        false => (Profile::Device, Names::default()),
    };
    let (key, pair) = SubjectKey::generate().unwrap();
    let order = Order::new(profile, &id(name), names, key, 24 * 3600).unwrap();
    let chain = authority.issue(&order, now_unix_s()).unwrap();
    let bundle = std::fs::read_to_string(dir.join("bundle.pem")).unwrap_or_default();
    let bundle = if with_bundle { authority.trust_bundle_pem() } else { bundle };
    IssuedFiles::write(dir, &chain, Some(pair.expose()), &bundle).unwrap();
}

/// One question to the authority's server: the status, the tag and the body.
async fn ask(client: &ReloadingClient, address: &str, path: &str, tag: &str) -> Result<(u16, String, Vec<u8>), String> {
    let tls = client.config(&id("spiffe://larder.internal/service/authority"), &[b"http/1.1"]).unwrap();
    let stream = TcpStream::connect(address).await.map_err(|why| why.to_string())?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let (mut stream, _) = connect(tls, name, stream, LIMIT).await.map_err(|why| why.to_string())?;
    let question =
        format!("GET {path}?wait_s=5 HTTP/1.1\r\nhost: authority\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await.map_err(|why| why.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(|why| why.to_string())?;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("it is no answer")?;
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or("it has no status")?;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
    Ok((status, tag, answer[at + 4..].to_vec()))
}

/// A service follows bundles and lists, as its own process would.
fn follow(runtime: &Runtime, party: &Party, address: &str) -> (Arc<BundleFollower>, Arc<Follower>) {
    let (server, client) = (Arc::clone(party.server.as_ref().unwrap()), Arc::clone(&party.client));
    let (reloading, reloaded) = (Arc::clone(&server), Arc::clone(&client));
    let reload = move || reloading.reload().and_then(|_| reloaded.reload()).map(|_| ());
    let bundles = BundleFollower::new(party.dir.join("bundle.pem"), domain(), reload, now_unix_s).unwrap();
    let (bundles, running) = (Arc::new(bundles), address.to_owned());
    let (followed, asking) = (Arc::clone(&bundles), Arc::clone(&client));
    runtime.spawn(async move {
        let next = |known: Option<u64>| {
            let (client, address) = (Arc::clone(&asking), running.clone());
            async move {
                let tag = known.map_or_else(String::new, |version| format!("\"{version}\""));
                match ask(&client, &address, "/bundle", &tag).await? {
                    (200, _, body) => Ok(NextBundle::New(String::from_utf8(body).unwrap())),
                    (304, ..) => Ok(NextBundle::Unchanged),
                    (status, ..) => Err(format!("status {status}")),
                }
            }
        };
        followed.run(next).await;
    });
    let lists = Arc::new(Follower::new(server, party.dir.join("lists.pem"), now_unix_s));
    let (followed, running) = (Arc::clone(&lists), address.to_owned());
    runtime.spawn(async move {
        let next = |tag: String| {
            let (client, address) = (Arc::clone(&client), running.clone());
            async move {
                match ask(&client, &address, "/v1/revocations", &tag).await? {
                    (200, tag, pem) => Ok(Lists::New { tag, pem }),
                    (304, ..) => Ok(Lists::Unchanged),
                    (status, ..) => Err(format!("status {status}")),
                }
            }
        };
        followed.run(next).await;
    });
    (bundles, lists)
}

/// Handshakes without a pause, and what became of them.
#[derive(Default)]
struct Handshakes {
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Handshakes {
    fn between(self: &Arc<Self>, runtime: &Runtime, client: &Party, server: &Party) {
        let (count, client) = (Arc::clone(self), Arc::clone(&client.client));
        let (server, expected) = (Arc::clone(server.server.as_ref().unwrap()), id(server.name));
        runtime.spawn(async move {
            while !count.over.load(Ordering::Relaxed) {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let tls = client.config(&expected, &[]).unwrap();
                let host = ServerName::try_from("localhost").unwrap();
                let asking = async {
                    let (mut tls, _) = connect(tls, host, near, LIMIT).await.map_err(|why| format!("client: {why}"))?;
                    let mut byte = [0];
                    tls.read_exact(&mut byte).await.map(|_| ()).map_err(|why| format!("client: {why}"))
                };
                let serving = async {
                    let (mut tls, _) =
                        accept(server.config(), far, LIMIT).await.map_err(|why| format!("server: {why}"))?;
                    tls.write_all(b"x").await.map_err(|why| format!("server: {why}"))?;
                    tls.flush().await.map_err(|why| format!("server: {why}"))
                };
                let (asked, served) = tokio::join!(asking, serving);
                count.done.fetch_add(1, Ordering::Relaxed);
                for why in [asked, served].into_iter().filter_map(Result::err) {
                    count.failed.lock().unwrap().push(why);
                }
                tokio::task::yield_now().await;
            }
        });
    }

    /// Waits until so many more handshakes were made since now, so that every step is tried by some.
    fn more(&self, runtime: &Runtime) {
        let wanted = self.done.load(Ordering::Relaxed) + 30;
        wait(runtime, "more handshakes", || self.done.load(Ordering::Relaxed) >= wanted);
        assert_eq!(self.failed.lock().unwrap().as_slice(), [] as [String; 0]);
    }
}

fn wait(runtime: &Runtime, what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "waited in vain for {what}");
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
    }
}

/// Everybody there is, and the people who agree.
struct House {
    authority: Arc<Authority>,
    keys: Vec<KeyPair>,
    runtime: Runtime,
    parties: [Party; 3],
    followers: Vec<(Arc<BundleFollower>, Arc<Follower>)>,
    handshakes: Arc<Handshakes>,
}

impl House {
    fn new(token: &TestToken) -> Self {
        let (approvers, keys): (Vec<Approver>, Vec<KeyPair>) = people(["ada", "bob"]).into_iter().unzip();
        let authority = Arc::new(Authority::init_with(&config(token), &approvers, now_unix_s()).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ready = token.directory().join("ready");
        let listen = Listen {
            services: "127.0.0.1:0".parse().unwrap(),
            names: Names { dns: vec![], ip: vec!["127.0.0.1".parse().unwrap()] },
            ready_file: Some(ready.clone()),
        };
        // It opens the same folder, as another process would.
        let serving = Arc::new(Authority::open(&config(token)).unwrap());
        runtime.spawn(async move { serve(serving, listen, now_unix_s, std::future::pending()).await.unwrap() });
        wait(&runtime, "the server", || std::fs::read_to_string(&ready).is_ok_and(|text| text.ends_with('\n')));
        let address = std::fs::read_to_string(&ready).unwrap().trim().to_owned();
        let parties = [SESSION, ADMIN, FRIDGE].map(|name| Party::new(token, &authority, name));
        let followers = parties[..2].iter().map(|party| follow(&runtime, party, &address)).collect();
        let handshakes = Arc::<Handshakes>::default();
        let [session, admin, fridge] = &parties;
        for (client, server) in [(fridge, session), (admin, session), (session, admin)] {
            handshakes.between(&runtime, client, server);
        }
        Self { authority, keys, runtime, parties, followers, handshakes }
    }

    fn step(&self, tier: Tier, direction: Direction, at_unix_s: i64) -> Result<Step, String> {
        let proposal = self.authority.propose(tier, direction, at_unix_s).map_err(|why| why.to_string())?;
        let agree =
            |act: &String| self.keys.iter().map(|key| Approval::sign(act, &key.serialize_pem()).unwrap()).collect();
        let approvals: Vec<Approval> = proposal.to_sign.as_ref().map_or_else(Vec::new, agree);
        let act = self.authority.rotate(tier, direction, &approvals, at_unix_s).map_err(|why| why.to_string())?;
        self.handshakes.more(&self.runtime);
        Ok(act.step)
    }

    fn steps(&self, tier: Tier, direction: Direction, steps: &[Step], at_unix_s: i64) {
        for step in steps {
            assert_eq!(self.step(tier, direction, at_unix_s), Ok(*step), "{tier}");
        }
    }

    fn renew_all(&self) {
        for party in &self.parties {
            party.renew(&self.authority);
            self.handshakes.more(&self.runtime);
        }
    }

    /// Waits until both services have said that they have the bundle in force, and it is.
    fn all_have_the_bundle(&self) {
        let version = self.authority.standing(now_unix_s()).unwrap().rotation.bundle().version;
        wait(&self.runtime, "the bundle at every service", || {
            let standing = self.authority.standing(now_unix_s()).unwrap();
            standing.evidence.behind(version).is_empty() && self.followers.iter().all(|(it, _)| it.version() == version)
        });
        self.handshakes.more(&self.runtime);
    }

    fn issuers(&self) -> Vec<String> {
        let own = |party: &Party| party.client.reload().unwrap().own.issuer;
        self.parties.iter().map(own).map(|issuer| issuer.rsplit(' ').next().unwrap().to_owned()).collect()
    }
}

const INTERMEDIATES: [Tier; 3] = [Tier::Device, Tier::Service, Tier::Attestation];
const FORWARD: [Step; 3] = [Step::Prepare, Step::Distribute, Step::Activate];
const ALONG: [Step; 3] = [Step::Taint, Step::Drain, Step::Retire];

#[test]
fn everything_is_replaced_forward_and_back_and_no_handshake_fails() {
    in_own_process("live", |token| {
        let house = House::new(token);
        let later = now_unix_s() + LATER_S;
        house.all_have_the_bundle();
        house.renew_all(); // a leaf

        // An intermediate: there, back, and there for good.
        for tier in [Tier::Device, Tier::Service] {
            house.steps(tier, Direction::Next, &FORWARD, now_unix_s());
        }
        house.renew_all();
        assert_eq!(house.issuers(), ["2", "2", "2"]);
        for tier in [Tier::Device, Tier::Service] {
            house.steps(tier, Direction::Next, &[Step::Taint], now_unix_s());
            let held = house.step(tier, Direction::Next, now_unix_s()).unwrap_err();
            assert!(held.contains("live until"), "what is still good is not dropped: {held}");
            house.steps(tier, Direction::Back, &[Step::Taint, Step::Activate], now_unix_s());
        }
        house.renew_all();
        assert_eq!(house.issuers(), ["1", "1", "1"]);
        for tier in [Tier::Device, Tier::Service] {
            house.steps(tier, Direction::Back, &[Step::Distribute, Step::Prepare], later);
            house.steps(tier, Direction::Next, &FORWARD, now_unix_s());
        }
        house.renew_all();
        for tier in [Tier::Device, Tier::Service] {
            house.steps(tier, Direction::Next, &ALONG, later);
        }
        assert_eq!(house.issuers(), ["3", "3", "3"]);

        root(&house, later);
        house.handshakes.over.store(true, Ordering::Relaxed);
        let done = house.handshakes.done.load(Ordering::Relaxed);
        assert!(done > 1000, "{done} handshakes");
        assert_eq!(house.authority.standing(later).unwrap().rotation.bundle().roots, [2]);
        for (bundles, lists) in &house.followers {
            assert_eq!((bundles.failures(), lists.failures()), (0, 0), "nor did a question to the authority");
        }
    });
}

/// A root: made known, withdrawn, made known again, used, left, used again, and the old one gone for good.
fn root(house: &House, later: i64) {
    house.steps(Tier::Root, Direction::Next, &[Step::Prepare, Step::Distribute], now_unix_s());
    house.all_have_the_bundle();
    house.steps(Tier::Root, Direction::Back, &[Step::Distribute], now_unix_s());
    house.all_have_the_bundle();
    house.steps(Tier::Root, Direction::Next, &[Step::Distribute], now_unix_s());
    house.all_have_the_bundle();
    let held = house.step(Tier::Root, Direction::Next, now_unix_s()).unwrap_err();
    assert!(held.contains("of fridges or operators older than bundle 4"), "{held}");
    house.renew_all();
    house.steps(Tier::Root, Direction::Next, &[Step::Activate], later);
    for tier in INTERMEDIATES {
        house.steps(tier, Direction::Next, &FORWARD, now_unix_s());
    }
    house.renew_all();
    let held = house.authority.propose(Tier::Root, Direction::Back, later).unwrap_err();
    let authority::AuthorityError::Refused(authority::Refusal::Rotation(why)) = &held else { panic!("{held}") };
    assert!(matches!(**why, Refusal::StandsUnder { .. }), "{held}");
    for tier in INTERMEDIATES {
        house.steps(tier, Direction::Back, &[Step::Activate], now_unix_s());
    }
    house.renew_all();
    for tier in INTERMEDIATES {
        house.steps(tier, Direction::Back, &[Step::Distribute, Step::Prepare], later);
    }
    house.steps(Tier::Root, Direction::Back, &[Step::Activate], later);
    house.steps(Tier::Root, Direction::Next, &[Step::Activate], later);
    for tier in INTERMEDIATES {
        house.steps(tier, Direction::Next, &FORWARD, now_unix_s());
    }
    house.renew_all();
    house.steps(Tier::Root, Direction::Next, &[Step::Taint], now_unix_s());
    for tier in INTERMEDIATES {
        house.steps(tier, Direction::Next, &ALONG, later);
    }
    house.steps(Tier::Root, Direction::Next, &[Step::Drain, Step::Retire], later);
    wait(&house.runtime, "the last bundle", || house.followers.iter().all(|(it, _)| it.version() == 5));
    house.renew_all();
}
