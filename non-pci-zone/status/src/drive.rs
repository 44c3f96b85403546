//! What the events of the PCI zone say of sessions and fridges. Each event writes its own part of the session's row, so
//! that their order does not matter.
//!
//! A stolen meal is in the meal-status list of the finalized purchase; the theft event says the same for others.

use ops_kit::{ApiError, Booked, Event, Fault, Kit, WriteTx};
use pci_contract::{
    CustomerId, EventBody, FridgeTampered, MealId, MealStatus, PaymentFailed, PaymentSettled, PurchaseFinalized,
    PurchaseRefused, ScannedCode, SessionId, Settlement,
};
use serde::Serialize;

use crate::Settings;

/// Books one event.
pub(crate) fn book<'a>(_: &'a Kit<Settings>, tx: &'a mut WriteTx, event: &'a Event) -> Booked<'a> {
    Box::pin(async move {
        match &event.body {
            EventBody::PurchaseFinalized(purchase) => finalized(tx, purchase).await,
            EventBody::PurchaseRefused(refused) => refuse(tx, refused).await,
            EventBody::PaymentSettled(payment) => settled(tx, payment).await,
            EventBody::PaymentFailed(payment) => failed(tx, payment).await,
            EventBody::FridgeTampered(tampered) => tamper(tx, event.sequence, tampered).await,
            EventBody::TheftConfirmed(_) | EventBody::CardEnrolled(_) => Ok(()),
        }
    })
}

/// Counts a session that ends now; to be called before its outcome is written.
async fn ends(tx: &mut WriteTx, session: SessionId) -> Result<(), ApiError> {
    sqlx::query(
        "UPDATE ended SET sessions = sessions + 1
         WHERE NOT EXISTS (SELECT 1 FROM session WHERE session = $1 AND outcome IS NOT NULL)",
    )
    .bind(session.to_string())
    .execute(tx.sql())
    .await?;
    Ok(())
}

async fn finalized(tx: &mut WriteTx, purchase: &PurchaseFinalized) -> Result<(), ApiError> {
    ends(tx, purchase.session).await?;
    let stolen = purchase.meals.iter().filter(|line| line.status == MealStatus::Stolen);
    sqlx::query(
        "INSERT INTO session (session, fridge, outcome, customer, card, charged_minor, credit_used_minor, unpaid_minor,
                              currency, alarms, thefts, meals, opened_at, closed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (session) DO UPDATE SET outcome = excluded.outcome, customer = excluded.customer,
            card = excluded.card, charged_minor = excluded.charged_minor,
            credit_used_minor = excluded.credit_used_minor, unpaid_minor = excluded.unpaid_minor,
            currency = excluded.currency, alarms = excluded.alarms, thefts = excluded.thefts, meals = excluded.meals,
            opened_at = excluded.opened_at, closed_at = excluded.closed_at",
    )
    .bind(purchase.session.to_string())
    .bind(purchase.fridge.as_str())
    .bind(purchase.outcome.as_str())
    .bind(purchase.customer.as_ref().map(CustomerId::as_str))
    .bind(purchase.card.token.as_str())
    .bind(purchase.charged.minor())
    .bind(purchase.credit_used.minor())
    .bind(purchase.unpaid.minor())
    .bind(purchase.charged.currency().as_str())
    .bind(sorted(purchase.alarms.iter())?)
    .bind(sorted(stolen.map(|line| &line.barcode))?)
    .bind(sorted(purchase.meals.iter().map(|line| &line.barcode))?)
    .bind(purchase.opened_at.micros())
    .bind(purchase.closed_at.micros())
    .execute(tx.sql())
    .await?;
    Ok(())
}

fn sorted<'a>(meals: impl Iterator<Item = &'a MealId>) -> Result<String, ApiError> {
    let mut meals: Vec<&MealId> = meals.collect();
    meals.sort();
    json(&meals)
}

fn json(value: &impl Serialize) -> Result<String, ApiError> {
    Ok(serde_json::to_string(value).map_err(|error| Fault::new(format!("a list of meals: {error}"), false))?)
}

async fn refuse(tx: &mut WriteTx, refused: &PurchaseRefused) -> Result<(), ApiError> {
    ends(tx, refused.session).await?;
    sqlx::query(
        "INSERT INTO session (session, fridge, outcome, reason, customer, card, opened_at, closed_at)
         VALUES ($1, $2, 'refused', $3, $4, $5, $6, $6)
         ON CONFLICT (session) DO UPDATE SET outcome = 'refused', reason = excluded.reason,
            customer = excluded.customer, card = excluded.card, opened_at = excluded.opened_at,
            closed_at = excluded.closed_at",
    )
    .bind(refused.session.to_string())
    .bind(refused.fridge.as_str())
    .bind(refused.reason.as_str())
    .bind(refused.customer.as_ref().map(CustomerId::as_str))
    .bind(refused.card.as_ref().map(|card| card.token.as_str()))
    .bind(refused.at.micros())
    .execute(tx.sql())
    .await?;
    Ok(())
}

async fn settled(tx: &mut WriteTx, payment: &PaymentSettled) -> Result<(), ApiError> {
    let text = match payment.settlement {
        Settlement::Captured => {
            "INSERT INTO session (session, fridge, captured_minor) VALUES ($1, $2, $3)
             ON CONFLICT (session) DO UPDATE SET captured_minor = COALESCE(captured_minor, 0) + excluded.captured_minor"
        }
        Settlement::Voided => {
            "INSERT INTO session (session, fridge, voided) VALUES ($1, $2, $3 >= 0)
             ON CONFLICT (session) DO UPDATE SET voided = 1"
        }
        Settlement::Refunded => {
            "INSERT INTO session (session, fridge, refunded_minor) VALUES ($1, $2, $3)
             ON CONFLICT (session) DO UPDATE SET refunded_minor = refunded_minor + excluded.refunded_minor"
        }
    };
    sqlx::query(text)
        .bind(payment.session.to_string())
        .bind(payment.fridge.as_str())
        .bind(payment.amount.minor())
        .execute(tx.sql())
        .await?;
    Ok(())
}

async fn failed(tx: &mut WriteTx, payment: &PaymentFailed) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO session (session, fridge, failed_minor) VALUES ($1, $2, $3)
         ON CONFLICT (session) DO UPDATE SET failed_minor = failed_minor + excluded.failed_minor",
    )
    .bind(payment.session.to_string())
    .bind(payment.fridge.as_str())
    .bind(payment.amount.minor())
    .execute(tx.sql())
    .await?;
    Ok(())
}

async fn tamper(tx: &mut WriteTx, sequence: i64, tampered: &FridgeTampered) -> Result<(), ApiError> {
    let kind = json(&tampered.kind)?;
    sqlx::query("INSERT INTO tamper (sequence, fridge, kind, code, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(sequence)
        .bind(tampered.fridge.as_str())
        .bind(kind.trim_matches('"'))
        .bind(tampered.code.as_ref().map(ScannedCode::as_str))
        .bind(tampered.at.micros())
        .execute(tx.sql())
        .await?;
    Ok(())
}
