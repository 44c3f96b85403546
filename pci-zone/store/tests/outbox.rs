//! The outbox: positions without gaps, cursors that never go back, and nothing pruned that somebody needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use pci_contract::{CardRow, CustomerRow, Envelope};
use pci_store::{EVENT_SOURCE, NewEvent, Store, StoreError};
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
async fn more_events_than_a_statement_takes_keep_their_order() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell(vec![tampered(1)])).await.unwrap();
    store.commit(tell((2..=200).map(tampered).collect())).await.unwrap();
    let events = store.events_after(0, 1_000).await.unwrap();
    let told: Vec<_> = events.iter().map(|(position, envelope)| (*position, envelope.id)).collect();
    let expected: Vec<_> = (1..=200).zip((1..=200).map(event_id)).collect();
    assert_eq!(told, expected);
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
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 0, "no subscriber is known");
    store.save_cursor("inventory", 8).await.unwrap();
    store.save_cursor("status", 6).await.unwrap();
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 0, "no feed was read");
    store.apply_feed(page::<CustomerRow>(1, 9, vec![])).await.unwrap();
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 0, "the cards feed was not read");
    store.apply_feed(page::<CardRow>(1, 4, vec![])).await.unwrap();
    assert_eq!(store.prune_events(3, at(1)).await.unwrap(), 3, "a bounded bite");
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 1, "up to the cards feed's place");
    store.apply_feed(page::<CardRow>(1, 9, vec![])).await.unwrap();
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 2, "up to the slowest subscriber");
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
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 2);
    store.close().await;
    let store = place.open().await;
    store.commit(tell(vec![tampered(3)])).await.unwrap();
    assert_eq!(store.events_after(0, 10).await.unwrap()[0].0, 3);
}

/// Everybody has booked what there is.
async fn booked_by_all(store: &Store, position: i64) {
    store.save_cursor("inventory", position).await.unwrap();
    store.apply_feed(page::<CustomerRow>(1, position, vec![])).await.unwrap();
    store.apply_feed(page::<CardRow>(1, position, vec![])).await.unwrap();
}

#[tokio::test]
async fn what_is_booked_is_kept_for_a_while_and_pruned_without_a_gap() {
    let place = Place::new();
    let store = place.open().await;
    // The third was made before the second, on another fridge's line.
    for (n, made) in [(1, 10), (2, 30), (3, 20), (4, 40)] {
        store.commit(tell(vec![NewEvent { at: at(made), ..tampered(n) }])).await.unwrap();
    }
    booked_by_all(&store, 4).await;
    assert_eq!(store.prune_events(100, at(10)).await.unwrap(), 0, "an event of that very moment stays");
    assert_eq!(store.prune_events(100, at(25)).await.unwrap(), 1, "the third is old and comes after a young one");
    assert_eq!(store.prune_events(100, at(31)).await.unwrap(), 2);
    assert_eq!(store.events_after(0, 9).await.unwrap()[0].0, 4);
}

#[tokio::test]
async fn a_cursor_is_set_back_as_far_as_the_events_are_kept() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell((1..=6).map(tampered).collect())).await.unwrap();
    booked_by_all(&store, 6).await;
    assert_eq!(store.prune_events(2, at(1)).await.unwrap(), 2);
    assert!(!store.set_cursor_back("inventory", 1).await.unwrap(), "event 2 is gone");
    assert!(!store.set_cursor_back("inventory", 6).await.unwrap(), "that is no way back");
    assert!(!store.set_cursor_back("status", 2).await.unwrap(), "nobody of that name");
    assert_eq!(store.cursor("inventory").await.unwrap(), 6);
    assert!(store.set_cursor_back("inventory", 2).await.unwrap());
    assert_eq!(store.cursor("inventory").await.unwrap(), 2);
    assert_eq!(store.prune_events(100, at(1)).await.unwrap(), 0, "it is needed again");
}

#[tokio::test]
async fn an_event_as_text_is_the_same_envelope() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell((1..=5).map(tampered).collect())).await.unwrap();
    let texts = store.event_texts_after(1, 3, u32::MAX).await.unwrap();
    let read: Vec<(i64, Envelope)> =
        texts.iter().map(|text| (text.position, serde_json::from_str(&text.json).unwrap())).collect();
    assert_eq!(read, store.events_after(1, 3).await.unwrap());
}

#[tokio::test]
async fn events_as_text_are_bounded_by_their_bytes() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell((1..=9).map(tampered).collect())).await.unwrap();
    let positions = async |bytes: u32| -> Vec<i64> {
        let texts = store.event_texts_after(2, 4, bytes).await.unwrap();
        assert!(texts.len() <= 1 || texts.iter().map(|text| text.json.len()).sum::<usize>() <= bytes as usize);
        texts.into_iter().map(|text| text.position).collect()
    };
    assert_eq!(positions(u32::MAX).await, [3, 4, 5, 6]);
    assert_eq!(positions(1_500).await, [3, 4]);
    assert_eq!(positions(0).await, [3], "one that is too large alone goes alone");
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
        let refused = store.event_texts_after(0, 10, u32::MAX).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{column}: {refused:?}");
        drop(store);
        let reopened = pci_store::Store::open(&place.path(), NOW).await;
        assert!(matches!(reopened, Err(StoreError::Corrupt(_))), "{column}");
    }
}
