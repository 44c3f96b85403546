//! The boot told again: what the registers must hold if the log is true.

use attest_evidence::{EventLog, HashAlgorithm};

use crate::{CheckedQuote, Refusal, key::hash};

/// `TPM_CC_PolicyPCR`.
const POLICY_PCR: [u8; 4] = 0x0000_017f_u32.to_be_bytes();
/// The first registers of a TPM begin as zeros.
const REGISTERS: usize = 24;

/// The registers of one bank after a log was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    bank: HashAlgorithm,
    values: Vec<Vec<u8>>,
}

impl Replay {
    /// Replays a log into a bank: each event's digest is appended to its register's value, and the hash of both is the new
    /// one (TPM 2.0 Library, Part 1, section 17.3). An event that has no digest of the bank stops it, since its register
    /// could then hold anything.
    ///
    /// # Errors
    /// [`Refusal::Log`] when an event of the bank is missing or extends a register that no boot extends.
    pub fn of(log: &EventLog<'_>, bank: HashAlgorithm) -> Result<Self, Refusal> {
        let mut values = vec![vec![0; bank.bytes()]; REGISTERS];
        for event in log.events.iter().filter(|event| event.extends()) {
            let digest = event.digests.iter().find(|digest| digest.hash == bank).ok_or(Refusal::Log)?;
            let value = values.get_mut(usize::from(event.register)).ok_or(Refusal::Log)?;
            let extended = hash(bank, &[value, digest.bytes].concat());
            *value = extended.as_ref().to_vec();
        }
        Ok(Self { bank, values })
    }

    /// The value of a register; none of one that no boot extends.
    #[must_use]
    pub fn value(&self, register: u8) -> Option<&[u8]> {
        self.values.get(usize::from(register)).map(Vec::as_slice)
    }
}

/// A quote with a log that leads to it: only now does the log say what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedQuote<'a> {
    pub(crate) quote: CheckedQuote,
    pub(crate) log: EventLog<'a>,
}

impl<'a> ReplayedQuote<'a> {
    /// Holds a log against a quote.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when the log cannot be read, [`Refusal::Log`] when it leads elsewhere.
    pub fn of(quote: CheckedQuote, log: &'a [u8]) -> Result<Self, Refusal> {
        let log = EventLog::parse(log)?;
        let bank = quote.selection.hash;
        let replay = Replay::of(&log, bank)?;
        let values: Option<Vec<&[u8]>> = quote.selection.registers().map(|register| replay.value(register)).collect();
        let values = values.ok_or(Refusal::Selection)?.concat();
        // The TPM hashes the values with the hash of the signing scheme, which for our keys is SHA-256.
        if hash(HashAlgorithm::Sha256, &values).as_ref() != quote.digest {
            return Err(Refusal::Log);
        }
        Ok(Self { quote, log })
    }

    /// The policy of a key that signs only while the quoted registers hold what was quoted (`TPM2_PolicyPCR`, TPM 2.0
    /// Library, Part 3, section 23.7), for a key whose name is by SHA-256.
    #[must_use]
    pub fn policy(&self) -> Vec<u8> {
        // The digest of the values was seen to be by SHA-256, as that of a policy's session is.
        let bound = [&[0; 32][..], &POLICY_PCR, &self.quote.selection.to_list(), &self.quote.digest].concat();
        hash(HashAlgorithm::Sha256, &bound).as_ref().to_vec()
    }

    /// The digest of what the quoted registers hold: other firmware has another one.
    #[must_use]
    pub fn registers(&self) -> &[u8] {
        &self.quote.digest
    }

    /// The quote.
    #[must_use]
    pub const fn quote(&self) -> &CheckedQuote {
        &self.quote
    }
}
