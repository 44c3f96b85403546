//! The search in bytes: every needle of every card in one pass, splits by their neighbourhood, gzip by unpacking it.
//!
//! Marks are looked for in the same pass. They are no secrets but things that must be there, so that a search of the
//! wrong file or of no memory at all does not pass for a clean one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use aho_corasick::AhoCorasick;
use single_node::Fault;

use crate::canary::Canary;
use crate::forms::{self, Form};

/// How gzip begins: its magic and its one method (RFC 1952).
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
/// The most bytes that are unpacked of one gzip member.
const MAX_UNPACKED: u64 = 64 << 20;
/// How often gzip may stand inside gzip.
const MAX_DEPTH: usize = 2;
/// How far from its first digits the last four of a split number may stand.
const SPLIT_REACH: usize = 64;
/// First digits by which a card's issuer is known (ISO/IEC 7812-1), by the old and the new length.
const BIN_LENGTHS: [usize; 2] = [6, 8];

/// What a needle means where it is found.
#[derive(Clone, Copy)]
enum Meaning {
    Number { canary: usize, form: Form },
    Bin { canary: usize },
    Gzip,
    Mark(usize),
}

/// A search for these cards and marks.
pub struct Hunt {
    automaton: AhoCorasick,
    meanings: Vec<Meaning>,
    canaries: Vec<Canary>,
    marks: Vec<String>,
    reach: usize,
}

/// What was found, and where.
#[derive(Debug, Default)]
pub struct Finds {
    numbers: BTreeMap<(String, &'static str, Form), Seen>,
    marks: BTreeSet<(String, String)>,
    bytes: u64,
}

#[derive(Debug)]
struct Seen {
    times: u64,
    first_at: u64,
}

impl Hunt {
    /// A search for `canaries` in every form, and for `marks` as they are.
    ///
    /// # Errors
    /// [`Fault`] when there is nothing to look for, or too much.
    pub fn new(canaries: &[Canary], marks: &[String]) -> Result<Self, Fault> {
        if canaries.is_empty() {
            return Err(Fault::new("a search for no card finds none".to_owned()));
        }
        let mut needles: Vec<(Vec<u8>, Meaning)> = vec![(GZIP.to_vec(), Meaning::Gzip)];
        for (canary, card) in canaries.iter().enumerate() {
            let number = |(form, needle)| (needle, Meaning::Number { canary, form });
            needles.extend(forms::needles(card.digits()).into_iter().map(number));
            needles.extend(bins(card.digits()).into_iter().map(|needle| (needle, Meaning::Bin { canary })));
        }
        needles.extend(marks.iter().enumerate().map(|(mark, text)| (text.clone().into_bytes(), Meaning::Mark(mark))));
        let automaton = AhoCorasick::new(needles.iter().map(|(needle, _)| needle)).map_err(Fault::of("the needles"))?;
        let longest = needles.iter().map(|(needle, _)| needle.len()).max().unwrap_or(0);
        let meanings = needles.into_iter().map(|(_, meaning)| meaning).collect();
        let reach = longest.max(SPLIT_REACH + 2 * BIN_LENGTHS[1]);
        Ok(Self { automaton, meanings, canaries: canaries.to_vec(), marks: marks.to_vec(), reach })
    }

    /// By how many bytes two pieces of one text must overlap for nothing to be cut in two.
    #[must_use]
    pub const fn reach(&self) -> usize {
        self.reach
    }

    /// The cards that are looked for.
    #[must_use]
    pub fn canaries(&self) -> &[Canary] {
        &self.canaries
    }

    /// Searches `bytes`, which begin at position `at` of `place`.
    pub fn search(&self, place: &str, at: u64, bytes: &[u8], finds: &mut Finds) {
        finds.bytes += wide(bytes.len());
        self.search_depth(place, at, bytes, finds, 0);
    }

    fn search_depth(&self, place: &str, at: u64, bytes: &[u8], finds: &mut Finds, depth: usize) {
        for found in self.automaton.find_overlapping_iter(bytes) {
            let Some(meaning) = self.meanings.get(found.pattern().as_usize()) else { continue };
            let position = at + wide(found.start());
            match *meaning {
                Meaning::Number { canary, form } => self.note(finds, place, canary, form, position),
                Meaning::Bin { canary } if self.has_last_four_near(canary, bytes, found.start(), found.end()) => {
                    self.note(finds, place, canary, Form::Split, position);
                }
                Meaning::Bin { .. } => {}
                Meaning::Gzip if depth < MAX_DEPTH => {
                    let unpacked = unpack(bytes.get(found.start()..).unwrap_or_default());
                    let inside = format!("{place}, unzipped at {position}");
                    self.search_depth(&inside, 0, &unpacked, finds, depth + 1);
                }
                Meaning::Gzip => {}
                Meaning::Mark(mark) => {
                    let text = self.marks.get(mark).cloned().unwrap_or_default();
                    finds.marks.insert((place.to_owned(), text));
                }
            }
        }
    }

    fn note(&self, finds: &mut Finds, place: &str, canary: usize, form: Form, position: u64) {
        let part = self.canaries.get(canary).map_or("a card", Canary::part);
        let seen = finds.numbers.entry((place.to_owned(), part, form));
        seen.and_modify(|seen| seen.times += 1).or_insert(Seen { times: 1, first_at: position });
    }

