//! Read your own writes: a person's effective standing does not depend on how far the customers service has booked.
//!
//! A failure is any moment, any split and any restart at which a lookup differs from all events applied at once. Between
//! a feed's first and last page it may be stricter, never laxer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::collections::BTreeMap;

use pci_contract::{
    CardEnrolled, CardRow, CustomerRow, EnrollmentId, EventBody, FeedPage, MealId, Outcome, PaymentFailed,
    PurchaseFinalized, ReasonCode, TheftConfirmed,
};
use pci_store::{NewEvent, Store};
use proptest::prelude::*;
use support::*;

/// Something our zone says about customer 0 to 2 (3: nobody known) and card 0 to 3.
#[derive(Debug, Clone)]
enum Said {
    Used { who: usize, minor: i64 },
    Theft { who: usize, card: u8 },
    Failed { who: usize, card: u8, minor: i64 },
    Enrolled { who: usize, card: u8 },
}

fn known(who: usize) -> Option<pci_contract::CustomerId> {
    (who < 3).then(|| customer(who))
}

fn body(n: usize, said: &Said) -> EventBody {
    let (session, fridge) = (session_id(n), fridge(1));
    match *said {
        Said::Used { who, minor } => EventBody::PurchaseFinalized(Box::new(PurchaseFinalized {
            session,
            fridge,
            customer: known(who),
            card: card(0),
            referral_code: None,
            expert: None,
            subscription: None,
            outcome: Outcome::Free,
            charged: usd(0),
            credit_used: usd(minor),
            unpaid: usd(40),
            meals: vec![],
            alarms: vec![],
            stray_returns: vec![],
            unidentified: vec![],
            not_sellable: vec![],
            opened_at: NOW,
            closed_at: NOW,
        })),
        Said::Theft { who, card: c } => EventBody::TheftConfirmed(TheftConfirmed {
            session,
            fridge,
            meal: MealId::parse("(01)09500000000198(21)1").unwrap(),
            card: card(c),
            customer: known(who),
            price: usd(700),
            owner_subscription: None,
            at: NOW,
        }),
        Said::Failed { who, card: c, minor } => EventBody::PaymentFailed(PaymentFailed {
            session,
            fridge,
            customer: known(who),
            card: card(c),
            amount: usd(minor),
            reason: ReasonCode::CARD_DECLINED,
            at: NOW,
        }),
        Said::Enrolled { who, card: c } => EventBody::CardEnrolled(CardEnrolled {
            enrollment: EnrollmentId::from_uuid(uuid::Uuid::from_u128(n as u128)),
            customer: customer(who % 3),
            card: card(c),
            at: NOW,
        }),
    }
}

/// The customers service as the rule book has it.
#[derive(Clone)]
struct Service {
    customers: BTreeMap<usize, CustomerRow>,
    cards: BTreeMap<u8, CardRow>,
}

impl Service {
    fn new() -> Self {
        let customers = (0..3).map(|n| (n, CustomerRow { credit: usd(10_000), ..customer_row(n) })).collect();
        Self { customers, cards: BTreeMap::new() }
    }

    fn card(&mut self, n: u8) -> &mut CardRow {
        self.cards.entry(n).or_insert_with(|| card_row(n))
    }

    fn book(&mut self, said: &Said) {
        match *said {
            Said::Used { who, minor } => {
                if let Some(row) = self.customers.get_mut(&who) {
                    row.credit = row.credit.minus(usd(minor)).unwrap();
                }
            }
            Said::Theft { who, card } => match self.customers.get_mut(&who) {
                Some(row) => row.thefts += 1,
                None => self.card(card).thefts += 1,
            },
            Said::Failed { who, card, minor } => {
                if let Some(row) = self.customers.get_mut(&who) {
                    row.unpaid = row.unpaid.plus(usd(minor)).unwrap();
                }
                let row = self.card(card);
                row.unpaid = row.unpaid.plus(usd(minor)).unwrap();
            }
            Said::Enrolled { who, card: n } => {
                let who = who % 3;
                self.card(n).customer.get_or_insert_with(|| customer(who));
                self.customers.get_mut(&who).unwrap().default_card.get_or_insert_with(|| card(n));
            }
        }
    }

    fn after(said: &[Said]) -> Self {
        let mut service = Self::new();
        said.iter().for_each(|said| service.book(said));
        service
    }
}

fn assert_effective(store: &Store, expected: &Service, when: &str) {
    let reference = store.reference();
    for (n, row) in &expected.customers {
        assert_eq!(reference.customer(&customer(*n)).as_ref(), Some(row), "customer {n}, {when}");
    }
    for n in 0..4 {
        assert_eq!(reference.card(&card(n).token).as_ref(), expected.cards.get(&n), "card {n}, {when}");
    }
}

