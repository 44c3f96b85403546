//! The journal: what was told, durable before it is sent, kept until the service's last word.
//!
//! One append-only file a session and one a tamper report. A frame is magic, length, CRC-32 over length and payload,
//! payload; the payload is the protocol's own message, so what is sent after a crash is what was written before it. A
//! power cut can only tear the last frame, and a frame that was torn was never sent: it is dropped. A bad frame with a
//! good one *behind* it is no power cut; such a file is [`Corrupt`], put aside and never repaired in silence.
//!
//! When the disk is full the frames wait in memory, in order, and go out with the next that succeeds. Whether to go on
//! without the disk is the machine's decision. The file system is behind [`Disk`].

use std::io;
use std::sync::Arc;

use pci_contract::SessionId;
use prost::Message;
use thiserror::Error;

use crate::disk::Disk;
use crate::proto::{FridgeMessage, TamperReport};
use crate::wire;
use crate::words::{Record, TamperNote};

const MAGIC: [u8; 4] = *b"LJ1\n";
const HEAD_BYTES: usize = 12;
/// The most bytes of one payload; the largest message, a sealed card, has a quarter of it.
const MAX_PAYLOAD_BYTES: usize = 1_024;
/// The most bytes that wait in memory for a full disk.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;

const SESSION_PREFIX: &str = "session-";
const TAMPER_PREFIX: &str = "tamper-";

/// A journal that no agent could have written, or that the medium changed behind its back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the journal {0}")]
pub struct Corrupt(pub(crate) &'static str);

/// Wraps a payload for the file.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let check = crc32(&[&length, payload]).to_le_bytes();
    [&MAGIC[..], &length, &check, payload].concat()
}

/// The payloads of a file, and how many of its bytes they fill; what lies behind is a torn tail.
///
/// # Errors
/// [`Corrupt`] when a good frame follows a bad one.
pub fn payloads(file: &[u8]) -> Result<(Vec<&[u8]>, u64), Corrupt> {
    let mut payloads = Vec::new();
    let mut rest = file;
    while let Some((payload, behind)) = take_frame(rest) {
        payloads.push(payload);
        rest = behind;
    }
    let frame_behind = (1..rest.len()).any(|at| rest.get(at..).and_then(take_frame).is_some());
    if frame_behind {
        return Err(Corrupt("has a damaged frame before a good one"));
    }
    let good = file.len().saturating_sub(rest.len());
    Ok((payloads, u64::try_from(good).unwrap_or(u64::MAX)))
}

fn take_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (magic, head) = head.split_first_chunk::<4>()?;
    let (length, check) = head.split_first_chunk::<4>()?;
    let length_value = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if *magic != MAGIC || length_value > MAX_PAYLOAD_BYTES {
        return None;
    }
    let (payload, behind) = rest.split_at_checked(length_value)?;
    let check = u32::from_le_bytes(check.try_into().ok()?);
    (crc32(&[length, payload]) == check).then_some((payload, behind))
}

/// CRC-32 as in ISO 3309 (IEEE 802.3), bit by bit: frames are short.
fn crc32(parts: &[&[u8]]) -> u32 {
    let feed = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    };
    !parts.iter().copied().flatten().fold(u32::MAX, feed)
}

/// An open journal file of one session.
pub struct SessionJournal {
    disk: Arc<dyn Disk>,
    name: String,
    at: u64,
    waiting: Vec<u8>,
}

impl SessionJournal {
    /// The journal of a session that begins.
    #[must_use]
    pub fn create(disk: Arc<dyn Disk>, session: SessionId) -> Self {
        Self { disk, name: format!("{SESSION_PREFIX}{session}"), at: 0, waiting: Vec::new() }
    }

    /// Makes a record durable, and with it all that wait. Blocks.
    ///
    /// # Errors
    /// As the disk says; the record then waits in memory.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let frame = frame(&wire::message(record).encode_to_vec());
        if self.waiting.len().saturating_add(frame.len()) > MAX_WAITING_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.waiting.extend_from_slice(&frame);
        self.flush()
    }

    /// Tries again to write what waits. Blocks.
    ///
    /// # Errors
    /// As the disk says; what waits goes on waiting.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.disk.append(&self.name, self.at, &self.waiting)?;
        self.at = self.at.saturating_add(u64::try_from(self.waiting.len()).unwrap_or(u64::MAX));
        self.waiting.clear();
        Ok(())
    }

    /// Whether records wait for the disk.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Deletes the journal. Blocks.
    ///
    /// # Errors
    /// As the disk says.
    pub fn remove(self) -> io::Result<()> {
        self.disk.remove(&self.name)
    }
}

