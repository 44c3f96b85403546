//! Fridges, food-safety locks, the policy, meal types and their prices through time.
//!
//! A session freezes prices by remembering the local price revision at its unlock. A revision grows by one with every
//! page that changes a price; what a type cost at an older revision is kept as long as an open session may ask.

use std::collections::HashMap;
use std::sync::Arc;

use pci_contract::{FridgeId, FridgeRow, Gtin, LockRow, MealTypeRow, Money, PolicyRow};

/// What is known of fridges and meal types.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) policy: Option<PolicyRow>,
    fridges: HashMap<FridgeId, FridgeRow>,
    locks: HashMap<FridgeId, bool>,
    /// The locks feed was read to its end once.
    pub(crate) locks_known: bool,
    meal_types: HashMap<Gtin, Arc<MealTypeRow>>,
    pub(crate) prices: Prices,
}

impl Places {
    pub(crate) fn replace_fridge(&mut self, row: FridgeRow) {
        if row.removed {
            self.fridges.remove(&row.fridge);
        } else {
            self.fridges.insert(row.fridge.clone(), row);
        }
    }

    pub(crate) fn replace_lock(&mut self, row: LockRow) {
        self.locks.insert(row.fridge, row.locked);
    }

    pub(crate) fn replace_meal_type(&mut self, row: MealTypeRow) {
        self.meal_types.insert(row.gtin, Arc::new(row));
    }

    /// The fridge, and whether it is locked. Until the locks were heard once, every fridge counts as locked.
    pub(crate) fn fridge(&self, fridge: &FridgeId) -> Option<(FridgeRow, bool)> {
        let row = self.fridges.get(fridge)?.clone();
        let locked = !self.locks_known || self.locks.get(fridge).copied().unwrap_or(false);
        Some((row, locked))
    }

    pub(crate) fn meal_type(&self, gtin: &Gtin) -> Option<Arc<MealTypeRow>> {
        self.meal_types.get(gtin).cloned()
    }
}

/// What each meal type cost from which local revision on.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    pub(crate) revision: i64,
    /// Oldest first.
    history: HashMap<Gtin, Vec<(i64, Money)>>,
}

impl Prices {
    /// Notes a price from `revision` on; revisions only grow.
    pub(crate) fn note(&mut self, gtin: Gtin, revision: i64, price: Money) {
        self.revision = self.revision.max(revision);
        self.history.entry(gtin).or_default().push((revision, price));
    }

    /// The price now.
    pub(crate) fn now(&self, gtin: &Gtin) -> Option<Money> {
        self.history.get(gtin)?.last().map(|(_, price)| *price)
    }

    /// The price at `revision`; `None` when the type had none yet.
    pub(crate) fn at(&self, gtin: &Gtin, revision: i64) -> Option<Money> {
        self.history.get(gtin)?.iter().rev().find(|(from, _)| *from <= revision).map(|(_, price)| *price)
    }

    /// Forgets what nobody at `oldest` or a later revision can ask for.
    pub(crate) fn forget_before(&mut self, oldest: i64) {
        for history in self.history.values_mut() {
            let superseded = history.iter().rposition(|(from, _)| *from <= oldest).unwrap_or(0);
            history.drain(..superseded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci_contract::Currency;

    #[test]
    fn prices_are_what_they_were() {
        let gtin = Gtin::parse("09500000000198").expect("gtin");
        let usd = |minor| Money::new(minor, Currency::USD);
        let mut prices = Prices::default();
        assert_eq!(prices.at(&gtin, 9), None);
        for (revision, minor) in [(2, 100), (5, 200), (7, 300)] {
            prices.note(gtin, revision, usd(minor));
        }
        let all = |prices: &Prices| [1, 2, 4, 5, 6, 7, 99].map(|at| prices.at(&gtin, at).map(Money::minor));
        assert_eq!(all(&prices), [None, Some(100), Some(100), Some(200), Some(200), Some(300), Some(300)]);
        prices.forget_before(6);
        assert_eq!(all(&prices), [None, None, None, Some(200), Some(200), Some(300), Some(300)]);
        assert_eq!(prices.now(&gtin), Some(usd(300)));
        assert_eq!(prices.revision, 7);
    }
}
