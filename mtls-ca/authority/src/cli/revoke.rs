//! `revoke` and `crl`: taking certificates back. A dangerous act, so without `--yes` it only shows what it would do.

use std::io::{self, Write};
use std::path::PathBuf;

use ca_rotation::{GenerationId, moment};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::people::{approvals, write_act};
use super::shared::{CliError, Place, read_party};
use crate::{Authority, Reason, Taken, Which};

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    place: Place,
    /// Serial number of one certificate, hex, as `larder-ca list` shows it
    #[arg(long, required_unless_present_any = ["party", "issuer"], conflicts_with_all = ["party", "issuer"])]
    serial: Option<String>,
    /// Everything this party holds: spiffe://<trust-domain>/…, fridge/<id>, service/<name> or operator/<name>
    #[arg(long, conflicts_with = "issuer")]
    party: Option<String>,
    /// Everything that a generation of the authority's signed, such as device-1; more than ten take two people
    #[arg(long)]
    issuer: Option<GenerationId>,
    /// What an approver wrote with `larder-ca approve`; given once for each
    #[arg(long)]
    approval: Vec<PathBuf>,
    /// Where to write the act that has to be signed; act.json in the authority's folder when left out
    #[arg(long)]
    act: Option<PathBuf>,
    /// Why
    #[arg(long, default_value = "unspecified")]
    reason: ReasonArgument,
    /// Do it; without this, it is only shown
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `crl`.
#[derive(Debug, Args)]
pub struct Crl {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReasonArgument {
    Unspecified,
    KeyCompromise,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl From<ReasonArgument> for Reason {
    fn from(argument: ReasonArgument) -> Self {
        match argument {
            ReasonArgument::Unspecified => Self::Unspecified,
            ReasonArgument::KeyCompromise => Self::KeyCompromise,
            ReasonArgument::Superseded => Self::Superseded,
            ReasonArgument::CessationOfOperation => Self::CessationOfOperation,
            ReasonArgument::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

/// What `revoke --json` writes.
#[derive(Serialize)]
struct Told<'a> {
    revoked: bool,
    reason: &'static str,
    certificates: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    serial: &'a str,
    party: &'a str,
    not_after_unix_s: i64,
}

impl<'a> One<'a> {
    fn of(taken: &'a Taken) -> Self {
        Self { serial: &taken.serial, party: &taken.party, not_after_unix_s: taken.not_after_unix_s }
    }
}

pub(super) fn revoke(arguments: &Revoke, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = arguments.place.open()?;
    let which = match (&arguments.serial, &arguments.issuer, &arguments.party) {
        (Some(serial), ..) => Which::Serial(serial.to_ascii_lowercase()),
        (None, Some(issuer), _) => Which::Issuer(*issuer),
        (None, None, party) => {
            Which::Party(read_party(party.as_deref().unwrap_or_default(), authority.trust_domain())?)
        }
    };
    let reason = Reason::from(arguments.reason);
    let taken = if arguments.yes {
        authority.revoke_agreed(&which, reason, &approvals(&arguments.approval)?, now_unix_s)?
    } else {
        authority.find(&which, now_unix_s)?
    };
    if arguments.json {
        json(&taken, reason, arguments.yes, out)?
    } else {
        told(&taken, reason, arguments.yes, out)?
    }
    if arguments.yes {
        return Ok(());
    }
    if let Some(act) = authority.revocation_to_sign(&which, reason, now_unix_s)? {
        let file = arguments.act.clone().unwrap_or_else(|| authority.dir().join("act.json"));
        write_act(&file, &act)?;
        if !arguments.json {
            writeln!(out, "It takes two people: approvers run larder-ca approve --act {} first.", file.display())?;
        }
    }
    Ok(())
}

fn json(taken: &[Taken], reason: Reason, revoked: bool, out: &mut dyn Write) -> io::Result<()> {
    let told = Told { revoked, reason: reason.as_str(), certificates: taken.iter().map(One::of).collect() };
    writeln!(out, "{}", serde_json::to_string(&told).map_err(io::Error::other)?)
}

fn told(taken: &[Taken], reason: Reason, revoked: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:<32}  {:<20}  PARTY", "SERIAL", "WOULD END")?;
    for one in taken {
        writeln!(out, "{:<32}  {:<20}  {}", one.serial, moment(one.not_after_unix_s), one.party)?;
    }
    let (count, reason) = (taken.len(), reason.as_str());
    if revoked {
        writeln!(out, "Revoked {count}, reason {reason}. The new lists are signed, logged and in force here.")?;
        writeln!(out, "Next: larder-ca list; connections of these close as soon as the gateways have the new list.")
    } else {
        writeln!(out, "Nothing was revoked: this is what would be, reason {reason}. It cannot be taken back.")?;
        let these = if count == 1 { "this one".to_owned() } else { format!("these {count}") };
        writeln!(out, "Next: the same command with --yes revokes {these}.")
    }
}

pub(super) fn crl(arguments: &Crl, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority: Authority = arguments.place.open()?;
    authority.refresh_lists(now_unix_s)?;
    let dir = authority.dir().display();
    writeln!(out, "Signed the revocation lists again; they are good for six hours.")?;
    writeln!(out, "  fridges                 {dir}/device.crl")?;
    writeln!(out, "  services and operators  {dir}/service.crl")?;
    writeln!(out, "Next: publish both files (DER); `openssl crl -inform DER -text -in FILE` shows one.")?;
    Ok(())
}
