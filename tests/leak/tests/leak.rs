//! The whole house trades with cards whose numbers are known, and none of them is anywhere afterwards.
//!
//! First a copy of every card in every form is planted in every place of this very house, and found; then the story is
//! played; then everything is searched while the house is up, and again after it ended and wrote its last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod cast;
mod plant;

use std::path::Path;
use std::time::Duration;

use cast::Cast;
use larder_leak::driver::caller::{Answer, Caller};
use larder_leak::driver::collector::{Collector, Serving};
use larder_leak::driver::fridge::Fridge;
use larder_leak::driver::house::{House, is_outside};
use larder_leak::driver::wallets::Reader;
use larder_leak::driver::{careless, world};
use larder_leak::hunt::{Finds, Hunt};
use larder_leak::places::{Process, cells, files, memory};
use larder_leak::planted;
use plant::{Database, Holder};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The services whose metrics are read, with the purchase-session service.
const SERVICES: [&str; 5] = ["admin", "customers", "inventory", "purchase-session", "status"];
/// What an operator can read.
const READABLE: [(&str, &str); 14] = [
    ("admin", "/fridges"),
    ("admin", "/sales"),
    ("admin", "/policy"),
    ("admin", "/audit"),
    ("customers", "/customers"),
    ("customers", "/cards"),
    ("customers", "/thefts"),
    ("customers", "/audit"),
    ("inventory", "/meals"),
    ("inventory", "/stock"),
    ("inventory", "/reviews"),
    ("status", "/sessions"),
    ("status", "/fridges"),
    ("status", "/tampers"),
];
/// How long payments and events may take to arrive everywhere.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// What a process may take to forget: the requirement, not a wait for something.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2);
/// What stands in a log only when everything is logged.
const TALKATIVE: &str = r#""level":"TRACE""#;
/// What stands in the log of every service.
const LISTENING: &str = r#""message":"ready""#;
/// How often the cards that are charged are.
const ROUNDS: usize = 6;
/// In how many of these sessions the disk is searched while the door is open.
const WATCHED: usize = 4;

/// Everything that is up while the story is played.
struct Scene {
    cast: Cast,
    hunt: Hunt,
    house: House,
    fridge: Fridge,
    spans: Serving,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_card_is_left_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let cast = Cast::new(ROUNDS);
    let mut scene = set_up(folder.path(), cast).await;
    every_planted_copy_is_found(&scene).await;

    let mut finds = Finds::default();
    let marked = play(&mut scene, folder.path(), &mut finds).await;
    settled(&scene.house, &marked).await;
    sleep(FORGOTTEN_AFTER).await;
    search_memory(&scene, &mut finds);
    paste(&scene, &mut finds).await;
    search_while_up(&scene, &mut finds).await;
    let not_searched = not_searched(&scene, &finds, &marked);

    let Scene { hunt, house, fridge, spans, .. } = scene;
    let house_folder = house.folder().to_owned();
    fridge.end().await.unwrap();
    house.end().await.unwrap();
    let told = spans.take();
    assert!(String::from_utf8_lossy(&told).contains("purchase-session"), "no span was exported");
    hunt.search("spans", 0, &told, &mut finds);
    search_disk(&hunt, &house_folder, &mut finds).await;
    assert!(finds.is_clean(), "{} MiB searched, and found:\n{finds}", finds.bytes() >> 20);
    assert_eq!(not_searched, Vec::<String>::new());
    println!("{} MiB searched, {} cards, nothing found", finds.bytes() >> 20, hunt.canaries().len());
}

async fn set_up(folder: &Path, cast: Cast) -> Scene {
    let world = folder.join("world.json");
    world::write(&world, &cast.wallets, cast.charged_sessions.len() + 8).unwrap();
    let collector = Collector::listen().await.unwrap();
    let house = House::start(&folder.join("house"), &world, collector.address()).await.unwrap();
    let spans = collector.serve(&house).unwrap();
    let fridge = Fridge::start(&house, world::AGENTS).await.unwrap();
    let mut marks = cast.charged_sessions.clone();
    marks.extend([house.trust_domain().to_string(), TALKATIVE.to_owned(), LISTENING.to_owned()]);
    let hunt = Hunt::new(&cast.all(), &marks).unwrap();
    Scene { cast, hunt, house, fridge, spans }
}

