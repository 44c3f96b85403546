//! The record of a meal, its row in the database and its row in the feed.
//!
//! A row that could not have been written by this code is refused, never repaired. It leaves HTTP to `api`.

use ops_kit::{ApiError, Problem, WriteTx, stored};
use pci_contract::{CustomerId, FridgeId, Gtin, MealId, MealRow, SessionId, SubscriptionId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

const MAX_SIGN: usize = 64;

/// Where a meal is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MealState {
    /// Asked of the kitchen.
    Ordered,
    /// Made, and not in a fridge.
    Produced,
    /// In a fridge.
    Placed,
    /// Sold.
    Purchased,
    /// Kept by another than its owner, and charged.
    Stolen,
    /// Kept though it could not be sold; not charged.
    Taken,
    /// Past its date and put aside.
    Expired,
    /// No longer ours to sell.
    Withdrawn,
}

impl MealState {
    const ALL: [Self; 8] = [
        Self::Ordered,
        Self::Produced,
        Self::Placed,
        Self::Purchased,
        Self::Stolen,
        Self::Taken,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// The word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Produced => "produced",
            Self::Placed => "placed",
            Self::Purchased => "purchased",
            Self::Stolen => "stolen",
            Self::Taken => "taken",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether a customer has it.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Purchased | Self::Stolen | Self::Taken)
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| ApiError::corrupt("meal.state", text))
    }
}

/// A meal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meal {
    /// Which.
    pub barcode: MealId,
    /// Its type.
    pub gtin: Gtin,
    /// Where it was placed.
    pub fridge: Option<FridgeId>,
    /// Whose it is; nobody's when free for all.
    pub owner: Option<CustomerId>,
    /// The subscription it was made for.
    pub owner_subscription: Option<SubscriptionId>,
    /// Whether its owner paid for it in advance.
    pub prepaid: bool,
    /// The vivid sign by which its owner finds it.
    pub sign: Option<String>,
    /// When it expires.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Timestamp,
    /// Where it is in its life.
    pub state: MealState,
    /// Whether it was exposed to unsafe temperature.
    pub exposed: bool,
    /// The session in which it was taken.
    pub session: Option<SessionId>,
    /// Since when it is in this state.
    #[serde(serialize_with = "rfc3339")]
    pub state_at: Timestamp,
    /// The revision of its last change.
    #[serde(skip)]
    pub rev: i64,
}

/// A meal as it is created.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMeal {
    /// Which.
    pub barcode: MealId,
    /// Its type, which the barcode names too; given only to be compared.
    #[serde(default)]
    pub gtin: Option<Gtin>,
    /// Where it is placed, if it is.
    #[serde(default)]
    pub fridge: Option<FridgeId>,
    /// Whose it is.
    #[serde(default)]
    pub owner: Option<CustomerId>,
    /// The subscription it was made for.
    #[serde(default)]
    pub owner_subscription: Option<SubscriptionId>,
    /// Whether its owner paid for it in advance.
    #[serde(default)]
    pub prepaid: bool,
    /// The vivid sign by which its owner finds it; 1 to 64 bytes.
    #[serde(default)]
    pub sign: Option<String>,
    /// When it expires, RFC 3339.
    pub expires_at: String,
}

impl NewMeal {
    /// Checks what is to be created.
    ///
    /// # Errors
    /// A problem that says what cannot be.
    pub fn check(self, now: Timestamp) -> Result<Meal, Problem> {
        if self.gtin.is_some_and(|gtin| gtin != self.barcode.gtin()) {
            return Err(Problem::invalid("the barcode is of another GTIN"));
        }
        if self.owner.is_none() && (self.prepaid || self.owner_subscription.is_some()) {
            return Err(Problem::invalid("a meal that is prepaid or of a subscription has an owner"));
        }
        let state = if self.fridge.is_some() { MealState::Placed } else { MealState::Produced };
        Ok(Meal {
            gtin: self.barcode.gtin(),
            barcode: self.barcode,
            fridge: self.fridge,
            owner: self.owner,
            owner_subscription: self.owner_subscription,
            prepaid: self.prepaid,
            sign: self.sign.map(check_sign).transpose()?,
            expires_at: moment(&self.expires_at)?,
            state,
            exposed: false,
            session: None,
            state_at: now,
            rev: 0,
        })
    }
}

pub(super) fn check_sign(sign: String) -> Result<String, Problem> {
    if sign.is_empty() || sign.len() > MAX_SIGN {
        return Err(Problem::invalid(format!("a sign has 1 to {MAX_SIGN} bytes")));
    }
    Ok(sign)
}

pub(super) fn moment(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::invalid("a time is given in RFC 3339"))
}

