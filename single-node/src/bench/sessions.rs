//! `sessions`: whole card sessions a second, from the card to the captured payment, beside what the raw parts allow on
//! the same cores: each part alone in the same run, their times added up.
//!
//! The limit is hard on purpose: it allows nothing for rules, parsing or checks. It has no part for the services of the
//! other zone, which live on machines of their own; so they are paused while the rate is measured, and their events wait
//! in the outbox, as when they are away. The rate with all of them at work on the same cores is told beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use pci_contract::SealingKey;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::figure::{Bound, Figure, rounded};
use super::fridges::{self, Client, Fridge};
use super::ground::Ground;
use super::part::Part;
use super::process::Processes;
use super::rows::Step;
use super::session::{Purchase, Waited, purchase};
use super::statistics::{median, middle, number, percentile};
use super::tokenize::BareRates;
use super::{Progress, alarm, commit, https};
use crate::Fault;

/// Rounds; in each, ours and every part are measured.
const ROUNDS: usize = 5;
/// Fridges that sell at once.
const SELLING: usize = 128;
/// Sessions of each fridge in a round, one after another.
const EACH: usize = 10;
/// Sessions of each fridge before anything is measured.
const WARM_UP: usize = 2;
/// Threads that seal cards before anything is measured.
const SEALING: usize = 2;
/// How long a bare part is measured in a round.
const PART: Duration = Duration::from_secs(1);
/// How long a number of HSM threads is tried in a round, in milliseconds.
const HSM_MILLIS: u64 = 300;
/// Sessions that the naive loop writes in a round.
const NAIVE: usize = 100;

/// Purchases of each fridge in all: a round has two halves, the second with the other zone paused.
const PURCHASES: usize = WARM_UP + 2 * ROUNDS * EACH;

/// The meals that each fridge needs.
pub(super) const MEALS: usize = 2 * (alarm::PURCHASES + PURCHASES);

/// What the raw parts do, a round each, in sessions a second.
#[derive(Default)]
struct Raw {
    hsm: BareRates,
    commit: Vec<f64>,
    https: Vec<f64>,
    stream: Vec<f64>,
    /// The same rows, each only as it is in the end.
    commit_once: Vec<f64>,
    /// One transaction at a time.
    naive: Vec<f64>,
}