/// What a restart finds on disk.
pub struct Recovered {
    /// The journal of the session that is not final, and its records; at least one.
    pub session: Option<(SessionJournal, Vec<Record>)>,
    /// Tamper reports that were not acknowledged.
    pub reports: Vec<TamperReport>,
    /// How many files were put aside as corrupt.
    pub corrupt: u32,
}

/// Reads all journals after a restart. Blocks.
///
/// # Errors
/// As the disk says. Damage is no error: it is put aside and counted.
pub fn recover(disk: &Arc<dyn Disk>) -> io::Result<Recovered> {
    let mut recovered = Recovered { session: None, reports: Vec::new(), corrupt: 0 };
    let mut names = disk.names()?;
    names.sort_unstable();
    for name in names.into_iter().filter(|name| !name.ends_with(ASIDE)) {
        let read = if name.starts_with(SESSION_PREFIX) {
            recover_session(disk, &name, &mut recovered)?
        } else if name.starts_with(TAMPER_PREFIX) {
            recover_report(disk, &name, &mut recovered)?
        } else {
            Ok(())
        };
        if let Err(why) = read {
            tracing::error!(journal = name, %why, "put aside");
            recovered.corrupt = recovered.corrupt.saturating_add(1);
            disk.put_aside(&name, &format!("{name}{ASIDE}"))?;
        }
    }
    Ok(recovered)
}

const ASIDE: &str = ".corrupt";

fn recover_session(disk: &Arc<dyn Disk>, name: &str, recovered: &mut Recovered) -> io::Result<Result<(), Corrupt>> {
    let file = disk.read(name)?;
    let (records, at) = match session_records(&file) {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    if records.is_empty() {
        // The first message was torn, so it was never sent: there is no session.
        disk.remove(name)?;
        return Ok(Ok(()));
    }
    if recovered.session.is_some() {
        return Ok(Err(Corrupt("is a second one, and a fridge has one session at a time")));
    }
    let journal = SessionJournal { disk: Arc::clone(disk), name: name.to_owned(), at, waiting: Vec::new() };
    recovered.session = Some((journal, records));
    Ok(Ok(()))
}

/// The records of a session's file: one session, numbers that rise from 1.
fn session_records(file: &[u8]) -> Result<(Vec<Record>, u64), Corrupt> {
    let (payloads, at) = payloads(file)?;
    let mut records: Vec<Record> = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let message = FridgeMessage::decode(payload).map_err(|_| Corrupt("holds what is no message"))?;
        let record = wire::record(&message).map_err(|_| Corrupt("holds what no agent writes"))?;
        let follows = match records.last() {
            None => record.sequence == 1,
            Some(last) => record.session == last.session && record.sequence > last.sequence,
        };
        if !follows {
            return Err(Corrupt("is out of order"));
        }
        records.push(record);
    }
    Ok((records, at))
}

fn recover_report(disk: &Arc<dyn Disk>, name: &str, recovered: &mut Recovered) -> io::Result<Result<(), Corrupt>> {
    let file = disk.read(name)?;
    let payload = match payloads(&file) {
        Ok((payloads, _)) => payloads.first().copied(),
        Err(why) => return Ok(Err(why)),
    };
    let Some(payload) = payload else {
        disk.remove(name)?;
        return Ok(Ok(()));
    };
    match TamperReport::decode(payload) {
        Ok(report) if wire::is_tamper_report(&report) => recovered.reports.push(report),
        _ => return Ok(Err(Corrupt("holds what is no tamper report"))),
    }
    Ok(Ok(()))
}

/// Makes a tamper report durable. Blocks.
///
/// # Errors
/// As the disk says.
pub fn keep_report(disk: &dyn Disk, note: &TamperNote) -> io::Result<()> {
    let report = wire::tamper_report(note);
    disk.append(&report_name(&report), 0, &frame(&report.encode_to_vec()))
}

/// Deletes a report that was acknowledged. Blocks.
///
/// # Errors
/// As the disk says.
pub fn forget_report(disk: &dyn Disk, report: &TamperReport) -> io::Result<()> {
    disk.remove(&report_name(report))
}

fn report_name(report: &TamperReport) -> String {
    format!("{TAMPER_PREFIX}{}", report.report_id)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
