//! What a customer shows, and everything that can be wrong with it: cards sealed for others, altered, cut or replayed, card
//! data that is none, ID tokens nobody issued. Each is refused with its reason, is booked as refused, and the processor
//! never hears of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;

use fridge_agent::proto::fridge_message::Body;
use fridge_agent::proto::{EnrollCardRequest, EnrollCardResponse, Open, SealedCard};
use larder_end_to_end::{
    BARE, BUYER, Cases, House, Journal, Line, PRICE_MINOR, Place, STRANGER, STRANGER_TOO, code, ensure, in_a_house,
    new_session,
};
use pci_contract::{FridgeId, SealingContext, SealingKey, SealingKeyId, SessionId};
use single_node::Fault;
use zeroize::Zeroizing;

const INVALID: &str = "invalid_card";

/// A fridge, a session about to begin, and a card sealed for both.
struct Counter {
    house: Arc<House>,
    place: Place,
    line: Line,
    session: String,
    card: SealedCard,
}

impl Counter {
    async fn new(house: Arc<House>) -> Result<Self, Fault> {
        let (place, session) = (house.place()?, new_session());
        let line = house.fridge(&place.fridge).await?;
        let card = house.card(&line, &place.fridge, &session, STRANGER).await?;
        Ok(Self { house, place, line, session, card })
    }

    /// Opens with `card`: refused for `reason`, however often it is asked, and the processor is not.
    async fn refuses(&self, card: SealedCard, reason: &str) -> Result<(), Fault> {
        let mut journal = Journal::new(&self.session);
        journal.open_card(card);
        self.refuses_open(&journal, reason).await
    }

    async fn refuses_open(&self, journal: &Journal, reason: &str) -> Result<(), Fault> {
        for time in ["first", "second"] {
            let mut talk = self.line.purchase().await?;
            talk.say_all(journal.messages()).await;
            let told = talk.refused().await?;
            ensure(told == reason, || format!("refused for {told}, not for {reason}, the {time} time"))?;
            let end = talk.end().await;
            ensure(end.code() == Some(code::OK), || format!("after the refusal the stream ended {end:?}"))?;
        }
        self.house.refused(journal.session(), reason).await
    }

    fn key(&self, id: &str, public: &[u8]) -> Result<SealingKey, Fault> {
        let id = SealingKeyId::parse(id).map_err(Fault::of("a key id"))?;
        Ok(SealingKey { id, public: public.try_into().map_err(Fault::of("a point"))? })
    }

    fn seal_to(&self, key: &SealingKey) -> Result<SealedCard, Fault> {
        let context = SealingContext {
            fridge: FridgeId::parse(&self.place.fridge).map_err(Fault::of("a fridge"))?,
            session: SessionId::parse(&self.session).map_err(Fault::of("a session"))?,
        };
        let track2 = format!("{}={}", STRANGER.0, STRANGER.1).into_bytes();
        let sealed = fridge_agent::seal(Zeroizing::new(track2), &context, key).map_err(Fault::of("sealing"))?;
        Ok((&sealed).into())
    }
}

async fn for_another_session(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let card = at.house.card(&at.line, &at.place.fridge, &new_session(), STRANGER).await?;
    at.refuses(card, INVALID).await
}

async fn for_another_fridge(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let card = at.house.card(&at.line, &at.house.place()?.fridge, &at.session, STRANGER).await?;
    at.refuses(card, INVALID).await
}

/// What an eavesdropper would do with a card that has bought already.
async fn replayed(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let mut journal = Journal::new(&at.session);
    journal.open_card(at.card.clone());
    let mut talk = at.line.purchase().await?;
    talk.say_all(journal.messages()).await;
    talk.unlock().await?;
    for message in [journal.door_opened(), journal.taken(&at.place.meals[0]), journal.door_closed()] {
        talk.say(&message).await;
    }
    talk.receipt().await?;
    at.house.charged(&at.session, PRICE_MINOR).await?;
    let thief = Counter { session: new_session(), ..at };
    thief.refuses(thief.card.clone(), INVALID).await?;
    let elsewhere = Counter::new(Arc::clone(&thief.house)).await?;
    elsewhere.refuses(thief.card.clone(), INVALID).await
}