/// What we do.
#[derive(Default)]
struct Ours {
    rates: Vec<f64>,
    /// With the other zone paused.
    rates_alone: Vec<f64>,
    waited: Vec<Waited>,
    cpu_ms: BTreeMap<String, u64>,
    /// Seconds until the other zone had booked a round's events, after its last payment.
    booked_s: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// [`Fault`] when a session or a part fails.
pub(super) async fn measure(ground: &mut Ground, hsm: &mut Part, progress: &Progress) -> Result<Figure, Fault> {
    progress.say("sessions: cards are sealed");
    let mut rounds = seal_all(ground).await?.into_iter();
    let processes = Processes::of(&ground.stack);
    let (mut ours, mut raw) = (Ours::default(), Raw::default());
    if let Some(warm_up) = rounds.next() {
        progress.say("sessions: warming up");
        sell(&ground.ours, warm_up).await?;
        ground.settled().await?;
        ground.quiet().await?;
    }
    for number in 1..=ROUNDS {
        progress.say(&format!("sessions: round {number} of {ROUNDS}, whole sessions"));
        ours.measure(ground, &processes, rounds.next().unwrap_or_default()).await?;
        ours.measure_alone(ground, &processes, rounds.next().unwrap_or_default()).await?;
        progress.say(&format!("sessions: round {number} of {ROUNDS}, the raw parts"));
        raw.measure(ground, hsm).await?;
    }
    let peak_kib = processes.peak_kib()?;
    Ok(figure(&ours, &raw, &peak_kib))
}

/// The purchases of the warm-up, then of every half of a round, by fridge. They are sealed in the order in which they will
/// be made: a session's id begins with its time, and those that run together are neighbours in the database.
async fn seal_all(ground: &Ground) -> Result<Vec<Vec<Vec<Purchase>>>, Fault> {
    let first = ground.ours.first().ok_or_else(|| Fault::new("there is no fridge".to_owned()))?;
    let key = fridges::sealing_key(first).await?;
    let selling: Vec<Fridge> = ground.fridges.iter().take(SELLING).cloned().collect();
    let (mut rounds, mut n) = (Vec::with_capacity(1 + 2 * ROUNDS), alarm::PURCHASES);
    for each in std::iter::once(WARM_UP).chain([EACH; 2 * ROUNDS]) {
        let mut round = vec![Vec::with_capacity(each); selling.len()];
        for _ in 0..each {
            let sealed = seal(&selling, n, &key).await?;
            round.iter_mut().zip(sealed).for_each(|(purchases, purchase)| purchases.push(purchase));
            n += 1;
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// The `n`th purchase of each fridge, in the fridges' order.
async fn seal(fridges: &[Fridge], n: usize, key: &SealingKey) -> Result<Vec<Purchase>, Fault> {
    let mut sealing = JoinSet::new();
    for (at, fridges) in fridges.chunks(fridges.len().div_ceil(SEALING).max(1)).map(<[_]>::to_vec).enumerate() {
        let key = key.clone();
        sealing.spawn_blocking(move || {
            let sealed: Result<Vec<_>, Fault> = fridges.iter().map(|fridge| Purchase::seal(fridge, n, &key)).collect();
            Ok::<_, Fault>((at, sealed?))
        });
    }
    let mut sealed = BTreeMap::new();
    while let Some(part) = sealing.join_next().await {
        let (at, part) = part.map_err(Fault::of("sealing"))??;
        sealed.insert(at, part);
    }
    Ok(sealed.into_values().flatten().collect())
}

/// Has each fridge make its purchases, one after another.
async fn sell(clients: &[Client], purchases: Vec<Vec<Purchase>>) -> Result<Vec<Waited>, Fault> {
    let mut selling = JoinSet::new();
    for (client, purchases) in clients.iter().cloned().zip(purchases) {
        selling.spawn(async move {
            let mut waited = Vec::with_capacity(purchases.len());
            for one in purchases {
                waited.push(purchase(&client, one).await?);
            }
            Ok::<_, Fault>(waited)
        });
    }
    let mut all = Vec::new();
    while let Some(sold) = selling.join_next().await {
        all.extend(sold.map_err(Fault::of("a fridge's task"))??);
    }
    Ok(all)
}

impl Ours {
    async fn measure(
        &mut self,
        ground: &mut Ground,
        processes: &Processes,
        purchases: Vec<Vec<Purchase>>,
    ) -> Result<(), Fault> {
        let before = processes.cpu_ms()?;
        let began = Instant::now();
        let waited = sell(&ground.ours, purchases).await?;
        // The time ends when the last payment is captured, not when the last receipt is shown.
        ground.settled().await?;
        let elapsed = began.elapsed();
        ground.quiet().await?;
        self.booked_s.push((began.elapsed() - elapsed).as_secs_f64());
        self.rates.push(number(waited.len()) / elapsed.as_secs_f64());
        self.waited.extend(waited);
        for (name, after) in processes.cpu_ms()? {
            let used = after.saturating_sub(before.get(&name).copied().unwrap_or(0));
            *self.cpu_ms.entry(name).or_default() += used;
        }
        Ok(())
    }

    async fn measure_alone(
        &mut self,
        ground: &mut Ground,
        processes: &Processes,
        purchases: Vec<Vec<Purchase>>,
    ) -> Result<(), Fault> {
        let paused = processes.pause_the_other_zone();
        let began = Instant::now();
        let waited = sell(&ground.ours, purchases).await?;
        ground.settled().await?;
        self.rates_alone.push(number(waited.len()) / began.elapsed().as_secs_f64());
        drop(paused);
        ground.quiet().await
    }

    fn cpu_ms_per_session(&self) -> BTreeMap<String, f64> {
        let sessions = number(self.waited.len()).max(1.0);
        let each = |ms: u64| rounded(f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / sessions);
        self.cpu_ms.iter().map(|(name, ms)| (name.clone(), each(*ms))).collect()
    }

    fn percentiles(&self, of: impl Fn(&Waited) -> Duration) -> (f64, f64) {
        let times: Vec<f64> = self.waited.iter().map(|waited| of(waited).as_secs_f64() * 1_000.0).collect();
        (percentile(&times, 50.0), percentile(&times, 99.0))
    }
}

impl Raw {
    async fn measure(&mut self, ground: &Ground, hsm: &mut Part) -> Result<(), Fault> {
        self.hsm.measure(hsm, HSM_MILLIS).await?;
        let database = ground.stack.layout().state("bench-bare.sqlite");
        // In the order in which they are written, as in `seal_all`.
        let lists = |fridges: usize, each: usize, steps: &dyn Fn(usize) -> Vec<Step>| -> Vec<Vec<Vec<Step>>> {
            let mut lists = vec![Vec::with_capacity(each); fridges];
            for _ in 0..each {
                lists.iter_mut().enumerate().for_each(|(fridge, list)| list.push(steps(fridge)));
            }
            lists
        };
        let in_steps = |fridge| ground.template.in_steps(fridge);
        let at_once = |fridge| ground.template.at_once(fridge);
        self.commit.push(commit::rate(&database, lists(SELLING, EACH, &in_steps)).await?);
        self.commit_once.push(commit::rate(&database, lists(SELLING, EACH, &at_once)).await?);
        self.naive.push(commit::rate(&database, lists(1, NAIVE, &in_steps)).await?);
        let calls = https::rate(&ground.listening.https, &ground.listening.root_pem, PART).await?;
        self.https.push(calls / 2.0);
        self.stream.push(streams(ground).await?);
        Ok(())
    }

    /// Milliseconds that each part takes of a session.
    fn parts_ms(&self) -> [(&'static str, f64); 4] {
        [
            ("hsm", ms_each(self.hsm.best().1)),
            ("commit", ms_each(median(&self.commit))),
            ("https", ms_each(median(&self.https))),
            ("stream", ms_each(median(&self.stream))),
        ]
    }

    /// What all parts together allow, in sessions a second, by round. The HSM's is the median of all.
    fn limits(&self) -> impl Iterator<Item = f64> {
        let hsm_ms = ms_each(self.hsm.best().1);
        let rounds = self.commit.iter().zip(&self.https).zip(&self.stream);
        rounds.map(move |((commit, https), stream)| {
            1_000.0 / (hsm_ms + ms_each(*commit) + ms_each(*https) + ms_each(*stream))
        })
    }
}

/// Milliseconds of one, at so many a second.
fn ms_each(rate: f64) -> f64 {
    if rate > 0.0 { 1_000.0 / rate } else { 0.0 }
}

/// Sessions a second against the bare gRPC server, with the messages of ours.
async fn streams(ground: &Ground) -> Result<f64, Fault> {
    let first = ground.ours.first().ok_or_else(|| Fault::new("there is no fridge".to_owned()))?;
    let key = fridges::sealing_key(first).await?;
    let began = Instant::now();
    let mut selling = JoinSet::new();
    for (fridge, client) in ground.fridges.iter().zip(ground.bare.iter().cloned()).take(SELLING) {
        // The server answers by rote: the same purchase may be made again and again.
        let one = Purchase::seal(fridge, 0, &key)?;
        selling.spawn(async move {
            let began = Instant::now();
            let mut made = 0_usize;
            while began.elapsed() < PART {
                purchase(&client, one.clone()).await?;
                made += 1;
            }
            Ok::<_, Fault>(made)
        });
    }
    let mut made = 0;
    while let Some(sold) = selling.join_next().await {
        made += sold.map_err(Fault::of("a fridge's task"))??;
    }
    Ok(number(made) / began.elapsed().as_secs_f64())
}

fn figure(ours: &Ours, raw: &Raw, peak_kib: &BTreeMap<String, u64>) -> Figure {
    let parts = raw.parts_ms();
    let limit_ms: f64 = parts.iter().map(|(_, ms)| ms).sum();
    let rounds: Vec<(f64, f64)> = ours.rates_alone.iter().copied().zip(raw.limits()).collect();
    let (rate, limit) = middle(&rounds);
    let told = Told {
        alone: median(&ours.rates_alone),
        shared: median(&ours.rates),
        parts,
        limit_ms,
        once_ms: limit_ms - ms_each(median(&raw.commit)) + ms_each(median(&raw.commit_once)),
        naive: median(&raw.naive),
        open: ours.percentiles(|waited| waited.open),
        close: ours.percentiles(|waited| waited.close),
        cpu_ms: ours.cpu_ms_per_session(),
        peak_mib: peak_kib.iter().map(|(name, kib)| (name.clone(), kib / 1_024)).collect(),
        booked_s: median(&ours.booked_s),
    };
    Figure {
        name: "sessions",
        ours: rate,
        limit,
        unit: "sessions/s",
        bound: Bound::AtLeast(0.6),
        details: told.details(ours.waited.len()).as_object().cloned().unwrap_or_default(),
        notes: told.notes(ours.waited.len()),
    }
}

/// What is told of it.
struct Told {
    alone: f64,
    shared: f64,
    parts: [(&'static str, f64); 4],
    limit_ms: f64,
    once_ms: f64,
    naive: f64,
    open: (f64, f64),
    close: (f64, f64),
    cpu_ms: BTreeMap<String, f64>,
    peak_mib: BTreeMap<String, u64>,
    booked_s: f64,
}

impl Told {
    fn details(&self, sessions: usize) -> Value {
        let parts = self.parts.iter().map(|(name, ms)| ((*name).to_owned(), json!(rounded(*ms))));
        json!({
            "sessions": sessions,
            "in_flight": SELLING,
            "parts_ms": parts.collect::<Map<_, Value>>(),
            "open_ms": { "p50": rounded(self.open.0), "p99": rounded(self.open.1) },
            "close_ms": { "p50": rounded(self.close.0), "p99": rounded(self.close.1) },
            "cpu_ms_per_session": self.cpu_ms,
            "peak_memory_mib": self.peak_mib,
            "naive_sessions_per_s": rounded(self.naive),
            "other_zone_on_the_same_cores":
                { "ours": rounded(self.shared), "ratio": rounded(self.shared * self.limit_ms / 1_000.0) },
            "ratio_if_each_row_were_written_once": rounded(self.alone * self.once_ms / 1_000.0),
            "booked_after_s": rounded(self.booked_s),
        })
    }

    fn notes(&self, sessions: usize) -> Vec<String> {
        let parts = self.parts.iter().map(|(name, ms)| format!("{name} {ms:.3} ms")).collect::<Vec<_>>().join(", ");
        let cpu = self.cpu_ms.iter().map(|(name, ms)| format!("{name} {ms:.2} ms")).collect::<Vec<_>>().join(", ");
        let peak = self.peak_mib.iter().map(|(name, mib)| format!("{name} {mib} MiB")).collect::<Vec<_>>().join(", ");
        let of_limit = |rate: f64, ms: f64| rate * ms / 1_000.0;
        vec![
            format!(
                "{sessions} sessions of a card and two touches, {SELLING} fridges at once, each message acknowledged"
            ),
            format!("limit: the raw parts, each alone, their times of a session added up; medians: {parts}"),
            format!("both of the round whose ratio is the median of {ROUNDS}"),
            format!(
                "with the four services of the other zone at work on the same cores: {:.0} sessions/s, ratio {:.2}",
                self.shared,
                of_limit(self.shared, self.limit_ms)
            ),
            format!(
                "were each row written once only, as it is in the end: ratio {:.2}",
                of_limit(self.alone, self.once_ms)
            ),
            format!("a naive loop, one transaction at a time: {:.0} sessions/s, of its database alone", self.naive),
            format!("the same, open at full load: p50 {:.1} ms, p99 {:.1} ms", self.open.0, self.open.1),
            format!("the same, close at full load: p50 {:.1} ms, p99 {:.1} ms", self.close.0, self.close.1),
            format!("the same, CPU time a session: {cpu}"),
            format!("the same, peak memory: {peak}"),
            format!(
                "the same, the other zone had booked everything {:.1} s after a round's last payment",
                self.booked_s
            ),
        ]
    }
}
