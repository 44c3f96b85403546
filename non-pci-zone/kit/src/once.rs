//! The same POST twice is done once: the answer given under an `Idempotency-Key` is kept and given again.
//!
//! The answer is written in the same transaction as the effect, so there is no moment at which one exists without the
//! other. A key belongs to one caller and to one request: with another path or body it is refused. Kept answers have an
//! age and a number beyond which they go.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use ca_mtls::Peer;
use http::{HeaderValue, StatusCode, header};
use pci_contract::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::WriteTx;
use crate::etag::etag;
use crate::extract::{json_bytes, parse};
use crate::problem::{ApiError, Fault, Problem};

/// How long an answer is kept.
const KEPT_MICROS: i64 = 24 * 3600 * 1_000_000;
/// How many answers are kept at most.
const KEPT_ANSWERS: i64 = 100_000;
/// How many answers that are too old, and how many that are too many, go with each new one: more than come, and few
/// enough that nobody waits for a day's answers to be cleared away.
const BITE: i64 = 64;
/// The answers that are too old, found by the index.
const TOO_OLD: &str = "DELETE FROM answer WHERE rowid IN \
    (SELECT rowid FROM answer WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
/// The answers that are too many. Each new row has the next number, so those below are the earliest, and nothing needs
/// to be counted.
const TOO_MANY: &str = "DELETE FROM answer WHERE rowid IN \
    (SELECT rowid FROM answer WHERE rowid <= (SELECT MAX(rowid) FROM answer) - $1 ORDER BY rowid LIMIT $2)";
/// The longest key.
const MAX_KEY: usize = 128;

/// A JSON body that is acted on once, if the caller gave an `Idempotency-Key`.
#[derive(Debug)]
pub struct Once<T> {
    /// The body.
    pub body: T,
    ticket: Ticket,
}

/// What makes a request the same as another.
#[derive(Debug)]
pub struct Ticket {
    principal: String,
    key: Option<String>,
    fingerprint: String,
}

impl<T> Once<T> {
    /// The body and the ticket, apart.
    pub fn into_parts(self) -> (T, Ticket) {
        (self.body, self.ticket)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Once<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = request.headers().get("idempotency-key").map(read_key).transpose()?;
        let principal = request.extensions().get::<Peer>().map(|peer| peer.id.to_string()).unwrap_or_default();
        let head = format!("{} {}\n", request.method(), request.uri());
        let bytes = json_bytes(request, state, &["application/json"]).await?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        hash.update(head.as_bytes());
        hash.update(&bytes);
        let fingerprint = data_encoding::BASE32_NOPAD.encode(hash.finish().as_ref()).to_ascii_lowercase();
        Ok(Self { body: parse(&bytes)?, ticket: Ticket { principal, key, fingerprint } })
    }
}

fn read_key(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY {
        let detail = format!("an Idempotency-Key has 1 to {MAX_KEY} visible characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", detail));
    }
    Ok(text.to_owned())
}

impl Ticket {
    /// The answer that was given to this request before, if it was.
    ///
    /// # Errors
    /// 422 when the key was used for another request; [`Fault`] when the database fails.
    pub async fn recall(&self, tx: &mut WriteTx, now: Timestamp) -> Result<Option<Answer>, ApiError> {
        let Some(key) = &self.key else { return Ok(None) };
        let row: Option<(String, i64, Option<i64>, String)> = sqlx::query_as(
            "SELECT fingerprint, status, rev, body FROM answer WHERE principal = $1 AND key = $2 AND expires_at > $3",
        )
        .bind(&self.principal)
        .bind(key)
        .bind(now.micros())
        .fetch_optional(tx.sql())
        .await?;
        let Some((fingerprint, status, revision, body)) = row else { return Ok(None) };
        if fingerprint != self.fingerprint {
            let detail = "this Idempotency-Key was used for another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail).into());
        }
        let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| ApiError::corrupt("answer.status", "not an HTTP status"))?;
        Ok(Some(Answer { status, revision, body }))
    }

    /// Keeps the answer, in the transaction of its effect.
    ///
    /// # Errors
    /// [`Fault`] when the database fails.
    pub async fn keep(&self, tx: &mut WriteTx, answer: &Answer, now: Timestamp) -> Result<(), ApiError> {
        let Some(key) = &self.key else { return Ok(()) };
        sqlx::query(TOO_OLD).bind(now.micros()).bind(BITE).execute(tx.sql()).await?;
        sqlx::query(TOO_MANY).bind(KEPT_ANSWERS - 1).bind(BITE).execute(tx.sql()).await?;
        // One under this key that is too old may still be there.
        sqlx::query(
            "INSERT OR REPLACE INTO answer (principal, key, fingerprint, status, rev, body, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&self.principal)
        .bind(key)
        .bind(&self.fingerprint)
        .bind(i64::from(answer.status.as_u16()))
        .bind(answer.revision)
        .bind(&answer.body)
        .bind(now.micros().saturating_add(KEPT_MICROS))
        .execute(tx.sql())
        .await?;
        Ok(())
    }
}

