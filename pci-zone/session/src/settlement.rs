//! The decision at the end of an unlocked session: what is due, who pays it, what the world is told.
//!
//! It is one function so that it comes out in one step: the event, the thefts, the capture or void and the receipt
//! are stored together or not at all. The receipt does not wait for the processor; [`Settlement`] remembers that the
//! processor still has to answer, and the driver asks with the same key until it does.
//!
//! An **abandoned** session (the fridge lost its journal) is charged for the meals known to be out, at their prices,
//! but accuses nobody: a return may have been in the lost journal, so no theft is reported and no meal called stolen.

use pci_contract::{
    CardRef, CustomerId, EventBody, FridgeId, MealId, MealLine, MealStatus, Money, Outcome, PaymentFailed,
    PurchaseFinalized, ReasonCode, SessionId, TheftConfirmed, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    Basket, Display, Effect, Effects, Receipt, ReceiptLine, StepError,
    basket::{Claim, Meal},
    terms::{Bearer, Terms},
};

/// What the processor is asked to do with the hold at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// Take this much and release the rest.
    Capture {
        /// How much; positive, and never more than is held.
        amount: Money,
    },
    /// Release it.
    Void,
}

impl Charge {
    /// What to ask of the processor.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Capture { amount } => Effect::Capture { amount },
            Self::Void => Effect::Void,
        }
    }
}

/// How far the last question to the processor has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// Asked, not answered.
    Pending(Charge),
    /// Done.
    Settled(Charge),
    /// It will never be done. An amount that was to be captured is owed.
    Failed {
        /// What was asked.
        charge: Charge,
        /// Why not.
        reason: ReasonCode,
    },
}

impl Settlement {
    /// What was asked of the processor.
    #[must_use]
    pub const fn charge(&self) -> Charge {
        match self {
            Self::Pending(charge) | Self::Settled(charge) | Self::Failed { charge, .. } => *charge,
        }
    }
}

/// Which session an event is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) session: SessionId,
    pub(crate) fridge: &'a FridgeId,
    pub(crate) opened_at: Timestamp,
}

/// How an unlocked session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The door is shut.
    Closed,
    /// The fridge lost the session.
    Abandoned,
}

/// What the card must be good for: what is due, less the credit.
pub(crate) fn need(basket: &Basket, terms: &Terms) -> Result<Money, StepError> {
    Ok(basket.due()?.minus(terms.credit)?)
}

/// Decides. The moment beside `ending` is when the door closed, `now` when the decision falls.
pub(crate) fn decide(
    about: About<'_>,
    terms: &Terms,
    authorized: Money,
    basket: &Basket,
    ending: (Ending, Timestamp),
    now: Timestamp,
) -> Result<(Receipt, Settlement, Effects), StepError> {
    let due = basket.due()?;
    let credit_used = due.min(terms.credit)?;
    let charged = due.minus(credit_used)?;
    let captured = charged.min(authorized)?;
    let unpaid = charged.minus(captured)?;
    let outcome = match ending.0 {
        Ending::Abandoned => Outcome::Abandoned,
        Ending::Closed if charged.is_positive() => Outcome::Charged,
        Ending::Closed if basket.sold().next().is_some() => Outcome::Free,
        Ending::Closed => Outcome::NoPurchase,
    };
    let charge = if captured.is_positive() { Charge::Capture { amount: captured } } else { Charge::Void };
    let lines = basket.sold().map(|(id, meal)| ReceiptLine { barcode: id.clone(), price: meal.due() }).collect();
    let receipt = Receipt { outcome, charged, credit_used, unpaid, lines };

    let mut effects = vec![Effect::Emit(finalized(about, &terms.bearer, &receipt, basket, ending))];
    effects.extend(thefts(about, &terms.bearer, basket, ending));
    if unpaid.is_positive() {
        effects.push(owed(about, &terms.bearer, unpaid, ReasonCode::CARD_DECLINED, now));
    }
    effects.push(charge.effect());
    effects.push(Effect::Show(Display::Receipt(receipt.clone())));
    Ok((receipt, Settlement::Pending(charge), effects))
}

/// What is owed by the card and the customer, because it could not be got.
pub(crate) fn owed(about: About<'_>, bearer: &Bearer, amount: Money, reason: ReasonCode, at: Timestamp) -> Effect {
    let (customer, card): (Option<CustomerId>, CardRef) = (bearer.customer.clone(), bearer.card.clone());
    let (session, fridge) = (about.session, about.fridge.clone());
    Effect::Emit(EventBody::PaymentFailed(PaymentFailed { session, fridge, customer, card, amount, reason, at }))
}

fn is_theft(meal: &Meal, ending: Ending) -> bool {
    meal.claim == Claim::Others && ending == Ending::Closed
}

/// A meal's line. Nobody earns on a theft, so a stolen meal names no expert and no referral code.
fn line(id: &MealId, meal: &Meal, bearer: &Bearer, ending: Ending) -> MealLine {
    let stolen = is_theft(meal, ending);
    MealLine {
        barcode: id.clone(),
        status: if stolen { MealStatus::Stolen } else { MealStatus::Purchased },
        price: meal.due(),
        owner_subscription: meal.owner_subscription.clone(),
        expert: bearer.expert.clone().filter(|_| !stolen),
        referral_code: bearer.referral_code.clone().filter(|_| !stolen),
    }
}

fn finalized(
    about: About<'_>,
    bearer: &Bearer,
    receipt: &Receipt,
    basket: &Basket,
    (ending, closed_at): (Ending, Timestamp),
) -> EventBody {
    EventBody::PurchaseFinalized(Box::new(PurchaseFinalized {
        session: about.session,
        fridge: about.fridge.clone(),
        customer: bearer.customer.clone(),
        card: bearer.card.clone(),
        referral_code: bearer.referral_code.clone(),
        expert: bearer.expert.clone(),
        subscription: bearer.subscription.clone(),
        outcome: receipt.outcome,
        charged: receipt.charged,
        credit_used: receipt.credit_used,
        unpaid: receipt.unpaid,
        meals: basket.sold().map(|(id, meal)| line(id, meal, bearer, ending)).collect(),
        alarms: basket.alarms(),
        stray_returns: basket.stray_returns(),
        unidentified: basket.unidentified(),
        not_sellable: basket.not_sellable(),
        opened_at: about.opened_at,
        closed_at,
    }))
}

fn thefts<'a>(
    about: About<'a>,
    bearer: &'a Bearer,
    basket: &'a Basket,
    (ending, at): (Ending, Timestamp),
) -> impl Iterator<Item = Effect> + 'a {
    basket.kept().filter(move |(_, meal)| is_theft(meal, ending)).map(move |(id, meal)| {
        Effect::Emit(EventBody::TheftConfirmed(TheftConfirmed {
            session: about.session,
            fridge: about.fridge.clone(),
            meal: id.clone(),
            card: bearer.card.clone(),
            customer: bearer.customer.clone(),
            price: meal.due(),
            owner_subscription: meal.owner_subscription.clone(),
            at,
        }))
    })
}
