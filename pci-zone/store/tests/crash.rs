//! Crashes and damage: what was answered survives, what was not answered is all there or not at all, and a row that
//! no code of ours could have written is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;

use pci_contract::{CustomerRow, ScannedCode};
use pci_store::{
    Batch, CommitError, Enrollment, IntentWrite, Store, StoreError, StoredCard, TouchKind, TouchRecord, Verb,
};
use support::*;

/// A batch whose parts can be counted against each other afterwards.
fn whole(n: usize, fence: u64) -> Batch {
    let session = session_id(n);
    Batch {
        touches: vec![TouchRecord {
            session,
            sequence: 2,
            kind: TouchKind::Taken,
            code: ScannedCode::Unreadable,
            device_time: NOW,
            received_at: NOW,
        }],
        intents: vec![IntentWrite::Ask {
            key: format!("{session}-authorize-1"),
            session,
            verb: Verb::Authorize,
            amount: usd(2500),
            at: NOW,
        }],
        events: vec![tampered(n)],
        ..write(unlocked(n, &fridge(n)), fence)
    }
}

/// Every batch is there whole or not at all, and the outbox has no gap; says how many there are.
async fn assert_whole(store: &Store, most: usize) -> usize {
    let mut found = 0;
    for n in 0..most {
        let there = store.session(session_id(n)).await.unwrap().is_some();
        assert_eq!(store.touches_of(session_id(n)).await.unwrap().len(), usize::from(there), "{n}");
        found += usize::from(there);
    }
    assert_eq!(store.pending_intents(None, 10_000).await.unwrap().len(), found);
    assert_contiguous(store, i64::try_from(found).unwrap()).await;
    found
}

#[tokio::test]
async fn what_was_answered_survives_a_drop_without_close() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..20 {
        let fence = store.take_lease(&fridge(n), "a").await.unwrap();
        store.commit(whole(n, fence)).await.unwrap();
    }
    drop(store);
    let store = place.open().await;
    assert_eq!(assert_whole(&store, 20).await, 20);
    assert_eq!(store.take_lease(&fridge(0), "b").await.unwrap(), 2, "fences go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_moment_opens_and_holds_whole_batches() {
    const MOST: usize = 300;
    let place = Place::new();
    let store = Arc::new(place.open().await);
    let mut committed = store.committed();
    let writing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let tasks = (0..MOST).map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let fence = store.take_lease(&fridge(n), "a").await.unwrap();
                    store.commit(whole(n, fence)).await.unwrap();
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        })
    };
    let mut copies = 0;
    while !writing.is_finished() && copies < 20 {
        // What a power cut leaves: the file first, then the log, which may have gone on meanwhile. The log was never
        // folded into the file yet, so an older file under a newer log is what the disk could hold.
        let known = usize::try_from(*committed.borrow_and_update()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        for end in ["", "-wal"] {
            let name = format!("purchase.db{end}");
            std::fs::copy(place.path().with_file_name(&name), copy.path().join(&name)).unwrap();
        }
        let reopened = Store::open(&copy.path().join("purchase.db"), NOW).await.unwrap();
        let found = assert_whole(&reopened, MOST).await;
        assert!(found >= known, "what was committed before the copy is in it: {found} of {known}");
        copies += 1;
    }
    writing.await.unwrap();
    assert!(copies > 0);
    assert_eq!(assert_whole(&store, MOST).await, MOST);
}

#[tokio::test]
async fn a_batch_whose_caller_went_away_is_written_all_the_same() {
    let place = Place::new();
    let store = Arc::new(place.open().await);
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    let task = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(whole(1, fence)).await })
    };
    tokio::task::yield_now().await;
    task.abort();
    let _ = task.await;
    // Queued behind it.
    store.save_cursor("inventory", 1).await.unwrap();
    assert_whole(&store, 2).await;
}

