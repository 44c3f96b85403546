//! A short run of every parser with every test run; the long one is a command (see the README beside it).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

use larder_fuzz::{Target, run, targets};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

fn all() -> Vec<Target> {
    targets(|target, name| fs::read(Path::new(CORPUS).join(target).join(name)).map_err(|error| error.to_string()))
        .unwrap()
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(Path::new(CORPUS).join(target.name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn no_parser_fails_on_whatever_comes() {
    for target in all() {
        let report = run(&target, &inputs(&target), target.short, 1);
        println!("{}: {} executions, {} answers", target.name, report.executions, report.answers);
        assert_eq!(report.finding, None, "{}", target.name);
        assert_eq!(report.executions, target.short);
        // A parser that refuses everything at once, or a corpus that is none, would be no test.
        assert!(report.answers >= 6, "{}: only {} different answers", target.name, report.answers);
    }
}

#[test]
fn what_was_committed_is_what_parsers_take() {
    let taken = [
        ("attest", "Certify("),
        ("public", "None Ecdsa(Sha256)"),
        ("signature", "Sha256"),
        ("event-log", "0 events"),
        ("attestation-object", "1 certificates"),
        ("certificate", "accepted 645bacca"),
        ("verdict", "opened"),
        ("begin", "read"),
        ("finish", "read"),
        ("acme", "Needs {"),
        ("bundle", "believed"),
    ];
    let all = all();
    assert_eq!(all.len(), taken.len());
    for (target, (name, answer)) in all.iter().zip(taken) {
        assert_eq!(target.name, name);
        let found = target.answer(&inputs(target)[0]);
        assert!(found.starts_with(answer), "{name}: {found}");
    }
}
