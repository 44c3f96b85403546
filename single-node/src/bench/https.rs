//! Bare HTTPS calls: kept connections, each asking again as soon as it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::statistics::number;
use crate::Fault;

/// Connections at once: as many as the PCI zone's client has.
const CONNECTIONS: usize = 32;
/// The form of an authorization.
const AUTHORIZATION: &str = concat!(
    "amount=2500&currency=usd&payment_method=pm_abcdefghijklmnop&payment_method_types%5B%5D=card",
    "&capture_method=manual&confirm=true&off_session=true",
    "&payment_method_options%5Bcard%5D%5Brequest_incremental_authorization%5D=if_available",
    "&metadata%5Bsession%5D=019cb000-0000-7000-8000-000000000000"
);

type Sender = SendRequest<Full<Bytes>>;

/// Calls the server at `address` for so long; calls a second.
///
/// # Errors
/// [`Fault`] when it does not answer.
pub(super) async fn rate(address: &str, root_pem: &str, duration: Duration) -> Result<f64, Fault> {
    let connector = connector(root_pem)?;
    let mut senders = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        senders.push(connect(&connector, address).await?);
    }
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for mut sender in senders {
        let host = address.to_owned();
        callers.spawn(async move {
            let mut calls = 0_usize;
            while began.elapsed() < duration {
                call(&mut sender, &host).await?;
                calls += 1;
            }
            Ok::<usize, Fault>(calls)
        });
    }
    let mut calls = 0;
    while let Some(caller) = callers.join_next().await {
        calls += caller.map_err(Fault::of("a bare HTTPS call"))??;
    }
    Ok(number(calls) / began.elapsed().as_secs_f64())
}

fn connector(root_pem: &str) -> Result<TlsConnector, Fault> {
    let fault = "the processor's root";
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(Fault::of(fault))?;
    roots.add(root).map_err(Fault::of(fault))?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Fault::of(fault))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(connector: &TlsConnector, address: &str) -> Result<Sender, Fault> {
    let fault = "a bare HTTPS connection";
    let tcp = TcpStream::connect(address).await.map_err(Fault::of(fault))?;
    tcp.set_nodelay(true).map_err(Fault::of(fault))?;
    let name = ServerName::from(std::net::Ipv4Addr::LOCALHOST);
    let tls = connector.connect(name, tcp).await.map_err(Fault::of(fault))?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(Fault::of(fault))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(sender: &mut Sender, host: &str) -> Result<(), Fault> {
    let fault = "a bare HTTPS call";
    let request = Request::post("/v1/payment_intents")
        .header("host", host)
        .header("authorization", "Bearer sk_test_abcdefghijklmnop")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("idempotency-key", "019cb000-0000-7000-8000-000000000000-authorize-1")
        .body(Full::new(Bytes::from_static(AUTHORIZATION.as_bytes())))
        .map_err(Fault::of(fault))?;
    sender.ready().await.map_err(Fault::of(fault))?;
    let answer = sender.send_request(request).await.map_err(Fault::of(fault))?;
    answer.into_body().collect().await.map_err(Fault::of(fault))?;
    Ok(())
}
