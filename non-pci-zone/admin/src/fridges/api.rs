//! The fridges of the API: create one or many, read, list, change, delete.

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::{AdminRead, AdminWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, NoSettings, Once, PageRequest, Params, Problem, WriteTx,
    check_batch,
};
use pci_contract::{FridgeId, Money};
use serde::Deserialize;
use serde_json::json;

use super::record::{Fridge, Known, LifeCycle, Location, find, remove, save};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fridges {
    fridges: Vec<Fridge>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    tag: Option<String>,
    in_service: Option<bool>,
    life_cycle: Option<LifeCycle>,
    q: Option<String>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

/// What may be changed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    location: Option<Location>,
    hold: Option<Money>,
    in_service: Option<bool>,
    open_limit_s: Option<u32>,
    tags: Option<Vec<String>>,
    life_cycle: Option<LifeCycle>,
}

impl Change {
    fn apply(self, before: &Fridge) -> Fridge {
        let now = before.clone();
        Fridge {
            fridge: now.fridge,
            location: self.location.unwrap_or(now.location),
            hold: self.hold.unwrap_or(now.hold),
            in_service: self.in_service.unwrap_or(now.in_service),
            open_limit_s: self.open_limit_s.unwrap_or(now.open_limit_s),
            tags: self.tags.unwrap_or(now.tags),
            life_cycle: self.life_cycle.unwrap_or(now.life_cycle),
        }
    }
}

async fn here(tx: &mut WriteTx, id: &FridgeId) -> Result<(Fridge, i64), ApiError> {
    match find(tx.sql(), id).await? {
        Known::Here(fridge, rev) => Ok((*fridge, rev)),
        Known::Never | Known::Deleted => Err(Problem::not_found("fridge").into()),
    }
}

/// `GET /fridges?tag=&in_service=&life_cycle=&q=`: `q` finds a part of the id or of the location's name.
pub(crate) async fn list(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let rows = sqlx::query(
        "SELECT * FROM fridge
         WHERE id > $1 AND deleted_at IS NULL AND ($2 IS NULL OR in_service = $2) AND ($3 IS NULL OR life_cycle = $3)
           AND ($4 IS NULL OR EXISTS (SELECT 1 FROM json_each(fridge.tags) WHERE value = $4))
           AND ($5 IS NULL OR instr(lower(id || ' ' || name), lower($5)) > 0)
         ORDER BY id LIMIT $6",
    )
    .bind(page.after())
    .bind(query.in_service)
    .bind(query.life_cycle.map(LifeCycle::as_str))
    .bind(query.tag)
    .bind(query.q)
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let fridges = rows.iter().map(|row| Fridge::of(row).map(|(fridge, _)| fridge)).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(fridges, |row| row.fridge.to_string()).json("fridges"))
}

pub(crate) async fn read(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Named(id): Named<FridgeId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    match find(&mut tx, &id).await? {
        Known::Here(fridge, rev) => Answer::record(rev, &fridge),
        Known::Never | Known::Deleted => Err(Problem::not_found("fridge").into()),
    }
}

/// Creates one; the same again is the same answer, another under the same id is a conflict.
pub(crate) async fn create(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    once: Once<Fridge>,
) -> Result<Answer, ApiError> {
    let (fridge, ticket) = once.into_parts();
    fridge.check()?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    match find(tx.sql(), &fridge.fridge).await? {
        Known::Never => {}
        Known::Here(known, rev) if *known == fridge => return Answer::record(rev, &known),
        Known::Here(..) | Known::Deleted => {
            return Err(Problem::conflict("already_exists", "the id of a fridge is used once").into());
        }
    }
    let rev = save(&mut tx, &fridge, now).await?;
    tx.audit(allowed.who(), "fridge.create", fridge.fridge.as_str(), &json!(fridge), now).await?;
    let answer = Answer::created(rev, &fridge)?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Creates many; those whose id was ever used stay as they are.
pub(crate) async fn batch_create(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    Body(batch): Body<Fridges>,
) -> Result<Answer, ApiError> {
    check_batch(&batch.fridges)?;
    batch.fridges.iter().try_for_each(Fridge::check)?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let mut created = 0_usize;
    for fridge in &batch.fridges {
        if matches!(find(tx.sql(), &fridge.fridge).await?, Known::Never) {
            save(&mut tx, fridge, now).await?;
            created += 1;
        }
    }
    let told = json!({ "created": created, "existing": batch.fridges.len() - created });
    tx.audit(allowed.who(), "fridge.batch_create", "", &told, now).await?;
    tx.commit().await?;
    Answer::ok(&told)
}

pub(crate) async fn patch(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(id): Named<FridgeId>,
    if_match: IfMatch,
    Body(change): Body<Change>,
) -> Result<Answer, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let (before, rev) = here(&mut tx, &id).await?;
    if_match.demand(rev)?;
    let fridge = change.apply(&before);
    fridge.check()?;
    let rev = save(&mut tx, &fridge, now).await?;
    tx.audit(allowed.who(), "fridge.patch", id.as_str(), &json!({ "before": before, "after": fridge }), now).await?;
    tx.commit().await?;
    Answer::record(rev, &fridge)
}

pub(crate) async fn delete(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(id): Named<FridgeId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let (fridge, rev) = here(&mut tx, &id).await?;
    if_match.demand(rev)?;
    remove(&mut tx, &fridge, now).await?;
    tx.audit(allowed.who(), "fridge.delete", id.as_str(), &json!(fridge), now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
