//! At noon the security team replaces everything that certificates hang on, forward and back: leaves, intermediates and the
//! root. Meanwhile people buy, and handshakes are made without a pause; none of either fails. A fridge that was off all the
//! while comes back by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::ReloadingClient;
use ca_rotation::{Direction, Tier};
use rustls_pki_types::ServerName;
use single_node::agents;
use single_node::enrolment::released;
use single_node::issuer::{Issuer, Party};
use single_node::stack::{OPS, PURCHASE};
use support::fridge::Fridge;
use support::house::{eventually, in_house};
use support::stage::Stage;
use support::world::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Fridges at which people buy, and visits to each.
const FRIDGES: usize = 3;
const VISITS: usize = 40;
/// The bound on a handshake and on the server's first word after it.
const LIMIT: Duration = Duration::from_secs(10);
/// What a client of HTTP/2 says first (RFC 9113, section 3.4).
const HTTP2_BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// When everything that is out today has ended, and its revocation lists are needed no more.
const LATER_S: i64 = 9 * 24 * 60 * 60;
/// Handshakes and purchases that there must be between one decision and the next.
const HANDSHAKES: usize = 5;
/// A fridge that is not there while everything is replaced.
const OFF: &str = "FR-9999";
const TIERS: [Tier; 3] = [Tier::Device, Tier::Service, Tier::Attestation];

/// What goes on all the time.
#[derive(Default)]
struct Going {
    handshakes: Cell<usize>,
    bought: RefCell<Vec<Session>>,
    failed: RefCell<Vec<String>>,
    over: Cell<bool>,
}

impl Going {
    fn fails(&self, why: String) {
        self.failed.borrow_mut().push(why);
    }

    fn nothing_failed(&self) {
        assert_eq!(*self.failed.borrow(), [] as [String; 0]);
    }
}

/// One handshake with a service, and its first word: in TLS 1.3 a server that refuses a certificate says so after it.
async fn handshake(client: &ReloadingClient, service: ServiceName, address: &str) -> Result<(), String> {
    let said = |why: &dyn std::fmt::Display| format!("{service}: {why}");
    let expected = SpiffeId::service(client.id().trust_domain(), service);
    let tls = client.config(&expected, &[b"h2"]).map_err(|why| said(&why))?;
    let stream = TcpStream::connect(address).await.map_err(|why| said(&why))?;
    let name = ServerName::try_from("localhost").map_err(|why| said(&why))?;
    let (mut tls, _) = ca_mtls::connect(tls, name, stream, LIMIT).await.map_err(|why| said(&why))?;
    let word = async {
        tls.write_all(HTTP2_BEGINS).await?;
        tls.flush().await?;
        tls.read_u8().await
    };
    let word = tokio::time::timeout(LIMIT, word).await.map_err(|why| said(&why))?;
    word.map(drop).map_err(|why| said(&why))
}

/// Makes handshakes with every service until all is over.
async fn shake(going: Rc<Going>, client: Arc<ReloadingClient>, services: Vec<(ServiceName, String)>) {
    while !going.over.get() {
        for (service, address) in &services {
            if let Err(why) = handshake(&client, *service, address).await {
                going.fails(why);
            }
            going.handshakes.set(going.handshakes.get() + 1);
        }
        tokio::task::yield_now().await;
    }
}

/// Plays one visit after the other until all is over.
async fn buy(going: Rc<Going>, fridge: Rc<Fridge>, visits: Vec<Session>) {
    for visit in visits {
        if going.over.get() {
            return;
        }
        let came = fridge.play(&visit).await;
        if came != Ok(("charged".to_owned(), 890)) {
            going.fails(format!("{} at {}: {came:?}", visit.session, fridge.name));
        }
        going.bought.borrow_mut().push(visit);
    }
}

/// The house, and the team that replaces what it stands on.
struct Noon {
    stage: Stage,
    issuer: Arc<Issuer>,
    clients: Vec<Arc<ReloadingClient>>,
    fridges: Vec<Rc<Fridge>>,
    going: Rc<Going>,
}

