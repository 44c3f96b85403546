//! Killed at every point of a session and started again: purchase-session, each service outside the PCI zone, the
//! processor, the fridge's agent. Whatever dies, a session ends as it would have, is charged once, and is booked once
//! by everybody.
//!
//! A service that is killed meets all fridges at once, so in each round every fridge stands at another step of a visit
//! when it happens; from round to round the kill comes a little later after that step was begun.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use fridge_agent::Seen;
use fridge_agent::disk::Folder;
use fridge_agent::hardware::TechnicianNote;
use rustix::process::Signal;
use serde_json::json;
use single_node::stack::PURCHASE;
use support::books;
use support::fridge::Fridge;
use support::house::{House, in_house, together};
use support::process::AgentProcess;
use support::rules::{Outcome, Rules};
use support::visit::{STEPS, Step, Visits, act, comes_of, walk};
use support::world::{Session, World};

/// The processor takes so long for everything, so that there is always a call under way to be cut.
const PROCESSOR_TAKES_MS: u64 = 40;
const PROCESSOR: &str = "processor-sandbox";

/// A kill: whom, with what, and how long after the steps were begun.
struct Round {
    services: &'static [&'static str],
    signal: Signal,
    after_ms: u64,
}

const fn killed(services: &'static [&'static str], after_ms: u64) -> Round {
    Round { services, signal: Signal::KILL, after_ms }
}

const ROUNDS: [Round; 16] = [
    killed(&[PURCHASE], 0),
    killed(&[PURCHASE], 1),
    killed(&[PURCHASE], 3),
    killed(&[PURCHASE], 8),
    killed(&[PURCHASE], 20),
    killed(&[PURCHASE], 50),
    killed(&[PURCHASE], 90),
    killed(&[PURCHASE], 300),
    Round { services: &[PURCHASE], signal: Signal::TERM, after_ms: 30 },
    killed(&["inventory"], 5),
    killed(&["customers"], 5),
    killed(&["status"], 5),
    killed(&["admin"], 5),
    killed(&["inventory", "customers", "status", "admin", PURCHASE], 60),
    killed(&[PROCESSOR], 10),
    killed(&[PROCESSOR, PURCHASE], 70),
];

#[test]
fn a_service_dies_at_every_step_of_a_visit() {
    in_house(async |layout| {
        let mut visits = Visits::at(STEPS.len());
        let mut rounds: Vec<Vec<Arc<Session>>> = Vec::new();
        for round in 0..ROUNDS.len() {
            let visit = |fridge| Arc::new(visits.make(fridge, round % 2 == 1));
            rounds.push((0..STEPS.len()).map(visit).collect());
        }
        let world = visits.world;
        let house = House::start(layout, &world).await;
        house.switch(json!({ "delay_ms": PROCESSOR_TAKES_MS })).await;
        let fridges: Vec<Arc<Fridge>> =
            world.fridges.iter().map(|fridge| Arc::new(Fridge::put_up(&house, &fridge.fridge))).collect();
        for (round, sessions) in ROUNDS.iter().zip(&rounds) {
            die_once(&house, &fridges, sessions, round).await;
        }
        for fridge in &fridges {
            fridge.shut_down().await;
        }
        let sessions: Vec<Arc<Session>> = rounds.into_iter().flatten().collect();
        let (outcomes, rules) = judge(&world, sessions.iter().map(Arc::as_ref));
        assert!(outcomes.iter().any(|outcome| !outcome.thefts.is_empty()) && outcomes.iter().all(Outcome::admitted));
        books::agree(&house.stack, &outcomes, &rules).await;
        house.end().await;
    });
}

