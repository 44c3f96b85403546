//! Before the door opens: the checks in the rule book's order; the first that fails gives the reason.

use pci_contract::{Currency, Money, ReasonCode};
use pci_session::{
    CustomerFacts, FridgeFacts, Known, Policy, Refusal, Session, Shown, Stage, Standing, admit_fridge, admit_shown,
};

use crate::world::{admit, at, card, customer, fridge, fridge_facts, good, policy, session_id, subscriber, usd};

fn refused_fridge(facts: &FridgeFacts) -> Option<ReasonCode> {
    admit_fridge(facts).err().map(|refusal| refusal.reason)
}

fn refused(shown: Shown) -> Refusal {
    admit_shown(admit_fridge(&fridge_facts()).unwrap(), shown, &policy()).expect_err("refused")
}

fn anonymous(standing: Standing) -> Shown {
    Shown::Card { card: card(9), standing, customer: None }
}

fn blocked() -> Standing {
    Standing { blocked: true, ..good() }
}

fn thief(thefts: u32) -> Standing {
    Standing { thefts, ..good() }
}

fn debtor() -> Standing {
    Standing { unpaid: usd(1), ..good() }
}

#[test]
fn a_fridge_is_judged_in_the_order_service_lock_busy() {
    let bad = FridgeFacts { enrolled: false, in_service: false, locked: true, busy: true, ..fridge_facts() };
    assert_eq!(refused_fridge(&bad), Some(ReasonCode::FRIDGE_OUT_OF_SERVICE));
    let bad = FridgeFacts { enrolled: true, ..bad };
    assert_eq!(refused_fridge(&bad), Some(ReasonCode::FRIDGE_OUT_OF_SERVICE));
    let bad = FridgeFacts { in_service: true, ..bad };
    assert_eq!(refused_fridge(&bad), Some(ReasonCode::FRIDGE_LOCKED));
    let bad = FridgeFacts { locked: false, ..bad };
    assert_eq!(refused_fridge(&bad), Some(ReasonCode::FRIDGE_BUSY));
    assert_eq!(refused_fridge(&FridgeFacts { busy: false, ..bad }), None);
}

#[test]
fn a_fridge_without_a_hold_is_out_of_service() {
    for hold in [0, -1] {
        let facts = FridgeFacts { hold: usd(hold), ..fridge_facts() };
        assert_eq!(refused_fridge(&facts), Some(ReasonCode::FRIDGE_OUT_OF_SERVICE));
    }
    let euros = FridgeFacts { hold: Money::new(2500, Currency::parse("EUR").unwrap()), ..fridge_facts() };
    let refusal = admit_shown(admit_fridge(&euros).unwrap(), anonymous(good()), &policy()).expect_err("refused");
    assert_eq!(refusal.reason, ReasonCode::FRIDGE_OUT_OF_SERVICE);
}

#[test]
fn what_cannot_be_read_or_found_is_refused_for_what_it_is() {
    for (shown, reason) in [
        (Shown::UnknownIdToken, ReasonCode::UNKNOWN_ID_TOKEN),
        (Shown::InvalidCard, ReasonCode::INVALID_CARD),
        (Shown::ExpiredCard, ReasonCode::EXPIRED_CARD),
    ] {
        assert_eq!(refused(shown), Refusal { reason, known: Known::default() });
    }
}

#[test]
fn a_customer_is_judged_by_his_own_standing_however_he_is_known() {
    for (standing, reason) in [
        (Standing { unpaid: usd(1), ..blocked() }, ReasonCode::CUSTOMER_BLOCKED),
        (Standing { unpaid: usd(1), ..thief(2) }, ReasonCode::CUSTOMER_BLOCKED),
        (thief(3), ReasonCode::CUSTOMER_BLOCKED),
        (debtor(), ReasonCode::UNPAID_BALANCE),
    ] {
        let facts = CustomerFacts { standing, ..subscriber(0) };
        let known = Known { customer: Some(customer("CU-1")), card: Some(card(1)) };
        assert_eq!(refused(Shown::IdToken(facts.clone())), Refusal { reason: reason.clone(), known });
        let known = Known { customer: Some(customer("CU-1")), card: Some(card(9)) };
        let shown = Shown::Card { card: card(9), standing: good(), customer: Some(facts) };
        assert_eq!(refused(shown), Refusal { reason, known });
    }
}

