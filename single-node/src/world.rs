//! A world to trade in: fridges, meals, customers, prices and a processor's declines, in the form of `world.json`.
//!
//! It is loaded the way a real one would be: through the services' own interfaces, and each wallet card through the
//! sealed path of a fridge's reader. Card numbers stay in buffers that wipe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::Fault;

/// A card number and expiry as a day of trade spells them. Wiped on drop; not printable.
#[derive(Clone, Deserialize)]
pub struct Card {
    #[serde(deserialize_with = "wiped")]
    pan: Zeroizing<String>,
    expiry: String,
}

fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl Card {
    /// A card of these digits and this expiry, YYMM.
    #[must_use]
    pub fn new(pan: &str, expiry: &str) -> Self {
        Self { pan: Zeroizing::new(pan.to_owned()), expiry: expiry.to_owned() }
    }

    /// What a reader reads from the stripe, without sentinels.
    #[must_use]
    pub fn track2(&self) -> Zeroizing<Vec<u8>> {
        let mut track = Zeroizing::new(Vec::with_capacity(self.pan.len() + self.expiry.len() + 1));
        track.extend_from_slice(self.pan.as_bytes());
        track.push(b'=');
        track.extend_from_slice(self.expiry.as_bytes());
        track
    }

    /// A key by which the same card is known within this run, and nothing else.
    #[must_use]
    pub fn person(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.pan.as_bytes());
        data_encoding::BASE32_NOPAD.encode(digest.as_ref())
    }
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Card(…)")
    }
}

/// A world.
#[derive(Debug, Deserialize)]
pub struct World {
    /// Rules for everybody.
    pub policy: Policy,
    /// The fridges.
    pub fridges: Vec<Fridge>,
    /// What is sold.
    pub meal_types: Vec<MealType>,
    /// The meals in the fridges.
    pub meals: Vec<Meal>,
    /// The customers.
    pub customers: Vec<Customer>,
    /// What the processor declines.
    #[serde(default)]
    pub processor: Processor,
}

/// Rules for everybody.
#[derive(Debug, Deserialize)]
pub struct Policy {
    /// This many thefts block.
    pub blocked_after_thefts: u32,
    /// What everything is priced in.
    pub currency: String,
}

/// A fridge.
#[derive(Debug, Deserialize)]
pub struct Fridge {
    /// Its id.
    pub fridge: String,
    /// Where it stands.
    pub location: Location,
    /// What is authorized before its door opens, minor units.
    pub hold_minor: i64,
}

/// Where a fridge stands.
#[derive(Debug, Deserialize)]
pub struct Location {
    /// What people call it.
    pub name: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// A meal type.
#[derive(Debug, Deserialize)]
pub struct MealType {
    /// Its number.
    pub gtin: String,
    /// Its name.
    pub name: String,
    /// Its price, minor units.
    pub price_minor: i64,
}

/// A single meal.
#[derive(Debug, Clone, Deserialize)]
pub struct Meal {
    /// Its barcode.
    pub barcode: String,
    /// Its type.
    pub gtin: String,
    /// Where it is.
    pub fridge: String,
    /// When it expires, RFC 3339.
    pub expires_at: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Whether it is paid for.
    #[serde(default)]
    pub prepaid: bool,
}

/// A customer.
#[derive(Debug, Deserialize)]
pub struct Customer {
    /// His id.
    pub customer: String,
    /// His name.
    pub name: String,
    /// The token he shows.
    pub id_token: String,
    /// The card in his wallet.
    pub wallet_card: Option<Card>,
    /// His credit, minor units.
    #[serde(default)]
    pub credit_minor: i64,
    /// His subscription.
    pub subscription: Option<String>,
    /// His expert.
    pub expert: Option<String>,
    /// His referral code.
    pub referral_code: Option<String>,
    /// Whether an operator blocked him.
    #[serde(default)]
    pub blocked: bool,
}

/// What the processor is told to do.
#[derive(Default, Deserialize)]
pub struct Processor {
    /// Which cards it declines, and why.
    #[serde(default)]
    pub declines: BTreeMap<String, String>,
}

impl Drop for Processor {
    fn drop(&mut self) {
        for (mut pan, _) in std::mem::take(&mut self.declines) {
            pan.zeroize();
        }
    }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Processor({} declines)", self.declines.len())
    }
}

impl World {
    /// Reads `world.json` of a day of trade.
    ///
    /// # Errors
    /// [`Fault`] says which file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let text = Zeroizing::new(std::fs::read(path).map_err(Fault::io("read", path))?);
        serde_json::from_slice(&text).map_err(Fault::of(&format!("{} is not a world", path.display())))
    }

    /// The small world that comes with the product.
    ///
    /// # Errors
    /// [`Fault`] when it does not parse, which a test excludes.
    pub fn demo() -> Result<Self, Fault> {
        serde_json::from_str(include_str!("../demo-world.json")).map_err(Fault::of("the demo world"))
    }
}
