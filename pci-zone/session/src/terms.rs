//! Who a session is with, and what was agreed before the door opened: the hold, the credit and the prices.
//!
//! All of it is fixed at admission and never changes while the session lives, so that a price change, a new credit
//! or another session of the same customer cannot alter what this customer was shown.

use pci_contract::{CardRef, CustomerId, ExpertId, Money, ReferralCode, SubscriptionId};
use serde::{Deserialize, Serialize};

use crate::error::{CorruptSession, invariant};

/// Who pays, and on whose behalf others earn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer {
    /// Who, unless anonymous.
    pub customer: Option<CustomerId>,
    /// The card that is authorized and charged.
    pub card: CardRef,
    /// The customer's referral code.
    pub referral_code: Option<ReferralCode>,
    /// The customer's expert.
    pub expert: Option<ExpertId>,
    /// The customer's subscription.
    pub subscription: Option<SubscriptionId>,
}

/// What is known of someone who was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Who, when known.
    pub customer: Option<CustomerId>,
    /// The card, when one was read.
    pub card: Option<CardRef>,
}

impl From<Bearer> for Known {
    fn from(bearer: Bearer) -> Self {
        Self { customer: bearer.customer, card: Some(bearer.card) }
    }
}

/// What a session was agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) bearer: Bearer,
    /// What is authorized before the door unlocks; positive.
    pub(crate) hold: Money,
    /// The credit this purchase may use; never negative, of the hold's currency.
    pub(crate) credit: Money,
    /// After how many seconds an open door sounds.
    pub(crate) open_limit_s: u32,
    /// The revision of the price list that holds for this session.
    pub(crate) price_revision: i64,
}

impl Terms {
    pub(crate) fn check(&self) -> Result<(), CorruptSession> {
        invariant(self.hold.is_positive(), "the hold is positive")?;
        invariant(self.credit.minor() >= 0, "the credit is not negative")?;
        invariant(self.credit.currency() == self.hold.currency(), "hold and credit are of one currency")
    }
}