/// One round: every fridge at another step, a kill, and all visits to their end.
async fn die_once(house: &House, fridges: &[Arc<Fridge>], sessions: &[Arc<Session>], round: &Round) {
    let standing = || fridges.iter().zip(sessions).enumerate();
    let arrive = |(at, (fridge, session)): (usize, (&Arc<Fridge>, &Arc<Session>))| {
        let (fridge, session) = (Arc::clone(fridge), Arc::clone(session));
        async move {
            walk(&fridge, &session, &STEPS[..at]).await;
            fridge.journaled(&session.session)
        }
    };
    let journaled = together(standing().map(arrive)).await;
    for (at, (fridge, session)) in standing() {
        act(fridge, session, STEPS[at]).await;
    }
    tokio::time::sleep(Duration::from_millis(round.after_ms)).await;
    let died: Vec<(&str, u32)> =
        round.services.iter().map(|service| (*service, house.signal(service, round.signal))).collect();
    let leave = |(at, (fridge, session)): (usize, (&Arc<Fridge>, &Arc<Session>))| {
        let (fridge, session, journaled) = (Arc::clone(fridge), Arc::clone(session), journaled[at]);
        async move {
            comes_of(&fridge, &session, STEPS[at], journaled).await;
            walk(&fridge, &session, &STEPS[at + 1..]).await;
        }
    };
    together(standing().map(leave)).await;
    for (service, before) in died {
        house.reborn(service, before).await;
        if service == PROCESSOR {
            // Its switches are as new.
            house.processor_answers().await;
            house.switch(json!({ "delay_ms": PROCESSOR_TAKES_MS })).await;
        } else {
            house.works(service).await;
        }
    }
}

#[test]
fn an_agent_dies_at_every_step_of_a_visit() {
    in_house(async |layout| {
        let mut visits = Visits::at(2 * STEPS.len() + 1);
        let mut cuts = |first: usize| -> Vec<Cut> {
            (0..STEPS.len()).map(|at| Cut { at, session: visits.make(first + at, at % 2 == 1) }).collect()
        };
        let (cut, killed) = (cuts(0), cuts(STEPS.len()));
        let twins = 2 * STEPS.len();
        let mut lost = visits.make(twins, false);
        lost.touches.truncate(3);
        let twins = Twins { lost, others: (0..8).map(|_| visits.small(twins)).collect() };
        let world = visits.world;
        let house = Arc::new(House::start(layout, &world).await);
        let mut judged: Vec<Session> = cut.iter().map(Cut::with_the_door_as_it_was).collect();
        judged.extend(killed.iter().map(Cut::with_the_door_shut));
        together(cut.into_iter().map(|cut| cut_power(Arc::clone(&house), cut))).await;
        together(killed.into_iter().map(|cut| kill_agent(Arc::clone(&house), cut))).await;
        let (mut outcomes, mut rules) = judge(&world, &judged);
        outcomes.extend(two_of_one_identity(&house, twins, &mut rules).await);
        books::agree(&house.stack, &outcomes, &rules).await;
        Arc::into_inner(house).unwrap().end().await;
    });
}

/// A visit in which the agent dies at a step.
struct Cut {
    at: usize,
    session: Session,
}

impl Cut {
    /// What comes of it when the door stays as it was: all of it, unless it had not been opened yet.
    fn with_the_door_as_it_was(&self) -> Session {
        let mut session = self.session.clone();
        if STEPS[self.at] == Step::Show {
            session.touches.clear();
        }
        session
    }

    /// What comes of it when the door is found shut: what was touched until then.
    fn with_the_door_shut(&self) -> Session {
        let mut session = self.session.clone();
        let is_touch = |step: &&Step| matches!(step, Step::Touch(_));
        session.touches.truncate(STEPS[..=self.at].iter().filter(is_touch).count());
        session
    }
}

/// The power goes and comes back; the door stays as it was, and whoever stands there goes on.
async fn cut_power(house: Arc<House>, Cut { at, session }: Cut) {
    let fridge = Fridge::put_up(&house, &session.fridge);
    walk(&fridge, &session, &STEPS[..at]).await;
    match STEPS[at] {
        Step::Show => {
            // Asked, and not answered yet.
            act(&fridge, &session, Step::Show).await;
            fridge.journals_beyond(&session.session, 0).await;
            fridge.cut_power();
            fridge.power_up();
            assert_eq!(fridge.receipt(&session).await.0, "no_purchase");
            assert!(!fridge.controls.open_door().await, "nobody is let in later");
        }
        Step::CloseDoor => {
            // Nobody hears the door shut.
            fridge.cut_power();
            act(&fridge, &session, Step::CloseDoor).await;
            fridge.power_up();
            assert_eq!(fridge.receipt(&session).await.0, "charged");
        }
        step => {
            walk(&fridge, &session, &[step]).await;
            fridge.cut_power();
            fridge.power_up();
            walk(&fridge, &session, &STEPS[at + 1..]).await;
        }
    }
    fridge.shut_down().await;
}

