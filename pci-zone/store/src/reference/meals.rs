//! Every single meal, by barcode and by fridge. A fleet has a million of them, so each row is held once and the two
//! sets share it.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pci_contract::{FridgeId, MealId, MealRow};

/// A row that is found by its barcode.
#[derive(Debug, Clone)]
struct ByBarcode(Arc<MealRow>);

impl Borrow<MealId> for ByBarcode {
    fn borrow(&self) -> &MealId {
        &self.0.barcode
    }
}

impl Hash for ByBarcode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.barcode.hash(state);
    }
}

impl PartialEq for ByBarcode {
    fn eq(&self, other: &Self) -> bool {
        self.0.barcode == other.0.barcode
    }
}

impl Eq for ByBarcode {}

/// All meals.
#[derive(Debug, Default)]
pub(crate) struct Meals {
    all: HashSet<ByBarcode>,
    by_fridge: HashMap<FridgeId, HashSet<ByBarcode>>,
}

impl Meals {
    pub(crate) fn replace(&mut self, row: MealRow) {
        if let Some(old) = self.all.take(&row.barcode)
            && let Some(fridge) = &old.0.fridge
            && let Some(here) = self.by_fridge.get_mut(fridge)
        {
            here.remove(&row.barcode);
            if here.is_empty() {
                self.by_fridge.remove(fridge);
            }
        }
        if row.removed {
            return;
        }
        let row = ByBarcode(Arc::new(row));
        if let Some(fridge) = &row.0.fridge {
            self.by_fridge.entry(fridge.clone()).or_default().insert(row.clone());
        }
        self.all.insert(row);
    }

    pub(crate) fn meal(&self, barcode: &MealId) -> Option<Arc<MealRow>> {
        self.all.get(barcode).map(|row| Arc::clone(&row.0))
    }

    /// The meals in a fridge, in no order.
    pub(crate) fn in_fridge(&self, fridge: &FridgeId) -> impl Iterator<Item = &Arc<MealRow>> {
        self.by_fridge.get(fridge).into_iter().flatten().map(|row| &row.0)
    }
}