    /// Whether the digits at `start..end` stand alone, and the card's last four stand alone not far from them.
    fn has_last_four_near(&self, canary: usize, bytes: &[u8], start: usize, end: usize) -> bool {
        let Some(last_four) = self.canaries.get(canary).and_then(|card| card.digits().as_bytes().last_chunk::<4>())
        else {
            return false;
        };
        let near = start.saturating_sub(SPLIT_REACH)..bytes.len().min(end + SPLIT_REACH);
        stands_alone(bytes, start, end)
            && near.clone().any(|at| {
                let (apart, whole) = (at + 4 <= start || at >= end, at + 4 <= near.end);
                apart && whole && bytes.get(at..at + 4) == Some(last_four) && stands_alone(bytes, at, at + 4)
            })
    }
}

/// Whether no digit stands right before or after `start..end`.
fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    !digit(start.checked_sub(1)) && !digit(Some(end))
}

/// The first digits as they are written: in one run, or cut after four as on a card.
fn bins(digits: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for bin in BIN_LENGTHS.into_iter().filter_map(|length| digits.get(..length)) {
        let (four, rest) = bin.split_at(4);
        all.push(bin.as_bytes().to_vec());
        all.extend([" ", "-"].map(|between| format!("{four}{between}{rest}").into_bytes()));
    }
    all
}

/// What a gzip member holds, as far as it can be read: one that was cut off still tells what came before the cut.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    let _ = flate2::read::GzDecoder::new(bytes).take(MAX_UNPACKED).read_to_end(&mut unpacked);
    unpacked
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Finds {
    /// Whether no number was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How many bytes were searched, what gzip held not counted.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How often `part` was found in `form` in places that begin so.
    #[must_use]
    pub fn times(&self, place: &str, part: &str, form: Form) -> u64 {
        let these = self.numbers.iter().filter(|((at, of, by), _)| at.starts_with(place) && *of == part && *by == form);
        these.map(|(_, seen)| seen.times).sum()
    }

    /// Whether the mark was found in a place that begins so.
    #[must_use]
    pub fn has_mark(&self, place: &str, mark: &str) -> bool {
        self.marks.iter().any(|(at, text)| at.starts_with(place) && text == mark)
    }

    /// Adds what another search found.
    pub fn extend(&mut self, other: Self) {
        for (key, seen) in other.numbers {
            self.numbers.entry(key).and_modify(|known| known.times += seen.times).or_insert(seen);
        }
        self.marks.extend(other.marks);
        self.bytes += other.bytes;
    }
}

impl fmt::Display for Finds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((place, part, form), seen) in &self.numbers {
            writeln!(f, "{part}, {form:?}, {} times in {place}, first at {}", seen.times, seen.first_at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NUMBER: &str = "4012888888881881";

    fn hunt() -> Hunt {
        let canaries = [Canary::new("one", NUMBER), Canary::new("other", "371449635398431")];
        Hunt::new(&canaries, &["a mark".to_owned()]).expect("a hunt")
    }

    fn found(text: &[u8]) -> Vec<(&'static str, Form)> {
        let mut finds = Finds::default();
        hunt().search("here", 0, text, &mut finds);
        finds.numbers.keys().map(|(_, part, form)| (*part, *form)).collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(text).expect("written");
        writer.finish().expect("finished")
    }

    #[test]
    fn a_number_is_found_with_its_place_and_a_mark_is_none() {
        let mut finds = Finds::default();
        hunt().search("here", 1_000, format!("a mark {NUMBER}, {NUMBER}").as_bytes(), &mut finds);
        assert_eq!(finds.to_string(), "one, Ascii, 2 times in here, first at 1007\n");
        assert!(finds.has_mark("he", "a mark") && !finds.has_mark("there", "a mark"));
        assert_eq!((finds.times("here", "one", Form::Ascii), finds.times("here", "other", Form::Ascii)), (2, 0));
    }

    #[test]
    fn a_split_number_is_found_by_both_its_ends() {
        for text in [
            "401288******1881",
            r#"{"bin":"401288","last_four":"1881"}"#,
            r#"{"last_four":"1881","bin":"40128888"}"#,
            "4012 88XX XXXX 1881",
            "4012-8888-xxxx-1881",
        ] {
            assert_eq!(found(text.as_bytes()), [("one", Form::Split)], "{text}");
        }
        for text in [
            "last four 1881",
            "401288 alone",
            "14012880 1881",
            "401288 18810",
            "371449 and 1881",
            &format!("401288{}1881", "x".repeat(80)),
        ] {
            assert_eq!(found(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn gzip_is_looked_into_even_when_it_is_cut_off_or_inside_gzip() {
        let long = format!("{NUMBER}{}", (0..2_000).map(|n| (n * 7_919).to_string()).collect::<String>());
        let packed = gzip(long.as_bytes());
        for text in
            [&packed[..], &packed[..packed.len() / 2], &gzip(&packed), &[b"head", &packed[..], b"tail"].concat()]
        {
            assert!(found(text).contains(&("one", Form::Ascii)));
        }
        assert_eq!(found(&gzip(b"nothing")), []);
    }

    #[test]
    fn a_search_for_nothing_is_refused() {
        assert!(Hunt::new(&[], &[]).is_err());
    }
}
