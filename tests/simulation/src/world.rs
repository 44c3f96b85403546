//! The world that is simulated: meals, people, and what a meal costs whom, by an account of its own.

use std::collections::BTreeSet;

use pci_contract::{
    Brand, CardRef, Currency, CustomerId, FridgeId, LastFour, MealId, Money, ScannedCode, SessionId, Timestamp, Token,
};
use pci_session::{FridgeFacts, MealFacts, Policy};

use crate::outcome::Failure;

/// A fridge by its number.
pub(crate) type FridgeNo = u8;
/// A meal by its serial number.
pub(crate) type MealNo = u32;

pub(crate) const FRIDGES: [FridgeNo; 2] = [1, 2];
pub(crate) const HOLD_MINOR: i64 = 2500;
pub(crate) const OPEN_LIMIT_S: u32 = 60;
/// Meals of each fridge.
const MEALS: MealNo = 60;
/// Serials from here on are in no list.
pub(crate) const UNKNOWN: MealNo = 9_000;

/// Who stands before a fridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Visitor {
    /// Somebody with this card.
    Anonymous(u8),
    /// This customer, by ID token.
    Subscriber(u8),
    /// Somebody with a token that nobody knows.
    Stranger,
}

pub(crate) const VISITORS: [Visitor; 12] = [
    Visitor::Anonymous(21),
    Visitor::Anonymous(22),
    Visitor::Anonymous(23),
    Visitor::Anonymous(24),
    Visitor::Anonymous(25),
    Visitor::Subscriber(1),
    Visitor::Subscriber(2),
    Visitor::Subscriber(3),
    Visitor::Subscriber(4),
    Visitor::Subscriber(5),
    Visitor::Subscriber(6),
    Visitor::Stranger,
];

/// What a fridge reports after its Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Opened,
    Taken(MealNo),
    Returned(MealNo),
    Closed,
    StayedShut,
}

pub(crate) const fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub(crate) const fn at(now_s: i64) -> Timestamp {
    Timestamp::from_micros(now_s.saturating_mul(1_000_000))
}

fn broken(what: &str) -> Failure {
    Failure::new(format!("the simulated world is broken: {what}"))
}

pub(crate) fn fridge_id(fridge: FridgeNo) -> Result<FridgeId, Failure> {
    FridgeId::parse(&format!("FR-{fridge:04}")).map_err(|_| broken("fridge"))
}

pub(crate) fn session_id(fridge: FridgeNo, count: u32) -> Result<SessionId, Failure> {
    SessionId::parse(&format!("{count:08x}-0000-7000-8000-{fridge:012x}")).map_err(|_| broken("session"))
}

pub(crate) fn meal_id(meal: MealNo) -> Result<MealId, Failure> {
    MealId::parse(&format!("(01)09500000000198(21){meal:06}")).map_err(|_| broken("meal"))
}

pub(crate) fn customer_id(customer: u8) -> Result<CustomerId, Failure> {
    CustomerId::parse(&format!("CU-{customer}")).map_err(|_| broken("customer"))
}

pub(crate) fn card(number: u8) -> Result<CardRef, Failure> {
    let last_four = LastFour::parse("4242").map_err(|_| broken("card"))?;
    Ok(CardRef { token: Token::from_mac(1, [number; 16]), brand: Brand::Visa, last_four })
}

pub(crate) const fn policy() -> Policy {
    Policy { blocked_after_thefts: 3, currency: Currency::USD }
}

pub(crate) const fn fridge_facts() -> FridgeFacts {
    FridgeFacts {
        enrolled: true,
        in_service: true,
        locked: false,
        busy: false,
        hold: usd(HOLD_MINOR),
        open_limit_s: OPEN_LIMIT_S,
        price_revision: 1,
    }
}

/// What a customer may spend in all.
pub(crate) const fn credit_minor(customer: u8) -> i64 {
    match customer % 3 {
        0 => 0,
        1 => 700,
        _ => 4_000,
    }
}

pub(crate) fn stock(fridge: FridgeNo) -> BTreeSet<MealNo> {
    (0..MEALS).map(|meal| u32::from(fridge) * 1_000 + meal).collect()
}

/// Whose a meal is.
const fn owner(meal: MealNo) -> Option<u8> {
    match meal % 5 {
        0 => Some(1),
        1 if meal.is_multiple_of(2) => Some(2),
        _ => None,
    }
}

const fn prepaid(meal: MealNo) -> bool {
    meal.is_multiple_of(3)
}

const fn sellable(meal: MealNo) -> bool {
    !meal.is_multiple_of(11)
}

const fn price_minor(meal: MealNo) -> i64 {
    390 + (meal % 7) as i64 * 170
}

const fn is_known(meal: MealNo) -> bool {
    meal < UNKNOWN
}

/// What the reference tables say of a meal.
pub(crate) fn facts(meal: MealNo) -> Result<Option<MealFacts>, Failure> {
    if !is_known(meal) {
        return Ok(None);
    }
    Ok(Some(MealFacts {
        price: usd(price_minor(meal)),
        owner: owner(meal).map(customer_id).transpose()?,
        owner_subscription: None,
        prepaid: prepaid(meal),
        sellable: sellable(meal),
    }))
}

/// What really happened, by the journal of a fridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) due_minor: i64,
    pub(crate) sold: Vec<MealId>,
    pub(crate) stolen: Vec<MealId>,
    pub(crate) alarms: Vec<MealId>,
    pub(crate) stray: Vec<MealId>,
    pub(crate) unidentified: Vec<ScannedCode>,
    pub(crate) not_sellable: Vec<MealId>,
}

/// Reads a journal as a person would: who holds what in the end, and what it costs him.
pub(crate) fn truth(reports: &[Report], visitor: Visitor) -> Result<Truth, Failure> {
    let me = match visitor {
        Visitor::Subscriber(customer) => Some(customer),
        Visitor::Anonymous(_) | Visitor::Stranger => None,
    };
    let is_anothers = |meal: MealNo| owner(meal).is_some() && owner(meal) != me;
    let (mut held, mut touched, mut stray) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for report in reports {
        match *report {
            Report::Taken(meal) => {
                held.insert(meal);
                touched.insert(meal);
            }
            Report::Returned(meal) if !touched.contains(&meal) => drop(stray.insert(meal)),
            Report::Returned(meal) => drop(held.remove(&meal)),
            Report::Opened | Report::Closed | Report::StayedShut => {}
        }
    }
    let mut truth = Truth { stray: ids(stray)?, ..Truth::default() };
    for meal in touched.into_iter().filter(|meal| is_known(*meal)) {
        if is_anothers(meal) || !sellable(meal) {
            truth.alarms.push(meal_id(meal)?);
        }
    }
    for meal in held {
        let id = meal_id(meal)?;
        if !is_known(meal) {
            truth.unidentified.push(ScannedCode::Meal(id));
        } else if !sellable(meal) {
            truth.not_sellable.push(id);
        } else {
            let mine_already = owner(meal).is_some() && owner(meal) == me && prepaid(meal);
            truth.due_minor += if mine_already { 0 } else { price_minor(meal) };
            if is_anothers(meal) {
                truth.stolen.push(id.clone());
            }
            truth.sold.push(id);
        }
    }
    Ok(truth)
}

fn ids(meals: BTreeSet<MealNo>) -> Result<Vec<MealId>, Failure> {
    meals.into_iter().map(meal_id).collect()
}
