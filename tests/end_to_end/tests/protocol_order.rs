//! What a fridge says when it says it wrongly: out of order, twice, too late, too long, not at all in the protocol's words,
//! or about meals and moments that cannot be. Each is answered in words or counted as what it is, the session can always
//! be gone on with, and it is charged once and for exactly what was taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;

use fridge_agent::proto::fridge_message::Body;
use fridge_agent::proto::{DoorClosed, DoorOpened, DoorStayedShut, FridgeMessage, TamperReport, Touch};
use larder_end_to_end::{
    Cases, House, Journal, PRICE_MINOR, STRANGER, Visit, code, ensure, in_a_house, new_session, now_us,
};
use pci_contract::Timestamp;
use prost::Message;
use single_node::Fault;

const DAY_US: i64 = 86_400_000_000;

/// The session lives: its fridge comes back, takes a second meal and closes. Two meals, once.
async fn goes_on(mut visit: Visit) -> Result<(), Fault> {
    visit.come_back().await?;
    visit.take(1).await;
    let receipt = visit.close().await?;
    ensure(receipt.lines.len() == 2, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(2).await.map(|_| ())
}

/// A message that is none ends the stream with these words, and no harm is done to the session.
async fn malformed(house: Arc<House>, bytes: Vec<u8>, words: &'static str) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    visit.talk.say_bytes(&bytes).await;
    let end = visit.talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, words), || format!("it ended {end:?}, not with {words:?}"))?;
    goes_on(visit).await
}

/// The same as the first message of a stream.
async fn malformed_first(house: Arc<House>, bytes: Vec<u8>, words: &'static str) -> Result<(), Fault> {
    let line = house.fridge(&house.place()?.fridge).await?;
    let mut talk = line.purchase().await?;
    talk.say_bytes(&bytes).await;
    let end = talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, words), || format!("it ended {end:?}, not with {words:?}"))
}

type Bad = (&'static str, fn(FridgeMessage) -> Vec<u8>, &'static str);

/// Messages that are not of the protocol, made of a good one, and what they are told.
const BAD_MESSAGES: [Bad; 13] = [
    ("sequence 0", |good| FridgeMessage { sequence: 0, ..good }.encode_to_vec(), "sequence: counts from 1"),
    ("no body", |good| FridgeMessage { body: None, ..good }.encode_to_vec(), "body: must be set"),
    ("no session id", |good| with_session(good, ""), "session_id: must be a hyphenated UUID"),
    ("a session id of words", |good| with_session(good, "the-session-of-this-morning-8-oclock"), "session_id: must be"),
    ("a session id in braces", |good| in_braces(good), "session_id: must be a hyphenated UUID"),
    (
        "a touch of no kind",
        |good| touched(good, 0, "(01)09506000130019(21)X1"),
        "touch.kind: must be taken or returned",
    ),
    ("a touch of a kind to come", |good| touched(good, 77, "(01)09506000130019(21)X1"), "touch.kind: must be"),
    ("a barcode of 91 bytes", |good| touched(good, 1, &"x".repeat(91)), "barcode: has at most 90 bytes"),
    ("a barcode of 91 bytes in 46 letters", |good| touched(good, 1, &["x", &"é".repeat(45)].concat()), "barcode: has"),
    ("a barcode that is no text", no_text, "cannot be read"),
    ("bytes that are no message", |_| vec![0xff; 40], "cannot be read"),
    ("half a message", |good| halved(&good.encode_to_vec()), "cannot be read"),
    ("17 KiB", |good| touched(good, 1, &"x".repeat(17 << 10)), "longer than"),
];

fn with_session(good: FridgeMessage, session: &str) -> Vec<u8> {
    FridgeMessage { session_id: session.to_owned(), ..good }.encode_to_vec()
}

fn in_braces(good: FridgeMessage) -> Vec<u8> {
    let session = format!("{{{}}}", good.session_id);
    with_session(good, &session)
}

