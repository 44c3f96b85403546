//! A whole day of trade, judged by the rules told a second time: what fridges, processor and four services say of it
//! must be what the rules say, once in peace and once while the services are killed again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value, json};
use single_node::layout::Layout;
use single_node::replay::{Plan, replay};
use single_node::stack::PURCHASE;
use single_node::world::World;
use support::books;
use support::day::Day;
use support::house::{House, in_house};

/// The seed of the day; another seed is another day, and must come out as well.
const SEED: u64 = 20_260_302;
/// Enough that every case of the rules comes up, and that a day amid crashes outlasts several.
const SESSIONS: usize = 800;
/// How often purchase-session is killed.
const KILL_EVERY: Duration = Duration::from_secs(2);
/// How often one of all is, besides.
const KILL_ANOTHER_EVERY: Duration = Duration::from_millis(500);
/// Which, in turns.
const DOOMED: [&str; 6] = ["inventory", "customers", PURCHASE, "status", "admin", PURCHASE];

#[test]
fn a_day_of_trade_comes_out_as_the_rules_say() {
    in_house(async |layout| {
        let (house, day, folder) = begin(layout).await;
        play(&house, &day, &folder, None).await;
        house.end().await;
    });
}

#[test]
fn a_day_amid_crashes_comes_out_the_same() {
    in_house(async |layout| {
        let (house, day, folder) = begin(layout).await;
        let (_, killed) = tokio::join!(play(&house, &day, &folder, Some(KILL_EVERY)), kill_in_turns(&house));
        assert!(DOOMED.iter().all(|service| killed.contains(service)), "the day was over too soon: {killed:?}");
        house.end().await;
    });
}

async fn begin(layout: Layout) -> (House, Day, PathBuf) {
    let day = Day::make(SEED, SESSIONS);
    let folder = layout.root().join("day");
    std::fs::create_dir_all(&folder).unwrap();
    day.write(&folder);
    let house = House::start(layout, &day.world).await;
    let limits: Map<String, Value> = day.unraisable.iter().map(|card| (card.pan.clone(), json!(0))).collect();
    house.decline(json!({ "increment_limits": limits })).await;
    (house, day, folder)
}

/// Replays the day, then compares its report and everybody's books with what the rules say.
async fn play(house: &House, day: &Day, folder: &Path, kill_every: Option<Duration>) {
    let world = World::load(&folder.join("world.json")).unwrap();
    let plan = Plan { day: folder.to_owned(), report: folder.join("report"), speed: None, kill_every };
    replay(&house.stack, &world, &plan).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(plan.report.join(name)).unwrap();
    let told: Vec<Value> = read("outcomes.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), day.outcomes.len());
    for (told, outcome) in told.iter().zip(&day.outcomes) {
        assert_eq!(*told, outcome.line(), "the report about {outcome:?}");
    }
    let totals: Value = serde_json::from_str(&read("totals.json")).unwrap();
    assert_eq!(totals, day.totals());
    books::agree(&house.stack, &day.outcomes, &day.rules).await;
    let ledger: Value = serde_json::from_str(&read("ledger.json")).unwrap();
    assert_eq!(ledger, house.stack.ledger().await.unwrap(), "nothing moved after the day");
}

/// Kills one service after the other until most of the day is booked; which were killed.
async fn kill_in_turns(house: &House) -> Vec<&'static str> {
    let most = u64::try_from(SESSIONS * 4 / 5).unwrap();
    let mut killed = Vec::new();
    for service in DOOMED.iter().cycle() {
        tokio::time::sleep(KILL_ANOTHER_EVERY).await;
        house.works("status").await;
        if house.stack.books().await.is_ok_and(|books| books.sessions >= most) {
            break;
        }
        house.works(service).await;
        house.signal(service, Signal::KILL);
        killed.push(*service);
    }
    killed
}
