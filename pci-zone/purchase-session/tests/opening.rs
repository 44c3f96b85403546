//! A session's Open, said more often than once while it is being answered: a driver on a real database, with a processor
//! that counts. A failure is a second ask: with another card it is an error at the processor, and with two keys it would
//! be two holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ca_identity::SpiffeId;
use ca_mtls::Peer;
use pci_card::{Expiry, Pan};
use pci_contract::{
    Brand, CardRef, CardRow, Currency, CustomerId, CustomerRow, FeedPage, FridgeId, FridgeRow, IdTokenDigest, LastFour,
    LockRow, MealRow, MealTypeRow, Money, PolicyRow, SessionId, Token,
};
use pci_processors::{
    Ask, AskError, Authorization, AuthorizationRef, Captured, IdempotencyKey, Processor, Standing, StoredCard,
};
use pci_store::{Batch, ReferenceRow, Store, StoredCard as KeptCard};
use pci_vault::{KeyPlan, Vault, VaultConfig};
use purchase_session::authorize::{self, Purchase};
use purchase_session::clock;
use purchase_session::config::Limits;
use purchase_session::drive::{Drive, Parts};
use purchase_session::message::{Answer, FridgeBody, FridgeMessage, ShownBy};
use test_token::{TestToken, in_own_process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

const FRIDGE: &str = "FR-0001";
const SESSION: &str = "4ed615ae-e6a0-47bb-82f2-6b7777de3d19";
const ID_TOKEN: &str = "idt-1";
/// How often the fridge says its Open.
const TIMES: usize = 5;
/// Long enough for a loaded machine; nothing that works waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// Grants every hold, and counts how often it is asked for one.
#[derive(Default)]
struct Counting(AtomicUsize);

fn answer<T: Send + 'static>(answer: Result<T, AskError>) -> Ask<T> {
    Box::pin(std::future::ready(answer))
}

impl Processor for Counting {
    fn store_card(&self, _: &IdempotencyKey, _: Pan, _: Expiry) -> Ask<StoredCard> {
        answer(Err(AskError::NotSent))
    }

    fn authorize(&self, _: &IdempotencyKey, _: SessionId, hold: Money, _: &StoredCard) -> Ask<Authorization> {
        self.0.fetch_add(1, Ordering::SeqCst);
        answer(Ok(Authorization { reference: AuthorizationRef::parse("pi_1").unwrap(), amount: hold }))
    }

    fn increment(&self, _: &IdempotencyKey, _: &AuthorizationRef, to: Money) -> Ask<Money> {
        answer(Ok(to))
    }

    fn capture(&self, _: &IdempotencyKey, _: &AuthorizationRef, amount: Money) -> Ask<Captured> {
        answer(Ok(Captured { amount }))
    }

    fn void(&self, _: &IdempotencyKey, _: &AuthorizationRef) -> Ask<()> {
        answer(Ok(()))
    }

    fn refund(&self, _: &IdempotencyKey, _: &AuthorizationRef, _: Money) -> Ask<()> {
        answer(Ok(()))
    }

    fn sync(&self, _: SessionId) -> Ask<Option<Standing>> {
        answer(Ok(None))
    }
}

async fn knows<R: ReferenceRow>(store: &Store, rows: Vec<R>) {
    store.apply_feed(FeedPage { rows, revision: 1, more: false, booked: 0 }).await.unwrap();
}

/// One fridge, and one customer with a card in his wallet.
async fn know_everything(store: &Store) {
    let card =
        CardRef { token: Token::from_mac(1, [7; 16]), brand: Brand::Visa, last_four: LastFour::parse("4242").unwrap() };
    let customer = CustomerRow {
        customer: CustomerId::parse("CU-0001").unwrap(),
        blocked: false,
        thefts: 0,
        unpaid: usd(0),
        credit: usd(0),
        default_card: Some(card.clone()),
        id_tokens: vec![IdTokenDigest::of(ID_TOKEN)],
        subscription: None,
        expert: None,
        referral_code: None,
        removed: false,
    };
    let fridge = FridgeId::parse(FRIDGE).unwrap();
    let fridge = FridgeRow { fridge, in_service: true, hold: usd(2_500), open_limit_s: 60, removed: false };
    knows(store, vec![PolicyRow { blocked_after_thefts: 2, currency: Currency::USD }]).await;
    knows(store, vec![fridge]).await;
    knows(store, vec![customer]).await;
    knows::<LockRow>(store, Vec::new()).await;
    knows::<MealTypeRow>(store, Vec::new()).await;
    knows::<MealRow>(store, Vec::new()).await;
    knows::<CardRow>(store, Vec::new()).await;
    let kept = KeptCard { card, reference: "pm_1".to_owned() };
    store.commit(Batch { stored_card: Some(kept), ..Batch::default() }).await.unwrap();
}

fn vault(token: &TestToken) -> Vault {
    let plan = KeyPlan::parse(include_str!("../../../policies/keys.toml")).unwrap();
    let pin = Zeroizing::new(token.pin().to_owned());
    let lock = token.directory().join("keys.lock");
    Vault::start(VaultConfig::new(token.module().into(), token.label().to_owned(), pin, plan, lock)).unwrap()
}

async fn is_asked_once(vault: Vault) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("purchase.db"), clock::now()).await.unwrap());
    know_everything(&store).await;
    let processor = Arc::new(Counting::default());
    let parts = Parts {
        store,
        vault: Arc::new(vault),
        processor: Arc::clone(&processor) as Arc<dyn Processor>,
        limits: Limits::default(),
        open_budget: PATIENCE,
        metrics: Arc::default(),
    };
    let stop = CancellationToken::new();
    let drive = Drive::start(parts, stop.clone()).await.unwrap();

    let id = SpiffeId::parse(&format!("spiffe://larder.internal/fridge/{FRIDGE}")).unwrap();
    let peer = Peer { id, serial: "01".into(), issuer: "CN=test".into(), not_after: i64::MAX };
    let permit = authorize::authorize::<Purchase>(&peer, clock::now()).unwrap();
    let (says, inbound) = mpsc::channel(TIMES + 1);
    let say = |sequence, body| {
        let session = SessionId::parse(SESSION).unwrap();
        says.try_send(Ok(FridgeMessage { session, sequence, device_time: clock::now(), body })).unwrap();
    };
    for _ in 0..TIMES {
        say(1, FridgeBody::Open(ShownBy::IdToken(IdTokenDigest::of(ID_TOKEN))));
    }
    let mut answers = drive.purchase(permit, Box::pin(ReceiverStream::new(inbound))).unwrap();
    let mut unlocked = 0;
    let ended = async {
        loop {
            match answers.recv().await.expect("a receipt").unwrap().body {
                Some(Answer::Unlock(_)) if unlocked == 0 => {
                    unlocked += 1;
                    say(2, FridgeBody::DoorStayedShut);
                }
                Some(Answer::Receipt(receipt, _)) => return receipt,
                _ => {}
            }
        }
    };
    let receipt = tokio::time::timeout(PATIENCE, ended).await.expect("in time");
    assert_eq!(receipt.outcome.as_str(), "no_purchase");
    assert_eq!(processor.0.load(Ordering::SeqCst), 1, "one Open, one ask");
    stop.cancel();
}

#[test]
fn an_open_that_comes_again_while_it_is_written_down_does_not_ask_twice() {
    in_own_process("opening", |token| {
        let vault = vault(token);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(is_asked_once(vault));
    });
}
