//! What must hold when streams are cut, either side dies or the network is away: the service hears each message once and
//! in order, the fridge forgets nothing before the last word, and no door opens on a guess.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use fridge_agent::core::TouchKind;
use fridge_agent::hardware::Siren;
use fridge_agent::{Limits, Seen};
use support::customer::{WHOLE, buy, heard_whole, step};
use support::fake::Break;
use support::{MEAL, World};

async fn bought_in_spite_of(broken: &[Break]) -> World {
    let world = World::with(Limits { silence_ms: 300, ..Limits::default() }).await;
    world.fake.with(|state| state.breaks = broken.iter().copied().collect());
    let (session, outcome) = buy(&world).await;
    assert_eq!(outcome, "charged", "{broken:?}");
    heard_whole(&world, &session);
    assert!(world.files().is_empty());
    world
}

#[tokio::test]
async fn a_stream_cut_at_any_message_is_resumed() {
    for at in 1..=5 {
        for broken in [Break::Before(at), Break::After(at), Break::Answered(at)] {
            let world = bought_in_spite_of(&[broken]).await;
            // The last answer ends the stream by itself; every other cut costs one more.
            let streams = if broken == Break::Answered(5) { 1 } else { 2 };
            assert_eq!(world.fake.with(|state| state.streams), streams, "{broken:?}");
        }
    }
}

#[tokio::test]
async fn streams_that_are_cut_again_and_again_are_resumed_again_and_again() {
    let world = bought_in_spite_of(&[
        Break::Before(1),
        Break::After(1),
        Break::Status(tonic::Code::Unavailable),
        Break::After(2),
        Break::Before(3),
        Break::After(4),
        Break::Status(tonic::Code::Internal),
        Break::After(5),
    ])
    .await;
    world.fake.with(|state| assert!(state.repeats > 0));
}

#[tokio::test]
async fn a_message_that_got_lost_is_sent_again_when_asked_for() {
    for at in 1..=4 {
        let world = bought_in_spite_of(&[Break::Lose(at)]).await;
        let (resends, streams) = world.fake.with(|state| (state.resends, state.streams));
        // Nothing follows a lost Open, so no gap shows: only silence tells.
        assert_eq!((resends > 0, streams), if at == 1 { (false, 2) } else { (true, 1) }, "lost the {at}.");
    }
}

#[tokio::test]
async fn a_service_that_goes_silent_is_left_for_a_new_stream() {
    for at in [1, 5] {
        let world = bought_in_spite_of(&[Break::SilentAfter(at)]).await;
        assert_eq!(world.fake.with(|state| state.streams), 2, "silent after {at}");
    }
}

#[tokio::test]
async fn answers_that_come_twice_change_nothing() {
    let world = bought_in_spite_of(&[Break::Twice]).await;
    assert!(world.controls.is_locked());
}

#[tokio::test]
async fn a_silence_while_nothing_is_owed_is_no_reason_to_leave() {
    let world = World::with(Limits { silence_ms: 50, ..Limits::default() }).await;
    world.fake.with(|state| state.open_within_s = 1);
    let session = world.swipe().await;
    world.see_unlocked().await;
    assert_eq!(world.see_receipt(session).await, "no_purchase");
    assert_eq!(world.fake.with(|state| state.streams), 1);
}

#[tokio::test]
async fn an_agent_killed_after_any_step_goes_on_from_its_journal() {
    for killed_after in 0..4 {
        let mut world = World::new().await;
        let mut session = None;
        for at in 0..=killed_after {
            step(&world, &mut session, at).await;
        }
        world.kill();
        let session = session.unwrap();
        assert_eq!(world.files(), [format!("session-{session}")]);
        world.start();
        if killed_after == 0 {
            // The customer was admitted and is gone: the door is locked and the session closed.
            assert_eq!(world.see_receipt(session).await, "no_purchase");
            assert_eq!(world.fake.with(|state| state.bodies(&session)), ["open", "stayed_shut"]);
            assert!(world.controls.is_locked());
            continue;
        }
        for at in killed_after + 1..5 {
            step(&world, &mut Some(session), at).await;
        }
        assert_eq!(world.see_receipt(session).await, "charged");
        assert_eq!(world.fake.with(|state| state.bodies(&session)), WHOLE);
        assert!(world.files().is_empty());
    }
}

#[tokio::test]
async fn a_door_that_shut_while_the_agent_was_away_is_told_after_its_restart() {
    let mut world = World::new().await;
    let mut session = None;
    for at in 0..=2 {
        step(&world, &mut session, at).await;
    }
    world.kill();
    world.controls.close_door().await;
    world.start();
    let session = session.unwrap();
    assert_eq!(world.see_receipt(session).await, "charged");
    assert_eq!(world.fake.with(|state| state.bodies(&session)), ["open", "opened", "touch", "closed"]);
}

#[tokio::test]
async fn a_close_that_was_journaled_and_never_heard_of_is_told_after_a_restart() {
    let mut world = World::new().await;
    let mut session = None;
    for at in 0..=3 {
        step(&world, &mut session, at).await;
    }
    world.go_offline();
    let before = world.bytes().len();
    world.controls.close_door().await;
    while world.bytes().len() == before {
        tokio::task::yield_now().await;
    }
    world.kill();
    world.come_back().await;
    world.start();
    let session = session.unwrap();
    assert_eq!(world.see_receipt(session).await, "charged");
    heard_whole(&world, &session);
}