fn touched(good: FridgeMessage, kind: i32, barcode: &str) -> Vec<u8> {
    let touch = Touch { kind, barcode: barcode.to_owned() };
    FridgeMessage { body: Some(Body::Touch(touch)), ..good }.encode_to_vec()
}

/// The same length, but bytes that no UTF-8 has.
fn no_text(good: FridgeMessage) -> Vec<u8> {
    let mut bytes = touched(good, 1, "QQQQQQQQ");
    let at = bytes.windows(8).position(|window| window == b"QQQQQQQQ").unwrap();
    bytes[at..at + 8].copy_from_slice(&[0xc3, 0x28, 0xff, 0xfe, 0x80, 0x80, 0xf0, 0x28]);
    bytes
}

fn halved(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

/// gRPC's own frame lies: it says that its message is compressed, or is longer than what comes.
async fn lying_frame(house: Arc<House>, compressed: bool) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let next = visit.journal.message(4, Some(Body::DoorClosed(DoorClosed {})));
    if compressed {
        let mut frame = vec![1];
        frame.extend(u32::try_from(next.encoded_len()).unwrap().to_be_bytes());
        frame.extend(next.encode_to_vec());
        visit.talk.say_raw(frame.into()).await;
    } else {
        visit.talk.say_half(&next).await;
        visit.talk.finish();
    }
    let end = visit.talk.end().await;
    ensure(end.code() != Some(code::OK), || format!("it ended {end:?}"))?;
    goes_on(visit).await
}

async fn gap(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let lost = visit.journal.taken(&visit.meal(0));
    let early = visit.journal.taken(&visit.meal(1));
    visit.talk.say(&early).await;
    let from = visit.talk.resend_from().await?;
    ensure(from == 3, || format!("asked to send again from {from}"))?;
    visit.talk.say_all([&lost, &early]).await;
    visit.talk.acknowledged(4).await?;
    visit.close().await?;
    visit.charged(2).await.map(|_| ())
}

