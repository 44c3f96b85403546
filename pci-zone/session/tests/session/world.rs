//! A small world to buy in, and a driver that plays one session and remembers all effects.

use pci_contract::{
    Brand, CardRef, Currency, CustomerId, EventBody, ExpertId, FridgeId, LastFour, MealId, Money, PurchaseFinalized,
    ReasonCode, ReferralCode, ScannedCode, SessionId, SubscriptionId, Timestamp, Token,
};
use pci_session::{
    Admitted, CustomerFacts, Display, Effect, Effects, FridgeFacts, FridgeInput, Input, MealFacts, Numbered, Policy,
    Received, Session, Shown, Stage, Standing, StepError, Touch, TouchKind, admit_fridge, admit_shown,
};

pub(crate) const HOLD: i64 = 2500;

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub(crate) fn at(s: i64) -> Timestamp {
    Timestamp::from_micros(s * 1_000_000)
}

pub(crate) fn session_id() -> SessionId {
    SessionId::parse("019a0000-0000-7000-8000-000000000001").unwrap()
}

pub(crate) fn fridge() -> FridgeId {
    FridgeId::parse("FR-0001").unwrap()
}

pub(crate) fn card(n: u8) -> CardRef {
    CardRef { token: Token::from_mac(1, [n; 16]), brand: Brand::Visa, last_four: LastFour::parse("4242").unwrap() }
}

pub(crate) fn customer(name: &str) -> CustomerId {
    CustomerId::parse(name).unwrap()
}

pub(crate) fn meal(serial: u32) -> MealId {
    MealId::parse(&format!("(01)09500000000198(21){serial}")).unwrap()
}

pub(crate) fn code(serial: u32) -> ScannedCode {
    ScannedCode::Meal(meal(serial))
}

pub(crate) fn policy() -> Policy {
    Policy { blocked_after_thefts: 2, currency: Currency::USD }
}

pub(crate) fn good() -> Standing {
    Standing { blocked: false, thefts: 0, unpaid: usd(0) }
}

pub(crate) fn fridge_facts() -> FridgeFacts {
    FridgeFacts {
        enrolled: true,
        in_service: true,
        locked: false,
        busy: false,
        hold: usd(HOLD),
        open_limit_s: 60,
        price_revision: 7,
    }
}

/// Subscriber `CU-1` with this credit and wallet card 1.
pub(crate) fn subscriber(credit: i64) -> CustomerFacts {
    CustomerFacts {
        customer: customer("CU-1"),
        standing: good(),
        credit: usd(credit),
        default_card: Some(card(1)),
        subscription: Some(SubscriptionId::parse("SUB-1").unwrap()),
        expert: Some(ExpertId::parse("EX-1").unwrap()),
        referral_code: Some(ReferralCode::parse("REF-1").unwrap()),
    }
}

pub(crate) fn admit(shown: Shown) -> Admitted {
    admit_shown(admit_fridge(&fridge_facts()).unwrap(), shown, &policy()).unwrap()
}

/// Free for all.
pub(crate) fn ffa(price: i64) -> MealFacts {
    MealFacts { price: usd(price), owner: None, owner_subscription: None, prepaid: false, sellable: true }
}

pub(crate) fn owned(price: i64, owner: &str, prepaid: bool) -> MealFacts {
    MealFacts {
        owner: Some(customer(owner)),
        owner_subscription: Some(SubscriptionId::parse(&format!("SUB-{owner}")).unwrap()),
        prepaid,
        ..ffa(price)
    }
}

pub(crate) fn unsafe_to_sell(price: i64) -> MealFacts {
    MealFacts { sellable: false, ..ffa(price) }
}

pub(crate) fn touch(kind: TouchKind, serial: u32, facts: Option<MealFacts>) -> FridgeInput {
    FridgeInput::Touched(Touch { kind, code: code(serial), facts, at_device: at(0) })
}

pub(crate) fn taken(serial: u32, facts: &MealFacts) -> FridgeInput {
    touch(TouchKind::Taken, serial, Some(facts.clone()))
}

pub(crate) fn returned(serial: u32, facts: &MealFacts) -> FridgeInput {
    touch(TouchKind::Returned, serial, Some(facts.clone()))
}

