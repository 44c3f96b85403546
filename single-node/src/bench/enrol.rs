//! `enrol`: what servers do for an attested enrolment, as enrolments for each second of their CPU time, and where the
//! time goes. What fridges and their TPMs do is in no figure: in life, every fridge brings its own.
//!
//! All is as in life: the ACME server, the attestation service and the authority are processes of their own, the TPMs
//! are swtpm, and each enrolment that is counted proves the fridge's last key, as every renewal does.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::enrolling::{Cost, Device, Step, Watch};
use super::figure::{Bound, Figure, rounded};
use super::ground::Ground;
use super::statistics::{median, middle, number};
use super::{Progress, bare_enrol};
use crate::Fault;

/// Rounds; in each, both sides are measured.
const ROUNDS: usize = 5;
/// Fridges, and how often each is enrolled in a round.
const FRIDGES: usize = 4;
const TIMES: usize = 6;

/// One enrolment, as it was on average in a round: milliseconds of each step, and of the bare cryptography.
struct Round {
    steps: BTreeMap<Step, Cost>,
    bare_ms: f64,
}

/// Measures.
///
/// # Errors
/// [`Fault`] when a fridge is refused.
pub(super) async fn measure(ground: &mut Ground, progress: &Progress) -> Result<Figure, Fault> {
    ground.stack.start_enrolment(&|what| progress.say(what)).await?;
    let stack = &ground.stack;
    let mut fridges = Vec::with_capacity(FRIDGES);
    for n in 0..FRIDGES {
        progress.say(&format!("enrol: fridge {} of {FRIDGES}", n + 1));
        let mut fridge = Device::new(stack, n).await?;
        fridge.enrol(&mut Watch::new(stack)?).await?;
        fridges.push(fridge);
    }
    let mut rounds = Vec::with_capacity(ROUNDS);
    for number in 1..=ROUNDS {
        progress.say(&format!("enrol: round {number} of {ROUNDS}"));
        let mut watch = Watch::new(stack)?;
        for _ in 0..TIMES {
            for fridge in &mut fridges {
                fridge.enrol(&mut watch).await?;
            }
        }
        let bare_ms = spawn_blocking(bare_enrol::ms).await.map_err(Fault::of("bare cryptography"))??;
        rounds.push(Round { steps: each(watch.costs()), bare_ms });
    }
    Ok(figure(&rounds))
}

/// Of one enrolment.
fn each(mut steps: BTreeMap<Step, Cost>) -> BTreeMap<Step, Cost> {
    let enrolments = number(FRIDGES * TIMES);
    for cost in steps.values_mut() {
        cost.waited /= enrolments;
        cost.cpu.values_mut().for_each(|ms| *ms /= enrolments);
    }
    steps
}

/// The medians of all rounds.
fn medians(rounds: &[Round]) -> BTreeMap<Step, Cost> {
    let over = |step: &Step, of: &dyn Fn(&Cost) -> f64| {
        median(&rounds.iter().filter_map(|round| round.steps.get(step)).map(of).collect::<Vec<_>>())
    };
    let first = rounds.iter().flat_map(|round| &round.steps).map(|(step, cost)| (*step, cost.cpu.keys()));
    first
        .map(|(step, programs)| {
            let cpu = programs.map(|name| (*name, over(&step, &|cost| cost.cpu.get(name).copied().unwrap_or(0.0))));
            (step, Cost { waited: over(&step, &|cost| cost.waited), cpu: cpu.collect() })
        })
        .collect()
}

fn per_s(ms: f64) -> f64 {
    if ms > 0.0 { 1_000.0 / ms } else { 0.0 }
}

