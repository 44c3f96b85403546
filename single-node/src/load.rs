//! Brings a world into the services: fridges, prices, meals and customers through their interfaces, wallet cards through
//! the sealed path of a reader, and waits until the PCI zone has pulled what it must know.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fridge_agent::{Agent, EnrollError, SimulatedFridge};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::issuer::Party;
use crate::stack::Stack;
use crate::world::{Customer, Fridge, Meal, MealType, World};
use crate::{Fault, agents, config};

/// Rows of one post.
const BATCH: usize = 1_000;
/// How long the PCI zone may take to pull the next rows.
const PULLED_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Cards enrolled at once.
const ENROLLING: usize = 16;

/// Loads `world` into `stack` unless that was done in an earlier run. What does not outlive a run, certificates and
/// what the processor declines, is made anew.
///
/// # Errors
/// [`Fault`] with the problem a service told.
pub async fn load_once(stack: &Stack, world: &World, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    for fridge in &world.fridges {
        stack.issuer().issue(&Party::Fridge(fridge.fridge.clone()))?;
    }
    if !world.processor.declines.is_empty() {
        let declines = zeroize::Zeroizing::new(
            serde_json::to_vec(&json!({ "declines": world.processor.declines })).map_err(Fault::of("the declines"))?,
        );
        stack.control().post("/control/declines", declines.to_vec()).await?;
    }
    let done = stack.layout().state("world-loaded");
    if done.exists() {
        return pulled(stack, &[]).await;
    }
    load(stack, world, told).await?;
    std::fs::write(&done, "").map_err(Fault::io("write", &done))
}

/// Loads `world` into the services of `stack`. `told` hears what is being done.
///
/// # Errors
/// [`Fault`] with the problem a service told.
async fn load(stack: &Stack, world: &World, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    told("the world: fridges, prices, meals, customers");
    let currency = world.policy.currency.as_str();
    let policy = json!({ "blocked_after_thefts": world.policy.blocked_after_thefts, "currency": currency });
    stack.ops("admin")?.put("/policy", &policy).await?;
    batches(stack, "admin", "fridges", &world.fridges, |row| fridge(row, currency)).await?;
    batches(stack, "inventory", "meal-types", &world.meal_types, |row| meal_type(row, currency)).await?;
    batches(stack, "customers", "customers", &world.customers, |row| customer(row, currency)).await?;
    let subscriptions: HashMap<&str, Option<&str>> =
        world.customers.iter().map(|c| (c.customer.as_str(), c.subscription.as_deref())).collect();
    batches(stack, "inventory", "meals", &world.meals, |row| meal(row, &subscriptions)).await?;
    pulled(stack, &last_revisions(stack, world).await?).await?;
    told("wallet cards, sealed at a reader");
    enroll(stack, world, told).await
}

/// The revision of the last record of each kind: a feed that has come so far has them all.
async fn last_revisions(stack: &Stack, world: &World) -> Result<Vec<(&'static str, i64)>, Fault> {
    let last = [
        ("fridges", "admin", world.fridges.last().map(|row| &row.fridge)),
        ("meal-types", "inventory", world.meal_types.last().map(|row| &row.gtin)),
        ("meals", "inventory", world.meals.last().map(|row| &row.barcode)),
        ("customers", "customers", world.customers.last().map(|row| &row.customer)),
    ];
    let mut wanted = vec![("policy", stack.ops("admin")?.revision("/policy").await?)];
    for (feed, service, id) in last {
        if let Some(id) = id {
            wanted.push((feed, stack.ops(service)?.revision(&format!("/{feed}/{id}")).await?));
        }
    }
    Ok(wanted)
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

fn meal(row: &Meal, subscriptions: &HashMap<&str, Option<&str>>) -> Value {
    let subscription = row.owner.as_deref().and_then(|owner| subscriptions.get(owner).copied().flatten());
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

/// Waits until purchase-session knows these feeds up to these revisions, and has read every feed to its end.
async fn pulled(stack: &Stack, wanted: &[(&str, i64)]) -> Result<(), Fault> {
    let (mut so_far, mut until) = (Vec::new(), Instant::now() + PULLED_WITHIN);
    loop {
        let pulled = stack.pulled().await?;
        let number = |numbers: &BTreeMap<String, i64>, feed: &str| numbers.get(feed).copied().unwrap_or(0);
        let behind = wanted.iter().find(|(feed, revision)| number(&pulled.revisions, feed) < *revision);
        let unread = config::feeds().find(|feed| number(&pulled.ends, feed) == 0);
        let Some(feed) = behind.map(|(feed, _)| *feed).or(unread) else { return Ok(()) };
        let now: Vec<i64> = pulled.revisions.into_values().chain(pulled.ends.into_values()).collect();
        if now != so_far {
            (so_far, until) = (now, Instant::now() + PULLED_WITHIN);
        }
        if Instant::now() >= until {
            return Err(Fault::new(format!("the PCI zone has not pulled the {feed}; see the log of purchase-session")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Enrols every wallet card at the reader of the first fridge.
///
/// A card that is refused is told and left out: its customer pays with others, or is refused for having none.
async fn enroll(stack: &Stack, world: &World, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    let Some(first) = world.fridges.first() else { return Ok(()) };
    let (hardware, _controls) = SimulatedFridge::new();
    let agent = Agent::start(agents::config(stack, &first.fridge)?, hardware).map_err(Fault::of("an agent"))?;
    let agent = Arc::new(agent);
    let mut running: JoinSet<Result<Option<String>, Fault>> = JoinSet::new();
    let ended = |done: Result<Result<Option<String>, Fault>, tokio::task::JoinError>| {
        let refused = done.map_err(Fault::of("an enrolment's task"))??;
        refused.iter().for_each(|refused| told(refused));
        Ok::<(), Fault>(())
    };
    for customer in &world.customers {
        let Some(card) = &customer.wallet_card else { continue };
        if running.len() >= ENROLLING
            && let Some(done) = running.join_next().await
        {
            ended(done)?;
        }
        let (agent, track2) = (Arc::clone(&agent), card.track2());
        let (id_token, who) = (customer.id_token.clone(), customer.customer.clone());
        running.spawn(async move {
            match agent.enroll_card(track2, &id_token).await {
                Ok(_) => Ok(None),
                Err(EnrollError::Refused(reason)) => {
                    Ok(Some(format!("the wallet card of {who} was refused: {reason}")))
                }
                Err(error) => Err(Fault::new(format!("the wallet card of {who}: {error}"))),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        ended(done)?;
    }
    if let Some(agent) = Arc::into_inner(agent) {
        agent.stop().await;
    }
    Ok(())
}
