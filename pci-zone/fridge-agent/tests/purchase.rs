//! The trip of a purchase between a real agent and a service that keeps the protocol, over mutual TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use fridge_agent::core::TouchKind;
use fridge_agent::hardware::{AlarmKind, Siren, TechnicianNote};
use fridge_agent::{EnrollError, Limits, Seen};
use pci_contract::{Brand, ScannedCode, SessionId};
use support::{MEAL, OTHERS_MEAL, TRACK2, World};
use zeroize::Zeroizing;

#[tokio::test]
async fn a_card_opens_the_door_and_the_receipt_ends_the_journal() {
    let world = World::new().await;
    let session = world.swipe().await;
    let Seen::Unlocked { session: of, unlock } = world.seen().await else { panic!("not unlocked") };
    assert_eq!((of, unlock.hold.unwrap().minor(), unlock.open_within_s), (session, 2_500, 20));
    assert!(!world.controls.is_locked());
    assert!(world.controls.open_door().await);
    world.controls.touch(TouchKind::Taken, MEAL).await;
    world.controls.close_door().await;
    assert_eq!(world.see_receipt(session).await, "charged");
    assert!(world.controls.is_locked());
    assert!(world.files().is_empty());
    world.fake.with(|state| {
        assert_eq!(state.bodies(&session), ["open", "opened", "touch", "closed"]);
        assert_eq!((state.streams, state.repeats), (1, 0));
    });
    // What the vault opens is number, expiry and service code, bound to this session and no other.
    assert_eq!(world.fake.card_of(session).unwrap(), b"4242424242424242=3112201");
    // And the next customer is served on the same connection, with the key that is kept.
    let second = world.swipe().await;
    world.see_unlocked().await;
    assert_eq!(world.fake.with(|state| (state.bodies(&second), state.keys_asked)), (vec!["open"], 1));
}

#[tokio::test]
async fn an_id_token_opens_the_door_and_a_session_id_is_made_when_none_is_brought() {
    let world = World::new().await;
    world.controls.show_id_token("idt-64746e73", None).await;
    let Seen::Unlocked { session, .. } = world.seen().await else { panic!("not unlocked") };
    assert_eq!(session.uuid().get_version_num(), 7);
    assert_eq!(world.fake.with(|state| state.bodies(&session)), ["open"]);
}

#[tokio::test]
async fn a_refusal_keeps_the_door_shut() {
    let world = World::new().await;
    world.fake.with(|state| state.refuse = Some("card_declined".to_owned()));
    let session = world.swipe().await;
    let Seen::Refused { session: of, reason } = world.seen().await else { panic!("not refused") };
    assert_eq!((of, reason.as_str()), (session, "card_declined"));
    assert!(world.controls.is_locked() && !world.controls.open_door().await);
    world.until_forgotten().await;
}

#[tokio::test]
async fn an_alarm_sounds_and_is_cleared_and_the_limit_is_shown() {
    let world = World::new().await;
    world.fake.with(|state| {
        state.alarming.insert(OTHERS_MEAL.to_owned());
        state.limit_after = Some(4);
    });
    let session = world.swipe().await;
    world.see_unlocked().await;
    world.controls.open_door().await;
    world.controls.touch(TouchKind::Taken, OTHERS_MEAL).await;
    let barcode = ScannedCode::read(OTHERS_MEAL);
    assert_eq!(world.seen().await, Seen::Alarm { barcode: barcode.clone(), kind: AlarmKind::NotYours });
    assert_eq!(world.controls.siren(), Some(Siren::Meal));
    world.controls.touch(TouchKind::Returned, OTHERS_MEAL).await;
    assert_eq!(world.seen().await, Seen::AlarmCleared { barcode });
    assert_eq!(world.controls.siren(), None);
    world.controls.touch(TouchKind::Taken, MEAL).await;
    assert!(matches!(world.seen().await, Seen::LimitReached { limit: Some(limit) } if limit.minor() == 2_500));
    world.controls.close_door().await;
    assert_eq!(world.see_receipt(session).await, "charged");
}

#[tokio::test]
async fn a_door_that_is_not_opened_is_locked_again_and_the_session_closed() {
    let world = World::new().await;
    world.fake.with(|state| state.open_within_s = 1);
    let session = world.swipe().await;
    world.see_unlocked().await;
    assert_eq!(world.see_receipt(session).await, "no_purchase");
    assert!(world.controls.is_locked());
    assert_eq!(world.fake.with(|state| state.bodies(&session)), ["open", "stayed_shut"]);
}

#[tokio::test]
async fn a_card_number_at_the_scanner_goes_nowhere() {
    let world = World::new().await;
    let session = world.swipe().await;
    world.see_unlocked().await;
    world.controls.open_door().await;
    world.controls.touch(TouchKind::Taken, "4242424242424242").await;
    world.fake.until(|state| state.bodies(&session).len() == 3).await;
    let journal = world.bytes();
    assert!(journal.windows(10).any(|window| window == b"unreadable"));
    assert!(!journal.windows(16).any(|window| window == b"4242424242424242"));
}

