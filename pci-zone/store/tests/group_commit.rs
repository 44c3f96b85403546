//! Group commit: what was answered is there, in order and once; a bad batch hurts itself only; a fenced driver writes
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;

use pci_contract::ScannedCode;
use pci_session::{FridgeInput, Input, Stage};
use pci_store::{
    Batch, CommitError, Contradiction, Enrollment, IntentOutcome, IntentWrite, StoredCard, TouchKind, TouchRecord, Verb,
};
use support::*;

fn ask(n: usize, verb: Verb, minor: i64) -> IntentWrite {
    let session = session_id(n);
    IntentWrite::Ask { key: format!("{session}-{}-1", verb.as_str()), session, verb, amount: usd(minor), at: NOW }
}

fn answer(n: usize, verb: Verb, outcome: IntentOutcome, reference: Option<&str>) -> IntentWrite {
    let key = format!("{}-{}-1", session_id(n), verb.as_str());
    IntentWrite::Answer { key, outcome, reference: reference.map(str::to_owned), at: at(1) }
}

fn intents(intents: Vec<IntentWrite>) -> Batch {
    Batch { intents, ..Batch::default() }
}

fn touch(n: usize, sequence: u64, kind: TouchKind) -> TouchRecord {
    let code = ScannedCode::read("(01)09500000000198(21)00000335");
    TouchRecord { session: session_id(n), sequence, kind, code, device_time: at(5), received_at: at(6) }
}

fn contradiction(result: Result<(), CommitError>) -> Contradiction {
    match result {
        Err(CommitError::Conflict(contradiction)) => contradiction,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_read_as_it_was_written() {
    let place = Place::new();
    let store = place.open().await;
    let fence = store.take_lease(&fridge(1), "driver a").await.unwrap();
    assert_eq!(store.session(session_id(1)).await.unwrap().map(|stored| stored.fence), None);
    let session = unlocked(1, &fridge(1));
    store.commit(write(session.clone(), fence)).await.unwrap();
    let stored = store.session(session_id(1)).await.unwrap().unwrap();
    assert_eq!((stored.session, stored.fence), (session.clone(), fence));
    assert_eq!(store.open_session_of(&fridge(1)).await.unwrap().unwrap().session, session);
    assert_eq!(store.unfinished_sessions(None, 10).await.unwrap().len(), 1);

    let ended = after(session, [FridgeInput::DoorOpened, FridgeInput::DoorClosed].map(Input::Fridge));
    store.commit(write(ended.clone(), fence)).await.unwrap();
    assert!(store.open_session_of(&fridge(1)).await.unwrap().is_none());
    assert_eq!(store.unfinished_sessions(None, 10).await.unwrap()[0].session.stage(), Stage::Ended);
    assert!(store.unfinished_sessions(Some(session_id(1)), 10).await.unwrap().is_empty());
    store.commit(write(after(ended, [Input::Voided]), fence)).await.unwrap();
    assert!(store.unfinished_sessions(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_lost_the_lease_writes_nothing_at_all() {
    let place = Place::new();
    let store = place.open().await;
    let refused = store.commit(write(unlocked(1, &fridge(1)), 1)).await;
    assert!(matches!(refused, Err(CommitError::Fenced { current: 0 })), "{refused:?}");
    let old = store.take_lease(&fridge(1), "driver a").await.unwrap();
    let new = store.take_lease(&fridge(1), "driver b").await.unwrap();
    assert!(new > old);
    let batch = Batch {
        touches: vec![touch(1, 2, TouchKind::Taken)],
        intents: vec![ask(1, Verb::Authorize, 2500)],
        events: vec![tampered(1)],
        ..write(unlocked(1, &fridge(1)), old)
    };
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::Fenced { current }) if current == new), "{refused:?}");
    assert!(store.session(session_id(1)).await.unwrap().is_none());
    assert!(store.touches_of(session_id(1)).await.unwrap().is_empty());
    assert!(store.pending_intents(None, 10).await.unwrap().is_empty());
    assert_contiguous(&store, 0).await;
    store.commit(write(unlocked(1, &fridge(1)), new)).await.unwrap();
    // A fence of the future is no better.
    assert!(matches!(store.commit(write(unlocked(1, &fridge(1)), new + 1)).await, Err(CommitError::Fenced { .. })));
}

#[tokio::test]
async fn a_lease_taken_by_another_process_fences_this_one() {
    let place = Place::new();
    let (old, new) = (place.open().await, place.open().await);
    let fence = old.take_lease(&fridge(1), "replica a").await.unwrap();
    old.commit(write(unlocked(1, &fridge(1)), fence)).await.unwrap();
    let later = new.take_lease(&fridge(1), "replica b").await.unwrap();
    assert!(later > fence);
    assert!(matches!(
        old.commit(write(ended(1, &fridge(1)), fence)).await,
        Err(CommitError::Fenced { current }) if current == later
    ));
    new.commit(write(ended(1, &fridge(1)), later)).await.unwrap();
}

#[tokio::test]
async fn a_fridge_has_one_open_session() {
    let place = Place::new();
    let store = place.open().await;
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    store.commit(write(unlocked(1, &fridge(1)), fence)).await.unwrap();
    assert_eq!(contradiction(store.commit(write(unlocked(2, &fridge(1)), fence)).await), Contradiction::FridgeBusy);
    // The old one ends and the new one begins, both in one group.
    let (first, second) = tokio::join!(
        store.commit(write(ended(1, &fridge(1)), fence)),
        store.commit(write(unlocked(2, &fridge(1)), fence))
    );
    first.unwrap();
    second.unwrap();
    // What has ended cannot be open again, and belongs to its fridge.
    assert_eq!(contradiction(store.commit(write(unlocked(1, &fridge(1)), fence)).await), Contradiction::SessionDiffers);
    let other = store.take_lease(&fridge(2), "a").await.unwrap();
    assert_eq!(contradiction(store.commit(write(ended(1, &fridge(2)), other)).await), Contradiction::SessionDiffers);
}

#[tokio::test]
async fn one_bad_batch_among_a_hundred_sinks_nobody_else() {
    let place = Place::new();
    let store = Arc::new(place.open().await);
    let mut fences = Vec::new();
    for n in 0..100 {
        fences.push(store.take_lease(&fridge(n), "a").await.unwrap());
    }
    let mut tasks = Vec::new();
    for (n, fence) in fences.into_iter().enumerate() {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut batch = write(unlocked(n, &fridge(n)), fence);
            batch.events.push(tampered(n));
            match n {
                // An answer to what was never asked.
                42 => batch.intents.push(answer(n, Verb::Capture, IntentOutcome::Done, None)),
                // The fence of nobody.
                77 => batch.session.as_mut().unwrap().fence = 99,
                _ => batch.intents.push(ask(n, Verb::Authorize, 2500)),
            }
            store.commit(batch).await
        }));
    }
    for (n, task) in tasks.into_iter().enumerate() {
        let result = task.await.unwrap();
        match n {
            42 => assert_eq!(contradiction(result), Contradiction::AnswerDiffers),
            77 => assert!(matches!(result, Err(CommitError::Fenced { current: 1 })), "{result:?}"),
            _ => result.unwrap(),
        }
        assert_eq!(store.session(session_id(n)).await.unwrap().is_some(), n != 42 && n != 77, "{n}");
    }
    assert_contiguous(&store, 98).await;
    assert_eq!(store.pending_intents(None, 1000).await.unwrap().len(), 98);
}

