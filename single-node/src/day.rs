//! A day of trade: `sessions.jsonl`, read line by line so that a day of a million sessions needs no more memory than
//! one of a hundred.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::Fault;
use crate::world::Card;

/// The longest line, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// One session of the day.
#[derive(Debug, Deserialize)]
pub struct Planned {
    /// Its id.
    pub session: String,
    /// When it began, RFC 3339.
    pub at: String,
    /// Where.
    pub fridge: String,
    /// How the customer made himself known.
    pub open_with: OpenWith,
    /// What he touched.
    pub touches: Vec<PlannedTouch>,
    /// When he closed the door, milliseconds after `at`.
    pub close_at_ms: u64,
}

/// How a customer makes himself known.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenWith {
    /// By a card.
    Card(Card),
    /// By an ID token.
    IdToken(String),
}

/// One touch.
#[derive(Debug, Deserialize)]
pub struct PlannedTouch {
    /// When, milliseconds after the session's `at`.
    pub at_ms: u64,
    /// `taken` or `returned`.
    pub kind: PlannedKind,
    /// Of which meal.
    pub barcode: String,
}

/// What was done with a meal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedKind {
    /// Taken out.
    Taken,
    /// Put back.
    Returned,
}

/// The sessions of a day, in order.
pub struct Day {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
    position: u64,
}

impl Day {
    /// Opens `sessions.jsonl`.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path).map_err(Fault::io("read", path))?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), line: 0, position: 0 })
    }

    /// How many bytes have been read.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next session; none at the end.
    ///
    /// # Errors
    /// [`Fault`] names the line that is not a session.
    pub fn next_session(&mut self) -> Result<Option<Planned>, Fault> {
        use std::io::Read;
        loop {
            let mut text = Zeroizing::new(Vec::with_capacity(4_096));
            let read = (&mut self.reader)
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(Fault::io("read", &self.path))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.position += u64::try_from(read).unwrap_or(0);
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return serde_json::from_slice(&text).map(Some).map_err(Fault::of(&format!(
                "{} line {} is not a session",
                self.path.display(),
                self.line
            )));
        }
    }
}
