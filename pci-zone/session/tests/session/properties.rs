//! Random purchases against a naive account of them, and against themselves with the power cut at every step.

use std::collections::BTreeSet;

use pci_contract::{EventBody, Money};
use pci_session::{
    Charge, Display, Effect, Effects, FridgeInput, Input, MealFacts, Numbered, Received, Session, State, TouchKind,
};
use proptest::{collection::vec, prelude::*};

use crate::world::{HOLD, Play, ffa, meal, owned, reason, touch, unsafe_to_sell, usd};

/// One thing that happens to an open session.
#[derive(Debug, Clone)]
enum Act {
    Take(u32),
    Return(u32),
    /// The answer to the increment in flight, if there is one: this share of what was asked, in tenths.
    Answer(i64),
    RepeatAuthorized,
    StaleIncrement,
    DoorOpened,
    OpenTooLong,
    GiveUp,
}

/// The eight meals of this world: what each is, and what its keeper owes for it.
fn facts(serial: u32) -> Option<MealFacts> {
    match serial {
        0 => Some(ffa(790)),
        1 => Some(ffa(1250)),
        2 => Some(owned(690, "CU-1", true)),
        3 => Some(owned(930, "CU-1", false)),
        4 => Some(owned(850, "CU-2", true)),
        5 => Some(owned(410, "CU-2", false)),
        6 => Some(unsafe_to_sell(500)),
        _ => None,
    }
}

fn due_of(serial: u32) -> i64 {
    match serial {
        0 => 790,
        1 => 1250,
        3 => 930,
        4 => 850,
        5 => 410,
        _ => 0,
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..8_u32).prop_map(Act::Take),
        4 => (0..8_u32).prop_map(Act::Return),
        2 => (0..=10_i64).prop_map(Act::Answer),
        1 => Just(Act::RepeatAuthorized),
        1 => Just(Act::StaleIncrement),
        1 => Just(Act::DoorOpened),
        1 => Just(Act::OpenTooLong),
        1 => Just(Act::GiveUp),
    ];
    vec(act, 0..40)
}

/// How the purchase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    StayedShut,
    Abandoned,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![3 => Just(End::Closed), 1 => Just(End::StayedShut), 1 => Just(End::Abandoned)]
}

/// What an act says to a session in this state.
fn input(act: &Act, session: &Session) -> Input {
    let touched = |kind, serial| Input::Fridge(touch(kind, serial, facts(serial)));
    match act {
        Act::Take(serial) => touched(TouchKind::Taken, *serial),
        Act::Return(serial) => touched(TouchKind::Returned, *serial),
        Act::Answer(tenths) => match (session.asked(), session.state()) {
            (Some(Effect::Increment { to }), State::Open(open)) => {
                let held = open.held().authorized().minor();
                let granted = held + (to.minor() - held) * tenths / 10;
                if granted > held {
                    Input::Incremented { to: usd(granted) }
                } else {
                    Input::IncrementRefused { asked: to }
                }
            }
            _ => Input::PaymentUnavailable,
        },
        Act::RepeatAuthorized => Input::Authorized { amount: usd(HOLD) },
        Act::StaleIncrement => Input::Incremented { to: usd(HOLD) },
        Act::DoorOpened => Input::Fridge(FridgeInput::DoorOpened),
        Act::OpenTooLong => Input::OpenTooLong,
        Act::GiveUp => match session.asked() {
            Some(Effect::Increment { to }) => Input::IncrementRefused { asked: to },
            _ => Input::StayedShutTimeout,
        },
    }
}

fn last_word(end: End) -> Input {
    match end {
        End::Closed => Input::Fridge(FridgeInput::DoorClosed),
        End::StayedShut => Input::Fridge(FridgeInput::DoorStayedShut),
        End::Abandoned => Input::Abandoned,
    }
}

/// The answer to the increment that a closing session waits for.
fn last_answer(session: &Session) -> Option<Input> {
    match (session.state(), session.asked()) {
        (State::Closing(_), Some(Effect::Increment { to })) if to.minor() % 2 == 0 => Some(Input::Incremented { to }),
        (State::Closing(_), Some(Effect::Increment { to })) => Some(Input::IncrementRefused { asked: to }),
        _ => None,
    }
}

/// Plays it all; `between` may replace the session after each step, as a crash does.
fn play(credit: i64, acts: &[Act], end: End, between: impl Fn(Session) -> Session) -> Play {
    let mut play = Play::subscriber(credit).opened();
    for act in acts {
        let input = input(act, &play.session);
        play.says(input);
        play.session = between(play.session);
    }
    let mut said = Some(last_word(end));
    while let Some(input) = said {
        play.says(input);
        play.session = between(play.session);
        said = last_answer(&play.session);
    }
    play
}

