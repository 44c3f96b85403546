//! What a finalized purchase does to the stock. Every other event of the PCI zone leaves it as it is.
//!
//! A meal that was sold is sold, whatever we thought of it: the money is taken, so a contradiction becomes a review and
//! never an error that would hold up all events behind it.

use ops_kit::{ApiError, Booked, Event, Kit, NoSettings, WriteTx};
use pci_contract::{EventBody, MealId, MealStatus, PurchaseFinalized, ScannedCode};

use crate::meals::{MealState, find, save};
use crate::reviews::{ReviewKind, add};

/// Books one event.
pub(crate) fn book<'a>(_: &'a Kit<NoSettings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        match &event.body {
            EventBody::PurchaseFinalized(purchase) => finalized(tx, purchase).await,
            EventBody::PurchaseRefused(_)
            | EventBody::PaymentSettled(_)
            | EventBody::PaymentFailed(_)
            | EventBody::TheftConfirmed(_)
            | EventBody::CardEnrolled(_)
            | EventBody::FridgeTampered(_) => Ok(()),
        }
    })
}

async fn finalized(tx: &mut WriteTx, purchase: &PurchaseFinalized) -> Result<(), ApiError> {
    for line in &purchase.meals {
        let state = match line.status {
            MealStatus::Purchased => MealState::Purchased,
            MealStatus::Stolen => MealState::Stolen,
        };
        gone(tx, purchase, &line.barcode, state).await?;
        if line.owner_subscription.is_some() {
            complete(tx, purchase, &line.barcode).await?;
        }
    }
    for barcode in &purchase.not_sellable {
        gone(tx, purchase, barcode, MealState::Taken).await?;
        add(tx, ReviewKind::NotSellableKept, purchase, barcode.as_str()).await?;
    }
    for barcode in &purchase.stray_returns {
        add(tx, ReviewKind::StrayReturn, purchase, barcode.as_str()).await?;
    }
    for code in &purchase.unidentified {
        add(tx, ReviewKind::Unidentified, purchase, ScannedCode::as_str(code)).await?;
    }
    Ok(())
}

async fn gone(
    tx: &mut WriteTx,
    purchase: &PurchaseFinalized,
    barcode: &MealId,
    state: MealState,
) -> Result<(), ApiError> {
    let Some(before) = find(tx.sql(), barcode).await? else {
        return add(tx, ReviewKind::UnknownMeal, purchase, barcode.as_str()).await;
    };
    if before.state.is_gone() && before.session != Some(purchase.session) {
        add(tx, ReviewKind::SoldTwice, purchase, barcode.as_str()).await?;
    }
    let mut meal = before.clone();
    meal.state = state;
    meal.session = Some(purchase.session);
    meal.state_at = purchase.closed_at;
    save(tx, &meal, Some(&before)).await?;
    Ok(())
}

/// The reservation is over whether its owner or a thief has the meal: there is nothing left to reserve.
async fn complete(tx: &mut WriteTx, purchase: &PurchaseFinalized, barcode: &MealId) -> Result<(), ApiError> {
    sqlx::query("UPDATE reservation SET state = 'completed', session = $1, at = $2 WHERE barcode = $3")
        .bind(purchase.session.to_string())
        .bind(purchase.closed_at.micros())
        .bind(barcode.as_str())
        .execute(tx.sql())
        .await?;
    Ok(())
}