#[tokio::test]
async fn many_writes_of_one_session_leave_its_last_state_and_all_its_traces() {
    let place = Place::new();
    let store = Arc::new(place.open().await);
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    let begun = begun(1, &fridge(1), None, usd(0));
    let unlocked = after(begun.clone(), [Input::Authorized { amount: usd(2500) }]);
    let open = after(unlocked.clone(), [Input::Fridge(FridgeInput::DoorOpened)]);
    let closed = after(open.clone(), [Input::Fridge(FridgeInput::DoorClosed)]);
    let asked = Batch { intents: vec![ask(1, Verb::Authorize, 2500)], ..write(begun, fence) };
    let answered = Batch {
        intents: vec![answer(1, Verb::Authorize, IntentOutcome::Done, Some("auth-1"))],
        events: vec![tampered(1)],
        ..write(unlocked, fence)
    };
    let touched = Batch {
        touches: vec![touch(1, 3, TouchKind::Taken), touch(1, 4, TouchKind::Returned), touch(1, 3, TouchKind::Taken)],
        ..write(open, fence)
    };
    let last = Batch { events: vec![tampered(2), tampered(3)], ..write(closed.clone(), fence) };
    let (a, b, c, d) =
        tokio::join!(store.commit(asked), store.commit(answered), store.commit(touched), store.commit(last));
    for result in [a, b, c, d] {
        result.unwrap();
    }
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().session, closed);
    assert_eq!(
        store.touches_of(session_id(1)).await.unwrap(),
        [touch(1, 3, TouchKind::Taken), touch(1, 4, TouchKind::Returned)]
    );
    assert_eq!(store.authorization_of(session_id(1)).await.unwrap().as_deref(), Some("auth-1"));
    let told: Vec<_> = store.events_after(0, 10).await.unwrap().into_iter().map(|(_, event)| event.id).collect();
    assert_eq!(told, [event_id(1), event_id(2), event_id(3)]);
}