async fn unknown_key(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    at.refuses(SealedCard { key_id: "seal-999".to_owned(), ..at.card.clone() }, "sealing_key_unknown").await?;
    // The fridge asks for the key again and begins anew.
    let again = Counter { session: new_session(), ..at };
    let mut journal = Journal::new(&again.session);
    let fresh = again.house.card(&again.line, &again.place.fridge, &again.session, STRANGER).await?;
    journal.open_card(fresh);
    let mut talk = again.line.purchase().await?;
    talk.say_all(journal.messages()).await;
    talk.unlock().await?;
    talk.say(&journal.door_stayed_shut()).await;
    talk.receipt().await?;
    again.house.ended(&again.session, "no_purchase", &[("canceled", 0)]).await.map(|_| ())
}

/// Sealed well, to a key that is not the vault's but bears its name.
async fn another_key(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    // An encapsulated key is a point whose private half nobody has.
    let key = at.key(&at.card.key_id, &at.card.encapsulated_key)?;
    at.refuses(at.seal_to(&key)?, INVALID).await
}

/// Every part of a sealed card, altered or cut in every way that is different to whoever reads it.
fn altered(card: &SealedCard, other: &SealedCard) -> Vec<(String, SealedCard)> {
    let mut altered = Vec::new();
    let mut with_key = |name: String, key: Vec<u8>| {
        altered.push((format!("encapsulated key: {name}"), SealedCard { encapsulated_key: key, ..card.clone() }));
    };
    let key = &card.encapsulated_key;
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    for at in [0, 1, 32, 33, 64] {
        with_key(format!("bit flipped in byte {at}"), flipped(key, at));
    }
    with_key("another point".to_owned(), other.encapsulated_key.clone());
    with_key("no point at all".to_owned(), [&[4][..], &[0xff; 64]].concat());
    with_key("compressed".to_owned(), [&[2][..], &key[1..33]].concat());
    with_key("cut".to_owned(), key[..64].to_vec());
    with_key("a byte too long".to_owned(), [&key[..], &[0]].concat());
    with_key("empty".to_owned(), Vec::new());
    let mut with_text = |name: String, text: Vec<u8>| {
        altered.push((format!("cipher text: {name}"), SealedCard { cipher_text: text, ..card.clone() }));
    };
    let text = &card.cipher_text;
    for at in [0, text.len() - 17, text.len() - 16, text.len() - 1] {
        with_text(format!("bit flipped in byte {at}"), flipped(text, at));
    }
    with_text("another's".to_owned(), other.cipher_text.clone());
    with_text("cut by one".to_owned(), text[..text.len() - 1].to_vec());
    with_text("without its tag".to_owned(), text[..text.len() - 16].to_vec());
    with_text("the tag alone".to_owned(), text[text.len() - 16..].to_vec());
    with_text("too short for a tag".to_owned(), text[..15].to_vec());
    with_text("empty".to_owned(), Vec::new());
    with_text("a byte too many".to_owned(), [&text[..], &[0]].concat());
    with_text("as long as it may be".to_owned(), vec![7; 128]);
    with_text("longer than it may be".to_owned(), vec![7; 129]);
    for (name, key_id) in
        [("empty", String::new()), ("upper case", card.key_id.to_uppercase()), ("long", "k".repeat(41))]
    {
        altered.push((format!("key id: {name}"), SealedCard { key_id, ..card.clone() }));
    }
    altered.push(("nothing in it".to_owned(), SealedCard::default()));
    altered
}

