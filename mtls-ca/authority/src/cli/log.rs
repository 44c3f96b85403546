//! `log verify`: whether the log and the acts hold, for whoever has the files; it takes no token.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::shared::{CliError, describe};
use crate::acts::Acts;
use crate::{AuthorityConfig, Pin, read_log};

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Verify the issuance log and the acts from their first lines to their last
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// Folder of the authority, or a copy of it
    #[arg(long)]
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verified<'a> {
    log_entries: u64,
    log_head: &'a str,
    acts: u64,
    acts_head: &'a str,
}

pub(super) fn run(arguments: &Log, out: &mut dyn Write) -> Result<(), CliError> {
    let What::Verify(Verify { dir, json }) = &arguments.what;
    // Nothing is opened with this PIN; the settings are asked for the trust domain, which the approvals name.
    let settings = AuthorityConfig::load(dir, Some(Pin::Text(Zeroizing::default())))?;
    let log = read_log(dir, |_| ())?;
    let acts = Acts::open(dir, &settings.trust_domain)?;
    if *json {
        let (log_head, acts_head) = (log.hash.as_str(), acts.head().hash.as_str());
        let verified = Verified { log_entries: log.entries, log_head, acts: acts.head().entries, acts_head };
        return Ok(writeln!(out, "{}", serde_json::to_string(&verified).map_err(io::Error::other)?)?);
    }
    writeln!(out, "The log holds from its first line to its last: {}.", describe(&log))?;
    writeln!(out, "The acts hold, and each that takes two people has them: {}.", describe(acts.head()))?;
    writeln!(
        out,
        "Next: compare both heads with those kept elsewhere; a file that was cut at its end shows another one."
    )?;
    Ok(())
}
