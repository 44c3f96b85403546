//! The outbox: positions without gaps, cursors that never go back, and nothing pruned that somebody needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use pci_contract::{CardRow, CustomerRow};
use pci_store::{EVENT_SOURCE, StoreError};
use support::*;

#[tokio::test]
async fn an_event_comes_out_as_an_envelope_in_its_place() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell(vec![tampered(1), tampered(2)])).await.unwrap();
    let events = store.events_after(1, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    let (position, envelope) = &events[0];
    assert_eq!((*position, envelope.sequence.as_str()), (2, "2"));
    assert_eq!((envelope.id, &envelope.body), (event_id(2), &tampered(2).body));
    assert_eq!((envelope.source.as_str(), envelope.subject.as_str()), (EVENT_SOURCE, "FR-0001"));
    assert_eq!((envelope.specversion.as_str(), &envelope.time), ("1.0", &NOW.rfc3339()));
    assert_eq!(store.events_after(0, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_relay_wakes_on_commit() {
    let place = Place::new();
    let store = place.open().await;
    let mut committed = store.committed();
    assert_eq!(*committed.borrow_and_update(), 0);
    let (woken, written) = tokio::join!(committed.changed(), store.commit(tell(vec![tampered(1)])));
    woken.unwrap();
    written.unwrap();
    assert_eq!(*committed.borrow_and_update(), 1);
    // A commit that tells nothing wakes nobody.
    store.take_lease(&fridge(1), "a").await.unwrap();
    assert!(!committed.has_changed().unwrap());
    store.close().await;
    assert_eq!(*place.open().await.committed().borrow(), 1);
}

#[tokio::test]
async fn a_cursor_never_goes_back() {
    let place = Place::new();
    let store = place.open().await;
    assert_eq!(store.cursor("inventory").await.unwrap(), 0);
    store.save_cursor("inventory", 7).await.unwrap();
    store.save_cursor("inventory", 3).await.unwrap();
    assert_eq!(store.cursor("inventory").await.unwrap(), 7);
    let (a, b) = tokio::join!(store.save_cursor("inventory", 9), store.save_cursor("inventory", 8));
    a.unwrap();
    b.unwrap();
    assert_eq!(store.cursor("inventory").await.unwrap(), 9);
    assert_eq!(store.cursor("status").await.unwrap(), 0);
}

#[tokio::test]
async fn only_what_everybody_has_booked_is_pruned() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell((1..=10).map(tampered).collect())).await.unwrap();
    assert_eq!(store.prune_events(100).await.unwrap(), 0, "no subscriber is known");
    store.save_cursor("inventory", 8).await.unwrap();
    store.save_cursor("status", 6).await.unwrap();
    assert_eq!(store.prune_events(100).await.unwrap(), 0, "no feed was read");
    store.apply_feed(page::<CustomerRow>(1, 9, vec![])).await.unwrap();
    assert_eq!(store.prune_events(100).await.unwrap(), 0, "the cards feed was not read");
    store.apply_feed(page::<CardRow>(1, 4, vec![])).await.unwrap();
    assert_eq!(store.prune_events(3).await.unwrap(), 3, "a bounded bite");
    assert_eq!(store.prune_events(100).await.unwrap(), 1, "up to the cards feed's place");
    store.apply_feed(page::<CardRow>(1, 9, vec![])).await.unwrap();
    assert_eq!(store.prune_events(100).await.unwrap(), 2, "up to the slowest subscriber");
    let left: Vec<_> = store.events_after(0, 100).await.unwrap().into_iter().map(|(position, _)| position).collect();
    assert_eq!(left, [7, 8, 9, 10]);
}

#[tokio::test]
async fn positions_go_on_after_everything_was_pruned_and_the_store_reopened() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell(vec![tampered(1), tampered(2)])).await.unwrap();
    store.save_cursor("inventory", 2).await.unwrap();
    store.apply_feed(page::<CustomerRow>(1, 2, vec![])).await.unwrap();
    store.apply_feed(page::<CardRow>(1, 2, vec![])).await.unwrap();
    assert_eq!(store.prune_events(100).await.unwrap(), 2);
    store.close().await;
    let store = place.open().await;
    store.commit(tell(vec![tampered(3)])).await.unwrap();
    assert_eq!(store.events_after(0, 10).await.unwrap()[0].0, 3);
}

#[tokio::test]
async fn an_odd_event_is_refused() {
    for (column, value) in [
        ("type", "'larder.card.enrolled.v1'"),
        ("subject", "'FR-0002'"),
        ("event", "'4242'"),
        ("body", "'{\"type\":\"larder.fridge.tampered.v1\"}'"),
    ] {
        let place = Place::new();
        let store = place.open().await;
        store.commit(tell(vec![tampered(1)])).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("UPDATE outbox SET {column} = {value}"));
        sqlx::raw_sql(sql).execute(&mut place.other().await).await.unwrap();
        let refused = store.events_after(0, 10).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(ref row)) if row.table == "outbox"), "{column}: {refused:?}");
        drop(store);
        let reopened = pci_store::Store::open(&place.path(), NOW).await;
        assert!(matches!(reopened, Err(StoreError::Corrupt(_))), "{column}");
    }
}