fn rfc3339<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.rfc3339())
}

impl Meal {
    /// What the PCI zone is told. An owner's meal that is gone has no place any more, so that no fridge shows it to
    /// him; a meal that is free for all keeps its place, which nobody reads: a sale would else rewrite every row.
    fn row(&self) -> MealRow {
        let shown = self.owner.is_none() || !self.state.is_gone();
        MealRow {
            barcode: self.barcode.clone(),
            fridge: self.fridge.clone().filter(|_| shown),
            owner: self.owner.clone(),
            owner_subscription: self.owner_subscription.clone(),
            sign: self.sign.clone(),
            prepaid: self.prepaid,
            expires_at: self.expires_at,
            exposed: self.exposed,
            removed: self.state == MealState::Withdrawn,
        }
    }

    pub(super) fn of(row: &SqliteRow) -> Result<Self, ApiError> {
        let Columns(meal) = Columns::from_row(row)?;
        meal
    }
}

/// A row, parsed or found corrupt.
struct Columns(Result<Meal, ApiError>);

impl FromRow<'_, SqliteRow> for Columns {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let text = |name| row.try_get::<String, _>(name);
        let maybe = |name| row.try_get::<Option<String>, _>(name);
        let (barcode, gtin, state) = (text("barcode")?, text("gtin")?, text("state")?);
        let (fridge, owner, subscription, session) =
            (maybe("fridge")?, maybe("owner")?, maybe("owner_subscription")?, maybe("session")?);
        let (prepaid, exposed, sign) = (row.try_get("prepaid")?, row.try_get("exposed")?, maybe("sign")?);
        let (expires_at, state_at, rev) = (row.try_get("expires_at")?, row.try_get("state_at")?, row.try_get("rev")?);
        let parse = || {
            Ok(Meal {
                barcode: stored("meal.barcode", MealId::parse(&barcode))?,
                gtin: stored("meal.gtin", Gtin::parse(&gtin))?,
                fridge: stored("meal.fridge", fridge.as_deref().map(FridgeId::parse).transpose())?,
                owner: stored("meal.owner", owner.as_deref().map(CustomerId::parse).transpose())?,
                owner_subscription: stored(
                    "meal.owner_subscription",
                    subscription.as_deref().map(SubscriptionId::parse).transpose(),
                )?,
                prepaid,
                sign,
                expires_at: Timestamp::from_micros(expires_at),
                state: MealState::parse(&state)?,
                exposed,
                session: stored("meal.session", session.as_deref().map(SessionId::parse).transpose())?,
                state_at: Timestamp::from_micros(state_at),
                rev,
            })
        };
        Ok(Self(parse()))
    }
}

/// The meal of this barcode.
pub(crate) async fn find(sql: &mut SqliteConnection, barcode: &MealId) -> Result<Option<Meal>, ApiError> {
    let row = sqlx::query("SELECT * FROM meal WHERE barcode = $1").bind(barcode.as_str()).fetch_optional(sql).await?;
    row.as_ref().map(Meal::of).transpose()
}

/// Writes a meal under the next revision, and its feed row when what the PCI zone knows of it changes.
pub(crate) async fn save(tx: &mut WriteTx, meal: &Meal, before: Option<&Meal>) -> Result<i64, ApiError> {
    let rev = tx.next_revision().await?;
    let row = meal.row();
    if before.map(Meal::row).as_ref() != Some(&row) {
        tx.put_row_at(&row, rev).await?;
    }
    sqlx::query(
        "INSERT INTO meal (barcode, gtin, fridge, owner, owner_subscription, prepaid, sign, expires_at, state, exposed,
                           session, state_at, rev)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (barcode) DO UPDATE SET fridge = excluded.fridge, owner = excluded.owner,
            owner_subscription = excluded.owner_subscription, prepaid = excluded.prepaid, sign = excluded.sign,
            expires_at = excluded.expires_at, state = excluded.state, exposed = excluded.exposed,
            session = excluded.session, state_at = excluded.state_at, rev = excluded.rev",
    )
    .bind(meal.barcode.as_str())
    .bind(meal.gtin.as_str())
    .bind(meal.fridge.as_ref().map(FridgeId::as_str))
    .bind(meal.owner.as_ref().map(CustomerId::as_str))
    .bind(meal.owner_subscription.as_ref().map(SubscriptionId::as_str))
    .bind(meal.prepaid)
    .bind(&meal.sign)
    .bind(meal.expires_at.micros())
    .bind(meal.state.as_str())
    .bind(meal.exposed)
    .bind(meal.session.map(|session| session.to_string()))
    .bind(meal.state_at.micros())
    .bind(rev)
    .execute(tx.sql())
    .await?;
    Ok(rev)
}
