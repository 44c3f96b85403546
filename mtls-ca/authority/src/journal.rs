//! An append-only file of JSON lines, each made durable before it counts. Each line carries the hash of the line before it and
//! its own, so a line that is changed, moved or taken out is found. Who can rewrite the file can rewrite all of it from some
//! line on: therefore the hash of the last line is shown by every command, to be kept elsewhere.
//!
//! Several processes may write to one file: an append locks it, reads what others have added, and verifies it. A last line
//! without its end is what a crash in the middle of an append leaves; it never counted, so it is cut off, loudly. It leaves
//! what the lines say to `log` and `acts`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{disk, sync_parent};
use crate::{AuthorityError, Corrupt, Fault};

/// How often and how long to try for the lock: 5 s in all. An append holds it for some milliseconds.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A line of a journal.
pub(crate) trait Line: Serialize + DeserializeOwned {
    /// The most bytes of one.
    const MAX_BYTES: u64;

    /// What a line that does not hold is called.
    fn corrupt(line: u64, why: &'static str) -> Corrupt;

    /// Its place, from one, and the hash of the line before.
    fn place(&self) -> (u64, &str);

    /// Its own hash.
    fn hash(&mut self) -> &mut String;
}

/// The end of a verified journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last one; 64 zeros when there is none. Keep it elsewhere: it stands for the whole log.
    pub hash: String,
}

impl Head {
    fn empty() -> Self {
        Self { entries: 0, hash: "0".repeat(64) }
    }
}

/// A journal, verified up to some place.
#[derive(Debug)]
pub(crate) struct Journal<L> {
    path: PathBuf,
    /// Bytes verified so far.
    position: u64,
    head: Head,
    lines: PhantomData<fn() -> L>,
}

impl<L: Line> Journal<L> {
    /// The journal of this file, of which nothing is read yet.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, position: 0, head: Head::empty(), lines: PhantomData }
    }

    /// Makes the file; there must be none yet.
    pub(crate) fn create(path: PathBuf) -> Result<Self, AuthorityError> {
        let journal = Self::at(path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&journal.path);
        made.and_then(|file| file.sync_all())
            .and_then(|()| sync_parent(&journal.path))
            .map_err(|e| journal.disk("cannot make", e))?;
        Ok(journal)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Opens the file and waits until nobody else writes to it. Who reads together with others holds it `shared`.
    pub(crate) fn hold(&self, shared: bool) -> Result<File, AuthorityError> {
        let file = self.open_file()?;
        lock_as(&file, &self.path, shared)?;
        Ok(file)
    }

    /// Verifies what others have appended since, and hands each line on.
    pub(crate) fn refresh(
        &mut self,
        each: &mut dyn FnMut(L) -> Result<(), AuthorityError>,
    ) -> Result<(), AuthorityError> {
        let mut file = self.hold(false)?;
        self.catch_up(&mut file, each)
    }

    /// Reads and verifies what stands behind the place known so far in a file that is held, and cuts off a torn last line.
    pub(crate) fn catch_up(
        &mut self,
        file: &mut File,
        each: &mut dyn FnMut(L) -> Result<(), AuthorityError>,
    ) -> Result<(), AuthorityError> {
        file.seek(SeekFrom::Start(self.position)).map_err(|e| self.disk("cannot read", e))?;
        let mut reader = BufReader::new(&*file);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(L::MAX_BYTES).read_line(&mut line);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) if line.ends_with('\n') => {}
                Ok(_) if length(&line) < L::MAX_BYTES => break,
                Ok(_) => return Err(self.corrupt("the line is far too long").into()),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(self.corrupt("it is not text").into()),
                Err(e) => return Err(self.disk("cannot read", e).into()),
            }
            let (read, head) = self.verify(line.trim_end_matches('\n'))?;
            each(read)?;
            self.position = self.position.saturating_add(length(&line));
            self.head = head;
        }
        let file_name = self.path.display();
        tracing::warn!(entries = self.head.entries, %file_name, "it ended in a torn line, which was cut off");
        file.set_len(self.position).and_then(|()| file.sync_data()).map_err(|e| self.disk("cannot repair", e).into())
    }

    /// Appends the line that `make` makes for the place after the last one to a file that is held and read to its end;
    /// returns when it is durable.
    pub(crate) fn append(&mut self, file: &mut File, make: impl FnOnce(&Head) -> L) -> Result<L, AuthorityError> {
        let mut new = make(&self.head);
        *new.hash() = hash_of(&new)?;
        let mut line = json(&new)?;
        line.push('\n');
        if length(&line) > L::MAX_BYTES {
            return Err(Fault::Encoding("a line would be too long to be read again".to_owned()).into());
        }
        let written = file.seek(SeekFrom::Start(self.position)).and_then(|_| file.write_all(line.as_bytes()));
        if let Err(source) = written.and_then(|()| file.sync_data()) {
            // What may stand there now is a torn line; should even this fail, the next reader cuts it off.
            let _ = file.set_len(self.position).and_then(|()| file.sync_data());
            return Err(self.disk("cannot append to", source).into());
        }
        self.position = self.position.saturating_add(length(&line));
        self.head = Head { entries: self.head.entries.saturating_add(1), hash: new.hash().clone() };
        Ok(new)
    }

    fn verify(&self, text: &str) -> Result<(L, Head), AuthorityError> {
        let mut line: L = serde_json::from_str(text).map_err(|_| self.corrupt("it is no entry"))?;
        if json(&line)? != text {
            return Err(self.corrupt("it is not written as this authority writes").into());
        }
        let (sequence, previous) = line.place();
        if sequence != self.head.entries.saturating_add(1) {
            return Err(self.corrupt("its number does not follow the line before").into());
        }
        if previous != self.head.hash {
            return Err(self.corrupt("it does not follow from the line before").into());
        }
        let claimed = std::mem::take(line.hash());
        if hash_of(&line)? != claimed {
            return Err(self.corrupt("its content is not what was hashed").into());
        }
        line.hash().clone_from(&claimed);
        Ok((line, Head { entries: sequence, hash: claimed }))
    }

    fn open_file(&self) -> Result<File, Fault> {
        OpenOptions::new().read(true).write(true).open(&self.path).map_err(|e| self.disk("cannot open", e))
    }

    fn disk(&self, what: &'static str, source: io::Error) -> Fault {
        disk(what, &self.path, source)
    }

    fn corrupt(&self, why: &'static str) -> Corrupt {
        L::corrupt(self.head.entries.saturating_add(1), why)
    }
}

/// Takes the lock, which ends with the file; waits for others, but not for ever.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), Fault> {
    lock_as(file, path, false)
}

fn lock_as(file: &File, path: &Path, shared: bool) -> Result<(), Fault> {
    for _ in 0..LOCK_TRIES {
        match if shared { file.try_lock_shared() } else { file.try_lock() } {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(disk("cannot lock", path, source)),
        }
    }
    Err(Fault::Busy(path.to_owned()))
}

fn json(line: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(line).map_err(|why| Fault::Encoding(why.to_string()))
}

/// The hash of a line whose own hash is empty.
fn hash_of(line: &impl Serialize) -> Result<String, Fault> {
    Ok(HEXLOWER.encode(digest(&SHA256, json(line)?.as_bytes()).as_ref()))
}

fn length(line: &str) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