async fn pull(store: &Store, said: &[Said], customers: usize, cards: usize) {
    let rows = Service::after(&said[..customers]).customers.into_values().collect();
    let booked = i64::try_from(customers).unwrap();
    store.apply_feed(page(booked + 1, booked, rows)).await.unwrap();
    let rows = Service::after(&said[..cards]).cards.into_values().collect();
    let booked = i64::try_from(cards).unwrap();
    store.apply_feed(page::<CardRow>(booked + 1, booked, rows)).await.unwrap();
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (0..4_usize, 0..500_i64).prop_map(|(who, minor)| Said::Used { who, minor }),
        (0..4_usize, 0..4_u8).prop_map(|(who, card)| Said::Theft { who, card }),
        (0..4_usize, 0..4_u8, 1..500_i64).prop_map(|(who, card, minor)| Said::Failed { who, card, minor }),
        (0..3_usize, 0..4_u8).prop_map(|(who, card)| Said::Enrolled { who, card }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn standing_is_the_same_wherever_the_feeds_are(
        said in proptest::collection::vec(said(), 1..20),
        splits in (0..20_usize, 0..20_usize, 0..20_usize, 0..20_usize),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let within = |split: usize| split.min(said.len());
            let first = (within(splits.0), within(splits.1));
            let second = (first.0.max(within(splits.2)), first.1.max(within(splits.3)));
            let expected = Service::after(&said);
            let place = Place::new();
            let store = place.open().await;
            store.apply_feed(page(0, 0, Service::new().customers.into_values().collect())).await.unwrap();
            for (n, said) in said.iter().enumerate() {
                let event = NewEvent { id: event_id(n), body: body(n, said), at: NOW };
                store.commit(tell(vec![event])).await.unwrap();
            }
            assert_effective(&store, &expected, "nothing booked");
            pull(&store, &said, first.0, first.1).await;
            assert_effective(&store, &expected, "a part booked");
            drop(store);
            let store = place.open().await;
            assert_effective(&store, &expected, "reopened");
            pull(&store, &said, second.0, second.1).await;
            assert_effective(&store, &expected, "more booked");
            store.save_cursor("customers", i64::try_from(said.len()).unwrap()).await.unwrap();
            store.prune_events(1000, at(1)).await.unwrap();
            drop(store);
            let store = place.open().await;
            assert_effective(&store, &expected, "pruned and reopened");
            pull(&store, &said, said.len(), said.len()).await;
            assert_effective(&store, &expected, "all booked");
        });
    }
}

#[tokio::test]
async fn between_pages_a_lookup_is_strict_and_after_the_last_it_is_exact() {
    let place = Place::new();
    let store = place.open().await;
    let known = store.reference();
    let row = |thefts| CustomerRow { thefts, credit: usd(100), ..customer_row(0) };
    store.apply_feed(page(1, 0, vec![row(0)])).await.unwrap();
    let theft = NewEvent { id: event_id(1), body: body(1, &Said::Theft { who: 0, card: 1 }), at: NOW };
    store.commit(tell(vec![theft])).await.unwrap();
    assert_eq!(known.customer(&customer(0)).unwrap().thefts, 1);
    store.apply_feed(FeedPage { rows: vec![row(1)], revision: 2, more: true, booked: 1 }).await.unwrap();
    assert!(known.customer(&customer(0)).unwrap().thefts >= 1);
    store.apply_feed(page::<CustomerRow>(2, 1, vec![])).await.unwrap();
    assert_eq!(known.customer(&customer(0)).unwrap().thefts, 1);
    // An operator reverses it: the row says none, and no event of ours is older than the row.
    store.apply_feed(page(3, 1, vec![row(0)])).await.unwrap();
    assert_eq!(known.customer(&customer(0)).unwrap().thefts, 0);
}

#[tokio::test]
async fn an_unknown_card_that_stole_is_known_at_once() {
    let place = Place::new();
    let store = place.open().await;
    let theft = NewEvent { id: event_id(1), body: body(1, &Said::Theft { who: 3, card: 2 }), at: NOW };
    store.commit(tell(vec![theft])).await.unwrap();
    let row = store.reference().card(&card(2).token).unwrap();
    assert_eq!((row.thefts, row.customer, row.blocked, row.unpaid), (1, None, false, usd(0)));
    assert_eq!(store.reference().card(&card(1).token), None);
}

#[tokio::test]
async fn a_blocked_card_stands_for_nobody_and_is_not_charged() {
    let place = Place::new();
    let store = place.open().await;
    store.apply_feed(page(1, 0, vec![customer_row(0)])).await.unwrap();
    store.apply_feed(page(1, 0, vec![CardRow { blocked: true, ..card_row(1) }])).await.unwrap();
    let enrolled = |n, card| NewEvent { id: event_id(n), body: body(n, &Said::Enrolled { who: 0, card }), at: NOW };
    store.commit(tell(vec![enrolled(1, 1)])).await.unwrap();
    let known = store.reference();
    assert_eq!(known.card(&card(1).token).unwrap().customer, None);
    assert_eq!(known.customer(&customer(0)).unwrap().default_card, None);
    store.commit(tell(vec![enrolled(2, 2)])).await.unwrap();
    assert_eq!(known.customer(&customer(0)).unwrap().default_card, Some(card(2)));
}

#[tokio::test]
async fn amounts_that_do_not_add_up_are_taken_strictly() {
    let place = Place::new();
    let store = place.open().await;
    let euro = |minor| pci_contract::Money::new(minor, pci_contract::Currency::parse("EUR").unwrap());
    let row = CustomerRow { credit: euro(900), unpaid: euro(0), ..customer_row(0) };
    store.apply_feed(page(1, 0, vec![row])).await.unwrap();
    let used = NewEvent { id: event_id(1), body: body(1, &Said::Used { who: 0, minor: 1 }), at: NOW };
    let failed = NewEvent { id: event_id(2), body: body(2, &Said::Failed { who: 0, card: 1, minor: 1 }), at: NOW };
    store.commit(tell(vec![used, failed])).await.unwrap();
    let row = store.reference().customer(&customer(0)).unwrap();
    assert_eq!(row.credit, euro(0));
    assert_eq!(row.unpaid, euro(i64::MAX));
}
