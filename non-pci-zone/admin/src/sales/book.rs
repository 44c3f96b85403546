//! Adds to the sums of a fridge and a day, in the transaction that books the event.
//!
//! A day is one of UTC, by the event's own moment, so that a late event still counts for the day it is of.

use ops_kit::{ApiError, WriteTx};
use pci_contract::{Currency, FridgeId, Gtin, Money, ReasonCode, Timestamp};

use super::sum::Sums;

fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take_while(|c| *c != 'T').collect()
}

/// Adds `sums`, whose amounts are in `currency`.
pub(crate) async fn add(
    tx: &mut WriteTx,
    fridge: &FridgeId,
    at: Timestamp,
    currency: Currency,
    sums: Sums,
) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO sale (fridge, day, currency, sessions, charged_sessions, meals, thefts, charged_minor, credit_minor,
                           unpaid_minor, captured_minor, refunded_minor)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (fridge, day, currency) DO UPDATE SET sessions = sale.sessions + excluded.sessions,
            charged_sessions = sale.charged_sessions + excluded.charged_sessions,
            meals = sale.meals + excluded.meals, thefts = sale.thefts + excluded.thefts, charged_minor = sale.charged_minor + excluded.charged_minor,
            credit_minor = sale.credit_minor + excluded.credit_minor,
            unpaid_minor = sale.unpaid_minor + excluded.unpaid_minor,
            captured_minor = sale.captured_minor + excluded.captured_minor,
            refunded_minor = sale.refunded_minor + excluded.refunded_minor",
    )
    .bind(fridge.as_str())
    .bind(day(at))
    .bind(currency.as_str())
    .bind(sums.sessions)
    .bind(sums.charged_sessions)
    .bind(sums.meals)
    .bind(sums.thefts)
    .bind(sums.charged_minor)
    .bind(sums.credit_minor)
    .bind(sums.unpaid_minor)
    .bind(sums.captured_minor)
    .bind(sums.refunded_minor)
    .execute(tx.sql())
    .await?;
    Ok(())
}

/// Adds one meal that was kept, with what was due for it.
pub(crate) async fn add_meal(
    tx: &mut WriteTx,
    fridge: &FridgeId,
    at: Timestamp,
    gtin: &Gtin,
    due: Money,
    stolen: bool,
) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO sale_meal (fridge, day, currency, gtin, sold, stolen, due_minor) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (fridge, day, currency, gtin) DO UPDATE SET sold = sale_meal.sold + excluded.sold,
            stolen = sale_meal.stolen + excluded.stolen, due_minor = sale_meal.due_minor + excluded.due_minor",
    )
    .bind(fridge.as_str())
    .bind(day(at))
    .bind(due.currency().as_str())
    .bind(gtin.as_str())
    .bind(i64::from(!stolen))
    .bind(i64::from(stolen))
    .bind(due.minor())
    .execute(tx.sql())
    .await?;
    Ok(())
}

/// Adds one session that was refused.
pub(crate) async fn add_refusal(
    tx: &mut WriteTx,
    fridge: &FridgeId,
    at: Timestamp,
    reason: &ReasonCode,
) -> Result<(), ApiError> {
    sqlx::query(
        "INSERT INTO refusal (fridge, day, reason, count) VALUES ($1, $2, $3, 1)
         ON CONFLICT (fridge, day, reason) DO UPDATE SET count = refusal.count + 1",
    )
    .bind(fridge.as_str())
    .bind(day(at))
    .bind(reason.as_str())
    .execute(tx.sql())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Timestamp, day};

    #[test]
    fn a_day_is_one_of_utc() {
        let at = Timestamp::parse_rfc3339("2026-03-02T23:59:59.999999-01:00").unwrap();
        assert_eq!(day(at), "2026-03-03");
        assert_eq!(day(Timestamp::from_micros(0)), "1970-01-01");
    }
}
