//! The record of a fridge, its row in the database and its row in the feed.
//!
//! A row that could not have been written by this code is refused, never repaired. It leaves HTTP to `api`.

use std::collections::BTreeSet;

use ops_kit::{ApiError, Problem, WriteTx, stored};
use pci_contract::{Currency, FridgeId, FridgeRow, Money, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// What is authorized before the door opens unless the fridge says otherwise, in minor units of the policy's currency.
const HOLD_MINOR: i64 = 2500;
const MAX_HOLD_MINOR: i64 = 1_000_000;
const OPEN_LIMIT_S: u32 = 60;
const MAX_OPEN_LIMIT_S: u32 = 3600;
const MAX_NAME: usize = 200;
const MAX_TAG: usize = 40;
const MAX_TAGS: usize = 32;

/// Where a fridge is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeCycle {
    /// Set up, and may sell.
    Installed,
    /// Sells.
    #[default]
    Operative,
    /// Not to be reached.
    Offline,
    /// Being filled.
    Restocking,
    /// Broken.
    OutOfOrder,
    /// Being repaired or cleaned.
    Maintenance,
    /// Taken away for good.
    Decommissioned,
}

impl LifeCycle {
    const ALL: [Self; 7] = [
        Self::Installed,
        Self::Operative,
        Self::Offline,
        Self::Restocking,
        Self::OutOfOrder,
        Self::Maintenance,
        Self::Decommissioned,
    ];

    /// The word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Operative => "operative",
            Self::Offline => "offline",
            Self::Restocking => "restocking",
            Self::OutOfOrder => "out_of_order",
            Self::Maintenance => "maintenance",
            Self::Decommissioned => "decommissioned",
        }
    }

    /// Whether a fridge may sell at this point.
    #[must_use]
    pub const fn sells(self) -> bool {
        matches!(self, Self::Installed | Self::Operative)
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let found = Self::ALL.into_iter().find(|cycle| cycle.as_str() == text);
        found.ok_or_else(|| ApiError::corrupt("fridge.life_cycle", text))
    }
}

/// Where a fridge stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// What people call the place; 1 to 200 bytes.
    pub name: String,
    /// Degrees north, WGS 84.
    pub lat: f64,
    /// Degrees east, WGS 84.
    pub lon: f64,
}

/// A fridge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fridge {
    /// Which.
    pub fridge: FridgeId,
    /// Where it stands.
    pub location: Location,
    /// What is authorized before the door opens.
    pub hold: Money,
    /// Whether operators let it sell.
    pub in_service: bool,
    /// After how many seconds an open door sounds.
    pub open_limit_s: u32,
    /// Words to find and group it by.
    pub tags: BTreeSet<String>,
    /// Where it is in its life.
    pub life_cycle: LifeCycle,
    /// The revision of its last change.
    #[serde(skip)]
    pub rev: i64,
}

/// A fridge as it is created.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFridge {
    /// Which.
    pub fridge: FridgeId,
    /// Where it stands.
    pub location: Location,
    /// What is authorized before the door opens; 2500 minor units of the policy's currency when left out.
    #[serde(default)]
    pub hold: Option<Money>,
    /// Whether operators let it sell; true when left out.
    #[serde(default = "in_service")]
    pub in_service: bool,
    /// After how many seconds an open door sounds; 60 when left out, at most 3600.
    #[serde(default = "open_limit_s")]
    pub open_limit_s: u32,
    /// At most 32 tags of 1 to 40 characters of `a-z 0-9 . _ -`.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Where it is in its life; operative when left out.
    #[serde(default)]
    pub life_cycle: LifeCycle,
}

const fn in_service() -> bool {
    true
}

const fn open_limit_s() -> u32 {
    OPEN_LIMIT_S
}

impl NewFridge {
    /// Checks what is to be created where everything is priced in `currency`.
    ///
    /// # Errors
    /// A problem that says what cannot be.
    pub fn check(self, currency: Currency) -> Result<Fridge, Problem> {
        let fridge = Fridge {
            fridge: self.fridge,
            location: self.location,
            hold: self.hold.unwrap_or(Money::new(HOLD_MINOR, currency)),
            in_service: self.in_service,
            open_limit_s: self.open_limit_s,
            tags: self.tags,
            life_cycle: self.life_cycle,
            rev: 0,
        };
        fridge.check(currency)?;
        Ok(fridge)
    }
}

