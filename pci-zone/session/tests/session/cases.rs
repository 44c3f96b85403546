//! The named cases from the field that concern the machine alone: repeats, gaps, crashes, late answers, a
//! lost journal. Those of a hold that follows its basket are in `holds.rs`.

use pci_contract::{EventBody, MealStatus, Outcome, ReasonCode};
use pci_session::{
    AlarmKind, Display, Effect, FridgeInput, Input, Notice, Numbered, Received, Release, Session, Settlement, State,
    StepError, Touch, TouchKind,
};

use crate::world::{
    HOLD, Play, alarm, at, code, ffa, finalized, meal, owed, owned, reason, refused, taken, thefts, touch, usd,
};

fn send(play: &Play, sequence: u64, body: FridgeInput) -> Received {
    play.session.clone().receive(Numbered { sequence, body }, play.now())
}

// Repeats, gaps, order.

#[test]
fn a_duplicate_open_is_answered_again_at_every_stage() {
    let mut play = Play::anonymous();
    assert_eq!(play.session.resume(), vec![]);
    let unlock = play.says(Input::Authorized { amount: usd(HOLD) });
    assert_eq!(play.session.resume(), unlock);
    play.fridge(FridgeInput::DoorOpened);
    assert_eq!(play.session.resume(), vec![], "an open door is not unlocked again");
    let alarms = play.take(1, &owned(500, "CU-2", false));
    assert_eq!(play.session.resume(), alarms);
    let end = play.close();
    assert_eq!(play.session.resume(), end[end.len() - 1..]);
}

#[test]
fn a_close_twice_is_acknowledged_and_charged_once() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(500));
    let end = play.close();
    let receipt = end.last().cloned().expect("a receipt");
    let received = play.session.received();
    let same = send(&play, received, FridgeInput::DoorClosed);
    assert_eq!(same, Received::Duplicate(play.session.clone(), vec![receipt.clone()]));
    assert_eq!(play.close(), vec![receipt], "another number, the same answer");
    finalized(&play.all);
    assert_eq!(play.session.received(), received + 1);
}

#[test]
fn a_close_that_arrives_before_its_touches_waits_for_them() {
    let play = Play::anonymous().opened();
    let gap = send(&play, 5, FridgeInput::DoorClosed);
    assert_eq!(gap, Received::Gap { session: play.session.clone(), resend_from: 3 });
    let mut play = play;
    play.take(1, &ffa(500));
    play.take(2, &ffa(200));
    assert_eq!(finalized(&play.close()).charged, usd(700));
}

#[test]
fn the_same_touch_twice_changes_nothing() {
    let mut play = Play::anonymous().opened();
    play.take(1, &owned(500, "CU-2", false));
    for sequence in 0..=play.session.received() {
        let body = taken(2, &ffa(300));
        assert_eq!(send(&play, sequence, body), Received::Duplicate(play.session.clone(), vec![]), "{sequence}");
    }
    assert_eq!(finalized(&play.close()).charged, usd(500));
}