/// Plants every copy in every kind of place of this house, searches with the search that counts, and takes them away.
async fn every_planted_copy_is_found(scene: &Scene) {
    let (hunt, folder) = (&scene.hunt, scene.house.folder());
    let copies = planted::copies(hunt.canaries());
    let text = planted::in_one(&copies);
    let packed = planted::gzip(&text).unwrap();
    let journal = format!("journal/{}/planted", world::AGENTS);
    let plants = [("log/planted.log", &text), (&journal, &text), ("state/planted.gz", &packed)];
    for (place, text) in plants {
        std::fs::write(folder.join(place), text).unwrap();
    }
    let database = Database::plant(&folder.join("state/planted.sqlite"), &copies).await;
    let mut finds = Finds::default();
    search_disk(hunt, folder, &mut finds).await;
    database.checkpoint().await;
    search_disk(hunt, folder, &mut finds).await;
    database.close().await;

    let holder = Holder::start(&text);
    memory::search(hunt, &Process { name: "holder".to_owned(), pid: holder.pid() }, &mut finds).unwrap();
    let collector = Caller::of_collector(&scene.house, world::TESTS, scene.spans.address()).unwrap();
    collector.http("POST", "/v1/traces", &[], text.clone()).await.unwrap();
    hunt.search("spans", 0, &scene.spans.take(), &mut finds);
    hunt.search("an answer", 0, &text, &mut finds);
    for place in [
        "log/planted.log",
        &journal,
        "state/planted.gz, unzipped",
        "state/planted.sqlite-wal",
        "state/planted.sqlite",
        "memory of holder",
        "spans",
        "an answer",
    ] {
        assert_eq!(planted::missed(hunt, &copies, place, &finds), Vec::<String>::new());
    }
    for place in ["log/planted.log", &journal, "state/planted.gz", "state/planted.sqlite"] {
        std::fs::remove_file(folder.join(place)).unwrap();
    }
}

/// Plays the story; gives the sessions that were charged.
async fn play(scene: &mut Scene, folder: &Path, finds: &mut Finds) -> Vec<String> {
    charge(scene, finds).await;
    refuse(scene).await;
    let reader = Reader::start(&scene.house, world::TESTS, &folder.join("journal-of-the-test")).unwrap();
    let nobody = reader.enroll(&scene.cast.not_enrolled.track2(cast::EXPIRY), "idt-nobody-0000").await;
    assert!(nobody.is_err(), "{nobody:?}");
    let somebody = world::id_token(scene.cast.wallets.len());
    reader.enroll(&scene.cast.enrolled.track2(cast::EXPIRY), &somebody).await.unwrap();
    reader.end().await;

    let caller = Caller::new(&scene.house, world::TESTS, "purchase-session").unwrap();
    let sessions = [0; 4].map(|_| cast::session());
    let answers = careless::fridge(&caller, scene.cast.in_clear.digits(), &sessions).await.unwrap();
    search_answers(&scene.hunt, &answers, finds);
    scene.cast.charged_sessions.clone()
}

/// An operator pastes a card number wherever he can. The memory was searched before: what is typed into a service that
/// knows no cards is not wiped there, but it must not be told on.
async fn paste(scene: &Scene, finds: &mut Finds) {
    let answers = careless::operator(&scene.house, scene.cast.pasted.digits()).await.unwrap();
    assert!(answers.iter().all(|(_, answer)| answer.status.is_client_error()), "{answers:?}");
    search_answers(&scene.hunt, &answers, finds);
}

fn search_answers(hunt: &Hunt, answers: &[(String, Answer)], finds: &mut Finds) {
    assert!(answers.len() > 10, "only {} answers", answers.len());
    for (what, answer) in answers {
        hunt.search(&format!("the answer to {what}"), 0, &answer.bytes(), finds);
    }
}

/// Every card that is good buys a meal, some of them again and again; a wallet's owner shows an ID token.
async fn charge(scene: &mut Scene, finds: &mut Finds) {
    let Scene { cast, hunt, house, fridge, .. } = scene;
    for (round, session) in cast.charged_sessions.clone().iter().enumerate() {
        let unlocked = match cast.track_of(round) {
            Some(track2) => fridge.swipe(session, &track2).await.unwrap(),
            None => fridge.show(session, &world::id_token(0)).await.unwrap(),
        };
        assert_eq!(unlocked["saw"], "unlocked", "{unlocked}");
        let scanned = cast.scanned.digits().to_owned();
        let taken = [world::meal(round), scanned];
        let taken: Vec<&str> = taken.iter().map(String::as_str).take(if round == 0 { 2 } else { 1 }).collect();
        fridge.open_and_take(&taken).await.unwrap();
        if round < WATCHED {
            // The journal is forgotten with its session; here it is there.
            search_disk(hunt, house.folder(), finds).await;
        }
        let receipt = fridge.close().await.unwrap();
        assert_eq!(receipt["outcome"], "charged", "{receipt}");
    }
}

