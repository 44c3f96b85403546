//! `approve`, `approvers` and `ceremony`: what people agree to, who they are, and how keys are made before witnesses.
//!
//! An approver needs the act and a key, and no authority: he may be anywhere.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ca_rotation::moment;
use clap::Args;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

use super::shared::{CliError, Place};
use crate::signer::path_of;
use crate::{Approval, Approver, AuthorityError, Refusal, approval, files};

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The act, as `larder-ca rotate` or `larder-ca approvers` wrote it
    #[arg(long)]
    act: PathBuf,
    /// Your private key, P-256, PEM (PKCS #8)
    #[arg(long)]
    key: PathBuf,
    /// Where to write your approval; beside the act when left out
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Arguments of `approvers`.
#[derive(Debug, Args)]
pub struct Approvers {
    #[command(flatten)]
    place: Place,
    /// NAME=FILE, a public key in PEM; two to eight of them, who then are all there are
    #[arg(long, required = true)]
    approver: Vec<String>,
    /// Do it; without this, it is only shown
    #[arg(long)]
    yes: bool,
    /// What an approver of now wrote with `larder-ca approve`; given once for each
    #[arg(long)]
    approval: Vec<PathBuf>,
    /// Where to write the act that has to be signed; act.json in the authority's folder when left out
    #[arg(long)]
    act: Option<PathBuf>,
}

/// Arguments of `ceremony`.
#[derive(Debug, Args)]
pub struct Ceremony {
    #[command(flatten)]
    place: Place,
    /// One JSON object with what was verified
    #[arg(long)]
    json: bool,
}

pub(super) fn approve(arguments: &Approve, out: &mut dyn Write) -> Result<(), CliError> {
    let act = files::read(&arguments.act)?;
    let act = act.trim_end_matches('\n');
    let agreed = Approval::sign(act, &files::read(&arguments.key)?)?;
    let name = format!("{}.approval", agreed.point.chars().skip(2).take(8).collect::<String>());
    let path = arguments.out.clone().unwrap_or_else(|| arguments.act.with_extension(name));
    let text = serde_json::to_string(&agreed).map_err(io::Error::other)?;
    files::write(&path, format!("{text}\n").as_bytes(), 0o644).map_err(AuthorityError::from)?;
    writeln!(out, "You agreed to this, and to nothing else:")?;
    writeln!(out, "  act       {act}")?;
    writeln!(out, "  SHA-256   {}", agreed.act_sha256)?;
    writeln!(out, "  approval  {}", path.display())?;
    writeln!(out, "Next: give the approval to who runs larder-ca; compare the SHA-256 with the other approver's.")?;
    Ok(())
}

pub(super) fn approvers(arguments: &Approvers, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = arguments.place.open()?;
    let new = read_approvers(&arguments.approver)?;
    let names: Vec<&str> = new.iter().map(|approver| approver.name.as_str()).collect();
    if arguments.yes {
        authority.change_approvers(&new, &approvals(&arguments.approval)?, now_unix_s)?;
        writeln!(out, "Done: the approvers are {}.", names.join(", "))?;
        writeln!(out, "Next: larder-ca status --dir {}.", authority.dir().display())?;
        return Ok(());
    }
    let proposal = authority.propose_approvers(&new)?;
    let file = arguments.act.clone().unwrap_or_else(|| authority.dir().join("act.json"));
    write_act(&file, proposal.to_sign.as_deref().unwrap_or_default())?;
    writeln!(out, "Nothing was done; the approvers would be {}.", names.join(", "))?;
    writeln!(out, "  to sign     {} (SHA-256 {})", file.display(), proposal.sha256().unwrap_or_default())?;
    writeln!(
        out,
        "Next: two approvers of now run larder-ca approve; then the same command with --yes and --approval."
    )?;
    Ok(())
}

/// One generation as a witness compares it.
#[derive(Serialize)]
struct Witnessed {
    generation: String,
    key: String,
    certificate_sha256: String,
    not_after_unix_s: i64,
}

/// What `ceremony --json` writes.
#[derive(Serialize)]
struct Verified {
    generations: Vec<Witnessed>,
    approvers: Vec<Approver>,
    log_entries: u64,
    log_head: String,
    acts_head: String,
}

