//! The reference copies: pages in, lookups out, the same after a restart; prices frozen; credit never spent twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;

use pci_contract::{
    CardRow, Currency, CustomerRow, FeedPage, FridgeRow, Gtin, IdTokenDigest, LockRow, MealId, MealRow, MealTypeRow,
    PolicyRow,
};
use pci_session::{FridgeInput, Input};
use pci_store::{FeedError, Store};
use support::*;

const GTIN: &str = "09500000000198";

fn gtin() -> Gtin {
    Gtin::parse(GTIN).unwrap()
}

fn meal(serial: usize, place: Option<usize>, owner: Option<usize>) -> MealRow {
    MealRow {
        barcode: MealId::parse(&format!("(01){GTIN}(21)S{serial}")).unwrap(),
        fridge: place.map(fridge),
        owner: owner.map(customer),
        owner_subscription: None,
        sign: owner.map(|_| "red fox".to_owned()),
        prepaid: false,
        expires_at: at(1_000_000_000),
        exposed: false,
        removed: false,
    }
}

fn meal_type(minor: i64) -> MealTypeRow {
    MealTypeRow { gtin: gtin(), name: "Lentil soup".to_owned(), price: usd(minor) }
}

fn fridge_row(n: usize) -> FridgeRow {
    FridgeRow { fridge: fridge(n), in_service: true, hold: usd(2500), open_limit_s: 60, removed: false }
}

#[tokio::test]
async fn rows_are_found_and_are_found_again_after_a_restart() {
    let place = Place::new();
    let store = place.open().await;
    let digest = IdTokenDigest::of("idt-1");
    let policy = PolicyRow { blocked_after_thefts: 2, currency: Currency::USD };
    let row = CustomerRow { id_tokens: vec![digest.clone()], credit: usd(500), ..customer_row(1) };
    store.apply_feed(page(4, 0, vec![policy.clone()])).await.unwrap();
    store.apply_feed(page(5, 0, vec![fridge_row(1), fridge_row(2)])).await.unwrap();
    store.apply_feed(page(6, 0, vec![LockRow { fridge: fridge(2), locked: true }])).await.unwrap();
    store.apply_feed(page(7, 0, vec![meal_type(700)])).await.unwrap();
    let meals = vec![meal(2, Some(1), Some(1)), meal(1, Some(1), Some(1)), meal(3, Some(1), None), meal(4, None, None)];
    store.apply_feed(page(8, 0, meals)).await.unwrap();
    store.apply_feed(page(9, 0, vec![row.clone()])).await.unwrap();
    assert_eq!(store.reference().missing_feeds(), ["cards"]);
    store.apply_feed(page(10, 0, vec![card_row(1)])).await.unwrap();

    let check = |store: &Store| {
        let known = store.reference();
        assert!(known.missing_feeds().is_empty());
        assert_eq!(known.policy(), Some(policy.clone()));
        assert!(!known.fridge(&fridge(1)).unwrap().locked);
        assert!(known.fridge(&fridge(2)).unwrap().locked);
        assert_eq!(known.fridge(&fridge(3)), None);
        assert_eq!(known.customer_by_id_token(&digest), Some(row.clone()));
        assert_eq!(known.customer_by_id_token(&IdTokenDigest::of("idt-2")), None);
        assert_eq!(known.card(&card(1).token), Some(card_row(1)));
        assert_eq!(known.card(&card(2).token), None);
        let own: Vec<_> =
            known.meals_of(&fridge(1), &customer(1)).iter().map(|meal| meal.barcode.to_string()).collect();
        assert_eq!(own, [format!("(01){GTIN}(21)S1"), format!("(01){GTIN}(21)S2")]);
        assert_eq!(known.meal_types_in(&fridge(1)).iter().map(|kind| kind.price).collect::<Vec<_>>(), [usd(700)]);
        assert!(known.meal_types_in(&fridge(2)).is_empty());
        assert_eq!(known.meal(&meal(4, None, None).barcode).as_deref(), Some(&meal(4, None, None)));
        assert_eq!(known.price_at(&gtin(), known.price_revision()), Some(usd(700)));
    };
    check(&store);
    store.close().await;
    let store = place.open().await;
    check(&store);
    assert_eq!(store.feed_revision::<MealRow>().await.unwrap(), 8);
    assert_eq!(store.feed_revision::<CardRow>().await.unwrap(), 10);
}

