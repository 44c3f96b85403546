//! Which fridges are in quarantine: genuine, with firmware that nobody released or a TPM that may be a copy, so that they
//! report and may not sell.
//!
//! Who reported decides, as the certificate names him, and nothing that the report says. So it ends with the first report
//! of the same fridge under its own name, and a fridge that says nothing any more stays what it was. The reasons are the
//! fridge's words, for a technician. Whether a fridge is let out is for the authority to say.

use ca_identity::{Role, SpiffeId};
use ops_kit::{ApiError, Problem, WriteTx};
use pci_contract::{FridgeId, Timestamp};
use serde_json::json;

/// The most reasons of a report, and the most bytes of each.
const MAX_REASONS: usize = 16;
const MAX_REASON: usize = 256;
/// The most digits of a number in a reason: the shortest card number has one more.
const MAX_DIGITS: usize = 12;

/// Whether this party is a fridge in quarantine.
pub(crate) const fn is_in(who: &SpiffeId) -> bool {
    matches!(who.role(), Role::Quarantined(_))
}

/// Checks reasons that this party gave.
pub(crate) fn check(who: &SpiffeId, reasons: Option<&[String]>) -> Result<(), Problem> {
    let Some(reasons) = reasons else { return Ok(()) };
    if !is_in(who) {
        return Err(Problem::invalid("a fridge that is not in quarantine has no reasons for it"));
    }
    if reasons.len() > MAX_REASONS || reasons.iter().any(|reason| reason.is_empty() || reason.len() > MAX_REASON) {
        return Err(Problem::invalid(format!("there are at most {MAX_REASONS} reasons of 1 to {MAX_REASON} bytes")));
    }
    if reasons.iter().any(|reason| holds_a_number(reason)) {
        return Err(Problem::invalid(format!(
            "a number in a reason has at most {MAX_DIGITS} digits, in one run or in groups"
        )));
    }
    Ok(())
}

/// Whether a number in it could be a card's: digits in one run, or in groups with spaces or dashes between them. Digests,
/// which are digits and letters, are none: a problem's detail, where those are not looked at, may lose them, a reason not.
fn holds_a_number(reason: &str) -> bool {
    let mut phrases = reason.split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, ' ' | '-'));
    phrases.any(|phrase| {
        let mut digits = 0_usize;
        phrase.split([' ', '-']).any(|word| {
            let is_group = word.bytes().all(|letter| letter.is_ascii_digit());
            digits = if is_group { digits.saturating_add(word.len()) } else { 0 };
            digits > MAX_DIGITS
        })
    })
}

/// Notes that this party reported about a fridge that has a record, and in the audit log when that begins or ends a
/// quarantine.
pub(crate) async fn note(
    tx: &mut WriteTx,
    who: &SpiffeId,
    id: &FridgeId,
    reasons: Option<&[String]>,
    now: Timestamp,
) -> Result<(), ApiError> {
    let since: Option<i64> = sqlx::query_scalar("SELECT quarantined_at FROM fridge WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(tx.sql())
        .await?;
    let (at, what) = match (since, is_in(who)) {
        (None, false) => return Ok(()),
        (Some(_), false) => (None, Some("fridge.quarantine_end")),
        (since, true) => (Some(since.unwrap_or(now.micros())), since.is_none().then_some("fridge.quarantine")),
    };
    sqlx::query(
        "UPDATE fridge SET quarantined_at = $2,
            quarantine_reasons = CASE WHEN $2 IS NULL THEN NULL ELSE COALESCE($3, quarantine_reasons) END
         WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(at)
    .bind(reasons.map(|reasons| json!(reasons).to_string()))
    .execute(tx.sql())
    .await?;
    match what {
        Some(what) => tx.audit(who, what, id.as_str(), &json!({ "reasons": reasons }), now).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_REASON, MAX_REASONS, check, holds_a_number};
    use ca_identity::SpiffeId;

    fn checked(who: &str, reasons: &[&str]) -> bool {
        let who = SpiffeId::parse(&format!("spiffe://larder.internal/{who}")).unwrap();
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        check(&who, Some(&reasons)).is_ok()
    }

    #[test]
    fn reasons_are_few_and_short_and_only_of_a_fridge_in_quarantine() {
        let (long, longer) = ("x".repeat(MAX_REASON), "x".repeat(MAX_REASON + 1));
        assert!(checked("quarantine/f1", &vec![long.as_str(); MAX_REASONS]));
        assert!(!checked("quarantine/f1", &vec!["x"; MAX_REASONS + 1]));
        for (who, reason) in [("quarantine/f1", ""), ("quarantine/f1", &longer), ("fridge/f1", "x")] {
            assert!(!checked(who, &[reason]), "{who} {reason}");
        }
    }

    #[test]
    fn a_reason_names_digests_and_no_card_number() {
        let went_back =
            "its TPM went back in time: 3 resets, 12 restarts, 123456789012 ms, after 4, 13, 123456789013 ms before";
        for good in ["event 0 extended register 0 with 1234567890123456789abc", "123456789012", "", went_back] {
            assert!(!holds_a_number(good), "{good}");
        }
        for bad in
            ["1234567890123", "x: 1234567890123456.", "(1234567890123)", "1234 5678-9012  3456", "at 123456 7890123 x"]
        {
            assert!(holds_a_number(bad), "{bad}");
        }
    }
}
