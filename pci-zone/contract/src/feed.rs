//! What the PCI zone must know of fridges, meals, prices, customers and standing. It *pulls* these rows; nobody pushes
//! into the zone.
//!
//! Each non-PCI service keeps a feed: rows with a revision that grows with every change. A reader asks for rows after
//! the revision it has, and gets them with `booked`: the place in the PCI zone's own event order up to which the rows
//! already include what its events said. With that the zone knows which of its own sessions it must still add itself.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CardRef, Currency, CustomerId, ExpertId, FridgeId, Gtin, IdTokenDigest, MealId, Money, ReferralCode,
    SubscriptionId, Timestamp,
};

/// A kind of row that a feed carries.
pub trait FeedRow: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The feed's name, last part of its path: `GET /feed/<name>?after=<revision>&limit=<rows>&wait_s=<seconds>`.
    const FEED: &'static str;

    /// What the row replaces: the same key again is the same row, changed.
    fn key(&self) -> String;
}

/// One answer of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPage<R> {
    /// Rows changed after the revision asked for, oldest change first.
    pub rows: Vec<R>,
    /// The revision to ask after next time.
    pub revision: i64,
    /// Whether rows up to the present are still to come.
    pub more: bool,
    /// The highest event `sequence` of the PCI zone that these rows include, all lower ones too; 0 for none.
    /// To be believed only when `more` is false.
    pub booked: i64,
}

macro_rules! feed_row {
    ($row:ident, $name:literal, |$it:ident| $key:expr) => {
        impl FeedRow for $row {
            const FEED: &'static str = $name;
            fn key(&self) -> String {
                let $it = self;
                $key
            }
        }
    };
}

/// Rules that hold for every fridge. The feed has one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// This many thefts block a customer or an anonymous card.
    pub blocked_after_thefts: u32,
    /// What everything is priced in.
    pub currency: Currency,
}
feed_row!(PolicyRow, "policy", |_row| "policy".to_owned());

/// A fridge that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FridgeRow {
    /// Which.
    pub fridge: FridgeId,
    /// Whether it may sell.
    pub in_service: bool,
    /// What is authorized before the door opens.
    pub hold: Money,
    /// After how many seconds an open door sounds.
    pub open_limit_s: u32,
    /// The fridge was deleted.
    pub removed: bool,
}
feed_row!(FridgeRow, "fridges", |row| row.fridge.to_string());

/// Whether a fridge is locked for food safety.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    /// Which.
    pub fridge: FridgeId,
    /// Whether it is locked.
    pub locked: bool,
}
feed_row!(LockRow, "locks", |row| row.fridge.to_string());

/// A meal type and its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MealTypeRow {
    /// Which.
    pub gtin: Gtin,
    /// What people call it.
    pub name: String,
    /// What it costs from now on.
    pub price: Money,
}
feed_row!(MealTypeRow, "meal-types", |row| row.gtin.to_string());

/// One single meal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MealRow {
    /// Which.
    pub barcode: MealId,
    /// Where it was placed, if it was.
    pub fridge: Option<FridgeId>,
    /// Whose it is; nobody's when free for all.
    pub owner: Option<CustomerId>,
    /// The subscription it was made for.
    pub owner_subscription: Option<SubscriptionId>,
    /// The vivid sign on a subscription meal, by which its owner finds it.
    pub sign: Option<String>,
    /// Whether its owner paid for it in advance.
    pub prepaid: bool,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether it was exposed to unsafe temperature.
    pub exposed: bool,
    /// The meal was withdrawn and is no longer ours to sell.
    pub removed: bool,
}
feed_row!(MealRow, "meals", |row| row.barcode.to_string());

/// A customer and his standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// Who.
    pub customer: CustomerId,
    /// The digests of his active ID tokens.
    pub id_tokens: Vec<IdTokenDigest>,
    /// Blocked by an operator.
    pub blocked: bool,
    /// Thefts that count against him.
    pub thefts: u32,
    /// What he owes.
    pub unpaid: Money,
    /// What he has to spend.
    pub credit: Money,
    /// The card that is charged when he shows an ID token.
    pub default_card: Option<CardRef>,
    /// His subscription.
    pub subscription: Option<SubscriptionId>,
    /// His expert.
    pub expert: Option<ExpertId>,
    /// His referral code.
    pub referral_code: Option<ReferralCode>,
    /// The customer was erased.
    pub removed: bool,
}
feed_row!(CustomerRow, "customers", |row| row.customer.to_string());

/// A card that is in a wallet, or against which something counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardRow {
    /// Which.
    pub card: CardRef,
    /// In whose wallet.
    pub customer: Option<CustomerId>,
    /// Blocked by an operator.
    pub blocked: bool,
    /// Anonymous thefts that count against it.
    pub thefts: u32,
    /// What is owed on it.
    pub unpaid: Money,
    /// The card left its wallet and nothing counts against it.
    pub removed: bool,
}
feed_row!(CardRow, "cards", |row| row.card.token.to_string());
