//! A world to measure in: two hundred fridges full of meals for anyone, and in each one meal that belongs to somebody.

use crate::world::{Customer, Fridge, Location, Meal, MealType, Policy, Processor, World};

/// Fridges.
pub(super) const FRIDGES: usize = 200;
/// Whose meals nobody else may take.
const OWNER: &str = "CU-OWNER";
/// When everything expires: later than anybody measures.
const EXPIRES_AT: &str = "2099-01-01T00:00:00Z";
/// What is sold: number, name, price in minor units. Two of any are below the hold.
const MEAL_TYPES: [(&str, &str, i64); 4] = [
    ("09506000130019", "Lentil curry", 890),
    ("09506000130026", "Chicken teriyaki", 1_090),
    ("09506000130033", "Greek salad", 790),
    ("09506000130057", "Overnight oats", 550),
];

/// The name of the `n`th fridge.
pub(super) fn fridge(n: usize) -> String {
    format!("FR-B{n:03}")
}

/// The `n`th meal in a fridge that anyone may take.
pub(super) fn meal(fridge: usize, n: usize) -> String {
    barcode(n, &format!("B{fridge:03}M{n:05}"))
}

/// The meal in a fridge that is somebody's.
pub(super) fn owned_meal(fridge: usize) -> String {
    barcode(0, &format!("B{fridge:03}OWNED"))
}

fn gtin(n: usize) -> &'static str {
    MEAL_TYPES.get(n % MEAL_TYPES.len()).map_or("", |(gtin, _, _)| gtin)
}

fn barcode(n: usize, serial: &str) -> String {
    format!("(01){}(21){serial}", gtin(n))
}

/// The world, with `meals` for anyone in each fridge.
pub(super) fn world(meals: usize) -> World {
    let numbers = || 0..FRIDGES;
    let stored = |barcode: String, n: usize, at: usize, owner: Option<&str>| Meal {
        barcode,
        gtin: gtin(n).to_owned(),
        fridge: fridge(at),
        expires_at: EXPIRES_AT.to_owned(),
        owner: owner.map(str::to_owned),
        prepaid: false,
    };
    let for_anyone = numbers().flat_map(|at| (0..meals).map(move |n| stored(meal(at, n), n, at, None)));
    let owned = numbers().map(|at| stored(owned_meal(at), 0, at, Some(OWNER)));
    World {
        policy: Policy { blocked_after_thefts: 2, currency: "USD".to_owned() },
        fridges: numbers().map(standing).collect(),
        meal_types: MEAL_TYPES.iter().map(meal_type).collect(),
        meals: for_anyone.chain(owned).collect(),
        customers: vec![owner()],
        processor: Processor::default(),
    }
}

fn standing(n: usize) -> Fridge {
    let location = Location { name: format!("Hall {n}"), lat: 42.3, lon: -83.0 };
    Fridge { fridge: fridge(n), location, hold_minor: 2_500 }
}

fn meal_type((gtin, name, price_minor): &(&str, &str, i64)) -> MealType {
    MealType { gtin: (*gtin).to_owned(), name: (*name).to_owned(), price_minor: *price_minor }
}

fn owner() -> Customer {
    Customer {
        customer: OWNER.to_owned(),
        name: "Somebody".to_owned(),
        id_token: "idt-owner".to_owned(),
        wallet_card: None,
        credit_minor: 0,
        subscription: Some("SUB-OWNER".to_owned()),
        expert: None,
        referral_code: None,
        blocked: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_meal_is_another_and_can_be_scanned() {
        let world = world(9);
        let barcodes: BTreeSet<&str> = world.meals.iter().map(|meal| meal.barcode.as_str()).collect();
        assert_eq!(barcodes.len(), FRIDGES * 10);
        for meal in &world.meals {
            let read = pci_contract::ScannedCode::read(&meal.barcode);
            assert!(matches!(read, pci_contract::ScannedCode::Meal(_)), "{}", meal.barcode);
        }
        assert!(barcodes.contains(meal(7, 8).as_str()) && barcodes.contains(owned_meal(199).as_str()));
    }
}