/// A close that overtakes its touches closes nothing: whoever closed on it would give the meals away.
async fn close_before_its_touches(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let touches = [visit.journal.taken(&visit.meal(0)), visit.journal.taken(&visit.meal(1))];
    let close = visit.journal.door_closed();
    visit.talk.say(&close).await;
    let from = visit.talk.resend_from().await?;
    ensure(from == 3, || format!("asked to send again from {from}"))?;
    visit.talk.say_all(touches.iter().chain([&close])).await;
    let receipt = visit.talk.receipt().await?;
    ensure(receipt.lines.len() == 2, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(2).await.map(|_| ())
}

/// A number no session ever has changes nothing and is asked to be filled in.
async fn the_greatest_number(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let far = visit.journal.message(u64::MAX, Some(Body::DoorClosed(DoorClosed {})));
    visit.talk.say(&far).await;
    let from = visit.talk.resend_from().await?;
    ensure(from == 3, || format!("asked to send again from {from}"))?;
    visit.take(0).await;
    visit.close().await?;
    visit.charged(1).await.map(|_| ())
}

/// Every message twice, and the whole of it once more before the close.
async fn everything_twice(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let others = visit.place.others.clone();
    for message in [
        visit.journal.taken(&visit.meal(0)),
        visit.journal.taken(&others),
        visit.journal.returned(&others),
        visit.journal.taken(&visit.meal(1)),
        visit.journal.returned(&visit.meal(1)),
    ] {
        visit.talk.say_all([&message, &message]).await;
    }
    visit.talk.acknowledged(7).await?;
    visit.talk.say_all(visit.journal.messages()).await;
    let close = visit.journal.door_closed();
    visit.talk.say_all([&close, &close]).await;
    let receipt = visit.talk.receipt().await?;
    ensure(receipt.lines.len() == 1, || format!("the receipt has {:?}", receipt.lines))?;
    let booked = visit.charged(1).await?;
    let alarms = booked["alarms"].as_array().map_or(0, Vec::len);
    let thefts = booked["thefts"].as_array().map_or(0, Vec::len);
    ensure((alarms, thefts) == (1, 0), || format!("it is booked as {booked}"))
}

/// A known number with another meal in it is a known number.
async fn same_number_other_content(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let touch = Touch { kind: 1, barcode: visit.meal(1) };
    let other = visit.journal.message(3, Some(Body::Touch(touch)));
    visit.talk.say(&other).await;
    let receipt = visit.close().await?;
    ensure(receipt.lines.len() == 1 && receipt.lines[0].barcode == visit.meal(0), || format!("{:?}", receipt.lines))?;
    visit.charged(1).await.map(|_| ())
}

/// After the close a touch is told the receipt again and costs nobody anything.
async fn touch_after_close(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    let first = visit.close().await?;
    visit.take(1).await;
    visit.come_back().await?;
    let again = visit.talk.receipt().await?;
    ensure(first == again, || format!("{first:?} became {again:?}"))?;
    let mut talk = visit.line.purchase().await?;
    talk.say(visit.journal.messages().last().unwrap()).await;
    let alone = talk.receipt().await?;
    ensure(first == alone, || format!("{first:?} became {alone:?}"))?;
    visit.charged(1).await.map(|_| ())
}

/// Under the same number, under the next one, and as a door that stayed shut.
async fn close_twice(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    let first = visit.close().await?;
    let last = visit.journal.last();
    for (sequence, body) in [
        (last, Body::DoorClosed(DoorClosed {})),
        (last + 1, Body::DoorClosed(DoorClosed {})),
        (last + 2, Body::DoorStayedShut(DoorStayedShut {})),
        (last + 9, Body::DoorClosed(DoorClosed {})),
    ] {
        let mut talk = visit.line.purchase().await?;
        talk.say(&visit.journal.message(sequence, Some(body))).await;
        let again = talk.receipt().await?;
        ensure(first == again, || format!("{first:?} became {again:?}"))?;
        let end = talk.end().await;
        ensure(end.code() == Some(code::OK), || format!("the stream ended {end:?}"))?;
    }
    visit.charged(1).await.map(|_| ())
}

/// A session nobody knows: a close is acknowledged, anything else is asked for from its beginning.
async fn unknown_session(house: Arc<House>) -> Result<(), Fault> {
    let line = house.fridge(&house.place()?.fridge).await?;
    for body in [Body::DoorClosed(DoorClosed {}), Body::DoorStayedShut(DoorStayedShut {})] {
        let journal = Journal::new(&new_session());
        let mut talk = line.purchase().await?;
        talk.say(&journal.message(1, Some(body))).await;
        let receipt = talk.receipt().await?;
        ensure(receipt.outcome == "unknown_session", || format!("it ended {}", receipt.outcome))?;
        let end = talk.end().await;
        ensure(end.code() == Some(code::OK), || format!("the stream ended {end:?}"))?;
    }
    let touch = Touch { kind: 1, barcode: "(01)09506000130019(21)X1".to_owned() };
    for (sequence, body) in [
        (1, Body::DoorOpened(DoorOpened {})),
        (1, Body::Touch(touch.clone())),
        (3, Body::Touch(touch)),
        (4, Body::DoorClosed(DoorClosed {})),
    ] {
        let journal = Journal::new(&new_session());
        let mut talk = line.purchase().await?;
        talk.say(&journal.message(sequence, Some(body))).await;
        let from = talk.resend_from().await?;
        ensure(from == 1, || format!("asked to send again from {from}"))?;
    }
    Ok(())
}

async fn another_session_in_the_stream(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(Arc::clone(&house)).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let other = house.arrival(&visit.line, &visit.place.fridge).await?;
    visit.talk.say_all(other.messages()).await;
    let end = visit.talk.end().await;
    let words = "session_id: must stay the same in a stream";
    ensure(end.says(code::INVALID_ARGUMENT, words), || format!("it ended {end:?}"))?;
    goes_on(visit).await?;
    ensure(!house.is_booked(other.session()).await?, || "the other session was booked".to_owned())
}

async fn open_under_another_number(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let open = FridgeMessage { sequence: 4, ..visit.journal.messages()[0].clone() };
    visit.talk.say(&open).await;
    let end = visit.talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, "sequence: an open is message 1"), || format!("it ended {end:?}"))?;
    goes_on(visit).await
}

