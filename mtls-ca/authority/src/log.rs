//! The issuance log: one JSON line for every signature of the authority, appended and made durable before the certificate
//! leaves. Each line carries the hash of the line before it and its own, so a line that is changed, moved or taken out is
//! found. Who can rewrite the file can rewrite all of it from some line on: therefore the hash of the last line is shown
//! by every command, to be kept elsewhere.
//!
//! Several processes may issue from one folder: an append locks the file, reads what others have added, and verifies it.
//! A last line without its end is what a crash in the middle of an append leaves; its certificate never left, so it is
//! cut off, loudly.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::files::{disk, sync_parent};
use crate::{AuthorityError, Corrupt, Fault};

/// The most bytes of a line; ours have some 700.
const MAX_LINE_BYTES: u64 = 4096;
/// How often and how long to try for the lock: 5 s in all. An append holds it for some milliseconds.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The root's own certificate.
    Root,
    /// The intermediate that vouches for fridges.
    DeviceIntermediate,
    /// The intermediate that vouches for services and operators.
    ServiceIntermediate,
    /// The intermediate that vouches for the attestation keys of TPMs.
    AttestationIntermediate,
    /// A fridge's leaf.
    Device,
    /// A service's leaf.
    Service,
    /// A person's leaf.
    Operator,
    /// The certificate of a TPM's attestation key: no party's, and good for nothing but to be shown with what it signed.
    AttestationKey,
    /// The list of fridges' certificates that were revoked.
    DeviceList,
    /// The list of services' and operators' certificates that were revoked.
    ServiceList,
}

impl Kind {
    /// The kind as the log writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::DeviceIntermediate => "device-intermediate",
            Self::ServiceIntermediate => "service-intermediate",
            Self::AttestationIntermediate => "attestation-intermediate",
            Self::Device => "device",
            Self::Service => "service",
            Self::Operator => "operator",
            Self::AttestationKey => "attestation-key",
            Self::DeviceList => "device-list",
            Self::ServiceList => "service-list",
        }
    }

    /// Whether it is a party's certificate.
    #[must_use]
    pub const fn is_leaf(self) -> bool {
        matches!(self, Self::Device | Self::Service | Self::Operator)
    }
}

/// What became of what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// It was handed out, or would have been but for a crash.
    Issued,
    /// It was signed, was not what had been ordered, and never left.
    Withheld,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counted from one.
    pub sequence: u64,
    /// The hash of the line before; 64 zeros for the first.
    pub previous: String,
    /// What became of it.
    pub state: EntryState,
    /// What was signed.
    pub kind: Kind,
    /// The party's SPIFFE id, the name of an authority, or what a list holds.
    pub subject: String,
    /// The certificate's serial number, or the list's number, lowercase hex.
    pub serial: String,
    /// First second of its life, since the Unix epoch.
    pub not_before_unix_s: i64,
    /// Last second of its life, since the Unix epoch.
    pub not_after_unix_s: i64,
    /// SHA-256 of the certificate or list in DER, lowercase hex.
    pub certificate_sha256: String,
    /// SHA-256 of this line with this field empty, lowercase hex.
    pub hash: String,
}

/// What is to be logged; place and hashes are the log's own.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) state: EntryState,
    pub(crate) kind: Kind,
    pub(crate) subject: String,
    pub(crate) serial: String,
    pub(crate) not_before_unix_s: i64,
    pub(crate) not_after_unix_s: i64,
    pub(crate) certificate_sha256: String,
}

/// The end of a verified log.
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

/// Reads the log in `dir` from its beginning, verifies every line, and hands each to `each`.
///
/// # Errors
/// [`Corrupt::Log`] at the first line that does not hold, [`Fault`] when the file cannot be read or stays locked.
pub fn read_log(dir: &Path, mut each: impl FnMut(&Entry)) -> Result<Head, AuthorityError> {
    let mut log = Log::at(dir);
    let mut file = OpenOptions::new().read(true).write(true).open(&log.path).map_err(|e| log.disk("cannot open", e))?;
    lock(&file, &log.path)?;
    log.catch_up(&mut file, &mut each)?;
    Ok(log.head)
}

/// The log, verified up to some place.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Bytes verified so far.
    position: u64,
    head: Head,
    /// The hash of the last list of each kind that was signed for use.
    lists: BTreeMap<Kind, String>,
}

impl Log {
    fn at(dir: &Path) -> Self {
        Self { path: dir.join("issued.jsonl"), position: 0, head: Head::empty(), lists: BTreeMap::new() }
    }