#[tokio::test]
async fn of_many_who_read_at_once_each_gets_his_own() {
    const SESSIONS: usize = 100;
    let place = Place::new();
    let store = Arc::new(place.open().await);
    for n in 1..=SESSIONS {
        let fence = store.take_lease(&fridge(n), "a").await.unwrap();
        let held = answer(n, Verb::Authorize, IntentOutcome::Done, Some(&format!("auth-{n}")));
        let asked = vec![ask(n, Verb::Authorize, 2500), held];
        store.commit(Batch { intents: asked, ..write(unlocked(n, &fridge(n)), fence) }).await.unwrap();
    }
    // Each asks twice, and as many ask for what is not there.
    let readers: Vec<_> = (1..=2 * SESSIONS)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (id, there) = (session_id(n), n <= SESSIONS);
                let (one, two, held) = tokio::join!(store.session(id), store.session(id), store.authorization_of(id));
                for read in [one, two] {
                    assert_eq!(read.unwrap().map(|stored| stored.session), there.then(|| unlocked(n, &fridge(n))));
                }
                assert_eq!(held.unwrap(), there.then(|| format!("auth-{n}")));
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_sent_again_changes_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    let batch = || Batch {
        touches: vec![touch(1, 2, TouchKind::Taken)],
        intents: vec![
            ask(1, Verb::Authorize, 2500),
            answer(1, Verb::Authorize, IntentOutcome::Done, Some("auth-1")),
            ask(1, Verb::Capture, 700),
        ],
        events: vec![tampered(1), tampered(2)],
        stored_card: Some(StoredCard { card: card(7), reference: "pm_1".into() }),
        ..write(unlocked(1, &fridge(1)), fence)
    };
    for _ in 0..3 {
        store.commit(batch()).await.unwrap();
    }
    assert_contiguous(&store, 2).await;
    assert_eq!(store.touches_of(session_id(1)).await.unwrap().len(), 1);
    let pending = store.pending_intents(None, 10).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].verb, pending[0].amount, pending[0].attempts), (Verb::Capture, usd(700), 3));
    assert_eq!((&pending[0].fridge, pending[0].authorization.as_deref()), (&fridge(1), Some("auth-1")));
    assert_eq!(store.stored_card(&card(7).token).await.unwrap().unwrap().reference, "pm_1");
    // And the next event goes on where the last one was.
    store.commit(tell(vec![tampered(2), tampered(3)])).await.unwrap();
    assert_contiguous(&store, 3).await;
}

#[tokio::test]
async fn an_intent_is_what_it_was_and_its_first_answer_stands() {
    let place = Place::new();
    let store = place.open().await;
    let fence = store.take_lease(&fridge(1), "a").await.unwrap();
    store.commit(write(unlocked(1, &fridge(1)), fence)).await.unwrap();
    store.commit(intents(vec![ask(1, Verb::Capture, 700)])).await.unwrap();
    let key = format!("{}-capture-1", session_id(1));
    let asked = store.intent(&key).await.unwrap().unwrap();
    assert_eq!((asked.amount, asked.outcome), (usd(700), None));
    assert_eq!(
        contradiction(store.commit(intents(vec![ask(1, Verb::Capture, 701)])).await),
        Contradiction::IntentDiffers
    );
    store.commit(intents(vec![answer(1, Verb::Capture, IntentOutcome::Declined, None)])).await.unwrap();
    store.commit(intents(vec![answer(1, Verb::Capture, IntentOutcome::Declined, None)])).await.unwrap();
    assert_eq!(
        contradiction(store.commit(intents(vec![answer(1, Verb::Capture, IntentOutcome::Done, None)])).await),
        Contradiction::AnswerDiffers
    );
    assert_eq!(store.intent(&key).await.unwrap().unwrap().outcome, Some(IntentOutcome::Declined));
    assert!(store.pending_intents(None, 10).await.unwrap().is_empty());
    // Contradictions inside one batch.
    let both = vec![ask(1, Verb::Refund, 1), ask(1, Verb::Refund, 2)];
    assert_eq!(contradiction(store.commit(intents(both)).await), Contradiction::IntentDiffers);
    let both = vec![
        ask(1, Verb::Void, 0),
        answer(1, Verb::Void, IntentOutcome::Done, None),
        answer(1, Verb::Void, IntentOutcome::Dropped, None),
    ];
    assert_eq!(contradiction(store.commit(intents(both)).await), Contradiction::AnswerDiffers);
    assert_eq!(store.intent(&format!("{}-void-1", session_id(1))).await.unwrap(), None);
}

