//! Every verb of the port against a processor with books of its own: what is asked is what is booked, once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use pci_contract::ReasonCode;
use pci_processors::{AskError, AuthorizationRef, Captured, Processor, Standing, StandingState, StoredCard, Verb};
use processor_sandbox::{Declines, Total};

#[tokio::test]
async fn a_purchase_from_hold_to_refund() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    assert_eq!(held.amount, usd(2_500));
    assert_eq!(processor.increment(&key(1, Verb::Increment), &held.reference, usd(4_000)).await, Ok(usd(4_000)));
    let taken = processor.capture(&key(1, Verb::Capture), &held.reference, usd(3_100)).await;
    assert_eq!(taken, Ok(Captured { amount: usd(3_100) }));
    assert_eq!(processor.refund(&key(1, Verb::Refund), &held.reference, usd(600)).await, Ok(()));

    let ledger = sandbox.control().ledger();
    assert_eq!(ledger.authorized, Total { count: 1, sum: 4_000 });
    assert_eq!(ledger.captured, Total { count: 1, sum: 3_100 });
    assert_eq!(ledger.refunded, Total { count: 1, sum: 600 });
    assert_eq!(ledger.voided, Total::default());
    assert_eq!(ledger.open, Total::default());
    let health = processor.health();
    assert_eq!((health.answered, health.failures_in_a_row), (5, 0));
}

#[tokio::test]
async fn a_hold_is_let_go() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    assert_eq!(sandbox.control().ledger().open, Total { count: 1, sum: 2_500 });
    assert_eq!(processor.void(&key(1, Verb::Void), &held.reference).await, Ok(()));
    let ledger = sandbox.control().ledger();
    assert_eq!((ledger.voided, ledger.open), (Total { count: 1, sum: 2_500 }, Total::default()));
}

#[tokio::test]
async fn sync_tells_where_a_payment_stands() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    assert_eq!(processor.sync(session(1)).await, Ok(None));
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    let standing = Standing {
        authorization: held.reference.clone(),
        authorized: usd(2_500),
        captured: usd(0),
        state: StandingState::Held,
    };
    assert_eq!(processor.sync(session(1)).await, Ok(Some(standing.clone())));
    assert_eq!(processor.sync(session(2)).await, Ok(None));
    processor.capture(&key(1, Verb::Capture), &held.reference, usd(700)).await.unwrap();
    let captured = Standing { captured: usd(700), state: StandingState::Captured, ..standing };
    assert_eq!(processor.sync(session(1)).await, Ok(Some(captured)));

    let other = processor.authorize(&key(2, Verb::Authorize), session(2), usd(900), &card).await.unwrap();
    processor.void(&key(2, Verb::Void), &other.reference).await.unwrap();
    assert_eq!(processor.sync(session(2)).await.unwrap().unwrap().state, StandingState::Voided);
}

#[tokio::test]
async fn declines_speak_our_words_and_hold_nothing() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let stolen = Declines {
        declines: [("5555555555554444".to_owned(), Some("stolen_card".to_owned()))].into(),
        ..Declines::default()
    };
    sandbox.control().decline(stolen).unwrap();
    for (n, digits, reason) in [
        (1, DECLINED, ReasonCode::CARD_DECLINED),
        (2, POOR, ReasonCode::INSUFFICIENT_FUNDS),
        (3, "4000000000000341", ReasonCode::CARD_DECLINED),
        (4, "5555555555554444", ReasonCode::parse("stolen_card").unwrap()),
    ] {
        let card = stored(&processor, n, digits).await;
        for _repeat in 0..2 {
            let declined = processor.authorize(&key(n, Verb::Authorize), session(n), usd(2_500), &card).await;
            assert_eq!(declined.unwrap_err(), AskError::Declined(reason.clone()));
        }
        assert_eq!(processor.sync(session(n)).await, Ok(None));
        assert_eq!(sandbox.control().intents_of(&session(n).to_string()).len(), 1);
    }
    assert_eq!(sandbox.control().ledger().authorized, Total::default());
    assert_eq!(processor.health().declined, 8);
}

