//! Cards by their token: in whose wallet, whether blocked, and what counts against them when nobody is known.
//!
//! A card may be in several wallets, as a family's is: each of them pays with it. Swiped, it stands for the customer who
//! enrolled it first, as long as he has it, so that nobody takes over a card by enrolling it too. It leaves the card's
//! number to the vault, where it has already been forgotten.

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::{CustomersRead, CustomersWrite};
use ops_kit::{Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, PageRequest, Params, Problem, WriteTx, stored};
use pci_contract::{CardRef, CardRow, Currency, CustomerId, Money, Timestamp, Token};
use serde::Deserialize;
use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::Settings;
use crate::record;

const COLUMNS: &str = "
    SELECT c.token, c.brand, c.last_four, c.customer, c.blocked, c.rev,
        (SELECT COUNT(*) FROM theft t WHERE t.token = c.token AND t.customer IS NULL AND t.reversed_at IS NULL) AS thefts,
        (SELECT COALESCE(SUM(u.minor), 0) FROM unpaid u
          WHERE u.token = c.token AND u.settled_at IS NULL) AS unpaid_minor,
        (SELECT MIN(u.currency) FROM unpaid u WHERE u.token = c.token AND u.settled_at IS NULL) AS unpaid_currency
    FROM card c";

fn of(row: &SqliteRow, currency: Currency) -> Result<(CardRow, i64), ApiError> {
    let maybe = |name| row.try_get::<Option<String>, _>(name);
    let text = |name| row.try_get::<String, _>(name);
    let customer = maybe("customer")?.as_deref().map(CustomerId::parse).transpose();
    let owed_in = maybe("unpaid_currency")?.as_deref().map(Currency::parse).transpose();
    let unpaid = Money::new(row.try_get("unpaid_minor")?, stored("unpaid.currency", owed_in)?.unwrap_or(currency));
    let card = CardRow {
        card: record::card_ref(&text("token")?, &text("brand")?, &text("last_four")?)?,
        customer: stored("card.customer", customer)?,
        blocked: row.try_get("blocked")?,
        thefts: row.try_get("thefts")?,
        unpaid,
        removed: false,
    };
    let counts = card.customer.is_some() || card.blocked || card.thefts > 0 || !card.unpaid.is_zero();
    Ok((CardRow { removed: !counts, ..card }, row.try_get("rev")?))
}

async fn find(sql: &mut SqliteConnection, token: &Token, currency: Currency) -> Result<(CardRow, i64), ApiError> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE c.token = $1"));
    let row = sqlx::query(text).bind(token.as_str()).fetch_optional(sql).await?;
    of(&row.ok_or_else(|| Problem::not_found("card"))?, currency)
}

/// Makes sure the card has a record.
pub(crate) async fn know(tx: &mut WriteTx, card: &CardRef) -> Result<(), ApiError> {
    let brand = serde_json::to_value(card.brand).ok().and_then(|brand| brand.as_str().map(str::to_owned));
    sqlx::query(
        "INSERT INTO card (token, brand, last_four, blocked, rev) VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
    )
    .bind(card.token.as_str())
    .bind(brand.unwrap_or_else(|| "other".to_owned()))
    .bind(card.last_four.as_str())
    .execute(tx.sql())
    .await?;
    Ok(())
}

/// Ends a change: gives the card its next revision and tells the PCI zone, of the card and of everybody in whose wallet
/// it is: what counts against it counts against them.
///
/// The PCI zone judges a card that stands for somebody by his standing. One that is blocked stands for nobody there, and
/// is so judged by its own.
pub(crate) async fn publish(tx: &mut WriteTx, token: &Token, currency: Currency) -> Result<(CardRow, i64), ApiError> {
    let (card, _) = find(tx.sql(), token, currency).await?;
    let told = CardRow { customer: card.customer.clone().filter(|_| !card.blocked), ..card.clone() };
    let rev = tx.put_row(&told).await?;
    sqlx::query("UPDATE card SET rev = $1 WHERE token = $2").bind(rev).bind(token.as_str()).execute(tx.sql()).await?;
    let holders: Vec<String> = sqlx::query_scalar("SELECT customer FROM wallet WHERE token = $1 ORDER BY id")
        .bind(token.as_str())
        .fetch_all(tx.sql())
        .await?;
    for holder in holders {
        record::publish(tx, &stored("wallet.customer", CustomerId::parse(&holder))?).await?;
    }
    Ok((card, rev))
}

