//! One step of a session at work: an input goes into the machine, its effects are sorted into what is said at once, what
//! is written, and what is done once it is written.

use std::sync::Arc;

use pci_contract::{Money, Timestamp};
use pci_processors::{AuthorizationRef, IdempotencyKey, Verb as Ask};
use pci_session::{
    Display, Effect, Effects, FridgeInput, Input, MealFacts, Numbered, Received, Session, Touch, TouchKind,
};
use pci_store::{CommitError, IntentOutcome, IntentWrite, NewEvent, StoredCard as KeptCard, TouchRecord, Verb};
use tokio::time::Instant;

use super::calls::{self, Authorized, raise_number};
use super::live::{Called, Closed, Live};
use super::outgoing::After;
use crate::clock;
use crate::message::{Answer, FridgeBody, FridgeMessage};

/// The highest price, in minor units: with a basket's bound no sum of them can overflow.
const MOST_PRICE_MINOR: i64 = 1_000_000_000;

impl Live {
    /// A message of the fridge.
    pub(super) async fn message(&mut self, message: FridgeMessage) {
        if message.session != self.id {
            self.end_line(Some(Closed::Protocol("session_id: must stay the same in a stream"))).await;
            return;
        }
        match self.find().await {
            Found::Here => {}
            Found::Nowhere => return self.begin(message).await,
            Found::Fault => return self.fail(),
        }
        self.asked_at = Instant::now();
        let body = match message.body {
            FridgeBody::Open(shown) if message.sequence == 1 => return self.open_again(shown).await,
            FridgeBody::Open(_) => {
                return self.end_line(Some(Closed::Protocol("sequence: an open is message 1"))).await;
            }
            FridgeBody::DoorOpened => FridgeInput::DoorOpened,
            FridgeBody::DoorClosed => FridgeInput::DoorClosed,
            FridgeBody::DoorStayedShut => FridgeInput::DoorStayedShut,
            FridgeBody::Touch { kind, code } => {
                let facts = self.meal_facts(&code);
                FridgeInput::Touched(Touch { kind, code, facts, at_device: message.device_time })
            }
        };
        self.receive(message.sequence, message.device_time, body).await;
    }

    async fn receive(&mut self, sequence: u64, device_time: Timestamp, body: FridgeInput) {
        let Some(session) = self.session.take() else { return };
        let now = clock::now();
        let touched = match &body {
            FridgeInput::Touched(touch) => Some((touch.kind, touch.code.clone())),
            _ => None,
        };
        match session.receive(Numbered { sequence, body }, now) {
            Received::Duplicate(session, effects) => {
                self.session = Some(session);
                self.absorb(effects, now).await;
            }
            Received::Gap { session, resend_from } => {
                self.session = Some(session);
                self.answer(Some(Answer::ResendFrom(resend_from))).await;
            }
            Received::Stepped(session, effects) => {
                self.session = Some(session);
                if let Some((kind, code)) = touched {
                    let kind = match kind {
                        TouchKind::Taken => pci_store::TouchKind::Taken,
                        TouchKind::Returned => pci_store::TouchKind::Returned,
                    };
                    let session = self.id;
                    let touch = TouchRecord { session, sequence, kind, code, device_time, received_at: now };
                    self.outgoing.touches.push(touch);
                }
                self.stepped(effects, now).await;
            }
            Received::Impossible(session, error) => {
                tracing::warn!(session = %self.id, %error, "a message of the fridge cannot be");
                self.session = Some(session);
                self.end_line(Some(Closed::Protocol("this message cannot come now"))).await;
            }
        }
    }

    /// The session has moved.
    pub(super) async fn stepped(&mut self, effects: Effects, now: Timestamp) {
        self.outgoing.session_changed();
        if let Some(session) = self.session.as_ref().filter(|session| !session.holds_fridge()) {
            let credit = session.reserved_credit().is_none();
            self.outgoing.after.push_back(After::LetGo { credit });
        }
        self.absorb(effects, now).await;
    }

    /// An input that did not come from the fridge.
    pub(super) async fn input(&mut self, input: Input) {
        let Some(session) = self.session.take() else { return };
        let now = clock::now();
        match session.step(input, now) {
            Ok((session, effects)) => {
                self.session = Some(session);
                self.stepped(effects, now).await;
            }
            Err((session, error)) => {
                tracing::warn!(session = %self.id, %error, "an input came too late to matter");
                self.session = Some(session);
            }
        }
    }

