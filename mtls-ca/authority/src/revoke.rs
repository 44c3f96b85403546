//! Taking certificates back: which ones, in a new list of their issuer's, logged before it is in force.
//!
//! The list of the moment is a file beside the issuer's certificate, and the log holds its hash: the file is written aside,
//! the log is told, and only then the file takes its place. A crash in between leaves a file aside that the log knows, and
//! the next open puts it in place. A file whose hash is not the log's last word was put there by somebody else.
//!
//! It leaves carrying lists to gateways to the server, and closing connections to `ca-mtls`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::Path;

use ca_identity::SpiffeId;
use ca_rotation::{GenerationId, Tier};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::acts::Decision;
use crate::approval::Approval;
use crate::authority::{Authority, State};
use crate::crl::{self, LIST_LIFE_S, List, Reason, Revoked};
use crate::journal::lock;
use crate::log::{Draft, EntryState, Kind, Log};
use crate::signer::{Desk, Own, path_of};
use crate::{AuthorityError, Corrupt, Entry, Fault, Refusal, files, read_log};

/// After its last second a certificate stays on the lists for so long, so that each has named it once (RFC 5280, section
/// 3.3).
const STAYS_S: i64 = 24 * 60 * 60;
/// As many certificates one person may take back at once, whoever holds them.
const ALONE: usize = 10;

/// Which certificates are to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One, by its serial number, lowercase hex.
    Serial(String),
    /// All that a party holds; of a fridge also what it was given in quarantine. A stolen fridge does not wait for a second
    /// person, however many it holds.
    Party(SpiffeId),
    /// All that a generation signed. Two people agree to it when there are more than ten.
    Issuer(GenerationId),
}

/// A certificate that is on a list now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its serial number, lowercase hex.
    pub serial: String,
    /// Whose it was.
    pub party: String,
    /// The last second of its life, since the Unix epoch.
    pub not_after_unix_s: i64,
}

/// A list in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedList {
    /// The certificate of the authority that signed it, DER.
    pub issuer: Vec<u8>,
    /// The list, DER.
    pub list: Vec<u8>,
}

impl Authority {
    /// The unexpired certificates that [`Self::revoke`] would take back.
    ///
    /// # Errors
    /// [`Refusal::NothingToRevoke`] when there is none; [`Corrupt`] or [`Fault`] when the log cannot be used.
    pub fn find(&self, which: &Which, now_unix_s: i64) -> Result<Vec<Taken>, AuthorityError> {
        let mut work = self.at_work(true)?;
        let found = find(self.dir(), &mut work.state, which, now_unix_s)?;
        Ok(found.into_iter().map(|(_, taken)| taken).collect())
    }

    /// What two approvers have to sign so that this is taken back; none when one person may do it.
    ///
    /// # Errors
    /// As [`Self::find`], and [`Refusal::NoApprovers`] when it takes two people and there is nobody.
    pub fn revocation_to_sign(
        &self,
        which: &Which,
        reason: Reason,
        now_unix_s: i64,
    ) -> Result<Option<String>, AuthorityError> {
        let mut work = self.at_work(true)?;
        let found = find(self.dir(), &mut work.state, which, now_unix_s)?.len();
        match decision(which, reason, found) {
            Some(_) if work.state.acts.approvers().is_empty() => Err(Refusal::NoApprovers.into()),
            Some(decision) => Ok(Some(work.state.acts.to_sign(&decision)?)),
            None => Ok(None),
        }
    }

    /// Takes certificates back, as many as one person may. When it returns, the new lists are in force here; gateways hear of
    /// them next.
    ///
    /// # Errors
    /// As [`Self::find`]; [`Refusal::NotApproved`] when it takes two people; [`Fault`] when the token or the disk failed.
    /// Asking again is safe.
    pub fn revoke(&self, which: &Which, reason: Reason, now_unix_s: i64) -> Result<Vec<Taken>, AuthorityError> {
        self.revoke_agreed(which, reason, &[], now_unix_s)
    }

