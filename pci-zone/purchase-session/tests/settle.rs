//! What is settled when nobody waits any more, by a real driver against a real processor: captures and voids, raises and
//! authorizations whose answer never came, and the requests that the processor will never take.
//!
//! A failure is a hold that stays with the processor, a meal that is not charged, a customer who owes what his card was
//! good for, or a payment that waits behind others that cannot be made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::shop;

use pci_contract::{EventBody, Outcome};
use pci_processors::{AuthorizationRef, IdempotencyKey, Processor, Verb as Ask};
use pci_session::{FridgeInput, Input, Settlement, Stage, State};
use pci_store::{IntentOutcome, Verb};
use processor_sandbox::{Switches, Total};
use purchase_session::message::FridgeBody;

use test_token::in_own_process;

use shop::{DAY_S, HOUR_S, MINUTE_S, Shop, begun, in_shop, key, open, put_back, session_id, take, unlocked, usd};

fn answers(shop: &Shop, fail: bool) {
    shop.sandbox.control().switch(Switches { fail_5xx: fail, ..Switches::default() });
}

#[test]
fn what_can_never_succeed_keeps_nobody_waiting() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            // More than a page of the disk, and more than there are places.
            shop.captures_of_nobodys_holds(1..1_101, 10 * MINUTE_S).await;
            let good = shop.capture_pending(2_001, 500, MINUTE_S).await;
            let card = shop.keep_card(7).await;
            shop.save(
                begun(2_002, card, None, 5 * MINUTE_S),
                &[shop.asked(2_002, Verb::Authorize, 2_500, 5 * MINUTE_S)],
            )
            .await;
            let drive = shop.drive(4).await;

            shop.until_final(good).await;
            shop.until_final(session_id(2_002)).await;
            let ledger = shop.sandbox.control().ledger();
            assert_eq!(ledger.captured, Total { count: 1, sum: 500 });
            assert_eq!(ledger.voided.count, 1, "asked once more with its key, and released");
            assert_eq!(ledger.open, Total::default());
            drop(drive);
        });
    });
}

#[test]
fn a_capture_that_the_processor_calls_wrong_for_long_is_owed() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            shop.captures_of_nobodys_holds(1..2, 2 * HOUR_S).await;
            shop.captures_of_nobodys_holds(2..3, 0).await;
            let drive = shop.drive(4).await;
            shop.until_final(session_id(1)).await;
            let State::Ended(ended) = shop.state(session_id(1)).await else { panic!("ended") };
            assert!(matches!(ended.settlement(), Settlement::Failed { .. }), "{:?}", ended.settlement());
            assert_eq!(shop.owed(session_id(1)).await, [usd(500)]);
            assert_eq!(shop.outcome(&key(1, Ask::Capture)).await, Some(IntentOutcome::Rejected));
            assert_eq!(shop.outcome(&key(2, Ask::Capture)).await, None, "an operator may still put it right");
            drop(drive);
        });
    });
}

#[test]
fn a_capture_of_a_hold_that_is_gone_is_owed_at_once() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            let id = shop.capture_pending(1, 500, MINUTE_S).await;
            let held = shop.store.authorization_of(id).await.unwrap().unwrap();
            let held = AuthorizationRef::parse(&held).unwrap();
            shop.processor.void(&IdempotencyKey::new(id, Ask::Void, 9), &held).await.unwrap();
            let drive = shop.drive(4).await;
            shop.until_final(id).await;
            assert_eq!(shop.owed(id).await, [usd(500)]);
            assert_eq!(shop.outcome(&key(1, Ask::Capture)).await, Some(IntentOutcome::Declined));
            drop(drive);
        });
    });
}

#[test]
fn a_hold_that_lands_late_is_released() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            // The process died between the call and the card's place on record, so nobody can ask again.
            let card = shop::card(9);
            let ask = |n, ago_s| shop.asked(n, Verb::Authorize, 2_500, ago_s);
            shop.save(begun(1, card.clone(), None, 3 * MINUTE_S), &[ask(1, 3 * MINUTE_S)]).await;
            shop.save(begun(2, card, None, 2 * HOUR_S), &[ask(2, 2 * HOUR_S)]).await;
            let drive = shop.drive(4).await;
            for n in [1, 2] {
                shop.until(async || (shop.stage(session_id(n)).await == Stage::Refused).then_some(())).await;
            }
            assert_eq!(shop.outcome(&key(1, Ask::Authorize)).await, None, "the processor may still act");
            shop.until(async || shop.outcome(&key(2, Ask::Authorize)).await).await;
            assert_eq!(shop.outcome(&key(2, Ask::Authorize)).await, Some(IntentOutcome::Dropped));
            drop(drive);

            shop.hold(1, 2_500).await;
            assert_eq!(shop.sandbox.control().ledger().open.count, 1);
            let drive = shop.drive(4).await;
            shop.until_settled(1).await;
            assert_eq!(shop.sandbox.control().ledger().open, Total::default());
            drop(drive);
        });
    });
}