#[tokio::test]
async fn to_take_of_a_hold_that_is_gone_is_declined_for_good() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    processor.void(&key(1, Verb::Void), &held.reference).await.unwrap();
    let gone = AskError::Declined(ReasonCode::parse("hold_expired").unwrap());
    for _repeat in 0..2 {
        let declined = processor.capture(&key(1, Verb::Capture), &held.reference, usd(700)).await;
        assert_eq!(declined, Err(gone.clone()));
    }
    assert_eq!(sandbox.control().ledger().captured, Total::default());
}

#[tokio::test]
async fn an_increment_may_be_declined_and_the_hold_stands() {
    let sandbox = sandbox().await;
    let limit = Declines { increment_limits: [(GOOD.to_owned(), Some(3_000))].into(), ..Declines::default() };
    sandbox.control().decline(limit).unwrap();
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    let declined = processor.increment(&key(1, Verb::Increment), &held.reference, usd(3_001)).await;
    assert_eq!(declined, Err(AskError::Declined(ReasonCode::INSUFFICIENT_FUNDS)));
    assert_eq!(processor.sync(session(1)).await.unwrap().unwrap().authorized, usd(2_500));
    processor.capture(&key(1, Verb::Capture), &held.reference, usd(2_500)).await.unwrap();
}

#[tokio::test]
async fn a_card_that_is_none_is_declined_before_anything_is_held() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let past = pci_card::Expiry::parse_yymm(b"2001").unwrap();
    let declined = processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), past).await;
    assert_eq!(declined, Err(AskError::Declined(ReasonCode::EXPIRED_CARD)));
}

#[tokio::test]
async fn the_same_key_answers_the_same_and_acts_once() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    assert_eq!(stored(&processor, 1, GOOD).await, card);
    let authorize = || processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card);
    let held = authorize().await.unwrap();
    assert_eq!(authorize().await.unwrap(), held);
    for _repeat in 0..2 {
        processor.increment(&key(1, Verb::Increment), &held.reference, usd(3_000)).await.unwrap();
    }
    for _repeat in 0..2 {
        processor.capture(&key(1, Verb::Capture), &held.reference, usd(100)).await.unwrap();
    }
    for _repeat in 0..2 {
        processor.refund(&key(1, Verb::Refund), &held.reference, usd(40)).await.unwrap();
    }
    let ledger = sandbox.control().ledger();
    assert_eq!(ledger.authorized, Total { count: 1, sum: 3_000 });
    assert_eq!(ledger.captured, Total { count: 1, sum: 100 });
    assert_eq!(ledger.refunded, Total { count: 1, sum: 40 });
}

#[tokio::test]
async fn the_same_key_for_another_ask_is_rejected() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    let other = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_501), &card).await;
    assert_eq!(other.unwrap_err(), AskError::Rejected { status: 400, code: "idempotency_error".to_owned() });
    assert_eq!(sandbox.control().ledger().authorized, Total { count: 1, sum: 2_500 });
}

#[tokio::test]
async fn a_settled_hold_answers_a_forgotten_key_by_its_state() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    processor.capture(&key(1, Verb::Capture), &held.reference, usd(700)).await.unwrap();
    // Keys of another number stand for one the processor has pruned.
    let again = processor.capture(&key(9, Verb::Capture), &held.reference, usd(700)).await;
    assert_eq!(again, Ok(Captured { amount: usd(700) }));
    let unexpected = || AskError::Rejected { status: 400, code: "payment_intent_unexpected_state".to_owned() };
    let more = processor.capture(&key(8, Verb::Capture), &held.reference, usd(701)).await;
    assert_eq!(more, Err(unexpected()));
    assert_eq!(processor.void(&key(9, Verb::Void), &held.reference).await, Err(unexpected()));
    assert_eq!(sandbox.control().ledger().captured, Total { count: 1, sum: 700 });

    let other = processor.authorize(&key(2, Verb::Authorize), session(2), usd(900), &card).await.unwrap();
    processor.void(&key(2, Verb::Void), &other.reference).await.unwrap();
    assert_eq!(processor.void(&key(7, Verb::Void), &other.reference).await, Ok(()));
    let gone = AskError::Declined(ReasonCode::parse("hold_expired").unwrap());
    assert_eq!(processor.capture(&key(7, Verb::Capture), &other.reference, usd(1)).await, Err(gone));
}

