//! What the store's tests share: a folder with a database, and sessions made through the machine itself, so that
//! nothing is stored that could not be.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::PathBuf;

use pci_contract::{
    Brand, CardRef, CardRow, Currency, CustomerId, CustomerRow, EventBody, EventId, FeedPage, FridgeId, FridgeTampered,
    LastFour, Money, SessionId, TamperKind, Timestamp, Token,
};
use pci_session::{
    CustomerFacts, FridgeFacts, FridgeInput, Input, Policy, Session, Shown, Standing, admit_fridge, admit_shown,
};
use pci_store::{Batch, NewEvent, SessionWrite, Store};

pub const NOW: Timestamp = Timestamp::from_micros(1_772_431_228_323_335);

pub fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + micros)
}

pub fn fridge(n: usize) -> FridgeId {
    FridgeId::parse(&format!("FR-{n:04}")).unwrap()
}

pub fn customer(n: usize) -> CustomerId {
    CustomerId::parse(&format!("CU-{n:04}")).unwrap()
}

pub fn card(n: u8) -> CardRef {
    CardRef { token: Token::from_mac(1, [n; 16]), brand: Brand::Visa, last_four: LastFour::parse("4242").unwrap() }
}

pub fn session_id(n: usize) -> SessionId {
    SessionId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n as u128))
}

pub fn event_id(n: usize) -> EventId {
    EventId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 + n as u128))
}

/// A folder with a database.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("purchase.db")
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.path(), NOW).await.unwrap()
    }

    /// A connection of somebody else's, to look and to do harm.
    pub async fn other(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions;
        sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }
}

/// A session whose authorization was asked for.
pub fn begun(n: usize, fridge: &FridgeId, who: Option<&CustomerId>, credit: Money) -> Session {
    let facts = FridgeFacts {
        enrolled: true,
        in_service: true,
        locked: false,
        busy: false,
        hold: usd(2500),
        open_limit_s: 60,
        price_revision: 3,
    };
    let standing = Standing { blocked: false, thefts: 0, unpaid: usd(0) };
    let customer = who.map(|who| CustomerFacts {
        customer: who.clone(),
        standing,
        credit,
        default_card: None,
        subscription: None,
        expert: None,
        referral_code: None,
    });
    let shown = Shown::Card { card: card(7), standing, customer };
    let policy = Policy { blocked_after_thefts: 2, currency: Currency::USD };
    let admitted = admit_shown(admit_fridge(&facts).unwrap(), shown, &policy).unwrap();
    Session::begin(session_id(n), fridge.clone(), admitted, NOW).0
}

/// The next state after each input.
pub fn after(session: Session, inputs: impl IntoIterator<Item = Input>) -> Session {
    inputs.into_iter().fold(session, |session, input| session.step(input, at(1_000)).unwrap().0)
}

pub fn unlocked(n: usize, fridge: &FridgeId) -> Session {
    after(begun(n, fridge, None, usd(0)), [Input::Authorized { amount: usd(2500) }])
}

pub fn ended(n: usize, fridge: &FridgeId) -> Session {
    let door = [FridgeInput::DoorOpened, FridgeInput::DoorClosed].map(Input::Fridge);
    after(unlocked(n, fridge), door)
}

pub fn write(session: Session, fence: u64) -> Batch {
    Batch { session: Some(SessionWrite { session, fence, at: NOW }), ..Batch::default() }
}

pub fn tampered(n: usize) -> NewEvent {
    let body = EventBody::FridgeTampered(FridgeTampered {
        fridge: fridge(1),
        kind: TamperKind::DoorForced,
        code: None,
        at: NOW,
    });
    NewEvent { id: event_id(n), body, at: NOW }
}

pub fn tell(events: Vec<NewEvent>) -> Batch {
    Batch { events, ..Batch::default() }
}

pub fn customer_row(n: usize) -> CustomerRow {
    CustomerRow {
        customer: customer(n),
        id_tokens: Vec::new(),
        blocked: false,
        thefts: 0,
        unpaid: usd(0),
        credit: usd(0),
        default_card: None,
        subscription: None,
        expert: None,
        referral_code: None,
        removed: false,
    }
}

pub fn card_row(n: u8) -> CardRow {
    CardRow { card: card(n), customer: None, blocked: false, thefts: 0, unpaid: usd(0), removed: false }
}

/// A feed's last page.
pub fn page<R>(revision: i64, booked: i64, rows: Vec<R>) -> FeedPage<R> {
    FeedPage { rows, revision, more: false, booked }
}

/// Asserts that the outbox holds exactly positions 1 to `count`.
pub async fn assert_contiguous(store: &Store, count: i64) {
    let positions: Vec<i64> =
        store.events_after(0, 10_000).await.unwrap().into_iter().map(|(position, _)| position).collect();
    assert_eq!(positions, (1..=count).collect::<Vec<_>>());
}