#[test]
fn an_authorization_that_nobody_waited_for_ends_the_session_and_frees_what_it_kept() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            let customer = shop.customer_with_credit(700).await;
            let session = begun(1, shop::card(9), Some((&customer, usd(700))), 2 * MINUTE_S);
            shop.save(session, &[shop.asked(1, Verb::Authorize, 2_500, 2 * MINUTE_S)]).await;
            shop.store.reference().restore_reservation(session_id(1), &customer, usd(700));
            shop.hold(1, 2_500).await;
            let drive = shop.drive(4).await;
            assert_eq!(drive.counts().1, 1, "its fridge is busy");
            shop.until_final(session_id(1)).await;
            let State::Ended(ended) = shop.state(session_id(1)).await else { panic!("nobody was there to unlock for") };
            assert_eq!(ended.receipt().outcome, Outcome::NoPurchase);
            assert_eq!(shop.sandbox.control().ledger().open, Total::default());
            shop.until(async || (drive.counts().1 == 0).then_some(())).await;
            assert_eq!(shop.store.reference().reserve_credit(session_id(2), &customer, usd(700)), usd(700));
        });
    });
}

#[test]
fn an_open_door_that_nobody_hears_of_is_not_given_up_for_a_raise_without_an_answer() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            let reference = shop.hold(1, 2_500).await;
            let asks =
                [shop.authorized(1, reference), vec![shop.asked(1, Verb::Increment, 3_000, 2 * MINUTE_S)]].concat();
            shop.save(take(open(1, shop::card(9), 5 * MINUTE_S), 1, 3_000), &asks).await;
            let drive = shop.drive(4).await;
            let raise = IdempotencyKey::new(session_id(1), Ask::Increment, 3_000);
            shop.until(async || shop.outcome(&raise).await).await;
            assert_eq!(shop.outcome(&raise).await, Some(IntentOutcome::Done));
            let State::Open(door) = shop.state(session_id(1)).await else { panic!("its door is open") };
            assert_eq!(door.held().authorized(), usd(3_000));
            drop(drive);
        });
    });
}

#[test]
fn an_unlocked_door_that_nobody_hears_of_is_given_up_after_a_day() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            for (n, ago_s) in [(1, DAY_S + HOUR_S), (2, DAY_S - HOUR_S)] {
                let reference = shop.hold(n, 2_500).await;
                shop.save(unlocked(n, shop::card(9), ago_s), &shop.authorized(n, reference)).await;
            }
            let drive = shop.drive(4).await;
            shop.until_final(session_id(1)).await;
            let State::Ended(ended) = shop.state(session_id(1)).await else { panic!("ended") };
            assert_eq!(ended.receipt().outcome, Outcome::NoPurchase);
            assert_eq!(shop.stage(session_id(2)).await, Stage::Unlocked, "its fridge may still come back");
            assert_eq!(shop.sandbox.control().ledger().open.count, 1);
            drop(drive);
        });
    });
}

#[test]
fn nobody_owes_what_a_processor_that_is_down_did_not_answer() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            for (n, ago_s) in [(1, 2 * MINUTE_S), (2, 2 * HOUR_S)] {
                let reference = shop.hold(n, 2_500).await;
                let raise = shop.asked(n, Verb::Increment, 3_000, ago_s);
                let session = take(open(n, shop::card(9), ago_s + MINUTE_S), 1, 3_000);
                // The second needs less by now: a smaller raise follows the one that is given up.
                let session = if n == 2 { take(put_back(session, 1, 3_000), 2, 2_800) } else { session };
                let closing = shop::step(session, Input::Fridge(FridgeInput::DoorClosed), ago_s);
                shop.save(closing, &[shop.authorized(n, reference), vec![raise]].concat()).await;
            }
            answers(&shop, true);
            let drive = shop.drive(4).await;
            // The second's door was shut so long ago that both its raises are given up.
            shop.until(async || (shop.stage(session_id(2)).await == Stage::Ended).then_some(())).await;
            assert_eq!(shop.owed(session_id(2)).await, [usd(300)]);
            shop.until(async || (shop.metrics.settle_retries.get() > 3).then_some(())).await;
            assert_eq!(shop.stage(session_id(1)).await, Stage::Closing);
            answers(&shop, false);
            shop.until_final(session_id(1)).await;
            assert_eq!(shop.owed(session_id(1)).await, []);
            assert_eq!(shop.outcome(&key(1, Ask::Capture)).await, Some(IntentOutcome::Done));
            drop(drive);
        });
    });
}

#[test]
fn a_close_waits_for_its_raise_longer_than_a_customer_would() {
    in_own_process("settle", |token| {
        in_shop(token, async |shop| {
            let reference = shop.hold(1, 2_500).await;
            let session = take(open(1, shop::card(9), MINUTE_S), 1, 3_000);
            let next = session.received() + 1;
            let raise = vec![shop.asked(1, Verb::Increment, 3_000, 0)];
            shop.save(session, &[shop.authorized(1, reference), raise].concat()).await;
            answers(&shop, true);
            let drive = shop.drive(4).await;
            let mut line = shop.line(&drive, 1).await;
            line.say(next, FridgeBody::DoorClosed).await;
            shop.until(async || (shop.stage(session_id(1)).await != Stage::Open).then_some(())).await;
            // The customer's time is over when the settler takes it up.
            shop.until(async || (shop.metrics.settle_retries.get() > 0).then_some(())).await;
            assert_eq!(shop.stage(session_id(1)).await, Stage::Closing, "nobody answered yet");
            answers(&shop, false);
            let receipt = line.receipt().await;
            assert_eq!((receipt.charged, receipt.unpaid), (usd(3_000), usd(0)));
            shop.until_final(session_id(1)).await;
            let told = shop.events(session_id(1)).await;
            let settled = |event: &&EventBody| matches!(event, EventBody::PaymentSettled(_));
            assert_eq!(told.iter().filter(settled).count(), 1, "told once: {told:?}");
            assert_eq!(shop.sandbox.control().ledger().captured, Total { count: 1, sum: 3_000 });
        });
    });
}
