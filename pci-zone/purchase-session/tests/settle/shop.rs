//! A driver with all it needs: a vault on a throw-away token, a card processor, a database, and sessions on it that were
//! made by the machine itself, as they would stand so many seconds after they began.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ca_identity::{SpiffeId, TrustDomain};
use ca_mtls::Peer;
use pci_card::{Expiry, Pan};
use pci_contract::{
    Brand, CardRef, Currency, CustomerId, CustomerRow, EventBody, FeedPage, FridgeId, LastFour, MealId, Money,
    ScannedCode, SessionId, Timestamp, Token,
};
use pci_processors::{
    ApiKey, AuthorizationRef, IdempotencyKey, Processor, ProcessorConfig, StoredCard, StripeShaped, Verb as Ask,
};
use pci_session::{
    CustomerFacts, FridgeFacts, FridgeInput, Input, MealFacts, Policy, Receipt, Session, Shown, Stage, Standing, State,
    Touch, TouchKind, admit_fridge, admit_shown,
};
use pci_store::{Batch, IntentOutcome, IntentWrite, SessionWrite, Store, StoredCard as KeptCard, Verb};
use pci_vault::{KeyPlan, Vault, VaultConfig};
use processor_sandbox::{Sandbox, SandboxConfig};
use purchase_session::authorize::{self, Purchase};
use purchase_session::clock;
use purchase_session::config::Limits;
use purchase_session::drive::{Closed, Drive, Parts};
use purchase_session::message::{Answer, FridgeBody, FridgeMessage, ServiceMessage, Unread};
use purchase_session::metrics::Metrics;
use test_token::TestToken;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

pub(crate) const MINUTE_S: i64 = 60;
pub(crate) const HOUR_S: i64 = 3_600;
pub(crate) const DAY_S: i64 = 86_400;
/// Long enough for a loaded machine; nothing that works waits for it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a customer waits for the processor here.
const OPEN_BUDGET: Duration = Duration::from_millis(300);

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub(crate) fn session_id(n: usize) -> SessionId {
    SessionId::parse(&format!("0195a5e0-7c1e-7abc-8def-{n:012x}")).unwrap()
}

pub(crate) fn key(n: usize, ask: Ask) -> IdempotencyKey {
    IdempotencyKey::new(session_id(n), ask, 1)
}

pub(crate) fn card(n: u8) -> CardRef {
    CardRef { token: Token::from_mac(1, [n; 16]), brand: Brand::Visa, last_four: LastFour::parse("4242").unwrap() }
}

fn fridge(n: usize) -> FridgeId {
    FridgeId::parse(&format!("FR-{n:04}")).unwrap()
}

fn ago(s: i64) -> Timestamp {
    Timestamp::from_micros(clock::now().micros() - s * 1_000_000)
}

/// A session whose authorization was asked for so long ago.
pub(crate) fn begun(n: usize, card: CardRef, who: Option<(&CustomerId, Money)>, ago_s: i64) -> Session {
    let facts = FridgeFacts {
        enrolled: true,
        in_service: true,
        locked: false,
        busy: false,
        hold: usd(2_500),
        open_limit_s: 60,
        price_revision: 1,
    };
    let standing = Standing { blocked: false, thefts: 0, unpaid: usd(0) };
    let customer = who.map(|(customer, credit)| CustomerFacts {
        customer: customer.clone(),
        standing,
        credit,
        default_card: None,
        subscription: None,
        expert: None,
        referral_code: None,
    });
    let policy = Policy { blocked_after_thefts: 2, currency: Currency::USD };
    let shown = Shown::Card { card, standing, customer };
    let admitted = admit_shown(admit_fridge(&facts).unwrap(), shown, &policy).unwrap();
    Session::begin(session_id(n), fridge(n), admitted, ago(ago_s)).0
}

pub(crate) fn step(session: Session, input: Input, ago_s: i64) -> Session {
    session.step(input, ago(ago_s)).unwrap().0
}

pub(crate) fn unlocked(n: usize, card: CardRef, ago_s: i64) -> Session {
    step(begun(n, card, None, ago_s), Input::Authorized { amount: usd(2_500) }, ago_s)
}

pub(crate) fn open(n: usize, card: CardRef, ago_s: i64) -> Session {
    step(unlocked(n, card, ago_s), Input::Fridge(FridgeInput::DoorOpened), ago_s)
}

/// A meal that is free for all was taken.
pub(crate) fn take(session: Session, serial: u32, price_minor: i64) -> Session {
    touch(session, TouchKind::Taken, serial, price_minor)
}

/// It was put back.
pub(crate) fn put_back(session: Session, serial: u32, price_minor: i64) -> Session {
    touch(session, TouchKind::Returned, serial, price_minor)
}

fn touch(session: Session, kind: TouchKind, serial: u32, price_minor: i64) -> Session {
    let meal = MealId::parse(&format!("(01)09500000000198(21){serial:06}")).unwrap();
    let facts =
        MealFacts { price: usd(price_minor), owner: None, owner_subscription: None, prepaid: false, sellable: true };
    let code = ScannedCode::Meal(meal);
    let touch = Touch { kind, code, facts: Some(facts), at_device: ago(0) };
    step(session, Input::Fridge(FridgeInput::Touched(touch)), 0)
}

