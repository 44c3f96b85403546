//! A world for an agent's tests: a purchase-session service that breaks where it is told to (`fake`), a small authority
//! (`pki`), and an agent on a simulated fridge that can be killed and started again.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod customer;
pub mod fake;
mod pki;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ca_identity::SpiffeId;
use fridge_agent::config::ALPN;
use fridge_agent::disk::{Disk, Folder};
use fridge_agent::{Agent, AgentConfig, AgentHandle, Controls, Limits, Seen, SimulatedFridge};
use pci_contract::{FridgeId, SessionId};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use fake::{Fake, Listening, listen};
pub use pki::Pki;

pub const SERVICE: &str = "spiffe://larder.internal/service/purchase-session";
pub const FRIDGE: &str = "FR-0001";
pub const TRACK2: &[u8] = b";4242424242424242=3112201123456789?";
pub const MEAL: &str = "(01)09500000000198(21)00000335";
pub const OTHERS_MEAL: &str = "(01)09500000000198(21)00000336";
/// Long enough for a loaded machine; nothing that works waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything a test needs: a service, a fridge, and an agent between them.
pub struct World {
    pub fake: Arc<Fake>,
    pub pki: Pki,
    pub listening: Option<Listening>,
    pub address: SocketAddr,
    pub controls: Controls,
    pub folder: tempfile::TempDir,
    pub disk: Arc<dyn Disk>,
    pub limits: Limits,
    pub agent: Option<AgentHandle>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Folder::open(folder.path()).unwrap());
        Self::on(disk, folder, limits).await
    }

    pub async fn on(disk: Arc<dyn Disk>, folder: tempfile::TempDir, limits: Limits) -> Self {
        let (fake, pki) = (Fake::new(), Pki::new());
        let listening = listen(&fake, &pki, None).await;
        let address = listening.address;
        let (hardware, controls) = SimulatedFridge::new();
        let mut world =
            Self { fake, pki, listening: Some(listening), address, controls, folder, disk, limits, agent: None };
        world.agent = Some(Agent::start(world.config(), hardware).unwrap());
        world
    }

    pub fn config(&self) -> AgentConfig {
        self.config_for(SERVICE)
    }

    /// A configuration for an agent that expects this service.
    pub fn config_for(&self, service: &str) -> AgentConfig {
        let fridge = self.pki.identity(&format!("spiffe://larder.internal/fridge/{FRIDGE}"));
        let expected = SpiffeId::parse(service).unwrap();
        AgentConfig {
            fridge: FridgeId::parse(FRIDGE).unwrap(),
            service: self.address.to_string(),
            tls: ca_mtls::client_config(&fridge, &self.pki.bundle(), &expected, ALPN).unwrap(),
            disk: Arc::clone(&self.disk),
            limits: self.limits,
        }
    }

    /// Cuts the agent's power.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    /// Gives it back.
    pub fn start(&mut self) {
        self.agent = Some(Agent::start(self.config(), self.controls.reboot()).unwrap());
    }

    /// Takes the service off the network.
    pub fn go_offline(&mut self) {
        self.listening = None;
    }

    pub async fn come_back(&mut self) {
        // The old listener's task ends when the runtime next polls it; until then its port is taken.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while TcpListener::bind(self.address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the port becomes free");
            tokio::task::yield_now().await;
        }
        self.listening = Some(listen(&self.fake, &self.pki, Some(self.address)).await);
    }

    pub async fn swipe(&self) -> SessionId {
        let session = SessionId::from_uuid(uuid::Uuid::from_u128(rand_u128()));
        self.controls.swipe(Zeroizing::new(TRACK2.to_vec()), Some(session)).await;
        session
    }

    pub async fn seen(&self) -> Seen {
        let seen = tokio::time::timeout(PATIENCE, self.controls.next_seen()).await;
        seen.expect("something is seen in time").expect("the fridge is there")
    }

    /// Waits for a sight of this kind, over whatever else is seen.
    pub async fn see(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let seen = self.seen().await;
            if wanted(&seen) {
                return seen;
            }
        }
    }

    pub async fn see_unlocked(&self) {
        self.see(|seen| matches!(seen, Seen::Unlocked { .. })).await;
    }

    pub async fn see_receipt(&self, session: SessionId) -> String {
        let seen = self.see(|seen| matches!(seen, Seen::Receipt { session: of, .. } if *of == session)).await;
        let Seen::Receipt { receipt, .. } = seen else { unreachable!("a receipt") };
        receipt.outcome
    }

    pub fn files(&self) -> Vec<String> {
        let mut names = Folder::open(self.folder.path()).unwrap().names().unwrap();
        names.sort();
        names
    }

    /// Waits until the journal holds nothing any more.
    pub async fn until_forgotten(&self) {
        let wait = async {
            while !self.files().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the journal is deleted");
    }

    /// Every byte of every file in the journal's folder.
    pub fn bytes(&self) -> Vec<u8> {
        self.files().iter().flat_map(|name| std::fs::read(self.folder.path().join(name)).unwrap()).collect()
    }
}

fn rand_u128() -> u128 {
    use std::hash::{BuildHasher, Hasher};
    let half = || u128::from(std::collections::hash_map::RandomState::new().build_hasher().finish());
    (half() << 64) | half()
}
