//! What the house stands on fails and comes back: the HSM's token, the disks, the processor. The door stays shut rather
//! than open on a promise nobody can keep; what was promised is kept once the device is back; nobody starts anything anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fridge_agent::hardware::TechnicianNote;
use fridge_agent::{Agent, Limits, Seen, SimulatedFridge};
use rustix::process::Signal;
use serde_json::{Value, json};
use single_node::agents;
use single_node::layout::Layout;
use single_node::stack::PURCHASE;
use support::books;
use support::fridge::Fridge;
use support::house::{House, PATIENCE, eventually, in_house_with_mounts};
use support::rules::{Outcome, Rules};
use support::visit::{HOLD_MINOR, STEPS, Step, Visits, act, comes_of, walk};
use support::world::{Card, Customer, EXPIRED_SINCE, Kind, OpenWith, Session};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long a customer waits for the processor here, and one call to it.
const OPEN_BUDGET_MS: u64 = 2_500;
const CALL_MS: u64 = 700;
/// The HSM is opened anew after so many cards.
const RECYCLE_AFTER: usize = 1_000;
/// A receipt that waits for no processor is there by then.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Who was turned away comes again after that.
const COME_AGAIN: Duration = Duration::from_millis(200);
/// Each case has a fridge of its own.
const FRIDGES: usize = 20;

#[test]
fn devices_fail_and_come_back() {
    in_house_with_mounts(async |layout| {
        let mut stage = Stage::set(layout).await;
        stage.the_hsm_goes_and_comes_back().await;
        stage.the_fridges_disk_is_full().await;
        stage.the_services_disk_is_full().await;
        stage.the_processor_fails_at_open().await;
        stage.the_processor_fails_while_the_door_is_open().await;
        stage.the_processor_fails_at_close().await;
        stage.a_hold_that_two_runs_asked_for_is_released().await;
        stage.the_books_agree().await;
    });
}

/// A house on small disks, visits for the cases, and what must come of those that were played.
struct Stage {
    house: House,
    rules: Rules,
    outcomes: Vec<Outcome>,
    /// A visit that takes one meal, and one that takes more than the hold, for each fridge.
    small: Vec<Session>,
    large: Vec<Session>,
    /// Somebody with a card in his wallet.
    customer: Customer,
    small_disk: PathBuf,
    next: usize,
}

impl Stage {
    async fn set(layout: Layout) -> Self {
        let mut visits = Visits::at(FRIDGES);
        let small = (0..FRIDGES * 3).map(|number| visits.small(number % FRIDGES)).collect();
        let large = (0..FRIDGES).map(|fridge| visits.make(fridge, false)).collect();
        let small_disk = layout.root().join("small-disk");
        let house = House::empty(layout).await;
        mount(&small_disk, "32m");
        let config = house.stack.layout().config(PURCHASE);
        let text = std::fs::read_to_string(&config).unwrap();
        let database = house.stack.layout().state("purchase-session.sqlite");
        let text = text.replace(&database.display().to_string(), &format!("{}/purchase.sqlite", small_disk.display()));
        let processor = format!("[processor]\nopen_budget_ms = {OPEN_BUDGET_MS}\ntimeout_ms = {CALL_MS}\n");
        let text = text.replace("[processor]\n", &processor);
        let text = text.replace("[hsm]\n", &format!("[hsm]\nrecycle_after = {RECYCLE_AFTER}\n"));
        std::fs::write(&config, text).unwrap();
        house.kill(PURCHASE).await;
        house.works(PURCHASE).await;
        house.load(&visits.world).await;
        let rules = Rules::of(&visits.world, &[unraisable()]);
        let customer = visits.world.customers.pop().unwrap();
        Self { house, rules, outcomes: Vec::new(), small, large, customer, small_disk, next: 0 }
    }

    /// A fridge that no case has used, and visits to it.
    fn fridge(&mut self) -> (Fridge, [Session; 3], Session) {
        let number = self.next;
        self.next += 1;
        let small = [0, 1, 2].map(|turn| self.small[turn * FRIDGES + number].clone());
        let large = self.large[number].clone();
        (Fridge::put_up(&self.house, &large.fridge), small, large)
    }

    /// Notes that a session was played to its end.
    fn played(&mut self, session: &Session) -> Outcome {
        let outcome = self.rules.judge(session);
        self.outcomes.push(outcome.clone());
        outcome
    }

    /// Notes that a session was refused.
    fn refused(&mut self, session: &Session, reason: &str) {
        self.outcomes.push(Outcome::refused(session, reason));
    }

    fn pid(&self) -> u32 {
        self.house.stack.pid(PURCHASE).unwrap().borrow().expect("it runs")
    }