#[tokio::test]
async fn an_agent_killed_while_it_waits_for_an_answer_lets_nobody_in_later() {
    let mut world = World::new().await;
    world.fake.with(|state| state.breaks = [Break::SilentAfter(1)].into());
    let session = world.swipe().await;
    world.fake.until(|state| state.bodies(&session).len() == 1).await;
    world.kill();
    world.start();
    assert_eq!(world.see_receipt(session).await, "no_purchase");
    assert!(world.controls.is_locked() && !world.controls.open_door().await);
}

#[tokio::test]
async fn a_purchase_goes_on_while_the_service_is_away() {
    let mut world = World::new().await;
    let session = world.swipe().await;
    world.see_unlocked().await;
    world.go_offline();
    world.controls.open_door().await;
    world.controls.touch(TouchKind::Taken, MEAL).await;
    world.controls.touch(TouchKind::Taken, MEAL).await;
    world.controls.close_door().await;
    while !world.controls.is_locked() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.files(), [format!("session-{session}")]);
    world.come_back().await;
    assert_eq!(world.see_receipt(session).await, "charged");
    heard_whole(&world, &session);
}

#[tokio::test]
async fn a_customer_who_meets_no_service_is_refused_and_the_session_closed_later() {
    let mut world = World::with(Limits { unreachable_after_ms: 300, ..Limits::default() }).await;
    // The key is fetched while the service is there; a first customer shows that it was.
    buy(&world).await;
    world.go_offline();
    let session = world.swipe().await;
    let Seen::Refused { session: of, reason } = world.see(|seen| matches!(seen, Seen::Refused { .. })).await else {
        unreachable!("refused")
    };
    assert_eq!((of, reason.as_str()), (session, "payment_unavailable"));
    assert!(world.controls.is_locked());
    // Nobody else is let in before that session is closed.
    let other = world.swipe().await;
    let seen = world.see(|seen| matches!(seen, Seen::Refused { .. })).await;
    assert!(
        matches!(seen, Seen::Refused { session, reason } if session == other && reason.as_str() == "payment_unavailable")
    );
    world.come_back().await;
    assert_eq!(world.see_receipt(session).await, "no_purchase");
    world.fake.with(|state| {
        assert_eq!(state.bodies(&session), ["open", "stayed_shut"]);
        assert!(!state.told.contains_key(&other.to_string()));
    });
}

#[tokio::test]
async fn without_a_sealing_key_a_card_is_refused_and_nothing_is_written() {
    let limits = Limits { unreachable_after_ms: 200, call_within_ms: 100, ..Limits::default() };
    let mut world = World::with(limits).await;
    world.kill();
    world.go_offline();
    world.start();
    world.swipe().await;
    let seen = world.see(|seen| matches!(seen, Seen::Refused { .. })).await;
    assert!(matches!(seen, Seen::Refused { reason, .. } if reason.as_str() == "payment_unavailable"));
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn tampering_is_kept_while_offline_and_over_a_restart_and_reported_once() {
    let mut world = World::new().await;
    buy(&world).await;
    world.go_offline();
    world.controls.force_door().await;
    world.controls.touch(TouchKind::Taken, MEAL).await;
    while world.files().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.controls.siren(), Some(Siren::Forced));
    assert!(world.files().iter().all(|name| name.starts_with("tamper-")));
    world.kill();
    world.controls.close_door().await;
    world.fake.with(|state| state.tamper_failures = 2);
    world.come_back().await;
    world.start();
    world.until_forgotten().await;
    world.fake.with(|state| {
        let mut kinds: Vec<(i32, &str)> =
            state.tampers.iter().map(|report| (report.kind, report.barcode.as_str())).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [(1, MEAL), (2, "")]);
        assert_eq!(state.tamper_calls, 4, "each was taken once more than it was known");
    });
}

#[tokio::test]
async fn a_scanner_gone_mad_does_not_fill_the_disk() {
    let mut world = World::with(Limits { max_reports: 3, ..Limits::default() }).await;
    buy(&world).await;
    world.go_offline();
    for _ in 0..2 {
        for _ in 0..20 {
            world.controls.touch(TouchKind::Taken, MEAL).await;
        }
        // A card is refused behind all of these events, so they were all seen to.
        world.controls.show_id_token("", None).await;
        world.see(|seen| matches!(seen, Seen::Refused { .. })).await;
        assert_eq!(world.files().len(), 3);
        world.kill();
        world.start();
    }
    world.come_back().await;
    world.until_forgotten().await;
    assert_eq!(world.fake.with(|state| state.tampers.len()), 3);
}

#[tokio::test]
async fn a_report_that_is_not_accepted_does_not_hold_up_the_others() {
    let world = World::new().await;
    buy(&world).await;
    world.fake.with(|state| state.tamper_rejects = Some(1));
    world.controls.force_door().await;
    world.controls.touch(TouchKind::Taken, MEAL).await;
    world.fake.until(|state| state.tampers.len() == 1).await;
    assert_eq!(world.fake.with(|state| state.tampers[0].barcode.clone()), MEAL);
    world.fake.with(|state| state.tamper_rejects = None);
    world.until_forgotten().await;
    assert_eq!(world.fake.with(|state| state.tampers.len()), 2);
}

#[tokio::test]
async fn an_agent_that_stops_in_good_order_keeps_its_session() {
    let mut world = World::new().await;
    let mut session = None;
    for at in 0..=1 {
        step(&world, &mut session, at).await;
    }
    world.agent.take().unwrap().stop().await;
    assert_eq!(world.files(), [format!("session-{}", session.unwrap())]);
    world.start();
    for at in 2..5 {
        step(&world, &mut session, at).await;
    }
    assert_eq!(world.see_receipt(session.unwrap()).await, "charged");
}
