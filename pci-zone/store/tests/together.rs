//! A group means what its parts would have meant one after another.
//!
//! The same writes go to two stores: to one all at once, so that they share transactions, to the other one by one. A
//! failure is any write that hears another answer, and any row that differs afterwards. Writes are drawn so that they
//! collide: few fridges, few sessions, fences that may be old, answers that may have no question, events told twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;

use pci_contract::{EnrollmentId, ScannedCode};
use pci_session::{FridgeInput, Input};
use pci_store::{
    Batch, CommitError, Enrollment, IntentOutcome, IntentWrite, Store, StoredCard, TouchKind, TouchRecord, Verb,
};
use proptest::prelude::*;
use sqlx::Row;
use support::*;

const FRIDGES: usize = 2;
const SESSIONS: usize = 4;

/// One caller's write.
#[derive(Debug, Clone)]
enum Write {
    Lease { fridge: usize },
    Cursor { position: i64 },
    Batch(Parts),
}

/// A batch, as far as it can differ.
#[derive(Debug, Clone)]
struct Parts {
    session: Option<(usize, usize, u64)>,
    touch: Option<(usize, u64)>,
    ask: Option<(usize, i64)>,
    answer: Option<(usize, bool)>,
    events: Vec<usize>,
    card: Option<u8>,
    enrollment: Option<u8>,
}

impl Parts {
    fn batch(&self) -> Batch {
        let key = |n: usize| format!("{}-capture-1", session_id(n));
        let mut batch = self.session.map_or_else(Batch::default, |(n, stage, fence)| {
            // A session stays at its fridge, but for one that tries another's.
            let place = fridge(if stage == 9 { (n + 1) % FRIDGES } else { n % FRIDGES });
            let begun = begun(n, &place, None, usd(0));
            let session = match stage {
                0 => begun,
                1 => after(begun, [Input::Authorized { amount: usd(2500) }]),
                2 => after(unlocked(n, &place), [Input::Fridge(FridgeInput::DoorOpened)]),
                3 => after(ended(n, &place), [Input::Voided]),
                _ => ended(n, &place),
            };
            write(session, fence)
        });
        batch.touches.extend(self.touch.map(|(n, sequence)| TouchRecord {
            session: session_id(n),
            sequence,
            kind: TouchKind::Taken,
            code: ScannedCode::Unreadable,
            device_time: NOW,
            received_at: NOW,
        }));
        batch.intents.extend(self.ask.map(|(n, minor)| IntentWrite::Ask {
            key: key(n),
            session: session_id(n),
            verb: Verb::Capture,
            amount: usd(minor),
            at: NOW,
        }));
        batch.intents.extend(self.answer.map(|(n, done)| IntentWrite::Answer {
            key: key(n),
            outcome: if done { IntentOutcome::Done } else { IntentOutcome::Declined },
            reference: done.then(|| "cap-1".to_owned()),
            at: NOW,
        }));
        batch.events = self.events.iter().copied().map(tampered).collect();
        batch.stored_card = self.card.map(|n| StoredCard { card: card(n), reference: format!("pm_{n}") });
        batch.enrollment = self.enrollment.map(|n| Enrollment {
            id: EnrollmentId::from_uuid(uuid::Uuid::from_u128(u128::from(n))),
            customer: customer(1),
            card: card(n),
            at: NOW,
        });
        batch
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        proptest::option::weighted(0.7, (0..SESSIONS, prop_oneof![9 => 0..5_usize, 1 => Just(9)], 0..4_u64)),
        proptest::option::of((0..SESSIONS, 1..4_u64)),
        proptest::option::of((0..SESSIONS, prop_oneof![5 => Just(700_i64), 1 => Just(701)])),
        proptest::option::weighted(0.3, (0..SESSIONS, any::<bool>())),
        proptest::collection::vec(0..12_usize, 0..3),
        proptest::option::weighted(0.2, 0..3_u8),
        proptest::option::weighted(0.2, 0..3_u8),
    )
        .prop_map(|(session, touch, ask, answer, events, card, enrollment)| Parts {
            session,
            touch,
            ask,
            answer,
            events,
            card,
            enrollment,
        })
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let one = prop_oneof![
        2 => (0..FRIDGES).prop_map(|fridge| Write::Lease { fridge }),
        1 => (0..20_i64).prop_map(|position| Write::Cursor { position }),
        10 => parts().prop_map(Write::Batch),
    ];
    proptest::collection::vec(one, 1..40)
}

/// What a write heard, without the cause of a fault.
async fn perform(store: &Store, write: &Write) -> String {
    let heard = |result: Result<(), CommitError>| match result {
        Ok(()) => "done".to_owned(),
        Err(CommitError::Fault(fault)) => panic!("{fault}"),
        Err(error) => error.to_string(),
    };
    match write {
        Write::Lease { fridge: n } => format!("fence {}", store.take_lease(&fridge(*n), "a").await.unwrap()),
        Write::Cursor { position } => heard(store.save_cursor("inventory", *position).await),
        Write::Batch(parts) => heard(store.commit(parts.batch()).await),
    }
}

/// Every row of every table that writes touch.
async fn contents(place: &Place) -> Vec<String> {
    let mut connection = place.other().await;
    let mut all = Vec::new();
    for (table, columns) in [
        ("leases", "fridge || '|' || fence || '|' || holder"),
        ("sessions", "session || '|' || fridge || '|' || fence || '|' || stage || '|' || state"),
        ("touches", "session || '|' || sequence || '|' || kind || '|' || code"),
        (
            "intents",
            "intent || '|' || amount_minor || '|' || attempts || '|' || COALESCE(outcome || COALESCE(reference, ''), '')",
        ),
        ("outbox", "position || '|' || event || '|' || body"),
        ("counters", "counter || '|' || reached"),
        ("cursors", "subscriber || '|' || position"),
        ("stored_cards", "token || '|' || reference"),
        ("enrollments", "enrollment || '|' || token"),
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {columns} FROM {table} ORDER BY 1"));
        for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
            all.push(format!("{table}: {}", row.get::<String, _>(0)));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn together_is_as_one_after_another(writes in writes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (apart, together) = (Place::new(), Place::new());
            let store = apart.open().await;
            let mut expected = Vec::new();
            for write in &writes {
                expected.push(perform(&store, write).await);
            }
            store.close().await;

            // On one thread tasks run in the order they were spawned, so they queue in that order.
            let store = Arc::new(together.open().await);
            let tasks: Vec<_> = writes
                .iter()
                .cloned()
                .map(|write| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move { perform(&store, &write).await })
                })
                .collect();
            let mut heard = Vec::new();
            for task in tasks {
                heard.push(task.await.unwrap());
            }
            store.close().await;
            assert_eq!(heard, expected);
            assert_eq!(contents(&together).await, contents(&apart).await);
        });
    }
}
