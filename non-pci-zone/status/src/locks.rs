//! Food-safety locks: a locked fridge opens for no purchase until a named person releases it.

use axum::extract::State;
use ops_kit::guard::StatusWrite;
use ops_kit::{Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, Problem};
use pci_contract::{FridgeId, LockRow};
use serde::Deserialize;
use serde_json::json;

use crate::Settings;
use crate::fridges::find;

const MAX_REASON: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    locked: bool,
    reason: String,
}

/// `PUT /fridges/{id}/lock`: sets or releases, with the reason.
pub(crate) async fn put(
    allowed: Allowed<StatusWrite>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<FridgeId>,
    if_match: IfMatch,
    Body(lock): Body<Lock>,
) -> Result<Answer, ApiError> {
    if lock.reason.is_empty() || lock.reason.len() > MAX_REASON {
        return Err(Problem::invalid(format!("a reason has 1 to {MAX_REASON} bytes")).into());
    }
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let before = find(tx.sql(), &id).await?;
    if_match.check(before.map_or(0, |(_, rev)| rev))?;
    let rev = tx.put_row(&LockRow { fridge: id.clone(), locked: lock.locked }).await?;
    sqlx::query(
        "INSERT INTO fridge (id, reports, locked, lock_reason, lock_by, lock_at, rev) VALUES ($1, 0, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET locked = excluded.locked, lock_reason = excluded.lock_reason,
            lock_by = excluded.lock_by, lock_at = excluded.lock_at, rev = excluded.rev",
    )
    .bind(id.as_str())
    .bind(lock.locked)
    .bind(&lock.reason)
    .bind(allowed.who().as_str())
    .bind(now.micros())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    let act = if lock.locked { "fridge.lock" } else { "fridge.release" };
    tx.audit(allowed.who(), act, id.as_str(), &json!({ "reason": lock.reason }), now).await?;
    let (body, rev) = find(tx.sql(), &id).await?.ok_or_else(|| Problem::not_found("fridge"))?;
    tx.commit().await?;
    Answer::record(rev, &body)
}
