//! A house with short waits, visits for the cases of a test, and what must come of those that were played.

use std::path::PathBuf;

use serde_json::Value;
use single_node::layout::Layout;
use single_node::stack::PURCHASE;

use super::books;
use super::fridge::Fridge;
use super::house::{House, eventually};
use super::rules::{Outcome, Rules};
use super::visit::Visits;
use super::world::{Card, Customer, Session};

/// How long a customer waits for the processor here, and one call to it.
const OPEN_BUDGET_MS: u64 = 2_500;
pub(crate) const CALL_MS: u64 = 700;
/// The HSM is opened anew after so many cards.
pub(crate) const RECYCLE_AFTER: usize = 1_000;
/// Each case has a fridge of its own.
pub(crate) const FRIDGES: usize = 20;

/// Visits that take one meal, for each fridge, unless a test wants more.
const TURNS: usize = 3;

/// See the head of this file.
pub(crate) struct Stage {
    pub(crate) house: House,
    rules: Rules,
    pub(crate) outcomes: Vec<Outcome>,
    /// A visit that takes one meal, and one that takes more than the hold, for each fridge.
    small: Vec<Session>,
    pub(crate) large: Vec<Session>,
    /// Somebody with a card in his wallet.
    pub(crate) customer: Customer,
    /// Where purchase-session has its database.
    pub(crate) disk: PathBuf,
    pub(crate) next: usize,
}

impl Stage {
    /// Starts the house; `disk` makes the folder in which purchase-session has its database.
    pub(crate) async fn set(layout: Layout, disk: impl FnOnce(&std::path::Path)) -> Self {
        Self::set_for(TURNS, layout, disk).await
    }

    /// The same, with so many visits that take one meal for each fridge; at least three.
    pub(crate) async fn set_for(turns: usize, layout: Layout, disk: impl FnOnce(&std::path::Path)) -> Self {
        let mut visits = Visits::at(FRIDGES);
        let small = (0..FRIDGES * turns).map(|number| visits.small(number % FRIDGES)).collect();
        let large = (0..FRIDGES).map(|fridge| visits.make(fridge, false)).collect();
        let folder = layout.root().join("small-disk");
        let house = House::empty(layout).await;
        disk(&folder);
        let config = house.stack.layout().config(PURCHASE);
        let text = std::fs::read_to_string(&config).unwrap();
        let database = house.stack.layout().state("purchase-session.sqlite");
        let text = text.replace(&database.display().to_string(), &format!("{}/purchase.sqlite", folder.display()));
        let processor = format!("[processor]\nopen_budget_ms = {OPEN_BUDGET_MS}\ntimeout_ms = {CALL_MS}\n");
        let text = text.replace("[processor]\n", &processor);
        let text = text.replace("[hsm]\n", &format!("[hsm]\nrecycle_after = {RECYCLE_AFTER}\n"));
        std::fs::write(&config, text).unwrap();
        house.kill(PURCHASE).await;
        house.works(PURCHASE).await;
        house.load(&visits.world).await;
        let rules = Rules::of(&visits.world, &[unraisable()]);
        let customer = visits.world.customers.pop().unwrap();
        Self { house, rules, outcomes: Vec::new(), small, large, customer, disk: folder, next: 0 }
    }

    /// A fridge that no case has used, and visits to it.
    pub(crate) fn fridge(&mut self) -> (Fridge, [Session; 3], Session) {
        let number = self.next;
        self.next += 1;
        let small = [0, 1, 2].map(|turn| self.small[turn * FRIDGES + number].clone());
        let large = self.large[number].clone();
        (Fridge::put_up(&self.house, &large.fridge), small, large)
    }

    /// All visits that take one meal at a fridge that no case has used; it is left to the caller to put it up.
    pub(crate) fn visits(&mut self) -> Vec<Session> {
        let number = self.next;
        self.next += 1;
        self.small.iter().skip(number).step_by(FRIDGES).cloned().collect()
    }

    /// Notes that a session was played to its end.
    pub(crate) fn played(&mut self, session: &Session) -> Outcome {
        let outcome = self.rules.judge(session);
        self.outcomes.push(outcome.clone());
        outcome
    }

    /// Notes that a session was refused.
    pub(crate) fn refused(&mut self, session: &Session, reason: &str) {
        self.outcomes.push(Outcome::refused(session, reason));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.house.stack.pid(PURCHASE).unwrap().borrow().expect("it runs")
    }

    pub(crate) async fn payments(&self, session: &Session) -> Vec<(String, i64)> {
        let intents = self.house.stack.control().intents_of(&session.session).await.unwrap();
        let status = |intent: &Value| intent["status"].as_str().unwrap().to_owned();
        intents.iter().map(|intent| (status(intent), intent["amount_received"].as_i64().unwrap())).collect()
    }

    /// What the status service says of a session's payment.
    pub(crate) async fn settlement(&self, session: &Session) -> Option<String> {
        let rows: Vec<Value> = self.house.stack.sessions(std::slice::from_ref(&session.session)).await.ok()?;
        rows.first()?["settlement"].as_str().map(str::to_owned)
    }

    pub(crate) async fn is_settled(&self, session: &Session) {
        eventually("the payment is settled", async || {
            self.settlement(session).await.filter(|settlement| settlement != "pending")
        })
        .await;
    }

    pub(crate) async fn the_books_agree(self) {
        self.house.nothing_held().await;
        for refused in self.outcomes.iter().filter(|outcome| !outcome.admitted()) {
            let intents = self.house.stack.control().intents_of(&refused.session).await.unwrap();
            assert!(intents.iter().all(|intent| intent["status"] != "succeeded"), "{refused:?}: {intents:?}");
        }
        books::agree(&self.house.stack, &self.outcomes, &self.rules).await;
        self.house.end().await;
    }
}

/// A card on which the processor raises no hold.
pub(crate) fn unraisable() -> Card {
    Card::test(5_000)
}
