//! What the events of the PCI zone add to the sales of a fridge. None of them changes a fridge.
//!
//! What is owed is taken from `payment.failed` alone: a session that ends above its hold tells the same amount in its
//! `finalized` event, and to add both would count it twice. Thefts are counted from the lines of `finalized` alone for
//! the same reason. A fridge that nobody knows here is booked like any other: its money was taken all the same.

use ops_kit::{ApiError, Booked, Event, Kit, NoSettings, WriteTx};
use pci_contract::{EventBody, FridgeId, MealLine, MealStatus, Money, PurchaseFinalized, Settlement, Timestamp};

use crate::sales::{Sums, add, add_meal, add_refusal};

/// Books one event.
pub(crate) fn book<'a>(_: &'a Kit<NoSettings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        match &event.body {
            EventBody::PurchaseFinalized(purchase) => finalized(tx, purchase).await,
            EventBody::PurchaseRefused(refused) => add_refusal(tx, &refused.fridge, refused.at, &refused.reason).await,
            EventBody::PaymentSettled(settled) => {
                let minor = settled.amount.minor();
                let sums = match settled.settlement {
                    Settlement::Captured => Sums { captured_minor: minor, ..Sums::default() },
                    Settlement::Refunded => Sums { refunded_minor: minor, ..Sums::default() },
                    Settlement::Voided => return Ok(()),
                };
                sum(tx, &settled.fridge, settled.at, settled.amount, sums).await
            }
            EventBody::PaymentFailed(failed) => {
                let sums = Sums { unpaid_minor: failed.amount.minor(), ..Sums::default() };
                sum(tx, &failed.fridge, failed.at, failed.amount, sums).await
            }
            EventBody::TheftConfirmed(_) | EventBody::CardEnrolled(_) | EventBody::FridgeTampered(_) => Ok(()),
        }
    })
}

async fn sum(tx: &mut WriteTx, fridge: &FridgeId, at: Timestamp, of: Money, sums: Sums) -> Result<(), ApiError> {
    add(tx, fridge, at, of.currency(), sums).await
}

async fn finalized(tx: &mut WriteTx, purchase: &PurchaseFinalized) -> Result<(), ApiError> {
    let stolen = |line: &MealLine| line.status == MealStatus::Stolen;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let sums = Sums {
        sessions: 1,
        charged_sessions: i64::from(purchase.charged.is_positive()),
        meals: number(purchase.meals.len()),
        thefts: number(purchase.meals.iter().filter(|line| stolen(line)).count()),
        charged_minor: purchase.charged.minor(),
        credit_minor: purchase.credit_used.minor(),
        ..Sums::default()
    };
    sum(tx, &purchase.fridge, purchase.closed_at, purchase.charged, sums).await?;
    for line in &purchase.meals {
        add_meal(tx, &purchase.fridge, purchase.closed_at, &line.barcode.gtin(), line.price, stolen(line)).await?;
    }
    Ok(())
}
