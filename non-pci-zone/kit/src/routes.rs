//! The routes of a service: every one is guarded, measured and bounded, or it does not compile.
//!
//! [`Routes`] wraps axum's router and takes only handlers whose first argument is an [`Allowed`]. What no route answers,
//! it answers with a problem. It leaves listening to `serve`.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{HeaderValue, StatusCode, header};
use pci_contract::FeedRow;

use crate::guard::{Allowed, Guard, Health, Metrics};
use crate::inbox::{Book, Effect, receive};
use crate::kit::Kit;
use crate::problem::{ApiError, Problem};
use crate::{audit, feed};

/// Handlers whose first argument is an [`Allowed`]; implemented for nothing else.
pub trait Guarded {}

macro_rules! guarded {
    ($($($more:ident)*;)*) => {$(
        impl<M, A: Guard, $($more),*> Guarded for (M, Allowed<A>, $($more,)*) {}
    )*};
}
guarded! { ; T1; T1 T2; T1 T2 T3; T1 T2 T3 T4; T1 T2 T3 T4 T5; }

/// The routes of a service.
#[derive(Debug)]
pub struct Routes<E> {
    kit: Kit<E>,
    router: Router<Kit<E>>,
}

impl<E: Send + Sync + 'static> Routes<E> {
    /// Routes that every service has: health, metrics and, for readers (`R`), the audit log.
    #[must_use]
    pub fn new<R: Guard>(kit: &Kit<E>) -> Self {
        Self { kit: kit.clone(), router: Router::new() }
            .get("/healthz", health)
            .get("/metrics", metrics)
            .get("/audit", audit::list::<R, E>)
    }

    /// Answers GET.
    #[must_use]
    pub fn get<H: Handler<T, Kit<E>>, T: Guarded + 'static>(self, path: &str, handler: H) -> Self {
        self.route(path, on(MethodFilter::GET, handler), 0)
    }

    /// Answers POST.
    #[must_use]
    pub fn post<H: Handler<T, Kit<E>>, T: Guarded + 'static>(self, path: &str, handler: H) -> Self {
        self.route(path, on(MethodFilter::POST, handler), 0)
    }

    /// Answers PUT.
    #[must_use]
    pub fn put<H: Handler<T, Kit<E>>, T: Guarded + 'static>(self, path: &str, handler: H) -> Self {
        self.route(path, on(MethodFilter::PUT, handler), 0)
    }

    /// Answers PATCH.
    #[must_use]
    pub fn patch<H: Handler<T, Kit<E>>, T: Guarded + 'static>(self, path: &str, handler: H) -> Self {
        self.route(path, on(MethodFilter::PATCH, handler), 0)
    }

    /// Answers DELETE.
    #[must_use]
    pub fn delete<H: Handler<T, Kit<E>>, T: Guarded + 'static>(self, path: &str, handler: H) -> Self {
        self.route(path, on(MethodFilter::DELETE, handler), 0)
    }

    /// Serves the feed of `R` at `/feed/<name>` to whoever may `A`.
    #[must_use]
    pub fn feed<R: FeedRow, A: Guard>(self) -> Self {
        let path = format!("/feed/{}", R::FEED);
        self.route(&path, on(MethodFilter::GET, feed::feed::<R, A, E>), feed::MAX_WAIT_S)
    }

    /// Takes events at `/inbox` from whoever may `A` and gives each to `book` once.
    #[must_use]
    pub fn inbox<A: Guard>(self, book: Book<E>) -> Self {
        let handler = on(MethodFilter::POST, receive::<A, E>).layer(axum::Extension(Effect(book)));
        self.route("/inbox", handler, 0)
    }

    /// The finished router: bodies bounded, and a problem for what no route answers.
    pub(crate) fn finish(self) -> Router {
        let limit = self.kit.limits().body_bytes;
        self.router
            .fallback(async || Problem::not_found("resource"))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this resource has other methods")
            })
            .layer(DefaultBodyLimit::max(limit))
            .with_state(self.kit)
    }

    fn route(mut self, path: &str, method: MethodRouter<Kit<E>>, more_s: u64) -> Self {
        let limit = Duration::from_secs(self.kit.limits().request_s.saturating_add(more_s));
        let measured = Measured { kit: self.kit.clone(), path: path.into(), limit };
        self.router = self.router.route(path, method.route_layer(from_fn_with_state(measured, measure)));
        self
    }
}

struct Measured<E> {
    kit: Kit<E>,
    path: std::sync::Arc<str>,
    limit: Duration,
}

impl<E> Clone for Measured<E> {
    fn clone(&self) -> Self {
        Self { kit: self.kit.clone(), path: std::sync::Arc::clone(&self.path), limit: self.limit }
    }
}

/// Bounds the time of a request, counts it and logs what was not a success.
async fn measure<E: Send + Sync + 'static>(
    State(measured): State<Measured<E>>,
    request: Request,
    next: Next,
) -> Response {
    let began = tokio::time::Instant::now();
    let method = request.method().to_string();
    let response = match tokio::time::timeout(measured.limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", "the request took too long").into_response(),
    };
    let status = response.status();
    if !status.is_success() {
        tracing::info!(method, route = &*measured.path, status = status.as_u16(), "not a success");
    }
    measured.kit.metrics().answered(&method, &measured.path, status.as_u16(), began.elapsed().as_secs_f64());
    response
}

async fn health<E: Send + Sync + 'static>(_: Allowed<Health>, State(kit): State<Kit<E>>) -> Result<Response, ApiError> {
    let booked: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(sequence), 0) FROM booked").fetch_one(kit.db().readers()).await?;
    let body = serde_json::json!({ "service": kit.service().as_str(), "status": "ok", "booked": booked });
    Ok(axum::Json(body).into_response())
}

async fn metrics<E: Send + Sync + 'static>(
    _: Allowed<Metrics>,
    State(kit): State<Kit<E>>,
) -> Result<Response, ApiError> {
    let mut response = kit.metrics().text()?.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