/// Runs a test in a shop of its own.
pub(crate) fn in_shop<F: AsyncFnOnce(Shop)>(token: &TestToken, test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { test(Shop::open(token).await).await });
}

/// Everything a driver needs.
pub(crate) struct Shop {
    pub(crate) sandbox: Sandbox,
    pub(crate) processor: Arc<StripeShaped>,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    vault: Arc<Vault>,
    card: StoredCard,
    _folder: tempfile::TempDir,
}

/// A running driver; it stops when dropped.
pub(crate) struct Running {
    drive: Arc<Drive>,
    _stop: DropGuard,
}

impl std::ops::Deref for Running {
    type Target = Arc<Drive>;

    fn deref(&self) -> &Arc<Drive> {
        &self.drive
    }
}

impl Shop {
    async fn open(token: &TestToken) -> Self {
        let plan = KeyPlan::parse(include_str!("../../../../policies/keys.toml")).unwrap();
        let pin = Zeroizing::new(token.pin().to_owned());
        let lock = token.directory().join("keys.lock");
        let vault = VaultConfig::new(token.module().into(), token.label().to_owned(), pin, plan, lock);
        let vault = tokio::task::spawn_blocking(move || Vault::start(vault).unwrap()).await.unwrap();
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let api_key = ApiKey::new(Zeroizing::new(sandbox.api_key().to_owned()));
        let config = ProcessorConfig::new(sandbox.base_url(), api_key, sandbox.root_pem());
        let processor = Arc::new(StripeShaped::new(config).unwrap());
        let pan = Pan::parse(b"4242424242424242").unwrap();
        let expiry = Expiry::parse_yymm(b"4012").unwrap();
        let card = processor.store_card(&key(0, Ask::StoreCard), pan, expiry).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("purchase.db"), clock::now()).await.unwrap());
        let (vault, metrics) = (Arc::new(vault), Arc::default());
        Self { sandbox, processor, store, metrics, vault, card, _folder: folder }
    }

    /// Starts a driver that settles so many at once.
    pub(crate) async fn drive(&self, settlements: usize) -> Running {
        let stop = CancellationToken::new();
        let parts = Parts {
            store: Arc::clone(&self.store),
            vault: Arc::clone(&self.vault),
            processor: Arc::clone(&self.processor) as Arc<dyn Processor>,
            limits: Limits { settlements, ..Limits::default() },
            open_budget: OPEN_BUDGET,
            metrics: Arc::clone(&self.metrics),
        };
        let drive = Drive::start(parts, stop.clone()).await.unwrap();
        Running { drive, _stop: stop.drop_guard() }
    }

    /// Has the processor's card on record as this one.
    pub(crate) async fn keep_card(&self, n: u8) -> CardRef {
        let kept = KeptCard { card: card(n), reference: self.card.as_str().to_owned() };
        self.store.commit(Batch { stored_card: Some(kept), ..Batch::default() }).await.unwrap();
        card(n)
    }

    /// A hold that stands with the processor.
    pub(crate) async fn hold(&self, n: usize, minor: i64) -> AuthorizationRef {
        let held = self.processor.authorize(&key(n, Ask::Authorize), session_id(n), usd(minor), &self.card).await;
        held.unwrap().reference
    }

    /// That something was asked so long ago.
    pub(crate) fn asked(&self, n: usize, verb: Verb, minor: i64, ago_s: i64) -> IntentWrite {
        let ask = match verb {
            Verb::Increment => IdempotencyKey::new(session_id(n), Ask::Increment, u32::try_from(minor).unwrap()),
            verb => key(n, Ask::parse(verb.as_str()).unwrap()),
        };
        let (session, amount) = (session_id(n), usd(minor));
        IntentWrite::Ask { key: ask.as_str().to_owned(), session, verb, amount, at: ago(ago_s) }
    }

    /// That a hold was asked for and is known.
    pub(crate) fn authorized(&self, n: usize, reference: impl ToString) -> Vec<IntentWrite> {
        let (key, reference) = (key(n, Ask::Authorize).as_str().to_owned(), Some(reference.to_string()));
        let answer = IntentWrite::Answer { key, outcome: IntentOutcome::Done, reference, at: ago(0) };
        vec![self.asked(n, Verb::Authorize, 2_500, 0), answer]
    }

    /// Puts a session on disk.
    pub(crate) async fn save(&self, session: Session, intents: &[IntentWrite]) {
        let fence = self.store.take_lease(session.fridge(), "the test").await.unwrap();
        let session = Some(SessionWrite { session, fence, at: ago(0) });
        self.store.commit(Batch { session, intents: intents.to_vec(), ..Batch::default() }).await.unwrap();
    }

    /// An ended session with a hold and a capture that was asked so long ago.
    pub(crate) async fn capture_pending(&self, n: usize, minor: i64, ago_s: i64) -> SessionId {
        let reference = self.hold(n, 2_500).await;
        self.ended(n, minor, ago_s, reference.as_str()).await;
        session_id(n)
    }

    /// Ended sessions whose holds the processor has never heard of.
    pub(crate) async fn captures_of_nobodys_holds(&self, numbers: Range<usize>, ago_s: i64) {
        for n in numbers {
            self.ended(n, 500, ago_s, "pi_of_nobody").await;
        }
    }

    async fn ended(&self, n: usize, minor: i64, ago_s: i64, reference: &str) {
        let closed = Input::Fridge(FridgeInput::DoorClosed);
        let session = step(take(open(n, card(9), ago_s), 1, minor), closed, ago_s);
        let capture = vec![self.asked(n, Verb::Capture, minor, ago_s)];
        self.save(session, &[self.authorized(n, reference), capture].concat()).await;
    }

    /// A customer who is known to have so much credit.
    pub(crate) async fn customer_with_credit(&self, minor: i64) -> CustomerId {
        let customer = CustomerId::parse("CU-0001").unwrap();
        let row = CustomerRow {
            customer: customer.clone(),
            blocked: false,
            thefts: 0,
            unpaid: usd(0),
            credit: usd(minor),
            default_card: None,
            id_tokens: Vec::new(),
            subscription: None,
            expert: None,
            referral_code: None,
            removed: false,
        };
        self.store.apply_feed(FeedPage { rows: vec![row], revision: 1, more: false, booked: 0 }).await.unwrap();
        customer
    }

    pub(crate) async fn state(&self, id: SessionId) -> State {
        self.store.session(id).await.unwrap().unwrap().session.state().clone()
    }

    pub(crate) async fn stage(&self, id: SessionId) -> Stage {
        self.state(id).await.stage()
    }

    /// How an intent ended.
    pub(crate) async fn outcome(&self, key: &IdempotencyKey) -> Option<IntentOutcome> {
        self.store.intent(key.as_str()).await.unwrap().unwrap().outcome
    }

    /// What was told of a session.
    pub(crate) async fn events(&self, id: SessionId) -> Vec<EventBody> {
        let events = self.store.events_after(0, 10_000).await.unwrap().into_iter().map(|(_, envelope)| envelope.body);
        let is_of = |event: &EventBody| match event {
            EventBody::PaymentFailed(data) => data.session == id,
            EventBody::PaymentSettled(data) => data.session == id,
            EventBody::PurchaseFinalized(data) => data.session == id,
            _ => false,
        };
        events.filter(is_of).collect()
    }

    /// What is owed for a session, as it was told.
    pub(crate) async fn owed(&self, id: SessionId) -> Vec<Money> {
        let events = self.events(id).await.into_iter();
        let owed = events.filter_map(|event| match event {
            EventBody::PaymentFailed(data) => Some(data.amount),
            _ => None,
        });
        owed.collect()
    }

    /// Waits until there is something to see.
    pub(crate) async fn until<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        let looking = async {
            loop {
                match look().await {
                    Some(seen) => return seen,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("in time")
    }

    pub(crate) async fn until_final(&self, id: SessionId) {
        let is_final = async || self.store.session(id).await.unwrap().unwrap().session.is_final().then_some(());
        self.until(is_final).await;
    }

    /// Waits until an authorization is answered and what it held is released.
    pub(crate) async fn until_settled(&self, n: usize) {
        self.until(async || self.outcome(&key(n, Ask::Authorize)).await).await;
        self.until_final(session_id(n)).await;
    }

    /// The session's fridge comes on the line.
    pub(crate) async fn line(&self, drive: &Running, n: usize) -> Line {
        let domain = TrustDomain::parse("larder.internal").unwrap();
        let id = SpiffeId::fridge(&domain, fridge(n).as_str()).unwrap();
        let peer = Peer { id, serial: "01".into(), issuer: "CN=test".into(), not_after: i64::MAX };
        let permit = authorize::authorize::<Purchase>(&peer, clock::now()).unwrap();
        let (says, inbound) = mpsc::channel(8);
        let answers = drive.purchase(permit, Box::pin(ReceiverStream::new(inbound))).unwrap();
        Line { session: session_id(n), says, answers }
    }
}

/// A fridge on the line.
pub(crate) struct Line {
    session: SessionId,
    says: mpsc::Sender<Result<FridgeMessage, Unread>>,
    answers: mpsc::Receiver<Result<ServiceMessage, Closed>>,
}

impl Line {
    pub(crate) async fn say(&mut self, sequence: u64, body: FridgeBody) {
        let message = FridgeMessage { session: self.session, sequence, device_time: ago(0), body };
        self.says.send(Ok(message)).await.unwrap();
    }

    /// The receipt, whatever comes before it.
    pub(crate) async fn receipt(&mut self) -> Receipt {
        let receipt = async {
            loop {
                match self.answers.recv().await.expect("a receipt").unwrap().body {
                    Some(Answer::Receipt(receipt, _)) => return *receipt,
                    _ => continue,
                }
            }
        };
        tokio::time::timeout(PATIENCE, receipt).await.expect("in time")
    }
}