#[tokio::test]
async fn an_odd_session_is_refused() {
    for damage in [
        "UPDATE sessions SET stage = 'open'",
        "UPDATE sessions SET busy = FALSE",
        "UPDATE sessions SET done = TRUE",
        "UPDATE sessions SET customer = 'CU-0001'",
        "UPDATE sessions SET token = NULL",
        "UPDATE sessions SET fridge = 'FR-0009'",
        "UPDATE sessions SET price_revision = 4",
        "UPDATE sessions SET opened_at = 0",
        "UPDATE sessions SET fence = -1",
        "UPDATE sessions SET fence = 'one'",
        "UPDATE sessions SET state = '{}'",
        "UPDATE sessions SET state = 'x'",
    ] {
        let place = Place::new();
        let store = place.open().await;
        let fence = store.take_lease(&fridge(1), "a").await.unwrap();
        store.commit(write(unlocked(1, &fridge(1)), fence)).await.unwrap();
        sqlx::raw_sql(damage).execute(&mut place.other().await).await.unwrap();
        let refused = store.session(session_id(1)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{damage}: {refused:?}");
    }
}

#[tokio::test]
async fn other_odd_rows_are_refused() {
    let place = Place::new();
    let store = place.open().await;
    let id = pci_contract::EnrollmentId::from_uuid(uuid::Uuid::from_u128(9));
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    let batch = Batch {
        stored_card: Some(StoredCard { card: card(3), reference: "pm_3".into() }),
        enrollment: Some(Enrollment { id, customer: customer(1), card: card(3), at: NOW }),
        ..whole(1, fence)
    };
    store.commit(batch).await.unwrap();
    let mut other = place.other().await;
    for (damage, table) in [
        ("UPDATE touches SET kind = 'moved'", "touches"),
        ("UPDATE touches SET kind = 'taken', code = 'a jar of jam'", "touches"),
        ("UPDATE intents SET verb = 'keep'", "intents"),
        ("UPDATE intents SET verb = 'void', currency = 'usd'", "intents"),
        ("UPDATE intents SET currency = 'USD', session = 'x'", "intents"),
        ("UPDATE stored_cards SET brand = 'bank'", "stored_cards"),
        ("UPDATE enrollments SET last_four = '42424'", "enrollments"),
    ] {
        sqlx::raw_sql(damage).execute(&mut other).await.unwrap();
        let refused = match table {
            "touches" => store.touches_of(session_id(1)).await.map(|_| ()),
            "intents" => store.pending_intents(None, 9).await.map(|_| ()),
            "stored_cards" => store.stored_card(&card(3).token).await.map(|_| ()),
            _ => store.enrollment(id).await.map(|_| ()),
        };
        assert!(matches!(refused, Err(StoreError::Corrupt(ref row)) if row.table == table), "{damage}: {refused:?}");
    }
}

#[tokio::test]
async fn an_odd_reference_row_keeps_the_store_shut() {
    for damage in [
        "UPDATE reference_rows SET body = '{}'",
        "UPDATE reference_rows SET key = 'CU-0002'",
        "UPDATE reference_rows SET body = replace(body, '\"removed\":false', '\"removed\":true')",
    ] {
        let place = Place::new();
        let store = place.open().await;
        store.apply_feed(page::<CustomerRow>(1, 0, vec![customer_row(1)])).await.unwrap();
        store.close().await;
        sqlx::raw_sql(damage).execute(&mut place.other().await).await.unwrap();
        let refused = Store::open(&place.path(), NOW).await;
        assert!(
            matches!(refused, Err(StoreError::Corrupt(ref row)) if row.table == "reference_rows"),
            "{damage}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn an_edited_migration_keeps_the_store_shut() {
    let place = Place::new();
    place.open().await.close().await;
    sqlx::raw_sql("UPDATE migrations SET text = text || ' '").execute(&mut place.other().await).await.unwrap();
    assert!(matches!(Store::open(&place.path(), NOW).await, Err(StoreError::MigrationChanged { version: 1 })));
}

#[tokio::test]
async fn a_table_that_is_gone_is_a_fault_and_nothing_is_half_written() {
    let place = Place::new();
    let store = place.open().await;
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    sqlx::raw_sql("ALTER TABLE outbox RENAME TO elsewhere").execute(&mut place.other().await).await.unwrap();
    let refused = store.commit(whole(1, fence)).await;
    assert!(matches!(refused, Err(CommitError::Fault(ref fault)) if fault.retry_safe()), "{refused:?}");
    // A batch that does not need it goes through, in the same queue.
    store.save_cursor("inventory", 0).await.unwrap();
    sqlx::raw_sql("ALTER TABLE elsewhere RENAME TO outbox").execute(&mut place.other().await).await.unwrap();
    assert_eq!(assert_whole(&store, 2).await, 0);
    store.commit(whole(1, fence)).await.unwrap();
    assert_eq!(assert_whole(&store, 2).await, 1);
}
