//! Runs the simulator: many seeds with chaos, and quiet days on which the service dies at every single point.
//!
//! A failure prints its seed. To try seeds 1000 to 1999: `LARDER_SIMULATION_SEEDS=1000..2000 cargo test -p
//! larder-simulation`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{collections::BTreeMap, ops::Range};

use larder_simulation::{Plan, Report, run};

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("LARDER_SIMULATION_SEEDS") else { return 0..150 };
    let (from, to) = text.split_once("..").expect("from..to");
    from.parse().expect("a seed")..to.parse().expect("a seed")
}

fn simulate(plan: Plan) -> Report {
    match run(plan) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn days_on_which_everything_fails_end_rightly() {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds() {
        let report = simulate(Plan { seed, chaos: true, crash_at: None, visits: 10 });
        for (what, count) in report.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in [
        "charged",
        "free",
        "no_purchase",
        "abandoned",
        "theft",
        "capture failed",
        "closing",
        "refused card_declined",
        "refused payment_unavailable",
        "refused unknown_id_token",
        "refused customer_blocked",
        "refused unpaid_balance",
        "refused insufficient_funds",
        "answer twice or too late",
        "gave up on an authorization",
        "gave up on an increment",
        "gap",
        "crash",
        "reboot",
        "reboot without journal",
        "OpenTooLong at fridge 1",
        "StayedShutTimeout at fridge 1",
    ] {
        assert!(seen.contains_key(what), "a simulation that never sees {what:?} proves nothing about it");
    }
}

#[test]
fn a_service_that_dies_at_any_point_loses_and_doubles_nothing() {
    for seed in 0..3 {
        let quiet = Plan { seed, chaos: false, crash_at: None, visits: 3 };
        let points = simulate(quiet).crash_points;
        assert!(points > 50, "a day with so few points is no day: {points}");
        for point in 1..=points {
            let report = simulate(Plan { crash_at: Some(point), ..quiet });
            assert_eq!(report.seen.get("crash"), Some(&1), "it died at point {point}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_day() {
    let plan = Plan { seed: 7, chaos: true, crash_at: None, visits: 5 };
    assert_eq!(simulate(plan), simulate(plan));
}
