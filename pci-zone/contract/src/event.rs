//! What the PCI zone tells the world: CloudEvents 1.0 whose data cannot hold a card number.
//!
//! Delivery is at least once and in the order of `sequence`; a consumer books each `id` once. Personal notifications
//! are not here. The types are ours rather than a CloudEvents library's, so that the compiler can see every field.

use serde::{Deserialize, Serialize};

use crate::{
    CardRef, CustomerId, EnrollmentId, EventId, ExpertId, FridgeId, MealId, Money, ReasonCode, ReferralCode,
    ScannedCode, SessionId, SubscriptionId, Timestamp,
};

/// One event in CloudEvents' JSON format (CloudEvents 1.0, JSON event format section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// The event's id.
    pub id: EventId,
    /// Who tells it, for example `/pci/purchase-session`.
    pub source: String,
    /// What it is about: the fridge, or the customer for an enrolment.
    pub subject: String,
    /// When it happened, RFC 3339.
    pub time: String,
    /// The place of the event in its source's order, counted from 1 (CloudEvents `sequence` extension).
    pub sequence: String,
    /// Type and data.
    #[serde(flatten)]
    pub body: EventBody,
}

/// The types of event and the data of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum EventBody {
    /// A session ended with an unlocked door. Doubles as the meal-status message.
    #[serde(rename = "larder.purchase.finalized.v1")]
    PurchaseFinalized(Box<PurchaseFinalized>),
    /// A session was refused before the door unlocked.
    #[serde(rename = "larder.purchase.refused.v1")]
    PurchaseRefused(PurchaseRefused),
    /// The processor did what was asked.
    #[serde(rename = "larder.payment.settled.v1")]
    PaymentSettled(PaymentSettled),
    /// Money that is owed was not got.
    #[serde(rename = "larder.payment.failed.v1")]
    PaymentFailed(PaymentFailed),
    /// Another's meal was kept.
    #[serde(rename = "larder.theft.confirmed.v1")]
    TheftConfirmed(TheftConfirmed),
    /// A card entered a wallet.
    #[serde(rename = "larder.card.enrolled.v1")]
    CardEnrolled(CardEnrolled),
    /// Something happened at a fridge outside any session.
    #[serde(rename = "larder.fridge.tampered.v1")]
    FridgeTampered(FridgeTampered),
}

impl EventBody {
    /// The event's type.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PurchaseFinalized(_) => "larder.purchase.finalized.v1",
            Self::PurchaseRefused(_) => "larder.purchase.refused.v1",
            Self::PaymentSettled(_) => "larder.payment.settled.v1",
            Self::PaymentFailed(_) => "larder.payment.failed.v1",
            Self::TheftConfirmed(_) => "larder.theft.confirmed.v1",
            Self::CardEnrolled(_) => "larder.card.enrolled.v1",
            Self::FridgeTampered(_) => "larder.fridge.tampered.v1",
        }
    }

    /// What the event is about, for CloudEvents' `subject`.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::PurchaseFinalized(data) => data.fridge.as_str(),
            Self::PurchaseRefused(data) => data.fridge.as_str(),
            Self::PaymentSettled(data) => data.fridge.as_str(),
            Self::PaymentFailed(data) => data.fridge.as_str(),
            Self::TheftConfirmed(data) => data.fridge.as_str(),
            Self::CardEnrolled(data) => data.customer.as_str(),
            Self::FridgeTampered(data) => data.fridge.as_str(),
        }
    }
}

/// How a session with an unlocked door ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A capture for what was taken.
    Charged,
    /// Meals were kept and none cost anything: prepaid, or covered by credit.
    Free,
    /// Nothing was kept.
    NoPurchase,
    /// The fridge lost the session; what is known of it was settled.
    Abandoned,
}

impl Outcome {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Free => "free",
            Self::NoPurchase => "no_purchase",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What became of a meal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MealStatus {
    /// Taken by someone entitled to it.
    Purchased,
    /// Another's meal, kept.
    Stolen,
}

/// One kept meal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MealLine {
    /// The meal.
    pub barcode: MealId,
    /// What became of it.
    pub status: MealStatus,
    /// The frozen price that was due for it; zero for the owner's prepaid meal.
    pub price: Money,
    /// The subscription the meal was made for, if any.
    pub owner_subscription: Option<SubscriptionId>,
    /// The expert of this sale, if any.
    pub expert: Option<ExpertId>,
    /// The referral code of this sale, if any.
    pub referral_code: Option<ReferralCode>,
}

