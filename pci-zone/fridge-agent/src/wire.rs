//! Between the machine's words and the protocol's messages. What does not parse is refused whole: an answer that is
//! half understood is worse than a stream that is opened again.

use pci_contract::{Currency, Money, ReasonCode, ScannedCode, SealedCard, SessionId, TamperKind, Timestamp};
use thiserror::Error;
use uuid::Uuid;

use crate::proto::{self, fridge_message, open, service_message, tamper_report, touch};
use crate::words::{
    AlarmKind, Answer, Body, IdToken, OwnMeal, Price, Receipt, ReceiptLine, Record, ShownBy, TamperNote, TouchKind,
    Unlock,
};

/// A message that no party that keeps the protocol sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message's {0} does not parse")]
pub(crate) struct Malformed(&'static str);

/// What a [`proto::ServiceMessage`] holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An answer for the machine, or a bare acknowledgement.
    Answer(Option<Answer>),
    /// Send again from this number on.
    ResendFrom(u64),
}

/// A record as it goes over the wire, and into the journal.
pub(crate) fn message(record: &Record) -> proto::FridgeMessage {
    let body = match &record.body {
        Body::Open(shown_by) => fridge_message::Body::Open(proto::Open { shown_by: Some(shown(shown_by)) }),
        Body::DoorOpened => fridge_message::Body::DoorOpened(proto::DoorOpened {}),
        Body::Touched { kind, code } => {
            let kind = match kind {
                TouchKind::Taken => touch::Kind::Taken,
                TouchKind::Returned => touch::Kind::Returned,
            };
            fridge_message::Body::Touch(proto::Touch { kind: kind.into(), barcode: code.as_str().to_owned() })
        }
        Body::DoorClosed => fridge_message::Body::DoorClosed(proto::DoorClosed {}),
        Body::DoorStayedShut => fridge_message::Body::DoorStayedShut(proto::DoorStayedShut {}),
    };
    proto::FridgeMessage {
        session_id: record.session.to_string(),
        sequence: record.sequence,
        device_time_us: record.device_time.micros(),
        body: Some(body),
    }
}

fn shown(shown_by: &ShownBy) -> open::ShownBy {
    match shown_by {
        ShownBy::Card(card) => open::ShownBy::Card(card.into()),
        ShownBy::IdToken(token) => open::ShownBy::IdToken(token.expose().to_owned()),
    }
}

/// A record as the journal gives it back.
///
/// # Errors
/// [`Malformed`]: no agent wrote it.
pub(crate) fn record(message: &proto::FridgeMessage) -> Result<Record, Malformed> {
    let body = match message.body.as_ref().ok_or(Malformed("body"))? {
        fridge_message::Body::Open(open) => Body::Open(shown_by(open.shown_by.as_ref().ok_or(Malformed("body"))?)?),
        fridge_message::Body::DoorOpened(_) => Body::DoorOpened,
        fridge_message::Body::Touch(touch) => {
            let kind = match touch.kind() {
                touch::Kind::Taken => TouchKind::Taken,
                touch::Kind::Returned => TouchKind::Returned,
                touch::Kind::Unspecified => return Err(Malformed("kind of touch")),
            };
            Body::Touched { kind, code: ScannedCode::read(&touch.barcode) }
        }
        fridge_message::Body::DoorClosed(_) => Body::DoorClosed,
        fridge_message::Body::DoorStayedShut(_) => Body::DoorStayedShut,
    };
    Ok(Record {
        session: SessionId::parse(&message.session_id).map_err(|_| Malformed("session id"))?,
        sequence: message.sequence,
        device_time: Timestamp::from_micros(message.device_time_us),
        body,
    })
}

fn shown_by(shown_by: &open::ShownBy) -> Result<ShownBy, Malformed> {
    match shown_by {
        open::ShownBy::Card(card) => SealedCard::parse(&card.key_id, &card.encapsulated_key, &card.cipher_text)
            .map(ShownBy::Card)
            .map_err(|_| Malformed("sealed card")),
        open::ShownBy::IdToken(text) => IdToken::parse(text).map(ShownBy::IdToken).ok_or(Malformed("ID token")),
    }
}

