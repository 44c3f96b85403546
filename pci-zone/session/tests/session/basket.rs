//! While the door is open: touches, alarms, unknown barcodes, and the bound on what is recorded.

use pci_contract::{Currency, MealId, Money, MoneyError, Outcome, ScannedCode};
use pci_session::{
    AlarmKind, Display, Effect, FridgeInput, Input, MAX_CODES, MealFacts, Notice, State, StepError, Touch, TouchKind,
};

use crate::world::{
    Play, alarm, at, cleared, code, ffa, finalized, meal, owed, owned, taken, thefts, touch, unsafe_to_sell, usd,
};

fn unreadable(kind: TouchKind) -> FridgeInput {
    FridgeInput::Touched(Touch { kind, code: ScannedCode::Unreadable, facts: None, at_device: at(0) })
}

#[test]
fn a_meal_taken_twice_is_taken_once_and_costs_what_it_cost_first() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(500));
    assert_eq!(play.take(1, &ffa(500)), vec![]);
    play.put_back(1, &ffa(500));
    play.take(1, &ffa(900));
    assert_eq!(finalized(&play.close()).charged, usd(500));
}

#[test]
fn an_alarm_sounds_each_time_and_clears_only_on_return() {
    let theirs = owned(500, "CU-2", false);
    let mut play = Play::anonymous().opened();
    assert_eq!(play.take(1, &theirs), vec![alarm(1, AlarmKind::NotYours)]);
    assert_eq!(play.take(1, &theirs), vec![], "it sounds already");
    assert_eq!(play.put_back(2, &theirs), vec![], "another meal clears nothing");
    assert_eq!(play.put_back(1, &theirs), vec![cleared(1)]);
    assert_eq!(play.put_back(1, &theirs), vec![], "it is clear already");
    assert_eq!(play.session.resume(), vec![cleared(1)], "a fridge that never heard so sounds still");
    assert_eq!(play.take(1, &theirs), vec![alarm(1, AlarmKind::NotYours)]);
    assert_eq!(play.session.resume(), vec![alarm(1, AlarmKind::NotYours)]);
    let end = play.close();
    assert_eq!((finalized(&end).alarms.clone(), thefts(&end)), (vec![meal(1)], vec![meal(1)]));
}

#[test]
fn ones_own_meal_can_be_put_back() {
    let mine = owned(500, "CU-1", false);
    let mut play = Play::subscriber(0).opened();
    play.take(1, &mine);
    assert_eq!(play.put_back(1, &mine), vec![], "nothing sounded, nothing clears");
    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.outcome, event.stray_returns.len(), event.alarms.len()), (Outcome::NoPurchase, 0, 0));
}

#[test]
fn an_unsafe_meal_sounds_and_is_never_charged_nor_stolen() {
    for facts in [unsafe_to_sell(500), MealFacts { sellable: false, ..owned(500, "CU-2", true) }] {
        let mut play = Play::anonymous().opened();
        assert_eq!(play.take(1, &facts), vec![alarm(1, AlarmKind::NotSellable)]);
        let mut put_back = play.clone();
        assert_eq!(put_back.put_back(1, &facts), vec![cleared(1)]);

        let end = play.close();
        let event = finalized(&end);
        assert_eq!((event.outcome, event.charged), (Outcome::NoPurchase, usd(0)));
        assert_eq!((&event.not_sellable[..], &event.alarms[..]), (&[meal(1)][..], &[meal(1)][..]));
        assert!(event.meals.is_empty() && thefts(&end).is_empty() && end.contains(&Effect::Void));

        let end = put_back.close();
        let event = finalized(&end);
        assert!(event.not_sellable.is_empty() && event.alarms == [meal(1)]);
    }
}

#[test]
fn an_unknown_barcode_is_reported_and_not_charged() {
    let mut play = Play::anonymous().opened();
    assert_eq!(play.fridge(touch(TouchKind::Taken, 1, None)), vec![]);
    play.fridge(touch(TouchKind::Taken, 2, None));
    play.fridge(unreadable(TouchKind::Taken));
    play.fridge(unreadable(TouchKind::Taken));
    play.fridge(touch(TouchKind::Returned, 2, None));
    play.fridge(unreadable(TouchKind::Returned));
    play.take(1, &ffa(500));
    let end = play.close();
    let event = finalized(&end);
    assert_eq!(event.unidentified, [code(1), ScannedCode::Unreadable], "what was unknown when taken stays unknown");
    assert_eq!((event.outcome, event.charged), (Outcome::NoPurchase, usd(0)));
    assert!(event.meals.is_empty() && event.stray_returns.is_empty());
}

#[test]
fn a_stray_return_is_a_note_and_never_a_credit() {
    let mut play = Play::subscriber(0).opened();
    play.take(1, &ffa(500));
    assert_eq!(play.put_back(3, &ffa(900)), vec![]);
    play.fridge(touch(TouchKind::Returned, 2, None));
    play.fridge(unreadable(TouchKind::Returned));
    play.put_back(3, &ffa(900));
    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.charged, &event.stray_returns[..]), (usd(500), &[meal(2), meal(3)][..]));
}