    /// Makes an empty log; there must be none yet.
    pub(crate) fn create(dir: &Path) -> Result<Self, AuthorityError> {
        let log = Self::at(dir);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&log.path);
        made.and_then(|file| file.sync_all())
            .and_then(|()| sync_parent(&log.path))
            .map_err(|e| log.disk("cannot make", e))?;
        Ok(log)
    }

    /// Opens a log and verifies all of it.
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let mut log = Self::at(dir);
        let mut file = log.open_file()?;
        lock(&file, &log.path)?;
        log.catch_up(&mut file, &mut |_| ())?;
        Ok(log)
    }

    /// Verifies what others have appended since.
    pub(crate) fn refresh(&mut self) -> Result<(), AuthorityError> {
        let mut file = self.open_file()?;
        lock(&file, &self.path)?;
        self.catch_up(&mut file, &mut |_| ())
    }

    /// The hash of the last list of this kind, as far as the log was read.
    pub(crate) fn last_list(&self, kind: Kind) -> Option<&str> {
        self.lists.get(&kind).map(String::as_str)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Appends one entry and returns when it is durable.
    pub(crate) fn append(&mut self, draft: Draft) -> Result<Entry, AuthorityError> {
        let mut file = self.open_file()?;
        lock(&file, &self.path)?;
        self.catch_up(&mut file, &mut |_| ())?;
        let entry = self.next(draft)?;
        let mut line = json(&entry)?;
        line.push('\n');
        let written = file.seek(SeekFrom::Start(self.position)).and_then(|_| file.write_all(line.as_bytes()));
        if let Err(source) = written.and_then(|()| file.sync_data()) {
            // What may stand there now is a torn line; should even this fail, the next reader cuts it off.
            let _ = file.set_len(self.position).and_then(|()| file.sync_data());
            return Err(self.disk("cannot append to", source).into());
        }
        self.position = self.position.saturating_add(length(&line));
        self.advance(&entry);
        Ok(entry)
    }

    fn next(&self, draft: Draft) -> Result<Entry, AuthorityError> {
        let mut entry = Entry {
            sequence: self.head.entries.saturating_add(1),
            previous: self.head.hash.clone(),
            state: draft.state,
            kind: draft.kind,
            subject: draft.subject,
            serial: draft.serial,
            not_before_unix_s: draft.not_before_unix_s,
            not_after_unix_s: draft.not_after_unix_s,
            certificate_sha256: draft.certificate_sha256,
            hash: String::new(),
        };
        entry.hash = hash(&entry)?;
        Ok(entry)
    }

    /// Reads and verifies what stands behind the place known so far, and cuts off a torn last line.
    fn catch_up(&mut self, file: &mut File, each: &mut dyn FnMut(&Entry)) -> Result<(), AuthorityError> {
        file.seek(SeekFrom::Start(self.position)).map_err(|e| self.disk("cannot read", e))?;
        let mut reader = BufReader::new(&*file);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) if line.ends_with('\n') => {}
                Ok(_) if length(&line) < MAX_LINE_BYTES => break,
                Ok(_) => return Err(self.corrupt("the line is far too long").into()),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    return Err(self.corrupt("it is not text").into());
                }
                Err(e) => return Err(self.disk("cannot read", e).into()),
            }
            let entry = self.verify(line.trim_end_matches('\n'))?;
            each(&entry);
            self.position = self.position.saturating_add(length(&line));
            self.advance(&entry);
        }
        tracing::warn!(entries = self.head.entries, "the issuance log ended in a torn line; it was cut off");
        file.set_len(self.position).and_then(|()| file.sync_data()).map_err(|e| self.disk("cannot repair", e).into())
    }

    fn advance(&mut self, entry: &Entry) {
        if matches!(entry.kind, Kind::DeviceList | Kind::ServiceList) && entry.state == EntryState::Issued {
            self.lists.insert(entry.kind, entry.certificate_sha256.clone());
        }
        self.head = Head { entries: entry.sequence, hash: entry.hash.clone() };
    }

    fn verify(&self, line: &str) -> Result<Entry, AuthorityError> {
        let mut entry: Entry = serde_json::from_str(line).map_err(|_| self.corrupt("it is no entry"))?;
        if json(&entry)? != line {
            return Err(self.corrupt("it is not written as this authority writes").into());
        }
        if entry.sequence != self.head.entries.saturating_add(1) {
            return Err(self.corrupt("its number does not follow the line before").into());
        }
        if entry.previous != self.head.hash {
            return Err(self.corrupt("it does not follow from the line before").into());
        }
        let claimed = std::mem::take(&mut entry.hash);
        if hash(&entry)? != claimed {
            return Err(self.corrupt("its content is not what was hashed").into());
        }
        entry.hash = claimed;
        Ok(entry)
    }

    fn open_file(&self) -> Result<File, Fault> {
        OpenOptions::new().read(true).write(true).open(&self.path).map_err(|e| self.disk("cannot open", e))
    }

    fn disk(&self, what: &'static str, source: io::Error) -> Fault {
        disk(what, &self.path, source)
    }

    fn corrupt(&self, why: &'static str) -> Corrupt {
        Corrupt::Log { line: self.head.entries.saturating_add(1), why }
    }
}

/// Takes the lock, which ends with the file; waits for others, but not for ever.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), Fault> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(disk("cannot lock", path, source)),
        }
    }
    Err(Fault::Busy(path.to_owned()))
}