fn figure(rounds: &[Round]) -> Figure {
    let cpu = |round: &Round| round.steps.values().map(Cost::servers).sum::<f64>();
    let pairs: Vec<(f64, f64)> = rounds.iter().map(|round| (per_s(cpu(round)), per_s(round.bare_ms))).collect();
    let (ours, limit) = middle(&pairs);
    let steps = medians(rounds);
    let mut programs: BTreeMap<&str, f64> = BTreeMap::new();
    for (program, ms) in steps.values().flat_map(|cost| &cost.cpu) {
        *programs.entry(program).or_default() += ms;
    }
    let waited: f64 = steps.values().map(|cost| cost.waited).sum();
    let details = json!({
        "enrolments": ROUNDS * FRIDGES * TIMES,
        "bare_ms": rounded(median(&rounds.iter().map(|round| round.bare_ms).collect::<Vec<_>>())),
        "waited_ms": rounded(waited),
        "cpu_ms": rounded_each(&programs),
        "steps": steps.iter().map(|(step, cost)| (step.name().to_owned(), told(cost))).collect::<Map<_, _>>(),
    });
    let mut notes = vec![
        format!(
            "attested enrolments for each second of the servers' CPU time: {} of {FRIDGES} fridges, one after another",
            ROUNDS * FRIDGES * TIMES
        ),
        "each with new connections and a new key, as a renewal; what fridges and their TPMs do is not in it".to_owned(),
        format!("limit: the cryptography alone, on one processor: {}", bare_enrol::WORDS),
        format!("both of the round whose ratio is the median of {ROUNDS}; below: medians, for one enrolment"),
        format!("CPU time: {}", in_words(&programs)),
    ];
    notes.extend(Step::ALL.iter().filter_map(|step| steps.get(step).map(|cost| (step, cost))).map(|(step, cost)| {
        let name = step.name();
        format!("{name:<9} {:>5.2} ms CPU ({}), answered in {:.2} ms", cost.servers(), in_words(&cost.cpu), cost.waited)
    }));
    notes.push(format!(
        "answers took {waited:.1} ms in all, the fridge's side of TLS in it: {:.0} enrolments/s if nobody else comes",
        per_s(waited)
    ));
    Figure {
        name: "enrol",
        ours,
        limit,
        unit: "per CPU second",
        bound: Bound::None,
        details: details.as_object().cloned().unwrap_or_default(),
        notes,
    }
}

fn told(cost: &Cost) -> Value {
    json!({ "waited_ms": rounded(cost.waited), "cpu_ms": rounded_each(&cost.cpu) })
}

fn rounded_each(values: &BTreeMap<&str, f64>) -> Map<String, Value> {
    values.iter().map(|(name, ms)| ((*name).to_owned(), json!(rounded(*ms)))).collect()
}

/// The programs that did something, and how long.
fn in_words(programs: &BTreeMap<&str, f64>) -> String {
    let busy = programs.iter().filter(|(_, ms)| **ms >= 0.005);
    busy.map(|(program, ms)| format!("{program} {ms:.2} ms")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(waited: f64, acme: f64, attest: f64, bare_ms: f64) -> Round {
        let cost = |program, ms| Cost { waited: waited / 2.0, cpu: [(program, ms)].into() };
        let steps = [(Step::Order, cost("larder-acme", acme)), (Step::Begin, cost("larder-attest", attest))];
        Round { steps: steps.into(), bare_ms }
    }

    #[test]
    fn the_figure_is_of_cpu_time_and_says_where_it_goes() {
        let figure = figure(&[round(9.0, 2.0, 3.0, 1.0), round(20.0, 6.0, 4.0, 2.5), round(10.0, 4.0, 4.0, 4.0)]);
        // 5, 10 and 8 ms beside 1, 2.5 and 4 ms: the middle ratio is 2.5 of 10.
        assert_eq!((figure.ours, figure.limit), (100.0, 400.0));
        let of = |path: &str| Value::Object(figure.details.clone()).pointer(path).cloned();
        assert_eq!(of("/cpu_ms"), Some(json!({ "larder-acme": 4.0, "larder-attest": 4.0 })));
        assert_eq!(of("/steps/order"), Some(json!({ "waited_ms": 5.0, "cpu_ms": { "larder-acme": 4.0 } })));
        let notes = figure.notes.join("\n");
        assert!(notes.contains("order      4.00 ms CPU (larder-acme 4.00 ms), answered in 5.00 ms"), "{notes}");
        assert!(notes.contains("answers took 10.0 ms in all"), "{notes}");
    }
}
