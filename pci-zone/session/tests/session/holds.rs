//! The hold follows the basket: when it is raised, and what is captured and owed when a raise is refused, granted in part,
//! answered late or not at all. Apart from `cases.rs`, because here the processor and the basket run at two paces.

use pci_contract::Outcome;
use pci_session::{Display, Effect, Input, Limit, Notice, Stage, State, StepError, TouchKind};

use crate::world::{HOLD, Play, code, ffa, finalized, owed, refused, usd};

fn limit_reached(minor: i64) -> Effect {
    Effect::Show(Display::LimitReached { limit: usd(minor) })
}

#[test]
fn a_basket_beyond_the_hold_raises_it_one_increment_at_a_time() {
    let mut play = Play::anonymous().opened();
    assert_eq!(play.take(1, &ffa(HOLD)), vec![], "exactly the hold");
    assert_eq!(play.take(2, &ffa(300)), vec![Effect::Increment { to: usd(2800) }]);
    assert_eq!(play.take(3, &ffa(400)), vec![], "one in flight");
    assert_eq!(play.session.asked(), Some(Effect::Increment { to: usd(2800) }));
    let again = play.says(Input::Incremented { to: usd(2800) });
    assert_eq!(again, vec![Effect::Increment { to: usd(3200) }], "looked at again on the answer");
    assert_eq!(play.says(Input::Incremented { to: usd(2800) }), vec![], "a repeated answer is not the awaited one");
    assert_eq!(play.session.asked(), Some(Effect::Increment { to: usd(3200) }));
    assert_eq!(play.says(Input::Incremented { to: usd(3200) }), vec![]);
    let end = play.close();
    assert!(end.contains(&Effect::Capture { amount: usd(3200) }));
    assert_eq!(finalized(&end).unpaid, usd(0));
}

#[test]
fn credit_is_spent_before_the_hold_is_raised() {
    let mut play = Play::subscriber(1000).opened();
    assert_eq!(play.take(1, &ffa(HOLD + 1000)), vec![]);
    assert_eq!(play.take(2, &ffa(1)), vec![Effect::Increment { to: usd(HOLD + 1) }]);
    assert_eq!(play.session.reserved_credit(), Some(usd(1000)));
}

#[test]
fn a_refused_increment_is_said_once_and_the_rest_is_owed() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(3000));
    assert_eq!(play.says(refused(3000)), vec![limit_reached(HOLD)]);
    assert_eq!(play.take(2, &ffa(100)), vec![], "said once, and never asked again");
    assert_eq!(play.session.resume(), vec![limit_reached(HOLD)]);
    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.charged, event.unpaid), (usd(3100), usd(600)));
    assert_eq!(owed(&end), [usd(600)]);
    assert!(end.contains(&Effect::Capture { amount: usd(HOLD) }));
}

#[test]
fn a_limit_that_is_no_longer_exceeded_is_not_said() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(3000));
    play.put_back(1, &ffa(3000));
    assert_eq!(play.says(refused(3000)), vec![]);
    assert_eq!(play.take(2, &ffa(3000)), vec![limit_reached(HOLD)], "said when it is");
    play.put_back(2, &ffa(3000));
    assert_eq!(play.session.resume(), vec![]);
    let end = play.close();
    assert_eq!((finalized(&end).outcome, owed(&end)), (Outcome::NoPurchase, vec![]));
}

#[test]
fn a_smaller_raise_than_the_refused_one_is_still_asked_for() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(2000));
    play.take(2, &ffa(1940));
    assert_eq!(play.says(refused(3940)), vec![limit_reached(HOLD)]);
    play.put_back(2, &ffa(1940));
    assert_eq!(play.take(3, &ffa(1800)), vec![Effect::Increment { to: usd(3800) }]);
    assert_eq!(play.says(refused(3800)), vec![], "the same limit is not said twice");
    assert_eq!(play.session.resume(), vec![limit_reached(HOLD)]);
    assert_eq!(play.take(4, &ffa(10)), vec![], "no more than was refused is asked for");
    play.put_back(4, &ffa(10));
    play.put_back(3, &ffa(1800));
    assert_eq!(play.take(5, &ffa(1000)), vec![Effect::Increment { to: usd(3000) }]);
    assert_eq!(play.says(Input::Incremented { to: usd(3000) }), vec![]);
    let end = play.close();
    assert_eq!(owed(&end), vec![]);
    assert!(end.contains(&Effect::Capture { amount: usd(3000) }));
}

