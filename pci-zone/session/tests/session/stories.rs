//! The five stories, each from the first swipe to the processor's last answer, with every effect in its order.

use pci_contract::{EventBody, MealLine, MealStatus, Money, Outcome, ReasonCode, SubscriptionId};
use pci_session::{
    AlarmKind, Display, Effect, FridgeInput, Input, Receipt, ReceiptLine, Settlement, Shown, Stage, State,
};

use crate::world::{
    HOLD, Play, alarm, card, cleared, customer, ffa, finalized, good, meal, owned, subscriber, thefts, usd,
};

fn receipt(outcome: Outcome, charged: i64, credit_used: i64, lines: &[(u32, i64)]) -> Receipt {
    let lines =
        lines.iter().map(|(serial, price)| ReceiptLine { barcode: meal(*serial), price: usd(*price) }).collect();
    Receipt { outcome, charged: usd(charged), credit_used: usd(credit_used), unpaid: usd(0), lines }
}

/// The names of the events among effects, in their order.
fn told(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(body) => Some(body.name()),
            _ => None,
        })
        .collect()
}

fn captures(effects: &[Effect]) -> Vec<Money> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Capture { amount } => Some(*amount),
            _ => None,
        })
        .collect()
}

#[test]
fn story_1_an_anonymous_customer_buys_what_is_free_for_all() {
    let mut play = Play::anonymous();
    let unlock = play.says(Input::Authorized { amount: usd(HOLD) });
    assert_eq!(unlock, vec![Effect::Show(Display::Unlock { hold: usd(HOLD), credit: usd(0) })]);
    assert_eq!(play.fridge(FridgeInput::DoorOpened), vec![]);
    assert_eq!(play.take(1, &ffa(790)), vec![]);
    assert_eq!(play.take(2, &ffa(550)), vec![]);
    assert_eq!(play.put_back(2, &ffa(550)), vec![]);
    let end = play.close();

    let event = finalized(&end);
    assert_eq!((event.outcome, event.charged, event.customer.clone()), (Outcome::Charged, usd(790), None));
    assert_eq!(event.card, card(9));
    assert_eq!(event.meals.len(), 1);
    assert_eq!(
        end[1..],
        [
            Effect::Capture { amount: usd(790) },
            Effect::Show(Display::Receipt(receipt(Outcome::Charged, 790, 0, &[(1, 790)]))),
        ]
    );
    assert_eq!(play.says(Input::Captured { amount: usd(790) }), vec![]);
    let State::Ended(ended) = play.session.state() else { panic!("ended") };
    assert!(matches!(ended.settlement(), Settlement::Settled(_)));
    assert!(play.session.is_final());
}

#[test]
fn story_2_a_subscriber_swipes_a_card_of_his_wallet() {
    let mut play =
        Play::begin(Shown::Card { card: card(9), standing: good(), customer: Some(subscriber(300)) }).opened();
    assert_eq!(play.take(1, &owned(690, "CU-1", false)), vec![], "his own meal does not sound");
    play.take(2, &ffa(550));
    let end = play.close();

    let event = finalized(&end);
    assert_eq!((event.charged, event.credit_used, event.unpaid), (usd(940), usd(300), usd(0)));
    assert_eq!((event.customer.clone(), event.card.clone()), (Some(customer("CU-1")), card(9)));
    let line = |serial, price, owner_subscription: Option<&str>| MealLine {
        barcode: meal(serial),
        status: MealStatus::Purchased,
        price: usd(price),
        owner_subscription: owner_subscription.map(|text| SubscriptionId::parse(text).unwrap()),
        expert: event.expert.clone(),
        referral_code: event.referral_code.clone(),
    };
    assert_eq!(event.meals, [line(1, 690, Some("SUB-CU-1")), line(2, 550, None)]);
    assert!(event.expert.is_some() && event.referral_code.is_some() && event.subscription.is_some());
    assert_eq!(captures(&end), [usd(940)]);
}

