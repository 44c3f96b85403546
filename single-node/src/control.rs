//! The processor's control interface: what to decline, what to break, and its books. It stands outside our walls and
//! speaks plain HTTP on the loopback address.

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Fault;

/// A client of the control interface.
#[derive(Debug, Clone)]
pub struct Control {
    address: String,
}

impl Control {
    /// A client of the interface at `url`, `http://host:port`.
    ///
    /// # Errors
    /// [`Fault`] when the URL is another.
    pub fn new(url: &str) -> Result<Self, Fault> {
        let address = url.strip_prefix("http://").ok_or_else(|| Fault::new(format!("{url} is not plain HTTP")))?;
        Ok(Self { address: address.trim_end_matches('/').to_owned() })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The processor's books.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn ledger(&self) -> Result<Value, Fault> {
        self.send("GET", "/control/ledger", Bytes::new()).await
    }

    /// The payments the processor knows of a session.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn intents_of(&self, session: &str) -> Result<Vec<Value>, Fault> {
        let answer = self.send("GET", &format!("/control/intents?session={session}"), Bytes::new()).await?;
        let list = answer.get("intents").unwrap_or(&answer);
        Ok(list.as_array().cloned().unwrap_or_default())
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Value, Fault> {
        self.send("POST", path, body.into()).await
    }

    async fn send(&self, method: &str, path: &str, body: Bytes) -> Result<Value, Fault> {
        let failed = |why: String| Fault::new(format!("the processor's {path}: {why}"));
        let stream = TcpStream::connect(&self.address).await.map_err(|why| failed(why.to_string()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| failed(why.to_string()))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|why| failed(why.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|why| failed(why.to_string()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|why| failed(why.to_string()))?.to_bytes();
        if !status.is_success() {
            return Err(failed(format!("{status} {}", String::from_utf8_lossy(&body))));
        }
        if body.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&body).map_err(|why| failed(why.to_string()))
        }
    }
}
