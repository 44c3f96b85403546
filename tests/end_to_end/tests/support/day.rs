//! A day of trade made by chance: who comes to which fridge, how he shows himself, what he takes and puts back.
//!
//! It plays the rules along, because what somebody can take depends on what those before him left. Everything that the
//! rules know happens in it; [`Day::make`] fails if a seed leaves a case out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::chance::Chance;
use super::rules::{Outcome, Rules};
use super::world::{Card, GOOD_UNTIL, Kind, OpenWith, Session, Touch, World};

/// What each fridge holds on a card; the small ones make most baskets raise the hold.
const HOLDS_MINOR: [i64; 6] = [2_500, 2_500, 2_500, 1_000, 2_500, 700];
const CUSTOMERS: usize = 24;
/// Test cards from this number on are in nobody's wallet.
const STRANGERS: std::ops::Range<usize> = 1_000..1_040;
/// Of these, the last ones cannot be charged beyond the hold, or are declined.
const UNRAISABLE: std::ops::Range<usize> = 1_032..1_036;
const DECLINED: std::ops::Range<usize> = 1_036..1_040;

/// A day, and what must come of it.
pub(crate) struct Day {
    pub(crate) world: World,
    pub(crate) sessions: Vec<Session>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) rules: Rules,
    /// Cards for which the processor raises no hold.
    pub(crate) unraisable: Vec<Card>,
}

/// A day in the making.
struct Maker {
    chance: Chance,
    /// What is in each fridge still.
    inside: BTreeMap<String, Vec<String>>,
    unknown_codes: usize,
}

impl Day {
    /// A day of so many sessions.
    pub(crate) fn make(seed: u64, sessions: usize) -> Self {
        let mut chance = Chance::new(seed);
        let world = furnish(&mut chance, sessions);
        let unraisable: Vec<Card> = UNRAISABLE.map(Card::test).collect();
        let mut rules = Rules::of(&world, &unraisable);
        let mut inside: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for meal in &world.meals {
            inside.entry(meal.fridge.clone()).or_default().push(meal.barcode.clone());
        }
        let mut maker = Maker { chance, inside, unknown_codes: 0 };
        let (mut played, mut outcomes) = (Vec::new(), Vec::new());
        for number in 0..sessions {
            let session = maker.session(&world, number);
            let outcome = rules.judge(&session);
            for gone in outcome.gone() {
                maker.inside.get_mut(&session.fridge).unwrap().retain(|code| code != gone);
            }
            outcomes.push(outcome);
            played.push(session);
        }
        let day = Self { world, sessions: played, outcomes, rules, unraisable };
        day.leaves_nothing_out();
        day
    }

    /// Writes `world.json` and `sessions.jsonl`.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(folder.join("world.json"), serde_json::to_vec(&self.world).unwrap()).unwrap();
        let mut lines = BufWriter::new(File::create(folder.join("sessions.jsonl")).unwrap());
        for session in &self.sessions {
            writeln!(lines, "{}", serde_json::to_string(session).unwrap()).unwrap();
        }
        lines.flush().unwrap();
    }

    /// In the form of `expected-totals.json`.
    pub(crate) fn totals(&self) -> Value {
        let sum = |of: fn(&Outcome) -> i64| self.outcomes.iter().map(of).sum::<i64>();
        let count = |of: fn(&Outcome) -> usize| self.outcomes.iter().map(of).sum::<usize>();
        let mut stock_left: BTreeMap<&str, usize> = self.world.fridges.iter().map(|f| (f.fridge.as_str(), 0)).collect();
        let gone: BTreeSet<&String> = self.outcomes.iter().flat_map(Outcome::gone).collect();
        for meal in self.world.meals.iter().filter(|meal| !gone.contains(&meal.barcode)) {
            *stock_left.get_mut(meal.fridge.as_str()).unwrap() += 1;
        }
        json!({
            "sessions": self.outcomes.len(),
            "refused": count(|outcome| usize::from(!outcome.admitted())),
            "charged_sessions": count(|outcome| usize::from(outcome.charged_minor > 0)),
            "charged_minor": sum(|outcome| outcome.charged_minor),
            "thefts": count(|outcome| outcome.thefts.len()),
            "alarms": count(|outcome| outcome.alarms.len()),
            "meals_sold": count(|outcome| outcome.meals.len()),
            "credit_used_minor": sum(|outcome| outcome.credit_used_minor),
            "stock_left": stock_left,
        })
    }

    /// Every way a session can end must be in the day, or the day proves less than it says.
    fn leaves_nothing_out(&self) {
        let ends: BTreeSet<&str> =
            self.outcomes.iter().map(|outcome| outcome.reason.as_deref().unwrap_or(&outcome.outcome)).collect();
        for end in [
            "charged",
            "free",
            "no_purchase",
            "unknown_id_token",
            "invalid_card",
            "expired_card",
            "customer_blocked",
            "card_blocked",
            "unpaid_balance",
            "card_declined",
            "insufficient_funds",
        ] {
            assert!(ends.contains(end), "no session of this day ends with {end}: {ends:?}");
        }
        let some = |what: &str, of: fn(&Outcome) -> bool| {
            assert!(self.outcomes.iter().any(of), "no session of this day has {what}");
        };
        some("credit", |outcome| outcome.credit_used_minor > 0);
        some("a known thief", |outcome| outcome.customer.is_some() && !outcome.thefts.is_empty());
        some("an unknown thief", |outcome| outcome.customer.is_none() && !outcome.thefts.is_empty());
        some("an alarm that was heeded", |outcome| outcome.alarms.len() > outcome.thefts.len());
        some("something unidentified", |outcome| outcome.unidentified > 0);
        some("a stray return", |outcome| !outcome.stray.is_empty());
        some("an unsafe meal", |outcome| !outcome.not_sellable.is_empty());
        some("an unpaid rest", |outcome| outcome.unpaid_minor > 0);
        some("a basket beyond the hold", |outcome| outcome.captured_minor() > 2_500);
    }
}

