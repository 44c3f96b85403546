//! The second driver of the machine: it stores before it acts, asks with the same key until it is answered, and may
//! die between any two of these.

use pci_contract::ScannedCode;
use pci_contract::{CustomerId, EventBody, SessionId};
use pci_session::{
    CustomerFacts, Display, Effect, Effects, FridgeInput, Input, Numbered, Received, Session, Shown, Stage, Standing,
    Touch, TouchKind, admit_fridge, admit_shown,
};

use crate::{
    fridge::{Answer, Packet},
    outcome::Failure,
    processor::{Question, Verb},
    run::{Happening, Simulation},
    store,
    world::{
        FRIDGES, FridgeNo, MealNo, Report, Visitor, at, card, credit_minor, customer_id, facts, fridge_facts,
        fridge_id, meal_id, policy, usd,
    },
};

/// After so many unanswered tries the customer is not kept waiting any longer.
const PATIENCE_TRIES: u32 = 2;
/// A raise is asked for longer: nobody stands at the fridge for it, and who gives it up makes a good customer owe.
const RAISE_TRIES: u32 = 4;
/// Beyond so many tries a processor that answers most questions has been forgotten.
const MOST_TRIES: u32 = 200;

impl Simulation {
    /// A message of a fridge.
    pub(crate) fn hear(&mut self, fridge: FridgeNo, stream: u64, packet: Packet) -> Result<(), Failure> {
        let Some(session) = self.find(packet.session)? else {
            if packet.report.is_none() {
                return self.begin(fridge, &packet);
            }
            self.answer(fridge, stream, packet.session, Answer::ResendFrom(1));
            return Ok(());
        };
        let Some(report) = packet.report else {
            let again = session.resume();
            if again.is_empty() && !matches!(session.stage(), Stage::Authorizing | Stage::Open | Stage::Closing) {
                return Err(Failure::new(format!("{} came back and is told nothing", session.id())));
            }
            self.arm(&session);
            return self.repeat(fridge, stream, packet.session, again);
        };
        let message = Numbered { sequence: packet.sequence, body: body(report, self.now_s())? };
        match session.receive(message, at(self.now_s())) {
            Received::Stepped(session, effects) => self.keep(session, effects, None),
            Received::Duplicate(_, effects) => self.repeat(fridge, stream, packet.session, effects),
            Received::Gap { resend_from, .. } => {
                self.report.saw("gap");
                self.answer(fridge, stream, packet.session, Answer::ResendFrom(resend_from));
                Ok(())
            }
            Received::Impossible(session, error) => {
                Err(Failure::new(format!("{}: {report:?} of a correct fridge: {error}", session.id())))
            }
        }
    }

    fn begin(&mut self, fridge: FridgeNo, packet: &Packet) -> Result<(), Failure> {
        let of_fridge: Vec<SessionId> =
            self.homes.iter().filter(|(_, home)| **home == fridge).map(|(id, _)| *id).collect();
        for old in of_fridge {
            if self.find(old)?.is_some_and(|session| session.holds_fridge()) {
                self.report.saw("abandoned");
                self.apply(old, Input::Abandoned, None)?;
                if !self.is_up {
                    return Ok(());
                }
            }
        }
        let shown = self.shown(packet.visitor)?;
        let now = at(self.now_s());
        let (id, place) = (packet.session, fridge_id(fridge)?);
        let admitted = admit_fridge(&fridge_facts()).and_then(|permit| admit_shown(permit, shown, &policy()));
        let (session, effects) = match admitted {
            Ok(admitted) => Session::begin(id, place, admitted, now),
            Err(refusal) => Session::refuse(id, place, refusal, now),
        };
        self.keep(session, effects, None)
    }

    /// One input that is not a message of the fridge. Every peer here is correct, so it must be possible.
    fn apply(&mut self, id: SessionId, input: Input, answered: Option<Question>) -> Result<(), Failure> {
        let Some(session) = self.find(id)? else { return Err(Failure::new(format!("{id} is gone"))) };
        let before = session.stage();
        match session.step(input.clone(), at(self.now_s())) {
            Ok((session, effects)) => self.keep(session, effects, answered),
            Err((_, error)) => Err(Failure::new(format!("{id} in {before:?}: {input:?} was refused: {error}"))),
        }
    }