#[tokio::test]
async fn the_journal_holds_a_card_only_sealed() {
    let mut world = World::new().await;
    let session = world.swipe().await;
    world.see_unlocked().await;
    world.controls.open_door().await;
    world.fake.until(|state| state.bodies(&session).len() == 2).await;
    world.kill();
    let journal = world.bytes();
    // Neither the number, nor its first or last digits with the separator, nor the discretionary data.
    for part in [&TRACK2[1..17], &TRACK2[1..9], &TRACK2[13..22], &TRACK2[17..22], &TRACK2[25..34]] {
        assert!(!journal.windows(part.len()).any(|window| window == part));
    }
    let known = world.fake.with(|state| state.told[&session.to_string()][0].clone());
    let sealed = prost::Message::encode_to_vec(&known);
    assert!(journal.windows(sealed.len()).any(|window| window == sealed), "what was sent is what was written");
}

#[tokio::test]
async fn enrolment_seals_for_its_own_id_and_gives_back_brand_and_last_four() {
    let world = World::new().await;
    let agent = world.agent.as_ref().unwrap();
    let enrolled = agent.enroll_card(Zeroizing::new(TRACK2.to_vec()), "idt-1").await.expect("enrols");
    assert_eq!(enrolled.brand, Some(Brand::Visa));
    assert_eq!(enrolled.last_four.unwrap().as_str(), "4242");
    let request = world.fake.with(|state| state.enrolled[0].clone());
    let id = SessionId::parse(&request.enrollment_id).expect("a UUID");
    let card = world.fake.open_card(&request.card.unwrap(), id).expect("opens");
    assert_eq!((card.as_slice(), request.id_token.as_str()), (&b"4242424242424242=3112201"[..], "idt-1"));

    world.fake.with(|state| state.enroll_result = "unknown_id_token".to_owned());
    let refused = agent.enroll_card(Zeroizing::new(TRACK2.to_vec()), "idt-2").await;
    assert!(matches!(refused, Err(EnrollError::Refused(reason)) if reason.as_str() == "unknown_id_token"));
}

#[tokio::test]
async fn an_enrolment_that_reaches_nobody_says_so() {
    let mut world = World::with(Limits { call_within_ms: 200, ..Limits::default() }).await;
    world.go_offline();
    let agent = world.agent.as_ref().unwrap();
    let result = agent.enroll_card(Zeroizing::new(TRACK2.to_vec()), "idt-1").await;
    assert_eq!(result, Err(EnrollError::Unavailable));
}

#[tokio::test]
async fn a_key_the_service_does_not_know_any_more_is_asked_for_again() {
    let world = World::new().await;
    world.swipe().await;
    world.see_unlocked().await;
    world.controls.open_door().await;
    world.controls.close_door().await;
    world.see(|seen| matches!(seen, Seen::Receipt { .. })).await;
    world.fake.with(|state| {
        state.refuse = Some("sealing_key_unknown".to_owned());
        state.key_id = "seal-2".to_owned();
    });
    world.swipe().await;
    world.see(|seen| matches!(seen, Seen::Refused { .. })).await;
    world.fake.with(|state| state.refuse = None);
    let session = world.swipe().await;
    world.see_unlocked().await;
    assert_eq!(world.fake.with(|state| state.keys_asked), 2);
    let opened = world.fake.with(|state| format!("{:?}", state.told[&session.to_string()][0]));
    assert!(opened.contains("seal-2"));
}

#[tokio::test]
async fn a_card_waits_for_a_service_that_does_not_give_its_key_at_once() {
    let mut world = World::new().await;
    world.fake.until(|state| state.keys_asked == 1).await;
    world.kill();
    world.fake.with(|state| state.key_failures = 5);
    world.start();
    world.swipe().await;
    assert!(matches!(world.seen().await, Seen::Unlocked { .. }), "and is not refused for the first failure");
    assert!(world.fake.with(|state| state.keys_asked) > 6);
}

#[tokio::test]
async fn a_key_that_nobody_gives_refuses_the_card_in_time() {
    let mut world = World::with(Limits { unreachable_after_ms: 300, ..Limits::default() }).await;
    world.fake.until(|state| state.keys_asked == 1).await;
    world.kill();
    world.fake.with(|state| state.key_failures = usize::MAX);
    world.start();
    let session = world.swipe().await;
    let Seen::Refused { session: of, reason } = world.seen().await else { panic!("not refused") };
    assert_eq!((of, reason.as_str()), (session, "payment_unavailable"));
}

#[tokio::test]
async fn a_key_is_renewed_before_its_end_and_used_until_then() {
    let mut world = World::new().await;
    world.fake.until(|state| state.keys_asked == 1).await;
    world.kill();
    world.fake.with(|state| state.key_max_age_s = 2);
    world.start();
    world.fake.until(|state| state.keys_asked >= 3).await;
    // From now on no key is given, and the one that is there is good for hours.
    world.fake.with(|state| state.key_max_age_s = 3_600);
    let asked = world.fake.with(|state| state.keys_asked);
    world.fake.until(|state| state.keys_asked > asked).await;
    world.fake.with(|state| state.key_failures = usize::MAX);
    world.swipe().await;
    world.see_unlocked().await;
}

#[tokio::test]
async fn an_agent_whose_identity_speaks_elsewhere_backs_off_and_tells_the_technician() {
    let world = World::new().await;
    world.fake.with(|state| state.breaks = [support::fake::Break::Status(tonic::Code::Aborted)].into());
    let session = world.swipe().await;
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::Superseded));
    assert_eq!(world.files(), [format!("session-{session}")], "the journal is kept");
    world.see_unlocked().await;
    assert_eq!(world.fake.with(|state| state.streams), 2);
}
