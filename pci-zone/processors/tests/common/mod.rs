//! What the tests of this crate share: connectors to a sandbox, sessions, cards, and a server that answers raw bytes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::sync::Arc;

use pci_card::{Expiry, Pan};
use pci_contract::{Currency, Money, SessionId};
use pci_processors::{
    ApiKey, Ask, AskError, IdempotencyKey, Processor, ProcessorConfig, StoredCard, StripeShaped, Verb,
};
use processor_sandbox::{Sandbox, SandboxConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

pub const GOOD: &str = "4242424242424242";
pub const DECLINED: &str = "4000000000000002";
pub const POOR: &str = "4000000000009995";

pub async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.unwrap()
}

pub fn config(sandbox: &Sandbox) -> ProcessorConfig {
    let key = ApiKey::new(Zeroizing::new(sandbox.api_key().to_owned()));
    ProcessorConfig::new(sandbox.base_url(), key, sandbox.root_pem())
}

pub fn connector(sandbox: &Sandbox) -> StripeShaped {
    StripeShaped::new(config(sandbox)).unwrap()
}

pub fn session(n: u32) -> SessionId {
    SessionId::parse(&format!("0195a5e0-7c1e-7abc-8def-{n:012x}")).unwrap()
}

pub fn key(n: u32, verb: Verb) -> IdempotencyKey {
    IdempotencyKey::new(session(n), verb, 0)
}

pub fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub fn pan(digits: &str) -> Pan {
    Pan::parse(digits.as_bytes()).unwrap()
}

pub fn expiry() -> Expiry {
    Expiry::parse_yymm(b"4012").unwrap()
}

/// Stores a card under the store key of session `n`.
pub async fn stored(processor: &StripeShaped, n: u32, digits: &str) -> StoredCard {
    processor.store_card(&key(n, Verb::StoreCard), pan(digits), expiry()).await.unwrap()
}

/// Asks with the same key until the outcome is known, as a driver would.
pub async fn settled<T>(mut ask: impl FnMut() -> Ask<T>) -> Result<T, AskError> {
    for _ in 0..500 {
        match ask().await {
            Err(AskError::Unknown | AskError::NotSent) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            done => return done,
        }
    }
    panic!("the outcome stays unknown")
}

/// What a raw server does with one request, once it has read it.
#[derive(Clone)]
pub enum Step {
    /// Writes these bytes and reads on.
    Answer(Vec<u8>),
    /// Writes these bytes and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Never answers, and keeps the connection.
    Hang,
}

/// An answer of status 200 with this JSON.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What a raw server has seen.
#[derive(Default, Clone, Debug)]
pub struct Seen {
    pub connections: usize,
    pub closed: usize,
    pub requests: Vec<String>,
}

/// A TLS server that follows a script: each connection takes the next list of steps (the last again and again), and
/// each request the next step of its list.
pub struct RawServer {
    pub url: String,
    pub root_pem: String,
    seen: watch::Sender<Seen>,
}

impl RawServer {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let identity = processor_sandbox::TlsIdentity::generate().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen = watch::Sender::new(Seen::default());
        let shared = seen.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                shared.send_modify(|seen| seen.connections += 1);
                let script = scripts[n.min(scripts.len() - 1)].clone();
                tokio::spawn(follow(tcp, acceptor.clone(), script, shared.clone()));
            }
        });
        Self { url, root_pem: identity.root_pem().to_owned(), seen }
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub async fn until(&self, holds: impl FnMut(&Seen) -> bool) {
        self.seen.subscribe().wait_for(holds).await.unwrap();
    }

    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_slice(self.root_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
    }
}

async fn follow(tcp: TcpStream, acceptor: TlsAcceptor, script: Vec<Step>, seen: watch::Sender<Seen>) {
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    for step in script {
        let Some(request) = read_request(&mut tls).await else { break };
        seen.send_modify(|seen| seen.requests.push(request));
        match step {
            Step::Answer(bytes) => tls.write_all(&bytes).await.unwrap(),
            Step::AnswerAndClose(bytes) => {
                tls.write_all(&bytes).await.unwrap();
                break;
            }
            // Reading tells when the other side gives up.
            Step::Hang => drop(read_request(&mut tls).await),
        }
    }
    drop(tls.shutdown().await);
    drop(tls);
    seen.send_modify(|seen| seen.closed += 1);
}

/// Reads one request whole; `None` when the other side has closed.
async fn read_request(tls: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut some = [0; 4096];
        match tls.read(&mut some).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend_from_slice(&some[..n]),
        }
    }
}