    /// Stores, then acts, and may die on the way.
    fn keep(&mut self, session: Session, effects: Effects, answered: Option<Question>) -> Result<(), Failure> {
        if self.dies()? {
            return Ok(());
        }
        self.store.commit(&session, &effects, answered)?;
        if self.dies()? {
            return Ok(());
        }
        self.report.saw(session.stage().as_str());
        self.arm(&session);
        let id = session.id();
        self.memory.insert(id, session);
        for effect in effects {
            self.perform(id, effect)?;
            if self.dies()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn perform(&mut self, id: SessionId, effect: Effect) -> Result<(), Failure> {
        if let Some(question) = store::question(id, &effect) {
            self.ask(question, 0);
        }
        if let Effect::Show(display) = effect {
            let counted = self.memory.get(&id).map_or(0, Session::received);
            if matches!(display, Display::Unlock { .. }) && counted > 1 {
                return Err(Failure::new(format!("{id} is unlocked after its fridge had said that the door is shut")));
            }
            self.show(id, display);
        }
        Ok(())
    }

    fn show(&mut self, id: SessionId, display: Display) {
        let home = self.homes.get(&id).and_then(|fridge| Some((*fridge, self.fridges.get(fridge)?.stream?)));
        if let Some((fridge, stream)) = home {
            self.answer(fridge, stream, id, Answer::Show(display));
        }
    }

    fn repeat(&mut self, fridge: FridgeNo, stream: u64, id: SessionId, again: Effects) -> Result<(), Failure> {
        for effect in again {
            match effect {
                Effect::Show(display) => self.answer(fridge, stream, id, Answer::Show(display)),
                other => return Err(Failure::new(format!("{id}: a repeat does {other:?}"))),
            }
        }
        Ok(())
    }

    fn answer(&mut self, fridge: FridgeNo, stream: u64, session: SessionId, answer: Answer) {
        let most_ms = if self.fails(10) { 4_000 } else { 40 };
        self.soon(most_ms, Happening::Down { fridge, stream, session, answer });
    }

    fn find(&mut self, id: SessionId) -> Result<Option<Session>, Failure> {
        if let Some(session) = self.memory.get(&id) {
            return Ok(Some(session.clone()));
        }
        let found = self.store.load(id)?;
        if let Some(session) = &found {
            self.memory.insert(id, session.clone());
        }
        Ok(found)
    }

    /// A point at which the service may die. Everything it had in memory is gone, and every stream is cut.
    fn dies(&mut self) -> Result<bool, Failure> {
        self.crash_points += 1;
        if self.plan.crash_at != Some(self.crash_points) && !self.fails(80) {
            return Ok(false);
        }
        self.report.saw("crash");
        self.is_up = false;
        self.life += 1;
        self.memory.clear();
        for fridge in FRIDGES {
            self.cut(fridge)?;
        }
        self.soon(30_000, Happening::Start);
        Ok(true)
    }

    /// Starts again: what was asked and never answered is asked again with the same key.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.is_up = true;
        for (id, session) in self.store.load_all()? {
            let asked = session.asked().as_ref().and_then(|effect| store::question(id, effect));
            if asked.is_some_and(|question| !self.store.unanswered.contains(&question)) {
                return Err(Failure::new(format!("{id} waits for an answer that nobody asked for: {asked:?}")));
            }
        }
        for question in self.store.unanswered.clone() {
            self.ask(question, 0);
        }
        Ok(())
    }

    fn ask(&mut self, question: Question, tries: u32) {
        let life = self.life;
        if !self.fails(8) {
            self.soon(500, Happening::AtProcessor { life, question });
        }
        self.after(10_000, Happening::Patience { life, question, tries });
    }

    pub(crate) fn at_processor(&mut self, life: u64, question: Question) -> Result<(), Failure> {
        let input = self.processor.answer(question, &mut self.chance)?;
        let answer = Happening::FromProcessor { life, question, input };
        if self.fails(8) {
            self.soon(60_000, answer.clone());
        }
        if !self.fails(8) {
            let most_ms = if self.fails(6) { 60_000 } else { 800 };
            self.soon(most_ms, answer);
        }
        Ok(())
    }

    pub(crate) fn answered(&mut self, life: u64, question: Question, input: Input) -> Result<(), Failure> {
        if !self.is_up || life != self.life {
            return Ok(());
        }
        if !self.store.unanswered.contains(&question) {
            self.report.saw("answer twice or too late");
        }
        self.apply(question.session, input, Some(question))
    }

    /// No answer yet: the customer is not kept waiting for ever, but the question is asked until it is answered.
    pub(crate) fn patience(&mut self, life: u64, question: Question, tries: u32) -> Result<(), Failure> {
        if !self.is_up || life != self.life || !self.store.unanswered.contains(&question) {
            return Ok(());
        }
        if tries > MOST_TRIES {
            return Err(Failure::new(format!("{question:?} is never answered")));
        }
        match question.verb {
            Verb::Authorize if tries == PATIENCE_TRIES => {
                self.report.saw("gave up on an authorization");
                self.apply(question.session, Input::PaymentUnavailable, None)?;
            }
            Verb::Increment if tries == RAISE_TRIES => {
                self.report.saw("gave up on an increment");
                self.given_up.insert(question.session);
                let asked = usd(question.minor);
                return self.apply(question.session, Input::IncrementRefused { asked }, Some(question));
            }
            Verb::Authorize | Verb::Increment | Verb::Capture | Verb::Void => {}
        }
        if self.is_up {
            self.ask(question, tries + 1);
        }
        Ok(())
    }

    /// Sets the session's timer, if its fridge is on the line.
    fn arm(&mut self, session: &Session) {
        let Some((fridge, stream, since_s)) = self.line(session.id()) else { return };
        if let Some((due, _)) = session.timer(at(since_s)) {
            let (life, session) = (self.life, session.id());
            let ms = due.micros() / 1_000 - self.now_ms;
            self.after(ms, Happening::Timer { life, fridge, stream, session });
        }
    }

    /// The session's fridge, its stream, and since when.
    fn line(&self, id: SessionId) -> Option<(FridgeNo, u64, i64)> {
        let fridge = self.homes.get(&id)?;
        let station = self.fridges.get(fridge)?;
        Some((*fridge, station.stream?, station.online_since_s))
    }

    pub(crate) fn timer(&mut self, life: u64, fridge: FridgeNo, stream: u64, id: SessionId) -> Result<(), Failure> {
        let Some((_, now_stream, since_s)) = self.line(id) else { return Ok(()) };
        if !self.is_up || life != self.life || stream != now_stream {
            return Ok(());
        }
        let due = self.find(id)?.and_then(|session| session.timer(at(since_s)));
        match due {
            Some((due, input)) if due.micros() <= self.now_ms.saturating_mul(1_000) => {
                self.report.saw(&format!("{:?} at fridge {fridge}", input.kind()));
                self.apply(id, input, None)
            }
            _ => Ok(()),
        }
    }

    fn shown(&mut self, visitor: Visitor) -> Result<Shown, Failure> {
        match visitor {
            Visitor::Stranger => Ok(Shown::UnknownIdToken),
            Visitor::Anonymous(number) => {
                let card = card(number)?;
                let standing = self.standing(|of_card, customer| customer.is_none() && of_card == &card);
                Ok(Shown::Card { card, standing, customer: None })
            }
            Visitor::Subscriber(number) => {
                let customer = customer_id(number)?;
                let credit =
                    credit_minor(number) - self.store.credit_used_minor(&customer) - self.reserved_minor(&customer)?;
                Ok(Shown::IdToken(CustomerFacts {
                    standing: self.standing(|_, of| of == Some(&customer)),
                    credit: usd(credit),
                    default_card: Some(card(number)?),
                    subscription: None,
                    expert: None,
                    referral_code: None,
                    customer,
                }))
            }
        }
    }

    /// What the events so far say against a card or customer.
    fn standing(&self, is_it: impl Fn(&pci_contract::CardRef, Option<&CustomerId>) -> bool) -> Standing {
        let mut standing = Standing { blocked: false, thefts: 0, unpaid: usd(0) };
        for event in &self.store.events {
            match event {
                EventBody::TheftConfirmed(data) if is_it(&data.card, data.customer.as_ref()) => standing.thefts += 1,
                EventBody::PaymentFailed(data) if is_it(&data.card, data.customer.as_ref()) => {
                    standing.unpaid = data.amount;
                }
                _ => {}
            }
        }
        standing
    }

    fn reserved_minor(&mut self, customer: &CustomerId) -> Result<i64, Failure> {
        let ids: Vec<SessionId> = self.homes.keys().copied().collect();
        let mut reserved = 0;
        for id in ids {
            if let Some(session) = self.find(id)?.filter(|session| session.customer() == Some(customer)) {
                reserved += session.reserved_credit().map_or(0, pci_contract::Money::minor);
            }
        }
        Ok(reserved)
    }
}

fn body(report: Report, now_s: i64) -> Result<FridgeInput, Failure> {
    let touched = |kind, meal: MealNo| {
        let code = ScannedCode::Meal(meal_id(meal)?);
        Ok(FridgeInput::Touched(Touch { kind, code, facts: facts(meal)?, at_device: at(now_s - 86_400) }))
    };
    match report {
        Report::Opened => Ok(FridgeInput::DoorOpened),
        Report::Taken(meal) => touched(TouchKind::Taken, meal),
        Report::Returned(meal) => touched(TouchKind::Returned, meal),
        Report::Closed => Ok(FridgeInput::DoorClosed),
        Report::StayedShut => Ok(FridgeInput::DoorStayedShut),
    }
}
