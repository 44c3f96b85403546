//! Looks for the proof of a DNS name over HTTP (RFC 8555 section 8.3), or of an address (RFC 8738 section 4).
//!
//! The host is one that the account's binding key allows, so nobody sends this client where he likes; and it follows no
//! redirect, so nobody there does either. One request, one answer, within a bound on time and bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ca_acme::{Host, Kind, ProbeHttp01, Problem};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one look may take, in all.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of an answer's body; a key authorization has some 90.
const MOST_BODY_BYTES: usize = 4096;
/// The most bytes of an answer's head; the HTTP library's own least.
const MOST_HEAD_BYTES: usize = 8192;
/// The most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 4;

/// The client for http-01.
#[derive(Debug, Clone)]
pub struct Http01 {
    /// The port; 80, but in tests.
    pub port: u16,
    /// Addresses of names that the system's resolver does not know or should not be asked for. An address is where it is.
    pub resolve: BTreeMap<String, SocketAddr>,
}

impl Http01 {
    /// Looks whether the proof is there.
    ///
    /// # Errors
    /// [`Kind::Connection`] when nobody answers in time, [`Kind::IncorrectResponse`] when he answers something else.
    pub async fn look(&self, probe: &ProbeHttp01) -> Result<(), Problem> {
        let what = format!("http://{}/.well-known/acme-challenge/{}", probe.host.in_url(), probe.token);
        let outcome = tokio::time::timeout(LIMIT, self.fetch(probe)).await;
        let late = || Problem::new(Kind::Connection, format!("{what} was not answered within {} s", LIMIT.as_secs()));
        let body = outcome.map_err(|_| late())?.map_err(|(kind, why)| Problem::new(kind, format!("{what}: {why}")))?;
        if body.trim_ascii_end() == probe.key_authorization.as_bytes() {
            return Ok(());
        }
        let detail = format!("{what} holds something else than the challenge's key authorization");
        Err(Problem::new(Kind::IncorrectResponse, detail))
    }

    async fn fetch(&self, probe: &ProbeHttp01) -> Result<Bytes, (Kind, String)> {
        let connection = |why: &dyn std::fmt::Display| (Kind::Connection, why.to_string());
        let stream = self.connect(&probe.host).await.map_err(|why| connection(&why))?;
        let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MOST_HEAD_BYTES)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|why| connection(&why))?;
        let request = http::Request::get(format!("/.well-known/acme-challenge/{}", probe.token))
            .header(http::header::HOST, probe.host.in_url())
            .header(http::header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|why| connection(&why))?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|why| connection(&why))?;
            if response.status() != http::StatusCode::OK {
                let why = format!("it was answered {} and not 200; redirects are not followed", response.status());
                return Err((Kind::IncorrectResponse, why));
            }
            let body = Limited::new(response.into_body(), MOST_BODY_BYTES).collect().await;
            body.map(|body| body.to_bytes())
                .map_err(|_| (Kind::IncorrectResponse, format!("it did not come whole within {MOST_BODY_BYTES} bytes")))
        };
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            answered = &mut asked => answered,
            ended = driver => match ended {
                Ok(()) => asked.await,
                Err(why) => Err(connection(&why)),
            },
        }
    }

    async fn connect(&self, host: &Host) -> Result<TcpStream, String> {
        let addresses = match host {
            Host::Ip(address) => vec![SocketAddr::new(*address, self.port)],
            Host::Dns(name) => self.addresses(name).await?,
        };
        let mut last = "its name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(why) => last = format!("nobody answers at {address}: {why}"),
            }
        }
        Err(last)
    }

    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = self.resolve.get(name) {
            return Ok(vec![*address]);
        }
        let found = tokio::net::lookup_host((name, self.port)).await;
        Ok(found.map_err(|why| format!("its name has no address: {why}"))?.take(MOST_ADDRESSES).collect())
    }
}
