//! Feeds: the rows that the PCI zone pulls, oldest change first, and a wait for the next change.
//!
//! The page and the place up to which events were booked are read at one moment, because the reader adds its own later
//! events on top: a page from one moment and a place from another would count a purchase twice or not at all. It leaves
//! writing rows to [`crate::WriteTx`].

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pci_contract::FeedRow;
use serde::Deserialize;

use crate::extract::Params;
use crate::guard::{Allowed, Guard};
use crate::kit::Kit;
use crate::problem::{ApiError, Problem};

/// The longest wait for a change.
pub(crate) const MAX_WAIT_S: u64 = 30;
const MAX_LIMIT: i64 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedQuery {
    #[serde(default)]
    after: i64,
    limit: Option<i64>,
    #[serde(default)]
    wait_s: u64,
}

struct FeedAnswer {
    bodies: Vec<String>,
    revision: i64,
    more: bool,
    booked: i64,
}

/// `GET /feed/<name>?after=&limit=&wait_s=`: see [`pci_contract::FeedPage`].
pub(crate) async fn feed<R: FeedRow, A: Guard, E: Send + Sync + 'static>(
    _: Allowed<A>,
    State(kit): State<Kit<E>>,
    Params(query): Params<FeedQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(MAX_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) || query.wait_s > MAX_WAIT_S || query.after < 0 {
        let detail = format!("after is at least 0, limit from 1 to {MAX_LIMIT}, wait_s at most {MAX_WAIT_S}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail).into());
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(query.wait_s);
    let mut changes = kit.db().watch_feed(R::FEED);
    loop {
        changes.borrow_and_update(); // before the read, so that a commit during it wakes us
        let answer = read_page(&kit, R::FEED, query.after, limit).await?;
        if !answer.bodies.is_empty() {
            return Ok(answer.into_response());
        }
        tokio::select! {
            () = kit.ending().cancelled() => return Ok(answer.into_response()),
            waited = tokio::time::timeout_at(deadline, changes.changed()) => if waited.is_err() {
                return Ok(read_page(&kit, R::FEED, query.after, limit).await?.into_response());
            },
        }
    }
}

async fn read_page<E>(kit: &Kit<E>, kind: &'static str, after: i64, limit: i64) -> Result<FeedAnswer, ApiError> {
    let mut tx = kit.db().read().await?;
    let mut rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT rev, body FROM feed WHERE kind = $1 AND rev > $2 ORDER BY rev LIMIT $3")
            .bind(kind)
            .bind(after)
            .bind(limit + 1)
            .fetch_all(&mut *tx)
            .await?;
    let (counter, booked): (i64, i64) =
        sqlx::query_as("SELECT value, (SELECT COALESCE(MAX(sequence), 0) FROM booked) FROM counter")
            .fetch_one(&mut *tx)
            .await?;
    tx.rollback().await?;
    if after > counter {
        let detail = "the revision is one that this feed has not given; it was set back, begin again after 0";
        return Err(Problem::conflict("revision_ahead", detail).with("revision", counter).into());
    }
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let revision = rows.last().map_or(after, |(revision, _)| *revision);
    Ok(FeedAnswer { bodies: rows.into_iter().map(|(_, body)| body).collect(), revision, more, booked })
}

impl IntoResponse for FeedAnswer {
    /// Bodies are stored as JSON and joined as they are: a feed is read often and parsed once, by its reader.
    fn into_response(self) -> Response {
        let Self { bodies, revision, more, booked } = self;
        let rows = bodies.join(",");
        let body = format!(r#"{{"rows":[{rows}],"revision":{revision},"more":{more},"booked":{booked}}}"#);
        let mut response = body.into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