    /// Sorts effects: an alarm goes out now; what must first be on disk waits for the commit.
    pub(super) async fn absorb(&mut self, effects: Effects, now: Timestamp) {
        for effect in effects {
            match effect {
                Effect::Show(
                    display @ (Display::Alarm { .. }
                    | Display::AlarmCleared { .. }
                    | Display::LimitReached { .. }
                    | Display::SoundDoor),
                ) => self.show(display).await,
                Effect::Show(display) => self.outgoing.after.push_back(After::Show(display)),
                Effect::Emit(body) => {
                    self.outgoing.events.push(NewEvent { id: clock::event_id(), body, at: now });
                }
                Effect::Authorize { amount } => {
                    self.intend(Ask::Authorize, 1, Verb::Authorize, amount, now);
                    if let Some(means) = self.means.take() {
                        self.outgoing.after.push_back(After::Authorize(amount, means));
                    }
                }
                Effect::Increment { to } => {
                    self.intend(Ask::Increment, raise_number(to), Verb::Increment, to, now);
                    self.outgoing.after.push_back(After::Increment(to));
                }
                Effect::Capture { amount } => {
                    self.intend(Ask::Capture, 1, Verb::Capture, amount, now);
                    self.outgoing.after.push_back(After::Settle);
                }
                Effect::Void => {
                    self.intend(Ask::Void, 1, Verb::Void, self.drive.zero(), now);
                    self.outgoing.after.push_back(After::Settle);
                }
                Effect::Tell(notice) => self.drive.tell_operators(self.id, &self.fridge, &notice),
            }
        }
    }

    /// Writes down that the processor will be asked.
    fn intend(&mut self, ask: Ask, n: u32, verb: Verb, amount: Money, at: Timestamp) {
        let key = IdempotencyKey::new(self.id, ask, n).as_str().to_owned();
        self.outgoing.intents.push(IntentWrite::Ask { key, session: self.id, verb, amount, at });
    }

    pub(super) fn answer_intent(
        &mut self,
        ask: Ask,
        n: u32,
        outcome: IntentOutcome,
        reference: Option<&AuthorizationRef>,
    ) {
        let key = IdempotencyKey::new(self.id, ask, n).as_str().to_owned();
        let reference = reference.map(|reference| reference.as_str().to_owned());
        self.outgoing.intents.push(IntentWrite::Answer { key, outcome, reference, at: clock::now() });
    }

    /// Does what waited for a commit. True when the fridge was told something.
    pub(super) async fn after(&mut self, after: After) -> bool {
        match after {
            After::Show(display) => {
                self.measure(&display);
                self.show(display).await;
                return true;
            }
            After::Authorize(amount, means) => {
                let (processor, id) = (Arc::clone(&self.drive.processor), self.id);
                let budget = self.drive.open_budget;
                self.calls.spawn(async move {
                    Called::Authorized(Box::new(calls::authorize(processor, id, amount, means, budget).await))
                });
            }
            After::Increment(to) => self.call_increment(to),
            After::Settle => self.drive.settler.hand_over(self.id),
            After::LetGo { credit } => {
                self.drive.registry.release(&self.fridge, self.id);
                if credit {
                    self.drive.reference.release_credit(self.id);
                }
            }
            After::OnDisk(ended) => {
                let _ = ended.send(());
            }
        }
        false
    }

    fn call_increment(&mut self, to: Money) {
        let Some(authorization) = self.authorization.clone() else {
            tracing::error!(session = %self.id, "a hold is to be raised that nobody knows");
            return self.fail();
        };
        let processor = Arc::clone(&self.drive.processor);
        let key = IdempotencyKey::new(self.id, Ask::Increment, raise_number(to));
        let budget = self.drive.open_budget;
        self.calls.spawn(async move {
            Called::Incremented(to, calls::increment(processor, key, authorization, to, budget).await)
        });
    }

    /// The processor has answered.
    pub(super) async fn called(&mut self, called: Called) {
        match called {
            Called::Authorized(authorized) => self.authorized(*authorized).await,
            Called::Incremented(asked, ended) => self.raised(asked, ended).await,
        }
    }

