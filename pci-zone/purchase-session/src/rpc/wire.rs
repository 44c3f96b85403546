//! Between the protocol's messages and our own types, both ways. What does not parse is refused here with a text that
//! names the field and never repeats its content.

use pci_contract::{
    IdTokenDigest, MealId, Money, ScannedCode, SealedCard, SealingContext, SealingKey, SessionId, Timestamp,
};
use pci_session::{AlarmKind, Receipt, TouchKind};

use super::proto;
use crate::message::{
    Answer, BadField, FridgeBody, FridgeMessage, OwnMeal, Price, ReceiptLine, ServiceMessage, ShownBy, Unlock, Unread,
};

/// The longest ID token, in bytes.
const MAX_ID_TOKEN: usize = 128;
/// The longest barcode, in bytes: GS1's 48 characters and the brackets, with room.
const MAX_BARCODE: usize = 90;

const fn bad(field: &'static str, what: &'static str) -> BadField {
    BadField { field, what }
}

/// Why a stream has no next message: tonic says `OUT_OF_RANGE` of one that is too long.
#[must_use]
pub fn unread(status: &tonic::Status) -> Unread {
    if status.code() == tonic::Code::OutOfRange { Unread::TooLong } else { Unread::Unreadable }
}

/// Reads one message of a fridge.
///
/// # Errors
/// [`BadField`] names the field and what it should be.
pub fn fridge_message(message: proto::FridgeMessage) -> Result<FridgeMessage, BadField> {
    use proto::fridge_message::Body;
    let session = SessionId::parse(&message.session_id).map_err(|_| bad("session_id", "must be a hyphenated UUID"))?;
    if message.sequence == 0 {
        return Err(bad("sequence", "counts from 1"));
    }
    let body = match message.body.ok_or(bad("body", "must be set"))? {
        Body::Open(open) => FridgeBody::Open(shown_by(open)?),
        Body::DoorOpened(_) => FridgeBody::DoorOpened,
        Body::Touch(touch) => self::touch(&touch)?,
        Body::DoorClosed(_) => FridgeBody::DoorClosed,
        Body::DoorStayedShut(_) => FridgeBody::DoorStayedShut,
    };
    let device_time = Timestamp::from_micros(message.device_time_us);
    Ok(FridgeMessage { session, sequence: message.sequence, device_time, body })
}

fn shown_by(open: proto::Open) -> Result<ShownBy, BadField> {
    use proto::open::ShownBy as Wire;
    match open.shown_by.ok_or(bad("open.shown_by", "must be a card or an ID token"))? {
        Wire::Card(card) => Ok(sealed_card(&card).map_or(ShownBy::UnreadableCard, ShownBy::Card)),
        Wire::IdToken(token) => id_token(&token).map(ShownBy::IdToken),
    }
}

/// Reads a sealed card; `None` when its shape cannot be one.
#[must_use]
pub fn sealed_card(card: &proto::SealedCard) -> Option<SealedCard> {
    SealedCard::parse(&card.key_id, &card.encapsulated_key, &card.cipher_text).ok()
}

/// Reads an ID token and keeps its digest alone.
///
/// # Errors
/// [`BadField`] when it has no or too many bytes.
pub fn id_token(token: &str) -> Result<IdTokenDigest, BadField> {
    if token.is_empty() || token.len() > MAX_ID_TOKEN {
        return Err(bad("id_token", "has 1 to 128 bytes"));
    }
    Ok(IdTokenDigest::of(token))
}

/// Reads what a scanner read.
///
/// # Errors
/// [`BadField`] when it has too many bytes.
pub fn scanned(barcode: &str) -> Result<ScannedCode, BadField> {
    if barcode.len() > MAX_BARCODE {
        return Err(bad("barcode", "has at most 90 bytes"));
    }
    Ok(ScannedCode::read(barcode))
}

fn touch(touch: &proto::Touch) -> Result<FridgeBody, BadField> {
    let kind = match touch.kind() {
        proto::touch::Kind::Taken => TouchKind::Taken,
        proto::touch::Kind::Returned => TouchKind::Returned,
        proto::touch::Kind::Unspecified => return Err(bad("touch.kind", "must be taken or returned")),
    };
    Ok(FridgeBody::Touch { kind, code: scanned(&touch.barcode)? })
}

/// Writes one answer.
#[must_use]
pub fn service_message(message: ServiceMessage) -> proto::ServiceMessage {
    proto::ServiceMessage {
        session_id: message.session.to_string(),
        acknowledged: message.acknowledged,
        body: message.body.map(answer),
    }
}

fn answer(answer: Answer) -> proto::service_message::Body {
    use proto::service_message::Body;
    match answer {
        Answer::Unlock(unlock) => Body::Unlock(self::unlock(*unlock)),
        Answer::Refused(reason) => Body::Refused(proto::Refused { reason: reason.into() }),
        Answer::Alarm { barcode, kind } => {
            Body::Alarm(proto::Alarm { kind: alarm_kind(kind).into(), barcode: barcode.into() })
        }
        Answer::AlarmCleared(barcode) => Body::AlarmCleared(proto::AlarmCleared { barcode: barcode.into() }),
        Answer::LimitReached(limit) => Body::LimitReached(proto::LimitReached { limit: Some(money(limit)) }),
        Answer::ResendFrom(sequence) => Body::ResendFrom(proto::ResendFrom { sequence }),
        Answer::SoundDoor => Body::SoundDoor(proto::SoundDoor {}),
        Answer::Receipt(receipt, lines) => Body::Receipt(self::receipt(&receipt, lines)),
        Answer::UnknownSession => {
            Body::Receipt(proto::Receipt { outcome: "unknown_session".to_owned(), ..proto::Receipt::default() })
        }
    }
}

