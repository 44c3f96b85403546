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

/// Pairs of processes, one for each side: two runs of the same program differ by some percent, by where things come to lie
/// in memory.
const PAIRS: usize = 7;
/// Rounds of a pair; in each, both sides are measured.
const ROUNDS: usize = 5;
/// How long a side is measured in a round.
const MILLIS: u64 = 1_000;
/// How often and how long each number of threads is tried, to find the best.
const TRIES: usize = 3;
const TRY_MILLIS: u64 = 500;
/// Numbers of threads that the bare loop is tried with.
const THREADS: [usize; 4] = [1, 2, 3, 4];

/// Starts a part that works an HSM of its own, with its state in the folder of this `name`.
///
/// # Errors
/// [`Fault`] when it does not start.
pub(super) async fn part(layout: &Layout, name: &str) -> Result<Part, Fault> {
    let mut part = Part::start(Kind::Hsm, &layout.root().join(name))?;
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
    let (mut rounds, mut rates) = (Vec::with_capacity(PAIRS * ROUNDS), BareRates::default());
    progress.say("tokenize: the best number of threads");
    let mut bare = part(layout, "bench-hsm").await?;
    for _ in 0..TRIES {
        rates.measure(&mut bare, TRY_MILLIS).await?;
    }
    bare.end().await;
    let (threads, _) = rates.best();
    for pair in 1..=PAIRS {
        progress.say(&format!("tokenize: pair {pair} of {PAIRS}"));
        let mut vault = part(layout, &format!("bench-vault-{pair}")).await?;
        let mut bare = part(layout, &format!("bench-hsm-{pair}")).await?;
        for _ in 0..ROUNDS {
            let ours: f64 = vault.ask(&Order::Vault { millis: MILLIS }).await?;
            let limit: f64 = bare.ask(&Order::Bare { millis: MILLIS, threads }).await?;
            rounds.push((ours, limit));
        }
        vault.end().await;
        bare.end().await;
    }
    let (ours, limit) = middle(&rounds);
    let details = json!({ "in_flight": IN_FLIGHT, "best_threads": threads, "bare_by_threads": rates.by_threads() });
    let notes = vec![
        format!("sealed card to token through the vault's queue, {IN_FLIGHT} in flight, two workers"),
        format!("both of the round whose ratio is the median of {}", PAIRS * ROUNDS),
        format!("limit: derive, read, destroy, sign in a bare loop, best at {threads} threads; by threads: {}", {
            let by: Vec<String> = rates.by_threads().iter().map(|(n, rate)| format!("{n}: {rate:.0}")).collect();
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
