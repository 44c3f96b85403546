//! The authority as this service needs it: it certifies an attestation key that was tried, over mutual TLS
//! (`POST /attestation-keys`), and it tells which roots are trusted (`GET /bundle`). Certifying is a port, so that an
//! attestation can be tried without a network; here is the one client for both.
//!
//! A new connection for each question: there is one an attestation, and a connection that stays would outlive a change of
//! trust.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use attest_verifier::TpmModel;
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{IdentityFiles, MtlsError, NextBundle, ReloadingClient};
use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;

use crate::Fault;
use crate::text::hex;
use crate::wire::encode;

/// How long one question may take, in all; the fridge waits meanwhile.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the authority keeps a question for the next trust bundle, in seconds.
const WAIT_S: u64 = 25;
/// The most bytes of an answer: a chain has some 2,000, and a trust bundle while roots are replaced no more.
const MOST_ANSWER_BYTES: usize = 64 * 1_024;
/// The most bytes of an answer's head; the HTTP library's own least.
const MOST_HEAD_BYTES: usize = 8_192;
/// The most certificates of a chain.
const MOST_CERTIFICATES: usize = 4;
/// The most characters of what the authority says that go into the log.
const MOST_TOLD: usize = 400;

/// An attestation key of a device, to be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKeyRequest {
    /// The device, by its permanent identifier.
    pub permanent_identifier: [u8; 32],
    /// The key, an uncompressed point on P-256.
    pub point: Vec<u8>,
    /// What the TPM is, by its endorsement certificate.
    pub tpm: TpmModel,
}

/// Who certifies attestation keys.
#[async_trait]
pub trait Certifier: Send + Sync + std::fmt::Debug {
    /// Certifies a key; gives the chain, leaf first, in DER.
    ///
    /// # Errors
    /// [`Fault::Authority`] when there is no answer, or one that is no chain; asking again is safe.
    async fn certify(&self, request: &AttestationKeyRequest) -> Result<Vec<Vec<u8>>, Fault>;
}

/// The authority, at its address.
#[derive(Debug)]
pub struct AuthorityClient {
    address: SocketAddr,
    client: ReloadingClient,
}

impl AuthorityClient {
    /// The authority at this address, as who these files say.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault.
    pub fn new(address: SocketAddr, files: IdentityFiles) -> Result<Self, MtlsError> {
        Ok(Self { address, client: ReloadingClient::new(files)? })
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`MtlsError`] says which file is at fault; what was in force before stays in force.
    pub(crate) fn reload(&self) -> Result<(), MtlsError> {
        self.client.reload().map(drop)
    }

    /// Asks for the trust bundle after the version in force, and waits there for it.
    pub(crate) async fn next_bundle(&self, known: Option<u64>) -> Result<NextBundle, String> {
        let request = http::Request::get(format!("/bundle?wait_s={WAIT_S}"));
        let request = match known {
            Some(version) => request.header(http::header::IF_NONE_MATCH, format!("\"{version}\"")),
            None => request,
        };
        let (status, body) = within(LIMIT.saturating_add(Duration::from_secs(WAIT_S)), self.ask(request, "")).await?;
        match status {
            StatusCode::NOT_MODIFIED => Ok(NextBundle::Unchanged),
            StatusCode::OK => Ok(NextBundle::New(String::from_utf8_lossy(&body).into_owned())),
            _ => Err(refused(status, &body)),
        }
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> Result<(StatusCode, Bytes), String> {
        let said = |why: &dyn std::fmt::Display| why.to_string();
        let authority = SpiffeId::service(self.client.id().trust_domain(), ServiceName::Authority);
        let config = self.client.config(&authority, &[b"http/1.1"]).map_err(|why| said(&why))?;
        let stream = TcpStream::connect(self.address).await.map_err(|why| said(&why))?;
        // The question follows upon the end of the handshake, and would wait until that is acknowledged.
        stream.set_nodelay(true).map_err(|why| said(&why))?;
        // The name that is verified is the party's; this one is only sent.
        let name = ServerName::from(self.address.ip());
        let (tls, _) = ca_mtls::connect(config, name, stream, LIMIT).await.map_err(|why| said(&why))?;
        let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MOST_HEAD_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(tls))
            .await
            .map_err(|why| said(&why))?;
        let request = request
            .header(http::header::HOST, "authority")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|why| said(&why))?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|why| said(&why))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_ANSWER_BYTES).collect().await;
            Ok((status, body.map_err(|why| said(&why))?.to_bytes()))
        };
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            answered = &mut asked => answered,
            _ = driver => asked.await,
        }
    }
}

/// Waits for an answer so long.
async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err(format!("it did not answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, asked).await.unwrap_or_else(late)
}

/// What an answer says that is not the one wanted.
fn refused(status: StatusCode, body: &[u8]) -> String {
    let told = String::from_utf8_lossy(body).escape_debug().take(MOST_TOLD).collect::<String>();
    format!("it answered {status}: {told}")
}

#[async_trait]
impl Certifier for AuthorityClient {
    async fn certify(&self, request: &AttestationKeyRequest) -> Result<Vec<Vec<u8>>, Fault> {
        let TpmModel { manufacturer, model, version } = &request.tpm;
        let body = json!({
            "permanent_identifier": hex(&request.permanent_identifier),
            "point": encode(&request.point),
            "tpm": { "manufacturer": manufacturer, "model": model, "version": version },
        });
        let request = http::Request::post("/attestation-keys").header(http::header::CONTENT_TYPE, "application/json");
        let answered = within(LIMIT, self.ask(request, &body.to_string())).await;
        let (status, body) = answered.map_err(Fault::Authority)?;
        if !status.is_success() {
            return Err(Fault::Authority(refused(status, &body)));
        }
        chain(&body).ok_or_else(|| Fault::Authority("its answer is no chain".to_owned()))
    }
}

/// A chain of one to four certificates.
fn chain(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let read = CertificateDer::pem_slice_iter(pem).map(|der| der.map(|der| der.to_vec()));
    let chain: Vec<_> = read.take(MOST_CERTIFICATES.saturating_add(1)).collect::<Result<_, _>>().ok()?;
    (1..=MOST_CERTIFICATES).contains(&chain.len()).then_some(chain)
}

#[cfg(test)]
mod tests {
    use super::chain;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_chain_has_one_to_four_certificates_and_nothing_torn() {
        for (count, whole) in [(0, false), (1, true), (4, true), (5, false)] {
            let read = chain(ONE.repeat(count).as_bytes());
            assert_eq!(read, whole.then(|| vec![vec![0x30, 0]; count]), "{count}");
        }
        let torn = format!("{ONE}-----BEGIN CERTIFICATE-----\nMAA=\n");
        assert_eq!(chain(torn.as_bytes()), None);
    }
}
