//! What counts against customers and cards, and how it stops counting: a theft is reversed, a balance is settled, each by
//! a named operator with a reason. Nothing is deleted.
//!
//! It leaves refunds to the PCI zone: taking a theft off a record gives no money back by itself.

use axum::extract::State;
use ops_kit::guard::{CustomersRead, CustomersWrite};
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, Once, PageRequest, Params, Problem, WriteTx, stored};
use pci_contract::{CustomerId, EventId, Timestamp, Token};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite};

use crate::{Settings, cards, record};

const MAX_REASON: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    customer: Option<CustomerId>,
    card: Option<Token>,
    open: Option<bool>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: String,
}

/// Id, session, fridge, what, card, customer, minor, currency, at, ended at, ended by, reason.
type Columns = (
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    i64,
    String,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
);

/// The two lists differ in their words only.
struct Words {
    columns: &'static str,
    list: &'static str,
    what: &'static str,
    money: &'static str,
    /// When, by whom and why it stopped counting; the first is also the column's name.
    ended: [&'static str; 3],
}

const THEFT: Words = Words {
    columns:
        "SELECT id, session, fridge, meal, token, customer, price_minor, currency, at, reversed_at, reversed_by, reason
              FROM theft",
    list: "thefts",
    what: "meal",
    money: "price",
    ended: ["reversed_at", "reversed_by", "reversal_reason"],
};
const UNPAID: Words = Words {
    columns: "SELECT id, session, fridge, reason, token, customer, minor, currency, at, settled_at, settled_by, note
              FROM unpaid",
    list: "unpaid",
    what: "reason",
    money: "amount",
    ended: ["settled_at", "settled_by", "note"],
};

fn told(words: &Words, row: Columns) -> Value {
    let (id, session, fridge, what, card, customer, minor, currency, at, ended_at, ended_by, reason) = row;
    let text = |at| Timestamp::from_micros(at).rfc3339();
    let mut body = json!({ "id": id, "session": session, "fridge": fridge, "card": card, "customer": customer,
                           "at": text(at) });
    if let Some(members) = body.as_object_mut() {
        let [when, who, why] = words.ended;
        members.insert(words.what.to_owned(), what.into());
        members.insert(words.money.to_owned(), json!({ "minor": minor, "currency": currency }));
        members.insert(when.to_owned(), ended_at.map(text).into());
        members.insert(who.to_owned(), ended_by.into());
        members.insert(why.to_owned(), reason.into());
    }
    body
}

/// `GET /thefts?customer=&card=&open=`, in the order of ids. Of a customer, all that counts or counted against him.
pub(crate) async fn thefts(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    list(&kit, &THEFT, query).await
}

/// `GET /unpaid?customer=&card=&open=`, in the order of ids. Of a customer, all that counts or counted against him.
pub(crate) async fn unpaid(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    list(&kit, &UNPAID, query).await
}

async fn list(kit: &Kit<Settings>, words: &Words, query: ListQuery) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows: Vec<Columns> = listed(words, &query, &page).build_query_as().fetch_all(kit.db().readers()).await?;
    let page = page.cut(rows, |row| row.0.clone());
    let rows: Vec<Value> = page.rows.into_iter().map(|row| told(words, row)).collect();
    Answer::ok(&json!({ words.list: rows, "next_page_token": page.next }))
}

/// The query of a list. Only what is asked for is in it, so that SQLite finds it by an index.
fn listed(words: &Words, query: &ListQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(words.columns);
    sql.push(" WHERE id > ").push_bind(page.after());
    if let Some(customer) = &query.customer {
        let customer = customer.as_str();
        sql.push(" AND (customer = ").push_bind(customer);
        sql.push(" OR (customer IS NULL AND token IN (SELECT token FROM wallet WHERE wallet.customer = ");
        sql.push_bind(customer).push(")))");
    }
    if let Some(card) = &query.card {
        sql.push(" AND token = ").push_bind(card.as_str());
    }
    if let Some(open) = query.open {
        let [ended, ..] = words.ended;
        sql.push(" AND ").push(ended).push(if open { " IS NULL" } else { " IS NOT NULL" });
    }
    sql.push(" ORDER BY id LIMIT ").push_bind(page.limit());
    sql
}

