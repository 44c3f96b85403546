//! Who may open the door: the checks before authorization, in the rule book's order.
//!
//! Being admitted is a value. [`admit_fridge`] gives a [`FridgeAdmitted`], [`admit_shown`] takes one and gives an
//! [`Admitted`], and a session cannot begin without that; neither can be made otherwise, so no check can be left out
//! or done in another order. The facts are the caller's, read from the zone's own tables.

use pci_contract::{CardRef, Currency, CustomerId, ExpertId, Money, ReasonCode, ReferralCode, SubscriptionId};
use thiserror::Error;

use crate::terms::{Bearer, Known, Terms};

/// What is known of the fridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FridgeFacts {
    /// It is enrolled, and attested where that is demanded.
    pub enrolled: bool,
    /// It may sell.
    pub in_service: bool,
    /// It is locked for food safety.
    pub locked: bool,
    /// It has another open session.
    pub busy: bool,
    /// What is authorized before the door opens.
    pub hold: Money,
    /// After how many seconds an open door sounds.
    pub open_limit_s: u32,
    /// The revision of the price list at which the session's prices are frozen.
    pub price_revision: i64,
}

/// A fridge that may open its door. Only [`admit_fridge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FridgeAdmitted {
    hold: Money,
    open_limit_s: u32,
    price_revision: i64,
}

/// The rules that hold everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// This many thefts block a customer or an anonymous card.
    pub blocked_after_thefts: u32,
    /// What everything is priced in.
    pub currency: Currency,
}

/// What counts against a customer or a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Blocked by an operator.
    pub blocked: bool,
    /// Thefts that count.
    pub thefts: u32,
    /// What is owed.
    pub unpaid: Money,
}

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFacts {
    /// Who.
    pub customer: CustomerId,
    /// What counts against him.
    pub standing: Standing,
    /// His credit, less what other open sessions reserve.
    pub credit: Money,
    /// The card that is charged when he shows an ID token.
    pub default_card: Option<CardRef>,
    /// His subscription.
    pub subscription: Option<SubscriptionId>,
    /// His expert.
    pub expert: Option<ExpertId>,
    /// His referral code.
    pub referral_code: Option<ReferralCode>,
}

/// What was shown at the fridge, as far as it could be read and was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "lives for one call")]
pub enum Shown {
    /// An ID token that is unknown or not active.
    UnknownIdToken,
    /// An ID token of this customer.
    IdToken(CustomerFacts),
    /// A card that is not well formed, or was not sealed for this session.
    InvalidCard,
    /// A card that has expired.
    ExpiredCard,
    /// A good card.
    Card {
        /// Which.
        card: CardRef,
        /// What counts against it while anonymous.
        standing: Standing,
        /// In whose wallet it is, if in one.
        customer: Option<CustomerFacts>,
    },
}

/// Who may open the door, on what terms. Only [`admit_shown`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub(crate) terms: Terms,
}

impl Admitted {
    /// Who pays, and with which card.
    #[must_use]
    pub const fn bearer(&self) -> &Bearer {
        &self.terms.bearer
    }

    /// What is to be authorized.
    #[must_use]
    pub const fn hold(&self) -> Money {
        self.terms.hold
    }

    /// The credit that this purchase may use.
    #[must_use]
    pub const fn credit(&self) -> Money {
        self.terms.credit
    }
}

/// The door stays shut, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused: {reason}")]
pub struct Refusal {
    /// The stable code that goes out.
    pub reason: ReasonCode,
    /// What is known of who was refused.
    pub known: Known,
}

/// Checks the fridge: in service, not locked, not busy. A hold that is not positive is a fridge out of service.
///
/// # Errors
/// [`Refusal`] with the first reason that holds.
pub fn admit_fridge(facts: &FridgeFacts) -> Result<FridgeAdmitted, Refusal> {
    let refused = |reason| Err(Refusal { reason, known: Known::default() });
    if !facts.enrolled || !facts.in_service || !facts.hold.is_positive() {
        return refused(ReasonCode::FRIDGE_OUT_OF_SERVICE);
    }
    if facts.locked {
        return refused(ReasonCode::FRIDGE_LOCKED);
    }
    if facts.busy {
        return refused(ReasonCode::FRIDGE_BUSY);
    }
    let FridgeFacts { hold, open_limit_s, price_revision, .. } = *facts;
    Ok(FridgeAdmitted { hold, open_limit_s, price_revision })
}

/// Checks what was shown: readable, in good standing, a card to charge. A card in a wallet is judged by its customer's
/// standing, an anonymous one by its own.
///
/// # Errors
/// [`Refusal`] with the first reason that holds.
pub fn admit_shown(fridge: FridgeAdmitted, shown: Shown, policy: &Policy) -> Result<Admitted, Refusal> {
    if fridge.hold.currency() != policy.currency {
        return Err(Refusal { reason: ReasonCode::FRIDGE_OUT_OF_SERVICE, known: Known::default() });
    }
    let nobody = |reason| Err(Refusal { reason, known: Known::default() });
    let (card, customer) = match shown {
        Shown::UnknownIdToken => return nobody(ReasonCode::UNKNOWN_ID_TOKEN),
        Shown::InvalidCard => return nobody(ReasonCode::INVALID_CARD),
        Shown::ExpiredCard => return nobody(ReasonCode::EXPIRED_CARD),
        Shown::IdToken(customer) => (customer.default_card.clone(), Some(customer)),
        Shown::Card { card, customer: Some(customer), .. } => (Some(card), Some(customer)),
        Shown::Card { card, standing, customer: None } => {
            if let Err(reason) = judge(&standing, policy, ReasonCode::CARD_BLOCKED) {
                return Err(Refusal { reason, known: Known { customer: None, card: Some(card) } });
            }
            (Some(card), None)
        }
    };
    let known = Known { customer: customer.as_ref().map(|facts| facts.customer.clone()), card: card.clone() };
    if let Some(facts) = &customer
        && let Err(reason) = judge(&facts.standing, policy, ReasonCode::CUSTOMER_BLOCKED)
    {
        return Err(Refusal { reason, known });
    }
    let Some(card) = card else { return Err(Refusal { reason: ReasonCode::NO_WALLET_CARD, known }) };
    Ok(Admitted { terms: terms(fridge, card, customer) })
}

/// Good standing: not blocked, fewer thefts than the policy allows, nothing owed.
fn judge(standing: &Standing, policy: &Policy, blocked: ReasonCode) -> Result<(), ReasonCode> {
    if standing.blocked || standing.thefts >= policy.blocked_after_thefts {
        return Err(blocked);
    }
    if standing.unpaid.is_positive() { Err(ReasonCode::UNPAID_BALANCE) } else { Ok(()) }
}

/// Credit that is negative or of another currency cannot be spent here.
fn terms(fridge: FridgeAdmitted, card: CardRef, customer: Option<CustomerFacts>) -> Terms {
    let FridgeAdmitted { hold, open_limit_s, price_revision } = fridge;
    let credit = customer
        .as_ref()
        .map(|facts| facts.credit)
        .filter(|credit| credit.is_positive() && credit.currency() == hold.currency())
        .unwrap_or(Money::zero(hold.currency()));
    let bearer = match customer {
        Some(CustomerFacts { customer, subscription, expert, referral_code, .. }) => {
            Bearer { customer: Some(customer), card, referral_code, expert, subscription }
        }
        None => Bearer { customer: None, card, referral_code: None, expert: None, subscription: None },
    };
    Terms { bearer, hold, credit, open_limit_s, price_revision }
}
