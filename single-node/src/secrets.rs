//! Files that only their owner may read, and random secrets to put into them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::Fault;

/// A random word of 26 letters and digits.
///
/// # Errors
/// [`Fault`] when the system has no randomness.
pub fn random_word() -> Result<Zeroizing<String>, Fault> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(Fault::of("no randomness"))?;
    let mut word = data_encoding::BASE32_NOPAD.encode(bytes.as_ref());
    word.make_ascii_lowercase();
    Ok(Zeroizing::new(word))
}

/// Writes `text` to a new file of mode 0600.
///
/// # Errors
/// [`Fault`] when it cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<(), Fault> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Fault::io("write", path))?;
    file.write_all(text.as_bytes()).map_err(Fault::io("write", path))
}
