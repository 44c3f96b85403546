//! The whole state × input matrix: every stage, in each of its conditions, against every input.
//!
//! `-` the input changes nothing · `cannot` it is refused, and the session is as it was · otherwise the stage after it
//! and the effects, in their order.

use std::fmt::Write;

use pci_contract::EventBody;
use pci_session::{
    Display, Effect, FridgeInput, Input, InputKind, Notice, Session, Shown, Stage, StepError, TouchKind, admit_shown,
};

use crate::world::{HOLD, Play, ffa, fridge, fridge_facts, owned, policy, reason, refused, session_id, touch, usd};

const TABLE: &str = include_str!("matrix.txt");

/// Every input. The match keeps the list whole: a new input does not compile until it stands here.
fn inputs() -> Vec<(InputKind, Input)> {
    let inputs = [
        Input::Authorized { amount: usd(HOLD) },
        Input::Declined { reason: reason("declined") },
        Input::PaymentUnavailable,
        Input::Fridge(FridgeInput::DoorOpened),
        Input::Fridge(touch(TouchKind::Taken, 7, Some(owned(100, "CU-2", true)))),
        Input::Fridge(FridgeInput::DoorClosed),
        Input::Fridge(FridgeInput::DoorStayedShut),
        Input::Incremented { to: usd(3000) },
        refused(3000),
        Input::OpenTooLong,
        Input::StayedShutTimeout,
        Input::Abandoned,
        Input::Captured { amount: usd(500) },
        Input::Voided,
        Input::SettlementFailed { reason: reason("gone") },
    ];
    let inputs: Vec<_> = inputs.into_iter().map(|input| (input.kind(), input)).collect();
    for (place, (kind, _)) in inputs.iter().enumerate() {
        let expected = match kind {
            InputKind::Authorized => 0,
            InputKind::Declined => 1,
            InputKind::PaymentUnavailable => 2,
            InputKind::DoorOpened => 3,
            InputKind::Touched => 4,
            InputKind::DoorClosed => 5,
            InputKind::DoorStayedShut => 6,
            InputKind::Incremented => 7,
            InputKind::IncrementRefused => 8,
            InputKind::OpenTooLong => 9,
            InputKind::StayedShutTimeout => 10,
            InputKind::Abandoned => 11,
            InputKind::Captured => 12,
            InputKind::Voided => 13,
            InputKind::SettlementFailed => 14,
        };
        assert_eq!(place, expected);
    }
    inputs
}