/// Each in a session of its own, for which the unaltered card would have been good.
async fn every_alteration(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let names: Vec<String> = altered(&at.card, &at.card).into_iter().map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let session = new_session();
        let card = at.house.card(&at.line, &at.place.fridge, &session, STRANGER).await?;
        let other = at.house.card(&at.line, &at.place.fridge, &session, STRANGER_TOO).await?;
        let (_, bad) = altered(&card, &other).swap_remove(number);
        let mut journal = Journal::new(&session);
        journal.open_card(bad);
        if let Err(fault) = at.refuses_open(&journal, INVALID).await {
            wrong.push(format!("{name}: {fault}"));
        }
    }
    ensure(wrong.is_empty(), || wrong.join("\n  "))
}

async fn card_data(house: Arc<House>, text: Vec<u8>, reason: &'static str) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let card = at.house.seal(&at.line, &at.place.fridge, &at.session, &text).await?;
    at.refuses(card, reason).await
}

async fn id_token(house: Arc<House>, token: String, reason: &'static str) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let mut journal = Journal::new(&at.session);
    journal.open_id_token(&token);
    at.refuses_open(&journal, reason).await
}

/// An Open that is none is told so, and begins nothing: the session is still to be had.
async fn malformed_open(house: Arc<House>, body: Option<Body>, words: &'static str) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let mut journal = Journal::new(&at.session);
    let mut talk = at.line.purchase().await?;
    talk.say(&journal.message(1, body)).await;
    let end = talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, words), || format!("it ended {end:?}, not with {words:?}"))?;
    journal.open_card(at.card.clone());
    let mut talk = at.line.purchase().await?;
    talk.say_all(journal.messages()).await;
    talk.unlock().await?;
    for message in [journal.door_opened(), journal.taken(&at.place.meals[0]), journal.door_closed()] {
        talk.say(&message).await;
    }
    talk.receipt().await?;
    at.house.charged(&at.session, PRICE_MINOR).await.map(|_| ())
}

async fn enrol(at: &Counter, card: Option<SealedCard>, id_token: &str) -> Result<EnrollCardResponse, Fault> {
    let request = EnrollCardRequest { enrollment_id: at.session.clone(), card, id_token: id_token.to_owned() };
    Ok(at.line.enroll(&request).await?)
}

async fn enrolment(house: Arc<House>) -> Result<(), Fault> {
    let at = Counter::new(house).await?;
    let result = async |card: Option<SealedCard>, id_token: &str, wanted: &str| {
        let told = enrol(&at, card, id_token).await?.result;
        ensure(told == wanted, || format!("it came to {told}, not to {wanted}"))
    };
    let good = Some(at.card.clone());
    let elsewhere = at.house.card(&at.line, &at.place.fridge, &new_session(), STRANGER).await?;
    let expired = at.house.card(&at.line, &at.place.fridge, &at.session, (STRANGER.0, "2001")).await?;
    let strange_key = SealedCard { key_id: "seal-999".to_owned(), ..at.card.clone() };
    result(None, BARE.id_token, INVALID).await?;
    result(Some(elsewhere), BARE.id_token, INVALID).await?;
    result(Some(expired), BARE.id_token, "expired_card").await?;
    result(Some(strange_key), BARE.id_token, "sealing_key_unknown").await?;
    result(good.clone(), "idt-nobody", "unknown_id_token").await?;
    for (enrollment_id, id_token, field) in [
        ("not-a-uuid".to_owned(), BARE.id_token.to_owned(), "enrollment_id"),
        (String::new(), BARE.id_token.to_owned(), "enrollment_id"),
        (at.session.clone(), String::new(), "id_token"),
        (at.session.clone(), "x".repeat(129), "id_token"),
    ] {
        let request = EnrollCardRequest { enrollment_id, card: good.clone(), id_token };
        let end = at.line.enroll(&request).await.expect_err("malformed");
        ensure(end.says(code::INVALID_ARGUMENT, field), || format!("{field}: {end:?}"))?;
    }
    // None of these has put anything into a wallet.
    let mut journal = Journal::new(&new_session());
    journal.open_id_token(BARE.id_token);
    at.refuses_open(&journal, "no_wallet_card").await
}