    /// Takes certificates back as [`Self::revoke`] does, with what approvers signed.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn revoke_agreed(
        &self,
        which: &Which,
        reason: Reason,
        approvals: &[Approval],
        now_unix_s: i64,
    ) -> Result<Vec<Taken>, AuthorityError> {
        let mut work = self.at_work(!matches!(which, Which::Issuer(_)))?;
        let found = self.find_and_revoke(&mut work.state, which, (reason, approvals), now_unix_s)?;
        if let Some(decision) = decision(which, reason, found.len()) {
            work.state.acts.append(&mut work.acts, decision, approvals.to_vec(), now_unix_s)?;
        }
        for (_, taken) in &found {
            tracing::warn!(serial = taken.serial, party = taken.party, reason = reason.as_str(), "certificate revoked");
        }
        Ok(found.into_iter().map(|(_, taken)| taken).collect())
    }

    fn find_and_revoke(
        &self,
        state: &mut State,
        which: &Which,
        (reason, approvals): (Reason, &[Approval]),
        now_unix_s: i64,
    ) -> Result<Vec<(GenerationId, Taken)>, AuthorityError> {
        let _alone = alone(self.dir())?;
        let found = find(self.dir(), state, which, now_unix_s)?;
        if let Some(decision) = decision(which, reason, found.len()) {
            state.acts.check(&decision, approvals)?;
        }
        let issuers: BTreeSet<GenerationId> = found.iter().map(|(issuer, _)| *issuer).collect();
        for issuer in &issuers {
            state.own(*issuer)?; // before any list is signed: all of it, or nothing
        }
        let State { log, owns, .. } = state;
        for issuer in issuers.iter().filter_map(|issuer| owns.get(issuer)) {
            let mine = found.iter().filter(|(id, _)| *id == issuer.id);
            let new: Vec<Revoked> = mine
                .map(|(_, taken)| Revoked { serial: taken.serial.clone(), at_unix_s: now_unix_s, reason })
                .collect();
            next(&self.desk(), log, issuer, new, now_unix_s)?;
        }
        Ok(found)
    }

    /// Signs the lists again, so that they do not run out, and leaves out what needs no naming any more.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn refresh_lists(&self, now_unix_s: i64) -> Result<(), AuthorityError> {
        let mut work = self.at_work(true)?;
        let _alone = alone(self.dir())?;
        let known = known(&work.state)?;
        let State { log, owns, .. } = &mut *work.state;
        for issuer in known.iter().filter_map(|issuer| owns.get(issuer)) {
            next(&self.desk(), log, issuer, Vec::new(), now_unix_s)?;
        }
        Ok(())
    }

    /// The lists in force. An authority that never signed one gives none.
    ///
    /// # Errors
    /// [`Corrupt::List`] when a file is not what the log says, [`Fault`] when it cannot be read.
    pub fn lists(&self) -> Result<Vec<SignedList>, AuthorityError> {
        let mut work = self.at_work(true)?;
        let _alone = alone(self.dir())?;
        let known = known(&work.state)?;
        let State { log, owns, .. } = &mut *work.state;
        log.refresh()?;
        let mut lists = Vec::new();
        for issuer in known.iter().filter_map(|issuer| owns.get(issuer)) {
            if let Some(list) = in_force(log, issuer)? {
                lists.push(SignedList { issuer: issuer.der.clone(), list });
            }
        }
        Ok(lists)
    }
}

/// The serial numbers on the lists of the authority in `dir`, lowercase hex; for who only reads and has no token.
///
/// # Errors
/// [`Corrupt::List`] when a list is not the one last logged, or cannot be read.
pub fn revoked_serials(dir: &Path) -> Result<HashSet<String>, AuthorityError> {
    let log = Log::open(dir)?;
    let mut serials = HashSet::new();
    for issuer in log.list_issuers() {
        let Some(known) = log.last_list(issuer) else { continue };
        let certificate = path_of(dir, issuer);
        let path = certificate.with_extension("crl");
        let corrupt = |why| Corrupt::List { path: path.clone(), why };
        let candidates = [path.clone(), path.with_extension("next")];
        let mut found = candidates.iter().filter_map(|candidate| fs::read(candidate).ok());
        let der = found.find(|der| hash(der) == known).ok_or_else(|| corrupt("it is not the one last logged"))?;
        let issuer = files::read(&certificate)?;
        let issuer = CertificateDer::from_pem_slice(issuer.as_bytes())
            .map_err(|_| corrupt("its issuer's certificate cannot be read"))?;
        let list = crl::read(&der, &issuer).map_err(corrupt)?;
        serials.extend(list.entries.into_iter().map(|entry| entry.serial));
    }
    Ok(serials)
}

