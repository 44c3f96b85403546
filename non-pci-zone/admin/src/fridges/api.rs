//! The fridges of the API: create one or many, read, list and search, change, delete.
//!
//! It leaves the record itself to `record`.

use std::collections::BTreeSet;

use axum::extract::State;
use http::StatusCode;
use ops_kit::guard::{AdminRead, AdminWrite};
use ops_kit::{
    Allowed, Answer, ApiError, Body, IfMatch, Kit, Named, NoSettings, Once, PageRequest, Params, Problem, check_batch,
};
use pci_contract::{FridgeId, Money};
use serde::Deserialize;
use serde_json::json;

use super::record::{Fridge, Known, LifeCycle, Location, NewFridge, find, is_tag, remove, save};
use crate::policy;

const MAX_SEARCH: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fridges {
    fridges: Vec<NewFridge>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    in_service: Option<bool>,
    tag: Option<String>,
    life_cycle: Option<LifeCycle>,
    /// Part of the name of the fridge or of its place.
    q: Option<String>,
    /// South, west, north, east in degrees, separated by commas.
    within: Option<String>,
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
    tags: Option<BTreeSet<String>>,
    life_cycle: Option<LifeCycle>,
}

/// `GET /fridges?in_service=&tag=&life_cycle=&q=&within=`, in the order of names.
pub(crate) async fn list(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let area = query.within.as_deref().map(Area::parse).transpose()?;
    let rows = sqlx::query(
        "SELECT * FROM fridge
         WHERE id > $1 AND deleted_at IS NULL AND ($2 IS NULL OR in_service = $2) AND ($3 IS NULL OR life_cycle = $3)
           AND ($4 IS NULL OR tags LIKE $4 ESCAPE '!')
           AND ($5 IS NULL OR LOWER(id || ' ' || name) LIKE LOWER($5) ESCAPE '!')
           AND ($6 IS NULL OR (lat BETWEEN $6 AND $8
                AND CASE WHEN $7 <= $9 THEN lon BETWEEN $7 AND $9 ELSE lon >= $7 OR lon <= $9 END))
         ORDER BY id LIMIT $10",
    )
    .bind(page.after())
    .bind(query.in_service)
    .bind(query.life_cycle.map(LifeCycle::as_str))
    .bind(query.tag.as_deref().map(tag_pattern).transpose()?)
    .bind(query.q.as_deref().map(pattern).transpose()?)
    .bind(area.as_ref().map(|area| area.south))
    .bind(area.as_ref().map(|area| area.west))
    .bind(area.as_ref().map(|area| area.north))
    .bind(area.as_ref().map(|area| area.east))
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let fridges = rows.iter().map(Fridge::of).collect::<Result<Vec<_>, _>>()?;
    Answer::ok(&page.cut(fridges, |fridge| fridge.fridge.to_string()).json("fridges"))
}

/// A rectangle on the map; one whose west is east of its east spans the date line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    south: f64,
    west: f64,
    north: f64,
    east: f64,
}

impl Area {
    fn parse(text: &str) -> Result<Self, Problem> {
        let degrees: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match degrees.as_deref() {
            Some(&[south, west, north, east]) if south <= north && [west, east].iter().all(|lon| lon.is_finite()) => {
                Ok(Self { south, west, north, east })
            }
            _ => {
                let detail = "within is south,west,north,east in degrees";
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail))
            }
        }
    }
}

/// What was typed as a LIKE pattern that means it literally.
fn pattern(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.len() > MAX_SEARCH {
        let detail = format!("q has 1 to {MAX_SEARCH} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    }
    let literal = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    Ok(format!("%{literal}%"))
}

/// Finds a tag in a list of tags by its quotes, which no tag holds.
fn tag_pattern(tag: &str) -> Result<String, Problem> {
    if !is_tag(tag) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "there can be no such tag"));
    }
    pattern(&format!("\"{tag}\""))
}

pub(crate) async fn read(
    _: Allowed<AdminRead>,
    State(kit): State<Kit<NoSettings>>,
    Named(name): Named<FridgeId>,
) -> Result<Answer, ApiError> {
    let mut tx = kit.db().read().await?;
    let fridge = here(find(&mut tx, &name).await?)?;
    Answer::record(fridge.rev, &fridge)
}

fn here(known: Known) -> Result<Fridge, Problem> {
    match known {
        Known::Here(fridge) => Ok(*fridge),
        Known::Never | Known::Deleted => Err(Problem::not_found("fridge")),
    }
}

