//! The rules that hold for every fridge. There is always exactly one set of them, from the first start on, because the
//! PCI zone opens no door before it knows them.

use axum::extract::State;
use ops_kit::guard::{AdminRead, AdminWrite};
use ops_kit::{Allowed, Answer, ApiError, Body, Db, IfMatch, Kit, NoSettings, Problem, WriteTx, stored};
use pci_contract::{Currency, PolicyRow};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

const MAX_THEFTS: u32 = 1000;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// This many thefts block a customer or an anonymous card; from 1 to 1000.
    pub blocked_after_thefts: u32,
    /// What everything is priced in.
    pub currency: Currency,
}

impl Default for Policy {
    fn default() -> Self {
        Self { blocked_after_thefts: 2, currency: Currency::USD }
    }
}

impl Policy {
    fn check(&self) -> Result<(), Problem> {
        if (1..=MAX_THEFTS).contains(&self.blocked_after_thefts) {
            return Ok(());
        }
        Err(Problem::invalid(format!("blocked_after_thefts is from 1 to {MAX_THEFTS}")))
    }
}

/// The rules in force, with their revision.
pub(crate) async fn find(sql: &mut SqliteConnection) -> Result<(Policy, i64), ApiError> {
    row(sql).await?.ok_or_else(|| ApiError::corrupt("policy", "there is none"))
}

async fn row(sql: &mut SqliteConnection) -> Result<Option<(Policy, i64)>, ApiError> {
    let row: Option<(i64, String, i64)> =
        sqlx::query_as("SELECT blocked_after_thefts, currency, rev FROM policy").fetch_optional(sql).await?;
    let Some((thefts, currency, rev)) = row else { return Ok(None) };
    let blocked_after_thefts = stored("policy.blocked_after_thefts", u32::try_from(thefts))?;
    let currency = stored("policy.currency", Currency::parse(&currency))?;
    Ok(Some((Policy { blocked_after_thefts, currency }, rev)))
}

async fn save(tx: &mut WriteTx, policy: Policy) -> Result<i64, ApiError> {
    let Policy { blocked_after_thefts, currency } = policy;
    let rev = tx.put_row(&PolicyRow { blocked_after_thefts, currency }).await?;
    sqlx::query(
        "INSERT INTO policy (one, blocked_after_thefts, currency, rev) VALUES (1, $1, $2, $3)
         ON CONFLICT (one) DO UPDATE SET blocked_after_thefts = excluded.blocked_after_thefts,
            currency = excluded.currency, rev = excluded.rev",
    )
    .bind(i64::from(blocked_after_thefts))
    .bind(currency.as_str())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    Ok(rev)
}

/// Writes the default rules where there are none yet.
pub(crate) async fn ensure(db: &Db) -> Result<(), ApiError> {
    let mut tx = db.write().await?;
    if row(tx.sql()).await?.is_none() {
        save(&mut tx, Policy::default()).await?;
        tx.commit().await?;
    }
    Ok(())
}

pub(crate) async fn read(_: Allowed<AdminRead>, State(kit): State<Kit<NoSettings>>) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let (policy, rev) = find(&mut tx).await?;
    Answer::record(rev, &policy)
}

/// Replaces the rules. The currency stays while a fridge would authorize its hold in another.
pub(crate) async fn put(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    if_match: IfMatch,
    Body(policy): Body<Policy>,
) -> Result<Answer, ApiError> {
    policy.check()?;
    let mut tx = kit.db().write().await?;
    let (before, rev) = find(tx.sql()).await?;
    if_match.check(rev)?;
    if policy == before {
        return Answer::record(rev, &policy);
    }
    if policy.currency != before.currency {
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fridge WHERE deleted_at IS NULL AND currency <> $1")
            .bind(policy.currency.as_str())
            .fetch_one(tx.sql())
            .await?;
        if others > 0 {
            let detail = "fridges authorize their hold in the present currency";
            return Err(Problem::conflict("currency_in_use", detail).with("fridges", others).into());
        }
    }
    let rev = save(&mut tx, policy).await?;
    let told = json!({ "before": before, "after": policy });
    tx.audit(allowed.who(), "policy.put", "policy", &told, kit.now()).await?;
    tx.commit().await?;
    Answer::record(rev, &policy)
}
