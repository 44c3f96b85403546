//! The world that is traded in: many fridges, so that each case has one to itself, with a few meals each, all at one
//! price; and few customers.

use single_node::Fault;
use single_node::world::{Card, Customer as WorldCustomer, Fridge, Location, Meal, MealType, Policy, Processor, World};

/// What every meal costs.
pub const PRICE_MINOR: i64 = 500;
/// What is held before a door opens: five meals.
const HOLD_MINOR: i64 = 2_500;
/// Fridges of the world.
const FRIDGES: usize = 96;
/// Meals of nobody in each fridge.
const FREE_FOR_ALL: usize = 8;
/// The one meal type.
const GTIN: &str = "09506000130019";

/// A customer of the world.
#[derive(Debug, Clone, Copy)]
pub struct Customer {
    /// His id.
    pub id: &'static str,
    /// What he shows.
    pub id_token: &'static str,
    /// His wallet's card, if he has one.
    pub card: Option<(&'static str, &'static str)>,
}

/// Owns the meals that others must not take.
pub const OWNER: Customer =
    Customer { id: "CU-OWNER", id_token: "idt-owner-5f2c9b7e", card: Some(("4242424242424242", "3012")) };
/// Buys with an ID token or with the card of his wallet.
pub const BUYER: Customer =
    Customer { id: "CU-BUYER", id_token: "idt-buyer-91ce0a63", card: Some(("5555555555554444", "3011")) };
/// Has no card in his wallet.
pub const BARE: Customer = Customer { id: "CU-BARE", id_token: "idt-bare-c07d3e88", card: None };

/// Number and expiry of a card that is in nobody's wallet.
pub const STRANGER: (&str, &str) = ("4111111111111111", "3012");
/// Another one.
pub const STRANGER_TOO: (&str, &str) = ("5105105105105100", "3012");

/// One fridge and what is in it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The fridge.
    pub fridge: String,
    /// Meals of nobody.
    pub meals: Vec<String>,
    /// A meal of [`OWNER`], not prepaid.
    pub others: String,
}

impl Place {
    fn new(number: usize) -> Self {
        let meal = |serial: usize| format!("(01){GTIN}(21)E{number:03}S{serial:02}");
        Self {
            fridge: format!("FR-E{number:03}"),
            meals: (0..FREE_FOR_ALL).map(meal).collect(),
            others: meal(FREE_FOR_ALL),
        }
    }

    fn placed(&self) -> impl Iterator<Item = Meal> {
        let free = self.meals.iter().map(|barcode| (barcode.clone(), None));
        let owned = [(self.others.clone(), Some(OWNER.id.to_owned()))];
        free.chain(owned).map(|(barcode, owner)| Meal {
            barcode,
            gtin: GTIN.to_owned(),
            fridge: self.fridge.clone(),
            expires_at: "2031-01-01T00:00:00Z".to_owned(),
            owner,
            prepaid: false,
        })
    }
}

/// The fridges of the world, in order.
pub(crate) fn places() -> Vec<Place> {
    (0..FRIDGES).map(Place::new).collect()
}

/// The world. Thefts block nobody, so that cases do not disturb each other.
pub(crate) fn world(places: &[Place]) -> World {
    World {
        policy: Policy { blocked_after_thefts: 1_000, currency: "USD".to_owned() },
        fridges: places.iter().map(|place| fridge(&place.fridge)).collect(),
        meal_types: vec![MealType { gtin: GTIN.to_owned(), name: "Lentil curry".to_owned(), price_minor: PRICE_MINOR }],
        meals: places.iter().flat_map(Place::placed).collect(),
        customers: [OWNER, BUYER, BARE].iter().map(customer).collect(),
        processor: Processor::default(),
    }
}

fn fridge(name: &str) -> Fridge {
    let location = Location { name: "A test".to_owned(), lat: 42.3, lon: -83.0 };
    Fridge { fridge: name.to_owned(), location, hold_minor: HOLD_MINOR }
}

fn customer(customer: &Customer) -> WorldCustomer {
    WorldCustomer {
        customer: customer.id.to_owned(),
        name: customer.id.to_owned(),
        id_token: customer.id_token.to_owned(),
        wallet_card: customer.card.map(|(pan, expiry)| Card::new(pan, expiry)),
        credit_minor: 0,
        subscription: None,
        expert: None,
        referral_code: None,
        blocked: false,
    }
}

/// No place is left for another case.
pub(crate) fn sold_out() -> Fault {
    Fault::new(format!("all {FRIDGES} fridges are in use; a test with more cases needs a larger world"))
}