/// The process is killed with SIGKILL and started again on its journal, before a door that is shut.
async fn kill_agent(house: Arc<House>, Cut { at, session }: Cut) {
    let mut agent = AgentProcess::start(&house, &session.fridge).await;
    for step in &STEPS[..=at] {
        let journaled = agent.journaled(&session);
        match step {
            Step::Show => agent.show(&session).await,
            Step::OpenDoor => {
                agent.see("unlocked").await;
                agent.open_door().await;
            }
            Step::Touch(number) => {
                let touch = &session.touches[*number];
                agent.touch(touch.kind, &touch.barcode).await;
            }
            Step::CloseDoor => agent.close_door().await,
            Step::Leave => drop(agent.see("receipt").await),
        }
        if matches!(step, Step::Show | Step::OpenDoor | Step::Touch(_)) {
            agent.journals_beyond(&session, journaled).await;
        }
    }
    agent.kill().await;
    agent.start_again().await;
    if STEPS[at] != Step::Leave {
        let receipt = agent.see("receipt").await;
        assert_eq!(receipt["session"], session.session);
        let bought = at > 1;
        assert_eq!(receipt["outcome"], if bought { "charged" } else { "no_purchase" }, "killed at {:?}", STEPS[at]);
    }
    agent.kill().await;
}

/// Sessions of two agents with one identity.
struct Twins {
    /// The one that its agent never ends: a meal, and another's that is put back.
    lost: Session,
    others: Vec<Session>,
}

/// Two agents with the identity of one fridge: a cloned disk, or a board that was swapped. What comes of their sessions.
async fn two_of_one_identity(house: &House, Twins { lost, others }: Twins, rules: &mut Rules) -> Vec<Outcome> {
    let one = Fridge::put_up(house, &lost.fridge);
    let other_journal = house.stack.layout().journal("another");
    let mut config = one.config.clone();
    config.disk = Arc::new(Folder::open(&other_journal).unwrap());
    let other = Fridge::with(config, "another", other_journal.clone());
    let mut sessions = others.into_iter();
    let mut outcomes = Vec::new();

    // While the one has a customer, the other gets none.
    let first = sessions.next().unwrap();
    walk(&one, &first, &[Step::Show, Step::OpenDoor, Step::Touch(0)]).await;
    let busy = sessions.next().unwrap();
    other.show(&busy).await;
    assert_eq!(other.answer(&busy).await, Err("fridge_busy".to_owned()));
    outcomes.push(Outcome::refused(&busy, "fridge_busy"));
    walk(&one, &first, &[Step::CloseDoor]).await;
    outcomes.push(rules.judge(&first));

    // When the one is gone, the other ends its session; and the one, back again, hears so.
    // The end of the alarm shows that the service has heard all of it.
    walk(&one, &lost, &STEPS[..5]).await;
    one.cut_power();
    let next = loop {
        let next = sessions.next().expect("the service notices soon that the one is gone");
        other.show(&next).await;
        match other.answer(&next).await {
            Ok(()) => break next,
            Err(reason) => {
                assert_eq!(reason, "fridge_busy");
                outcomes.push(Outcome::refused(&next, "fridge_busy"));
            }
        }
    };
    walk(&other, &next, &[Step::OpenDoor, Step::Touch(0), Step::CloseDoor]).await;
    one.power_up();
    assert_eq!(one.receipt(&lost).await.0, "abandoned");
    assert!(one.controls.close_door().await);
    outcomes.push(Outcome { outcome: "abandoned".to_owned(), ..rules.judge(&lost) });
    outcomes.push(rules.judge(&next));

    // A clone with the journal of the one takes over its session; both hear of the same end.
    let shared = sessions.next().unwrap();
    walk(&one, &shared, &[Step::Show, Step::OpenDoor, Step::Touch(0)]).await;
    other.shut_down().await;
    one.copy_journal(&shared.session, &other_journal);
    other.power_up();
    let superseded = |seen: &Seen| matches!(seen, Seen::Technician(TechnicianNote::Superseded));
    one.see("that another speaks with its identity", superseded).await;
    assert_eq!(other.receipt(&shared).await.0, "charged");
    assert_eq!(one.receipt(&shared).await.0, "charged");
    outcomes.push(rules.judge(&shared));
    outcomes
}

/// What the rules say of sessions that were played in any order: none depends on another.
fn judge<'a>(world: &World, sessions: impl IntoIterator<Item = &'a Session>) -> (Vec<Outcome>, Rules) {
    let mut rules = Rules::of(world, &[]);
    let outcomes = sessions.into_iter().map(|session| rules.judge(session)).collect();
    (outcomes, rules)
}