impl Noon {
    async fn strikes(mut stage: Stage) -> Self {
        let going = Rc::<Going>::default();
        let (mut clients, mut fridges) = (Vec::new(), Vec::new());
        for _ in 0..FRIDGES {
            let visits = stage.visits();
            let name = visits[0].fridge.clone();
            let (config, client) = agents::renewable(&stage.house.stack, &name).unwrap();
            let fridge = Rc::new(Fridge::with(config, &name, stage.house.stack.layout().journal(&name)));
            clients.push(Arc::new(client));
            fridges.push(Rc::clone(&fridge));
            tokio::task::spawn_local(buy(Rc::clone(&going), fridge, visits));
        }
        let address = |name: &str| stage.house.stack.address(name).unwrap().to_owned();
        let purchase = (ServiceName::PurchaseSession, address(PURCHASE));
        let others = OPS.iter().map(|(name, service)| (*service, address(name)));
        let services = others.chain([purchase]).collect();
        tokio::task::spawn_local(shake(Rc::clone(&going), Arc::clone(&clients[0]), services));
        let issuer = Arc::clone(stage.house.stack.issuer());
        Self { stage, issuer, clients, fridges, going }
    }

    /// Waits until there were more handshakes, none of which failed.
    async fn goes_on(&self) {
        let wanted = self.going.handshakes.get() + HANDSHAKES * (OPS.len() + 1);
        eventually("more handshakes", async || (self.going.handshakes.get() >= wanted).then_some(())).await;
        self.going.nothing_failed();
    }

    async fn try_step(&self, tier: Tier, direction: Direction, at_unix_s: i64) -> Result<(), String> {
        let issuer = Arc::clone(&self.issuer);
        let stepped = tokio::task::spawn_blocking(move || issuer.rotate(tier, direction, at_unix_s)).await.unwrap();
        self.goes_on().await;
        stepped.map_err(|fault| fault.to_string())
    }

    async fn steps(&self, tiers: &[Tier], direction: Direction, count: usize, at_unix_s: i64) {
        for tier in tiers {
            for _ in 0..count {
                self.try_step(*tier, direction, at_unix_s).await.unwrap();
            }
        }
    }

    /// Issues anew to everybody, and waits until every service shows what it was given.
    async fn all_renewed(&self) {
        self.stage.house.stack.renew_all().await.unwrap();
        for client in &self.clients {
            client.reload().unwrap();
        }
        let services = OPS.iter().map(|(name, _)| *name).chain([PURCHASE]);
        for name in services {
            let (identity, _) = self.issuer.load(&Party::Service(name)).unwrap();
            eventually("the service shows its new certificate", async || {
                (self.shown(name).await? == identity.own().serial).then_some(())
            })
            .await;
        }
        self.goes_on().await;
    }

    /// The serial number of the certificate that a service shows.
    async fn shown(&self, name: &str) -> Option<String> {
        let service = ServiceName::parse(name).ok()?;
        let expected = SpiffeId::service(self.issuer.trust_domain(), service);
        let tls = self.clients[0].config(&expected, &[b"h2"]).ok()?;
        let stream = TcpStream::connect(self.stage.house.stack.address(name)?).await.ok()?;
        let (_, peer) = ca_mtls::connect(tls, ServerName::try_from("localhost").ok()?, stream, LIMIT).await.ok()?;
        Some(peer.serial)
    }

    /// Waits until everybody who follows has said that he has the bundle of now.
    async fn all_have_the_bundle(&self) {
        let wanted: BTreeSet<&str> = OPS.iter().map(|(name, _)| *name).chain([PURCHASE, "monitor"]).collect();
        eventually("every service has the bundle", async || {
            let standing = self.issuer.authority().standing(authority::now_unix_s()).unwrap();
            let version = standing.rotation.bundle().version;
            let has = |(name, heard): (&String, &ca_rotation::Heard)| (heard.version >= version).then(|| name.clone());
            let have: BTreeSet<String> = standing.evidence.heard.iter().filter_map(has).collect();
            (wanted.iter().all(|name| have.contains(*name)) && standing.evidence.behind(version).is_empty())
                .then_some(())
        })
        .await;
        self.goes_on().await;
    }