#[test]
fn whatever_is_wrong_with_a_card_or_an_id_token_is_refused_and_costs_nothing() {
    in_a_house(async |house| {
        let mut cases = Cases::new(&house);
        cases.add("a card sealed for another session", for_another_session);
        cases.add("a card sealed for another fridge", for_another_fridge);
        cases.add("a card that has bought, replayed", replayed);
        cases.add("a card sealed to a key that is unknown", unknown_key);
        cases.add("a card sealed to another key of the same name", another_key);
        cases.add("a sealed card altered", every_alteration);
        let card = |name: &str| format!("card data: {name}");
        for (name, text, reason) in [
            ("12 digits", "424242424242=3012".into(), INVALID),
            ("20 digits", "42424242424242424242=3012".into(), INVALID),
            ("a wrong check digit", "4111111111111112=3012".into(), INVALID),
            ("expired years ago", format!("{}=2001", STRANGER.0), "expired_card"),
            ("a month 13", format!("{}=3013", STRANGER.0), INVALID),
            ("a month 0", format!("{}=3000", STRANGER.0), INVALID),
            ("no expiry", STRANGER.0.to_owned(), INVALID),
            ("half an expiry", format!("{}=30", STRANGER.0), INVALID),
            ("letters for digits", "4111x11111111111=3012".into(), INVALID),
            ("letters for an expiry", format!("{}=3O12", STRANGER.0), INVALID),
            ("another separator", format!("{}D3012", STRANGER.0), INVALID),
            ("track 1", format!("%B{}^A/B^3012?", STRANGER.0), INVALID),
            ("one sentinel", format!(";{}=3012", STRANGER.0), INVALID),
            ("nothing", String::new(), INVALID),
            ("as long as it fits", "9".repeat(112), INVALID),
        ] {
            cases.add(card(name), |house| card_data(house, text.into_bytes(), reason));
        }
        cases.add(card("no text"), |house| card_data(house, vec![0, 0xff, 0xc3, 0x28], INVALID));
        for (name, token, reason) in [
            ("unknown", "idt-nobody-000000000000".to_owned(), "unknown_id_token"),
            ("one byte too few", BUYER.id_token[..BUYER.id_token.len() - 1].to_owned(), "unknown_id_token"),
            ("another case", BUYER.id_token.to_uppercase(), "unknown_id_token"),
            ("one byte", "x".to_owned(), "unknown_id_token"),
            ("128 bytes", "x".repeat(128), "unknown_id_token"),
            ("with a space after it", format!("{} ", BUYER.id_token), "unknown_id_token"),
            ("a customer without a card", BARE.id_token.to_owned(), "no_wallet_card"),
        ] {
            cases.add(format!("ID token: {name}"), |house| id_token(house, token, reason));
        }
        let shown = |shown_by| Some(Body::Open(Open { shown_by }));
        let token = |token: String| shown(Some(fridge_agent::proto::open::ShownBy::IdToken(token)));
        for (name, body, words) in [
            ("an empty ID token", token(String::new()), "id_token: has 1 to 128 bytes"),
            ("an ID token of 129 bytes", token("x".repeat(129)), "id_token: has 1 to 128 bytes"),
            ("an ID token of 129 bytes in 65 letters", token("é".repeat(65)), "id_token: has 1 to 128 bytes"),
            ("an Open that shows nothing", shown(None), "open.shown_by: must be a card or an ID token"),
        ] {
            cases.add(name, |house| malformed_open(house, body, words));
        }
        cases.add("enrolments", enrolment);
        cases.judge().await?;

        house.buys().await?;
        house.nothing_is_held().await?;
        house.blames_itself_for_nothing()
    });
}
