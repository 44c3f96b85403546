//! Whether all who keep books agree with the rules: the four services outside the PCI zone, and the processor.
//!
//! Every figure here is a sum or a list that grows with each event, so an event booked twice or not at all shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use single_node::stack::Stack;

use super::house::eventually;
use super::rules::{Outcome, Rules};

/// Sessions asked for at once.
const PAGE: usize = 100;

/// Waits until everything is booked and settled, then compares everybody's books with what must have happened.
pub(crate) async fn agree(stack: &Stack, outcomes: &[Outcome], rules: &Rules) {
    let total = u64::try_from(outcomes.len()).unwrap();
    eventually("the books close", async || {
        let books = stack.books().await.ok()?;
        assert!(books.sessions <= total, "more sessions are booked than were played: {books:?}");
        (books.sessions == total && books.pending == 0 && books.open_holds == 0).then_some(())
    })
    .await;
    status(stack, outcomes).await;
    processor(stack, outcomes).await;
    admin(stack, outcomes).await;
    inventory(stack, outcomes).await;
    customers(stack, outcomes, rules).await;
}

/// Each session as it ended, with the payment it led to.
pub(crate) async fn status(stack: &Stack, outcomes: &[Outcome]) {
    for page in outcomes.chunks(PAGE) {
        let ids: Vec<String> = page.iter().map(|outcome| outcome.session.clone()).collect();
        let rows: Vec<Value> = stack.sessions(&ids).await.unwrap();
        let rows: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["session"].as_str().unwrap(), row)).collect();
        for outcome in page {
            let row = rows.get(outcome.session.as_str()).unwrap_or_else(|| panic!("{outcome:?} was never booked"));
            assert_eq!(published(row), outcome.line(), "status about {outcome:?}");
            if outcome.admitted() {
                assert_eq!(row["unpaid_minor"], outcome.unpaid_minor, "status about {outcome:?}");
                let captured = row["captured_minor"].as_i64().unwrap_or(0);
                assert_eq!(captured, outcome.captured_minor(), "status about {outcome:?}: {row}");
            }
        }
    }
}

