//! The customers of the API: create one or many, read, list, change, erase.
//!
//! It leaves ID tokens, wallets, credit and standing to modules of their own.

use axum::extract::State;
use ops_kit::guard::{CustomersRead, CustomersWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, Once, PageRequest, Params, Problem, WriteTx, check_batch,
    present,
};
use pci_contract::{CustomerId, ExpertId, Money, ReferralCode, SubscriptionId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use sqlx::{QueryBuilder, Sqlite};

use crate::record::{COLUMNS, Customer, find, publish, publish_erased};
use crate::{Settings, cards, credit, id_tokens};

const MAX_NAME: usize = 200;
const MAX_ID_TOKENS: usize = 20;

/// A customer as he is created.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    /// Who.
    pub customer: CustomerId,
    /// His name; 1 to 200 bytes.
    pub name: String,
    /// What he has to spend; nothing when left out.
    #[serde(default)]
    pub credit: Option<Money>,
    /// His subscription.
    #[serde(default)]
    pub subscription: Option<SubscriptionId>,
    /// His expert.
    #[serde(default)]
    pub expert: Option<ExpertId>,
    /// His referral code.
    #[serde(default)]
    pub referral_code: Option<ReferralCode>,
    /// Whether he is blocked from the start.
    #[serde(default)]
    pub blocked: bool,
    /// ID tokens that he has already, as texts; only their digests are kept.
    #[serde(default)]
    pub id_tokens: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Customers {
    customers: Vec<NewCustomer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    subscription: Option<SubscriptionId>,
    expert: Option<ExpertId>,
    referral_code: Option<ReferralCode>,
    blocked: Option<bool>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// What may be changed; null takes a value away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    name: Option<String>,
    blocked: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    subscription: Option<Option<SubscriptionId>>,
    #[serde(default, deserialize_with = "present")]
    expert: Option<Option<ExpertId>>,
    #[serde(default, deserialize_with = "present")]
    referral_code: Option<Option<ReferralCode>>,
}

impl NewCustomer {
    fn check(&self) -> Result<(), Problem> {
        check_name(&self.name)?;
        if self.credit.is_some_and(|credit| credit.minor() < 0) {
            return Err(Problem::invalid("a credit is not negative"));
        }
        if self.id_tokens.len() > MAX_ID_TOKENS {
            return Err(Problem::invalid(format!("a customer has at most {MAX_ID_TOKENS} ID tokens")));
        }
        self.id_tokens.iter().try_for_each(|token| id_tokens::check(token))
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.len() > MAX_NAME {
        return Err(Problem::invalid(format!("a name has 1 to {MAX_NAME} bytes")));
    }
    Ok(())
}

pub(crate) async fn list(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = listed(&query, &page).build().fetch_all(kit.db().readers()).await?;
    let customers = rows.iter().map(Customer::of).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(customers, |row| row.customer.to_string()).json("customers"))
}

/// The query of a list. Only what is asked for is in it, so that SQLite finds it by an index.
fn listed(query: &ListQuery, page: &PageRequest) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push(" WHERE c.erased_at IS NULL AND c.id > ").push_bind(page.after());
    for (column, value) in [
        ("c.subscription", query.subscription.as_ref().map(SubscriptionId::as_str)),
        ("c.expert", query.expert.as_ref().map(ExpertId::as_str)),
        ("c.referral_code", query.referral_code.as_ref().map(ReferralCode::as_str)),
    ] {
        if let Some(value) = value {
            sql.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }
    if let Some(blocked) = query.blocked {
        sql.push(" AND c.blocked = ").push_bind(blocked);
    }
    sql.push(" ORDER BY c.id LIMIT ").push_bind(page.limit());
    sql
}

pub(crate) async fn read(
    _: Allowed<CustomersRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let customer = find(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    Answer::record(customer.rev, &customer)
}

/// Creates one; an id that was ever used is a conflict.
pub(crate) async fn create(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    once: Once<NewCustomer>,
) -> Result<Answer, ApiError> {
    let (new, ticket) = once.into_parts();
    new.check()?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    if !add(&kit, &mut tx, &new, now).await? {
        return Err(Problem::conflict("already_exists", "the id of a customer is used once").into());
    }
    tx.audit(allowed.who(), "customer.create", new.customer.as_str(), &json!({}), now).await?;
    let customer = publish(&mut tx, &new.customer).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let answer = Answer::created(customer.rev, &customer)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Creates many; those whose id was ever used stay as they are.
pub(crate) async fn batch_create(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Body(batch): Body<Customers>,
) -> Result<Answer, ApiError> {
    check_batch(&batch.customers)?;
    batch.customers.iter().try_for_each(NewCustomer::check)?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let mut created = 0_usize;
    for new in &batch.customers {
        if add(&kit, &mut tx, new, now).await? {
            publish(&mut tx, &new.customer).await?;
            created += 1;
        }
    }
    let told = json!({ "created": created, "existing": batch.customers.len() - created });
    tx.audit(allowed.who(), "customer.batch_create", "", &told, now).await?;
    tx.commit().await?;
    Answer::ok(&told)
}

/// Adds him with his tokens and his opening credit; false when the id was used.
async fn add(kit: &Kit<Settings>, tx: &mut WriteTx, new: &NewCustomer, now: Timestamp) -> Result<bool, ApiError> {
    let credit = new.credit.unwrap_or_else(|| Money::zero(kit.settings().currency));
    let done = sqlx::query(
        "INSERT INTO customer (id, name, credit_minor, currency, subscription, expert, referral_code, blocked,
                               created_at, rev)
         VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING",
    )
    .bind(new.customer.as_str())
    .bind(&new.name)
    .bind(credit.currency().as_str())
    .bind(new.subscription.as_ref().map(SubscriptionId::as_str))
    .bind(new.expert.as_ref().map(ExpertId::as_str))
    .bind(new.referral_code.as_ref().map(ReferralCode::as_str))
    .bind(new.blocked)
    .bind(now.micros())
    .execute(tx.sql())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    if !credit.is_zero() {
        credit::write(tx, &new.customer, credit, credit::Entry::Opening, now).await?;
    }
    for token in &new.id_tokens {
        id_tokens::add(tx, &new.customer, token, None, now).await?;
    }
    Ok(true)
}

pub(crate) async fn patch(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
    if_match: IfMatch,
    Body(change): Body<Change>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().write().await?;
    let before = find(tx.sql(), &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    if_match.demand(before.rev)?;
    let name = change.name.unwrap_or(before.name);
    check_name(&name)?;
    let subscription = change.subscription.unwrap_or(before.subscription);
    let expert = change.expert.unwrap_or(before.expert);
    let referral = change.referral_code.unwrap_or(before.referral_code);
    let blocked = change.blocked.unwrap_or(before.blocked);
    sqlx::query(
        "UPDATE customer SET name = $1, subscription = $2, expert = $3, referral_code = $4, blocked = $5 WHERE id = $6",
    )
    .bind(name)
    .bind(subscription.as_ref().map(SubscriptionId::as_str))
    .bind(expert.as_ref().map(ExpertId::as_str))
    .bind(referral.as_ref().map(ReferralCode::as_str))
    .bind(blocked)
    .bind(id.as_str())
    .execute(tx.sql())
    .await?;
    tx.audit(allowed.who(), "customer.patch", id.as_str(), &json!({ "blocked": blocked }), kit.now()).await?;
    let customer = publish(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    tx.commit().await?;
    Answer::record(customer.rev, &customer)
}

/// Erases a person on request: name, tokens and wallet go; what he took and owes counts against the card from now on, or
/// being erased would be the way to take meals for nothing.
pub(crate) async fn erase(
    allowed: Allowed<CustomersWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<CustomerId>,
    if_match: IfMatch,
) -> Result<http::StatusCode, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let customer = find(tx.sql(), &id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    if_match.demand(customer.rev)?;
    let tokens = cards::tokens_of(&mut tx, &id).await?;
    for text in [
        "DELETE FROM id_token WHERE customer = $1",
        "DELETE FROM wallet WHERE customer = $1",
        "UPDATE theft SET customer = NULL WHERE customer = $1",
        "UPDATE unpaid SET customer = NULL WHERE customer = $1",
        "DELETE FROM answer WHERE json_extract(body, '$.customer') = $1", // a kept answer tells his name
    ] {
        sqlx::query(text).bind(id.as_str()).execute(tx.sql()).await?;
    }
    sqlx::query(
        "UPDATE customer SET name = '', subscription = NULL, expert = NULL, referral_code = NULL, credit_minor = 0,
            erased_at = $1 WHERE id = $2",
    )
    .bind(now.micros())
    .bind(id.as_str())
    .execute(tx.sql())
    .await?;
    for token in tokens {
        cards::stand(&mut tx, &token).await?;
        cards::publish(&mut tx, &token, kit.settings().currency).await?;
    }
    publish_erased(&mut tx, customer).await?;
    tx.audit(allowed.who(), "customer.erase", id.as_str(), &json!({}), now).await?;
    tx.commit().await?;
    Ok(http::StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::{ExpertId, ListQuery, PageRequest, ReferralCode, SubscriptionId, listed};
    use crate::serve::plan;

    #[tokio::test]
    async fn customers_and_what_counts_against_them_are_found_by_an_index() {
        let page = PageRequest::read(None, None).unwrap();
        let subscribed = ListQuery { subscription: SubscriptionId::parse("SU-1").ok(), ..ListQuery::default() };
        let advised = ListQuery { expert: ExpertId::parse("EX-1").ok(), ..ListQuery::default() };
        let referred = ListQuery { referral_code: ReferralCode::parse("FRIEND").ok(), ..ListQuery::default() };
        for (query, index) in [
            (subscribed, "customer_by_subscription (subscription=? AND id>?)"),
            (advised, "customer_by_expert (expert=? AND id>?)"),
            (referred, "customer_by_referral_code (referral_code=? AND id>?)"),
            (ListQuery::default(), "c USING PRIMARY KEY (id>?)"),
        ] {
            let found = plan(listed(&query, &page)).await;
            for index in [index, "theft_by_customer", "theft_by_token", "unpaid_by_customer", "unpaid_by_token"] {
                assert!(found.contains(index), "{index}: {found}");
            }
            assert!(!found.contains("SCAN"), "{found}");
        }
    }
}
