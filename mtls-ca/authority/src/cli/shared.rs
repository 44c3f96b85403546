//! What the commands share: which authority is meant, how a party is written, what can go wrong.

use std::io;
use std::path::PathBuf;

use ca_identity::{SpiffeId, TrustDomain};
use clap::Args;
use thiserror::Error;

use crate::{Authority, AuthorityConfig, AuthorityError, Head, Pin, Refusal};

/// Why a command did not end well.
#[derive(Debug, Error)]
pub enum CliError {
    /// The authority did not do it.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The output could not be written.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::Authority(refusal.into())
    }
}

/// Which authority, and how to log in when its settings do not say.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Folder of the authority
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// File with the token's PIN, mode 0600, if it is another than at init
    #[arg(long)]
    pin_file: Option<PathBuf>,
}

impl Place {
    pub(super) fn open(&self) -> Result<Authority, AuthorityError> {
        Authority::open(&AuthorityConfig::load(&self.dir, self.pin_file.clone().map(Pin::File))?)
    }
}

/// Reads a whole id or a path; a name alone could be anybody's.
pub(super) fn read_party(text: &str, trust_domain: &TrustDomain) -> Result<SpiffeId, Refusal> {
    let parsed = if text.contains("://") { SpiffeId::parse(text) } else { SpiffeId::parse_path_in(trust_domain, text) };
    parsed.map_err(|why| Refusal::Id { text: text.to_owned(), why })
}

pub(super) fn describe(head: &Head) -> String {
    format!("{} entries, head {}", head.entries, head.hash)
}