/// `POST /thefts/{id}/reversal`: it was decided wrongly, and counts no more.
pub(crate) async fn reverse(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<EventId>,
    once: Once<Reason>,
) -> Result<Answer, ApiError> {
    let text = "UPDATE theft SET reversed_at = $1, reversed_by = $2, reason = $3 WHERE id = $4 AND reversed_at IS NULL
                RETURNING id, session, fridge, meal, token, customer, price_minor, currency, at, reversed_at,
                          reversed_by, reason";
    end(&allowed, &kit, &THEFT, "theft.reverse", text, id, once).await
}

/// `POST /unpaid/{id}/settlement`: it was paid by other means or forgiven, and is owed no more.
pub(crate) async fn settle(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<EventId>,
    once: Once<Reason>,
) -> Result<Answer, ApiError> {
    let text = "UPDATE unpaid SET settled_at = $1, settled_by = $2, note = $3 WHERE id = $4 AND settled_at IS NULL
                RETURNING id, session, fridge, reason, token, customer, minor, currency, at, settled_at, settled_by,
                          note";
    end(&allowed, &kit, &UNPAID, "unpaid.settle", text, id, once).await
}

async fn end(
    allowed: &Allowed<CustomersWrite>,
    kit: &Kit<Settings>,
    words: &Words,
    act: &'static str,
    text: &'static str,
    id: EventId,
    once: Once<Reason>,
) -> Result<Answer, ApiError> {
    let (Reason { reason }, ticket) = once.into_parts();
    if reason.is_empty() || reason.len() > MAX_REASON {
        return Err(Problem::invalid(format!("a reason has 1 to {MAX_REASON} bytes")).into());
    }
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let row: Option<Columns> = sqlx::query_as(text)
        .bind(now.micros())
        .bind(allowed.who().as_str())
        .bind(&reason)
        .bind(id.to_string())
        .fetch_optional(tx.sql())
        .await?;
    let row = row.ok_or_else(|| Problem::not_found("open entry"))?;
    let (token, customer) = (row.4.clone(), row.5.clone());
    recount(kit, &mut tx, &token, customer.as_deref()).await?;
    let body = told(words, row);
    tx.audit(allowed.who(), act, &id.to_string(), &body, now).await?;
    let answer = Answer::ok(&body)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Tells the PCI zone anew how the card and the customer stand.
async fn recount(kit: &Kit<Settings>, tx: &mut WriteTx, token: &str, customer: Option<&str>) -> Result<(), ApiError> {
    let token = stored("standing.token", Token::parse(token))?;
    cards::publish(tx, &token, kit.settings().currency).await?;
    if let Some(customer) = customer {
        let customer = stored("standing.customer", CustomerId::parse(customer))?;
        record::publish(tx, &customer).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CustomerId, ListQuery, PageRequest, THEFT, Token, UNPAID, listed};
    use crate::serve::plan;

    #[tokio::test]
    async fn what_counts_is_found_by_an_index() {
        let page = PageRequest::read(None, None).unwrap();
        let customer = || ListQuery { customer: CustomerId::parse("CU-1").ok(), ..ListQuery::default() };
        let token = Token::parse("tok_1_abcdefghijklmnopqrstuvwxyz").ok();
        for (words, table) in [(&THEFT, "theft"), (&UNPAID, "unpaid")] {
            let plan_of = |query| plan(listed(words, &query, &page));
            let found = plan_of(customer()).await;
            for index in ["_by_customer (customer=? AND id>?)", "_by_token (token=? AND id>?)"] {
                assert!(found.contains(&format!("{table}{index}")), "{found}");
            }
            let found = plan_of(ListQuery { card: token.clone(), ..ListQuery::default() }).await;
            assert!(found.contains(&format!("{table}_by_token (token=? AND id>?)")), "{found}");
        }
    }
}
