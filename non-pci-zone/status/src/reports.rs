//! Health reports: what a fridge measures, told by itself, kept as a series with an end.
//!
//! What it counted inside is kept by `snapshots`; who reports in quarantine, by `quarantine`. Judging a series (food safety,
//! alarms) is not done here: a report is booked as it came.

use std::collections::BTreeSet;

use axum::extract::State;
use ca_identity::SpiffeId;
use ops_kit::guard::{ReportHealth, StatusRead};
use ops_kit::{Allowed, Answer, ApiError, Kit, Named, Once, PageRequest, Params, Problem, WriteTx, stored};
use pci_contract::{FridgeId, MealId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Settings, quarantine, snapshots};

const MAX_MEALS: usize = 1000;
const MAX_FIRMWARE: usize = 64;

/// Where the door is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Door {
    Open,
    Closed,
}

impl Door {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A report; what the fridge cannot measure is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// Degrees Celsius, -60 to 100.
    temperature_c: Option<f64>,
    /// Relative, percent.
    humidity: Option<f64>,
    door: Option<Door>,
    firmware: Option<String>,
    /// Every barcode that the fridge counts inside now.
    meals: Option<Vec<MealId>>,
    /// By the fridge's own clock, RFC 3339.
    measured_at: Option<String>,
    /// Why it is in quarantine; only of a fridge that is.
    reasons: Option<Vec<String>>,
}

impl Report {
    fn check(&self, who: &SpiffeId) -> Result<Option<Timestamp>, Problem> {
        quarantine::check(who, self.reasons.as_deref())?;
        if self.meals.is_some() && quarantine::is_in(who) {
            return Err(Problem::invalid("what a fridge in quarantine counts is no record of what is inside"));
        }
        if self.temperature_c.is_some_and(|degrees| !(-60.0..=100.0).contains(&degrees)) {
            return Err(Problem::invalid("a temperature is from -60 to 100 degrees Celsius"));
        }
        if self.humidity.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(Problem::invalid("a humidity is from 0 to 100 percent"));
        }
        if self.firmware.as_ref().is_some_and(|text| text.is_empty() || text.len() > MAX_FIRMWARE) {
            return Err(Problem::invalid(format!("a firmware has 1 to {MAX_FIRMWARE} bytes")));
        }
        if self.meals.as_ref().is_some_and(|meals| meals.len() > MAX_MEALS) {
            return Err(Problem::invalid(format!("a fridge holds at most {MAX_MEALS} meals")));
        }
        let moment = |text| Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::invalid("a time is in RFC 3339"));
        self.measured_at.as_deref().map(moment).transpose()
    }

    /// What it counted as JSON, in an order that does not depend on how it counted.
    fn counted(&self) -> Option<String> {
        let meals: BTreeSet<&MealId> = self.meals.as_ref()?.iter().collect();
        Some(json!(meals).to_string())
    }
}

/// `POST /fridges/{id}/reports`, by that fridge itself.
pub(crate) async fn report(
    allowed: Allowed<ReportHealth>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<FridgeId>,
    once: Once<Report>,
) -> Result<Answer, ApiError> {
    let (report, ticket) = once.into_parts();
    let measured_at = report.check(allowed.who())?;
    let (mut tx, now) = (kit.db().write().await?, kit.now());
    if let Some(answer) = ticket.recall(&mut tx, now).await? {
        return Ok(answer);
    }
    let meals = report.counted();
    let n = latest(&mut tx, &id, &report, meals.as_deref(), now).await?;
    if let Some(meals) = &meals {
        snapshots::keep(&mut tx, &id, n, meals, kit.settings(), now).await?;
    }
    quarantine::note(&mut tx, allowed.who(), &id, report.reasons.as_deref(), now).await?;
    let told = Told { n, at: now, measured_at, quarantined: quarantine::is_in(allowed.who()) };
    append(&mut tx, &id, &report, &told).await?;
    prune(&mut tx, &id, n, kit.settings(), now).await?;
    let answer = Answer::new(http::StatusCode::CREATED, None, &json!({ "report": n, "at": now.rfc3339() }))?;
    ticket.keep(&mut tx, &answer, now).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Writes the report into the fridge's record and gives the report its number.
async fn latest(
    tx: &mut WriteTx,
    id: &FridgeId,
    report: &Report,
    meals: Option<&str>,
    now: Timestamp,
) -> Result<i64, ApiError> {
    let rev = tx.next_revision().await?;
    let n = sqlx::query_scalar(
        "INSERT INTO fridge (id, seen_at, reports, temperature_c, humidity, door, firmware, meals, counted_at, locked,
                             rev)
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, 0, $9)
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, reports = reports + 1,
            temperature_c = COALESCE(excluded.temperature_c, temperature_c),
            humidity = COALESCE(excluded.humidity, humidity), door = COALESCE(excluded.door, door),
            firmware = COALESCE(excluded.firmware, firmware), meals = COALESCE(excluded.meals, meals),
            counted_at = COALESCE(excluded.counted_at, counted_at),
            rev = excluded.rev
         RETURNING reports",
    )
    .bind(id.as_str())
    .bind(now.micros())
    .bind(report.temperature_c)
    .bind(report.humidity)
    .bind(report.door.map(Door::as_str))
    .bind(&report.firmware)
    .bind(meals)
    .bind(meals.map(|_| now.micros()))
    .bind(rev)
    .fetch_one(tx.sql())
    .await?;
    Ok(n)
}

