//! The record of a fridge, its row in the database and its row in the feed.

use ops_kit::{ApiError, Problem, WriteTx, stored};
use pci_contract::{Currency, FridgeId, FridgeRow, Money, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

const MAX_NAME: usize = 200;
const MAX_TAGS: usize = 20;
const MAX_TAG: usize = 40;
const MAX_OPEN_S: u32 = 3600;

/// Where a fridge stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// What people call it; 1 to 200 bytes.
    pub name: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// Where a fridge is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeCycle {
    /// Stands where it shall.
    Installed,
    /// Sells.
    #[default]
    Operative,
    /// Has not been heard of.
    Offline,
    /// Somebody fills it.
    BeingRestocked,
    /// Broken.
    OutOfOrder,
    /// Somebody repairs it.
    Maintenance,
    /// Sells no more.
    Decommissioned,
}

impl LifeCycle {
    /// The word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Operative => "operative",
            Self::Offline => "offline",
            Self::BeingRestocked => "being_restocked",
            Self::OutOfOrder => "out_of_order",
            Self::Maintenance => "maintenance",
            Self::Decommissioned => "decommissioned",
        }
    }
}

const fn yes() -> bool {
    true
}

const fn default_open_limit_s() -> u32 {
    60
}

const fn default_hold() -> Money {
    Money::new(2500, Currency::USD)
}

/// A fridge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fridge {
    /// Which; the name in its certificate.
    pub fridge: FridgeId,
    /// Where it stands.
    pub location: Location,
    /// What is authorized before its door opens; 2500 minor units when left out.
    #[serde(default = "default_hold")]
    pub hold: Money,
    /// Whether it may sell.
    #[serde(default = "yes")]
    pub in_service: bool,
    /// After how many seconds its open door sounds; 60 when left out.
    #[serde(default = "default_open_limit_s")]
    pub open_limit_s: u32,
    /// Words by which operators group fridges; at most 20.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it is in its life.
    #[serde(default)]
    pub life_cycle: LifeCycle,
}

impl Fridge {
    /// Checks what was sent.
    ///
    /// # Errors
    /// A problem that says what cannot be.
    pub fn check(&self) -> Result<(), Problem> {
        let Location { name, lat, lon } = &self.location;
        if name.trim().is_empty() || name.len() > MAX_NAME {
            return Err(Problem::invalid(format!("a location's name has 1 to {MAX_NAME} bytes")));
        }
        if !(-90.0..=90.0).contains(lat) || !(-180.0..=180.0).contains(lon) {
            return Err(Problem::invalid("lat is from -90 to 90, lon from -180 to 180"));
        }
        if !self.hold.is_positive() {
            return Err(Problem::invalid("a hold is more than nothing"));
        }
        if !(1..=MAX_OPEN_S).contains(&self.open_limit_s) {
            return Err(Problem::invalid(format!("open_limit_s is from 1 to {MAX_OPEN_S}")));
        }
        if self.tags.len() > MAX_TAGS || self.tags.iter().any(|tag| tag.is_empty() || tag.len() > MAX_TAG) {
            return Err(Problem::invalid(format!("at most {MAX_TAGS} tags of 1 to {MAX_TAG} bytes")));
        }
        Ok(())
    }

    /// What the PCI zone is told. A decommissioned fridge sells nothing, whatever else its record says.
    fn row(&self, removed: bool) -> FridgeRow {
        FridgeRow {
            fridge: self.fridge.clone(),
            in_service: self.in_service && !removed && self.life_cycle != LifeCycle::Decommissioned,
            hold: self.hold,
            open_limit_s: self.open_limit_s,
            removed,
        }
    }

    pub(super) fn of(row: &SqliteRow) -> Result<(Self, i64), ApiError> {
        let text = |name| row.try_get::<String, _>(name);
        let currency = stored("fridge.currency", Currency::parse(&text("currency")?))?;
        let life_cycle = serde_json::from_value(text("life_cycle")?.into());
        let fridge = Self {
            fridge: stored("fridge.id", FridgeId::parse(&text("id")?))?,
            location: Location { name: text("name")?, lat: row.try_get("lat")?, lon: row.try_get("lon")? },
            hold: Money::new(row.try_get("hold_minor")?, currency),
            in_service: row.try_get("in_service")?,
            open_limit_s: row.try_get("open_limit_s")?,
            tags: stored("fridge.tags", serde_json::from_str(&text("tags")?))?,
            life_cycle: stored("fridge.life_cycle", life_cycle)?,
        };
        Ok((fridge, row.try_get("rev")?))
    }
}

/// What is known under an id.
pub(super) enum Known {
    /// Nothing.
    Never,
    /// A fridge that was deleted.
    Deleted,
    /// A fridge and its revision.
    Here(Box<Fridge>, i64),
}

pub(super) async fn find(sql: &mut SqliteConnection, id: &FridgeId) -> Result<Known, ApiError> {
    let row = sqlx::query("SELECT * FROM fridge WHERE id = $1").bind(id.as_str()).fetch_optional(sql).await?;
    let Some(row) = row else { return Ok(Known::Never) };
    if row.try_get::<Option<i64>, _>("deleted_at")?.is_some() {
        return Ok(Known::Deleted);
    }
    let (fridge, rev) = Fridge::of(&row)?;
    Ok(Known::Here(Box::new(fridge), rev))
}

pub(super) async fn save(tx: &mut WriteTx, fridge: &Fridge, now: Timestamp) -> Result<i64, ApiError> {
    let rev = tx.put_row(&fridge.row(false)).await?;
    sqlx::query(
        "INSERT INTO fridge (id, name, lat, lon, hold_minor, currency, in_service, open_limit_s, tags, life_cycle,
                             created_at, rev)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, lat = excluded.lat, lon = excluded.lon,
            hold_minor = excluded.hold_minor, currency = excluded.currency, in_service = excluded.in_service,
            open_limit_s = excluded.open_limit_s, tags = excluded.tags, life_cycle = excluded.life_cycle,
            rev = excluded.rev",
    )
    .bind(fridge.fridge.as_str())
    .bind(&fridge.location.name)
    .bind(fridge.location.lat)
    .bind(fridge.location.lon)
    .bind(fridge.hold.minor())
    .bind(fridge.hold.currency().as_str())
    .bind(fridge.in_service)
    .bind(fridge.open_limit_s)
    .bind(serde_json::json!(fridge.tags).to_string())
    .bind(fridge.life_cycle.as_str())
    .bind(now.micros())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    Ok(rev)
}

pub(super) async fn remove(tx: &mut WriteTx, fridge: &Fridge, now: Timestamp) -> Result<(), ApiError> {
    let rev = tx.put_row(&fridge.row(true)).await?;
    sqlx::query("UPDATE fridge SET deleted_at = $1, rev = $2 WHERE id = $3")
        .bind(now.micros())
        .bind(rev)
        .bind(fridge.fridge.as_str())
        .execute(tx.sql())
        .await?;
    Ok(())
}