#[tokio::test]
async fn a_changed_row_replaces_and_a_removed_one_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let known = store.reference();
    let digest = |n: &str| IdTokenDigest::of(n);
    let row =
        |tokens: &[&str]| CustomerRow { id_tokens: tokens.iter().map(|t| digest(t)).collect(), ..customer_row(1) };
    store.apply_feed(page(1, 0, vec![row(&["a", "b"])])).await.unwrap();
    // Twice in one page: the last counts.
    store.apply_feed(page(2, 0, vec![row(&["c"]), row(&["b"])])).await.unwrap();
    assert!(known.customer_by_id_token(&digest("a")).is_none());
    assert!(known.customer_by_id_token(&digest("c")).is_none());
    assert!(known.customer_by_id_token(&digest("b")).is_some());
    store.apply_feed(page(3, 0, vec![CustomerRow { removed: true, ..row(&["b"]) }])).await.unwrap();
    assert!(known.customer_by_id_token(&digest("b")).is_none() && known.customer(&customer(1)).is_none());

    store.apply_feed(page(1, 0, vec![meal(1, Some(1), Some(1))])).await.unwrap();
    store.apply_feed(page(2, 0, vec![meal(1, Some(2), Some(1))])).await.unwrap();
    assert!(known.meals_of(&fridge(1), &customer(1)).is_empty());
    assert_eq!(known.meals_of(&fridge(2), &customer(1)).len(), 1);
    store.apply_feed(page(3, 0, vec![MealRow { removed: true, ..meal(1, Some(2), Some(1)) }])).await.unwrap();
    assert!(known.meal(&meal(1, None, None).barcode).is_none());
    assert!(known.meals_of(&fridge(2), &customer(1)).is_empty());

    store.apply_feed(page(1, 0, vec![fridge_row(1)])).await.unwrap();
    store.apply_feed(page(2, 0, vec![FridgeRow { removed: true, ..fridge_row(1) }])).await.unwrap();
    store.apply_feed(page(1, 0, vec![card_row(1)])).await.unwrap();
    store.apply_feed(page(2, 0, vec![CardRow { removed: true, ..card_row(1) }])).await.unwrap();
    store.close().await;
    let known = place.open().await.reference();
    assert!(known.fridge(&fridge(1)).is_none() && known.card(&card(1).token).is_none());
    assert!(known.customer(&customer(1)).is_none() && known.meal(&meal(1, None, None).barcode).is_none());
}

#[tokio::test]
async fn every_fridge_is_locked_until_the_locks_are_known() {
    let place = Place::new();
    let store = place.open().await;
    let known = store.reference();
    store.apply_feed(page(1, 0, vec![fridge_row(1)])).await.unwrap();
    assert!(known.fridge(&fridge(1)).unwrap().locked);
    store.apply_feed(FeedPage::<LockRow> { rows: vec![], revision: 1, more: true, booked: 0 }).await.unwrap();
    assert!(known.fridge(&fridge(1)).unwrap().locked);
    store.apply_feed(page::<LockRow>(1, 0, vec![])).await.unwrap();
    assert!(!known.fridge(&fridge(1)).unwrap().locked);
    drop(store);
    assert!(!place.open().await.reference().fridge(&fridge(1)).unwrap().locked);
}

#[tokio::test]
async fn a_feed_that_goes_back_is_refused() {
    let place = Place::new();
    let store = place.open().await;
    store.apply_feed(page(5, 7, vec![customer_row(1)])).await.unwrap();
    let blocked = || vec![CustomerRow { blocked: true, ..customer_row(1) }];
    for older in [page(4, 7, blocked()), page(6, 6, blocked())] {
        let refused = store.apply_feed(older).await;
        assert!(matches!(refused, Err(FeedError::WentBack { feed: "customers" })), "{refused:?}");
    }
    assert!(!store.reference().customer(&customer(1)).unwrap().blocked);
    assert_eq!(store.feed_revision::<CustomerRow>().await.unwrap(), 5);
    // What a page says is booked counts only when it is the last one.
    store.apply_feed(FeedPage { rows: blocked(), revision: 6, more: true, booked: 0 }).await.unwrap();
    assert!(store.reference().customer(&customer(1)).unwrap().blocked);
    let many = (0..20_000).map(|_| customer_row(1)).collect();
    assert!(matches!(store.apply_feed(page(9, 9, many)).await, Err(FeedError::Fault(_))));
}

