//! The one policy that holds for every fridge.

use axum::extract::State;
use ops_kit::guard::{AdminRead, AdminWrite};
use ops_kit::{Allowed, Answer, ApiError, Body, IfMatch, Kit, NoSettings, Problem, stored};
use pci_contract::{Currency, PolicyRow};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

async fn find(sql: &mut SqliteConnection) -> Result<Option<(PolicyRow, i64)>, ApiError> {
    let row: Option<(u32, String, i64)> =
        sqlx::query_as("SELECT blocked_after_thefts, currency, rev FROM policy").fetch_optional(sql).await?;
    row.map(|(blocked_after_thefts, currency, rev)| {
        let currency = stored("policy.currency", Currency::parse(&currency))?;
        Ok((PolicyRow { blocked_after_thefts, currency }, rev))
    })
    .transpose()
}

pub(crate) async fn read(_: Allowed<AdminRead>, State(kit): State<Kit<NoSettings>>) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let (policy, rev) = find(&mut tx).await?.ok_or_else(|| Problem::not_found("policy"))?;
    Answer::record(rev, &policy)
}

/// Sets it.
pub(crate) async fn put(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    if_match: IfMatch,
    Body(policy): Body<PolicyRow>,
) -> Result<Answer, ApiError> {
    if policy.blocked_after_thefts == 0 {
        return Err(Problem::invalid("blocked_after_thefts is at least 1; 0 would block everybody").into());
    }
    let mut tx = kit.db().write().await?;
    let before = find(tx.sql()).await?;
    if_match.check(before.as_ref().map_or(0, |(_, rev)| *rev))?;
    let rev = tx.put_row(&policy).await?;
    sqlx::query(
        "INSERT INTO policy (one, blocked_after_thefts, currency, rev) VALUES (1, $1, $2, $3)
         ON CONFLICT (one) DO UPDATE SET blocked_after_thefts = excluded.blocked_after_thefts,
            currency = excluded.currency, rev = excluded.rev",
    )
    .bind(policy.blocked_after_thefts)
    .bind(policy.currency.as_str())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    let told = json!({ "before": before.map(|(policy, _)| policy), "after": policy });
    tx.audit(allowed.who(), "policy.put", "policy", &told, kit.now()).await?;
    tx.commit().await?;
    Answer::record(rev, &policy)
}