#[test]
fn the_lists_of_the_event_are_sorted_by_barcode() {
    let mut play = Play::anonymous().opened();
    for serial in [3, 1, 2] {
        play.take(serial, &owned(100, "CU-2", false));
        play.put_back(serial + 10, &ffa(1));
        play.fridge(touch(TouchKind::Taken, serial + 20, None));
        play.take(serial + 30, &unsafe_to_sell(1));
    }
    let end = play.close();
    let event = finalized(&end);
    let sold: Vec<MealId> = event.meals.iter().map(|line| line.barcode.clone()).collect();
    assert_eq!(sold, [meal(1), meal(2), meal(3)]);
    assert_eq!(event.stray_returns, [meal(11), meal(12), meal(13)]);
    assert_eq!(event.unidentified, [code(21), code(22), code(23)]);
    assert_eq!(event.not_sellable, [meal(31), meal(32), meal(33)]);
    assert_eq!(event.alarms, [meal(1), meal(2), meal(3), meal(31), meal(32), meal(33)]);
}

#[test]
fn a_basket_is_bounded_and_operators_hear_of_it_once() {
    let mut play = Play::anonymous().opened();
    for serial in 0..u32::try_from(MAX_CODES).unwrap() {
        assert_eq!(play.take(serial, &ffa(1)), vec![]);
    }
    assert_eq!(play.take(9000, &ffa(1)), vec![Effect::Tell(Notice::BasketFull)]);
    assert_eq!(play.take(9001, &owned(1, "CU-2", false)), vec![]);
    assert_eq!(play.fridge(touch(TouchKind::Taken, 9002, None)), vec![]);
    play.put_back(0, &ffa(1));
    play.take(0, &ffa(1));
    play.put_back(1, &ffa(1));
    let end = play.close();
    let event = finalized(&end);
    assert_eq!(event.charged, usd(i64::try_from(MAX_CODES).unwrap() - 1), "what is recorded is still counted rightly");
    assert!(event.unidentified.is_empty() && event.alarms.is_empty());
}

#[test]
fn stray_returns_are_bounded_too() {
    let mut play = Play::anonymous().opened();
    for serial in 0..u32::try_from(MAX_CODES).unwrap() {
        assert_eq!(play.put_back(serial, &ffa(1)), vec![]);
    }
    assert_eq!(play.put_back(9000, &ffa(1)), vec![Effect::Tell(Notice::BasketFull)]);
    assert_eq!(finalized(&play.close()).stray_returns.len(), MAX_CODES);
}

#[test]
fn prices_that_do_not_add_up_are_refused_and_change_nothing() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(1));
    let input = |serial, facts: &MealFacts| Input::Fridge(taken(serial, facts));
    assert_eq!(play.cannot(input(2, &ffa(i64::MAX))), StepError::Money(MoneyError::Overflow));
    assert_eq!(play.cannot(input(2, &ffa(-1))), StepError::Amount);
    let euros = Currency::parse("EUR").unwrap();
    let foreign = MealFacts { price: Money::new(1, euros), ..ffa(0) };
    assert!(matches!(play.cannot(input(2, &foreign)), StepError::Money(MoneyError::Currency { .. })));
    let foreign_prepaid = MealFacts { sellable: false, ..foreign };
    assert!(matches!(play.cannot(input(2, &foreign_prepaid)), StepError::Money(MoneyError::Currency { .. })));

    let mut shut = Play::anonymous();
    shut.says(Input::Authorized { amount: usd(2500) });
    assert_eq!(shut.cannot(input(2, &ffa(-1))), StepError::Amount);
}

#[test]
fn a_meal_put_back_and_taken_again_cannot_overflow_either() {
    let mut play = Play::anonymous().opened();
    let dear = ffa(i64::MAX - 5);
    play.take(1, &dear);
    play.put_back(1, &dear);
    play.take(2, &ffa(10));
    assert_eq!(play.cannot(Input::Fridge(taken(1, &dear))), StepError::Money(MoneyError::Overflow));
    assert_eq!(owed(&play.all), vec![]);
}

#[test]
fn a_door_left_open_sounds_once_and_the_session_lives_on() {
    let mut play = Play::anonymous().opened();
    let (due, input) = play.session.timer(at(0)).expect("a timer");
    assert_eq!((due.micros_since(play.now()), input), (60_000_000, Input::OpenTooLong));
    play.later(60);
    let told = play.says(Input::OpenTooLong);
    assert_eq!(told, vec![Effect::Show(Display::SoundDoor), Effect::Tell(Notice::OpenTooLong)]);
    assert_eq!(play.says(Input::OpenTooLong), vec![]);
    assert_eq!(play.session.timer(at(0)), None);
    assert_eq!(play.session.resume(), vec![Effect::Show(Display::SoundDoor)]);
    play.take(1, &ffa(500));
    let State::Open(open) = play.session.state() else { panic!("open") };
    assert_eq!(open.basket().due(), Ok(usd(500)));
    assert_eq!(finalized(&play.close()).charged, usd(500));
}
