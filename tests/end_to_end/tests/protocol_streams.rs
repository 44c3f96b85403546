//! Streams that are cut, doubled, taken over or left: whatever becomes of the connection, a session ends in one way, its
//! meals are charged once and no hold is left over. The named cases of the field that can be seen from the wire are here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;

use fridge_agent::proto::FridgeMessage;
use fridge_agent::proto::service_message::Body as Answer;
use larder_end_to_end::{Cases, End, House, Journal, PRICE_MINOR, Place, Talk, Visit, code, ensure, in_a_house};
use single_node::Fault;
use tokio::task::JoinSet;

const SUPERSEDED: &str = "another connection speaks for this session";
/// The messages of the story that is cut.
const STORY: usize = 6;

/// How a stream comes to its end.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The stream is reset; the connection stays.
    Stream,
    /// The connection is gone.
    Connection,
    /// The last message was half sent.
    InTheMiddle,
}

/// Whether the fridge still hears what it is answered.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Nothing,
    Everything,
}

/// Open, door open, a meal taken, another's taken and put back, door shut.
fn story(journal: &mut Journal, place: &Place) -> Vec<FridgeMessage> {
    journal.door_opened();
    journal.taken(&place.meals[0]);
    journal.taken(&place.others);
    journal.returned(&place.others);
    journal.door_closed();
    assert_eq!(journal.messages().len(), STORY);
    journal.messages().to_vec()
}

/// Says these messages as a fridge does: nothing after Open before the door was unlocked.
async fn say(talk: &mut Talk, story: &[FridgeMessage], from: usize, to: usize) -> Result<(), Fault> {
    for message in story.iter().take(to).skip(from) {
        if message.sequence == 2 && from < 1 {
            talk.unlock().await?;
        }
        talk.say(message).await;
    }
    Ok(())
}

/// The end that every telling of the story has.
async fn told_rightly(house: &House, journal: &Journal, place: &Place, talk: &mut Talk) -> Result<(), Fault> {
    let receipt = talk.receipt().await?;
    let lines: Vec<&str> = receipt.lines.iter().map(|line| line.barcode.as_str()).collect();
    ensure(lines == [place.meals[0].as_str()], || format!("the receipt has {lines:?}"))?;
    let booked = house.charged(journal.session(), PRICE_MINOR).await?;
    let list = |key: &str| booked[key].as_array().cloned().unwrap_or_default();
    let (alarms, thefts, meals) = (list("alarms"), list("thefts"), list("meals"));
    let same = alarms == [place.others.as_str()] && thefts.is_empty() && meals == [place.meals[0].as_str()];
    ensure(same, || format!("it is booked as {booked}"))
}

/// The story is cut after `count` messages; the fridge comes back, says all it had said and tells it to its end.
async fn cut_after(house: Arc<House>, count: usize, heard: Heard, cut: Cut) -> Result<(), Fault> {
    let place = house.place()?;
    let line = house.fridge(&place.fridge).await?;
    let mut journal = house.arrival(&line, &place.fridge).await?;
    let story = story(&mut journal, &place);
    let mut talk = line.purchase().await?;
    match cut {
        Cut::InTheMiddle => {
            say(&mut talk, &story, 0, count.saturating_sub(1)).await?;
            if count == 2 {
                talk.unlock().await?;
            }
            talk.say_half(&story[count - 1]).await;
        }
        Cut::Stream | Cut::Connection => say(&mut talk, &story, 0, count).await?,
    }
    if matches!((heard, cut), (Heard::Everything, Cut::Stream | Cut::Connection)) {
        talk.acknowledged(u64::try_from(count).unwrap()).await?;
    }
    drop(talk);
    let line = match cut {
        Cut::Connection => {
            line.cut();
            house.fridge(&place.fridge).await?
        }
        Cut::Stream | Cut::InTheMiddle => line,
    };
    let mut talk = line.purchase().await?;
    talk.say_all(&story[..count.max(1)]).await;
    if count < 2 {
        talk.unlock().await?;
    }
    say(&mut talk, &story, count.max(1), STORY).await?;
    told_rightly(&house, &journal, &place, &mut talk).await
}

