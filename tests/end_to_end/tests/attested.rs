//! A fridge and its TPM: it gets its certificate by showing what it is, sells with it, gets the next one while it runs,
//! comes back after a year without power and after it was revoked, and takes new roots along; and with firmware that nobody
//! released it may not sell, and is seen to be in quarantine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use ca_identity::SpiffeId;
use ca_mtls::{HeldClient, TrustBundle};
use ca_rotation::{Direction, Tier};
use fridge_identity::{Certified, Event, Keeper, Settings};
use single_node::agents::{self, Going};
use single_node::enrolment::{changed, released, updated};
use single_node::issuer::Party;
use single_node::stack::PURCHASE;
use support::fridge::Fridge;
use support::house::{PATIENCE, eventually, in_house};
use support::stage::Stage;
use tokio::sync::{Notify, mpsc};

/// How far the clock of the fridge is ahead of ours, in seconds.
static AHEAD_S: AtomicI64 = AtomicI64::new(0);
const HOURS_S: i64 = 3_600;

fn clock() -> i64 {
    authority::now_unix_s() + AHEAD_S.load(Ordering::Relaxed)
}

fn no_chance() -> u64 {
    0
}

/// The keeper of a fridge that has power, with the clock of this test.
async fn keeper(stage: &Stage, fridge: &str) -> Keeper {
    let (stack, fridge) = (&stage.house.stack, fridge.to_owned());
    let (enrolment, domain) = (stack.enrolment().unwrap(), stack.issuer().trust_domain());
    let service = SpiffeId::service(domain, ca_identity::ServiceName::PurchaseSession);
    let (party, address) = (SpiffeId::fridge(domain, &fridge).unwrap(), stack.address(PURCHASE).unwrap().to_owned());
    let issuer = std::sync::Arc::clone(stack.issuer());
    tokio::task::spawn_blocking(move || {
        let tpm = enrolment.boot(&fridge, &released()).unwrap();
        let bundle = issuer.bundle_in(&tpm.folder).unwrap();
        Keeper::open(Settings::new(&tpm, party, service, &address, bundle).unwrap(), clock, no_chance).unwrap()
    })
    .await
    .unwrap()
}

/// What a keeper tells first.
async fn first_word(keeper: Keeper) -> Event {
    let (sender, mut events) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(sender));
    let event = events.recv().await.unwrap();
    running.abort();
    event
}

fn serial(event: &Event) -> String {
    match event {
        Event::Certified(identity) => identity.own().serial.clone(),
        other => panic!("{other:?} is no certificate"),
    }
}

/// What an operator sees at the status service of whether a fridge is in quarantine.
async fn quarantine(stage: &Stage, fridge: &str) -> Option<serde_json::Value> {
    let told = stage.house.stack.ops("status").unwrap().get::<serde_json::Value>(&format!("/fridges/{fridge}")).await;
    told.ok().map(|fridge| fridge["quarantine"].clone())
}

/// How many certificates of fridges the authority has issued, as its log knows.
fn issued(stage: &Stage) -> usize {
    let mut count = 0;
    let dir = stage.house.stack.layout().authority();
    authority::read_log(&dir, |entry| count += usize::from(entry.kind == authority::Kind::Device)).unwrap();
    count
}

/// Follows until the fridge has its next certificate; its serial number.
async fn next(certified: &mut Certified) -> String {
    let (found, failures) = (Mutex::new(None), Mutex::new(Vec::new()));
    let there = Notify::new();
    tokio::select! {
        reasons = certified.follow(|event| match event {
            Event::Certified(_) => {
                *found.lock().unwrap() = Some(serial(event));
                there.notify_one();
            }
            Event::Failed(why) => failures.lock().unwrap().push(why.clone()),
            Event::Quarantined(_) => {}
        }) => panic!("it may not sell: {reasons:?}"),
        () = there.notified() => {}
        () = tokio::time::sleep(PATIENCE) => panic!("no next certificate: {failures:?}"),
    }
    found.into_inner().unwrap().unwrap()
}