/// Puts a card into a wallet, behind those that are there.
pub(crate) async fn enroll(
    tx: &mut WriteTx,
    customer: &CustomerId,
    card: &CardRef,
    at: Timestamp,
) -> Result<(), ApiError> {
    know(tx, card).await?;
    sqlx::query("INSERT INTO wallet (customer, token, enrolled_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(customer.as_str())
        .bind(card.token.as_str())
        .bind(at.micros())
        .execute(tx.sql())
        .await?;
    stand(tx, &card.token).await
}

/// Says for whom the card stands, after a change of the wallets it is in.
pub(crate) async fn stand(tx: &mut WriteTx, token: &Token) -> Result<(), ApiError> {
    sqlx::query(
        "UPDATE card SET customer = (SELECT customer FROM wallet WHERE wallet.token = card.token ORDER BY id LIMIT 1)
         WHERE token = $1",
    )
    .bind(token.as_str())
    .execute(tx.sql())
    .await?;
    Ok(())
}

/// Cards that are, or were, a customer's: in his wallet, or with something on them that counts against him.
pub(crate) async fn tokens_of(tx: &mut WriteTx, customer: &CustomerId) -> Result<Vec<Token>, ApiError> {
    let tokens: Vec<String> = sqlx::query_scalar(
        "SELECT token FROM wallet WHERE customer = $1 UNION SELECT token FROM theft WHERE customer = $1
         UNION SELECT token FROM unpaid WHERE customer = $1",
    )
    .bind(customer.as_str())
    .fetch_all(tx.sql())
    .await?;
    tokens.iter().map(|token| stored("wallet.token", Token::parse(token))).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    customer: Option<CustomerId>,
    blocked: Option<bool>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

pub(crate) async fn list(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = listed(&query, &page).build().fetch_all(kit.db().readers()).await?;
    let currency = kit.settings().currency;
    let cards = rows.iter().map(|row| of(row, currency).map(|(card, _)| card)).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(cards, |row| row.card.token.to_string()).json("cards"))
}

/// The query of a list. Only what is asked for is in it, so that SQLite finds it by an index.
fn listed(query: &ListQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push(" WHERE c.token > ").push_bind(page.after());
    if let Some(customer) = &query.customer {
        sql.push(" AND c.customer = ").push_bind(customer.as_str());
    }
    if let Some(blocked) = query.blocked {
        sql.push(" AND c.blocked = ").push_bind(blocked);
    }
    sql.push(" ORDER BY c.token LIMIT ").push_bind(page.limit());
    sql
}

pub(crate) async fn read(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Named(token): Named<Token>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let (card, rev) = find(&mut tx, &token, kit.settings().currency).await?;
    Answer::record(rev, &card)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    blocked: bool,
}

/// Blocks a card, or lets it buy again.
pub(crate) async fn patch(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(token): Named<Token>,
    if_match: IfMatch,
    Body(change): Body<Change>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().write().await?;
    let currency = kit.settings().currency;
    let (_, rev) = find(tx.sql(), &token, currency).await?;
    if_match.demand(rev)?;
    sqlx::query("UPDATE card SET blocked = $1 WHERE token = $2")
        .bind(change.blocked)
        .bind(token.as_str())
        .execute(tx.sql())
        .await?;
    let (card, rev) = publish(&mut tx, &token, currency).await?;
    let told = json!({ "blocked": change.blocked });
    tx.audit(allowed.who(), "card.patch", token.as_str(), &told, kit.now()).await?;
    tx.commit().await?;
    Answer::record(rev, &card)
}

/// The cards of a wallet, the default first, each with the customer for whom it stands when it is swiped.
pub(crate) async fn wallet(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    record::find(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let rows: Vec<(String, String, String, Option<String>, i64)> = sqlx::query_as(
        "SELECT card.token, card.brand, card.last_four, card.customer, wallet.enrolled_at FROM wallet
         JOIN card ON card.token = wallet.token WHERE wallet.customer = $1 ORDER BY wallet.id",
    )
    .bind(id.as_str())
    .fetch_all(&mut *tx)
    .await?;
    let cards = rows.iter().map(|(token, brand, last_four, stands_for, at)| {
        let card = record::card_ref(token, brand, last_four)?;
        let at = Timestamp::from_micros(*at).rfc3339();
        Ok(json!({ "card": card, "stands_for": stands_for, "enrolled_at": at }))
    });
    Answer::ok(&json!({ "wallet": cards.collect::<Result<Vec<_>, ApiError>>()? }))
}

/// Takes a card out of a wallet. It stands from now on for the next of those that still have it.
pub(crate) async fn remove(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named((id, token)): Named<(CustomerId, Token)>,
) -> Result<StatusCode, ApiError> {
    let mut tx = kit.db().write().await?;
    let done = sqlx::query("DELETE FROM wallet WHERE customer = $1 AND token = $2")
        .bind(id.as_str())
        .bind(token.as_str())
        .execute(tx.sql())
        .await?;
    if done.rows_affected() == 0 {
        return Err(Problem::not_found("card in this wallet").into());
    }
    stand(&mut tx, &token).await?;
    publish(&mut tx, &token, kit.settings().currency).await?;
    record::publish(&mut tx, &id).await?;
    tx.audit(allowed.who(), "wallet.remove", id.as_str(), &json!({ "token": token }), kit.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::{CustomerId, ListQuery, PageRequest, listed};
    use crate::serve::plan;

    #[tokio::test]
    async fn a_customers_cards_are_found_by_an_index() {
        let customer = CustomerId::parse("CU-1").ok();
        let query = ListQuery { customer, blocked: None, page_size: None, page_token: None };
        let found = plan(listed(&query, &PageRequest::read(None, None).unwrap())).await;
        assert!(found.contains("card_by_customer (customer=? AND token>?)"), "{found}");
    }
}