#[tokio::test]
async fn an_enrolment_counts_once() {
    let place = Place::new();
    let store = place.open().await;
    let id = pci_contract::EnrollmentId::from_uuid(uuid::Uuid::from_u128(9));
    let enrollment = Enrollment { id, customer: customer(1), card: card(3), at: NOW };
    let batch = |event| Batch {
        enrollment: Some(enrollment.clone()),
        stored_card: Some(StoredCard { card: card(3), reference: "pm_3".into() }),
        ..tell(vec![tampered(event)])
    };
    // Twice at once, and once more: the event of the first is the only one.
    let (a, b) = tokio::join!(store.commit(batch(1)), store.commit(batch(2)));
    a.unwrap();
    b.unwrap();
    store.commit(batch(3)).await.unwrap();
    assert_eq!(store.enrollment(id).await.unwrap(), Some(enrollment.clone()));
    assert_contiguous(&store, 1).await;
    assert_eq!(store.events_after(0, 9).await.unwrap()[0].1.id, event_id(1));
}

#[tokio::test]
async fn numbers_and_sizes_are_bounded() {
    let place = Place::new();
    let store = place.open().await;
    let batch = Batch { touches: vec![touch(1, u64::MAX, TouchKind::Taken)], ..Batch::default() };
    assert_eq!(contradiction(store.commit(batch).await), Contradiction::Number);
    let batch = Batch { touches: vec![touch(1, 1, TouchKind::Taken); 5000], ..Batch::default() };
    assert_eq!(contradiction(store.commit(batch).await), Contradiction::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_at_once() {
    const TASKS: usize = 64;
    const ROUNDS: usize = 5;
    let place = Place::new();
    let store = Arc::new(place.open().await);
    let mut committed = store.committed();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let n = task * ROUNDS + round;
                    let place = fridge(task);
                    let fence = store.take_lease(&place, "a").await.unwrap();
                    store.commit(write(unlocked(n, &place), fence)).await.unwrap();
                    let batch = Batch { events: vec![tampered(n)], ..write(ended(n, &place), fence) };
                    store.commit(batch).await.unwrap();
                    let stored = store.session(session_id(n)).await.unwrap().unwrap();
                    assert_eq!(stored.session.stage(), Stage::Ended);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = i64::try_from(TASKS * ROUNDS).unwrap();
    assert_contiguous(&store, count).await;
    assert_eq!(*committed.borrow_and_update(), count);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(tell(vec![tampered(1)])).await.unwrap();
    store.close().await;
    store.close().await;
    let refused = store.commit(tell(vec![tampered(2)])).await;
    assert!(matches!(refused, Err(CommitError::Fault(ref fault)) if !fault.retry_safe()), "{refused:?}");
    assert_contiguous(&place.open().await, 1).await;
}

/// Not a test of speed: prints what a group is worth on this machine, for whoever looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_is_worth() {
    const SESSIONS: usize = 600;
    let place = Place::new();
    let store = Arc::new(place.open().await);
    for n in 0..SESSIONS {
        store.take_lease(&fridge(n), "a").await.unwrap();
        if n > 40 {
            break;
        }
    }
    let alone = tokio::time::Instant::now();
    for n in 0..40 {
        store.commit(write(unlocked(n, &fridge(n)), 1)).await.unwrap();
        store.commit(Batch { events: vec![tampered(n)], ..write(ended(n, &fridge(n)), 1) }).await.unwrap();
    }
    let alone = 40.0 / alone.elapsed().as_secs_f64();
    let leases = (1000..1000 + SESSIONS).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.take_lease(&fridge(n), "a").await.unwrap() })
    });
    for lease in leases.collect::<Vec<_>>() {
        lease.await.unwrap();
    }
    let together = tokio::time::Instant::now();
    let tasks = (1000..1000 + SESSIONS).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            store.commit(write(unlocked(n, &fridge(n)), 1)).await.unwrap();
            store.commit(Batch { events: vec![tampered(n)], ..write(ended(n, &fridge(n)), 1) }).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let together = 600.0 / together.elapsed().as_secs_f64();
    println!("sessions a second, two writes each: {alone:.0} one at a time, {together:.0} in groups");
    assert_contiguous(&store, 640).await;
}

#[tokio::test]
async fn intents_are_read_page_by_page_and_none_is_hidden() {
    let place = Place::new();
    let store = place.open().await;
    for n in 1..=5 {
        let fence = store.take_lease(&fridge(n), "a").await.unwrap();
        let intents = vec![ask(n, Verb::Authorize, 2500)];
        store.commit(Batch { intents, ..write(begun(n, &fridge(n), None, usd(0)), fence) }).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let cursor = after.as_ref().map(|(at, key): &(_, String)| (*at, key.as_str()));
        let page = store.pending_intents(cursor, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.asked_at, last.key.clone()));
        seen.extend(page.into_iter().map(|intent| intent.session));
    }
    assert_eq!(seen, (1..=5).map(session_id).collect::<Vec<_>>(), "asked at one time, and told apart by their keys");
}
