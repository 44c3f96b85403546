//! The stories: what is done in front of the fridge, and what is then read from each part of the system.

use std::time::Duration;

use fridge_agent::core::{Receipt, TouchKind};
use fridge_agent::{Agent, AgentConfig, AgentHandle, Controls, Seen, SimulatedFridge};
use fridge_identity::Certified;
use pci_contract::{Money, SessionId};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::screen::{Screen, Voice};
use crate::Fault;
use crate::stack::Stack;
use crate::world::{Card, Customer, Meal, World};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the world outside may take to book a session.
const BOOKED_WITHIN: Duration = Duration::from_secs(30);

/// Cards that nobody's wallet holds, and why they are here. Published test numbers.
pub(super) const STRANGER: (&str, &str) = ("4111111111111111", "3012");
const THIEF: (&str, &str) = ("5105105105105100", "3012");
const DECLINED: (&str, &str) = ("4000000000000002", "3012");
const POOR: (&str, &str) = ("4000000000009995", "3012");
const MISREAD: (&str, &str) = ("4111111111111112", "3012");
const EXPIRED: (&str, &str) = ("4012888888881881", "2001");

/// Every card number the stories use.
pub(super) fn cards_used(world: &World) -> Vec<Zeroizing<Vec<u8>>> {
    let strangers = [STRANGER, THIEF, DECLINED, POOR, MISREAD, EXPIRED].map(|(pan, expiry)| Card::new(pan, expiry));
    let wallets = world.customers.iter().filter_map(|customer| customer.wallet_card.clone());
    let digits = |card: Card| {
        let track = card.track2();
        let digits = track.split(|byte| *byte == b'=').next().unwrap_or_default();
        Zeroizing::new(digits.to_vec())
    };
    strangers.into_iter().chain(wallets).map(digits).collect()
}

/// Who is in front of the fridge.
pub(super) enum Shown<'a> {
    Card(Card),
    IdToken(&'a str),
}

/// The fridge the stories are played at.
pub(super) struct Stage<'a> {
    stack: &'a Stack,
    world: &'a World,
    screen: &'a Screen,
    fridge: &'a str,
    controls: Controls,
    /// None only while it is being started again.
    agent: Option<AgentHandle>,
    /// What keeps its certificate.
    certified: Certified,
    taken: std::cell::RefCell<Vec<String>>,
}

impl<'a> Stage<'a> {
    /// Puts up a fridge of the world that has a certificate.
    pub(super) fn at(
        stack: &'a Stack,
        world: &'a World,
        screen: &'a Screen,
        fridge: &'a str,
        (config, certified): (AgentConfig, Certified),
    ) -> Result<Self, Fault> {
        let (hardware, controls) = SimulatedFridge::new();
        let agent = Some(Agent::start(config, hardware).map_err(Fault::of("an agent"))?);
        Ok(Self { stack, world, screen, fridge, controls, agent, certified, taken: std::cell::RefCell::default() })
    }