/// What the service said.
///
/// # Errors
/// [`Malformed`] says which part is not of the protocol.
pub(crate) fn heard(body: Option<service_message::Body>) -> Result<Heard, Malformed> {
    let answer = match body {
        None => return Ok(Heard::Answer(None)),
        Some(service_message::Body::ResendFrom(resend)) => return Ok(Heard::ResendFrom(resend.sequence)),
        Some(service_message::Body::Unlock(unlock)) => Answer::Unlock(self::unlock(unlock)?),
        Some(service_message::Body::Refused(refused)) => {
            Answer::Refused(ReasonCode::parse(&refused.reason).map_err(|_| Malformed("reason"))?)
        }
        Some(service_message::Body::Alarm(alarm)) => {
            let kind = match alarm.kind() {
                proto::alarm::Kind::NotSellable => AlarmKind::NotSellable,
                // An alarm of a kind this agent does not know yet is an alarm all the same.
                proto::alarm::Kind::NotYours | proto::alarm::Kind::Unspecified => AlarmKind::NotYours,
            };
            Answer::Alarm { kind, code: ScannedCode::read(&alarm.barcode) }
        }
        Some(service_message::Body::AlarmCleared(cleared)) => {
            Answer::AlarmCleared { code: ScannedCode::read(&cleared.barcode) }
        }
        Some(service_message::Body::LimitReached(limit)) => Answer::LimitReached { limit: money(limit.limit)? },
        Some(service_message::Body::SoundDoor(_)) => Answer::SoundDoor,
        Some(service_message::Body::Receipt(receipt)) => Answer::Receipt(self::receipt(receipt)?),
    };
    Ok(Heard::Answer(Some(answer)))
}

fn unlock(unlock: proto::Unlock) -> Result<Unlock, Malformed> {
    let own = |meal: proto::OwnMeal| OwnMeal {
        code: ScannedCode::read(&meal.barcode),
        name: meal.name,
        sign: meal.sign,
        prepaid: meal.prepaid,
    };
    let price = |price: proto::Price| Ok(Price { gtin: price.gtin, name: price.name, price: money(price.price)? });
    Ok(Unlock {
        hold: money(unlock.hold)?,
        credit: money(unlock.credit)?,
        own_meals: unlock.own_meals.into_iter().map(own).collect(),
        prices: unlock.prices.into_iter().map(price).collect::<Result<_, Malformed>>()?,
        open_within_s: unlock.open_within_s,
        open_limit_s: unlock.open_limit_s,
    })
}

fn receipt(receipt: proto::Receipt) -> Result<Receipt, Malformed> {
    let line = |line: proto::ReceiptLine| {
        Ok(ReceiptLine { code: ScannedCode::read(&line.barcode), name: line.name, price: money(line.price)? })
    };
    Ok(Receipt {
        outcome: receipt.outcome,
        charged: money(receipt.charged)?,
        credit_used: money(receipt.credit_used)?,
        unpaid: money(receipt.unpaid)?,
        lines: receipt.lines.into_iter().map(line).collect::<Result<_, Malformed>>()?,
    })
}

fn money(money: Option<proto::Money>) -> Result<Option<Money>, Malformed> {
    let of = |money: proto::Money| {
        Currency::parse(&money.currency)
            .map(|currency| Money::new(money.minor, currency))
            .map_err(|_| Malformed("money"))
    };
    money.map(of).transpose()
}

/// A note as it is reported, and kept on disk until then.
pub(crate) fn tamper_report(note: &TamperNote) -> proto::TamperReport {
    let kind = match note.kind {
        TamperKind::MealMoved => tamper_report::Kind::MealMoved,
        TamperKind::DoorForced => tamper_report::Kind::DoorForced,
    };
    proto::TamperReport {
        report_id: note.report.hyphenated().to_string(),
        kind: kind.into(),
        barcode: note.code.as_ref().map_or_else(String::new, |code| code.as_str().to_owned()),
        device_time_us: note.device_time.micros(),
    }
}

