//! Tests of `journal`: the chain by itself, with lines that say almost nothing. What the log and the acts make of it is tested
//! there.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Head, Journal, Line};
use crate::{AuthorityError, Corrupt, Fault};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Word {
    sequence: u64,
    previous: String,
    word: String,
    hash: String,
}

impl Line for Word {
    const MAX_BYTES: u64 = 400;

    fn corrupt(line: u64, why: &'static str) -> Corrupt {
        Corrupt::Log { line, why }
    }

    fn place(&self) -> (u64, &str) {
        (self.sequence, &self.previous)
    }

    fn hash(&mut self) -> &mut String {
        &mut self.hash
    }
}

fn word(head: &Head, word: &str) -> Word {
    Word { sequence: head.entries + 1, previous: head.hash.clone(), word: word.into(), hash: String::new() }
}

fn add(journal: &mut Journal<Word>, text: &str) -> Result<Word, AuthorityError> {
    let mut file = journal.hold(false)?;
    journal.catch_up(&mut file, &mut |_| Ok(()))?;
    journal.append(&mut file, |head| word(head, text))
}

fn read(dir: &TempDir) -> Result<(Vec<String>, Head), AuthorityError> {
    let mut journal = Journal::<Word>::at(dir.path().join("words"));
    let mut words = Vec::new();
    journal.refresh(&mut |line| {
        words.push(line.word);
        Ok(())
    })?;
    Ok((words, journal.head().clone()))
}

fn made() -> (TempDir, Journal<Word>) {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path().join("words")).unwrap();
    for text in ["one", "two", "three"] {
        add(&mut journal, text).unwrap();
    }
    (dir, journal)
}

#[test]
fn what_is_written_is_read_and_its_end_stands_for_all_of_it() {
    let (dir, journal) = made();
    let (words, head) = read(&dir).unwrap();
    assert_eq!(words, ["one", "two", "three"]);
    assert_eq!((&head, head.entries), (journal.head(), 3));
}

#[test]
fn a_line_that_could_not_be_read_again_is_not_written() {
    let (dir, mut journal) = made();
    let refused = add(&mut journal, &"x".repeat(400)).unwrap_err();
    assert!(matches!(refused, AuthorityError::Fault(Fault::Encoding(_))), "{refused}");
    assert_eq!(read(&dir).unwrap().1.entries, 3);
    add(&mut journal, "four").unwrap();
    assert_eq!(read(&dir).unwrap().0.last().unwrap(), "four");
}

#[test]
fn a_reader_who_refuses_a_line_stays_before_it() {
    let (dir, _) = made();
    let mut journal = Journal::<Word>::at(dir.path().join("words"));
    let refused = journal.refresh(&mut |line| match line.word.as_str() {
        "two" => Err(Fault::Encoding("not this one".into()).into()),
        _ => Ok(()),
    });
    assert!(refused.is_err());
    assert_eq!(journal.head().entries, 1);
    journal.refresh(&mut |_| Ok(())).unwrap();
    assert_eq!(journal.head().entries, 3, "and comes to it again");
}

#[test]
fn those_who_read_do_not_wait_for_each_other_and_who_writes_waits_for_all() {
    let (_dir, journal) = made();
    let begun = Instant::now();
    let (one, two) = (journal.hold(true).unwrap(), journal.hold(true).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(1));
    let path = journal.path.clone();
    let writer = std::thread::spawn(move || {
        let waited = Instant::now();
        let mut journal = Journal::<Word>::at(path);
        add(&mut journal, "four").unwrap();
        waited.elapsed()
    });
    std::thread::sleep(Duration::from_millis(100));
    drop(one);
    std::thread::sleep(Duration::from_millis(100));
    drop(two);
    assert!(writer.join().unwrap() >= Duration::from_millis(150));
}

#[test]
fn a_journal_that_is_held_for_ever_is_a_fault_and_not_a_hang() {
    let (_dir, journal) = made();
    let _held = journal.hold(false).unwrap();
    let refused = journal.hold(true).unwrap_err();
    assert!(matches!(refused, AuthorityError::Fault(Fault::Busy(_))), "{refused}");
}

#[test]
fn many_writers_make_one_chain() {
    let (dir, _) = made();
    let dir = Arc::new(dir);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let dir = Arc::clone(&dir);
            std::thread::spawn(move || {
                let mut journal = Journal::<Word>::at(dir.path().join("words"));
                (0..10).for_each(|n| drop(add(&mut journal, &format!("{writer} {n}")).unwrap()));
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(read(&dir).unwrap().1.entries, 33);
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_tore() {
    let (dir, _) = made();
    let path = dir.path().join("words");
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    for keep in second + 1..whole.len() {
        fs::write(&path, &whole[..keep]).unwrap();
        assert_eq!(read(&dir).unwrap().0, ["one", "two"], "{keep}");
        assert_eq!(fs::read(&path).unwrap().len(), second);
    }
}