/// A JSON answer with its status and, for a record, its revision as ETag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    revision: Option<i64>,
    body: String,
}

impl Answer {
    /// An answer of this status.
    ///
    /// # Errors
    /// [`Fault`] when the body cannot be written as JSON.
    pub fn new<T: Serialize>(status: StatusCode, revision: Option<i64>, body: &T) -> Result<Self, ApiError> {
        let body = serde_json::to_string(body).map_err(|error| Fault::new(format!("answer: {error}"), false))?;
        Ok(Self { status, revision, body })
    }

    /// 200.
    ///
    /// # Errors
    /// As [`Answer::new`].
    pub fn ok<T: Serialize>(body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::OK, None, body)
    }

    /// 200 with the record's revision.
    ///
    /// # Errors
    /// As [`Answer::new`].
    pub fn record<T: Serialize>(revision: i64, body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::OK, Some(revision), body)
    }

    /// 201 with the record's revision.
    ///
    /// # Errors
    /// As [`Answer::new`].
    pub fn created<T: Serialize>(revision: i64, body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::CREATED, Some(revision), body)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(revision) = self.revision {
            headers.insert(header::ETAG, etag(revision));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    const KIT: &str = include_str!("../../../migrations/inventory/0001_kit.sql");
    const DAY: i64 = KEPT_MICROS;

    fn ticket(key: &str) -> Ticket {
        Ticket { principal: "ada".to_owned(), key: Some(key.to_owned()), fingerprint: "f".to_owned() }
    }

    fn answer() -> Answer {
        Answer::record(7, &serde_json::json!({ "n": 1 })).unwrap()
    }

    async fn database(folder: &tempfile::TempDir) -> Db {
        Db::open(&folder.path().join("x.sqlite"), &[(1, "kit", KIT)]).await.unwrap()
    }

    /// As many answers as were given in one moment.
    async fn given(db: &Db, count: i64, at: i64) {
        let mut tx = db.write().await.unwrap();
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
             INSERT INTO answer (principal, key, fingerprint, status, rev, body, expires_at)
             SELECT 'ada', 'k-' || $2 || '-' || i, 'f', 200, NULL, '{}', $2 FROM n",
        )
        .bind(count)
        .bind(at + DAY)
        .execute(tx.sql())
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    async fn kept(db: &Db) -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM answer").fetch_one(db.readers()).await.unwrap()
    }

    async fn keep(db: &Db, key: &str, now: i64) {
        let mut tx = db.write().await.unwrap();
        ticket(key).keep(&mut tx, &answer(), Timestamp::from_micros(now)).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn old_answers_go_in_bites_and_new_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        given(&db, 200, 0).await;
        given(&db, 10, DAY).await;
        keep(&db, "a", DAY).await;
        assert_eq!(kept(&db).await, 200 + 10 + 1 - BITE);
        for _ in 0..4 {
            keep(&db, "b", DAY).await;
        }
        assert_eq!(kept(&db).await, 10 + 2, "what is fresh is kept");
    }

    #[tokio::test]
    async fn the_earliest_answers_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        given(&db, KEPT_ANSWERS + 10, 0).await;
        keep(&db, "a", 1).await;
        assert_eq!(kept(&db).await, KEPT_ANSWERS);
        keep(&db, "b", 1).await;
        assert_eq!(kept(&db).await, KEPT_ANSWERS, "and stays so");
        let earliest: String =
            sqlx::query_scalar("SELECT key FROM answer ORDER BY rowid").fetch_one(db.readers()).await.unwrap();
        assert_eq!(earliest, format!("k-{DAY}-13"));
    }

    #[tokio::test]
    async fn a_key_that_is_too_old_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        // More than one bite of older ones stand before it.
        given(&db, 2 * BITE, -1).await;
        keep(&db, "a", 0).await;
        let later = Timestamp::from_micros(DAY);
        let mut tx = db.write().await.unwrap();
        assert_eq!(ticket("a").recall(&mut tx, later).await.unwrap(), None);
        ticket("a").keep(&mut tx, &answer(), later).await.unwrap();
        assert_eq!(ticket("a").recall(&mut tx, later).await.unwrap(), Some(answer()));
    }

    #[tokio::test]
    async fn clearing_away_looks_at_nothing_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        for statement in [TOO_OLD, TOO_MANY] {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
                    .bind(1)
                    .bind(1)
                    .fetch_all(db.readers())
                    .await
                    .unwrap();
            assert!(!plan.iter().any(|(.., step)| step.starts_with("SCAN")), "{plan:?}");
        }
    }
}