impl Fridge {
    /// Checks everything that its types do not.
    pub(super) fn check(&self, currency: Currency) -> Result<(), Problem> {
        if self.hold.currency() != currency {
            return Err(Problem::invalid(format!("everything is priced in {currency}, so the hold is too")));
        }
        if !(1..=MAX_HOLD_MINOR).contains(&self.hold.minor()) {
            return Err(Problem::invalid(format!("a hold is from 1 to {MAX_HOLD_MINOR} minor units")));
        }
        if !(1..=MAX_OPEN_LIMIT_S).contains(&self.open_limit_s) {
            return Err(Problem::invalid(format!("open_limit_s is from 1 to {MAX_OPEN_LIMIT_S}")));
        }
        if self.tags.len() > MAX_TAGS || !self.tags.iter().all(|tag| is_tag(tag)) {
            let detail = format!("at most {MAX_TAGS} tags of 1 to {MAX_TAG} characters of a-z 0-9 . _ -");
            return Err(Problem::invalid(detail));
        }
        self.location.check()
    }

    /// What the PCI zone is told.
    fn row(&self, removed: bool) -> FridgeRow {
        FridgeRow {
            fridge: self.fridge.clone(),
            in_service: self.in_service && self.life_cycle.sells() && !removed,
            hold: self.hold,
            open_limit_s: self.open_limit_s,
            removed,
        }
    }

    pub(super) fn of(row: &SqliteRow) -> Result<Self, ApiError> {
        let text = |name| row.try_get::<String, _>(name);
        let currency = stored("fridge.currency", Currency::parse(&text("currency")?))?;
        Ok(Self {
            fridge: stored("fridge.id", FridgeId::parse(&text("id")?))?,
            location: Location { name: text("name")?, lat: row.try_get("lat")?, lon: row.try_get("lon")? },
            hold: Money::new(row.try_get("hold_minor")?, currency),
            in_service: row.try_get("in_service")?,
            open_limit_s: stored("fridge.open_limit_s", u32::try_from(row.try_get::<i64, _>("open_limit_s")?))?,
            tags: stored("fridge.tags", serde_json::from_str(&text("tags")?))?,
            life_cycle: LifeCycle::parse(&text("life_cycle")?)?,
            rev: row.try_get("rev")?,
        })
    }
}

impl Location {
    fn check(&self) -> Result<(), Problem> {
        if self.name.trim().is_empty() || self.name.len() > MAX_NAME {
            return Err(Problem::invalid(format!("a place's name has 1 to {MAX_NAME} bytes")));
        }
        if !(-90.0..=90.0).contains(&self.lat) || !(-180.0..=180.0).contains(&self.lon) {
            return Err(Problem::invalid("lat is from -90 to 90 and lon from -180 to 180 degrees"));
        }
        Ok(())
    }
}

/// Whether a text may be a tag.
pub(super) fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

/// What is known under an id.
pub(crate) enum Known {
    /// Nothing.
    Never,
    /// A fridge that was deleted.
    Deleted,
    /// A fridge.
    Here(Box<Fridge>),
}

/// Looks an id up.
pub(crate) async fn find(sql: &mut SqliteConnection, id: &FridgeId) -> Result<Known, ApiError> {
    let row = sqlx::query("SELECT * FROM fridge WHERE id = $1").bind(id.as_str()).fetch_optional(sql).await?;
    let Some(row) = row else { return Ok(Known::Never) };
    if row.try_get::<Option<i64>, _>("deleted_at")?.is_some() {
        return Ok(Known::Deleted);
    }
    Ok(Known::Here(Box::new(Fridge::of(&row)?)))
}

/// Writes a fridge under the next revision, and its feed row when what the PCI zone knows of it changes.
pub(super) async fn save(
    tx: &mut WriteTx,
    fridge: &Fridge,
    before: Option<&Fridge>,
    now: Timestamp,
) -> Result<i64, ApiError> {
    let rev = tx.next_revision().await?;
    let row = fridge.row(false);
    if before.map(|before| before.row(false)).as_ref() != Some(&row) {
        tx.put_row_at(&row, rev).await?;
    }
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

/// Deletes a fridge; its id and its feed row stay, marked removed.
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