/// Every message on a connection of its own, which is cut as soon as it is acknowledged.
async fn cut_after_every_message(house: Arc<House>) -> Result<(), Fault> {
    let place = house.place()?;
    let line = house.fridge(&place.fridge).await?;
    let mut journal = house.arrival(&line, &place.fridge).await?;
    let story = story(&mut journal, &place);
    for count in 1..STORY {
        let line = house.fridge(&place.fridge).await?;
        let mut talk = line.purchase().await?;
        talk.say_all(&story[..count]).await;
        talk.acknowledged(u64::try_from(count).unwrap()).await?;
        line.cut();
    }
    let mut talk = line.purchase().await?;
    talk.say_all(&story).await;
    told_rightly(&house, &journal, &place, &mut talk).await
}

/// Two connections speak for one session: the younger one is heard, the older one is told so.
async fn taken_over(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::unlocked(Arc::clone(&house)).await?;
    let second = house.fridge(&visit.place.fridge).await?;
    let mut younger = second.purchase().await?;
    younger.say_all(visit.journal.messages()).await;
    younger.unlock().await?;
    let end = visit.talk.end().await;
    ensure(end.says(code::ABORTED, SUPERSEDED), || format!("the older stream ended {end:?}"))?;
    for message in [visit.journal.door_opened(), visit.journal.taken(&visit.meal(0))] {
        younger.say(&message).await;
    }
    younger.acknowledged(3).await?;
    // And back again.
    visit.come_back().await?;
    visit.take(1).await;
    visit.talk.acknowledged(4).await?;
    let end = younger.end().await;
    ensure(end.says(code::ABORTED, SUPERSEDED), || format!("the younger stream ended {end:?}"))?;
    let receipt = visit.close().await?;
    ensure(receipt.lines.len() == 2, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(2).await.map(|_| ())
}

/// Many connections open the same session in the same moment: one hold, and whoever is left is let in.
async fn opened_many_times(house: Arc<House>) -> Result<(), Fault> {
    let place = house.place()?;
    let line = house.fridge(&place.fridge).await?;
    let journal = house.arrival(&line, &place.fridge).await?;
    let mut streams = JoinSet::new();
    for _ in 0..6 {
        let (line, messages) = (house.fridge(&place.fridge).await?, journal.messages().to_vec());
        streams.spawn_local(async move {
            let mut talk = line.purchase().await?;
            talk.say_all(&messages).await;
            let answer = talk.answer().await;
            talk.finish();
            Ok::<_, End>((answer, line))
        });
    }
    let (mut unlocked, mut aborted) = (0, 0);
    let mut lines = Vec::new();
    while let Some(stream) = streams.join_next().await {
        let (answer, line) = stream.unwrap()?;
        lines.push(line);
        match answer {
            Ok(Answer::Unlock(_)) => unlocked += 1,
            Err(end) if end.says(code::ABORTED, SUPERSEDED) => aborted += 1,
            other => return Err(Fault::new(format!("a stream was answered {other:?}"))),
        }
    }
    ensure(unlocked >= 1, || format!("{aborted} of 6 were superseded and nobody was let in"))?;
    let mut visit = Visit { talk: line.purchase().await?, house, place, line, journal };
    visit.talk.say_all(visit.journal.messages()).await;
    visit.talk.unlock().await?;
    let opened = visit.journal.door_opened();
    visit.talk.say(&opened).await;
    visit.take(0).await;
    visit.close().await?;
    visit.charged(1).await.map(|_| ())
}

/// The close is said on two streams in the same moment.
async fn closed_on_two_streams(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(Arc::clone(&house)).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let second = house.fridge(&visit.place.fridge).await?;
    let mut other = second.purchase().await?;
    let close = visit.journal.door_closed();
    visit.talk.say(&close).await;
    other.say_all(visit.journal.messages()).await;
    let receipt = other.receipt().await?;
    ensure(receipt.lines.len() == 1, || format!("the receipt has {:?}", receipt.lines))?;
    visit.charged(1).await.map(|_| ())
}

/// Two agents with one certificate: the second customer is told that the fridge is busy, the first notices nothing.
async fn two_agents(house: Arc<House>) -> Result<(), Fault> {
    let mut first = Visit::open(Arc::clone(&house)).await?;
    first.take(0).await;
    for _ in 0..2 {
        let mut second = Visit::asked_at(Arc::clone(&house), first.place.clone()).await?;
        let reason = second.talk.refused().await?;
        ensure(reason == "fridge_busy", || format!("the second was refused for {reason}"))?;
        house.refused(second.session(), "fridge_busy").await?;
    }
    first.take(1).await;
    first.close().await?;
    first.charged(2).await.map(|_| ())
}

/// Many customers in the same moment at one fridge: one is let in.
async fn many_at_once(house: Arc<House>) -> Result<(), Fault> {
    let place = house.place()?;
    let mut customers = JoinSet::new();
    for _ in 0..6 {
        let (house, place) = (Arc::clone(&house), place.clone());
        customers.spawn_local(async move {
            let mut visit = Visit::asked_at(house, place).await?;
            let answer = visit.talk.answer().await?;
            Ok::<_, Fault>((visit, answer))
        });
    }
    let (mut let_in, mut refused) = (Vec::new(), Vec::new());
    while let Some(customer) = customers.join_next().await {
        match customer.unwrap()? {
            (visit, Answer::Unlock(_)) => let_in.push(visit),
            (visit, Answer::Refused(why)) if why.reason == "fridge_busy" => refused.push(visit),
            (_, other) => return Err(Fault::new(format!("a customer was answered {other:?}"))),
        }
    }
    ensure((let_in.len(), refused.len()) == (1, 5), || format!("{} were let in", let_in.len()))?;
    for visit in refused {
        house.refused(visit.session(), "fridge_busy").await?;
    }
    let mut visit = let_in.remove(0);
    let opened = visit.journal.door_opened();
    visit.talk.say(&opened).await;
    visit.take(0).await;
    visit.close().await?;
    visit.charged(1).await.map(|_| ())
}

/// The next customer of a fridge that lost its journal buys; what of it is left to check is the old session.
async fn next_customer(house: &Arc<House>, place: &Place) -> Result<(), Fault> {
    let mut next = Visit::asked_at(Arc::clone(house), place.clone()).await?;
    next.talk.unlock().await?;
    let opened = next.journal.door_opened();
    next.talk.say(&opened).await;
    next.take(7).await;
    next.close().await?;
    next.charged(1).await.map(|_| ())
}

/// The journal is lost with the door open: what is known to be out is charged, nobody is accused, the next one is let in.
async fn journal_lost(house: Arc<House>) -> Result<(), Fault> {
    let mut old = Visit::open(Arc::clone(&house)).await?;
    old.take(0).await;
    let others = old.journal.taken(&old.place.others.clone());
    old.talk.say(&others).await;
    old.talk.acknowledged(4).await?;
    old.hang().await;
    next_customer(&house, &old.place).await?;
    let booked = house.ended(old.session(), "abandoned", &[("succeeded", 2 * PRICE_MINOR)]).await?;
    ensure(booked["thefts"].as_array().is_some_and(Vec::is_empty), || format!("it is booked as {booked}"))?;
    // The fridge finds its journal after all: it is told what became of it, and nothing changes.
    old.come_back().await?;
    let receipt = old.talk.receipt().await?;
    ensure(receipt.outcome == "abandoned", || format!("it ended {}", receipt.outcome))?;
    house.ended(old.session(), "abandoned", &[("succeeded", 2 * PRICE_MINOR)]).await.map(|_| ())
}

/// The same before anybody opened the door: nothing is charged.
async fn journal_lost_before_the_door(house: Arc<House>) -> Result<(), Fault> {
    let mut old = Visit::unlocked(Arc::clone(&house)).await?;
    old.hang().await;
    next_customer(&house, &old.place).await?;
    house.ended(old.session(), "abandoned", &[("canceled", 0)]).await.map(|_| ())
}

/// The same while the processor is still being asked: its late hold is let go.
async fn journal_lost_while_asking(house: Arc<House>) -> Result<(), Fault> {
    let mut old = Visit::asked(Arc::clone(&house)).await?;
    // A word that cannot come yet ends the stream, and shows that the service has begun to ask.
    let hasty = old.journal.clone().door_opened();
    old.talk.say(&hasty).await;
    let end = old.talk.end().await;
    ensure(end.says(code::INVALID_ARGUMENT, "cannot come now"), || format!("the stream ended {end:?}"))?;
    next_customer(&house, &old.place).await?;
    house.ended(old.session(), "abandoned", &[("canceled", 0)]).await.map(|_| ())
}

/// A fridge is locked while an old session hangs: the refusal does not make the service forget the old one.
async fn locked_while_one_hangs(house: Arc<House>) -> Result<(), Fault> {
    let mut old = Visit::open(Arc::clone(&house)).await?;
    old.take(0).await;
    old.talk.acknowledged(3).await?;
    old.hang().await;
    house.lock(&old.place.fridge, true).await?;
    let mut next = Visit::asked_at(Arc::clone(&house), old.place.clone()).await?;
    let reason = next.talk.refused().await?;
    ensure(reason == "fridge_locked", || format!("the next one was refused for {reason}"))?;
    house.refused(next.session(), "fridge_locked").await?;
    ensure(!house.is_booked(old.session()).await?, || "the old session was ended by a refusal".to_owned())?;
    house.lock(&old.place.fridge, false).await?;
    next_customer(&house, &old.place).await?;
    house.ended(old.session(), "abandoned", &[("succeeded", PRICE_MINOR)]).await.map(|_| ())
}

/// The fridge restarts between the authorization and the unlocking: it says that the door stayed shut.
async fn restarted_before_unlocking(house: Arc<House>, hears_first: bool) -> Result<(), Fault> {
    let mut visit = Visit::asked(house).await?;
    if hears_first {
        visit.talk.unlock().await?;
    }
    visit.line.cut();
    visit.line = visit.house.fridge(&visit.place.fridge).await?;
    visit.journal.door_stayed_shut();
    visit.talk = visit.line.purchase().await?;
    visit.talk.say_all(visit.journal.messages()).await;
    let receipt = visit.talk.receipt().await?;
    ensure(receipt.outcome == "no_purchase", || format!("it ended {}", receipt.outcome))?;
    visit.house.ended(visit.session(), "no_purchase", &[("canceled", 0)]).await.map(|_| ())
}

/// The customer leaves before the processor has answered: the hold that comes is let go.
async fn left_while_asking(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::asked(house).await?;
    let shut = visit.journal.door_stayed_shut();
    visit.talk.say(&shut).await;
    let receipt = visit.talk.receipt().await?;
    ensure(receipt.outcome == "no_purchase", || format!("it ended {}", receipt.outcome))?;
    visit.house.ended(visit.session(), "no_purchase", &[("canceled", 0)]).await.map(|_| ())
}

/// What another fridge says of a session that is not its own: every message of it, alone and all together.
async fn meddles(house: &House, meddler: &Place, messages: &[FridgeMessage]) -> Result<(), Fault> {
    let line = house.fridge(&meddler.fridge).await?;
    let alone = messages.iter().map(std::slice::from_ref);
    for said in alone.chain([messages]) {
        let mut talk = line.purchase().await?;
        talk.say_all(said).await;
        let first = talk.next().await;
        let denied = matches!(&first, Err(end) if end.says(code::PERMISSION_DENIED, "belongs to another fridge"));
        ensure(denied, || format!("a stranger's message was answered {first:?}"))?;
    }
    Ok(())
}

/// A session is its own fridge's: running, hanging or over, no other fridge can move it or read what became of it.
async fn another_fridges_session(house: Arc<House>) -> Result<(), Fault> {
    let meddler = house.place()?;
    let mut visit = Visit::open(Arc::clone(&house)).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    let mut whole = visit.journal.clone();
    whole.taken(&visit.meal(1));
    whole.door_closed();
    meddles(&house, &meddler, whole.messages()).await?;
    visit.take(2).await;
    visit.talk.acknowledged(4).await?;
    visit.hang().await;
    meddles(&house, &meddler, whole.messages()).await?;
    visit.come_back().await?;
    let receipt = visit.close().await?;
    let lines: Vec<&str> = receipt.lines.iter().map(|line| line.barcode.as_str()).collect();
    ensure(lines == [visit.meal(0), visit.meal(2)], || format!("the receipt has {lines:?}"))?;
    visit.charged(2).await?;
    meddles(&house, &meddler, whole.messages()).await?;
    visit.charged(2).await.map(|_| ())
}

/// A fridge that comes back with the door open hears that its journal is safe, even if nothing else is to be said.
async fn come_back_and_wait(house: Arc<House>) -> Result<(), Fault> {
    let mut visit = Visit::open(house).await?;
    visit.take(0).await;
    visit.talk.acknowledged(3).await?;
    visit.hang().await;
    visit.come_back().await?;
    let first = visit.talk.next().await?;
    ensure(first.body.is_none() && first.acknowledged == 3, || format!("it is answered {first:?}"))?;
    visit.close().await?;
    visit.charged(1).await.map(|_| ())
}

#[test]
fn however_a_stream_ends_the_session_ends_once() {
    in_a_house(async |house| {
        let mut cases = Cases::new(&house);
        for count in 0..=STORY {
            for heard in [Heard::Nothing, Heard::Everything] {
                for cut in [Cut::Stream, Cut::Connection] {
                    let name = format!("cut after {count} of {STORY}: {cut:?}, heard {heard:?}");
                    cases.add(name, move |house| cut_after(house, count, heard, cut));
                }
            }
        }
        for count in 1..=STORY {
            let name = format!("cut in the middle of message {count}");
            cases.add(name, move |house| cut_after(house, count, Heard::Nothing, Cut::InTheMiddle));
        }
        cases.add("cut after every message", cut_after_every_message);
        cases.add("one session on two connections", taken_over);
        cases.add("one session opened many times", opened_many_times);
        cases.add("one session closed on two streams", closed_on_two_streams);
        cases.add("two sessions of one certificate", two_agents);
        cases.add("many customers in one moment", many_at_once);
        cases.add("the journal lost, door open", journal_lost);
        cases.add("the journal lost, door unlocked", journal_lost_before_the_door);
        cases.add("locked while a session hangs", locked_while_one_hangs);
        cases.add("restarted before it unlocked", |house| restarted_before_unlocking(house, true));
        cases.add("another fridge's session", another_fridges_session);
        cases.add("come back with nothing new", come_back_and_wait);
        cases.judge().await?;

        house.processor_takes(500).await?;
        let mut cases = Cases::new(&house);
        cases.add("restarted before it heard the Unlock", |house| restarted_before_unlocking(house, false));
        cases.add("left while asking", left_while_asking);
        cases.add("the journal lost while asking", journal_lost_while_asking);
        cases.judge().await?;
        house.processor_takes(0).await?;

        house.buys().await?;
        house.nothing_is_held().await?;
        house.blames_itself_for_nothing()
    });
}
