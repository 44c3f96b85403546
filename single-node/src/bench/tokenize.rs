//! `tokenize`: sealed card to token through the vault's queue, beside the same PKCS#11 calls in a bare loop.

use std::collections::BTreeMap;

use serde_json::json;

use super::Progress;
use super::figure::{Bound, Figure, rounded};
use super::hsm::{IN_FLIGHT, Order};
use super::part::{Kind, Part};
use super::statistics::{median, middle};
use crate::Fault;
use crate::layout::Layout;

/// Rounds; in each, both sides are measured.
const ROUNDS: usize = 21;
/// How long a side is measured in a round.
const MILLIS: u64 = 600;
/// How often and how long each number of threads is tried, to find the best.
const TRIES: usize = 3;
const TRY_MILLIS: u64 = 500;
/// Numbers of threads that the bare loop is tried with.
const THREADS: [usize; 4] = [1, 2, 3, 4];

/// Starts the part that works the HSM.
///
/// # Errors
/// [`Fault`] when it does not start.
pub(super) async fn part(layout: &Layout) -> Result<Part, Fault> {
    let mut part = Part::start(Kind::Hsm, &layout.root().join("bench-hsm"))?;
    part.ask::<Order, f64>(&Order::Prepare).await?;
    Ok(part)
}

/// Rounds a second of a bare loop, by its number of threads.
#[derive(Default)]
pub(super) struct BareRates(BTreeMap<usize, Vec<f64>>);

impl BareRates {
    /// Measures each number of threads once more.
    ///
    /// # Errors
    /// [`Fault`] when the HSM refuses.
    pub(super) async fn measure(&mut self, part: &mut Part, millis: u64) -> Result<(), Fault> {
        for threads in THREADS {
            let rate = part.ask(&Order::Bare { millis, threads }).await?;
            self.0.entry(threads).or_default().push(rate);
        }
        Ok(())
    }

    /// The best number of threads, and its median rate.
    pub(super) fn best(&self) -> (usize, f64) {
        let medians = self.0.iter().map(|(threads, rates)| (*threads, median(rates)));
        medians.max_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap_or((1, 0.0))
    }

    fn by_threads(&self) -> BTreeMap<String, f64> {
        self.0.iter().map(|(threads, rates)| (threads.to_string(), rounded(median(rates)))).collect()
    }
}

/// Measures.
///
/// # Errors
/// [`Fault`] when a part fails.
pub(super) async fn measure(layout: &Layout, progress: &Progress) -> Result<Figure, Fault> {
    progress.say("tokenize: a token of its own, keys, sealed cards");
    let mut part = part(layout).await?;
    let (mut rounds, mut bare) = (Vec::with_capacity(ROUNDS), BareRates::default());
    progress.say("tokenize: the best number of threads");
    // The first time, memory is still being fetched from the system.
    part.ask::<_, f64>(&Order::Vault { millis: TRY_MILLIS }).await?;
    for _ in 0..TRIES {
        bare.measure(&mut part, TRY_MILLIS).await?;
    }
    let (threads, _) = bare.best();
    for round in 1..=ROUNDS {
        progress.say(&format!("tokenize: round {round} of {ROUNDS}"));
        let ours: f64 = part.ask(&Order::Vault { millis: MILLIS }).await?;
        let limit: f64 = part.ask(&Order::Bare { millis: MILLIS, threads }).await?;
        rounds.push((ours, limit));
    }
    part.end().await;
    let (ours, limit) = middle(&rounds);
    let details = json!({ "in_flight": IN_FLIGHT, "best_threads": threads, "bare_by_threads": bare.by_threads() });
    let notes = vec![
        format!("sealed card to token through the vault's queue, {IN_FLIGHT} in flight, two workers"),
        format!("both of the round whose ratio is the median of {ROUNDS}"),
        format!("limit: derive, read, destroy, sign in a bare loop, best at {threads} threads; by threads: {}", {
            let by: Vec<String> = bare.by_threads().iter().map(|(n, rate)| format!("{n}: {rate:.0}")).collect();
            by.join(", ")
        }),
    ];
    Ok(Figure {
        name: "tokenize",
        ours,
        limit,
        unit: "cards/s",
        bound: Bound::AtLeast(0.9),
        details: details.as_object().cloned().unwrap_or_default(),
        notes,
    })
}