#[tokio::test]
async fn never_more_than_is_held_nor_back_than_was_taken() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    let too_large = AskError::Rejected { status: 400, code: "amount_too_large".to_owned() };
    let capture = processor.capture(&key(1, Verb::Capture), &held.reference, usd(2_501)).await;
    assert_eq!(capture, Err(too_large.clone()));
    processor.capture(&key(2, Verb::Capture), &held.reference, usd(1_000)).await.unwrap();
    // two at once of more than was captured: one of them loses
    let (one, other) = (key(1, Verb::Refund), key(2, Verb::Refund));
    let (one, other) = tokio::join!(
        processor.refund(&one, &held.reference, usd(600)),
        processor.refund(&other, &held.reference, usd(600))
    );
    assert_eq!([&one, &other].into_iter().filter(|refund| refund.is_ok()).count(), 1);
    assert!([one, other].contains(&Err(too_large)));
    processor.refund(&key(3, Verb::Refund), &held.reference, usd(400)).await.unwrap();
    let nothing_left = processor.refund(&key(4, Verb::Refund), &held.reference, usd(1)).await;
    assert_eq!(nothing_left, Err(AskError::Rejected { status: 400, code: "charge_already_refunded".to_owned() }));
    assert_eq!(sandbox.control().ledger().refunded, Total { count: 2, sum: 1_000 });
}

#[tokio::test]
async fn what_does_not_exist_is_rejected() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let missing = AskError::Rejected { status: 404, code: "resource_missing".to_owned() };
    let nobody = AuthorizationRef::parse("pi_nobody").unwrap();
    assert_eq!(processor.capture(&key(1, Verb::Capture), &nobody, usd(1)).await, Err(missing.clone()));
    assert_eq!(processor.void(&key(1, Verb::Void), &nobody).await, Err(missing.clone()));
    assert_eq!(processor.refund(&key(1, Verb::Refund), &nobody, usd(1)).await, Err(missing.clone()));
    let card = StoredCard::parse("pm_nobody").unwrap();
    let authorize = processor.authorize(&key(1, Verb::Authorize), session(1), usd(1), &card).await;
    assert_eq!(authorize.unwrap_err(), missing);
    let nothing = processor.authorize(&key(2, Verb::Authorize), session(1), usd(0), &card).await;
    assert_eq!(nothing.unwrap_err(), AskError::Rejected { status: 400, code: "parameter_invalid".to_owned() });
}

#[tokio::test]
async fn a_wrong_key_is_rejected() {
    let sandbox = sandbox().await;
    let wrong = pci_processors::ApiKey::new(zeroize::Zeroizing::new("sk_test_wrong".to_owned()));
    let config = pci_processors::ProcessorConfig { api_key: wrong, ..config(&sandbox) };
    let processor = pci_processors::StripeShaped::new(config).unwrap();
    let refused = processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry()).await;
    assert_eq!(refused, Err(AskError::Rejected { status: 401, code: "invalid_request_error".to_owned() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_at_once_each_charged_once() {
    let sandbox = sandbox().await;
    let config = pci_processors::ProcessorConfig { max_connections: 8, timeout_ms: 60_000, ..config(&sandbox) };
    let processor = pci_processors::StripeShaped::new(config).unwrap();
    let mut purchases = tokio::task::JoinSet::new();
    for n in 0..64_u32 {
        let processor = processor.clone();
        purchases.spawn(async move {
            let card = stored(&processor, n, GOOD).await;
            let held = processor.authorize(&key(n, Verb::Authorize), session(n), usd(2_500), &card).await.unwrap();
            let amount = usd(i64::from(n) + 1);
            processor.capture(&key(n, Verb::Capture), &held.reference, amount).await.unwrap();
            let standing = processor.sync(session(n)).await.unwrap().unwrap();
            assert_eq!((standing.authorization, standing.captured), (held.reference, amount));
        });
    }
    while let Some(purchase) = purchases.join_next().await {
        purchase.unwrap();
    }
    let ledger = sandbox.control().ledger();
    assert_eq!(ledger.authorized, Total { count: 64, sum: 64 * 2_500 });
    assert_eq!(ledger.captured, Total { count: 64, sum: 64 * 65 / 2 });
}