#[test]
fn story_3_a_subscriber_shows_an_id_token_and_his_prepaid_meal_is_free() {
    let mut play = Play::subscriber(0).opened();
    play.take(1, &owned(690, "CU-1", true));
    let end = play.close();

    let event = finalized(&end);
    assert_eq!((event.outcome, event.charged, event.card.clone()), (Outcome::Free, usd(0), card(1)));
    assert_eq!((event.meals[0].status, event.meals[0].price), (MealStatus::Purchased, usd(0)));
    assert_eq!(end[1..], [Effect::Void, Effect::Show(Display::Receipt(receipt(Outcome::Free, 0, 0, &[(1, 0)]))),]);
    play.says(Input::Voided);
    assert!(play.session.is_final());
}

#[test]
fn story_3_credit_that_covers_all_makes_it_free() {
    let mut play = Play::subscriber(1000).opened();
    play.take(1, &ffa(690));
    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.outcome, event.charged, event.credit_used), (Outcome::Free, usd(0), usd(690)));
    assert!(end.contains(&Effect::Void) && captures(&end).is_empty());
}

#[test]
fn story_4_an_anonymous_customer_takes_a_subscription_meal() {
    let theirs = owned(690, "CU-2", true);
    let mut play = Play::anonymous().opened();
    assert_eq!(play.take(1, &theirs), vec![alarm(1, AlarmKind::NotYours)]);
    let mut repentant = play.clone();

    assert_eq!(repentant.put_back(1, &theirs), vec![cleared(1)]);
    let end = repentant.close();
    let event = finalized(&end);
    assert_eq!((event.outcome, event.meals.len(), &event.alarms[..]), (Outcome::NoPurchase, 0, &[meal(1)][..]));
    assert_eq!(told(&end), ["larder.purchase.finalized.v1"], "put back in time, nothing happened");
    assert!(end.contains(&Effect::Void));

    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.outcome, event.charged), (Outcome::Charged, usd(690)), "prepaid by its owner, not by a thief");
    assert_eq!((event.meals[0].status, event.meals[0].price), (MealStatus::Stolen, usd(690)));
    assert_eq!(told(&end), ["larder.purchase.finalized.v1", "larder.theft.confirmed.v1"]);
    let Effect::Emit(EventBody::TheftConfirmed(theft)) = &end[1] else { panic!("a theft") };
    assert_eq!((&theft.meal, &theft.card, &theft.customer, theft.price), (&meal(1), &card(9), &None, usd(690)));
    assert_eq!(captures(&end), [usd(690)]);
}

#[test]
fn story_5_a_subscriber_keeps_anothers_meal_and_his_record_bears_it() {
    let mut play = Play::subscriber(100).opened();
    play.take(1, &owned(690, "CU-1", true));
    assert_eq!(play.take(2, &owned(850, "CU-2", false)), vec![alarm(2, AlarmKind::NotYours)]);
    let end = play.close();
    let event = finalized(&end);
    assert_eq!((event.charged, event.credit_used), (usd(750), usd(100)));
    let statuses: Vec<MealStatus> = event.meals.iter().map(|line| line.status).collect();
    assert_eq!(statuses, [MealStatus::Purchased, MealStatus::Stolen]);
    assert_eq!((event.meals[1].expert.clone(), event.meals[1].referral_code.clone()), (None, None));
    assert_eq!(thefts(&end), [meal(2)]);
    let Effect::Emit(EventBody::TheftConfirmed(theft)) = &end[1] else { panic!("a theft") };
    assert_eq!(theft.customer, Some(customer("CU-1")));
}

#[test]
fn a_refused_customer_never_sees_the_door_unlock() {
    let mut play = Play::anonymous();
    let end = play.says(Input::Declined { reason: ReasonCode::INSUFFICIENT_FUNDS });
    assert_eq!(told(&end), ["larder.purchase.refused.v1"]);
    assert_eq!(end[1..], [Effect::Show(Display::Refused(ReasonCode::INSUFFICIENT_FUNDS))]);
    assert_eq!((play.session.stage(), play.session.asked()), (Stage::Refused, None));
    assert_eq!(play.session.card(), Some(&card(9)));
}