/// The same UUID in capitals is the same session.
async fn session_id_in_capitals(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let mut taken = visit.journal.taken(&visit.meal(0));
    taken.session_id = taken.session_id.to_uppercase();
    visit.talk.say(&taken).await;
    visit.talk.acknowledged(3).await?;
    let receipt = visit.close().await?;
    ensure(receipt.lines.len() == 1, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(1).await.map(|_| ())
}

/// A meal that moves before the door is reported open is believed: the door must be open.
async fn touch_before_the_door(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::unlocked(house).await?;
    visit.take(0).await;
    let opened = visit.journal.door_opened();
    visit.talk.say(&opened).await;
    visit.close().await?;
    visit.charged(1).await.map(|_| ())
}

/// Put back without having been taken: a note for the refiller and never money.
async fn stray_put_back(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let (stray, unknown) = (visit.meal(5), "(01)09506000130019(21)NOBODYS");
    let elsewhere = visit.house.place()?.meals[0].clone();
    for barcode in [stray.as_str(), unknown, elsewhere.as_str()] {
        let returned = visit.journal.returned(barcode);
        visit.talk.say(&returned).await;
    }
    visit.take(0).await;
    let receipt = visit.close().await?;
    let credit = receipt.credit_used.clone().map_or(0, |money| money.minor);
    ensure(credit == 0 && receipt.lines.len() == 1, || format!("the receipt is {receipt:?}"))?;
    visit.charged(1).await?;
    let reviews = visit.house.reviews(&visit.place.fridge, 3).await?;
    let told = |code: &str| reviews.contains(&("stray_return".to_owned(), code.to_owned()));
    ensure([&stray, unknown, &elsewhere].into_iter().all(told), || format!("to be looked at: {reviews:?}"))
}

/// Nothing but stray put-backs: nobody is charged, nobody is paid.
async fn only_stray_put_backs(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let returned = visit.journal.returned(&visit.meal(5));
    visit.talk.say(&returned).await;
    let receipt = visit.close().await?;
    ensure(receipt.outcome == "no_purchase", || format!("it ended {}", receipt.outcome))?;
    visit.house.ended(visit.session(), "no_purchase", &[("canceled", 0)]).await.map(|_| ())
}

/// What no list knows is not charged; it is looked at. A card number that a scanner read as a barcode is kept nowhere.
async fn unknown_barcodes(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    let (unknown, date) = ("(01)09506000130019(21)UNHEARD-OF", "(01)09506000130019(17)310101(21)UNHEARD-OF");
    let (long, card) = ("x".repeat(90), "4111111111111111");
    for barcode in [unknown, date, "", long.as_str(), card, "\u{0}\u{7f}\u{202e}", "'; DROP TABLE meal; --"] {
        let taken = visit.journal.taken(barcode);
        visit.talk.say(&taken).await;
    }
    visit.take(0).await;
    visit.close().await?;
    visit.charged(1).await?;
    let reviews = visit.house.reviews(&visit.place.fridge, 7).await?;
    let count = |code: &str| reviews.iter().filter(|row| **row == ("unidentified".to_owned(), code.to_owned())).count();
    let counts = (count(unknown), count(date), count("unreadable"), reviews.len());
    ensure(counts == (1, 1, 5, 7), || format!("to be looked at: {reviews:?}"))
}

/// More than any fridge holds: the basket has a bound, nothing breaks at it, and what is known is charged.
async fn more_than_a_basket_holds(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    for number in 0..600 {
        let taken = visit.journal.taken(&format!("(01)09506000130019(21)MANY{number:04}"));
        visit.talk.say(&taken).await;
    }
    visit.talk.acknowledged(visit.journal.last()).await?;
    let receipt = visit.close().await?;
    ensure(receipt.lines.len() == 1, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(1).await?;
    let reviews = visit.house.reviews(&visit.place.fridge, 511).await?.len();
    ensure(reviews == 511, || format!("{reviews} are to be looked at"))
}

/// A fridge whose clock is wrong: the same outcome, and its report is booked all the same.
async fn wrong_clock(house: Arc<House>, clock_us: i64) -> Result<(), Fault> {
    let place = house.place()?;
    let line = house.fridge(&place.fridge).await?;
    let mut journal = Journal::new(&new_session()).at(clock_us);
    let card = house.card(&line, &place.fridge, journal.session(), STRANGER).await?;
    let open = journal.open_card(card);
    let mut talk = line.purchase().await?;
    talk.say(&open).await;
    talk.unlock().await?;
    let report = TamperReport { report_id: new_session(), kind: 2, barcode: String::new(), device_time_us: clock_us };
    for _ in 0..2 {
        line.report_tamper(&report).await?;
    }
    let others = place.others.clone();
    for message in [
        journal.door_opened(),
        journal.taken(&place.meals[0]),
        journal.taken(&others),
        journal.returned(&others),
        journal.door_closed(),
    ] {
        talk.say(&message).await;
    }
    let receipt = talk.receipt().await?;
    ensure(receipt.outcome == "charged", || format!("it ended {}", receipt.outcome))?;
    let booked = house.charged(journal.session(), PRICE_MINOR).await?;
    for moment in ["opened_at", "closed_at"] {
        let at = booked[moment].as_str().and_then(Timestamp::parse_rfc3339).unwrap();
        let off_us = (at.micros() - now_us()).abs();
        ensure(off_us < 600_000_000, || format!("it is booked as {booked}"))?;
    }
    let tampers = house.tampers(&place.fridge, 1).await?;
    ensure(tampers == ["door_forced"], || format!("the fridge was tampered with {tampers:?}"))
}

/// Touches that come before the door was unlocked cannot be: the fridge is told so, and the session is still good.
async fn hasty(house: Arc<House>) -> Result<(), Fault> {
    let place = house.place()?;
    let line = house.fridge(&place.fridge).await?;
    let mut journal = house.arrival(&line, &place.fridge).await?;
    let mut talk = line.purchase().await?;
    talk.say_all(journal.messages()).await;
    let hasty = journal.message(2, Some(Body::DoorOpened(DoorOpened {})));
    talk.say(&hasty).await;
    let end = talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, "this message cannot come now"), || format!("it ended {end:?}"))?;
    let mut talk = line.purchase().await?;
    talk.say_all(journal.messages()).await;
    talk.unlock().await?;
    for message in [journal.door_opened(), journal.taken(&place.meals[0]), journal.door_closed()] {
        talk.say(&message).await;
    }
    talk.receipt().await?;
    house.charged(journal.session(), PRICE_MINOR).await.map(|_| ())
}

