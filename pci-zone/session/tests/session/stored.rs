//! What is stored: every state survives its JSON, and what no run of the machine could have written is refused.

use pci_contract::ReasonCode;
use pci_session::{FridgeInput, Input, Session, Stage};
use serde_json::{Value, json};

use crate::world::{HOLD, Play, ffa, owned, reason, touch, unsafe_to_sell, usd};

fn stored(play: &Play) -> Value {
    serde_json::to_value(&play.session).unwrap()
}

/// A session in the middle of everything.
fn busy() -> Play {
    let mut play = Play::subscriber(300).opened();
    play.take(1, &ffa(2500));
    play.take(2, &owned(400, "CU-2", false));
    play.take(3, &unsafe_to_sell(5));
    play.put_back(4, &ffa(1));
    play.fridge(touch(pci_session::TouchKind::Taken, 5, None));
    play
}

/// Its basket came to need more while a raise was in flight.
fn wanting() -> Play {
    let mut play = busy();
    play.take(6, &ffa(100));
    play.put_back(6, &ffa(100));
    play
}

fn ended() -> Play {
    let mut play = busy();
    play.says(crate::world::refused(2600));
    play.close();
    play
}

fn closing() -> Play {
    let mut play = busy();
    play.close();
    play
}

fn refused() -> Play {
    let mut play = Play::anonymous();
    play.says(Input::PaymentUnavailable);
    play
}

#[test]
fn every_state_survives_its_json() {
    let mut unlocked = Play::anonymous();
    unlocked.says(Input::Authorized { amount: usd(HOLD) });
    let mut leaving = Play::anonymous();
    leaving.fridge(FridgeInput::DoorStayedShut);
    let mut failed = ended();
    failed.says(Input::SettlementFailed { reason: reason("gone") });
    let mut releasing = refused();
    releasing.says(Input::Authorized { amount: usd(HOLD) });
    let plays = [
        Play::anonymous(),
        leaving,
        unlocked,
        Play::anonymous().opened(),
        busy(),
        wanting(),
        closing(),
        ended(),
        failed,
        refused(),
        releasing,
    ];
    for play in plays {
        let json = stored(&play);
        assert_eq!(json["state"]["stage"], play.session.stage().as_str());
        assert_eq!(serde_json::from_value::<Session>(json).unwrap(), play.session);
    }
}

#[test]
fn a_raise_stored_before_the_most_asked_was_kept_still_takes_its_answer() {
    let mut json = stored(&busy());
    let held = json.pointer_mut("/state/held").and_then(Value::as_object_mut).expect("what is held");
    assert!(held.remove("most_asked").is_some());
    let asked = held["limit"]["asked"].as_object_mut().expect("a raise in flight");
    assert!(asked.remove("shown").is_some());
    let old: Session = serde_json::from_value(json).unwrap();
    let (session, _) = old.step(Input::Incremented { to: usd(2600) }, crate::world::at(2000)).unwrap();
    assert_eq!((session.stage(), session.asked()), (Stage::Open, None));
}

/// Changes one place of a stored session and says whether it is still believed.
fn refuses(play: &Play, pointer: &str, value: Value) -> bool {
    let mut json = stored(play);
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    serde_json::from_value::<Session>(json).is_err()
}

#[test]
fn an_impossible_state_is_refused() {
    let euros = |minor: i64| json!({"minor": minor, "currency": "EUR"});
    let dollars = |minor: i64| json!({"minor": minor, "currency": "USD"});
    let first = "/state/basket/meals/(01)09500000000198(21)1/price";
    let open: &[(&str, Value)] = &[
        ("/received", json!(0)),
        ("/id", json!("019a0000")),
        ("/state/stage", json!("ajar")),
        ("/state/terms/hold", dollars(0)),
        ("/state/terms/credit", dollars(-1)),
        ("/state/terms/credit", euros(300)),
        ("/state/held/authorized", dollars(2499)),
        ("/state/held/authorized", euros(2500)),
        ("/state/held/limit/asked/to", dollars(2500)),
        ("/state/basket/zero", dollars(1)),
        (first, dollars(-1)),
        (first, euros(1)),
        (first, dollars(i64::MAX)),
        ("/state/basket/stray", json!((0..513).map(|n| format!("(01)09500000000198(21){n}")).collect::<Vec<_>>())),
        ("/state/basket/unidentified", json!(vec!["unreadable"; 510])),
    ];
    for (pointer, value) in open {
        assert!(refuses(&busy(), pointer, value.clone()), "{pointer} = {value}");
    }
    for wanted in [vec![euros(2700)], (0..17).map(|more| dollars(2700 + more)).collect()] {
        assert!(refuses(&wanting(), "/state/held/wanted", json!(wanted)), "{wanted:?}");
    }
    let waiting = closing();
    assert_eq!(waiting.session.stage(), Stage::Closing);
    assert!(refuses(&waiting, "/state/held/limit", json!("free")), "a closing session waits for something");
    assert!(refuses(&waiting, "/state/held/authorized", dollars(1)));
    assert!(refuses(&waiting, "/state/basket/zero", euros(0)));
}

#[test]
fn an_end_that_does_not_add_up_is_refused() {
    let dollars = |minor: i64| json!({"minor": minor, "currency": "USD"});
    // due 2900 = credit 300 + captured 2500 + unpaid 100
    for (pointer, value) in [
        ("/state/authorized", dollars(2499)),
        ("/state/settlement/pending/capture/amount", dollars(2501)),
        ("/state/settlement/pending/capture/amount", dollars(0)),
        ("/state/settlement/pending", json!("void")),
        ("/state/receipt/unpaid", dollars(0)),
        ("/state/receipt/unpaid", dollars(-1)),
        ("/state/receipt/credit_used", dollars(0)),
        ("/state/receipt/charged", dollars(2500)),
        ("/state/receipt/outcome", json!("free")),
        ("/state/receipt/outcome", json!("no_purchase")),
        ("/state/receipt/lines/0/price", dollars(1)),
        ("/state/receipt/lines", json!([])),
    ] {
        assert!(refuses(&ended(), pointer, value.clone()), "{pointer} = {value}");
    }
    assert!(!refuses(&ended(), "/received", json!(77)));
}

#[test]
fn a_processor_was_asked_about_a_card_or_not_at_all() {
    assert!(refuses(&refused(), "/state/known/card", Value::Null));
    assert!(!refuses(&refused(), "/state/reason", json!(ReasonCode::CARD_DECLINED)));
}