    async fn payments(&self, session: &Session) -> Vec<(String, i64)> {
        let intents = self.house.stack.control().intents_of(&session.session).await.unwrap();
        let status = |intent: &Value| intent["status"].as_str().unwrap().to_owned();
        intents.iter().map(|intent| (status(intent), intent["amount_received"].as_i64().unwrap())).collect()
    }

    /// What the status service says of a session's payment.
    async fn settlement(&self, session: &Session) -> Option<String> {
        let rows: Vec<Value> = self.house.stack.sessions(std::slice::from_ref(&session.session)).await.ok()?;
        rows.first()?["settlement"].as_str().map(str::to_owned)
    }

    async fn is_settled(&self, session: &Session) {
        eventually("the payment is settled", async || {
            self.settlement(session).await.filter(|settlement| settlement != "pending")
        })
        .await;
    }

    async fn the_books_agree(self) {
        self.house.nothing_held().await;
        for refused in self.outcomes.iter().filter(|outcome| !outcome.admitted()) {
            let intents = self.house.stack.control().intents_of(&refused.session).await.unwrap();
            assert!(intents.iter().all(|intent| intent["status"] != "succeeded"), "{refused:?}: {intents:?}");
        }
        books::agree(&self.house.stack, &self.outcomes, &self.rules).await;
        self.house.end().await;
    }
}

/// The HSM and the disks.
impl Stage {
    async fn the_hsm_goes_and_comes_back(&mut self) {
        let (fridge, [first, mut during, mut after], _) = self.fridge();
        let (pid, tokens) = (self.pid(), self.house.stack.layout().tokens("pci"));
        let aside = tokens.with_extension("aside");
        std::fs::rename(&tokens, &aside).unwrap();
        self.open_cards(RECYCLE_AFTER).await;
        eventually("it is told that the HSM is gone", async || {
            (self.house.healthy(PURCHASE).await == Some(false)).then_some(())
        })
        .await;
        assert_eq!(fridge.play(&first).await, Err("payment_unavailable".to_owned()));
        assert!(fridge.controls.is_locked());
        self.refused(&first, "payment_unavailable");
        // Who shows an ID token pays with a card that the processor keeps: nothing is to be opened.
        during.open_with = OpenWith::IdToken(self.customer.id_token.clone());
        assert_eq!(fridge.play(&during).await, Ok(("charged".to_owned(), 890)));
        self.played(&during);

        std::fs::rename(&aside, &tokens).unwrap();
        self.house.works(PURCHASE).await;
        // The same keys make the same token, so his card is known as his.
        after.open_with = OpenWith::Card(self.customer.wallet_card.clone().unwrap());
        assert_eq!(fridge.play(&after).await, Ok(("charged".to_owned(), 890)));
        assert!(self.played(&after).customer.is_some());
        assert_eq!(self.pid(), pid, "nobody started it anew");
        fridge.shut_down().await;
    }

