//! What must come of a day: the rules of a purchase, told a second time in the plainest way. One session after the
//! other, in memory, with no crash, no clock and no network; so whatever the house does amid those, it must agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::world::{Card, Customer, Kind, Meal, OpenWith, Session, World};

/// Cards expire before this or are good for the whole test.
const NOW_YYMM: &str = "2601";
/// Meals likewise.
const NOW: &str = "2026-01-01";

/// What came of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) session: String,
    pub(crate) fridge: String,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) customer: Option<String>,
    pub(crate) charged_minor: i64,
    pub(crate) credit_used_minor: i64,
    /// Of what was charged, what the processor did not hold.
    pub(crate) unpaid_minor: i64,
    pub(crate) alarms: BTreeSet<String>,
    pub(crate) thefts: BTreeSet<String>,
    pub(crate) meals: BTreeSet<String>,
    /// For operators and refillers: unknown barcodes kept, meals put back that were not taken, unsafe meals kept.
    pub(crate) unidentified: usize,
    pub(crate) stray: BTreeSet<String>,
    pub(crate) not_sellable: BTreeSet<String>,
}

impl Outcome {
    /// The door stayed shut.
    pub(crate) fn refused(session: &Session, reason: &str) -> Self {
        Self {
            session: session.session.clone(),
            fridge: session.fridge.clone(),
            outcome: "refused".to_owned(),
            reason: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// In the form of `expected.jsonl`.
    pub(crate) fn line(&self) -> Value {
        if let Some(reason) = &self.reason {
            return json!({ "session": self.session, "outcome": "refused", "reason": reason });
        }
        json!({
            "session": self.session, "outcome": self.outcome, "customer": self.customer,
            "charged_minor": self.charged_minor, "credit_used_minor": self.credit_used_minor,
            "alarms": self.alarms, "thefts": self.thefts, "meals": self.meals,
        })
    }

    /// What the processor must have taken.
    pub(crate) fn captured_minor(&self) -> i64 {
        self.charged_minor - self.unpaid_minor
    }

    /// Whether the door was unlocked.
    pub(crate) fn admitted(&self) -> bool {
        self.reason.is_none()
    }

    /// What is no longer in the fridge.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &String> {
        self.meals.iter().chain(&self.not_sellable)
    }
}

/// What counts against a customer or an anonymous card.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) blocked: bool,
    pub(crate) thefts: u32,
    pub(crate) unpaid_minor: i64,
}

/// The rules, and all that they remember from session to session.
pub(crate) struct Rules {
    blocked_after_thefts: u32,
    holds: HashMap<String, i64>,
    prices: HashMap<String, i64>,
    meals: HashMap<String, Meal>,
    customers: Vec<Customer>,
    declines: BTreeMap<String, String>,
    /// Cards on which no hold can be raised.
    unraisable: BTreeSet<String>,
    pub(crate) credit: HashMap<String, i64>,
    pub(crate) standing: HashMap<String, Standing>,
}

impl Rules {
    pub(crate) fn of(world: &World, unraisable: &[Card]) -> Self {
        let customers = world.customers.iter();
        let standing = |customer: &Customer| Standing { blocked: customer.blocked, ..Standing::default() };
        Self {
            blocked_after_thefts: world.policy.blocked_after_thefts,
            holds: world.fridges.iter().map(|fridge| (fridge.fridge.clone(), fridge.hold_minor)).collect(),
            prices: world.meal_types.iter().map(|kind| (kind.gtin.clone(), kind.price_minor)).collect(),
            meals: world.meals.iter().map(|meal| (meal.barcode.clone(), meal.clone())).collect(),
            credit: customers.clone().map(|c| (c.customer.clone(), c.credit_minor)).collect(),
            standing: customers.map(|customer| (customer.customer.clone(), standing(customer))).collect(),
            customers: world.customers.clone(),
            declines: world.processor.declines.clone(),
            unraisable: unraisable.iter().map(|card| card.pan.clone()).collect(),
        }
    }

