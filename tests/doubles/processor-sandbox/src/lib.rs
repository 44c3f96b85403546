//! A real little card processor, in the shape of Stripe's PaymentIntents, for tests, demonstrations and benchmarks.
//!
//! It stands outside our walls and is never linked into a product: what we ask of it goes over TLS and HTTP, and what
//! became of it is read from **its own books**, which our system cannot write. It holds, raises, captures, voids and
//! refunds; it knows a repeat by its idempotency key; and it misbehaves on demand as real processors do: down, slow,
//! failing, or acting without the answer ever arriving.
//!
//! It keeps no card number: a card is known by a keyed digest and its last four digits.

mod api;
mod books;
mod clock;
mod control;
mod desk;
mod digest;
mod entry;
mod failure;
mod floor;
mod journal;
mod params;
mod serve;
mod switches;
mod tls;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub use books::{Ledger, Total};
pub use control::{Declines, IntentView};
use desk::Desk;
use floor::Floor;
use journal::Journal;
pub use switches::{EveryNth, Switches, Verb};
pub use tls::TlsIdentity;

/// Test numbers that decline without being told to (Stripe publishes them), and why.
const PUBLISHED_DECLINES: [(&str, &str); 3] = [
    ("4000000000000002", "card_declined"),
    ("4000000000009995", "insufficient_funds"),
    ("4000000000000341", "card_declined"),
];

/// Why a sandbox does not start.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A listener or the books.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Keys, certificates, or books that are not ours.
    #[error("{0}")]
    Setup(String),
}

pub(crate) fn wrong(what: &str) -> SandboxError {
    SandboxError::Setup(what.to_owned())
}

/// How a sandbox is set up. The default listens on free loopback ports and keeps its books in memory.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where the processor's API listens.
    pub listen: SocketAddr,
    /// Where the control API listens.
    pub control: SocketAddr,
    /// The key that callers must show.
    pub api_key: String,
    /// Where the books are kept, so that they outlive the process; the TLS identity is kept beside them.
    pub books: Option<PathBuf>,
    /// Cards to decline, beyond the published test numbers.
    pub declines: Declines,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            control: any,
            api_key: "sk_test_larder".to_owned(),
            books: None,
            declines: Declines::default(),
        }
    }
}

/// A running sandbox; it stops when dropped.
pub struct Sandbox {
    listen: SocketAddr,
    control: SocketAddr,
    api_key: String,
    identity: TlsIdentity,
    floor: Arc<Floor>,
    tasks: [AbortHandle; 2],
}

impl Sandbox {
    /// Starts a sandbox on the current tokio runtime.
    ///
    /// # Errors
    /// [`SandboxError`] when it cannot listen, or its books cannot be opened.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        let identity = match &config.books {
            Some(books) => TlsIdentity::kept(&books.with_added_extension("identity.pem"))?,
            None => TlsIdentity::generate()?,
        };
        let books = match &config.books {
            Some(path) => Journal::open(path)?,
            None => Journal::in_memory()?,
        };
        let floor = Arc::new(Floor::new(Desk::new(books), &config.api_key));
        let mut declines = Declines::default();
        for (number, reason) in PUBLISHED_DECLINES {
            declines.declines.insert(number.to_owned(), Some(reason.to_owned()));
        }
        declines.declines.extend(config.declines.declines);
        declines.increment_limits = config.declines.increment_limits;
        control::set_declines(&floor, declines)?;

        let acceptor = TlsAcceptor::from(identity.server_config()?);
        let api_listener = TcpListener::bind(config.listen).await?;
        let control_listener = TcpListener::bind(config.control).await?;
        let (listen, control) = (api_listener.local_addr()?, control_listener.local_addr()?);
        let tasks = [
            tokio::spawn(serve::api(api_listener, acceptor, Arc::clone(&floor))).abort_handle(),
            tokio::spawn(serve::control(control_listener, Arc::clone(&floor))).abort_handle(),
        ];
        Ok(Self { listen, control, api_key: config.api_key, identity, floor, tasks })
    }

    /// Where the processor's API is: `https://127.0.0.1:port`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("https://{}", self.listen)
    }

    /// Where the control API is: `http://127.0.0.1:port`.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The root to pin, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.identity.root_pem()
    }

    /// The key to show.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Says where this sandbox is: JSON with `base_url`, `control_url`, `root_pem` (a path) and `api_key`. The root is
    /// written beside the file; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`SandboxError`] when a file cannot be written.
    pub fn write_ready_file(&self, path: &Path) -> Result<(), SandboxError> {
        let root = path.with_added_extension("root.pem");
        std::fs::write(&root, self.root_pem())?;
        let ready = serde_json::json!({
            "base_url": self.base_url(),
            "control_url": self.control_url(),
            "root_pem": root,
            "api_key": self.api_key,
        });
        let unfinished = path.with_added_extension("unfinished");
        std::fs::write(&unfinished, ready.to_string())?;
        Ok(std::fs::rename(unfinished, path)?)
    }

    /// The control API without its HTTP.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.floor))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("listen", &self.listen).field("control", &self.control).finish_non_exhaustive()
    }
}

/// A handle on a running sandbox: its switches and its books.
#[derive(Clone)]
pub struct Control(Arc<Floor>);

impl Control {
    /// The switches as they are.
    #[must_use]
    pub fn switches(&self) -> Switches {
        self.0.switches()
    }

    /// Turns the switches; whatever is left at its default behaves.
    pub fn switch(&self, switches: Switches) {
        self.0.switch(|now| *now = switches);
    }

    /// Declines cards from now on.
    ///
    /// # Errors
    /// [`SandboxError`] when the books cannot be written.
    pub fn decline(&self, declines: Declines) -> Result<(), SandboxError> {
        Ok(control::set_declines(&self.0, declines)?)
    }

    /// The totals of the books.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        control::ledger(&self.0)
    }

    /// The payments of a session, the newest first.
    #[must_use]
    pub fn intents_of(&self, session: &str) -> Vec<IntentView> {
        control::of_session(&self.0, session)
    }
}
