//! Brings a world into the services: fridges, prices, meals and customers through their interfaces, wallet cards through
//! the sealed path of a reader, and waits until the PCI zone has pulled what it must know.

use std::time::Duration;

use fridge_agent::{Agent, SimulatedFridge};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::issuer::Party;
use crate::stack::Stack;
use crate::world::{Customer, Fridge, Meal, MealType, World};
use crate::{Fault, agents};

/// Rows of one post.
const BATCH: usize = 1_000;
/// How long the PCI zone may take to pull the rows.
const PULLED_WITHIN: Duration = Duration::from_secs(60);
/// Cards enrolled at once.
const ENROLLING: usize = 16;

/// Loads `world` into `stack` unless that was done in an earlier run.
///
/// # Errors
/// [`Fault`] with the problem a service told.
pub async fn load_once(stack: &Stack, world: &World, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    let done = stack.layout().state("world-loaded");
    if done.exists() {
        return Ok(());
    }
    load(stack, world, told).await?;
    std::fs::write(&done, "").map_err(Fault::io("write", &done))
}

/// Loads `world` into `stack`. `told` hears what is being done.
///
/// # Errors
/// [`Fault`] with the problem a service told.
pub async fn load(stack: &Stack, world: &World, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    told("the world: fridges, prices, meals, customers");
    let currency = world.policy.currency.as_str();
    let policy = json!({ "blocked_after_thefts": world.policy.blocked_after_thefts, "currency": currency });
    stack.ops("admin")?.put("/policy", &policy).await?;
    for fridge in &world.fridges {
        stack.issuer().issue(&Party::Fridge(fridge.fridge.clone()))?;
    }
    batches(stack, "admin", "fridges", &world.fridges, |row| fridge(row, currency)).await?;
    batches(stack, "inventory", "meal-types", &world.meal_types, |row| meal_type(row, currency)).await?;
    batches(stack, "customers", "customers", &world.customers, |row| customer(row, currency)).await?;
    let subscription = |owner: &str| world.customers.iter().find(|c| c.customer == owner)?.subscription.clone();
    let subscriptions: std::collections::BTreeMap<String, Option<String>> =
        world.customers.iter().map(|c| (c.customer.clone(), subscription(&c.customer))).collect();
    batches(stack, "inventory", "meals", &world.meals, |row| meal(row, &subscriptions)).await?;
    if !world.processor.declines.is_empty() {
        let declines = zeroize::Zeroizing::new(
            serde_json::to_vec(&json!({ "declines": world.processor.declines })).map_err(Fault::of("the declines"))?,
        );
        stack.control().post("/control/declines", declines.to_vec()).await?;
    }
    pulled(stack, world).await?;
    told("wallet cards, sealed at a reader");
    enroll(stack, world).await
}

async fn batches<T>(
    stack: &Stack,
    service: &str,
    what: &str,
    rows: &[T],
    row: impl Fn(&T) -> Value,
) -> Result<(), Fault> {
    let member = what.replace('-', "_");
    for (number, chunk) in rows.chunks(BATCH).enumerate() {
        let body = json!({ member.as_str(): chunk.iter().map(&row).collect::<Vec<_>>() });
        let path = format!("/{what}:batchCreate");
        stack.ops(service)?.post(&path, &format!("load-{what}-{number}"), &body).await?;
    }
    Ok(())
}

fn fridge(fridge: &Fridge, currency: &str) -> Value {
    let location = &fridge.location;
    json!({
        "fridge": fridge.fridge,
        "location": { "name": location.name, "lat": location.lat, "lon": location.lon },
        "hold": { "minor": fridge.hold_minor, "currency": currency },
    })
}

fn meal_type(row: &MealType, currency: &str) -> Value {
    json!({ "gtin": row.gtin, "name": row.name, "price": { "minor": row.price_minor, "currency": currency } })
}

fn meal(row: &Meal, subscriptions: &std::collections::BTreeMap<String, Option<String>>) -> Value {
    let subscription = row.owner.as_ref().and_then(|owner| subscriptions.get(owner)).cloned().flatten();
    json!({
        "barcode": row.barcode,
        "fridge": row.fridge,
        "owner": row.owner,
        "owner_subscription": subscription,
        "prepaid": row.prepaid,
        "expires_at": row.expires_at,
    })
}

fn customer(row: &Customer, currency: &str) -> Value {
    json!({
        "customer": row.customer,
        "name": row.name,
        "id_tokens": [row.id_token],
        "credit": { "minor": row.credit_minor, "currency": currency },
        "subscription": row.subscription,
        "expert": row.expert,
        "referral_code": row.referral_code,
        "blocked": row.blocked,
    })
}

/// Waits until purchase-session has pulled the world.
async fn pulled(stack: &Stack, world: &World) -> Result<(), Fault> {
    let wanted = [
        ("policy", 1),
        ("fridges", world.fridges.len()),
        ("meal-types", world.meal_types.len()),
        ("meals", world.meals.len()),
        ("customers", world.customers.len()),
    ];
    let until = Instant::now() + PULLED_WITHIN;
    loop {
        let rows = stack.rows_pulled().await?;
        let has = |feed: &str| rows.get(feed).and_then(|rows| usize::try_from(*rows).ok()).unwrap_or(0);
        let Some((behind, _)) = wanted.iter().find(|(feed, count)| has(feed) < *count) else { return Ok(()) };
        if Instant::now() >= until {
            return Err(Fault::new(format!(
                "the PCI zone has not pulled the {behind}; see the log of purchase-session"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Enrols every wallet card at the reader of the first fridge.
async fn enroll(stack: &Stack, world: &World) -> Result<(), Fault> {
    let Some(first) = world.fridges.first() else { return Ok(()) };
    let (hardware, _controls) = SimulatedFridge::new();
    let agent = Agent::start(agents::config(stack, &first.fridge)?, hardware).map_err(Fault::of("an agent"))?;
    for chunk in world.customers.chunks(ENROLLING) {
        let enrolments = chunk.iter().filter_map(|customer| {
            let card = customer.wallet_card.as_ref()?;
            Some(enroll_one(&agent, card.track2(), customer))
        });
        for enrolment in enrolments.collect::<Vec<_>>() {
            enrolment.await?;
        }
    }
    agent.stop().await;
    Ok(())
}

async fn enroll_one(
    agent: &fridge_agent::AgentHandle,
    track2: zeroize::Zeroizing<Vec<u8>>,
    customer: &Customer,
) -> Result<(), Fault> {
    let enrolled = agent.enroll_card(track2, &customer.id_token).await;
    enrolled.map(|_| ()).map_err(Fault::of(&format!("the wallet card of {}", customer.customer)))
}
