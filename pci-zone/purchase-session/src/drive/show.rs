//! Turns what the machine wants shown into what the fridge is told, with the names and lists only the service knows.

use pci_contract::Gtin;
use pci_session::{Display, OPEN_WITHIN_S, Receipt};

use super::live::Live;
use crate::message::{Answer, OwnMeal, Price, ReceiptLine, Unlock};
use crate::metrics::Ending;

/// The most prices that are shown; a fridge holds fewer types than that.
const MAX_PRICES: usize = 256;
/// The most meals of his own that a customer is shown.
const MAX_OWN_MEALS: usize = 64;

impl Live {
    /// Tells the fridge.
    pub(super) async fn show(&mut self, display: Display) {
        let answer = match display {
            Display::Unlock { hold, credit } => Answer::Unlock(Box::new(self.unlock(hold, credit))),
            Display::Refused(reason) => Answer::Refused(reason),
            Display::Alarm { barcode, kind } => {
                self.drive.metrics.alarms.inc();
                Answer::Alarm { barcode, kind }
            }
            Display::AlarmCleared { barcode } => Answer::AlarmCleared(barcode),
            Display::LimitReached { limit } => Answer::LimitReached(limit),
            Display::SoundDoor => Answer::SoundDoor,
            Display::Receipt(receipt) => {
                let lines = self.lines(&receipt);
                Answer::Receipt(Box::new(receipt), lines)
            }
        };
        self.answer(Some(answer)).await;
    }

    /// Counts an ended session.
    pub(super) fn count_ending(&self, outcome: &'static str) {
        self.drive.metrics.sessions.get_or_create(&Ending { outcome }).inc();
    }

    fn unlock(&self, hold: pci_contract::Money, credit: pci_contract::Money) -> Unlock {
        let reference = &self.drive.reference;
        let own_meals = self.session.as_ref().and_then(pci_session::Session::customer).map(|customer| {
            let name = |gtin: Gtin| reference.meal_type(&gtin).map_or_else(String::new, |row| row.name.clone());
            let meals = reference.meals_of(&self.fridge, customer);
            let shown = meals.into_iter().take(MAX_OWN_MEALS).map(|meal| OwnMeal {
                name: name(meal.barcode.gtin()),
                sign: meal.sign.clone().unwrap_or_default(),
                prepaid: meal.prepaid,
                barcode: meal.barcode.clone(),
            });
            shown.collect()
        });
        let prices = reference.meal_types_in(&self.fridge).into_iter().take(MAX_PRICES);
        Unlock {
            hold,
            credit,
            own_meals: own_meals.unwrap_or_default(),
            prices: prices.map(|row| Price { gtin: row.gtin, name: row.name.clone(), price: row.price }).collect(),
            open_within_s: OPEN_WITHIN_S,
            open_limit_s: self.session.as_ref().and_then(pci_session::Session::open_limit_s).unwrap_or(60),
        }
    }

    fn lines(&self, receipt: &Receipt) -> Vec<ReceiptLine> {
        let name = |gtin: Gtin| self.drive.reference.meal_type(&gtin).map_or_else(String::new, |row| row.name.clone());
        let line = |line: &pci_session::ReceiptLine| ReceiptLine {
            name: name(line.barcode.gtin()),
            barcode: line.barcode.clone(),
            price: line.price,
        };
        receipt.lines.iter().map(line).collect()
    }
}