#[test]
fn an_anonymous_card_is_judged_by_what_counts_against_it() {
    for (standing, reason) in [
        (Standing { unpaid: usd(1), ..blocked() }, ReasonCode::CARD_BLOCKED),
        (thief(2), ReasonCode::CARD_BLOCKED),
        (debtor(), ReasonCode::UNPAID_BALANCE),
    ] {
        let known = Known { customer: None, card: Some(card(9)) };
        assert_eq!(refused(anonymous(standing)), Refusal { reason, known });
    }
    let one_theft = admit(anonymous(thief(1)));
    assert_eq!(one_theft.bearer().customer, None);
}

#[test]
fn a_card_in_a_wallet_is_not_judged_as_an_anonymous_one() {
    let shown = Shown::Card { card: card(9), standing: thief(9), customer: Some(subscriber(0)) };
    assert_eq!(admit(shown).bearer().customer, Some(customer("CU-1")));
}

#[test]
fn no_theft_is_forgiven_when_the_policy_says_zero() {
    let strict = Policy { blocked_after_thefts: 0, ..policy() };
    let admitted = admit_shown(admit_fridge(&fridge_facts()).unwrap(), anonymous(good()), &strict);
    assert_eq!(admitted.expect_err("refused").reason, ReasonCode::CARD_BLOCKED);
}

#[test]
fn an_id_token_needs_a_wallet_card_but_standing_is_judged_first() {
    let facts = CustomerFacts { default_card: None, ..subscriber(0) };
    let refusal = refused(Shown::IdToken(facts.clone()));
    assert_eq!(refusal.reason, ReasonCode::NO_WALLET_CARD);
    assert_eq!(refusal.known, Known { customer: Some(customer("CU-1")), card: None });
    let facts = CustomerFacts { standing: blocked(), ..facts };
    assert_eq!(refused(Shown::IdToken(facts)).reason, ReasonCode::CUSTOMER_BLOCKED);
}

#[test]
fn the_card_that_is_shown_is_charged_and_the_default_card_only_for_a_token() {
    let by_card = admit(Shown::Card { card: card(9), standing: good(), customer: Some(subscriber(300)) });
    assert_eq!((by_card.bearer().card.clone(), by_card.credit(), by_card.hold()), (card(9), usd(300), usd(2500)));
    let by_token = admit(Shown::IdToken(subscriber(300)));
    assert_eq!(by_token.bearer().card, card(1));
    assert_eq!(by_token.bearer().expert.as_ref().map(pci_contract::ExpertId::as_str), Some("EX-1"));
}

#[test]
fn credit_that_is_negative_or_foreign_is_none() {
    assert_eq!(admit(Shown::IdToken(subscriber(-5))).credit(), usd(0));
    let euros = Money::new(500, Currency::parse("EUR").unwrap());
    let facts = CustomerFacts { credit: euros, ..subscriber(0) };
    assert_eq!(admit(Shown::IdToken(facts)).credit(), usd(0));
}

#[test]
fn a_refusal_before_authorization_is_a_session_that_never_asks_the_processor() {
    let (session, effects) = Session::refuse(session_id(), fridge(), refused(anonymous(debtor())), at(5));
    assert_eq!((session.stage(), session.asked(), session.holds_fridge()), (Stage::Refused, None, false));
    assert_eq!((session.card(), session.bearer(), session.is_final()), (Some(&card(9)), None, true));
    let names: Vec<&str> = effects
        .iter()
        .map(|effect| match effect {
            pci_session::Effect::Emit(body) => body.name(),
            pci_session::Effect::Show(pci_session::Display::Refused(reason)) => reason.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["larder.purchase.refused.v1", "unpaid_balance"]);
    assert_eq!(session.resume(), effects[1..]);
}