    /// What a session comes to, after all that were judged before.
    pub(crate) fn judge(&mut self, session: &Session) -> Outcome {
        let (customer, pan) = match self.admit(session) {
            Ok(admitted) => admitted,
            Err(reason) => return Outcome::refused(session, &reason),
        };
        let who = customer.clone().unwrap_or_else(|| pan.clone());
        let mut outcome = self.basket(session, customer.as_deref());
        let free_of_charge =
            |meal: &Meal| meal.prepaid && meal.owner.is_some() && meal.owner.as_deref() == customer.as_deref();
        let due: i64 = outcome
            .meals
            .iter()
            .map(|barcode| &self.meals[barcode])
            .filter(|meal| !free_of_charge(meal))
            .map(|meal| self.prices[&meal.gtin])
            .sum();
        let credit = self.credit.entry(who.clone()).or_default();
        outcome.credit_used_minor = due.min(*credit);
        *credit -= outcome.credit_used_minor;
        outcome.charged_minor = due - outcome.credit_used_minor;
        let held = if self.unraisable.contains(&pan) { self.holds[&session.fridge] } else { i64::MAX };
        outcome.unpaid_minor = (outcome.charged_minor - held).max(0);
        outcome.outcome = match (outcome.charged_minor, outcome.meals.is_empty()) {
            (1.., _) => "charged",
            (_, false) => "free",
            (_, true) => "no_purchase",
        }
        .to_owned();
        let standing = self.standing.entry(who).or_default();
        standing.thefts += u32::try_from(outcome.thefts.len()).unwrap();
        standing.unpaid_minor += outcome.unpaid_minor;
        outcome.customer = customer;
        outcome
    }

    /// Section 2: who is here and with which card he pays, or why the door stays shut.
    fn admit(&self, session: &Session) -> Result<(Option<String>, String), String> {
        let (customer, pan) = match &session.open_with {
            OpenWith::IdToken(token) => {
                let known = self.customers.iter().find(|customer| customer.id_token == *token);
                let customer = known.ok_or("unknown_id_token")?;
                let card = customer.wallet_card.as_ref().ok_or("no_wallet_card")?;
                (Some(customer.customer.clone()), card.pan.clone())
            }
            OpenWith::Card(card) => {
                if !well_formed(&card.pan) {
                    return Err("invalid_card".to_owned());
                }
                if card.expiry.as_str() < NOW_YYMM {
                    return Err("expired_card".to_owned());
                }
                let his = |customer: &&Customer| customer.wallet_card.as_ref().is_some_and(|own| own.pan == card.pan);
                let customer = self.customers.iter().find(his).map(|customer| customer.customer.clone());
                (customer, card.pan.clone())
            }
        };
        let blocked = if customer.is_some() { "customer_blocked" } else { "card_blocked" };
        let standing = self.standing.get(customer.as_ref().unwrap_or(&pan)).cloned().unwrap_or_default();
        if standing.blocked || standing.thefts >= self.blocked_after_thefts {
            return Err(blocked.to_owned());
        }
        if standing.unpaid_minor > 0 {
            return Err("unpaid_balance".to_owned());
        }
        match self.declines.get(&pan) {
            Some(reason) => Err(reason.clone()),
            None => Ok((customer, pan)),
        }
    }

    /// Section 3: what is out of the fridge when the door closes, and what sounded.
    fn basket(&self, session: &Session, customer: Option<&str>) -> Outcome {
        let mut outcome =
            Outcome { session: session.session.clone(), fridge: session.fridge.clone(), ..Outcome::default() };
        let mut touched: BTreeMap<&str, bool> = BTreeMap::new();
        let mut unknown: BTreeSet<&str> = BTreeSet::new();
        for touch in &session.touches {
            let code = touch.barcode.as_str();
            match (touch.kind, self.meals.contains_key(code)) {
                (Kind::Taken, true) => drop(touched.insert(code, true)),
                (Kind::Taken, false) => drop(unknown.insert(code)),
                (Kind::Returned, _) if touched.contains_key(code) => drop(touched.insert(code, false)),
                (Kind::Returned, _) if unknown.remove(code) => {}
                (Kind::Returned, _) => drop(outcome.stray.insert(code.to_owned())),
            }
        }
        outcome.unidentified = unknown.len();
        for (code, kept) in touched {
            let meal = &self.meals[code];
            let unsafe_to_sell = meal.expires_at.as_str() < NOW;
            let anothers = meal.owner.is_some() && meal.owner.as_deref() != customer;
            if unsafe_to_sell || anothers {
                outcome.alarms.insert(code.to_owned());
            }
            match (kept, unsafe_to_sell, anothers) {
                (false, ..) => {}
                (true, true, _) => drop(outcome.not_sellable.insert(code.to_owned())),
                (true, false, stolen) => {
                    outcome.meals.insert(code.to_owned());
                    if stolen {
                        outcome.thefts.insert(code.to_owned());
                    }
                }
            }
        }
        outcome
    }
}

/// 12 to 19 digits whose last one is right.
fn well_formed(pan: &str) -> bool {
    let digits = pan.len() >= 12 && pan.len() <= 19 && pan.bytes().all(|byte| byte.is_ascii_digit());
    let (body, last) = pan.split_at(pan.len().saturating_sub(1));
    digits && last == super::world::check_digit(body, 2).to_string()
}
