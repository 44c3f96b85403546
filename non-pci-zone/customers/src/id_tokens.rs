//! ID tokens: a bearer secret that a customer shows at the fridge. Only its digest is kept, so it is told once.
//!
//! Whoever holds the database cannot buy with it. A repeat of the same request tells that the token was issued, and not
//! the token. It leaves showing it at the fridge to the fridge.

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::{CustomersRead, CustomersWrite};
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, Once, Problem, WriteTx, clock};
use pci_contract::{CustomerId, IdTokenDigest, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Settings;
use crate::record::{find, publish};

const MAX_TOKEN: usize = 128;
const MAX_LABEL: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    /// Whose it is, for example a child's.
    label: Option<String>,
    /// A token that exists already; one is made when this is left out.
    id_token: Option<String>,
}

/// Checks the text of a token that is brought along.
pub(crate) fn check(token: &str) -> Result<(), Problem> {
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::invalid(format!("an ID token has 1 to {MAX_TOKEN} visible characters")));
    }
    Ok(())
}

/// Keeps a token's digest for the customer; a token of somebody else is a conflict.
pub(crate) async fn add(
    tx: &mut WriteTx,
    customer: &CustomerId,
    token: &str,
    label: Option<&str>,
    now: Timestamp,
) -> Result<IdTokenDigest, ApiError> {
    let digest = IdTokenDigest::of(token);
    let owner: Option<String> = sqlx::query_scalar(
        "INSERT INTO id_token (digest, customer, label, issued_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (digest) DO UPDATE SET customer = customer RETURNING customer",
    )
    .bind(digest.as_str())
    .bind(customer.as_str())
    .bind(label)
    .bind(now.micros())
    .fetch_optional(tx.sql())
    .await?;
    if owner.as_deref() != Some(customer.as_str()) {
        return Err(Problem::conflict("id_token_taken", "an ID token belongs to one customer").into());
    }
    Ok(digest)
}

pub(crate) async fn list(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    find(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let rows: Vec<(String, Option<String>, i64, Option<i64>)> = sqlx::query_as(
        "SELECT digest, label, issued_at, revoked_at FROM id_token WHERE customer = $1 ORDER BY issued_at, digest",
    )
    .bind(id.as_str())
    .fetch_all(&mut *tx)
    .await?;
    let text = |at| Timestamp::from_micros(at).rfc3339();
    let rows = rows.into_iter().map(|(digest, label, issued_at, revoked_at)| {
        json!({ "digest": digest, "label": label, "issued_at": text(issued_at), "revoked_at": revoked_at.map(text) })
    });
    Answer::ok(&json!({ "id_tokens": rows.collect::<Vec<_>>() }))
}

/// Issues a token, or takes one that exists. The answer is the only place where a made token is ever told.
pub(crate) async fn issue(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
    once: Once<Issue>,
) -> Result<Answer, ApiError> {
    let (issue, ticket) = once.into_parts();
    if issue.label.as_ref().is_some_and(|label| label.len() > MAX_LABEL) {
        return Err(Problem::invalid(format!("a label has at most {MAX_LABEL} bytes")).into());
    }
    issue.id_token.as_deref().map(check).transpose()?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    find(tx.sql(), &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let made = match &issue.id_token {
        Some(_) => None,
        None => Some(format!("idt-{}", clock::random_text::<20>()?)),
    };
    let token = made.as_deref().or(issue.id_token.as_deref()).unwrap_or_default();
    let digest = add(&mut tx, &id, token, issue.label.as_deref(), now).await?;
    publish(&mut tx, &id).await?;
    let told = json!({ "digest": digest, "label": issue.label });
    tx.audit(allowed.who(), "id_token.issue", id.as_str(), &told, now).await?;
    ticket.keep(&mut tx, &Answer::new(StatusCode::CREATED, None, &told)?, now).await?;
    tx.commit().await?;
    let mut body = told;
    if let (Some(members), Some(made)) = (body.as_object_mut(), made) {
        members.insert("id_token".to_owned(), Value::String(made));
    }
    Answer::new(StatusCode::CREATED, None, &body)
}

pub(crate) async fn revoke(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named((id, digest)): Named<(CustomerId, IdTokenDigest)>,
) -> Result<StatusCode, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let done =
        sqlx::query("UPDATE id_token SET revoked_at = $1 WHERE digest = $2 AND customer = $3 AND revoked_at IS NULL")
            .bind(now.micros())
            .bind(digest.as_str())
            .bind(id.as_str())
            .execute(tx.sql())
            .await?;
    if done.rows_affected() == 0 {
        return Err(Problem::not_found("ID token").into());
    }
    publish(&mut tx, &id).await?;
    tx.audit(allowed.who(), "id_token.revoke", id.as_str(), &json!({ "digest": digest }), now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