    /// Its name.
    pub(super) const fn fridge(&self) -> &'a str {
        self.fridge
    }

    /// Stops its agent, in the middle of whatever it does.
    pub(super) async fn stop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
    }

    /// Starts its agent again, with another certificate, on the journal it had.
    pub(super) fn restart(&mut self, (config, certified): (AgentConfig, Certified)) -> Result<(), Fault> {
        self.certified = certified;
        self.agent = Some(Agent::start(config, self.controls.reboot()).map_err(Fault::of("an agent"))?);
        Ok(())
    }

    /// Takes it down.
    pub(super) async fn close(self) {
        if let Some(agent) = self.agent {
            agent.stop().await;
        }
    }

    /// All stories, then the refusals.
    pub(super) async fn tell(&self) -> Result<(), Fault> {
        let (ada, grace) = (self.customer("CU-ADA")?, self.customer("CU-GRACE")?);
        let alan = self.customer("CU-ALAN")?;
        let curry = self.free_for_all("Lentil curry")?;
        let oats = self.free_for_all("Overnight oats")?;

        self.screen.title("1  An anonymous customer swipes a card");
        let session = self.arrive(Shown::Card(stranger(STRANGER)), "a card is swiped").await?;
        self.take(&[&curry, &oats]).await;
        self.leave(session).await?;

        self.screen.title("2  A subscriber swipes a card of his wallet");
        let card = grace.wallet_card.clone().ok_or_else(|| Fault::new("Grace has no card".to_owned()))?;
        let session = self.arrive(Shown::Card(card), "Grace swipes the card of her wallet").await?;
        let (own, more) = (self.meal_of(grace, true)?, self.free_for_all("Berry yoghurt")?);
        self.take(&[&own, &more]).await;
        self.leave(session).await?;
        self.screen
            .say(Voice::Outside, "Grace was known by the token alone; her credit paid first, her prepaid meal cost 0")
            .await;

        self.screen.title("3  A subscriber shows an ID token");
        let session = self.arrive(Shown::IdToken(&ada.id_token), "Ada shows her ID token, no card").await?;
        let own = self.meal_of(ada, false)?;
        self.take(&[&own]).await;
        self.leave(session).await?;

        self.screen.title("4  An anonymous customer takes a subscription meal");
        let session = self.arrive(Shown::Card(stranger(THIEF)), "a card is swiped").await?;
        let others = self.meal_of(alan, true)?;
        self.take_anothers(&others).await?;
        self.put_back(&others).await?;
        self.leave(session).await?;
        self.screen.text("Again, and this time it is kept:");
        let session = self.arrive(Shown::Card(stranger(THIEF)), "the same card is swiped").await?;
        self.take_anothers(&others).await?;
        self.leave(session).await?;
        self.thefts("against the card's token, since nobody is known").await?;

        self.screen.title("5  A subscriber takes another's meal");
        let session = self.arrive(Shown::IdToken(&alan.id_token), "Alan shows his ID token").await?;
        let others = self.meal_of(ada, true)?;
        self.take_anothers(&others).await?;
        self.leave(session).await?;
        self.thefts("on Alan's own record").await?;

        self.screen.title("The door stays shut");
        self.refusals().await
    }

    async fn refusals(&self) -> Result<(), Fault> {
        let mallory = self.customer("CU-MALLORY")?.id_token.clone();
        let asked = [
            ("an ID token that nobody issued", Shown::IdToken("idt-nobody-000000000000"), "unknown_id_token"),
            ("a card that was misread", Shown::Card(stranger(MISREAD)), "invalid_card"),
            ("a card long expired", Shown::Card(stranger(EXPIRED)), "expired_card"),
            ("a customer whom an operator blocked", Shown::IdToken(&mallory), "customer_blocked"),
            ("a card the processor declines", Shown::Card(stranger(DECLINED)), "card_declined"),
            ("an account that holds too little", Shown::Card(stranger(POOR)), "insufficient_funds"),
        ];
        for (who, shown, expected) in asked {
            let (_, seen) = self.show(shown).await?;
            let Seen::Refused { reason, .. } = seen else {
                return Err(Fault::new(format!("{who} was let in")));
            };
            if reason.as_str() != expected {
                return Err(Fault::new(format!("{who} was refused for {reason}, not for {expected}")));
            }
            self.screen.say(Voice::Fridge, &format!("{who:<38} {reason}")).await;
        }
        Ok(())
    }

    /// Somebody comes, and the door unlocks.
    pub(super) async fn arrive(&self, shown: Shown<'_>, what: &str) -> Result<SessionId, Fault> {
        let sealed = matches!(shown, Shown::Card(_));
        self.screen.say(Voice::Fridge, what).await;
        if sealed {
            self.screen
                .say(Voice::Fridge, "the reader seals it to the HSM's key, for this fridge and this session")
                .await;
        }
        let (session, seen) = self.show(shown).await?;
        let Seen::Unlocked { unlock, .. } = seen else {
            return Err(Fault::new(format!("{what}: the door stayed shut")));
        };
        let opened =
            if sealed { "opened in the HSM and made a token; " } else { "the wallet's default card, by its token; " };
        self.screen
            .say(Voice::Pci, &format!("{opened}{} held at the processor before the door opens", money(unlock.hold)))
            .await;
        for own in &unlock.own_meals {
            let paid = if own.prepaid { ", prepaid" } else { "" };
            let sign = if own.sign.is_empty() { String::new() } else { format!(" ({})", own.sign) };
            self.screen.say(Voice::Fridge, &format!("display: your {}{sign}{paid}", own.name)).await;
        }
        self.controls.open_door().await;
        self.screen.say(Voice::Fridge, "unlocked; the door opens").await;
        Ok(session)
    }

    async fn show(&self, shown: Shown<'_>) -> Result<(SessionId, Seen), Fault> {
        match shown {
            Shown::Card(card) => self.controls.swipe(card.track2(), None).await,
            Shown::IdToken(token) => self.controls.show_id_token(token, None).await,
        }
        loop {
            let seen = self.seen().await?;
            match &seen {
                Seen::Unlocked { session, .. } | Seen::Refused { session, .. } => return Ok((*session, seen)),
                _ => {}
            }
        }
    }

    async fn seen(&self) -> Result<Seen, Fault> {
        match tokio::time::timeout(ANSWER_WITHIN, self.controls.next_seen()).await {
            Ok(Some(seen)) => Ok(seen),
            _ => Err(Fault::new("the fridge was given no answer".to_owned())),
        }
    }

    pub(super) async fn take(&self, meals: &[&Meal]) {
        for meal in meals {
            self.controls.touch(TouchKind::Taken, &meal.barcode).await;
            self.taken.borrow_mut().push(meal.barcode.clone());
            self.screen.say(Voice::Fridge, &format!("takes {}", self.name(meal))).await;
        }
    }

    async fn take_anothers(&self, meal: &Meal) -> Result<(), Fault> {
        self.controls.touch(TouchKind::Taken, &meal.barcode).await;
        let began = Instant::now();
        while !matches!(self.seen().await?, Seen::Alarm { .. }) {}
        let alarm =
            format!("takes {}, which is another's: ALARM after {} ms", self.name(meal), began.elapsed().as_millis());
        self.screen.say(Voice::Fridge, &alarm).await;
        Ok(())
    }

    async fn put_back(&self, meal: &Meal) -> Result<(), Fault> {
        self.controls.touch(TouchKind::Returned, &meal.barcode).await;
        while !matches!(self.seen().await?, Seen::AlarmCleared { .. }) {}
        self.screen.say(Voice::Fridge, "puts it back: silence").await;
        Ok(())
    }

    /// The door closes; what came of it is shown from all sides.
    pub(super) async fn leave(&self, session: SessionId) -> Result<(), Fault> {
        self.controls.close_door().await;
        let receipt = loop {
            if let Seen::Receipt { receipt, .. } = self.seen().await? {
                break receipt;
            }
        };
        self.screen.say(Voice::Fridge, &format!("the door closes; receipt: {}", receipt_text(&receipt))).await;
        let booked = self.booked(session).await?;
        let settlement = booked.get("settlement").and_then(Value::as_str).unwrap_or("?");
        let intents = self.stack.control().intents_of(&session.to_string()).await?;
        let settled = match intents.first() {
            Some(intent) => format!(
                "{settlement}: the processor's own books say {} of {} taken",
                cents(intent.get("amount_received")),
                cents(intent.get("amount"))
            ),
            None => settlement.to_owned(),
        };
        self.screen.say(Voice::Pci, &settled).await;
        let meals = booked.get("meals").and_then(Value::as_array).map_or(0, Vec::len);
        let customer = booked.get("customer").and_then(Value::as_str).unwrap_or("nobody known");
        let outcome = booked.get("outcome").and_then(Value::as_str).unwrap_or("?");
        let meals = if meals == 1 { "1 meal".to_owned() } else { format!("{meals} meals") };
        let told = format!("one event told them all: {outcome}, {meals}, {customer}");
        self.screen.say(Voice::Outside, &told).await;
        Ok(())
    }

    async fn booked(&self, session: SessionId) -> Result<Value, Fault> {
        let until = Instant::now() + BOOKED_WITHIN;
        loop {
            let rows: Vec<Value> = self.stack.sessions(&[session.to_string()]).await?;
            let settled =
                |row: &Value| row.get("settlement").and_then(Value::as_str).is_some_and(|word| word != "pending");
            if let Some(row) = rows.into_iter().find(settled) {
                return Ok(row);
            }
            if Instant::now() >= until {
                return Err(Fault::new(format!("session {session} was not booked in time")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn thefts(&self, against: &str) -> Result<(), Fault> {
        let until = Instant::now() + BOOKED_WITHIN;
        loop {
            let page: Value = self.stack.ops("customers")?.get("/thefts?page_size=100").await?;
            let count = page.get("thefts").and_then(Value::as_array).map_or(0, Vec::len);
            if count > 0 || Instant::now() >= until {
                self.screen
                    .say(Voice::Outside, &format!("a theft stands {against} ({count} in all); charged in full"))
                    .await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn customer(&self, id: &str) -> Result<&'a Customer, Fault> {
        let found = self.world.customers.iter().find(|customer| customer.customer == id);
        found.ok_or_else(|| Fault::new(format!("the demo world has no {id}")))
    }

    pub(super) fn free_for_all(&self, name: &str) -> Result<Meal, Fault> {
        self.meal(|meal| meal.owner.is_none() && self.type_name(meal) == name)
    }

    fn meal_of(&self, owner: &Customer, prepaid: bool) -> Result<Meal, Fault> {
        self.meal(|meal| meal.owner.as_deref() == Some(&owner.customer) && meal.prepaid == prepaid)
    }

    fn meal(&self, wanted: impl Fn(&Meal) -> bool) -> Result<Meal, Fault> {
        let taken = self.taken.borrow();
        let mut here =
            self.world.meals.iter().filter(|meal| meal.fridge == self.fridge && !taken.contains(&meal.barcode));
        here.find(|meal| wanted(meal)).cloned().ok_or_else(|| Fault::new("the demo world has no such meal".to_owned()))
    }

    fn type_name(&self, meal: &Meal) -> &str {
        self.world.meal_types.iter().find(|row| row.gtin == meal.gtin).map_or("a meal", |row| &row.name)
    }

    fn name(&self, meal: &Meal) -> String {
        let price = self.world.meal_types.iter().find(|row| row.gtin == meal.gtin).map_or(0, |row| row.price_minor);
        format!("{} ({}.{:02})", self.type_name(meal), price / 100, price % 100)
    }
}

pub(super) fn stranger((pan, expiry): (&str, &str)) -> Card {
    Card::new(pan, expiry)
}

fn money(amount: Option<Money>) -> String {
    amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string())
}

fn cents(minor: Option<&Value>) -> String {
    let minor = minor.and_then(Value::as_i64).unwrap_or(0);
    format!("{}.{:02}", minor / 100, minor % 100)
}

fn receipt_text(receipt: &Receipt) -> String {
    let mut text = format!("{}, {}", receipt.outcome, money(receipt.charged));
    if receipt.credit_used.is_some_and(|credit| credit.is_positive()) {
        text.push_str(&format!(", and {} of credit", money(receipt.credit_used)));
    }
    text
}