    /// A fridge that knows the roots of now and no later ones: it has no power from now on.
    fn goes_off(&self, fridge: &str) {
        let folder = self.stage.house.stack.layout().root().join("tpm").join(fridge).join("identity");
        self.issuer.bundle_in(&folder).unwrap();
    }

    /// Gives that fridge power: it trusts nobody whom it could ask, takes the bundles that it missed, and gets a certificate.
    async fn comes_back(&mut self, fridge: &str) {
        self.stage.house.stack.start_enrolment(&|_| ()).await.unwrap();
        let mut told = Vec::new();
        let got = agents::certified(&self.stage.house.stack, fridge, released(), |event| {
            told.push(format!("{event:?}"));
            if told.len() < 3 { agents::Going::On } else { agents::Going::Stop }
        });
        let (_, certified) = got.await.unwrap().unwrap_or_else(|| panic!("{told:?}"));
        drop(certified);
    }

    async fn ends(self) {
        self.going.over.set(true);
        let Self { mut stage, fridges, going, .. } = self;
        eventually("the last visits end", async || (Rc::strong_count(&going) == 1).then_some(())).await;
        going.nothing_failed();
        let bought = going.bought.take();
        assert!(bought.len() >= 2 * FRIDGES, "{} purchases, {} handshakes", bought.len(), going.handshakes.get());
        for visit in &bought {
            stage.played(visit);
        }
        for fridge in &fridges {
            fridge.shut_down().await;
        }
        stage.the_books_agree().await;
    }
}

#[test]
fn leaves_intermediates_and_the_root_are_replaced_forward_and_back_and_nothing_fails() {
    in_house(async |layout| {
        let stage = Stage::set_for(VISITS, layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        let mut noon = Noon::strikes(stage).await;
        noon.goes_off(OFF);
        let (now, later) = (authority::now_unix_s(), authority::now_unix_s() + LATER_S);
        noon.all_have_the_bundle().await;
        noon.all_renewed().await; // leaves

        // Intermediates: there, back, and there for good.
        let tiers = [Tier::Device, Tier::Service];
        noon.steps(&tiers, Direction::Next, 3, now).await;
        noon.all_renewed().await;
        noon.steps(&tiers, Direction::Next, 1, now).await;
        let held = noon.try_step(Tier::Device, Direction::Next, now).await.unwrap_err();
        assert!(held.contains("live until"), "what is still good is not dropped: {held}");
        noon.steps(&tiers, Direction::Back, 2, now).await;
        noon.all_renewed().await;
        noon.steps(&tiers, Direction::Next, 1, now).await;
        noon.all_renewed().await;
        noon.steps(&tiers, Direction::Next, 3, later).await;

        // The root: made known, used, left again, used for good, and the old one gone.
        noon.steps(&[Tier::Root], Direction::Next, 2, now).await;
        let held = noon.try_step(Tier::Root, Direction::Next, now).await.unwrap_err();
        assert!(held.contains("older than bundle") || held.contains("not acknowledged"), "{held}");
        noon.all_have_the_bundle().await;
        noon.all_renewed().await;
        noon.steps(&[Tier::Root], Direction::Next, 1, later).await;
        noon.steps(&[Tier::Root], Direction::Back, 1, now).await;
        noon.steps(&[Tier::Root], Direction::Next, 1, later).await;
        noon.steps(&TIERS, Direction::Next, 3, now).await;
        noon.all_renewed().await;
        noon.steps(&[Tier::Root], Direction::Next, 1, now).await;
        noon.steps(&TIERS, Direction::Next, 3, later).await;
        noon.steps(&[Tier::Root], Direction::Next, 2, later).await;
        noon.all_have_the_bundle().await;
        noon.all_renewed().await;
        assert_eq!(noon.issuer.authority().standing(later).unwrap().rotation.bundle().roots, [2]);
        noon.comes_back(OFF).await;
        noon.ends().await;
    });
}
