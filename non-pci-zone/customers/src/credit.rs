//! Credit: a ledger of signed entries, and their sum on the customer's record.

use axum::extract::State;
use ops_kit::guard::{CustomersRead, CustomersWrite};
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, Once, PageRequest, Params, Problem, WriteTx};
use pci_contract::{CustomerId, Money, SessionId, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::Settings;
use crate::record::{find, publish};

const MAX_NOTE: usize = 500;

/// Why a credit changed.
pub(crate) enum Entry<'a> {
    /// What the customer began with.
    Opening,
    /// An operator gave or took it.
    Granted { who: &'a str, note: &'a str },
    /// A purchase used it.
    Used(SessionId),
}

/// Writes one entry and the new sum. The amount is signed, and in the customer's currency.
pub(crate) async fn write(
    tx: &mut WriteTx,
    customer: &CustomerId,
    amount: Money,
    entry: Entry<'_>,
    at: Timestamp,
) -> Result<(), ApiError> {
    let (kind, session, who, note) = match entry {
        Entry::Opening => ("opening", None, None, None),
        Entry::Granted { who, note } => ("granted", None, Some(who), Some(note)),
        Entry::Used(session) => ("used", Some(session.to_string()), None, None),
    };
    sqlx::query(
        "INSERT INTO credit (customer, minor, currency, kind, session, who, note, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(customer.as_str())
    .bind(amount.minor())
    .bind(amount.currency().as_str())
    .bind(kind)
    .bind(session)
    .bind(who)
    .bind(note)
    .bind(at.micros())
    .execute(tx.sql())
    .await?;
    sqlx::query("UPDATE customer SET credit_minor = credit_minor + $1 WHERE id = $2 AND currency = $3")
        .bind(amount.minor())
        .bind(customer.as_str())
        .bind(amount.currency().as_str())
        .execute(tx.sql())
        .await?;
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    amount: Money,
    note: String,
}

/// `POST /customers/{id}/credit`: gives credit, or takes it when negative, down to nothing.
pub(crate) async fn grant(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
    once: Once<Grant>,
) -> Result<Answer, ApiError> {
    let (grant, ticket) = once.into_parts();
    if grant.note.is_empty() || grant.note.len() > MAX_NOTE || grant.amount.is_zero() {
        let detail = format!("a grant is of more or less than nothing, with a note of 1 to {MAX_NOTE} bytes");
        return Err(Problem::invalid(detail).into());
    }
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let before = find(tx.sql(), &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let after = before.credit.plus(grant.amount).map_err(|error| Problem::invalid(error.to_string()))?;
    if after.minor() < 0 && grant.amount.minor() < 0 {
        return Err(Problem::invalid("a credit does not go below nothing").into());
    }
    let entry = Entry::Granted { who: allowed.who().as_str(), note: &grant.note };
    write(&mut tx, &id, grant.amount, entry, now).await?;
    tx.audit(allowed.who(), "credit.grant", id.as_str(), &json!({ "amount": grant.amount }), now).await?;
    let customer = publish(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let answer = Answer::record(customer.rev, &customer)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Columns = (i64, i64, String, String, Option<String>, Option<String>, Option<String>, i64);

/// `GET /customers/{id}/credit`: the entries, oldest first.
pub(crate) async fn list(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, minor, currency, kind, session, who, note, at FROM credit
         WHERE customer = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(id.as_str())
    .bind(page.after_number()?)
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let page = page.cut(rows, |row| row.0.to_string());
    let entries = page.rows.into_iter().map(|(id, minor, currency, kind, session, who, note, at)| {
        json!({ "id": id, "amount": { "minor": minor, "currency": currency }, "kind": kind, "session": session,
                "who": who, "note": note, "at": Timestamp::from_micros(at).rfc3339() })
    });
    Answer::ok(&json!({ "entries": entries.collect::<Vec<_>>(), "next_page_token": page.next }))
}
