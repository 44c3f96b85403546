//! Reads the sums again: by fridge, by day, or all in one, within days and in one currency.
//!
//! Sums of one answer are read at one moment. A fridge or a day that only refused customers is in the list too, with
//! sums of nothing. It leaves the questions and the form of the answers to `api`.

use std::collections::BTreeMap;

use ops_kit::ApiError;
use pci_contract::{Currency, FridgeId, Money};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// What is added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Sessions that ended with an unlocked door.
    pub(crate) sessions: i64,
    /// Of these, the ones in which a card was charged.
    pub(crate) charged_sessions: i64,
    /// Meals that were sold or stolen.
    pub(crate) meals: i64,
    /// Of these, the stolen ones.
    pub(crate) thefts: i64,
    /// What cards were charged, what stayed unpaid included.
    pub(crate) charged_minor: i64,
    /// What credit paid.
    pub(crate) credit_minor: i64,
    /// What became owed because it could not be got.
    pub(crate) unpaid_minor: i64,
    /// What the processor took.
    pub(crate) captured_minor: i64,
    /// What the processor gave back.
    pub(crate) refunded_minor: i64,
}

/// What is summed up.
#[derive(Debug)]
pub(super) struct Range {
    /// The first day, as `YYYY-MM-DD`.
    pub(super) from: String,
    /// The last day.
    pub(super) to: String,
    /// Amounts in this currency; refusals have none and always count.
    pub(super) currency: Currency,
    /// One fridge, or all.
    pub(super) fridge: Option<FridgeId>,
}

impl Range {
    pub(super) fn fridge(&self) -> Option<&str> {
        self.fridge.as_ref().map(FridgeId::as_str)
    }
}

/// What gets a sum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Fridge,
    Day,
    Nothing,
}

macro_rules! sums_by {
    ($bucket:literal) => {
        concat!(
            "SELECT bucket, SUM(sessions), SUM(charged_sessions), SUM(meals), SUM(thefts), SUM(charged_minor),
                    SUM(credit_minor), SUM(unpaid_minor), SUM(captured_minor), SUM(refunded_minor)
             FROM (SELECT ",
            $bucket,
            " AS bucket, sessions, charged_sessions, meals, thefts, charged_minor, credit_minor, unpaid_minor,
                          captured_minor, refunded_minor
                   FROM sale WHERE day BETWEEN $2 AND $3 AND currency = $4 AND ($5 IS NULL OR fridge = $5)
                   UNION ALL SELECT ",
            $bucket,
            ", 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM refusal WHERE day BETWEEN $2 AND $3 AND ($5 IS NULL OR fridge = $5)) AS part
             WHERE bucket > $1 GROUP BY bucket ORDER BY bucket LIMIT $6"
        )
    };
}

macro_rules! refusals_by {
    ($bucket:literal) => {
        concat!(
            "SELECT ",
            $bucket,
            " AS bucket, reason, SUM(count) FROM refusal
             WHERE ",
            $bucket,
            " BETWEEN $1 AND $2 AND day BETWEEN $3 AND $4 AND ($5 IS NULL OR fridge = $5)
             GROUP BY bucket, reason ORDER BY bucket, reason"
        )
    };
}

impl By {
    const fn sums(self) -> &'static str {
        match self {
            Self::Fridge => sums_by!("fridge"),
            Self::Day => sums_by!("day"),
            Self::Nothing => sums_by!("'all'"),
        }
    }

    const fn refusals(self) -> &'static str {
        match self {
            Self::Fridge => refusals_by!("fridge"),
            Self::Day => refusals_by!("day"),
            Self::Nothing => refusals_by!("'all'"),
        }
    }
}

/// Sums of one fridge, one day, or all.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bucket: String,
    pub(super) sums: Sums,
    pub(super) refused: BTreeMap<String, i64>,
}

impl Part {
    pub(super) fn empty(bucket: String) -> Self {
        Self { bucket, sums: Sums::default(), refused: BTreeMap::new() }
    }

    /// As JSON, with what it is of under `name`. `to_settle` is what is charged, neither owed nor captured yet: once all
    /// sessions are settled it is 0, or the books differ.
    pub(super) fn told(self, name: Option<&str>, currency: Currency) -> Value {
        let money = |minor| Money::new(minor, currency);
        let sums = self.sums;
        let to_settle = sums.charged_minor.saturating_sub(sums.unpaid_minor).saturating_sub(sums.captured_minor);
        let mut told = json!({
            "sessions": sums.sessions, "charged_sessions": sums.charged_sessions, "meals": sums.meals,
            "thefts": sums.thefts, "charged": money(sums.charged_minor), "credit_used": money(sums.credit_minor),
            "unpaid": money(sums.unpaid_minor), "captured": money(sums.captured_minor),
            "refunded": money(sums.refunded_minor), "to_settle": money(to_settle), "refused": self.refused,
        });
        if let (Some(name), Some(members)) = (name, told.as_object_mut()) {
            members.insert(name.to_owned(), self.bucket.into());
        }
        told
    }
}

fn part(row: &SqliteRow) -> Result<Part, ApiError> {
    let sums = Sums {
        sessions: row.try_get(1)?,
        charged_sessions: row.try_get(2)?,
        meals: row.try_get(3)?,
        thefts: row.try_get(4)?,
        charged_minor: row.try_get(5)?,
        credit_minor: row.try_get(6)?,
        unpaid_minor: row.try_get(7)?,
        captured_minor: row.try_get(8)?,
        refunded_minor: row.try_get(9)?,
    };
    Ok(Part { bucket: row.try_get(0)?, sums, refused: BTreeMap::new() })
}

/// At most `limit` sums, in the order of what each is of, after `after`.
pub(super) async fn sums(
    sql: &mut SqliteConnection,
    by: By,
    range: &Range,
    after: &str,
    limit: i64,
) -> Result<Vec<Part>, ApiError> {
    let rows = sqlx::query(by.sums())
        .bind(after)
        .bind(&range.from)
        .bind(&range.to)
        .bind(range.currency.as_str())
        .bind(range.fridge())
        .bind(limit)
        .fetch_all(&mut *sql)
        .await?;
    let mut parts = rows.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(parts) };
    let refusals: Vec<(String, String, i64)> = sqlx::query_as(by.refusals())
        .bind(&first.bucket)
        .bind(&last.bucket)
        .bind(&range.from)
        .bind(&range.to)
        .bind(range.fridge())
        .fetch_all(sql)
        .await?;
    let mut refused: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (bucket, reason, count) in refusals {
        refused.entry(bucket).or_default().insert(reason, count);
    }
    for part in &mut parts {
        part.refused = refused.remove(&part.bucket).unwrap_or_default();
    }
    Ok(parts)
}
