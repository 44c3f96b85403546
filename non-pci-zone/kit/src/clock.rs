//! The one clock and the one source of chance of the non-PCI services; everything else takes them as arguments.
//!
//! They are here rather than in each binary because the four services are the same program around different tables.

use pci_contract::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::problem::Fault;

/// Where a service reads the time; a test may put another function in its place.
pub type Clock = fn() -> Timestamp;

/// The time of the machine.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the clock of the non-PCI services")]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The time of the machine in whole seconds since the Unix epoch, as certificates count.
#[must_use]
pub fn now_s() -> i64 {
    now().micros() / 1_000_000
}

/// `BYTES` bytes of chance as unpadded lowercase base32: mostly letters, so it never reads as a card number.
///
/// # Errors
/// [`Fault`] when the machine has no randomness to give.
pub fn random_text<const BYTES: usize>() -> Result<String, Fault> {
    let mut bytes = [0_u8; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::new("no randomness", true))?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}
