//! When answers are lost, late or never: the outcome is found out by the same key or by `sync`, and everything happens
//! once. A failure here would be money taken twice, or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use pci_processors::{AskError, Processor, ProcessorConfig, StandingState, StripeShaped, Verb};
use processor_sandbox::{EveryNth, Switches, Total, Verb as Lost};

fn losing(verb: Lost) -> Switches {
    Switches { lose_answers_for: vec![verb], ..Switches::default() }
}

#[tokio::test]
async fn a_lost_answer_to_any_verb_is_resolved_by_the_same_key() {
    let sandbox = sandbox().await;
    let (control, processor) = (sandbox.control(), connector(&sandbox));
    let behave = || control.switch(Switches::default());

    control.switch(losing(Lost::StoreCard));
    let store = || processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry());
    assert_eq!(store().await, Err(AskError::Unknown));
    behave();
    let card = store().await.unwrap();

    control.switch(losing(Lost::Authorize));
    let authorize = || processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card);
    assert_eq!(authorize().await, Err(AskError::Unknown));
    assert_eq!(control.ledger().authorized.count, 1, "the processor has acted");
    assert_eq!(authorize().await, Err(AskError::Unknown));
    behave();
    let standing = processor.sync(session(1)).await.unwrap().unwrap();
    let held = authorize().await.unwrap();
    assert_eq!((&standing.authorization, standing.state), (&held.reference, StandingState::Held));

    control.switch(losing(Lost::Increment));
    let increment = || processor.increment(&key(1, Verb::Increment), &held.reference, usd(3_000));
    assert_eq!(increment().await, Err(AskError::Unknown));
    behave();
    assert_eq!(increment().await, Ok(usd(3_000)));

    control.switch(losing(Lost::Capture));
    let capture = || processor.capture(&key(1, Verb::Capture), &held.reference, usd(2_900));
    assert_eq!(capture().await, Err(AskError::Unknown));
    behave();
    assert_eq!(processor.sync(session(1)).await.unwrap().unwrap().captured, usd(2_900));
    assert_eq!(capture().await.unwrap().amount, usd(2_900));

    control.switch(losing(Lost::Refund));
    let refund = || processor.refund(&key(1, Verb::Refund), &held.reference, usd(2_900));
    assert_eq!(refund().await, Err(AskError::Unknown));
    behave();
    assert_eq!(refund().await, Ok(()));

    let ledger = control.ledger();
    assert_eq!(ledger.authorized, Total { count: 1, sum: 3_000 });
    assert_eq!(ledger.captured, Total { count: 1, sum: 2_900 });
    assert_eq!(ledger.refunded, Total { count: 1, sum: 2_900 });
}

#[tokio::test]
async fn a_lost_answer_to_a_void_and_to_a_question() {
    let sandbox = sandbox().await;
    let (control, processor) = (sandbox.control(), connector(&sandbox));
    let card = stored(&processor, 1, GOOD).await;
    let held = processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card).await.unwrap();
    control.switch(Switches { lose_answers_for: vec![Lost::Void, Lost::Read], ..Switches::default() });
    assert_eq!(processor.void(&key(1, Verb::Void), &held.reference).await, Err(AskError::Unknown));
    assert_eq!(processor.sync(session(1)).await, Err(AskError::Unknown));
    control.switch(Switches::default());
    assert_eq!(processor.sync(session(1)).await.unwrap().unwrap().state, StandingState::Voided);
    assert_eq!(processor.void(&key(1, Verb::Void), &held.reference).await, Ok(()));
    assert_eq!(control.ledger().voided, Total { count: 1, sum: 2_500 });
}

