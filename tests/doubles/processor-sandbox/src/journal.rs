//! The books on disk: JSON lines, each written whole before its answer goes out, so that a killed sandbox keeps them.
//!
//! There is no fsync: the sandbox survives being killed, not the machine losing power. A last line without its end was
//! never answered, and is cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use crate::books::Books;
use crate::clock;
use crate::digest::{from_letters, letters};
use crate::entry::Line;
use crate::{SandboxError, wrong};

/// Where lines go.
pub(crate) struct Journal(Option<File>);

impl Journal {
    /// New books that are kept in memory only.
    pub(crate) fn in_memory() -> Result<(Books, Self), SandboxError> {
        let salt = clock::chance().ok_or_else(|| wrong("no source of chance"))?;
        Ok((Books::new(&salt), Self(None)))
    }

    /// Books that are kept in a file, as far as they have been written.
    pub(crate) fn open(path: &Path) -> Result<(Books, Self), SandboxError> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let Some((books, length)) = read(&file)? else {
            let salt = clock::chance().ok_or_else(|| wrong("no source of chance"))?;
            file.set_len(0)?;
            write_line(&mut file, &Line::Salt(letters(&salt)))?;
            return Ok((Books::new(&salt), Self(Some(file))));
        };
        file.set_len(length)?;
        Ok((books, Self(Some(file))))
    }

    /// Writes a line down.
    pub(crate) fn write(&mut self, line: &Line) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |file| write_line(file, line))
    }
}

fn write_line(file: &mut File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Reads books back and says how long their whole lines are; `None` when there is not one.
fn read(file: &File) -> Result<Option<(Books, u64)>, SandboxError> {
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut length = 0_u64;
    let mut books: Option<Books> = None;
    loop {
        text.clear();
        reader.read_until(b'\n', &mut text)?;
        if text.pop() != Some(b'\n') {
            return Ok(books.map(|books| (books, length)));
        }
        length = length.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX)).saturating_add(1);
        let line: Line = serde_json::from_slice(&text).map_err(|_| wrong("the books hold a line that is not ours"))?;
        match (&mut books, line) {
            (None, Line::Salt(salt)) => {
                books = Some(Books::new(&from_letters(&salt).ok_or_else(|| wrong("the books' salt is not letters"))?));
            }
            (None, _) => return Err(wrong("the books do not begin with their salt")),
            (Some(books), line) => {
                books.book(line);
            }
        }
    }
}