/// What is decided by taking so many certificates back; nothing that needs two people, mostly.
fn decision(which: &Which, reason: Reason, found: usize) -> Option<Decision> {
    match which {
        Which::Issuer(issuer) if found > ALONE => {
            Some(Decision::RevokeAll { issuer: issuer.to_string(), reason: reason.as_str().to_owned() })
        }
        _ => None,
    }
}

/// Signs the first list of a generation that is being made known; once more, if a crash came between.
pub(crate) fn first(desk: &Desk<'_>, log: &mut Log, issuer: &Own, now_unix_s: i64) -> Result<(), AuthorityError> {
    let _alone = alone(desk.dir)?;
    next(desk, log, issuer, Vec::new(), now_unix_s)
}

/// The generations whose lists are published.
fn known(state: &State) -> Result<Vec<GenerationId>, Corrupt> {
    let rotation = state.acts.rotation()?;
    let of = |tier| rotation.line(tier).known().map(move |generation| GenerationId::new(tier, generation.number));
    Ok([Tier::Device, Tier::Service].into_iter().flat_map(of).collect())
}

/// Makes the next list of an issuer out of the one in force.
fn next(
    desk: &Desk<'_>,
    log: &mut Log,
    issuer: &Own,
    new: Vec<Revoked>,
    now_unix_s: i64,
) -> Result<(), AuthorityError> {
    log.refresh()?;
    let before = match in_force(log, issuer)? {
        Some(der) => crl::read(&der, &issuer.der).map_err(|why| corrupt(issuer, why))?,
        None => List { number: 0, this_update_unix_s: 0, entries: Vec::new() },
    };
    let named: HashSet<String> = before.entries.iter().map(|entry| entry.serial.clone()).collect();
    let fresh = new.into_iter().filter(|entry| !named.contains(&entry.serial));
    let mut entries: Vec<Revoked> = before.entries.into_iter().chain(fresh).collect();
    let ends = ends_of(desk.dir, &entries)?;
    entries.retain(|entry| {
        ends.get(&entry.serial).is_none_or(|not_after| not_after.saturating_add(STAYS_S) >= now_unix_s)
    });
    let list = List { number: before.number.saturating_add(1), this_update_unix_s: now_unix_s, entries };
    let der = crl::sign(&list, &issuer.der, &issuer.key(desk.token))?;
    let verdict = if crl::read(&der, &issuer.der).as_ref() == Ok(&list) { Ok(()) } else { Err("the list says else") };
    let path = issuer.list_path();
    files::write(&path.with_extension("next"), &der, 0o644)?;
    log.append(Draft {
        state: if verdict.is_ok() { EntryState::Issued } else { EntryState::Withheld },
        kind: list_of(issuer.id.tier),
        issuer: issuer.id,
        subject: match list.entries.len() {
            1 => "1 certificate revoked".to_owned(),
            several => format!("{several} certificates revoked"),
        },
        serial: format!("{:02x}", list.number),
        not_before_unix_s: now_unix_s,
        not_after_unix_s: now_unix_s.saturating_add(LIST_LIFE_S),
        certificate_sha256: hash(&der),
    })?;
    verdict.map_err(Fault::Withheld)?;
    settle(&path)
}

