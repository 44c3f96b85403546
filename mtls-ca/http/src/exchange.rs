//! One request and its answer: the head is looked at, the body is read within its bound, the handler is asked within its
//! time. Whatever cannot be served is answered with a problem, so that the other side learns why.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use ca_mtls::Peer;
use http::StatusCode;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use crate::{Limits, Problem, Request, Response};

/// What the requests of one connection share.
pub(crate) struct Exchange<F> {
    pub(crate) handler: Arc<F>,
    pub(crate) limits: Limits,
    pub(crate) now_unix_s: fn() -> i64,
    pub(crate) peer: Option<Peer>,
}

impl<F, Fut> Exchange<F>
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Response>,
{
    /// Answers one request, whatever it is.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, Infallible> {
        let asked = async {
            match self.read(request).await {
                Ok(request) => (self.handler)(request).await,
                Err(problem) => problem.into(),
            }
        };
        let answered = tokio::time::timeout(self.limits.request, asked).await;
        Ok(answered.unwrap_or_else(|_| self.too_slow().into()).into_hyper())
    }

    async fn read(&self, request: http::Request<Incoming>) -> Result<Request, Problem> {
        if let Some(peer) = &self.peer {
            peer.check_alive((self.now_unix_s)())
                .map_err(|why| Problem::of_code(StatusCode::FORBIDDEN, "expired", why.to_string()))?;
        }
        let (head, body) = request.into_parts();
        if !head.uri.path().starts_with('/') {
            let detail = "the target of a request is a path that begins with /";
            return Err(Problem::of_code(StatusCode::BAD_REQUEST, "bad_target", detail));
        }
        Ok(Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body: self.body(body).await?,
            peer: self.peer.clone(),
        })
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Problem> {
        let most = self.limits.body_bytes;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > most {
            return Err(too_large(most));
        }
        match Limited::new(body, most).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large(most)),
            Err(_) => Err(Problem::of_code(StatusCode::BAD_REQUEST, "bad_body", "the body did not come whole")),
        }
    }

    fn too_slow(&self) -> Problem {
        let most_s = self.limits.request.as_secs_f32();
        let detail = format!("the request was not sent and answered within {most_s} s; send it again");
        Problem::of_code(StatusCode::SERVICE_UNAVAILABLE, "too_slow", detail)
    }
}

fn too_large(most: usize) -> Problem {
    let detail = format!("a request's body has at most {most} bytes here");
    Problem::of_code(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}