/// What is known of a report besides what it says.
struct Told {
    n: i64,
    at: Timestamp,
    measured_at: Option<Timestamp>,
    quarantined: bool,
}

async fn append(tx: &mut WriteTx, id: &FridgeId, report: &Report, told: &Told) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO report (fridge, n, at, measured_at, temperature_c, humidity, door, firmware, quarantined)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.as_str())
    .bind(told.n)
    .bind(told.at.micros())
    .bind(told.measured_at.map(Timestamp::micros))
    .bind(report.temperature_c)
    .bind(report.humidity)
    .bind(report.door.map(Door::as_str))
    .bind(&report.firmware)
    .bind(told.quarantined)
    .execute(tx.sql())
    .await?;
    Ok(())
}

async fn prune(tx: &mut WriteTx, id: &FridgeId, n: i64, settings: &Settings, now: Timestamp) -> Result<(), ApiError> {
    for (text, bound) in [
        ("DELETE FROM report WHERE fridge = $1 AND n <= $2", n - i64::from(settings.reports_per_fridge)),
        ("DELETE FROM report WHERE fridge = $1 AND at < $2", settings.oldest(now)),
    ] {
        sqlx::query(text).bind(id.as_str()).bind(bound).execute(tx.sql()).await?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeriesQuery {
    from: Option<String>,
    to: Option<String>,
    page_size: Option<u32>,
    page_token: Option<String>,
}

type Columns = (i64, i64, Option<i64>, Option<f64>, Option<f64>, Option<String>, Option<String>, bool);

/// `GET /fridges/{id}/reports?from=&to=`: the series, oldest first.
pub(crate) async fn list(
    _: Allowed<StatusRead>,
    State(kit): State<Kit<Settings>>,
    Named(id): Named<FridgeId>,
    Params(query): Params<SeriesQuery>,
) -> Result<Answer, ApiError> {
    let page = PageRequest::read(query.page_size, query.page_token.as_deref())?;
    let moment = |text: &String| {
        Timestamp::parse_rfc3339(text).map(Timestamp::micros).ok_or_else(|| Problem::invalid("a time is in RFC 3339"))
    };
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT n, at, measured_at, temperature_c, humidity, door, firmware, quarantined FROM report
         WHERE fridge = $1 AND n > $2 AND ($3 IS NULL OR at >= $3) AND ($4 IS NULL OR at < $4) ORDER BY n LIMIT $5",
    )
    .bind(id.as_str())
    .bind(page.after_number()?)
    .bind(query.from.as_ref().map(moment).transpose()?)
    .bind(query.to.as_ref().map(moment).transpose()?)
    .bind(page.limit())
    .fetch_all(kit.db().readers())
    .await?;
    let page = page.cut(rows, |row| row.0.to_string());
    let text = |at| Timestamp::from_micros(at).rfc3339();
    let rows = page.rows.into_iter().map(|(n, at, measured_at, temperature_c, humidity, door, firmware, quarantined)| {
        let door = door.map(|door| stored("report.door", serde_json::from_value::<Door>(door.into()))).transpose()?;
        Ok(json!({ "report": n, "at": text(at), "measured_at": measured_at.map(text), "temperature_c": temperature_c,
                   "humidity": humidity, "door": door, "firmware": firmware, "quarantined": quarantined }))
    });
    let rows = rows.collect::<Result<Vec<_>, ApiError>>()?;
    Answer::ok(&json!({ "reports": rows, "next_page_token": page.next }))
}