#[tokio::test]
async fn prices_stay_frozen_for_a_session_and_are_forgotten_after_it() {
    let place = Place::new();
    let store = place.open().await;
    let known = store.reference();
    assert_eq!(known.price_revision(), 0);
    for (n, minor) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        store.apply_feed(page(n, 0, vec![meal_type(minor)])).await.unwrap();
    }
    assert_eq!(known.price_revision(), 3, "the same price again is no revision");
    let at = |revision| known.price_at(&gtin(), revision);
    assert_eq!([0, 1, 2, 3, 4].map(at), [None, Some(usd(100)), Some(usd(200)), Some(usd(300)), Some(usd(300))]);

    // An open session froze its prices at revision 3 (the test sessions all do).
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    store.commit(write(unlocked(1, &fridge(1)), fence)).await.unwrap();
    for n in 0..100 {
        store.apply_feed(page(10 + n, 0, vec![meal_type(1000 + n)])).await.unwrap();
    }
    assert_eq!(known.price_revision(), 103);
    assert_eq!((at(2), at(3), at(103)), (None, Some(usd(300)), Some(usd(1099))));
    drop(store);
    let store = place.open().await;
    let known = store.reference();
    assert_eq!(known.price_at(&gtin(), 3), Some(usd(300)), "frozen across a restart");
    assert_eq!(known.price_revision(), 103);

    let done = after(ended(1, &fridge(1)), [Input::Voided]);
    store.commit(write(done, fence)).await.unwrap();
    store.apply_feed(page(200, 0, vec![meal_type(5)])).await.unwrap();
    assert_eq!(known.price_at(&gtin(), 3), None);
    assert_eq!(known.price_at(&gtin(), known.price_revision()), Some(usd(5)));
}

#[tokio::test]
async fn two_sessions_never_spend_the_same_credit() {
    let place = Place::new();
    let store = place.open().await;
    let known = store.reference();
    store.apply_feed(page(1, 0, vec![CustomerRow { credit: usd(500), ..customer_row(1) }])).await.unwrap();
    let reserve = |session, minor| known.reserve_credit(session_id(session), &customer(1), usd(minor)).minor();
    assert_eq!(reserve(1, 300), 300);
    assert_eq!(reserve(2, 300), 200);
    assert_eq!(reserve(3, 300), 0);
    assert_eq!(known.customer(&customer(1)).unwrap().credit, usd(0));
    assert_eq!(reserve(1, 100), 100, "in place of the first");
    assert_eq!(reserve(3, 300), 200);
    known.release_credit(session_id(2));
    known.release_credit(session_id(2));
    assert_eq!(known.customer(&customer(1)).unwrap().credit, usd(200));
    assert_eq!(known.reserve_credit(session_id(4), &customer(2), usd(5)), usd(0), "nobody we know");
    assert_eq!(reserve(4, -5), 0);
}

#[tokio::test]
async fn credit_that_open_sessions_hold_is_held_after_a_restart() {
    let place = Place::new();
    let store = place.open().await;
    store.apply_feed(page(1, 0, vec![CustomerRow { credit: usd(500), ..customer_row(1) }])).await.unwrap();
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    let session = begun(1, &fridge(1), Some(&customer(1)), usd(300));
    store.commit(write(session.clone(), fence)).await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.reference().customer(&customer(1)).unwrap().credit, usd(200));
    let door = [FridgeInput::DoorOpened, FridgeInput::DoorClosed].map(Input::Fridge);
    let ended = after(after(session, [Input::Authorized { amount: usd(2500) }]), door);
    store.commit(write(ended, fence)).await.unwrap();
    drop(store);
    assert_eq!(place.open().await.reference().customer(&customer(1)).unwrap().credit, usd(500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_reserve_no_more_than_there_is() {
    let place = Place::new();
    let store = place.open().await;
    store.apply_feed(page(1, 0, vec![CustomerRow { credit: usd(1000), ..customer_row(1) }])).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let known = Arc::clone(&store.reference());
            tokio::spawn(async move { known.reserve_credit(session_id(n), &customer(1), usd(30)).minor() })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += task.await.unwrap();
    }
    assert_eq!(granted, 1000);
}