pub(crate) fn alarm(serial: u32, kind: pci_session::AlarmKind) -> Effect {
    Effect::Show(Display::Alarm { barcode: meal(serial), kind })
}

pub(crate) fn cleared(serial: u32) -> Effect {
    Effect::Show(Display::AlarmCleared { barcode: meal(serial) })
}

/// The raise to this much is refused.
pub(crate) fn refused(asked_minor: i64) -> Input {
    Input::IncrementRefused { asked: usd(asked_minor) }
}

pub(crate) fn reason(text: &str) -> ReasonCode {
    ReasonCode::parse(text).unwrap()
}

/// The one finalized event among effects.
pub(crate) fn finalized(effects: &[Effect]) -> &PurchaseFinalized {
    let mut found = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(EventBody::PurchaseFinalized(data)) => Some(&**data),
        _ => None,
    });
    let one = found.next().expect("a finalized event");
    assert!(found.next().is_none(), "two finalized events");
    one
}

/// The meals reported stolen.
pub(crate) fn thefts(effects: &[Effect]) -> Vec<MealId> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(EventBody::TheftConfirmed(data)) => Some(data.meal.clone()),
            _ => None,
        })
        .collect()
}

/// The amounts reported owed.
pub(crate) fn owed(effects: &[Effect]) -> Vec<Money> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(EventBody::PaymentFailed(data)) => Some(data.amount),
            _ => None,
        })
        .collect()
}

/// One session being played.
#[derive(Debug, Clone)]
pub(crate) struct Play {
    pub(crate) session: Session,
    pub(crate) all: Effects,
    now_s: i64,
}

impl Play {
    pub(crate) fn begin(shown: Shown) -> Self {
        let (session, all) = Session::begin(session_id(), fridge(), admit(shown), at(1000));
        assert_eq!(all, vec![Effect::Authorize { amount: usd(HOLD) }]);
        Self { session, all, now_s: 1000 }
    }

    pub(crate) fn anonymous() -> Self {
        Self::begin(Shown::Card { card: card(9), standing: good(), customer: None })
    }

    pub(crate) fn subscriber(credit: i64) -> Self {
        Self::begin(Shown::IdToken(subscriber(credit)))
    }

    /// Authorized for the hold, and the door is open.
    pub(crate) fn opened(mut self) -> Self {
        self.says(Input::Authorized { amount: usd(HOLD) });
        self.fridge(FridgeInput::DoorOpened);
        assert_eq!(self.session.stage(), Stage::Open);
        self
    }

    pub(crate) fn now(&self) -> Timestamp {
        at(self.now_s)
    }

    pub(crate) fn later(&mut self, s: i64) {
        self.now_s += s;
    }

    /// An input that must be possible.
    pub(crate) fn says(&mut self, input: Input) -> Effects {
        self.now_s += 1;
        let (session, effects) = self.session.clone().step(input, self.now()).expect("possible");
        self.session = session;
        self.all.extend(effects.clone());
        effects
    }

    /// An input that must not be possible, and changes nothing.
    pub(crate) fn cannot(&mut self, input: Input) -> StepError {
        let (same, error) = self.session.clone().step(input, self.now()).expect_err("not possible");
        assert_eq!(same, self.session, "a refused step changes nothing");
        error
    }

    /// The fridge's next message, which must be taken.
    pub(crate) fn fridge(&mut self, body: FridgeInput) -> Effects {
        self.now_s += 1;
        let sequence = self.session.received() + 1;
        match self.session.clone().receive(Numbered { sequence, body }, self.now()) {
            Received::Stepped(session, effects) => {
                assert_eq!(session.received(), sequence);
                self.session = session;
                self.all.extend(effects.clone());
                effects
            }
            other => panic!("not taken: {other:?}"),
        }
    }

    pub(crate) fn take(&mut self, serial: u32, facts: &MealFacts) -> Effects {
        self.fridge(taken(serial, facts))
    }

    pub(crate) fn put_back(&mut self, serial: u32, facts: &MealFacts) -> Effects {
        self.fridge(returned(serial, facts))
    }

    pub(crate) fn close(&mut self) -> Effects {
        self.fridge(FridgeInput::DoorClosed)
    }
}