/// Everything lines up: fridges, customers, meals for about as many sessions.
fn furnish(chance: &mut Chance, sessions: usize) -> World {
    let mut world = World::with_fridges(&HOLDS_MINOR);
    for number in 0..CUSTOMERS {
        let credit_minor = if chance.percent(40) { 300 + 100 * i64::try_from(chance.below(20)).unwrap() } else { 0 };
        world.enrol(number, credit_minor);
    }
    world.customers[CUSTOMERS - 1].blocked = true;
    for (place, card) in DECLINED.map(Card::test).enumerate() {
        let reason = ["card_declined", "insufficient_funds"][place % 2];
        world.processor.declines.insert(card.pan, reason.to_owned());
    }
    let fridges: Vec<String> = world.fridges.iter().map(|fridge| fridge.fridge.clone()).collect();
    for number in 0..sessions * 2 {
        let fridge = &fridges[number % fridges.len()];
        let owner = chance.percent(25).then(|| format!("CU-{:05}", chance.below(CUSTOMERS)));
        let prepaid = owner.is_some() && chance.percent(50);
        world.put(fridge, chance.below(8), owner.as_deref(), prepaid);
        if chance.percent(3) {
            world.meals.last_mut().unwrap().expires_at = "2025-06-01T00:00:00Z".to_owned();
        }
    }
    world
}

impl Maker {
    fn session(&mut self, world: &World, number: usize) -> Session {
        let fridge = self.chance.pick(&world.fridges).fridge.clone();
        let open_with = self.shown(world);
        let customer = world.customers.iter().find(|customer| match &open_with {
            OpenWith::IdToken(token) => customer.id_token == *token,
            OpenWith::Card(card) => customer.wallet_card.as_ref().is_some_and(|own| own.pan == card.pan),
        });
        let touches = self.touches(world, &fridge, customer.map(|customer| customer.customer.as_str()));
        let (minute, second) = (number / 60, number % 60);
        Session {
            session: self.id(),
            at: format!("2026-03-02T{:02}:{:02}:{second:02}Z", 6 + minute / 60, minute % 60),
            fridge,
            open_with,
            close_at_ms: touches.last().map_or(1_000, |touch| touch.at_ms) + 1_000,
            touches,
        }
    }

    fn id(&mut self) -> String {
        let bytes = (u128::from(self.chance.next()) << 64) | u128::from(self.chance.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string()
    }

    fn shown(&mut self, world: &World) -> OpenWith {
        let stranger = STRANGERS.start + self.chance.below(STRANGERS.len());
        match self.chance.below(100) {
            0..30 => OpenWith::IdToken(self.chance.pick(&world.customers).id_token.clone()),
            30..50 => OpenWith::Card(self.chance.pick(&world.customers).wallet_card.clone().unwrap()),
            50..53 => OpenWith::IdToken(format!("idt-nobody-{stranger}")),
            53..56 => OpenWith::Card(Card::test(stranger).misread()),
            56..58 => OpenWith::Card(Card::test(stranger).expired()),
            _ => OpenWith::Card(Card { expiry: GOOD_UNTIL.to_owned(), ..Card::test(stranger) }),
        }
    }

    fn touches(&mut self, world: &World, fridge: &str, customer: Option<&str>) -> Vec<Touch> {
        let mut touches = Vec::new();
        for _ in 0..[0, 1, 1, 2, 2, 3, 4, 6][self.chance.below(8)] {
            self.touch(world, fridge, customer, &mut touches);
        }
        touches
    }

    /// One thing that somebody does, and perhaps takes back at once or later.
    fn touch(&mut self, world: &World, fridge: &str, customer: Option<&str>, touches: &mut Vec<Touch>) {
        let inside = self.inside[fridge].clone();
        let owner = |code: &String| world.meals.iter().find(|meal| meal.barcode == *code).unwrap().owner.as_deref();
        let mut add = |kind, barcode: &str| {
            let at_ms = 1_500 + 900 * u64::try_from(touches.len()).unwrap();
            touches.push(Touch { at_ms, kind, barcode: barcode.to_owned() });
        };
        if self.chance.percent(3) {
            self.unknown_codes += 1;
            let gtin = &self.chance.pick(&world.meal_types).gtin;
            return add(Kind::Taken, &format!("(01){gtin}(21)X{:06}", self.unknown_codes));
        }
        let anothers = self.chance.percent(12);
        let wanted: Vec<&String> = inside
            .iter()
            .filter(|code| match owner(code) {
                None => !anothers,
                Some(owner) => (Some(owner) != customer) == anothers,
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        let code = *self.chance.pick(&wanted);
        if self.chance.percent(3) {
            return add(Kind::Returned, code);
        }
        add(Kind::Taken, code);
        if self.chance.percent(if anothers { 60 } else { 12 }) {
            add(Kind::Returned, code);
            if self.chance.percent(15) {
                add(Kind::Taken, code);
            }
        }
    }
}
