//! The world the house is loaded with: three fridges, meals, and customers whose wallets hold cards of the story.

use std::path::Path;

use serde_json::{Value, json};
use single_node::Fault;

use crate::canary::Canary;

/// The fridges: one at which the world's wallet cards are enrolled, one with an agent of its own, one whose identity
/// the test uses.
pub const FRIDGES: [&str; 3] = ["FR-LEAK-1", "FR-LEAK-2", "FR-LEAK-3"];
/// The one with an agent of its own.
pub const AGENTS: &str = FRIDGES[1];
/// The one whose identity the test uses.
pub const TESTS: &str = FRIDGES[2];
/// The price of each meal and what is held before a door opens, minor units.
const PRICE_MINOR: i64 = 890;
const HOLD_MINOR: i64 = 2_500;
const GTIN: &str = "09506000130019";
const EXPIRY: &str = "3112";

/// The ID token of the customer with this number.
#[must_use]
pub fn id_token(customer: usize) -> String {
    format!("idt-leak-{customer:04}-7c0de")
}

/// The meal with this number in the agent's fridge.
#[must_use]
pub fn meal(number: usize) -> String {
    format!("(01){GTIN}(21)L{number:05}")
}

/// Writes the world to `path`: a customer a card of `wallets` and one without, and `meals` meals in the agent's fridge.
///
/// # Errors
/// [`Fault`] when it cannot be written.
pub fn write(path: &Path, wallets: &[Canary], meals: usize) -> Result<(), Fault> {
    let fridge = |name: &&str| {
        let location = json!({ "name": name, "lat": 42.3, "lon": -83.0 });
        json!({ "fridge": name, "location": location, "hold_minor": HOLD_MINOR })
    };
    let wallet =
        |card: Option<&Canary>| card.map_or(Value::Null, |card| json!({ "pan": card.digits(), "expiry": EXPIRY }));
    let customer = |number: usize| {
        json!({
            "customer": format!("CU-LEAK-{number}"),
            "name": format!("Customer {number}"),
            "id_token": id_token(number),
            "wallet_card": wallet(wallets.get(number)),
        })
    };
    let meal = |number: usize| {
        json!({
            "barcode": meal(number),
            "gtin": GTIN,
            "fridge": AGENTS,
            "expires_at": "2031-01-01T00:00:00Z",
        })
    };
    let world = json!({
        "policy": { "blocked_after_thefts": 2, "currency": "USD" },
        "fridges": FRIDGES.iter().map(fridge).collect::<Vec<_>>(),
        "meal_types": [{ "gtin": GTIN, "name": "Lentil curry", "price_minor": PRICE_MINOR }],
        "meals": (0..meals).map(meal).collect::<Vec<_>>(),
        "customers": (0..=wallets.len()).map(customer).collect::<Vec<_>>(),
    });
    std::fs::write(path, world.to_string()).map_err(Fault::io("write", path))
}