#[test]
fn a_journal_that_was_partly_sent_is_drained_once() {
    let journal = [
        FridgeInput::DoorOpened,
        taken(1, &ffa(500)),
        taken(2, &ffa(300)),
        touch(TouchKind::Returned, 1, None),
        FridgeInput::DoorClosed,
    ];
    for sent_before_reboot in 0..=journal.len() {
        let mut play = Play::anonymous();
        play.says(Input::Authorized { amount: usd(HOLD) });
        for body in &journal[..sent_before_reboot] {
            play.fridge(body.clone());
        }
        for (place, body) in journal.iter().enumerate() {
            let sequence = u64::try_from(place).unwrap() + 2;
            match send(&play, sequence, body.clone()) {
                Received::Stepped(session, effects) => {
                    play.session = session;
                    play.all.extend(effects);
                }
                Received::Duplicate(session, _) => assert_eq!(session, play.session),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(finalized(&play.all).charged, usd(300), "cut after {sent_before_reboot}");
    }
}

#[test]
fn after_the_end_a_gap_is_answered_with_the_end() {
    let mut play = Play::anonymous().opened();
    let end = play.says(Input::Abandoned);
    let receipt = end[end.len() - 1..].to_vec();
    assert_eq!(send(&play, 99, FridgeInput::DoorClosed), Received::Duplicate(play.session.clone(), receipt));
}

#[test]
fn a_fridge_clock_that_is_wrong_by_a_day_changes_nothing() {
    let ends: Vec<Vec<Effect>> = [0, 86_400, -86_400]
        .into_iter()
        .map(|drift_s| {
            let mut play = Play::anonymous().opened();
            let body = Touch { kind: TouchKind::Taken, code: code(1), facts: Some(ffa(500)), at_device: at(drift_s) };
            play.fridge(FridgeInput::Touched(body));
            play.close()
        })
        .collect();
    assert!(ends[0] == ends[1] && ends[0] == ends[2]);
}

#[test]
fn what_a_fridge_says_after_the_end_is_acknowledged_noted_and_not_charged() {
    let mut play = Play::anonymous();
    play.says(Input::Authorized { amount: usd(HOLD) });
    let end = play.says(Input::StayedShutTimeout);
    assert_eq!(finalized(&end).outcome, Outcome::NoPurchase);
    let receipt = end.last().cloned().expect("a receipt");
    assert_eq!(play.fridge(FridgeInput::DoorOpened), vec![Effect::Tell(Notice::OpenedAfterEnd), receipt.clone()]);
    let note = Effect::Tell(Notice::TouchAfterEnd { kind: TouchKind::Taken, code: code(1) });
    assert_eq!(play.take(1, &ffa(500)), vec![note, receipt.clone()]);
    assert_eq!(play.close(), vec![receipt]);
    assert_eq!((play.session.received(), play.session.asked()), (4, Some(Effect::Void)));
}

#[test]
fn a_refused_session_keeps_refusing() {
    let mut play = Play::anonymous();
    play.says(Input::Declined { reason: ReasonCode::CARD_DECLINED });
    let refused = Effect::Show(Display::Refused(ReasonCode::CARD_DECLINED));
    assert_eq!(play.session.resume(), vec![refused.clone()]);
    assert_eq!(play.fridge(FridgeInput::DoorStayedShut), vec![refused.clone()]);
    assert_eq!(play.close(), vec![refused.clone()]);
    assert_eq!(send(&play, 1, FridgeInput::DoorClosed), Received::Duplicate(play.session.clone(), vec![refused]));
}

#[test]
fn a_door_that_opens_before_it_was_unlocked_is_not_counted() {
    let play = Play::anonymous();
    match send(&play, 2, FridgeInput::DoorOpened) {
        Received::Impossible(session, error) => {
            assert_eq!((&session, error.code()), (&play.session, "not_possible"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_meal_that_moves_is_believed_over_the_door_sensor() {
    let mut play = Play::anonymous();
    play.says(Input::Authorized { amount: usd(HOLD) });
    assert_eq!(play.take(1, &owned(500, "CU-2", false)), vec![alarm(1, AlarmKind::NotYours)]);
    assert_eq!(play.fridge(FridgeInput::DoorOpened), vec![]);
    assert_eq!(finalized(&play.fridge(FridgeInput::DoorStayedShut)).charged, usd(500));
}

// Leaving before or after the answer.

#[test]
fn a_fridge_that_reboots_before_the_answer_gets_its_hold_released() {
    for leave in [FridgeInput::DoorStayedShut, FridgeInput::DoorClosed] {
        let mut play = Play::anonymous();
        assert_eq!(play.fridge(leave), vec![]);
        assert!(!play.session.holds_fridge(), "the fridge may serve the next customer");
        assert!(play.session.asked().is_some(), "but the processor still owes an answer");
        let end = play.says(Input::Authorized { amount: usd(HOLD) });
        assert_eq!((finalized(&end).outcome, &end[1]), (Outcome::NoPurchase, &Effect::Void));
    }
}

#[test]
fn leaving_before_a_decline_is_a_refusal_like_any_other() {
    let mut play = Play::anonymous();
    play.fridge(FridgeInput::DoorStayedShut);
    let end = play.says(Input::Declined { reason: ReasonCode::CARD_DECLINED });
    assert!(matches!(&end[..], [Effect::Emit(EventBody::PurchaseRefused(_)), Effect::Show(Display::Refused(_))]));
}

#[test]
fn a_fridge_that_reboots_between_authorization_and_unlock_may_unlock_or_walk_away() {
    let mut play = Play::anonymous();
    let unlock = play.says(Input::Authorized { amount: usd(HOLD) });
    assert_eq!(play.session.resume(), unlock);
    let end = play.fridge(FridgeInput::DoorStayedShut);
    assert_eq!((finalized(&end).outcome, &end[1]), (Outcome::NoPurchase, &Effect::Void));
}

#[test]
fn an_unopened_door_ends_the_session_a_little_after_the_fridge_would() {
    let mut play = Play::anonymous();
    assert_eq!(play.session.timer(at(0)), None);
    play.says(Input::Authorized { amount: usd(HOLD) });
    let (due, input) = play.session.timer(at(0)).expect("a timer");
    assert_eq!((due.micros_since(play.now()), &input), (35_000_000, &Input::StayedShutTimeout));
    assert!(due.micros_since(play.now()) > i64::from(pci_session::OPEN_WITHIN_S) * 1_000_000);
    let back_at = at(play.now().seconds() + 3600);
    let (due, _) = play.session.timer(back_at).expect("a timer");
    assert_eq!(due.micros_since(back_at), 35_000_000, "a fridge that comes back is given its time again");
    assert_eq!(finalized(&play.says(input)).outcome, Outcome::NoPurchase);
}

#[test]
fn an_unlocked_door_that_nobody_hears_of_is_given_up_after_a_day() {
    let mut play = Play::anonymous();
    let unheard = |play: &Play, s: i64| play.session.is_unheard(at(play.now().seconds() + s));
    let day_s = i64::from(pci_session::UNHEARD_AFTER_S);
    assert!(!unheard(&play, 2 * day_s), "the processor has not answered yet");
    play.says(Input::Authorized { amount: usd(HOLD) });
    assert_eq!((unheard(&play, day_s - 1), unheard(&play, day_s)), (false, true));
    let open = play.clone().session.step(Input::Fridge(FridgeInput::DoorOpened), play.now()).expect("it opens").0;
    assert!(!open.is_unheard(at(play.now().seconds() + 2 * day_s)), "an open door ends by its close alone");
    let end = play.says(Input::StayedShutTimeout);
    assert_eq!((finalized(&end).outcome, &end[1]), (Outcome::NoPurchase, &Effect::Void));
}

// The processor: late, partial, lost, dead in between.

#[test]
fn an_authorization_that_comes_after_our_timeout_is_released() {
    let mut play = Play::anonymous();
    let end = play.says(Input::PaymentUnavailable);
    assert_eq!(end[1..], [Effect::Show(Display::Refused(ReasonCode::PAYMENT_UNAVAILABLE))]);
    assert_eq!(play.cannot(Input::Authorized { amount: usd(0) }), StepError::Amount);
    assert_eq!(play.says(Input::Authorized { amount: usd(HOLD) }), vec![Effect::Void]);
    assert_eq!((play.session.asked(), play.session.is_final()), (Some(Effect::Void), false));
    assert_eq!(play.says(Input::Authorized { amount: usd(HOLD) }), vec![], "once");
    assert_eq!(play.says(Input::Voided), vec![]);
    assert!(play.session.is_final() && play.session.asked().is_none());
}

#[test]
fn a_hold_of_less_than_was_asked_is_released_and_refused() {
    let mut play = Play::anonymous();
    let end = play.says(Input::Authorized { amount: usd(HOLD - 1) });
    assert_eq!(end[1..], [Effect::Void, Effect::Show(Display::Refused(ReasonCode::INSUFFICIENT_FUNDS)),]);
    let told = play.says(Input::SettlementFailed { reason: reason("gone") });
    assert_eq!(told, vec![Effect::Tell(Notice::VoidFailed { reason: reason("gone") })]);
    let State::Refused(refused) = play.session.state() else { panic!("refused") };
    assert_eq!(refused.release(), &Release::Failed { reason: reason("gone") });
}

#[test]
fn an_answer_of_another_currency_or_of_nothing_is_not_believed() {
    let mut play = Play::anonymous();
    let euros = pci_contract::Money::new(HOLD, pci_contract::Currency::parse("EUR").unwrap());
    assert_eq!(play.cannot(Input::Authorized { amount: euros }).code(), "money");
    assert_eq!(play.cannot(Input::Authorized { amount: usd(0) }), StepError::Amount);
    assert_eq!(play.cannot(Input::Authorized { amount: usd(-1) }), StepError::Amount);
}

#[test]
fn a_service_that_dies_before_it_records_the_capture_asks_the_same_again() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(500));
    play.close();
    let stored = serde_json::to_string(&play.session).unwrap();
    let mut revived: Session = serde_json::from_str(&stored).unwrap();
    for _ in 0..3 {
        assert_eq!(revived.asked(), Some(Effect::Capture { amount: usd(500) }), "the same amount, never another");
        revived = revived.step(Input::Fridge(FridgeInput::DoorClosed), at(1)).unwrap().0;
    }
    let (done, effects) = revived.step(Input::Captured { amount: usd(500) }, at(2)).unwrap();
    assert_eq!((done.asked(), effects), (None, vec![]));
    let (again, effects) = done.clone().step(Input::Captured { amount: usd(500) }, at(3)).unwrap();
    assert_eq!((&again, effects), (&done, vec![]), "the second answer changes nothing");
    let (_, error) = done.step(Input::Captured { amount: usd(501) }, at(3)).unwrap_err();
    assert_eq!(error, StepError::Amount);
}

#[test]
fn a_capture_that_fails_for_good_is_owed() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(500));
    play.close();
    let told = play.says(Input::SettlementFailed { reason: reason("expired") });
    assert_eq!(owed(&told), [usd(500)]);
    assert_eq!(play.says(Input::SettlementFailed { reason: reason("expired") }), vec![], "told once");
    assert!(matches!(play.cannot(Input::Captured { amount: usd(500) }), StepError::NotPossible { .. }));
    let State::Ended(ended) = play.session.state() else { panic!("ended") };
    assert!(matches!(ended.settlement(), Settlement::Failed { .. }));
}

#[test]
fn a_void_that_fails_is_the_operators_to_look_at() {
    let mut play = Play::anonymous().opened();
    play.close();
    let told = play.says(Input::SettlementFailed { reason: reason("gone") });
    assert_eq!(told, vec![Effect::Tell(Notice::VoidFailed { reason: reason("gone") })]);
}

// The journal is lost.

#[test]
fn an_abandoned_session_is_charged_for_what_is_out_and_accuses_nobody() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(500));
    play.take(2, &owned(700, "CU-2", true));
    play.take(3, &ffa(100));
    play.put_back(3, &ffa(100));
    let end = play.says(Input::Abandoned);
    let event = finalized(&end);
    assert_eq!((event.outcome, event.charged), (Outcome::Abandoned, usd(1200)));
    assert!(event.meals.iter().all(|line| line.status == MealStatus::Purchased));
    assert_eq!((thefts(&end), &event.alarms[..]), (vec![], &[meal(2)][..]));
    assert!(end.contains(&Effect::Capture { amount: usd(1200) }));
}

#[test]
fn a_session_can_be_abandoned_at_every_stage_and_ends_once() {
    let mut authorizing = Play::anonymous();
    assert_eq!(authorizing.says(Input::Abandoned), vec![]);
    assert_eq!(authorizing.fridge(FridgeInput::DoorStayedShut), vec![], "the first to leave decides");
    let mut unlocked = Play::anonymous();
    unlocked.says(Input::Authorized { amount: usd(HOLD) });
    let ends = [authorizing.says(Input::Authorized { amount: usd(HOLD) }), unlocked.says(Input::Abandoned)];
    for end in ends {
        assert_eq!((finalized(&end).outcome, &end[1]), (Outcome::Abandoned, &Effect::Void));
    }

    let mut waiting = Play::anonymous().opened();
    waiting.take(1, &ffa(3000));
    assert_eq!(waiting.says(Input::Abandoned), vec![]);
    let end = waiting.says(refused(3000));
    assert_eq!((finalized(&end).outcome, owed(&end)), (Outcome::Abandoned, vec![usd(500)]));

    for mut over in [authorizing, unlocked, waiting] {
        assert_eq!(over.says(Input::Abandoned), vec![]);
        finalized(&over.all);
    }
}