/// A fridge that says nothing more before it has said anything.
async fn an_empty_stream(house: Arc<House>) -> Result<(), Fault> {
    let line = house.fridge(&house.place()?.fridge).await?;
    let mut talk = line.purchase().await?;
    talk.finish();
    let end = talk.end().await;
    ensure(end.code() == Some(code::OK), || format!("it ended {end:?}"))
}

/// A fridge that says it all at once and listens afterwards.
async fn all_at_once(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    let close = visit.journal.door_closed();
    visit.talk.say(&close).await;
    visit.talk.finish();
    let receipt = visit.talk.receipt().await?;
    ensure(receipt.outcome == "charged", || format!("it ended {}", receipt.outcome))?;
    visit.charged(1).await.map(|_| ())
}

/// Reports of tampering that are none.
async fn malformed_reports(house: Arc<House>) -> Result<(), Fault> {
    let line = house.fridge(&house.place()?.fridge).await?;
    let good = TamperReport { report_id: new_session(), kind: 1, ..TamperReport::default() };
    for (report, field) in [
        (TamperReport { report_id: String::new(), ..good.clone() }, "report_id"),
        (TamperReport { report_id: "x".repeat(36), ..good.clone() }, "report_id"),
        (TamperReport { kind: 0, ..good.clone() }, "kind"),
        (TamperReport { kind: 9, ..good.clone() }, "kind"),
        (TamperReport { barcode: "x".repeat(91), ..good.clone() }, "barcode"),
    ] {
        let end = line.report_tamper(&report).await.expect_err("malformed");
        ensure(end.says(code::INVALID_ARGUMENT, field), || format!("{field}: {end:?}"))?;
    }
    line.report_tamper(&TamperReport { barcode: "4111111111111111".to_owned(), ..good }).await.map_err(Into::into)
}

