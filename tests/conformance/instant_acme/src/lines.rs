//! What is told and heard: one thing a line. Told is a word and what it is, heard is base64url without padding.

use std::error::Error;
use std::io::{BufRead, Read, Write};

use data_encoding::BASE64URL_NOPAD;

/// The most bytes of a line that is heard: an attestation object has some thousand.
const MOST_BYTES: u64 = 64 * 1_024;

/// Both directions.
pub(crate) struct Lines<R, W> {
    from: R,
    to: W,
}

impl<R: BufRead, W: Write> Lines<R, W> {
    /// Between these two.
    pub(crate) const fn new(from: R, to: W) -> Self {
        Self { from, to }
    }

    /// Tells that `what` is `text`.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub(crate) fn tell(&mut self, what: &str, text: &str) -> Result<(), Box<dyn Error>> {
        writeln!(self.to, "{what} {text}")?;
        Ok(self.to.flush()?)
    }

    /// Hears the bytes of `what`.
    ///
    /// # Errors
    /// When no whole line comes, or what comes is no base64url.
    pub(crate) fn hear(&mut self, what: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut line = String::new();
        self.from.by_ref().take(MOST_BYTES).read_line(&mut line)?;
        let line = line.strip_suffix('\n').ok_or_else(|| format!("no {what} came"))?;
        Ok(BASE64URL_NOPAD.decode(line.as_bytes())?)
    }
}
