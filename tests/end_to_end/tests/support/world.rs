//! A world and a day's sessions in the form of `world.json` and `sessions.jsonl`, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many sales types there are, and what they cost, in minor units.
const PRICES: [i64; 8] = [890, 1090, 790, 990, 550, 1290, 450, 850];
/// Cards that this prefix begins are test cards.
const TEST_PREFIX: &str = "424242";
/// The expiry of every good card.
pub(crate) const GOOD_UNTIL: &str = "3012";
/// The expiry of every bad one.
pub(crate) const EXPIRED_SINCE: &str = "2001";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) fridges: Vec<Fridge>,
    pub(crate) meal_types: Vec<MealType>,
    pub(crate) meals: Vec<Meal>,
    pub(crate) customers: Vec<Customer>,
    pub(crate) processor: Processor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) blocked_after_thefts: u32,
    pub(crate) currency: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fridge {
    pub(crate) fridge: String,
    pub(crate) location: Location,
    pub(crate) hold_minor: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Location {
    pub(crate) name: String,
    pub(crate) lat: f64,
    pub(crate) lon: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MealType {
    pub(crate) gtin: String,
    pub(crate) name: String,
    pub(crate) price_minor: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meal {
    pub(crate) barcode: String,
    pub(crate) gtin: String,
    pub(crate) fridge: String,
    pub(crate) expires_at: String,
    pub(crate) owner: Option<String>,
    pub(crate) prepaid: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) customer: String,
    pub(crate) name: String,
    pub(crate) id_token: String,
    pub(crate) wallet_card: Option<Card>,
    pub(crate) credit_minor: i64,
    pub(crate) subscription: Option<String>,
    pub(crate) expert: Option<String>,
    pub(crate) referral_code: Option<String>,
    pub(crate) blocked: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) pan: String,
    pub(crate) expiry: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Processor {
    pub(crate) declines: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) session: String,
    pub(crate) at: String,
    pub(crate) fridge: String,
    pub(crate) open_with: OpenWith,
    pub(crate) touches: Vec<Touch>,
    pub(crate) close_at_ms: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpenWith {
    Card(Card),
    IdToken(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Touch {
    pub(crate) at_ms: u64,
    pub(crate) kind: Kind,
    pub(crate) barcode: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Taken,
    Returned,
}

impl Card {
    /// The `number`th test card, good for years.
    pub(crate) fn test(number: usize) -> Self {
        let body = format!("{TEST_PREFIX}{number:09}");
        let check = check_digit(&body, 2);
        Self { pan: format!("{body}{check}"), expiry: GOOD_UNTIL.to_owned() }
    }

    /// The same with a digit misread.
    pub(crate) fn misread(mut self) -> Self {
        let last = self.pan.pop().and_then(|digit| digit.to_digit(10)).unwrap();
        self.pan = format!("{}{}", self.pan, (last + 1) % 10);
        self
    }

    /// The same, long expired.
    pub(crate) fn expired(self) -> Self {
        Self { expiry: EXPIRED_SINCE.to_owned(), ..self }
    }
}

/// The digit that makes the sum come out even: doubling every second digit is a card's (Luhn), tripling a GTIN's.
pub(crate) fn check_digit(body: &str, factor: u32) -> u32 {
    let weighed = |(place, digit): (usize, char)| {
        let digit = digit.to_digit(10).unwrap();
        let product = if place % 2 == 0 { digit * factor } else { digit };
        if factor == 2 && product > 9 { product - 9 } else { product }
    };
    let sum: u32 = body.chars().rev().enumerate().map(weighed).sum();
    (10 - sum % 10) % 10
}

impl World {
    /// Fridges with a list of what is sold in them, and nothing in them yet.
    pub(crate) fn with_fridges(holds_minor: &[i64]) -> Self {
        let fridge = |(number, hold_minor): (usize, &i64)| Fridge {
            fridge: format!("FR-{number:04}"),
            location: Location { name: format!("Site {number}"), lat: 42.3, lon: -83.0 },
            hold_minor: *hold_minor,
        };
        let meal_type = |(number, price_minor): (usize, &i64)| {
            let body = format!("0950600013{number:03}");
            let gtin = format!("{body}{}", check_digit(&body, 3));
            MealType { gtin, name: format!("Meal {number}"), price_minor: *price_minor }
        };
        Self {
            policy: Policy { blocked_after_thefts: 2, currency: "USD".to_owned() },
            fridges: holds_minor.iter().enumerate().map(fridge).collect(),
            meal_types: PRICES.iter().enumerate().map(meal_type).collect(),
            meals: Vec::new(),
            customers: Vec::new(),
            processor: Processor::default(),
        }
    }

    /// Puts a meal of the `kind`th type into a fridge; its barcode.
    pub(crate) fn put(&mut self, fridge: &str, kind: usize, owner: Option<&str>, prepaid: bool) -> String {
        let gtin = self.meal_types[kind % self.meal_types.len()].gtin.clone();
        let barcode = format!("(01){gtin}(21)M{:06}", self.meals.len());
        self.meals.push(Meal {
            barcode: barcode.clone(),
            gtin,
            fridge: fridge.to_owned(),
            expires_at: "2035-01-01T00:00:00Z".to_owned(),
            owner: owner.map(str::to_owned),
            prepaid,
        });
        barcode
    }

    /// Adds a customer with a wallet card, the `number`th test card.
    pub(crate) fn enrol(&mut self, number: usize, credit_minor: i64) -> String {
        let customer = format!("CU-{number:05}");
        self.customers.push(Customer {
            customer: customer.clone(),
            name: format!("Customer {number}"),
            id_token: format!("idt-{number:05}-of-the-house"),
            wallet_card: Some(Card::test(number)),
            credit_minor,
            subscription: Some(format!("SU-{number:05}")),
            expert: number.is_multiple_of(3).then(|| format!("EX-{:02}", number % 5)),
            referral_code: None,
            blocked: false,
        });
        customer
    }

    pub(crate) fn customer(&self, id: &str) -> &Customer {
        self.customers.iter().find(|customer| customer.customer == id).unwrap()
    }
}