/// Whether a report that was read from disk is one an agent wrote.
pub(crate) fn is_tamper_report(report: &proto::TamperReport) -> bool {
    Uuid::try_parse(&report.report_id).is_ok() && report.kind() != tamper_report::Kind::Unspecified
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlock_with(currency: &str) -> service_message::Body {
        let hold = Some(proto::Money { minor: 2_500, currency: currency.to_owned() });
        let own = proto::OwnMeal { barcode: "(01)09500000000198(21)1".to_owned(), prepaid: true, ..Default::default() };
        let price = proto::Price { gtin: "09500000000198".to_owned(), name: "Soup".to_owned(), price: hold.clone() };
        service_message::Body::Unlock(proto::Unlock {
            hold,
            credit: None,
            own_meals: vec![own],
            prices: vec![price],
            open_within_s: 20,
            open_limit_s: 60,
        })
    }

    #[test]
    fn every_record_survives_its_message() {
        let session = SessionId::parse("4ed615ae-e6a0-47bb-82f2-6b7777de3d19").expect("a UUID");
        let card = SealedCard::parse("seal-1", &[4; 65], &[9; 40]).expect("a shape");
        let bodies = [
            Body::Open(ShownBy::Card(card)),
            Body::Open(ShownBy::IdToken(IdToken::parse("idt-1").expect("a token"))),
            Body::DoorOpened,
            Body::Touched { kind: TouchKind::Taken, code: ScannedCode::read("(01)09500000000198(21)1") },
            Body::Touched { kind: TouchKind::Returned, code: ScannedCode::Unreadable },
            Body::DoorClosed,
            Body::DoorStayedShut,
        ];
        for (body, sequence) in bodies.into_iter().zip(1..) {
            let told = Record { session, sequence, device_time: Timestamp::from_micros(-5), body };
            assert_eq!(record(&message(&told)), Ok(told));
        }
    }

    #[test]
    fn a_message_no_agent_writes_is_not_read_back() {
        let good = proto::FridgeMessage {
            session_id: "4ed615ae-e6a0-47bb-82f2-6b7777de3d19".to_owned(),
            sequence: 1,
            device_time_us: 0,
            body: Some(fridge_message::Body::DoorOpened(proto::DoorOpened {})),
        };
        assert!(record(&good).is_ok());
        let with = |body| proto::FridgeMessage { body, ..good.clone() };
        let token = open::ShownBy::IdToken("4242424242424242".to_owned());
        let bad = [
            (proto::FridgeMessage { session_id: "x".to_owned(), ..good.clone() }, "session id"),
            (with(None), "body"),
            (with(Some(fridge_message::Body::Open(proto::Open { shown_by: None }))), "body"),
            (with(Some(fridge_message::Body::Open(proto::Open { shown_by: Some(token) }))), "ID token"),
            (
                with(Some(fridge_message::Body::Open(proto::Open {
                    shown_by: Some(open::ShownBy::Card(proto::SealedCard::default())),
                }))),
                "sealed card",
            ),
            (with(Some(fridge_message::Body::Touch(proto::Touch::default()))), "kind of touch"),
        ];
        for (message, part) in bad {
            assert_eq!(record(&message), Err(Malformed(part)));
        }
    }

    #[test]
    fn an_unlock_is_heard_with_meals_and_prices_and_refused_with_odd_money() {
        let Ok(Heard::Answer(Some(Answer::Unlock(unlock)))) = heard(Some(unlock_with("USD"))) else {
            panic!("not an unlock")
        };
        let minor = |money: Option<Money>| money.map(Money::minor);
        assert_eq!((minor(unlock.hold), unlock.credit), (Some(2_500), None));
        assert!(unlock.own_meals[0].prepaid);
        assert_eq!((unlock.prices[0].name.as_str(), minor(unlock.prices[0].price)), ("Soup", Some(2_500)));
        assert_eq!(heard(Some(unlock_with("dollars"))), Err(Malformed("money")));
    }

    #[test]
    fn the_short_answers_are_heard_for_what_they_are() {
        use service_message::Body;
        assert_eq!(heard(None), Ok(Heard::Answer(None)));
        let resend = Body::ResendFrom(proto::ResendFrom { sequence: 3 });
        assert_eq!(heard(Some(resend)), Ok(Heard::ResendFrom(3)));
        let refused = |reason: &str| heard(Some(Body::Refused(proto::Refused { reason: reason.to_owned() })));
        assert_eq!(refused("fridge_busy"), Ok(Heard::Answer(Some(Answer::Refused(ReasonCode::FRIDGE_BUSY)))));
        assert_eq!(refused("No!"), Err(Malformed("reason")));
        let odd = proto::Alarm { kind: 77, barcode: String::new() };
        let alarm = Answer::Alarm { kind: AlarmKind::NotYours, code: ScannedCode::Unreadable };
        assert_eq!(heard(Some(Body::Alarm(odd))), Ok(Heard::Answer(Some(alarm))));
        assert_eq!(heard(Some(Body::SoundDoor(proto::SoundDoor {}))), Ok(Heard::Answer(Some(Answer::SoundDoor))));
    }
}
