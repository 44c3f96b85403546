//! The service as a process, with an HSM token, a card processor and a small authority of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../fridge-agent/tests/support/pki.rs"]
mod pki;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ca_identity::SpiffeId;
use processor_sandbox::{Sandbox, SandboxConfig};
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::ServerName;
use test_token::TestToken;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::client::TlsStream;

pub use pki::Pki;

pub const SERVICE: &str = "spiffe://larder.internal/service/purchase-session";
pub const MONITOR: &str = "spiffe://larder.internal/service/monitor";
/// Long enough for a loaded machine; nothing that works waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything the service needs, before it runs.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub pki: Pki,
    pub token: TestToken,
    sandbox: Sandbox,
}

impl Place {
    pub async fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            pki: Pki::new(),
            token: TestToken::create("pci").unwrap(),
            sandbox: Sandbox::start(SandboxConfig::default()).await.unwrap(),
        };
        let (chain, key) = place.pki.leaf(SERVICE);
        for (name, text) in [
            ("chain.pem", chain.as_str()),
            ("key.pem", key.as_str()),
            ("bundle.pem", place.pki.bundle_pem().as_str()),
            ("pin", place.token.pin()),
            ("api_key", place.sandbox.api_key()),
            ("roots.pem", place.sandbox.root_pem()),
        ] {
            write_private(&place.path(name), text);
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("purchase.db")
    }

    /// Starts the service with these parts of the configuration besides, and lets it come to its end or to its work.
    pub fn run(&self, more: &str) -> Service {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/keys.toml");
        let at = |name: &str| self.path(name).display().to_string();
        let mut config = format!(
            "listen = '127.0.0.1:0'\nready_file = '{}'\ndatabase = '{}'\n",
            at("ready"),
            self.database().display()
        );
        write!(
            config,
            "[identity]\ncertificate = '{}'\nkey = '{}'\ntrust_bundle = '{}'\ntrust_domain = 'larder.internal'\n",
            at("chain.pem"),
            at("key.pem"),
            at("bundle.pem")
        )
        .unwrap();
        write!(
            config,
            "[hsm]\nmodule = '{}'\ntoken_label = '{}'\npin_file = '{}'\nkeys = '{}'\n",
            self.token.module().display(),
            self.token.label(),
            at("pin"),
            keys.display()
        )
        .unwrap();
        write!(
            config,
            "[processor]\nbase_url = '{}'\napi_key_file = '{}'\npinned_roots = '{}'\n{more}",
            self.sandbox.base_url(),
            at("api_key"),
            at("roots.pem")
        )
        .unwrap();
        write_private(&self.path("config.toml"), &config);
        let _ = std::fs::remove_file(self.path("ready"));
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_purchase-session"));
        self.token.apply(command.as_std_mut());
        command.arg(self.path("config.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Service { child: command.kill_on_drop(true).spawn().unwrap(), ready: self.path("ready") }
    }

    /// Starts the service and waits until it listens.
    pub async fn start(&self, more: &str) -> (Service, SocketAddr) {
        let mut service = self.run(more);
        let address = service.ready().await.unwrap_or_else(|status| panic!("{status}: {}", self.log()));
        (service, address)
    }

    /// What the service has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// A connection to the service as the monitor.
    pub async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let service = SpiffeId::parse(SERVICE).unwrap();
        let tls = ca_mtls::client_config(&self.pki.identity(MONITOR), &self.pki.bundle(), &service, &[b"http/1.1"]);
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::IpAddress(address.ip().into());
        ca_mtls::connect(tls.unwrap(), name, tcp, PATIENCE).await.unwrap().0
    }
}

/// The process; killed when dropped.
pub struct Service {
    child: Child,
    ready: PathBuf,
}

impl Service {
    /// The address listened on, or how the process ended instead.
    pub async fn ready(&mut self) -> Result<SocketAddr, ExitStatus> {
        let told = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&self.ready) {
                    return text.trim().parse().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            address = tokio::time::timeout(PATIENCE, told) => Ok(address.expect("it is ready in time")),
            status = self.child.wait() => Err(status.unwrap()),
        }
    }

    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    pub async fn ended_within(&mut self, bound: Duration) -> ExitStatus {
        tokio::time::timeout(bound, self.child.wait()).await.expect("it ends in time").unwrap()
    }

    pub async fn stop(mut self) {
        self.terminate();
        assert!(self.ended_within(PATIENCE).await.success());
    }
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