#[test]
fn a_smaller_raise_that_is_granted_does_not_undo_a_refusal() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(3000));
    assert_eq!(play.says(refused(3000)), vec![limit_reached(HOLD)]);
    play.put_back(1, &ffa(3000));
    assert_eq!(play.take(2, &ffa(2600)), vec![Effect::Increment { to: usd(2600) }]);
    assert_eq!(play.says(Input::Incremented { to: usd(2600) }), vec![]);
    assert_eq!(play.take(3, &ffa(500)), vec![limit_reached(2600)], "3,000 was refused, so 3,100 is not asked for");
    play.put_back(3, &ffa(500));
    assert_eq!(play.take(4, &ffa(300)), vec![Effect::Increment { to: usd(2900) }], "less than was refused is");
    let end = [play.says(refused(2900)), play.close()].concat();
    assert_eq!(owed(&end), [usd(300)]);
    assert!(end.contains(&Effect::Capture { amount: usd(2600) }));
}

#[test]
fn a_smaller_raise_is_asked_for_after_the_close_too() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(2000));
    play.take(2, &ffa(1940));
    play.put_back(2, &ffa(1940));
    play.take(3, &ffa(1600));
    assert_eq!(play.close(), vec![]);
    assert_eq!(play.says(refused(3940)), vec![Effect::Increment { to: usd(3600) }]);
    assert_eq!(play.session.stage(), Stage::Closing);
    assert_eq!(owed(&play.says(Input::Incremented { to: usd(3600) })), vec![]);
}

#[test]
fn a_basket_that_rose_and_fell_during_a_raise_is_still_raised_for() {
    let mut play = Play::anonymous().opened();
    assert_eq!(play.take(1, &ffa(3000)), vec![Effect::Increment { to: usd(3000) }]);
    play.take(2, &ffa(700));
    play.take(3, &ffa(900));
    play.put_back(3, &ffa(900));
    play.put_back(2, &ffa(700));
    assert_eq!(play.says(Input::Incremented { to: usd(3000) }), vec![Effect::Increment { to: usd(4600) }]);
    assert_eq!(play.close(), vec![]);
    assert_eq!(play.says(refused(4600)), vec![Effect::Increment { to: usd(3700) }], "the next highest");
    let end = play.says(Input::Incremented { to: usd(3700) });
    assert!(end.contains(&Effect::Capture { amount: usd(3000) }), "what is kept, and no more");
}

#[test]
fn the_needs_remembered_during_a_raise_are_bounded_and_the_smallest_go_first() {
    let mut play = Play::anonymous().opened();
    play.take(0, &ffa(3000));
    let (mut most, mut asked) = (3000, vec![]);
    for serial in 1..=40 {
        play.take(serial, &ffa(10));
        most += 10;
    }
    let mut said = play.says(Input::Incremented { to: usd(3000) });
    play.close();
    while let [Effect::Increment { to }] = said[..] {
        asked.push(to.minor());
        said = play.says(refused(to.minor()));
    }
    let expected: Vec<i64> = (0..16).map(|down| most - 10 * down).collect();
    assert_eq!(asked, expected);
    assert_eq!(owed(&said), vec![usd(most - 3000)]);
}

#[test]
fn a_given_up_raise_that_is_granted_after_all_makes_the_one_in_flight_needless() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(2000));
    play.take(2, &ffa(1940));
    play.says(refused(3940));
    play.put_back(2, &ffa(1940));
    assert_eq!(play.take(3, &ffa(1000)), vec![Effect::Increment { to: usd(3000) }]);
    assert_eq!(play.says(refused(3940)), vec![], "the first refusal once more is not one of the second raise");
    assert_eq!(play.session.asked(), Some(Effect::Increment { to: usd(3000) }));
    assert_eq!(play.cannot(refused(3941)), StepError::Amount, "nobody asked for so much");
    assert_eq!(play.says(Input::Incremented { to: usd(3940) }), vec![]);
    assert_eq!(play.session.asked(), None);
    assert_eq!(play.says(refused(3000)), vec![], "the processor will not lower it");
    assert_eq!(play.cannot(Input::Incremented { to: usd(3941) }), StepError::Amount);
    assert_eq!(play.take(4, &ffa(1000)), vec![Effect::Increment { to: usd(4000) }], "nothing is refused any more");
}