pub(super) fn ceremony(arguments: &Ceremony, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    // To open it is to verify it: attributes of each key, certificate against key, log and acts from their first lines.
    let authority = arguments.place.open()?;
    let standing = authority.standing(now_unix_s)?;
    let mut generations = Vec::new();
    for (id, not_after_unix_s) in &standing.ends {
        let text = files::read(&path_of(authority.dir(), *id))?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|why| io::Error::other(why.to_string()))?;
        generations.push(Witnessed {
            generation: id.to_string(),
            key: crate::token::label(*id),
            certificate_sha256: HEXLOWER.encode(digest(&SHA256, &der).as_ref()),
            not_after_unix_s: *not_after_unix_s,
        });
    }
    let (log_entries, log_head) = (standing.log.entries, standing.log.hash);
    let verified =
        Verified { generations, approvers: standing.approvers, log_entries, log_head, acts_head: standing.acts.hash };
    if arguments.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&verified).map_err(io::Error::other)?)?);
    }
    Ok(protocol(&verified, &authority.dir().display().to_string(), out)?)
}

fn protocol(verified: &Verified, dir: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "A ceremony makes a key before witnesses. Each step is shown first and done only with --yes.")?;
    for (number, step) in (1..).zip([
        "Meet: who runs the commands, two approvers with their keys, a witness who writes down what is shown.".to_owned(),
        format!("larder-ca ceremony --dir {dir}: write down the heads below; they must be those of the last ceremony's end."),
        format!("larder-ca rotate root next --dir {dir}: shows the step and writes the act with its SHA-256."),
        format!("Each approver, on his own machine: larder-ca approve --act {dir}/act.json --key FILE; both compare the SHA-256."),
        format!("larder-ca rotate root next --dir {dir} --yes --approval FILE --approval FILE: makes the key inside the token."),
        format!("larder-ca ceremony --dir {dir}: write down the new fingerprint and the new heads, and sign the page."),
    ]) {
        writeln!(out, "  {number}. {step}")?;
    }
    writeln!(
        out,
        "\nVerified now: every key is inside the token, was made there, and cannot leave it; every certificate is its"
    )?;
    writeln!(out, "key's; the log and the acts hold from their first lines to their last.")?;
    writeln!(out, "{:<16}  {:<26}  {:<20}  SHA-256 OF THE CERTIFICATE", "GENERATION", "KEY", "ENDS")?;
    for one in &verified.generations {
        let Witnessed { generation, key, certificate_sha256, not_after_unix_s } = one;
        writeln!(out, "{generation:<16}  {key:<26}  {:<20}  {certificate_sha256}", moment(*not_after_unix_s))?;
    }
    writeln!(out, "\n{:<16}  SHA-256 OF THE KEY'S POINT", "APPROVER")?;
    for Approver { name, point } in &verified.approvers {
        writeln!(out, "{name:<16}  {}", approval::sha256(point))?;
    }
    writeln!(out, "\nLog   {} entries, head {}", verified.log_entries, verified.log_head)?;
    writeln!(out, "Acts  head {}", verified.acts_head)?;
    writeln!(out, "Next: compare all of this with the page of the last ceremony.")
}

/// NAME=FILE, as it is given for each approver.
pub(super) fn read_approvers(given: &[String]) -> Result<Vec<Approver>, Refusal> {
    let read = |text: &String| {
        let (name, path) = text
            .split_once('=')
            .ok_or_else(|| Refusal::Approvers(format!("{text:?} is not NAME=FILE, such as ada=ada.pem")))?;
        Approver::from_pem(name, &files::read(Path::new(path))?)
    };
    given.iter().map(read).collect()
}

pub(super) fn approvals(paths: &[PathBuf]) -> Result<Vec<Approval>, Refusal> {
    let read = |path: &PathBuf| {
        serde_json::from_str(&files::read(path)?)
            .map_err(|_| Refusal::NotApproved(format!("{} is no approval", path.display())))
    };
    paths.iter().map(read).collect()
}

/// Writes an act for those who have to sign it.
pub(super) fn write_act(path: &Path, act: &str) -> Result<PathBuf, AuthorityError> {
    Ok(files::write(path, act.as_bytes(), 0o644)?)
}