/// Creates one; the same again is the same answer, another under the same id is a conflict.
pub(crate) async fn create(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    once: Once<NewFridge>,
) -> Result<Answer, ApiError> {
    let (new, ticket) = once.into_parts();
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let (rules, _) = policy::find(tx.sql()).await?;
    let fridge = new.check(rules.currency)?;
    match find(tx.sql(), &fridge.fridge).await? {
        Known::Never => {}
        Known::Here(known) if (Fridge { rev: known.rev, ..fridge.clone() }) == *known => {
            return Answer::record(known.rev, &known);
        }
        Known::Here(_) | Known::Deleted => {
            return Err(Problem::conflict("already_exists", "the id of a fridge is used once").into());
        }
    }
    let rev = save(&mut tx, &fridge, None, now).await?;
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
    once: Once<Fridges>,
) -> Result<Answer, ApiError> {
    let (batch, ticket) = once.into_parts();
    check_batch(&batch.fridges)?;
    let count = batch.fridges.len();
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let (rules, _) = policy::find(tx.sql()).await?;
    let mut created = Vec::new();
    for new in batch.fridges {
        let fridge = new.check(rules.currency)?;
        if matches!(find(tx.sql(), &fridge.fridge).await?, Known::Never) {
            save(&mut tx, &fridge, None, now).await?;
            created.push(fridge.fridge);
        }
    }
    let answer = Answer::ok(&json!({ "created": created.len(), "existing": count - created.len() }))?;
    tx.audit(allowed.who(), "fridge.batch_create", "", &json!({ "created": created }), now).await?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Changes what the body names and nothing else.
pub(crate) async fn patch(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(name): Named<FridgeId>,
    if_match: IfMatch,
    Body(change): Body<Change>,
) -> Result<Answer, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let before = here(find(tx.sql(), &name).await?)?;
    if_match.demand(before.rev)?;
    let fridge = changed(&before, change);
    let (rules, _) = policy::find(tx.sql()).await?;
    fridge.check(rules.currency)?;
    if fridge == before {
        return Answer::record(before.rev, &before);
    }
    let rev = save(&mut tx, &fridge, Some(&before), now).await?;
    tx.audit(allowed.who(), "fridge.patch", name.as_str(), &json!({ "before": before, "after": fridge }), now).await?;
    tx.commit().await?;
    Answer::record(rev, &fridge)
}

fn changed(before: &Fridge, change: Change) -> Fridge {
    let mut fridge = before.clone();
    fridge.location = change.location.unwrap_or(fridge.location);
    fridge.hold = change.hold.unwrap_or(fridge.hold);
    fridge.in_service = change.in_service.unwrap_or(fridge.in_service);
    fridge.open_limit_s = change.open_limit_s.unwrap_or(fridge.open_limit_s);
    fridge.tags = change.tags.unwrap_or(fridge.tags);
    fridge.life_cycle = change.life_cycle.unwrap_or(fridge.life_cycle);
    fridge
}

/// Deletes it. The PCI zone is told that it is removed; what it sold stays known.
pub(crate) async fn delete(
    allowed: Allowed<AdminWrite>,
    State(kit): State<Kit<NoSettings>>,
    Named(name): Named<FridgeId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    let fridge = here(find(tx.sql(), &name).await?)?;
    if_match.demand(fridge.rev)?;
    remove(&mut tx, &fridge, now).await?;
    tx.audit(allowed.who(), "fridge.delete", name.as_str(), &json!(fridge), now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::{Area, pattern, tag_pattern};

    #[test]
    fn an_area_has_four_sides_the_right_way_up() {
        let area = Area::parse("-10, 170, 10, -170").unwrap();
        assert_eq!(area, Area { south: -10.0, west: 170.0, north: 10.0, east: -170.0 });
        for bad in ["", "1,2,3", "1,2,3,4,5", "10,0,-10,1", "NaN,0,1,1", "0,inf,1,1", "a,b,c,d"] {
            assert_eq!(Area::parse(bad).unwrap_err().code(), "invalid_query", "{bad}");
        }
    }

    #[test]
    fn a_search_means_what_was_typed() {
        assert_eq!(pattern("50%_off!").unwrap(), "%50!%!_off!!%");
        assert_eq!(pattern("").unwrap_err().code(), "invalid_query");
        assert_eq!(tag_pattern("a_b").unwrap(), "%\"a!_b\"%");
        assert_eq!(tag_pattern("a\",\"b").unwrap_err().code(), "invalid_query");
    }
}