#[test]
fn a_raise_in_part_is_a_refusal_of_the_rest() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(3000));
    assert_eq!(play.cannot(Input::Incremented { to: usd(3001) }), StepError::Amount);
    assert_eq!(play.says(Input::Incremented { to: usd(2700) }), vec![limit_reached(2700)]);
    let end = play.close();
    assert_eq!(owed(&end), [usd(300)]);
    assert!(end.contains(&Effect::Capture { amount: usd(2700) }));
}

#[test]
fn a_raise_that_comes_after_we_gave_up_still_counts() {
    let mut play = Play::anonymous().opened();
    play.take(1, &ffa(3000));
    play.says(refused(3000));
    assert_eq!(play.says(Input::Incremented { to: usd(3000) }), vec![]);
    let State::Open(open) = play.session.state() else { panic!("open") };
    assert_eq!((open.held().authorized(), open.held().limit()), (usd(3000), Limit::Free));
    assert_eq!(owed(&play.close()), vec![]);
}

#[test]
fn a_close_while_an_increment_is_in_flight_waits_for_its_answer() {
    for (answer, captured, unpaid) in [
        (Input::Incremented { to: usd(3000) }, 3000, 0),
        (Input::Incremented { to: usd(2600) }, 2600, 400),
        (refused(3000), 2500, 500),
    ] {
        let mut play = Play::anonymous().opened();
        play.take(1, &ffa(3000));
        assert_eq!(play.close(), vec![]);
        let closed_at = play.now();
        assert_eq!((play.session.stage(), play.session.holds_fridge()), (Stage::Closing, false));
        assert_eq!(play.session.asked(), Some(Effect::Increment { to: usd(3000) }));
        assert_eq!(play.close(), vec![]);
        let note = Effect::Tell(Notice::TouchAfterEnd { kind: TouchKind::Taken, code: code(2) });
        assert_eq!(play.take(2, &ffa(100)), vec![note]);
        assert_eq!(play.says(Input::Incremented { to: usd(HOLD) }), vec![], "a stale answer decides nothing");
        let end = play.says(answer);
        let event = finalized(&end);
        assert_eq!((event.charged, event.unpaid, event.closed_at), (usd(3000), usd(unpaid), closed_at));
        assert!(end.contains(&Effect::Capture { amount: usd(captured) }));
        assert!(!end.iter().any(|effect| matches!(effect, Effect::Show(Display::LimitReached { .. }))));
    }
}

#[test]
fn a_basket_that_grew_beyond_the_raise_in_flight_is_raised_again_after_the_close() {
    for (answer, captured, unpaid) in [
        (Input::Incremented { to: usd(4950) }, 4950, 0),
        (Input::Incremented { to: usd(4000) }, 4000, 950),
        (refused(4950), 2770, 2180),
    ] {
        let mut play = Play::anonymous().opened();
        assert_eq!(play.take(1, &ffa(2770)), vec![Effect::Increment { to: usd(2770) }]);
        assert_eq!(play.take(2, &ffa(2180)), vec![], "one in flight");
        assert_eq!(play.close(), vec![]);
        let closed_at = play.now();
        let more = play.says(Input::Incremented { to: usd(2770) });
        assert_eq!(more, vec![Effect::Increment { to: usd(4950) }], "the card is asked for all of it");
        assert_eq!((play.session.stage(), play.session.asked()), (Stage::Closing, Some(more[0].clone())));
        assert_eq!(play.says(Input::Incremented { to: usd(2770) }), vec![], "a repeated answer decides nothing");
        let end = play.says(answer);
        let event = finalized(&end);
        assert_eq!((event.charged, event.unpaid, event.closed_at), (usd(4950), usd(unpaid), closed_at));
        assert!(end.contains(&Effect::Capture { amount: usd(captured) }));
    }
}