/// Every stage in each of its conditions. The match keeps it whole.
fn states() -> Vec<(&'static str, Session)> {
    let session = |mut play: Play, inputs: Vec<Input>| {
        for input in inputs {
            play.says(input);
        }
        play.session
    };
    let authorized = || Input::Authorized { amount: usd(HOLD) };
    let close = || Input::Fridge(FridgeInput::DoorClosed);
    let take = |price| Input::Fridge(touch(TouchKind::Taken, 1, Some(ffa(price))));
    let take_more = |price| Input::Fridge(touch(TouchKind::Taken, 2, Some(ffa(price))));
    let put_back_more = || Input::Fridge(touch(TouchKind::Returned, 2, None));
    let take_less = |price| Input::Fridge(touch(TouchKind::Taken, 3, Some(ffa(price))));
    let opened = || Play::anonymous().opened();
    let failed = || Input::SettlementFailed { reason: reason("gone") };
    let refusal =
        admit_shown(pci_session::admit_fridge(&fridge_facts()).unwrap(), Shown::InvalidCard, &policy()).unwrap_err();
    let states = vec![
        ("authorizing", session(Play::anonymous(), vec![])),
        ("authorizing, customer left", session(Play::anonymous(), vec![close()])),
        ("authorizing, abandoned", session(Play::anonymous(), vec![Input::Abandoned])),
        ("unlocked", session(Play::anonymous(), vec![authorized()])),
        ("open, empty", session(opened(), vec![])),
        ("open, sounded, a meal of 500 out", session(opened(), vec![take(500), Input::OpenTooLong])),
        ("open, increment to 3000 in flight", session(opened(), vec![take(3000)])),
        ("open, limit reached at 2500", session(opened(), vec![take(3000), refused(3000)])),
        ("closing", session(opened(), vec![take(3000), close()])),
        ("closing, 4000 needed and 3000 asked", session(opened(), vec![take(3000), take_more(1000), close()])),
        (
            "closing, 3000 asked and 4000 wanted for a while",
            session(opened(), vec![take(3000), take_more(1000), put_back_more(), close()]),
        ),
        (
            "closing, 2700 needed and 3000 asked",
            session(opened(), vec![take(2500), take_more(500), put_back_more(), take_less(200), close()]),
        ),
        ("closing, abandoned", session(opened(), vec![take(3000), Input::Abandoned])),
        ("ended, capture of 500 pending", session(opened(), vec![take(500), close()])),
        ("ended, captured", session(opened(), vec![take(500), close(), Input::Captured { amount: usd(500) }])),
        ("ended, capture failed", session(opened(), vec![take(500), close(), failed()])),
        ("ended, void pending", session(opened(), vec![close()])),
        ("ended, voided", session(opened(), vec![close(), Input::Voided])),
        ("ended, void failed", session(opened(), vec![close(), failed()])),
        ("refused before the processor", Session::refuse(session_id(), fridge(), refusal, crate::world::at(1)).0),
        ("refused, nothing held", session(Play::anonymous(), vec![Input::PaymentUnavailable])),
        ("refused, releasing", session(Play::anonymous(), vec![Input::PaymentUnavailable, authorized()])),
        ("refused, released", session(Play::anonymous(), vec![Input::PaymentUnavailable, authorized(), Input::Voided])),
        (
            "refused, release failed",
            session(Play::anonymous(), vec![Input::PaymentUnavailable, authorized(), failed()]),
        ),
    ];
    let mut seen = [false; 6];
    for (_, session) in &states {
        seen[match session.stage() {
            Stage::Authorizing => 0,
            Stage::Unlocked => 1,
            Stage::Open => 2,
            Stage::Closing => 3,
            Stage::Ended => 4,
            Stage::Refused => 5,
        }] = true;
    }
    assert_eq!(seen, [true; 6], "a stage is missing");
    states
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Authorize { amount } => format!("authorize {}", amount.minor()),
        Effect::Increment { to } => format!("increment {}", to.minor()),
        Effect::Capture { amount } => format!("capture {}", amount.minor()),
        Effect::Void => "void".to_owned(),
        Effect::Show(display) => match display {
            Display::Unlock { .. } => "Unlock".to_owned(),
            Display::Refused(reason) => format!("Refused {reason}"),
            Display::Alarm { .. } => "Alarm".to_owned(),
            Display::AlarmCleared { .. } => "AlarmCleared".to_owned(),
            Display::LimitReached { limit } => format!("LimitReached {}", limit.minor()),
            Display::SoundDoor => "SoundDoor".to_owned(),
            Display::Receipt(receipt) => format!("Receipt {}", receipt.outcome.as_str()),
        },
        Effect::Emit(EventBody::PurchaseFinalized(data)) => {
            format!("[finalized {} {}]", data.outcome.as_str(), data.charged.minor())
        }
        Effect::Emit(EventBody::PurchaseRefused(data)) => format!("[refused {}]", data.reason),
        Effect::Emit(EventBody::PaymentFailed(data)) => format!("[payment failed {}]", data.amount.minor()),
        Effect::Emit(EventBody::TheftConfirmed(_)) => "[theft]".to_owned(),
        Effect::Emit(other) => panic!("not of a session: {other:?}"),
        Effect::Tell(Notice::OpenTooLong) => "tell open too long".to_owned(),
        Effect::Tell(Notice::BasketFull) => "tell basket full".to_owned(),
        Effect::Tell(Notice::TouchAfterEnd { .. }) => "tell touch after end".to_owned(),
        Effect::Tell(Notice::OpenedAfterEnd) => "tell opened after end".to_owned(),
        Effect::Tell(Notice::VoidFailed { .. }) => "tell void failed".to_owned(),
    }
}

fn cell(session: &Session, input: Input) -> String {
    match session.clone().step(input, crate::world::at(2000)) {
        Ok((after, effects)) if after == *session && effects.is_empty() => "-".to_owned(),
        Ok((after, effects)) => {
            let words: Vec<String> = effects.iter().map(word).collect();
            format!("{}: {}", after.stage().as_str(), words.join(", ")).trim_end().to_owned()
        }
        Err((same, error)) => {
            assert_eq!(same, *session, "a refused step changes nothing");
            match error {
                StepError::NotPossible { stage, .. } => {
                    assert_eq!(stage, session.stage());
                    "cannot".to_owned()
                }
                other => format!("cannot ({})", other.code()),
            }
        }
    }
}

#[test]
fn every_state_against_every_input() {
    let mut table = String::new();
    for (name, session) in states() {
        writeln!(table, "{name}").unwrap();
        for (kind, input) in inputs() {
            writeln!(table, "  {:<20}{}", format!("{kind:?}"), cell(&session, input)).unwrap();
        }
        writeln!(table).unwrap();
    }
    for (line, (ours, expected)) in table.lines().zip(TABLE.lines()).enumerate() {
        assert_eq!(ours, expected, "line {} of matrix.txt", line + 1);
    }
    assert_eq!(table.trim_end(), TABLE.trim_end());
}