/// What is held and due at the end of a purchase on a card that is good for so much, and grants the part of a raise that
/// it can or none of it. The processor's answers come after those touches whose number says so, and after the close.
fn paced(
    touches: &[(bool, u32, u8)],
    good_for: i64,
    in_part: bool,
    answers: impl Fn(u8) -> bool,
) -> (Money, pci_session::Receipt) {
    let mut play = Play::subscriber(0).opened();
    let mut held = HOLD;
    let mut answer = |play: &mut Play| {
        let Some(Effect::Increment { to }) = play.session.asked() else { return false };
        let granted = to.minor().min(good_for);
        let input = if granted == to.minor() || (in_part && granted > held) {
            held = granted;
            Input::Incremented { to: usd(granted) }
        } else {
            Input::IncrementRefused { asked: to }
        };
        play.says(input);
        true
    };
    for (taken, serial, number) in touches {
        let kind = if *taken { TouchKind::Taken } else { TouchKind::Returned };
        play.fridge(touch(kind, *serial, facts(*serial)));
        while answers(*number) && answer(&mut play) {}
    }
    play.close();
    while answer(&mut play) {}
    let State::Ended(ended) = play.session.state() else { panic!("ended") };
    (ended.authorized(), ended.receipt().clone())
}

fn revive(session: Session) -> Session {
    serde_json::from_str(&serde_json::to_string(&session).unwrap()).unwrap()
}

/// The meals kept, by a count so simple that it can be believed.
fn kept(acts: &[Act]) -> BTreeSet<u32> {
    let mut kept = BTreeSet::new();
    for act in acts {
        match act {
            Act::Take(serial) => drop(kept.insert(*serial)),
            Act::Return(serial) => drop(kept.remove(serial)),
            _ => {}
        }
    }
    kept
}

fn count(effects: &[Effect], wanted: impl Fn(&Effect) -> bool) -> usize {
    effects.iter().filter(|effect| wanted(effect)).count()
}