#[test]
fn whatever_a_fridge_says_it_is_charged_once_and_for_what_was_taken() {
    in_a_house(async |house| {
        let mut cases = Cases::new(&house);
        let good = Journal::new(&new_session()).message(4, Some(Body::DoorClosed(DoorClosed {})));
        for (name, spoil, words) in BAD_MESSAGES {
            let first = spoil(good.clone());
            cases.add(format!("{name}, first of all"), move |house| malformed_first(house, first, words));
            let spoilt = spoil(good.clone());
            cases.add(format!("{name}, with the door open"), move |house| malformed(house, spoilt, words));
        }
        cases.add("a frame that says it is compressed", |house| lying_frame(house, true));
        cases.add("a frame that says it is longer", |house| lying_frame(house, false));
        cases.add("a gap", gap);
        cases.add("a close before its touches", close_before_its_touches);
        cases.add("the greatest number", the_greatest_number);
        cases.add("everything twice", everything_twice);
        cases.add("a known number with other content", same_number_other_content);
        cases.add("a touch after the close", touch_after_close);
        cases.add("a close twice", close_twice);
        cases.add("a session nobody knows", unknown_session);
        cases.add("another session in the stream", another_session_in_the_stream);
        cases.add("an Open under another number", open_under_another_number);
        cases.add("a session id in capitals", session_id_in_capitals);
        cases.add("a touch before the door is open", touch_before_the_door);
        cases.add("a stray put-back", stray_put_back);
        cases.add("only stray put-backs", only_stray_put_backs);
        cases.add("unknown barcodes", unknown_barcodes);
        cases.add("more than a basket holds", more_than_a_basket_holds);
        cases.add("an empty stream", an_empty_stream);
        cases.add("all at once", all_at_once);
        cases.add("reports of tampering that are none", malformed_reports);
        let now = now_us();
        for (name, clock_us) in [
            ("right", now),
            ("a day behind", now - DAY_US),
            ("a day ahead", now + DAY_US),
            ("at the epoch", 0),
            ("before all time", i64::MIN),
            ("after all time", i64::MAX),
        ] {
            cases.add(format!("a clock that is {name}"), move |house| wrong_clock(house, clock_us));
        }
        cases.judge().await?;

        // Alone, because the processor is slow meanwhile.
        house.processor_takes(500).await?;
        let mut cases = Cases::new(&house);
        cases.add("an open door before the door was unlocked", hasty);
        cases.judge().await?;
        house.processor_takes(0).await?;

        house.buys().await?;
        house.nothing_is_held().await?;
        house.blames_itself_for_nothing()
    });
}
