//! What the events of the PCI zone do to customers and cards. The rules are at the head of the crate.
//!
//! An event about a customer nobody here knows (erased meanwhile) is booked all the same: what it says of him counts
//! against the card, and his wallet takes no card.

use ops_kit::{ApiError, Booked, Event, Kit, WriteTx};
use pci_contract::{
    CardEnrolled, CustomerId, EventBody, EventId, Money, PaymentFailed, PurchaseFinalized, TheftConfirmed,
};

use crate::{Settings, cards, credit, record};

/// Books one event.
pub(crate) fn book<'a>(kit: &'a Kit<Settings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        match &event.body {
            EventBody::PurchaseFinalized(purchase) => finalized(tx, purchase).await,
            EventBody::TheftConfirmed(theft) => stolen(kit, tx, &event.id, theft).await,
            EventBody::PaymentFailed(payment) => owed(kit, tx, &event.id, payment).await,
            EventBody::CardEnrolled(enrolled) => enroll(kit, tx, enrolled).await,
            EventBody::PurchaseRefused(_) | EventBody::PaymentSettled(_) | EventBody::FridgeTampered(_) => Ok(()),
        }
    })
}

async fn finalized(tx: &mut WriteTx, purchase: &PurchaseFinalized) -> Result<(), ApiError> {
    let used = purchase.credit_used;
    let Some(customer) = purchase.customer.as_ref().filter(|_| !used.is_zero()) else { return Ok(()) };
    let taken = Money::new(used.minor().saturating_neg(), used.currency());
    credit::write(tx, customer, taken, credit::Entry::Used(purchase.session), purchase.closed_at).await?;
    record::publish(tx, customer).await?;
    Ok(())
}

/// The customer against whom an event counts, unless he was erased.
async fn known<'a>(tx: &mut WriteTx, customer: Option<&'a CustomerId>) -> Result<Option<&'a CustomerId>, ApiError> {
    let Some(id) = customer else { return Ok(None) };
    Ok(record::find(tx.sql(), id).await?.map(|_| id))
}

async fn stolen(kit: &Kit<Settings>, tx: &mut WriteTx, id: &EventId, theft: &TheftConfirmed) -> Result<(), ApiError> {
    cards::know(tx, &theft.card).await?;
    let customer = known(tx, theft.customer.as_ref()).await?;
    sqlx::query(
        "INSERT INTO theft (id, session, fridge, meal, token, customer, price_minor, currency, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.to_string())
    .bind(theft.session.to_string())
    .bind(theft.fridge.as_str())
    .bind(theft.meal.as_str())
    .bind(theft.card.token.as_str())
    .bind(customer.map(CustomerId::as_str))
    .bind(theft.price.minor())
    .bind(theft.price.currency().as_str())
    .bind(theft.at.micros())
    .execute(tx.sql())
    .await?;
    match customer {
        Some(customer) => drop(record::publish(tx, customer).await?),
        None => drop(cards::publish(tx, &theft.card.token, kit.settings().currency).await?),
    }
    Ok(())
}

async fn owed(kit: &Kit<Settings>, tx: &mut WriteTx, id: &EventId, payment: &PaymentFailed) -> Result<(), ApiError> {
    cards::know(tx, &payment.card).await?;
    let customer = known(tx, payment.customer.as_ref()).await?;
    sqlx::query(
        "INSERT INTO unpaid (id, session, fridge, token, customer, minor, currency, reason, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.to_string())
    .bind(payment.session.to_string())
    .bind(payment.fridge.as_str())
    .bind(payment.card.token.as_str())
    .bind(customer.map(CustomerId::as_str))
    .bind(payment.amount.minor())
    .bind(payment.amount.currency().as_str())
    .bind(payment.reason.as_str())
    .bind(payment.at.micros())
    .execute(tx.sql())
    .await?;
    cards::publish(tx, &payment.card.token, kit.settings().currency).await?;
    if let Some(customer) = customer {
        record::publish(tx, customer).await?;
    }
    Ok(())
}

async fn enroll(kit: &Kit<Settings>, tx: &mut WriteTx, enrolled: &CardEnrolled) -> Result<(), ApiError> {
    if known(tx, Some(&enrolled.customer)).await?.is_none() {
        return Ok(());
    }
    cards::enroll(tx, &enrolled.customer, &enrolled.card, enrolled.at).await?;
    cards::publish(tx, &enrolled.card.token, kit.settings().currency).await?;
    Ok(())
}