/// Everybody who is not let in, and one who takes nothing.
async fn refuse(scene: &mut Scene) {
    let Scene { cast, fridge, .. } = scene;
    for (card, expiry, reason) in cast.refused() {
        let refused = fridge.swipe(&cast::session(), &card.track2(expiry)).await.unwrap();
        assert_eq!((&refused["saw"], &refused["reason"]), (&"refused".into(), &reason.into()), "{}", card.part());
    }
    let unlocked = fridge.swipe(&cast::session(), &cast.took_nothing.track2(cast::EXPIRY)).await.unwrap();
    assert_eq!(unlocked["saw"], "unlocked", "{unlocked}");
    fridge.open_and_take(&[]).await.unwrap();
    assert_eq!(fridge.close().await.unwrap()["outcome"], "no_purchase");
    let refused = fridge.show(&cast::session(), cast.shown_as_token.digits()).await.unwrap();
    assert_eq!(refused["saw"], "refused", "{refused}");
    let mumbled = format!(r#"{{"do":"swipe","track_2":"{}"}}"#, cast.mumbled.track2(cast::EXPIRY));
    fridge.mumble(&mumbled).await.unwrap();
}

/// Waits until every charge is captured and every event booked.
async fn settled(house: &House, sessions: &[String]) {
    let status = Caller::new(house, "operator", "status").unwrap();
    let target = format!("/sessions:batchGet?ids={}", sessions.join(","));
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let page = status.json(&target).await.unwrap();
        let rows = page["sessions"].as_array().cloned().unwrap_or_default();
        let captured = |row: &Value| row["settlement"] == "captured";
        if rows.len() == sessions.len() && rows.iter().all(captured) {
            return;
        }
        assert!(Instant::now() < until, "not everything settled: {page}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Searches the memory of every process inside the walls, and the files that it holds open elsewhere.
fn search_memory(scene: &Scene, finds: &mut Finds) {
    let Scene { hunt, house, fridge, .. } = scene;
    let mut processes = house.processes();
    processes.push(fridge.process().unwrap());
    let names: Vec<&str> = processes.iter().map(|process| process.name.as_str()).collect();
    let expected = [
        "acme",
        "admin",
        "attestation",
        "authority",
        "customers",
        "inventory",
        "purchase-session",
        "renew",
        "single-node",
        "status",
        "fridge-agent",
    ];
    assert_eq!(names, expected);
    for process in &processes {
        memory::search(hunt, process, finds).unwrap();
        files::search_open(hunt, process, house.folder(), finds).unwrap();
    }
}

/// Searches files, databases and answers of the house while it is up.
async fn search_while_up(scene: &Scene, finds: &mut Finds) {
    let Scene { hunt, house, .. } = scene;
    search_disk(hunt, house.folder(), finds).await;
    for service in SERVICES {
        let caller = Caller::new(house, "monitor", service).unwrap();
        let answer = caller.http("GET", "/metrics", &[], "").await.unwrap();
        assert!(answer.status.is_success() && !answer.body.is_empty(), "{service}: {answer:?}");
        hunt.search(&format!("metrics of {service}"), 0, &answer.bytes(), finds);
    }
    for (service, target) in READABLE {
        let caller = Caller::new(house, "operator", service).unwrap();
        let answer = caller.http("GET", target, &[], "").await.unwrap();
        assert!(answer.status.is_success(), "{service} {target}: {answer:?}");
        hunt.search(&format!("what {service} tells of {target}"), 0, &answer.bytes(), finds);
    }
}

/// Every file as bytes, and every database once more by its cells.
async fn search_disk(hunt: &Hunt, folder: &Path, finds: &mut Finds) {
    files::search(hunt, folder, &is_outside, finds).unwrap();
    let databases = std::fs::read_dir(folder.join("state")).unwrap().map(|entry| entry.unwrap().path());
    let mut searched = 0;
    for database in databases.filter(|path| path.extension().is_some_and(|end| end == "sqlite")) {
        cells::search(hunt, &database, finds).await.unwrap();
        searched += 1;
    }
    assert!(searched >= SERVICES.len(), "only {searched} databases");
}

/// What should have been searched and was not: sessions are in databases, events and answers, the house's name is in
/// every memory, and logs are at their most talkative.
fn not_searched(scene: &Scene, finds: &Finds, sessions: &[String]) -> Vec<String> {
    let domain = scene.house.trust_domain().to_string();
    let journal = format!("journal/{}", world::AGENTS);
    let processes = scene.house.processes().into_iter().map(|process| process.name).chain(["fridge-agent".to_owned()]);
    let memories = processes.map(|process| (format!("memory of {process}"), domain.clone()));
    // What the other services link does not speak at this level; that they listen they all say.
    let loggers = SERVICES.map(|logger| (logger, LISTENING)).into_iter();
    let loggers = loggers.chain(["purchase-session", "fridge-agent"].map(|logger| (logger, TALKATIVE)));
    let logs = loggers.map(|(logger, mark)| (format!("log/{logger}.log"), mark.to_owned()));
    let journals = sessions.iter().take(WATCHED).map(|session| (journal.clone(), session.clone()));
    let everywhere = sessions.iter().flat_map(|session| {
        [
            "state/purchase-session.sqlite",
            "purchase-session.sqlite: sessions",
            "purchase-session.sqlite: outbox",
            "state/status.sqlite",
            "status.sqlite: session",
            "what status tells of /sessions",
        ]
        .map(|place| (place.to_owned(), session.clone()))
    });
    let expected = memories.chain(logs).chain(journals).chain(everywhere);
    let missing = expected.filter(|(place, mark)| !finds.has_mark(place, mark));
    missing.map(|(place, mark)| format!("{mark} is not in {place}")).collect()
}