proptest! {
    #[test]
    fn money_adds_up_and_nothing_is_captured_beyond_the_hold(
        acts in acts(), end in end(), credit in 0..3000_i64,
    ) {
        let play = play(credit, &acts, end, |session| session);
        let State::Ended(ended) = play.session.state() else { panic!("ended") };
        let receipt = ended.receipt();
        let captured = match ended.settlement().charge() {
            Charge::Capture { amount } => amount.minor(),
            Charge::Void => 0,
        };
        let due: i64 = kept(&acts).into_iter().map(due_of).sum();
        prop_assert!(captured <= ended.authorized().minor());
        prop_assert_eq!(captured + receipt.credit_used.minor() + receipt.unpaid.minor(), due);
        prop_assert_eq!(receipt.charged.minor(), due - receipt.credit_used.minor());
        prop_assert_eq!(receipt.credit_used.minor(), due.min(credit));
        let asked: Vec<&Effect> =
            play.all.iter().filter(|effect| matches!(effect, Effect::Capture { .. } | Effect::Void)).collect();
        prop_assert_eq!(asked, [&ended.settlement().charge().effect()]);
    }

    #[test]
    fn no_raise_is_asked_for_twice_nor_beyond_a_refusal(acts in acts(), end in end()) {
        let mut play = Play::subscriber(0).opened();
        let (mut asked, mut refused) = (BTreeSet::new(), i64::MAX);
        for act in &acts {
            let input = input(act, &play.session);
            let effects = play.says(input.clone());
            if let Input::IncrementRefused { asked } = &input {
                refused = asked.minor();
            }
            for effect in effects {
                if let Effect::Increment { to } = effect {
                    prop_assert!(asked.insert(to.minor()), "asked again for {to:?}");
                    prop_assert!(to.minor() < refused, "asked for {to:?}, and {refused} was refused");
                }
            }
        }
        play.says(last_word(end));
    }

    #[test]
    fn the_hold_follows_the_touches_and_not_the_pace_of_the_answers(
        touches in vec((any::<bool>(), 0..8_u32, 0..4_u8), 0..30), good_for in HOLD..6000_i64, in_part in any::<bool>(),
    ) {
        let at_once = paced(&touches, good_for, in_part, |_| true);
        let at_random = paced(&touches, good_for, in_part, |answers| answers == 0);
        let at_the_end = paced(&touches, good_for, in_part, |_| false);
        prop_assert_eq!(&at_once, &at_random);
        prop_assert_eq!(&at_once, &at_the_end);
    }

    #[test]
    fn a_session_ends_once_and_reports_each_theft_once(acts in acts(), end in end()) {
        let play = play(0, &acts, end, |session| session);
        prop_assert_eq!(count(&play.all, |it| matches!(it, Effect::Emit(EventBody::PurchaseFinalized(_)))), 1);
        prop_assert_eq!(count(&play.all, |it| matches!(it, Effect::Emit(EventBody::PurchaseRefused(_)))), 0);
        prop_assert_eq!(count(&play.all, |it| matches!(it, Effect::Show(Display::Receipt(_)))), 1);
        let stolen = kept(&acts).into_iter().filter(|serial| matches!(serial, 4 | 5)).map(meal);
        let expected: Vec<_> = if end == End::Abandoned { vec![] } else { stolen.collect() };
        prop_assert_eq!(crate::world::thefts(&play.all), expected);
        let limits: Vec<i64> = play.all.iter().filter_map(|it| match it {
            Effect::Show(Display::LimitReached { limit }) => Some(limit.minor()),
            _ => None,
        }).collect();
        prop_assert!(limits.is_sorted_by(|a, b| a < b), "each limit is said once: {:?}", limits);
    }

    #[test]
    fn an_alarm_is_cleared_by_its_return_and_by_nothing_else(acts in acts()) {
        let mut play = Play::subscriber(0).opened();
        let mut sounding = BTreeSet::new();
        for act in &acts {
            let effects = play.says(input(act, &play.session));
            let (mut starts, mut clears) = (vec![], vec![]);
            for effect in effects {
                match effect {
                    Effect::Show(Display::Alarm { barcode, .. }) => starts.push(barcode),
                    Effect::Show(Display::AlarmCleared { barcode }) => clears.push(barcode),
                    _ => {}
                }
            }
            let (expected_starts, expected_clears) = match act {
                Act::Take(serial @ 4..=6) if sounding.insert(*serial) => (vec![meal(*serial)], vec![]),
                Act::Return(serial @ 4..=6) if sounding.remove(serial) => (vec![], vec![meal(*serial)]),
                _ => (vec![], vec![]),
            };
            prop_assert_eq!((starts, clears), (expected_starts, expected_clears));
        }
    }

    #[test]
    fn a_cut_at_every_point_changes_nothing(acts in acts(), end in end(), credit in 0..3000_i64) {
        let whole = play(credit, &acts, end, |session| session);
        let cut = play(credit, &acts, end, revive);
        prop_assert_eq!(whole.session, cut.session);
        prop_assert_eq!(whole.all, cut.all);
    }

    #[test]
    fn messages_lost_repeated_and_reordered_end_as_if_each_had_come_once(
        acts in acts(), arrivals in vec(0..45_u64, 0..200),
    ) {
        let journal: Vec<FridgeInput> = acts
            .iter()
            .filter_map(|act| match input(act, &Play::anonymous().session) {
                Input::Fridge(body) => Some(body),
                _ => None,
            })
            .chain([FridgeInput::DoorClosed])
            .collect();
        let run = |order: Vec<u64>| {
            let mut session = Play::subscriber(0).opened().session;
            let mut all = Effects::new();
            for sequence in order {
                let Some(body) = usize::try_from(sequence).ok().and_then(|place| journal.get(place)) else { continue };
                let before = session.clone();
                let message = Numbered { sequence: sequence + 3, body: body.clone() };
                session = match session.receive(message, crate::world::at(5000)) {
                    Received::Stepped(session, effects) => { all.extend(effects); session }
                    Received::Duplicate(session, _) | Received::Gap { session, .. } => {
                        assert_eq!(session, before);
                        session
                    }
                    Received::Impossible(_, error) => panic!("{error}"),
                };
            }
            (session, all)
        };
        let in_order: Vec<u64> = (0..45).collect();
        let messy: Vec<u64> = arrivals.into_iter().chain(0..45).collect();
        prop_assert_eq!(run(in_order), run(messy));
    }

    #[test]
    fn no_input_at_all_is_a_panic_and_a_refused_one_changes_nothing(
        words in vec((0..15_u8, -10..4000_i64, 0..8_u32), 0..60),
    ) {
        let mut session = Play::subscriber(100).session;
        let mut ends = 0;
        for (kind, minor, serial) in words {
            let before = session.clone();
            let said = any_input(kind, usd(minor), serial);
            session = match session.step(said, crate::world::at(5000)) {
                Ok((session, effects)) => {
                    ends += count(&effects, |it| matches!(it,
                        Effect::Emit(EventBody::PurchaseFinalized(_) | EventBody::PurchaseRefused(_))));
                    session
                }
                Err((session, _)) => {
                    prop_assert_eq!(&session, &before);
                    session
                }
            };
            prop_assert_eq!(&revive(session.clone()), &session, "what was reached can be stored");
        }
        let is_over = matches!(session.state(), State::Ended(_) | State::Refused(_));
        prop_assert_eq!(ends, usize::from(is_over));
    }
}

fn any_input(kind: u8, amount: Money, serial: u32) -> Input {
    match kind {
        0 => Input::Authorized { amount },
        1 => Input::Declined { reason: reason("no") },
        2 => Input::PaymentUnavailable,
        3 => Input::Fridge(FridgeInput::DoorOpened),
        4 | 5 => Input::Fridge(touch(TouchKind::Taken, serial, facts(serial))),
        6 => Input::Fridge(touch(TouchKind::Returned, serial, facts(serial))),
        7 => Input::Fridge(FridgeInput::DoorClosed),
        8 => Input::Incremented { to: amount },
        9 => Input::IncrementRefused { asked: amount },
        10 => Input::OpenTooLong,
        11 => Input::StayedShutTimeout,
        12 => Input::Abandoned,
        13 => Input::Captured { amount },
        _ => {
            [Input::Voided, Input::SettlementFailed { reason: reason("no") }][usize::from(amount.is_positive())].clone()
        }
    }
}
