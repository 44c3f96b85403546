//! The search: an input of the corpus is taken, changed, and tried; one with an answer that is new joins the corpus.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Target;
use crate::mutate::mutate;
use crate::random::Random;

/// The most inputs kept, and the most answers told apart.
const MOST_INPUTS: usize = 4_096;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many inputs were tried.
    pub executions: u64,
    /// How many different answers were heard.
    pub answers: usize,
    /// What was found, which ended the run.
    pub finding: Option<Finding>,
}

/// An input that a parser should have answered otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was wrong.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

/// Tries `executions` inputs made of `corpus`, all of which are tried as they are, too.
#[must_use]
pub fn run(target: &Target, corpus: &[Vec<u8>], executions: u64, seed: u64) -> Report {
    let (mut random, mut heard) = (Random::new(seed), BTreeSet::new());
    let mut inputs = corpus.to_vec();
    let mut report = Report { executions: 0, answers: 0, finding: None };
    for number in 0..executions {
        let input = next_input(&inputs, corpus.len(), number, &mut random);
        report.executions = number.saturating_add(1);
        match try_one(target, &input) {
            Ok(answer) => {
                let is_new = heard.len() < MOST_INPUTS && heard.insert(answer);
                if is_new && inputs.len() < MOST_INPUTS {
                    inputs.push(input);
                }
            }
            Err(what) => {
                report.finding = Some(Finding { what, input });
                break;
            }
        }
    }
    report.answers = heard.len();
    report
}

fn next_input(inputs: &[Vec<u8>], whole: usize, number: u64, random: &mut Random) -> Vec<u8> {
    // Every second is made of what was committed, so that a run does not lose itself in what is refused early.
    let among = if random.below(2) == 0 { whole } else { inputs.len() };
    let mut input = inputs.get(random.below(among)).cloned().unwrap_or_default();
    if let Some(as_it_is) = usize::try_from(number).ok().filter(|at| *at < whole).and_then(|at| inputs.get(at)) {
        return as_it_is.clone();
    }
    let other = inputs.get(random.below(inputs.len())).map(Vec::as_slice).unwrap_or_default();
    mutate(&mut input, other, random);
    input
}

fn try_one(target: &Target, input: &[u8]) -> Result<String, String> {
    match catch_unwind(AssertUnwindSafe(|| (target.ask)(input))) {
        Ok((answer, Ok(()))) => Ok(answer),
        Ok((_, Err(what))) => Err(what.to_owned()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    fn target(ask: fn(&[u8]) -> Answer) -> Target {
        Target { name: "planted", short: 0, ask: Box::new(ask) }
    }

    /// A parser whose fault lies three steps deep.
    fn steps(bytes: &[u8]) -> usize {
        b"SPEC".iter().zip(bytes).take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn a_panic_is_found_although_it_lies_deep() {
        let deep = target(|bytes| {
            let steps = steps(bytes);
            assert!(steps < 4, "planted");
            (steps.to_string(), Ok(()))
        });
        let report = run(&deep, &[b"xxxxxx".to_vec()], 3_000_000, 1);
        let finding = report.finding.expect("found");
        assert_eq!((finding.what.as_str(), &finding.input[..4]), ("it panicked", &b"SPEC"[..]));
        assert!(report.answers == 4 && report.executions < 3_000_000);
    }

    #[test]
    fn an_answer_that_does_not_hold_is_found_and_the_seed_tells_which() {
        let wrong = target(|bytes| (String::new(), if bytes.len() == 3 { Err("three") } else { Ok(()) }));
        let once = run(&wrong, &[b"four".to_vec()], 10_000, 7);
        assert_eq!(once.finding.as_ref().expect("found").what, "three");
        assert_eq!(once, run(&wrong, &[b"four".to_vec()], 10_000, 7));
    }

    #[test]
    fn the_corpus_is_tried_as_it_is() {
        let only = target(|bytes| (String::new(), if bytes == b"second" { Err("tried") } else { Ok(()) }));
        let report = run(&only, &[b"first".to_vec(), b"second".to_vec()], 2, 1);
        assert_eq!(report.executions, 2);
        assert!(report.finding.is_some());
    }
}