const fn alarm_kind(kind: AlarmKind) -> proto::alarm::Kind {
    match kind {
        AlarmKind::NotYours => proto::alarm::Kind::NotYours,
        AlarmKind::NotSellable => proto::alarm::Kind::NotSellable,
    }
}

fn unlock(unlock: Unlock) -> proto::Unlock {
    proto::Unlock {
        hold: Some(money(unlock.hold)),
        credit: Some(money(unlock.credit)),
        own_meals: unlock.own_meals.into_iter().map(own_meal).collect(),
        prices: unlock.prices.into_iter().map(price).collect(),
        open_within_s: unlock.open_within_s,
        open_limit_s: unlock.open_limit_s,
    }
}

fn own_meal(meal: OwnMeal) -> proto::OwnMeal {
    proto::OwnMeal { barcode: meal.barcode.into(), name: meal.name, sign: meal.sign, prepaid: meal.prepaid }
}

fn price(price: Price) -> proto::Price {
    proto::Price { gtin: price.gtin.into(), name: price.name, price: Some(money(price.price)) }
}

fn receipt(receipt: &Receipt, lines: Vec<ReceiptLine>) -> proto::Receipt {
    proto::Receipt {
        outcome: receipt.outcome.as_str().to_owned(),
        charged: Some(money(receipt.charged)),
        credit_used: Some(money(receipt.credit_used)),
        unpaid: Some(money(receipt.unpaid)),
        lines: lines.into_iter().map(line).collect(),
    }
}

fn line(line: ReceiptLine) -> proto::ReceiptLine {
    let barcode = MealId::into(line.barcode);
    proto::ReceiptLine { barcode, name: line.name, price: Some(money(line.price)) }
}

fn money(money: Money) -> proto::Money {
    proto::Money { minor: money.minor(), currency: money.currency().into() }
}

/// Writes the sealing key.
#[must_use]
pub fn sealing_key(key: &SealingKey, max_age_s: u32) -> proto::SealingKeyResponse {
    proto::SealingKeyResponse { key_id: key.id.as_str().to_owned(), public_key: key.public.to_vec(), max_age_s }
}

/// What a card sealed for an enrolment is bound to: the enrolment's id stands in the session's place.
///
/// # Errors
/// [`BadField`] when the id is not a UUID.
pub fn enrollment_context(fridge: pci_contract::FridgeId, enrollment: &str) -> Result<SealingContext, BadField> {
    let session = SessionId::parse(enrollment).map_err(|_| bad("enrollment_id", "must be a hyphenated UUID"))?;
    Ok(SealingContext { fridge, session })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::fridge_message::Body;

    fn message(body: Option<Body>) -> proto::FridgeMessage {
        proto::FridgeMessage {
            session_id: "4ed615ae-e6a0-47bb-82f2-6b7777de3d19".into(),
            sequence: 1,
            device_time_us: 0,
            body,
        }
    }

    #[test]
    fn a_message_without_what_it_needs_names_the_field() {
        let mut no_session = message(Some(Body::DoorClosed(proto::DoorClosed {})));
        no_session.session_id = "x".into();
        let mut no_number = message(Some(Body::DoorClosed(proto::DoorClosed {})));
        no_number.sequence = 0;
        let touch = proto::Touch { kind: 0, barcode: String::new() };
        let long = proto::Touch { kind: 1, barcode: "x".repeat(91) };
        for (wire, field) in [
            (no_session, "session_id"),
            (no_number, "sequence"),
            (message(None), "body"),
            (message(Some(Body::Open(proto::Open { shown_by: None }))), "open.shown_by"),
            (message(Some(Body::Touch(touch))), "touch.kind"),
            (message(Some(Body::Touch(long))), "barcode"),
        ] {
            assert_eq!(fridge_message(wire).expect_err(field).field, field);
        }
    }

    #[test]
    fn what_cannot_be_a_sealed_card_is_kept_as_unreadable() {
        let card =
            proto::SealedCard { key_id: "seal-1".into(), encapsulated_key: vec![4; 64], cipher_text: vec![0; 40] };
        let open = proto::Open { shown_by: Some(proto::open::ShownBy::Card(card)) };
        let read = fridge_message(message(Some(Body::Open(open)))).expect("a message");
        assert!(matches!(read.body, FridgeBody::Open(ShownBy::UnreadableCard)));
    }

    #[test]
    fn an_id_token_leaves_its_digest_alone() {
        let open = proto::Open { shown_by: Some(proto::open::ShownBy::IdToken("idt-1".into())) };
        let read = fridge_message(message(Some(Body::Open(open)))).expect("a message");
        assert!(
            matches!(read.body, FridgeBody::Open(ShownBy::IdToken(digest)) if digest == IdTokenDigest::of("idt-1"))
        );
        assert!(id_token("").is_err() && id_token(&"x".repeat(129)).is_err());
    }
}
