//! The card processor fails and comes back: before the door opens, while it is open, and when it has closed. The door
//! stays shut rather than open on a promise nobody can keep; a receipt waits for no processor; what it holds and nobody
//! needs is let go, whoever was killed meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::time::Duration;

use fridge_agent::Seen;
use serde_json::{Value, json};
use single_node::stack::PURCHASE;
use support::fridge::Fridge;
use support::house::{PATIENCE, eventually, in_house};
use support::stage::{CALL_MS, Stage, unraisable};
use support::visit::{HOLD_MINOR, STEPS, Step, act, comes_of, walk};
use support::world::{OpenWith, Session};
use tokio::time::Instant;

/// A receipt that waits for no processor is there by then.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Who was turned away comes again after that.
const COME_AGAIN: Duration = Duration::from_millis(200);

#[test]
fn the_processor_fails_and_comes_back() {
    in_house(async |layout| {
        let mut stage = Stage::set(layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        fails_at_open(&mut stage).await;
        fails_while_the_door_is_open(&mut stage).await;
        fails_at_close(&mut stage).await;
        a_hold_that_two_runs_asked_for_is_released(&mut stage).await;
        stage.the_books_agree().await;
    });
}

async fn fails_at_open(stage: &mut Stage) {
    let slower_than_a_call = CALL_MS * 2;
    for fault in [
        json!({ "down": true }),
        json!({ "fail_5xx": true }),
        json!({ "delay_ms": slower_than_a_call }),
        json!({ "lose_answers_for": ["authorize"] }),
        json!({ "lose_answers_for": ["store_card"] }),
    ] {
        let (fridge, [refused, next, _], _) = stage.fridge();
        stage.house.switch(fault.clone()).await;
        assert_eq!(fridge.play(&refused).await, Err("payment_unavailable".to_owned()), "{fault}");
        assert!(fridge.controls.is_locked());
        stage.refused(&refused, "payment_unavailable");
        stage.house.switch(well()).await;
        stage.house.nothing_held().await;
        sells_again(stage, &fridge, next).await;
        fridge.shut_down().await;
    }
    // Every second answer is lost: each call is made again with its own key, and the customer notices nothing.
    let (fridge, [shopped, ..], _) = stage.fridge();
    stage.house.switch(json!({ "lose_answers": 2 })).await;
    assert_eq!(fridge.play(&shopped).await, Ok(("charged".to_owned(), 890)));
    stage.played(&shopped);
    stage.is_settled(&shopped).await;
    stage.house.switch(well()).await;
    fridge.shut_down().await;
}

/// For a moment nobody is let in, so that not everybody waits for a processor that is down; then one is.
async fn sells_again(stage: &mut Stage, fridge: &Fridge, mut session: Session) {
    let since = Instant::now();
    while let Err(reason) = fridge.play(&session).await {
        assert_eq!(reason, "payment_unavailable");
        assert!(since.elapsed() < PATIENCE, "the door opens again in time");
        stage.refused(&session, &reason);
        let turn = u128::try_from(stage.outcomes.len()).unwrap();
        session.session = uuid::Uuid::from_u128(turn + 1).to_string();
        tokio::time::sleep(COME_AGAIN).await;
    }
    stage.played(&session);
}

/// The first run is killed when the processor holds the money and nobody has heard; the second cannot reach the
/// processor at all, and so cannot say that it never saw the request.
async fn a_hold_that_two_runs_asked_for_is_released(stage: &mut Stage) {
    let (fridge, [session, ..], _) = stage.fridge();
    stage.house.switch(json!({ "lose_answers_for": ["authorize"] })).await;
    fridge.show(&session).await;
    eventually("the processor holds the money", async || (!stage.payments(&session).await.is_empty()).then_some(()))
        .await;
    stage.house.switch(json!({ "down": true })).await;
    stage.house.kill(PURCHASE).await;
    assert_eq!(fridge.answer(&session).await, Err("payment_unavailable".to_owned()));
    stage.refused(&session, "payment_unavailable");
    stage.house.switch(well()).await;
    stage.house.nothing_held().await;
    assert_eq!(stage.payments(&session).await, [("canceled".to_owned(), 0)]);
    fridge.shut_down().await;
}

async fn fails_while_the_door_is_open(stage: &mut Stage) {
    // It refuses to hold more: what it holds is taken, the rest is owed, and the next door stays shut for it.
    let (fridge, [next, ..], large) = stage.fridge();
    let mine = |session: &Session| Session { open_with: OpenWith::Card(unraisable()), ..session.clone() };
    let (large, next) = (mine(&large), mine(&next));
    stage.house.decline(json!({ "increment_limits": { unraisable().pan: 0 } })).await;
    walk(&fridge, &large, &STEPS[..8]).await;
    fridge.see("that the limit is reached", |seen| matches!(seen, Seen::LimitReached { .. })).await;
    walk(&fridge, &large, &[Step::CloseDoor]).await;
    let outcome = stage.played(&large);
    assert_eq!(outcome.captured_minor(), HOLD_MINOR);
    assert_eq!(fridge.play(&next).await, Err("unpaid_balance".to_owned()));
    assert_eq!(stage.played(&next).reason.as_deref(), Some("unpaid_balance"));
    fridge.shut_down().await;

    // It cannot be asked to hold more: nobody owes what nobody refused.
    let (fridge, _, large) = stage.fridge();
    walk(&fridge, &large, &STEPS[..6]).await;
    stage.house.switch(json!({ "down": true })).await;
    walk(&fridge, &large, &STEPS[6..8]).await;
    act(&fridge, &large, Step::CloseDoor).await;
    stage.house.switch(well()).await;
    assert_eq!(fridge.receipt(&large).await.0, "charged");
    assert_eq!(stage.played(&large).unpaid_minor, 0);
    fridge.shut_down().await;
}

async fn fails_at_close(stage: &mut Stage) {
    for (fault, kills, buys) in [
        (json!({ "down": true }), false, true),
        (json!({ "delay_ms": 3 * CALL_MS }), false, true),
        (json!({ "lose_answers_for": ["capture"] }), true, true),
        (json!({ "lose_answers_for": ["void"] }), true, false),
    ] {
        let (fridge, [mut session, ..], _) = stage.fridge();
        if !buys {
            session.touches.clear();
        }
        let steps: &[Step] = if buys { &STEPS[..3] } else { &STEPS[..2] };
        walk(&fridge, &session, steps).await;
        stage.house.switch(fault.clone()).await;
        let journaled = fridge.journaled(&session.session);
        let closed = Instant::now();
        act(&fridge, &session, Step::CloseDoor).await;
        if buys {
            comes_of(&fridge, &session, Step::CloseDoor, journaled).await;
        } else {
            assert_eq!(fridge.receipt(&session).await.0, "no_purchase");
        }
        assert!(closed.elapsed() < AT_ONCE, "{fault}: the receipt came after {:?}", closed.elapsed());
        stage.played(&session);
        let booked = eventually("it is booked", async || stage.settlement(&session).await).await;
        assert_eq!(booked, "pending", "{fault}");
        if kills {
            // Killed when the processor has acted, before the answer is written down.
            eventually("the processor has acted", async || {
                (stage.payments(&session).await[0].0 != "requires_capture").then_some(())
            })
            .await;
            stage.house.kill(PURCHASE).await;
            stage.house.works(PURCHASE).await;
            assert_eq!(stage.settlement(&session).await.as_deref(), Some("pending"));
        }
        stage.house.switch(well()).await;
        stage.is_settled(&session).await;
        fridge.shut_down().await;
    }
}

/// All switches as they are at first.
fn well() -> Value {
    json!({ "down": false, "fail_5xx": false, "delay_ms": 0, "lose_answers": 0, "lose_answers_for": [] })
}