/// Data of `larder.purchase.finalized.v1`. Lists are sorted by barcode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseFinalized {
    /// The session.
    pub session: SessionId,
    /// Where.
    pub fridge: FridgeId,
    /// Who, when known.
    pub customer: Option<CustomerId>,
    /// The card that was authorized.
    pub card: CardRef,
    /// The customer's referral code.
    pub referral_code: Option<ReferralCode>,
    /// The customer's expert.
    pub expert: Option<ExpertId>,
    /// The customer's subscription.
    pub subscription: Option<SubscriptionId>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the card is charged: due less credit, unpaid part included.
    pub charged: Money,
    /// What the customer's credit paid.
    pub credit_used: Money,
    /// The part of `charged` that exceeds what could be authorized, and is owed.
    pub unpaid: Money,
    /// The meals kept that were sold or stolen.
    pub meals: Vec<MealLine>,
    /// The meals that sounded an alarm, whether put back or not.
    pub alarms: Vec<MealId>,
    /// Meals put back that this session had not taken.
    pub stray_returns: Vec<MealId>,
    /// What was kept that no list of ours knows; not charged.
    pub unidentified: Vec<ScannedCode>,
    /// Kept meals that must not be sold (expired or exposed); not charged.
    pub not_sellable: Vec<MealId>,
    /// When the session was asked for.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Timestamp,
}

/// Data of `larder.purchase.refused.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseRefused {
    /// The session.
    pub session: SessionId,
    /// Where.
    pub fridge: FridgeId,
    /// Who, when known.
    pub customer: Option<CustomerId>,
    /// The card, when one was read.
    pub card: Option<CardRef>,
    /// Why the door stayed shut.
    pub reason: ReasonCode,
    /// When.
    pub at: Timestamp,
}

/// What the processor did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// Money was taken.
    Captured,
    /// The hold was released.
    Voided,
    /// Money was given back.
    Refunded,
}

/// Data of `larder.payment.settled.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSettled {
    /// The session.
    pub session: SessionId,
    /// Where.
    pub fridge: FridgeId,
    /// What was done.
    pub settlement: Settlement,
    /// For how much; zero for a void.
    pub amount: Money,
    /// The processor's own reference.
    pub processor_reference: String,
    /// When the answer came.
    pub at: Timestamp,
}

/// Data of `larder.payment.failed.v1`. What failed is owed by the card and the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The session.
    pub session: SessionId,
    /// Where.
    pub fridge: FridgeId,
    /// Who, when known.
    pub customer: Option<CustomerId>,
    /// The card that owes it.
    pub card: CardRef,
    /// How much is owed.
    pub amount: Money,
    /// Why it could not be got.
    pub reason: ReasonCode,
    /// When.
    pub at: Timestamp,
}

/// Data of `larder.theft.confirmed.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TheftConfirmed {
    /// The session.
    pub session: SessionId,
    /// Where.
    pub fridge: FridgeId,
    /// The stolen meal.
    pub meal: MealId,
    /// The card against which an anonymous theft counts.
    pub card: CardRef,
    /// The thief, when known.
    pub customer: Option<CustomerId>,
    /// The full price, which was charged.
    pub price: Money,
    /// The subscription the meal was made for, if any.
    pub owner_subscription: Option<SubscriptionId>,
    /// When the door closed on it.
    pub at: Timestamp,
}

/// Data of `larder.card.enrolled.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardEnrolled {
    /// The enrolment.
    pub enrollment: EnrollmentId,
    /// Whose wallet.
    pub customer: CustomerId,
    /// The card.
    pub card: CardRef,
    /// When.
    pub at: Timestamp,
}

/// What was noticed outside any session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TamperKind {
    /// A meal moved.
    MealMoved,
    /// The door was forced.
    DoorForced,
}

/// Data of `larder.fridge.tampered.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FridgeTampered {
    /// Which fridge.
    pub fridge: FridgeId,
    /// What was noticed.
    pub kind: TamperKind,
    /// The meal that moved, when one did.
    pub code: Option<ScannedCode>,
    /// When the fridge noticed, by its own clock.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_json() -> Result<(), Box<dyn std::error::Error>> {
        let event = Envelope {
            specversion: "1.0".into(),
            id: EventId::from_uuid(uuid::Uuid::nil()),
            source: "/pci/purchase-session".into(),
            subject: "FR-0001".into(),
            time: "2026-03-02T06:00:28.323335Z".into(),
            sequence: "7".into(),
            body: EventBody::FridgeTampered(FridgeTampered {
                fridge: FridgeId::parse("FR-0001")?,
                kind: TamperKind::MealMoved,
                code: Some(ScannedCode::read("(01)09500000000198(21)00000335")),
                at: Timestamp::from_micros(1),
            }),
        };
        let json = serde_json::to_value(&event)?;
        assert_eq!(json["type"], "larder.fridge.tampered.v1");
        assert_eq!(json["type"], event.body.name());
        assert_eq!(json["data"]["kind"], "meal_moved");
        assert_eq!(serde_json::from_value::<Envelope>(json)?, event);
        Ok(())
    }

    #[test]
    fn an_event_with_a_card_number_where_a_name_belongs_is_refused() {
        let json = r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000000","source":"x","subject":"x",
            "time":"x","sequence":"1","type":"larder.fridge.tampered.v1",
            "data":{"fridge":"4242424242424242","kind":"meal_moved","code":null,"at":1}}"#;
        assert!(serde_json::from_str::<Envelope>(json).is_err());
    }
}