    /// Has the HSM open so many cards, none of which is good for anything.
    async fn open_cards(&self, count: usize) {
        let reader = agents::config(&self.house.stack, &self.large[FRIDGES - 1].fridge).unwrap();
        let agent = Arc::new(Agent::start(reader, SimulatedFridge::new().0).unwrap());
        let track2 = format!("{}={}", Card::test(1).pan, EXPIRED_SINCE);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (agent, track2, id_token) = (Arc::clone(&agent), track2.clone(), self.customer.id_token.clone());
                tokio::spawn(async move {
                    for _ in 0..count.div_ceil(8) {
                        let track2 = Zeroizing::new(track2.clone().into_bytes());
                        let _ = agent.enroll_card(track2, &id_token).await;
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
    }

    async fn the_fridges_disk_is_full(&mut self) {
        let number = self.next;
        let journal = self.house.stack.layout().journal(&self.large[number].fridge);
        mount(&journal, "64k");
        let (fridge, [first, second, third], _) = self.fridge();
        let full = |seen: &Seen| matches!(seen, Seen::Technician(TechnicianNote::JournalFull));
        let well = |seen: &Seen| matches!(seen, Seen::Technician(TechnicianNote::JournalWell));

        let filler = fill(&journal);
        fridge.show(&first).await;
        assert_eq!(fridge.answer(&first).await, Err("fridge_out_of_service".to_owned()));
        assert!(fridge.controls.is_locked());
        std::fs::remove_file(&filler).unwrap();
        assert!(fridge.play(&second).await.is_ok());
        self.played(&second);

        // It fills up while somebody shops: he is not kept, and what he did is written down when there is room.
        walk(&fridge, &third, &[Step::Show, Step::OpenDoor]).await;
        let filler = fill(&journal);
        let journaled = fridge.journaled(&third.session);
        act(&fridge, &third, Step::Touch(0)).await;
        // The last block of the file has room for some more.
        for _ in 0..30 {
            fridge.touch(Kind::Returned, &third.touches[0].barcode).await;
            fridge.touch(Kind::Taken, &third.touches[0].barcode).await;
        }
        fridge.see("a note that the disk is full", full).await;
        std::fs::remove_file(&filler).unwrap();
        fridge.see("a note that it is well again", well).await;
        fridge.journals_beyond(&third.session, journaled).await;
        walk(&fridge, &third, &[Step::CloseDoor]).await;
        self.played(&third);
        assert!(self.house.stack.control().intents_of(&first.session).await.unwrap().is_empty(), "nobody was asked");
        fridge.shut_down().await;
    }

    async fn the_services_disk_is_full(&mut self) {
        let (fridge, [_, next, _], large) = self.fridge();
        let (_, [turned_away, ..], _) = self.fridge();
        // A write-ahead log that begins anew must grow with the next write; an old one has room for some.
        let before = self.house.signal(PURCHASE, Signal::TERM);
        self.house.reborn(PURCHASE, before).await;
        self.house.works(PURCHASE).await;
        let mut config = agents::config(&self.house.stack, &turned_away.fridge).unwrap();
        config.limits = Limits { answer_within_ms: 1_500, unreachable_after_ms: 1_500, ..Limits::default() };
        let journal = self.house.stack.layout().journal(&turned_away.fridge);
        let other = Fridge::with(config, &turned_away.fridge, journal);

        walk(&fridge, &large, &STEPS[..4]).await;
        let pid = self.pid();
        let filler = fill(&self.small_disk);
        // An alarm does not wait for the disk; what is not safe is not called so.
        walk(&fridge, &large, &STEPS[4..8]).await;
        act(&fridge, &large, Step::CloseDoor).await;
        other.show(&turned_away).await;
        assert_eq!(other.answer(&turned_away).await, Err("payment_unavailable".to_owned()));
        assert!(other.controls.is_locked());
        assert_eq!(self.settlement(&large).await, None, "nobody is told of what is not written");
        assert_eq!(self.payments(&large).await, [("requires_capture".to_owned(), 0)], "and nothing is charged");

        std::fs::remove_file(&filler).unwrap();
        assert_eq!(fridge.receipt(&large).await.0, "charged");
        self.played(&large);
        let no_purchase = Session { touches: Vec::new(), ..turned_away };
        assert_eq!(other.receipt(&no_purchase).await.0, "no_purchase");
        self.played(&no_purchase);
        assert!(fridge.play(&next).await.is_ok());
        self.played(&next);
        assert_eq!(self.pid(), pid, "nobody started it anew");
        fridge.shut_down().await;
        other.shut_down().await;
    }
}

/// The processor.
impl Stage {
    async fn the_processor_fails_at_open(&mut self) {
        let slower_than_a_call = CALL_MS * 2;
        for fault in [
            json!({ "down": true }),
            json!({ "fail_5xx": true }),
            json!({ "delay_ms": slower_than_a_call }),
            json!({ "lose_answers_for": ["authorize"] }),
            json!({ "lose_answers_for": ["store_card"] }),
        ] {
            let (fridge, [refused, next, _], _) = self.fridge();
            self.house.switch(fault.clone()).await;
            assert_eq!(fridge.play(&refused).await, Err("payment_unavailable".to_owned()), "{fault}");
            assert!(fridge.controls.is_locked());
            self.refused(&refused, "payment_unavailable");
            self.house.switch(well()).await;
            self.house.nothing_held().await;
            self.sells_again(&fridge, next).await;
            fridge.shut_down().await;
        }
        // Every second answer is lost: each call is made again with its own key, and the customer notices nothing.
        let (fridge, [shopped, ..], _) = self.fridge();
        self.house.switch(json!({ "lose_answers": 2 })).await;
        assert_eq!(fridge.play(&shopped).await, Ok(("charged".to_owned(), 890)));
        self.played(&shopped);
        self.is_settled(&shopped).await;
        self.house.switch(well()).await;
        fridge.shut_down().await;
    }

    /// For a moment nobody is let in, so that not everybody waits for a processor that is down; then one is.
    async fn sells_again(&mut self, fridge: &Fridge, mut session: Session) {
        let since = Instant::now();
        while let Err(reason) = fridge.play(&session).await {
            assert_eq!(reason, "payment_unavailable");
            assert!(since.elapsed() < PATIENCE, "the door opens again in time");
            self.refused(&session, &reason);
            let turn = u128::try_from(self.outcomes.len()).unwrap();
            session.session = uuid::Uuid::from_u128(turn + 1).to_string();
            tokio::time::sleep(COME_AGAIN).await;
        }
        self.played(&session);
    }

    /// The first run is killed when the processor holds the money and nobody has heard; the second cannot reach the
    /// processor at all, and so cannot say that it never saw the request.
    async fn a_hold_that_two_runs_asked_for_is_released(&mut self) {
        let (fridge, [session, ..], _) = self.fridge();
        self.house.switch(json!({ "lose_answers_for": ["authorize"] })).await;
        fridge.show(&session).await;
        eventually("the processor holds the money", async || (!self.payments(&session).await.is_empty()).then_some(()))
            .await;
        self.house.switch(json!({ "down": true })).await;
        self.house.kill(PURCHASE).await;
        assert_eq!(fridge.answer(&session).await, Err("payment_unavailable".to_owned()));
        self.refused(&session, "payment_unavailable");
        self.house.switch(well()).await;
        self.house.nothing_held().await;
        assert_eq!(self.payments(&session).await, [("canceled".to_owned(), 0)]);
        fridge.shut_down().await;
    }

    async fn the_processor_fails_while_the_door_is_open(&mut self) {
        // It refuses to hold more: what it holds is taken, the rest is owed, and the next door stays shut for it.
        let (fridge, [next, ..], large) = self.fridge();
        let mine = |session: &Session| Session { open_with: OpenWith::Card(unraisable()), ..session.clone() };
        let (large, next) = (mine(&large), mine(&next));
        self.house.decline(json!({ "increment_limits": { unraisable().pan: 0 } })).await;
        walk(&fridge, &large, &STEPS[..8]).await;
        fridge.see("that the limit is reached", |seen| matches!(seen, Seen::LimitReached { .. })).await;
        walk(&fridge, &large, &[Step::CloseDoor]).await;
        let outcome = self.played(&large);
        assert_eq!(outcome.captured_minor(), HOLD_MINOR);
        assert_eq!(fridge.play(&next).await, Err("unpaid_balance".to_owned()));
        assert_eq!(self.played(&next).reason.as_deref(), Some("unpaid_balance"));
        fridge.shut_down().await;

        // It cannot be asked to hold more: nobody owes what nobody refused.
        let (fridge, _, large) = self.fridge();
        walk(&fridge, &large, &STEPS[..6]).await;
        self.house.switch(json!({ "down": true })).await;
        walk(&fridge, &large, &STEPS[6..8]).await;
        act(&fridge, &large, Step::CloseDoor).await;
        self.house.switch(well()).await;
        assert_eq!(fridge.receipt(&large).await.0, "charged");
        assert_eq!(self.played(&large).unpaid_minor, 0);
        fridge.shut_down().await;
    }

    async fn the_processor_fails_at_close(&mut self) {
        for (fault, kills, buys) in [
            (json!({ "down": true }), false, true),
            (json!({ "delay_ms": 3 * CALL_MS }), false, true),
            (json!({ "lose_answers_for": ["capture"] }), true, true),
            (json!({ "lose_answers_for": ["void"] }), true, false),
        ] {
            let (fridge, [mut session, ..], _) = self.fridge();
            if !buys {
                session.touches.clear();
            }
            let steps: &[Step] = if buys { &STEPS[..3] } else { &STEPS[..2] };
            walk(&fridge, &session, steps).await;
            self.house.switch(fault.clone()).await;
            let journaled = fridge.journaled(&session.session);
            let closed = Instant::now();
            act(&fridge, &session, Step::CloseDoor).await;
            if buys {
                comes_of(&fridge, &session, Step::CloseDoor, journaled).await;
            } else {
                assert_eq!(fridge.receipt(&session).await.0, "no_purchase");
            }
            assert!(closed.elapsed() < AT_ONCE, "{fault}: the receipt came after {:?}", closed.elapsed());
            self.played(&session);
            let booked = eventually("it is booked", async || self.settlement(&session).await).await;
            assert_eq!(booked, "pending", "{fault}");
            if kills {
                // Killed when the processor has acted, before the answer is written down.
                eventually("the processor has acted", async || {
                    (self.payments(&session).await[0].0 != "requires_capture").then_some(())
                })
                .await;
                self.house.kill(PURCHASE).await;
                self.house.works(PURCHASE).await;
                assert_eq!(self.settlement(&session).await.as_deref(), Some("pending"));
            }
            self.house.switch(well()).await;
            self.is_settled(&session).await;
            fridge.shut_down().await;
        }
    }
}

/// A card on which the processor raises no hold.
fn unraisable() -> Card {
    Card::test(5_000)
}

/// All switches as they are at first.
fn well() -> Value {
    json!({ "down": false, "fail_5xx": false, "delay_ms": 0, "lose_answers": 0, "lose_answers_for": [] })
}

/// Mounts a small disk on a folder.
fn mount(folder: &Path, size: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let options = format!("size={size},mode=700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder).status().unwrap();
    assert!(mounted.success(), "a small disk on {}", folder.display());
}

/// Fills a disk to the last byte; what to remove to make room.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for block in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
    path
}
