//! Requests of callers who put a card number where none belongs: a fridge of another make that sends it in clear, an
//! operator who pastes it into a form. Each is refused; what is searched is how.
//!
//! Only fields that are checked are tried. A free text that an operator may store (a fridge's location, say) is his to
//! answer for.

use bytes::Bytes;
use fridge_agent::proto::{
    EnrollCardRequest, FridgeMessage, Open, SealedCard, SealingKeyRequest, SealingKeyResponse, TamperReport, Touch,
    fridge_message, open, tamper_report,
};
use prost::Message;
use single_node::Fault;

use crate::driver::caller::{Answer, Caller};
use crate::driver::house::House;

const JSON: (&str, &str) = ("content-type", "application/json");

/// What a fridge says that sends card numbers in clear, and what it is answered: each with a name.
///
/// # Errors
/// [`Fault`] when there is no answer.
pub async fn fridge(caller: &Caller, digits: &str, sessions: &[String; 4]) -> Result<Vec<(String, Answer)>, Fault> {
    let key = sealing_key(caller).await?;
    let track2 = format!("{digits}=31122010000000000");
    let sealed = |key_id: &str, point: &[u8], text: &str| SealedCard {
        key_id: key_id.to_owned(),
        encapsulated_key: point.to_vec(),
        cipher_text: text.as_bytes().to_vec(),
    };
    let no_point: Vec<u8> = [4].into_iter().chain(digits.bytes().cycle().take(64)).collect();
    let in_clear = sealed(&key.key_id, &key.public_key, &track2);
    let cards = [
        ("a card in clear in place of a sealed one", in_clear.clone()),
        ("a number for a key's name", sealed(digits, &key.public_key, "sixteen bytes and more")),
        ("a number for a point of the curve", sealed(&key.key_id, &no_point, "sixteen bytes and more")),
        ("a card in clear that is too long", sealed(&key.key_id, &key.public_key, &track2.repeat(5))),
    ];
    let mut answers = Vec::new();
    for ((what, card), session) in cards.into_iter().zip(sessions) {
        answers.push((what, caller.grpc("Purchase", &[opening(session, open::ShownBy::Card(card))]).await?));
    }
    let shown = open::ShownBy::IdToken("idt-nobody".to_owned());
    answers.push(("a number for a session", caller.grpc("Purchase", &[opening(digits, shown)]).await?));
    let touch = Touch { kind: 1, barcode: track2.repeat(4) };
    let touch = FridgeMessage {
        body: Some(fridge_message::Body::Touch(touch)),
        ..opening(&sessions[0], open::ShownBy::Card(in_clear.clone()))
    };
    answers.push(("a number for a barcode", caller.grpc("Purchase", &[touch]).await?));
    let enrolment =
        EnrollCardRequest { enrollment_id: digits.to_owned(), card: Some(in_clear), id_token: "idt-nobody".to_owned() };
    answers.push(("a number for an enrolment", caller.grpc("EnrollCard", &[enrolment]).await?));
    let report = TamperReport {
        report_id: digits.to_owned(),
        kind: tamper_report::Kind::DoorForced.into(),
        ..TamperReport::default()
    };
    answers.push(("a number for a report", caller.grpc("ReportTamper", &[report]).await?));
    answers.push(("a number for a method", caller.grpc_bytes(digits, Bytes::new()).await?));
    answers.push(("a number for a message", caller.grpc_bytes("Purchase", Bytes::from(track2.clone())).await?));
    let target = format!("/metrics?card={digits}");
    answers.push(("a number for a question", caller.http("GET", &target, &[("x-card", digits)], Bytes::new()).await?));
    Ok(answers.into_iter().map(|(what, answer)| (format!("purchase-session, {what}"), answer)).collect())
}

fn opening(session: &str, shown_by: open::ShownBy) -> FridgeMessage {
    FridgeMessage {
        session_id: session.to_owned(),
        sequence: 1,
        device_time_us: 0,
        body: Some(fridge_message::Body::Open(Open { shown_by: Some(shown_by) })),
    }
}

async fn sealing_key(caller: &Caller) -> Result<SealingKeyResponse, Fault> {
    let answer = caller.grpc("SealingKey", &[SealingKeyRequest {}]).await?;
    let message = answer.body.get(5..).unwrap_or_default();
    SealingKeyResponse::decode(message).map_err(Fault::of("the sealing key"))
}

/// What an operator asks who pastes card numbers where names belong, and what he is answered: each with a name.
///
/// # Errors
/// [`Fault`] when there is no answer.
pub async fn operator(house: &House, digits: &str) -> Result<Vec<(String, Answer)>, Fault> {
    let mut answers = Vec::new();
    for (service, list, record, create) in [
        ("admin", "/fridges", "/fridges", "fridge"),
        ("status", "/sessions", "/sessions", "session"),
        ("inventory", "/meals", "/meals", "barcode"),
        ("customers", "/customers", "/customers", "customer"),
    ] {
        let caller = Caller::new(house, "operator", service)?;
        let mut ask = async |method: &str, target: String, headers: &[(&str, &str)], body: String| {
            let answer = caller.http(method, &target, headers, body.into_bytes()).await?;
            answers.push((format!("{service}, {method} {}", target.replace(digits, "…")), answer));
            Ok::<(), Fault>(())
        };
        ask("GET", format!("{record}/{digits}"), &[], String::new()).await?;
        ask("GET", format!("{list}?page_size={digits}"), &[], String::new()).await?;
        ask("GET", format!("{list}?page_token={digits}&card={digits}"), &[], String::new()).await?;
        ask("GET", format!("/{digits}"), &[("x-card", digits)], String::new()).await?;
        ask("DELETE", format!("{list}/{digits}"), &[("if-match", digits)], String::new()).await?;
        ask("PATCH", format!("{record}/{digits}"), &[JSON], format!(r#"{{"card":"{digits}"}}"#)).await?;
        for body in [
            format!(r#"{{"{create}":"{digits}"}}"#),
            format!(r#"{{"{create}":{digits}}}"#),
            format!(r#"{{"{digits}":1}}"#),
            format!(r#""{digits}""#),
            format!(r#"{{"{create}":"{digits}"#),
            digits.to_owned(),
        ] {
            ask("POST", list.to_owned(), &[JSON], body.clone()).await?;
            ask("POST", format!("{list}:batchCreate"), &[JSON, ("idempotency-key", digits)], body).await?;
        }
        ask("POST", "/inbox".to_owned(), &[("content-type", "application/cloudevents+json")], digits.to_owned())
            .await?;
        ask("POST", list.to_owned(), &[("content-type", digits)], digits.to_owned()).await?;
    }
    Ok(answers)
}