/// A row of the status service in the form of `expected.jsonl`.
fn published(row: &Value) -> Value {
    if row["outcome"] == "refused" {
        return json!({ "session": row["session"], "outcome": "refused", "reason": row["reason"] });
    }
    let keys = ["session", "outcome", "customer", "charged_minor", "credit_used_minor", "alarms", "thefts", "meals"];
    keys.into_iter().map(|key| (key.to_owned(), row[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// The processor's ledger, and one payment for each session that it was asked about, taken or released.
pub(crate) async fn processor(stack: &Stack, outcomes: &[Outcome]) {
    let charged = || outcomes.iter().filter(|outcome| outcome.captured_minor() > 0);
    let ledger = stack.ledger().await.unwrap();
    let figure = |path: &str| ledger.pointer(path).and_then(Value::as_i64).unwrap();
    assert_eq!(figure("/captured/count"), number(charged().count()), "{ledger}");
    assert_eq!(figure("/captured/sum"), charged().map(Outcome::captured_minor).sum::<i64>(), "{ledger}");
    assert_eq!(figure("/authorized/count"), figure("/captured/count") + figure("/voided/count"), "{ledger}");
    assert_eq!(figure("/refunded/count"), 0, "{ledger}");
    assert_eq!(figure("/open/count"), 0, "{ledger}");
    for outcome in outcomes.iter().filter(|outcome| outcome.admitted()) {
        let intents = stack.control().intents_of(&outcome.session).await.unwrap();
        let ends: Vec<(&str, i64)> = intents
            .iter()
            .map(|intent| (intent["status"].as_str().unwrap(), intent["amount_received"].as_i64().unwrap()))
            .collect();
        let end = match outcome.captured_minor() {
            0 => ("canceled", 0),
            captured => ("succeeded", captured),
        };
        assert_eq!(ends, [end], "the processor about {outcome:?}");
    }
}

/// The sums of sales.
pub(crate) async fn admin(stack: &Stack, outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> i64| outcomes.iter().map(of).sum::<i64>();
    let mut refused: BTreeMap<&str, i64> = BTreeMap::new();
    for reason in outcomes.iter().filter_map(|outcome| outcome.reason.as_deref()) {
        *refused.entry(reason).or_default() += 1;
    }
    let money = |minor: i64| json!({ "minor": minor, "currency": "USD" });
    let expected = json!({
        "sessions": number(outcomes.iter().filter(|outcome| outcome.admitted()).count()),
        "charged_sessions": number(outcomes.iter().filter(|outcome| outcome.charged_minor > 0).count()),
        "meals": sum(|outcome| number(outcome.meals.len())),
        "thefts": sum(|outcome| number(outcome.thefts.len())),
        "charged": money(sum(|outcome| outcome.charged_minor)),
        "credit_used": money(sum(|outcome| outcome.credit_used_minor)),
        "unpaid": money(sum(|outcome| outcome.unpaid_minor)),
        "captured": money(sum(Outcome::captured_minor)),
        "refunded": money(0),
        "to_settle": money(0),
        "refused": refused,
    });
    let told = eventually("admin has booked the last event", async || {
        let told: Value = stack.ops("admin").ok()?.get("/sales").await.ok()?;
        (told["total"]["to_settle"]["minor"] == 0 && told["total"]["sessions"] == expected["sessions"])
            .then(|| told["total"].clone())
    })
    .await;
    assert_eq!(told, expected, "admin");
}

/// What became of each meal, and what operators are to look at. An event booked twice would be there twice.
pub(crate) async fn inventory(stack: &Stack, outcomes: &[Outcome]) {
    let sets =
        |of: fn(&Outcome) -> &BTreeSet<String>| outcomes.iter().flat_map(of).cloned().collect::<BTreeSet<String>>();
    let (meals, stolen) = (sets(|outcome| &outcome.meals), sets(|outcome| &outcome.thefts));
    let purchased: BTreeSet<String> = meals.difference(&stolen).cloned().collect();
    for (state, expected) in
        [("purchased", purchased), ("stolen", stolen), ("taken", sets(|outcome| &outcome.not_sellable))]
    {
        let barcodes = async || {
            let rows = all(stack, "inventory", &format!("/meals?state={state}"), "meals").await?;
            Some(rows.iter().map(|row| row["barcode"].as_str().unwrap().to_owned()).collect::<BTreeSet<String>>())
        };
        eventually(&format!("inventory has booked what was {state}"), async || {
            barcodes().await.filter(|told| told.len() >= expected.len())
        })
        .await;
        assert_eq!(barcodes().await.unwrap(), expected, "inventory: {state}");
    }
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        *expected.entry("stray_return").or_default() += outcome.stray.len();
        *expected.entry("unidentified").or_default() += outcome.unidentified;
        *expected.entry("not_sellable_kept").or_default() += outcome.not_sellable.len();
    }
    expected.retain(|_, count| *count > 0);
    let reviews = all(stack, "inventory", "/reviews?resolved=false", "reviews").await.unwrap();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for review in &reviews {
        *told.entry(review["kind"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(told, expected, "inventory: what operators are to look at");
}

/// Every customer's credit, thefts and debt, and all thefts and debts whoever they are of.
pub(crate) async fn customers(stack: &Stack, outcomes: &[Outcome], rules: &Rules) {
    let thefts: usize = outcomes.iter().map(|outcome| outcome.thefts.len()).sum();
    let owing = outcomes.iter().filter(|outcome| outcome.unpaid_minor > 0).count();
    for (list, expected) in [("thefts", thefts), ("unpaid", owing)] {
        let told = eventually(&format!("customers has booked the {list}"), async || {
            let rows = all(stack, "customers", &format!("/{list}?open=true"), list).await?;
            (rows.len() >= expected).then_some(rows.len())
        })
        .await;
        assert_eq!(told, expected, "customers: {list}");
    }
    let rows = eventually("customers has booked the credit used", async || {
        let rows = all(stack, "customers", "/customers?blocked=false", "customers").await?;
        rows.iter().all(|row| row["credit"]["minor"] == credit_of(rules, row)).then_some(rows)
    })
    .await;
    for row in rows {
        let standing = rules.standing.get(row["customer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(row["thefts"], standing.thefts, "customers: {row}");
        assert_eq!(row["unpaid"]["minor"], standing.unpaid_minor, "customers: {row}");
    }
}

fn credit_of(rules: &Rules, row: &Value) -> i64 {
    rules.credit.get(row["customer"].as_str().unwrap()).copied().unwrap_or(0)
}

/// Every page of a list.
async fn all(stack: &Stack, service: &str, path: &str, list: &str) -> Option<Vec<Value>> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page: Value = stack.ops(service).ok()?.get(&format!("{path}&page_size=100{token}")).await.ok()?;
        rows.extend(page[list].as_array()?.iter().cloned());
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return Some(rows),
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}