#[tokio::test]
async fn a_lost_decline_stays_a_decline() {
    let sandbox = sandbox().await;
    let (control, processor) = (sandbox.control(), connector(&sandbox));
    let card = stored(&processor, 1, POOR).await;
    control.switch(losing(Lost::Authorize));
    let authorize = || processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card);
    assert_eq!(authorize().await, Err(AskError::Unknown));
    control.switch(Switches::default());
    let reason = pci_contract::ReasonCode::INSUFFICIENT_FUNDS;
    assert_eq!(authorize().await, Err(AskError::Declined(reason)));
    assert_eq!(control.intents_of(&session(1).to_string()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_answer_lost_and_every_session_charged_once() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    sandbox.control().switch(Switches { lose_answers: EveryNth(3), ..Switches::default() });
    let mut purchases = tokio::task::JoinSet::new();
    for n in 0..32_u32 {
        let processor = processor.clone();
        purchases.spawn(async move {
            let card = settled(|| processor.store_card(&key(n, Verb::StoreCard), pan(GOOD), expiry())).await.unwrap();
            let held = settled(|| processor.authorize(&key(n, Verb::Authorize), session(n), usd(2_500), &card));
            let held = held.await.unwrap();
            let capture = || processor.capture(&key(n, Verb::Capture), &held.reference, usd(1_000));
            assert_eq!(settled(capture).await.unwrap().amount, usd(1_000));
        });
    }
    while let Some(purchase) = purchases.join_next().await {
        purchase.unwrap();
    }
    let ledger = sandbox.control().ledger();
    assert_eq!(ledger.authorized, Total { count: 32, sum: 80_000 });
    assert_eq!(ledger.captured, Total { count: 32, sum: 32_000 });
    assert_eq!(ledger.open, Total::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_answers_after_our_timeout_has_acted_once() {
    let sandbox = sandbox().await;
    let control = sandbox.control();
    let hasty = StripeShaped::new(ProcessorConfig { timeout_ms: 400, ..config(&sandbox) }).unwrap();
    let card = settled(|| hasty.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry())).await.unwrap();
    control.switch(Switches { delay_ms: 1_200, ..Switches::default() });
    let authorize = || hasty.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card);
    assert_eq!(authorize().await, Err(AskError::Unknown));
    // Asked again while the first is still being worked on: the key is in use.
    assert_eq!(authorize().await, Err(AskError::Unknown));
    control.switch(Switches::default());
    let held = settled(authorize).await.unwrap();
    assert_eq!(control.ledger().authorized, Total { count: 1, sum: 2_500 });
    assert_eq!(hasty.sync(session(1)).await.unwrap().unwrap().authorization, held.reference);
}

#[tokio::test]
async fn a_processor_that_is_down_was_certainly_not_asked() {
    let sandbox = sandbox().await;
    let control = sandbox.control();
    let processor = connector(&sandbox);
    control.switch(Switches { down: true, ..Switches::default() });
    for _repeat in 0..3 {
        let store = processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry()).await;
        assert_eq!(store, Err(AskError::NotSent));
    }
    assert_eq!(processor.health().failures_in_a_row, 3);
    control.switch(Switches::default());
    stored(&processor, 1, GOOD).await;
    assert_eq!(processor.health().failures_in_a_row, 0);
}

#[tokio::test]
async fn a_processor_that_goes_down_between_two_asks() {
    let sandbox = sandbox().await;
    let control = sandbox.control();
    let processor = connector(&sandbox);
    let card = stored(&processor, 1, GOOD).await;
    control.switch(Switches { down: true, ..Switches::default() });
    let authorize = || processor.authorize(&key(1, Verb::Authorize), session(1), usd(2_500), &card);
    let cut = authorize().await;
    assert!(matches!(cut, Err(AskError::NotSent | AskError::Unknown)), "{cut:?}");
    assert_eq!(authorize().await, Err(AskError::NotSent), "no connection is kept now");
    control.switch(Switches::default());
    settled(authorize).await.unwrap();
    assert_eq!(control.ledger().authorized, Total { count: 1, sum: 2_500 });
}

#[tokio::test]
async fn nobody_listens() {
    let sandbox = sandbox().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let processor = StripeShaped::new(ProcessorConfig { base_url, ..config(&sandbox) }).unwrap();
    assert_eq!(processor.sync(session(1)).await, Err(AskError::NotSent));
}

#[tokio::test]
async fn a_processor_in_trouble_leaves_the_outcome_open() {
    let sandbox = sandbox().await;
    let control = sandbox.control();
    let processor = connector(&sandbox);
    control.switch(Switches { fail_5xx: true, ..Switches::default() });
    let store = || processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry());
    assert_eq!(store().await, Err(AskError::Unknown));
    control.switch(Switches::default());
    store().await.unwrap();
}

#[tokio::test]
async fn another_root_is_refused_before_a_card_goes_out() {
    let sandbox = sandbox().await;
    let impostor = common::sandbox().await;
    let pinned_roots_pem = sandbox.root_pem().to_owned();
    let processor = StripeShaped::new(ProcessorConfig { pinned_roots_pem, ..config(&impostor) }).unwrap();
    let store = processor.store_card(&key(1, Verb::StoreCard), pan(GOOD), expiry()).await;
    assert_eq!(store, Err(AskError::NotSent));
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_card_number() {
    let sandbox = sandbox().await;
    let processor = connector(&sandbox);
    let mut printed = format!("{processor:?} {:?}", config(&sandbox));
    for (n, switches) in [
        Switches::default(),
        losing(Lost::StoreCard),
        Switches { fail_5xx: true, ..Switches::default() },
        Switches { down: true, ..Switches::default() },
    ]
    .into_iter()
    .enumerate()
    {
        sandbox.control().switch(switches);
        let key = key(u32::try_from(n).unwrap(), Verb::StoreCard);
        let store = processor.store_card(&key, pan(GOOD), expiry()).await;
        printed.push_str(&format!("{store:?} "));
        if let Err(error) = store {
            printed.push_str(&error.to_string());
        }
    }
    assert!(!printed.contains(GOOD), "{printed}");
    assert!(!printed.contains(sandbox.api_key()), "{printed}");
}
