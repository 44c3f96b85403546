//! The issuance log: one line for every signature of the authority's keys, made durable before what was signed leaves. How the
//! lines hang together is `journal`'s business.

use std::collections::BTreeMap;
use std::path::Path;

use ca_rotation::GenerationId;
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, Line};
use crate::{AuthorityError, Corrupt, Head};

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
    /// A trust bundle.
    TrustBundle,
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
            Self::TrustBundle => "trust-bundle",
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
    /// The generation whose key signed it, such as `device-1`.
    pub issuer: String,
    /// The party's SPIFFE id, the name of an authority, or what a list or a bundle holds.
    pub subject: String,
    /// The certificate's serial number, the list's number or the bundle's version, lowercase hex.
    pub serial: String,
    /// First second of its life, since the Unix epoch.
    pub not_before_unix_s: i64,
    /// Last second of its life, since the Unix epoch.
    pub not_after_unix_s: i64,
    /// SHA-256 of the certificate or list in DER, or of the bundle's text, lowercase hex.
    pub certificate_sha256: String,
    /// SHA-256 of this line with this field empty, lowercase hex.
    pub hash: String,
}

impl Line for Entry {
    /// Ours have some 700.
    const MAX_BYTES: u64 = 4096;

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

/// What is to be logged; place and hashes are the log's own.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) state: EntryState,
    pub(crate) kind: Kind,
    pub(crate) issuer: GenerationId,
    pub(crate) subject: String,
    pub(crate) serial: String,
    pub(crate) not_before_unix_s: i64,
    pub(crate) not_after_unix_s: i64,
    pub(crate) certificate_sha256: String,
}

/// Reads the log in `dir` from its beginning, verifies every line, and hands each to `each`.
///
/// # Errors
/// [`Corrupt::Log`] at the first line that does not hold, [`crate::Fault`] when the file cannot be read or stays locked.
pub fn read_log(dir: &Path, mut each: impl FnMut(&Entry)) -> Result<Head, AuthorityError> {
    let mut journal = journal(dir);
    journal.refresh(&mut |entry| {
        each(&entry);
        Ok(())
    })?;
    Ok(journal.head().clone())
}

fn journal(dir: &Path) -> Journal<Entry> {
    Journal::at(dir.join("issued.jsonl"))
}

/// The log, verified up to some place.
#[derive(Debug)]
pub(crate) struct Log {
    journal: Journal<Entry>,
    last: Last,
}

/// The hash of the last of each that was signed for use.
#[derive(Debug, Default)]
struct Last {
    /// Lists, by their issuer.
    lists: BTreeMap<String, String>,
    /// Trust bundles, by their version in hex.
    bundles: BTreeMap<String, String>,
}

impl Last {
    fn see(&mut self, entry: &Entry) {
        if entry.state != EntryState::Issued {
            return;
        }
        match entry.kind {
            Kind::DeviceList | Kind::ServiceList => {
                self.lists.insert(entry.issuer.clone(), entry.certificate_sha256.clone());
            }
            Kind::TrustBundle => {
                self.bundles.insert(entry.serial.clone(), entry.certificate_sha256.clone());
            }
            _ => {}
        }
    }
}

impl Log {
    /// Makes an empty log; there must be none yet.
    pub(crate) fn create(dir: &Path) -> Result<Self, AuthorityError> {
        Ok(Self { journal: Journal::create(dir.join("issued.jsonl"))?, last: Last::default() })
    }

    /// Opens a log and verifies all of it.
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let mut log = Self { journal: journal(dir), last: Last::default() };
        log.refresh()?;
        Ok(log)
    }

    /// Verifies what others have appended since.
    pub(crate) fn refresh(&mut self) -> Result<(), AuthorityError> {
        let Self { journal, last } = self;
        journal.refresh(&mut |entry| {
            last.see(&entry);
            Ok(())
        })
    }

    /// The hash of an issuer's last list, as far as the log was read.
    pub(crate) fn last_list(&self, issuer: GenerationId) -> Option<&str> {
        self.last.lists.get(&issuer.to_string()).map(String::as_str)
    }

    /// Whoever has ever signed a list.
    pub(crate) fn list_issuers(&self) -> impl Iterator<Item = GenerationId> {
        self.last.lists.keys().filter_map(|issuer| issuer.parse().ok())
    }

    /// The hash of the bundle of this version that was signed last, as far as the log was read.
    pub(crate) fn bundle(&self, version: u64) -> Option<&str> {
        self.last.bundles.get(&format!("{version:02x}")).map(String::as_str)
    }

    pub(crate) fn head(&self) -> &Head {
        self.journal.head()
    }

    /// Appends one entry and returns when it is durable.
    pub(crate) fn append(&mut self, draft: Draft) -> Result<Entry, AuthorityError> {
        let Self { journal, last } = self;
        let mut file = journal.hold(false)?;
        journal.catch_up(&mut file, &mut |entry| {
            last.see(&entry);
            Ok(())
        })?;
        let entry = journal.append(&mut file, |head| Entry {
            sequence: head.entries.saturating_add(1),
            previous: head.hash.clone(),
            state: draft.state,
            kind: draft.kind,
            issuer: draft.issuer.to_string(),
            subject: draft.subject,
            serial: draft.serial,
            not_before_unix_s: draft.not_before_unix_s,
            not_after_unix_s: draft.not_after_unix_s,
            certificate_sha256: draft.certificate_sha256,
            hash: String::new(),
        })?;
        last.see(&entry);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use ca_rotation::{GenerationId, Tier};
    use tempfile::TempDir;

    use super::{Draft, EntryState, Kind, Log, read_log};
    use crate::{AuthorityError, Corrupt};

    fn draft(serial: &str) -> Draft {
        Draft {
            state: EntryState::Issued,
            kind: Kind::Device,
            issuer: GenerationId::new(Tier::Device, 1),
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
