//! Answers the authority's question for a name (RFC 8555, section 8.3): plain HTTP, one path, nothing else. What it hands
//! out is public and worth nothing to others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::RenewError;

/// The most callers at a time.
const MOST_CALLERS: usize = 32;
/// How long a caller may take in all.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Where answers stand.
const PATH: &str = "/.well-known/acme-challenge/";

/// The answers of the moment, by token.
type Answers = Arc<Mutex<BTreeMap<String, String>>>;

/// The listener, and the answers that it gives.
#[derive(Debug)]
pub struct Responder {
    listener: TcpListener,
    answers: Answers,
}

/// An answer that is given for as long as this lives.
pub(crate) struct Given {
    answers: Answers,
    token: String,
}

/// Where answers are left.
#[derive(Debug, Clone)]
pub struct Board(Answers);

impl Responder {
    /// Listens.
    ///
    /// # Errors
    /// [`RenewError::Fault`] when the address cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, RenewError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|why| RenewError::Fault(format!("cannot listen on {address}: {why}")))?;
        Ok(Self { listener, answers: Answers::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`RenewError::Fault`] when the system does not say.
    pub fn address(&self) -> Result<SocketAddr, RenewError> {
        self.listener.local_addr().map_err(|why| RenewError::Fault(why.to_string()))
    }

    /// Where answers are left for it.
    #[must_use]
    pub fn board(&self) -> Board {
        Board(Arc::clone(&self.answers))
    }

    /// Answers, for ever.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MOST_CALLERS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, mostly: others end meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let answers = Arc::clone(&self.answers);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let answer = answer(&answers, &request);
                    async move { answer }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).keep_alive(false);
                let _ = tokio::time::timeout(CALL_WITHIN, http.serve_connection(TokioIo::new(stream), answer)).await;
                drop(place);
            });
        }
    }
}

impl Board {
    /// Leaves an answer.
    pub(crate) fn give(&self, token: &str, key_authorization: &str) -> Given {
        lock(&self.0).insert(token.to_owned(), key_authorization.to_owned());
        Given { answers: Arc::clone(&self.0), token: token.to_owned() }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        lock(&self.answers).remove(&self.token);
    }
}

fn lock(answers: &Answers) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(answers: &Answers, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, http::Error> {
    let token = request.uri().path().strip_prefix(PATH);
    let found = token.and_then(|token| lock(answers).get(token).cloned());
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Response::builder().status(status).body(Full::new(Bytes::from(found.unwrap_or_default())))
}