fn json(entry: &Entry) -> Result<String, Fault> {
    serde_json::to_string(entry).map_err(|why| Fault::Encoding(why.to_string()))
}

/// The hash of an entry whose own hash is empty.
fn hash(entry: &Entry) -> Result<String, Fault> {
    Ok(HEXLOWER.encode(digest(&SHA256, json(entry)?.as_bytes()).as_ref()))
}

fn length(line: &str) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::{Draft, EntryState, Kind, Log, read_log};
    use crate::{AuthorityError, Corrupt};

    fn draft(serial: &str) -> Draft {
        Draft {
            state: EntryState::Issued,
            kind: Kind::Device,
            subject: "spiffe://larder.internal/fridge/f1".into(),
            serial: serial.into(),
            not_before_unix_s: 1,
            not_after_unix_s: 2,
            certificate_sha256: "ab".repeat(32),
        }
    }

    fn three() -> (TempDir, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path()).unwrap();
        for serial in ["01", "02", "03"] {
            log.append(draft(serial)).unwrap();
        }
        let text = fs::read_to_string(dir.path().join("issued.jsonl")).unwrap();
        (dir, text.lines().map(str::to_owned).collect())
    }

    fn rewrite(dir: &TempDir, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(dir.path().join("issued.jsonl"), text).unwrap();
    }

    fn damaged_line(dir: &TempDir) -> u64 {
        match read_log(dir.path(), |_| ()) {
            Err(AuthorityError::Corrupt(Corrupt::Log { line, .. })) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_appended_is_read_back_in_order() {
        let (dir, _) = three();
        let mut serials = Vec::new();
        let head = read_log(dir.path(), |entry| serials.push(entry.serial.clone())).unwrap();
        assert_eq!(serials, ["01", "02", "03"]);
        assert_eq!(head.entries, 3);
        assert_eq!(Log::open(dir.path()).unwrap().head(), &head);
    }

    #[test]
    fn every_change_of_any_line_is_found() {
        for at in 0..3 {
            for (from, to) in [
                ("fridge/f1", "fridge/f2"),
                ("\"device\"", "\"operator\""),
                ("\"issued\"", "\"withheld\""),
                ("_unix_s\":2", "_unix_s\":3"),
                ("abab", "abac"),
                ("{\"sequence\"", "{ \"sequence\""),
            ] {
                let (dir, mut lines) = three();
                lines[at] = lines[at].replacen(from, to, 1);
                rewrite(&dir, &lines);
                assert_eq!(damaged_line(&dir), at as u64 + 1, "{from} in line {at}");
            }
        }
    }

    #[test]
    fn a_line_taken_out_moved_or_doubled_is_found() {
        let (dir, lines) = three();
        rewrite(&dir, &[lines[0].clone(), lines[2].clone()]);
        assert_eq!(damaged_line(&dir), 2);
        rewrite(&dir, &[lines[1].clone(), lines[0].clone(), lines[2].clone()]);
        assert_eq!(damaged_line(&dir), 1);
        rewrite(&dir, &[lines[0].clone(), lines[0].clone()]);
        assert_eq!(damaged_line(&dir), 2);
        rewrite(&dir, &["x".repeat(5000)]);
        assert_eq!(damaged_line(&dir), 1);
        fs::write(dir.path().join("issued.jsonl"), [0xFF, b'\n']).unwrap();
        assert_eq!(damaged_line(&dir), 1);
    }

    #[test]
    fn a_log_cut_at_its_end_has_another_head() {
        let (dir, lines) = three();
        let whole = read_log(dir.path(), |_| ()).unwrap();
        rewrite(&dir, &lines[..2]);
        assert_ne!(read_log(dir.path(), |_| ()).unwrap(), whole, "only the head kept elsewhere tells");
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_log_goes_on() {
        let (dir, lines) = three();
        let path = dir.path().join("issued.jsonl");
        for keep in [1, 40, lines[2].len()] {
            fs::write(&path, format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..keep])).unwrap();
            let mut log = Log::open(dir.path()).unwrap();
            assert_eq!(log.head().entries, 2, "{keep}");
            assert_eq!(log.append(draft("04")).unwrap().sequence, 3);
            assert_eq!(read_log(dir.path(), |_| ()).unwrap().entries, 3);
        }
    }

    #[test]
    fn a_second_log_in_one_folder_is_refused() {
        let (dir, _) = three();
        assert!(Log::create(dir.path()).is_err());
        assert!(Log::open(tempfile::tempdir().unwrap().path()).is_err());
    }

    #[test]
    fn many_writers_make_one_chain() {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        drop(Log::create(dir.path()).unwrap());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let dir = Arc::clone(&dir);
                std::thread::spawn(move || {
                    let mut log = Log::open(dir.path()).unwrap();
                    for n in 0..10 {
                        log.append(draft(&format!("{writer}{n}"))).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(read_log(dir.path(), |_| ()).unwrap().entries, 40);
    }
}