/// The list of an issuer that is in force, DER; puts it in place if a crash left it aside.
fn in_force(log: &Log, issuer: &Own) -> Result<Option<Vec<u8>>, AuthorityError> {
    let Some(known) = log.last_list(issuer.id) else { return Ok(None) };
    let path = issuer.list_path();
    let aside = path.with_extension("next");
    if aside.exists() {
        let der = read(&aside)?;
        if hash(&der) == known {
            settle(&path)?;
            return Ok(Some(der));
        }
    }
    if !path.exists() {
        return Err(corrupt(issuer, "it is missing").into());
    }
    let der = read(&path)?;
    if hash(&der) == known { Ok(Some(der)) } else { Err(corrupt(issuer, "it is not the one last logged").into()) }
}

/// Puts the list aside in its place.
fn settle(path: &Path) -> Result<(), AuthorityError> {
    fs::rename(path.with_extension("next"), path)
        .and_then(|()| files::sync_parent(path))
        .map_err(|source| files::disk("cannot put in place", path, source).into())
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|source| files::disk("cannot read", path, source))
}

/// The unexpired leaves that are meant, each with who signed it; each once.
fn find(
    dir: &Path,
    state: &mut State,
    which: &Which,
    now_unix_s: i64,
) -> Result<Vec<(GenerationId, Taken)>, AuthorityError> {
    let mut found = Vec::new();
    let quarantined = if let Which::Party(party) = which { party.quarantined() } else { None };
    let quarantined = quarantined.as_ref().map(SpiffeId::as_str);
    let meant = |entry: &Entry| match which {
        Which::Serial(serial) => entry.serial == *serial,
        Which::Party(party) => entry.subject == party.as_str() || Some(entry.subject.as_str()) == quarantined,
        Which::Issuer(issuer) => entry.issuer == issuer.to_string(),
    };
    read_log(dir, |entry| {
        let alive = entry.state == EntryState::Issued && entry.not_after_unix_s >= now_unix_s;
        if alive && entry.kind.is_leaf() && meant(entry) {
            let (serial, party) = (entry.serial.clone(), entry.subject.clone());
            found.push((
                entry.sequence,
                entry.issuer.parse(),
                Taken { serial, party, not_after_unix_s: entry.not_after_unix_s },
            ));
        }
    })?;
    state.log.refresh()?;
    if found.is_empty() {
        let what = match which {
            Which::Serial(serial) => format!("the serial number {serial}"),
            Which::Party(party) => party.to_string(),
            Which::Issuer(issuer) => issuer.to_string(),
        };
        return Err(Refusal::NothingToRevoke(what).into());
    }
    let named = |(line, issuer, taken): (u64, Result<GenerationId, _>, Taken)| match issuer {
        Ok(issuer) => Ok((issuer, taken)),
        Err(_) => Err(Corrupt::Log { line, why: "it names an issuer that there cannot be" }.into()),
    };
    found.into_iter().map(named).collect()
}

/// When the certificates on a list end, as the log knows.
fn ends_of(dir: &Path, entries: &[Revoked]) -> Result<BTreeMap<String, i64>, AuthorityError> {
    let serials: HashSet<&str> = entries.iter().map(|entry| entry.serial.as_str()).collect();
    let mut ends = BTreeMap::new();
    if !serials.is_empty() {
        read_log(dir, |entry| {
            if entry.kind.is_leaf() && serials.contains(entry.serial.as_str()) {
                ends.insert(entry.serial.clone(), entry.not_after_unix_s);
            }
        })?;
    }
    Ok(ends)
}

/// Keeps other processes from making a list out of the same one before.
fn alone(dir: &Path) -> Result<File, AuthorityError> {
    let path = dir.join("lists.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| files::disk("cannot open", &path, source))?;
    lock(&file, &path)?;
    Ok(file)
}

/// The log's word for a list of this tier's.
const fn list_of(tier: Tier) -> Kind {
    match tier {
        Tier::Device => Kind::DeviceList,
        _ => Kind::ServiceList,
    }
}

fn corrupt(issuer: &Own, why: &'static str) -> Corrupt {
    Corrupt::List { path: issuer.list_path(), why }
}

fn hash(der: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, der).as_ref())
}
