//! The least a server can do for a connection of mutual TLS, in a part of its own: rustls as it comes, with its own
//! verifier of certificates and the same certificate as ours. It accepts, and waits until the client says something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::clients::Files;
use crate::Fault;

/// What the part can be told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Serve with this identity; answers with where. First.
    Serve(Files),
    /// Answers with how many connections are open.
    Open,
}

/// What it answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) open: usize,
}

/// The server, once it serves.
#[derive(Default)]
pub(super) struct Acceptor {
    serving: Option<SocketAddr>,
    open: Arc<AtomicUsize>,
}

impl Acceptor {
    /// Does what a line of the part's input says.
    ///
    /// # Errors
    /// [`Fault`] when the order is no good, or it cannot serve.
    pub(super) async fn obey(&mut self, order: &str) -> Result<Serving, Fault> {
        if let Order::Serve(files) = serde_json::from_str(order).map_err(Fault::of("a command"))? {
            let acceptor = TlsAcceptor::from(config(&files)?);
            let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.map_err(Fault::of("no free port"))?;
            self.serving = Some(listener.local_addr().map_err(Fault::of("no free port"))?);
            tokio::spawn(accept(listener, acceptor, Arc::clone(&self.open)));
        }
        let address = self.serving.ok_or_else(|| Fault::new("the bare server does not serve yet".to_owned()))?;
        Ok(Serving { address, open: self.open.load(Ordering::Relaxed) })
    }
}

fn config(files: &Files) -> Result<Arc<ServerConfig>, Fault> {
    let why = "the bare server's identity";
    let pem = |path| CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let (chain, trusted) =
        (pem(&files.certificate).map_err(Fault::of(why))?, pem(&files.bundle).map_err(Fault::of(why))?);
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(Fault::of(why))?;
    let mut roots = RootCertStore::empty();
    trusted.into_iter().try_for_each(|root| roots.add(root)).map_err(Fault::of(why))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(Fault::of(why))?
        .with_client_cert_verifier(verifier.build().map_err(Fault::of(why))?)
        .with_single_cert(chain, key)
        .map_err(Fault::of(why))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, open: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(keep(stream, acceptor.clone(), Arc::clone(&open)));
    }
}

async fn keep(stream: TcpStream, acceptor: TlsAcceptor, open: Arc<AtomicUsize>) {
    let _ = stream.set_nodelay(true);
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    open.fetch_add(1, Ordering::Relaxed);
    // Whatever comes, and however the connection ends, it is over then.
    let _ = stream.read_u8().await;
    let _ = stream.shutdown().await;
    open.fetch_sub(1, Ordering::Relaxed);
}