#[test]
fn a_fridge_sells_with_what_its_tpm_gets_renews_it_and_comes_back_after_a_year_and_after_a_theft() {
    in_house(async |layout| {
        let mut stage = Stage::set(layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        stage.house.stack.start_enrolment(&|_| ()).await.unwrap();
        let (placed, [one, two, three], _) = stage.fridge();
        placed.shut_down().await;
        let (name, before) = (placed.name.clone(), issued(&stage));

        // It sells with a key that is in its TPM.
        let mut told = Vec::new();
        let kept = keeper(&stage, &name).await;
        let certified = Certified::first(kept, |event| told.push(format!("{event:?}"))).await.unwrap();
        let show = |client: &HeldClient| agents::shown_by(&stage.house.stack, &name, client).unwrap();
        let fridge = Fridge::with(show(certified.client()), &name, stage.house.stack.layout().journal(&name));
        assert_eq!(fridge.play(&one).await, Ok(("charged".to_owned(), 890)), "{told:?}");
        assert_eq!(issued(&stage), before + 1, "{told:?}");
        fridge.shut_down().await;
        drop(certified);

        // Another start uses what is held, asks nobody, and gets the next in the middle of its life, while it sells.
        let held = serial(&first_word(keeper(&stage, &name).await).await);
        assert_eq!(issued(&stage), before + 1, "a restart needs no new certificate");
        AHEAD_S.store(13 * HOURS_S, Ordering::Relaxed);
        let mut certified = Certified::first(keeper(&stage, &name).await, |_| ()).await.unwrap();
        let fridge = Fridge::with(show(certified.client()), &name, stage.house.stack.layout().journal(&name));
        let renewed = next(&mut certified).await;
        assert_ne!(renewed, held);
        AHEAD_S.store(0, Ordering::Relaxed);
        assert_eq!(fridge.play(&two).await, Ok(("charged".to_owned(), 890)), "sells with the next one");
        drop(certified);

        // A year without power: what is held ran out, and nobody has to come.
        AHEAD_S.store(366 * 24 * HOURS_S, Ordering::Relaxed);
        let after_a_year = serial(&first_word(keeper(&stage, &name).await).await);
        assert_ne!(after_a_year, renewed);
        AHEAD_S.store(0, Ordering::Relaxed);

        // Stolen and found: with the old account key nothing comes, with another its own TPM gets the next.
        let (issuer, party) = (std::sync::Arc::clone(stage.house.stack.issuer()), Party::Fridge(name.clone()));
        tokio::task::spawn_blocking(move || issuer.revoke(&party)).await.unwrap().unwrap();
        eventually("what is held is refused", async || {
            matches!(first_word(keeper(&stage, &name).await).await, Event::Failed(_)).then_some(())
        })
        .await;
        stage.house.stack.enrolment().unwrap().forget_account(&name).unwrap();
        let mut certified = Certified::first(keeper(&stage, &name).await, |_| ()).await.unwrap();
        let found = Fridge::with(show(certified.client()), &name, stage.house.stack.layout().journal(&name));
        assert_eq!(found.play(&three).await, Ok(("charged".to_owned(), 890)));
        tokio::select! {
            reasons = certified.follow(|_| ()) => panic!("it may not sell: {reasons:?}"),
            () = found.shut_down() => {}
        }
        fridge.shut_down().await;
        drop(certified);

        // There is another root: the fridge takes it along with its next certificate.
        let issuer = std::sync::Arc::clone(stage.house.stack.issuer());
        let known = move || {
            (0..2).for_each(|_| issuer.rotate(Tier::Root, Direction::Next, authority::now_unix_s()).unwrap());
        };
        tokio::task::spawn_blocking(known).await.unwrap();
        let roots = || {
            let folder = stage.house.stack.layout().root().join("tpm").join(&name).join("identity");
            TrustBundle::load(&folder.join("bundle.pem")).unwrap().count()
        };
        assert_eq!(roots(), 1);
        AHEAD_S.store(13 * HOURS_S, Ordering::Relaxed);
        let mut certified = Certified::first(keeper(&stage, &name).await, |_| ()).await.unwrap();
        next(&mut certified).await;
        AHEAD_S.store(0, Ordering::Relaxed);
        assert_eq!(roots(), 2);
        drop(certified);
        for session in [&one, &two, &three] {
            stage.played(session);
        }
        stage.the_books_agree().await;
    });
}

#[test]
fn firmware_that_nobody_released_may_not_sell_until_it_is_put_back_and_an_update_sells_at_once() {
    in_house(async |layout| {
        let mut stage = Stage::set(layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        stage.house.stack.start_enrolment(&|_| ()).await.unwrap();
        let (placed, [one, two, three], _) = stage.fridge();
        placed.shut_down().await;
        let (stack, name) = (&stage.house.stack, placed.name.clone());
        let quarantine = async || quarantine(&stage, &name).await;
        let sells = async |firmware| {
            let got = agents::certified(stack, &name, firmware, |event| match event {
                Event::Certified(_) => Going::On,
                Event::Quarantined(_) | Event::Failed(_) => Going::Stop,
            });
            got.await.unwrap().expect("released firmware sells")
        };
        let (config, certified) = sells(released()).await;
        eventually("the operator sees that it may sell", async || {
            quarantine().await.filter(|seen| seen["quarantined"] == false)
        })
        .await;
        let fridge = Fridge::with(config, &name, stack.layout().journal(&name));
        assert_eq!(fridge.play(&one).await, Ok(("charged".to_owned(), 890)));
        fridge.shut_down().await;
        drop(certified);

        // Somebody changed its firmware: it stays shut, and the operator sees why.
        let told = Mutex::new(Vec::new());
        let shut = agents::certified(stack, &name, changed(), |event| match event {
            Event::Quarantined(reasons) => {
                told.lock().unwrap().clone_from(reasons);
                Going::On
            }
            Event::Certified(_) => panic!("it may sell"),
            Event::Failed(why) => panic!("{why}"),
        });
        let seen = eventually("the operator sees that it is in quarantine", async || {
            quarantine().await.filter(|seen| seen["quarantined"] == true)
        });
        let seen = tokio::select! {
            _ = shut => panic!("it goes on trying"),
            seen = seen => seen,
        };
        let reasons = told.into_inner().unwrap();
        assert!(reasons[0].contains("register 0"), "{reasons:?}");
        assert!(seen["reasons"] == serde_json::json!(reasons) && seen["since"].is_string(), "{seen}");

        let (config, certified) = sells(released()).await;
        eventually("the operator sees that it may sell again", async || {
            quarantine().await.filter(|seen| seen["quarantined"] == false && seen["reasons"] == serde_json::json!([]))
        })
        .await;
        let fridge = Fridge::with(config, &name, stack.layout().journal(&name));
        assert_eq!(fridge.play(&two).await, Ok(("charged".to_owned(), 890)));
        fridge.shut_down().await;
        drop(certified);

        // The key for TLS died with the firmware before, and nobody has to come.
        let (config, certified) = sells(updated()).await;
        let fridge = Fridge::with(config, &name, stack.layout().journal(&name));
        assert_eq!(fridge.play(&three).await, Ok(("charged".to_owned(), 890)));
        fridge.shut_down().await;
        drop(certified);
        for session in [&one, &two, &three] {
            stage.played(session);
        }
        stage.the_books_agree().await;
    });
}