    async fn authorized(&mut self, authorized: Authorized) {
        match authorized {
            Authorized::Held { reference, amount, stored } => {
                self.keep_card(stored);
                self.answer_intent(Ask::Authorize, 1, IntentOutcome::Done, Some(&reference));
                self.authorization = Some(reference);
                self.input(Input::Authorized { amount }).await;
            }
            Authorized::Declined { reason, stored } => {
                self.keep_card(stored);
                self.answer_intent(Ask::Authorize, 1, IntentOutcome::Declined, None);
                self.input(Input::Declined { reason }).await;
            }
            // That this run did not reach the processor says nothing of what the one before it did there.
            Authorized::NotSent if self.asked_before => {
                self.input(Input::PaymentUnavailable).await;
                self.outgoing.after.push_back(After::Settle);
            }
            Authorized::NotSent => {
                self.answer_intent(Ask::Authorize, 1, IntentOutcome::Dropped, None);
                self.input(Input::PaymentUnavailable).await;
            }
            Authorized::Unknown { stored } => {
                self.keep_card(stored);
                self.input(Input::PaymentUnavailable).await;
                self.outgoing.after.push_back(After::Settle);
            }
        }
    }

    fn keep_card(&mut self, stored: Option<pci_processors::StoredCard>) {
        let card = self.session.as_ref().and_then(Session::card).cloned();
        if let (Some(card), Some(stored)) = (card, stored) {
            self.outgoing.stored_card = Some(KeptCard { card, reference: stored.as_str().to_owned() });
        }
    }

    /// The price and owner of what was touched, as they were when the door was unlocked.
    fn meal_facts(&self, code: &pci_contract::ScannedCode) -> Option<MealFacts> {
        let pci_contract::ScannedCode::Meal(meal) = code else { return None };
        let reference = &self.drive.reference;
        let row = reference.meal(meal).filter(|row| !row.removed)?;
        let revision = self.session.as_ref().and_then(Session::price_revision)?;
        let price = reference.price_at(&meal.gtin(), revision).filter(|price| self.is_usable(*price))?;
        Some(MealFacts {
            price,
            owner: row.owner.clone(),
            owner_subscription: row.owner_subscription.clone(),
            prepaid: row.prepaid,
            sellable: !row.exposed && row.expires_at > clock::now(),
        })
    }

    /// A price that this session can add up. A meal with another counts as one no list knows: it is not charged, and
    /// operators look at it.
    fn is_usable(&self, price: Money) -> bool {
        let currency = self.session.as_ref().and_then(Session::hold).map(Money::currency);
        (0..=MOST_PRICE_MINOR).contains(&price.minor()) && currency == Some(price.currency())
    }

    fn measure(&self, display: &Display) {
        let seconds = self.asked_at.elapsed().as_secs_f64();
        match display {
            Display::Unlock { .. } => self.drive.metrics.open_seconds.observe(seconds),
            Display::Refused(_) => {
                self.drive.metrics.open_seconds.observe(seconds);
                self.count_ending("refused");
            }
            Display::Receipt(receipt) => {
                self.drive.metrics.close_seconds.observe(seconds);
                self.count_ending(receipt.outcome.as_str());
            }
            _ => {}
        }
    }
}

/// Where a session was looked for and found.
pub(super) enum Found {
    Here,
    Nowhere,
    Fault,
}

impl Live {
    /// Brings the session into memory, if it is on disk.
    pub(super) async fn find(&mut self) -> Found {
        if self.session.is_some() {
            return Found::Here;
        }
        match self.load().await {
            Ok(true) => Found::Here,
            Ok(false) => Found::Nowhere,
            Err(error) => {
                tracing::error!(session = %self.id, %error, "the session could not be read");
                Found::Fault
            }
        }
    }

    async fn load(&mut self) -> Result<bool, CommitError> {
        let Some(saved) = self.drive.store.session(self.id).await? else { return Ok(false) };
        if saved.session.fridge() != &self.fridge {
            self.end_line(Some(Closed::AnotherFridge)).await;
            return Ok(true);
        }
        self.fence = self.drive.fence(&self.fridge).await?;
        self.safe = saved.session.received();
        if let Some(reference) = self.drive.store.authorization_of(self.id).await? {
            self.authorization = AuthorizationRef::parse(&reference).ok();
        }
        if let Some(Effect::Increment { to }) = saved.session.asked() {
            self.outgoing.after.push_back(After::Increment(to));
        }
        let session = &saved.session;
        if let (Some(customer), Some(credit)) = (session.customer(), session.reserved_credit()) {
            self.drive.reference.restore_reservation(self.id, customer, credit);
        }
        self.session = Some(saved.session);
        Ok(true)
    }
}
