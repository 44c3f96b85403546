//! The commands of `larder-ca`. Each does one thing through the library, says what it did, and what to do next.
//!
//! Output goes to the writer it is given, time is an argument: so the commands are tested as they are run.

mod log;
mod people;
mod revoke;
mod rotate;
mod serve;
mod shared;

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use ca_identity::{SINGLE_NODE_TRUST_DOMAIN, SpiffeId, TrustDomain};
use ca_rotation::moment;
use clap::{Args, Subcommand, ValueEnum};

pub use self::shared::CliError;
use self::shared::{Place, describe};
use crate::{
    Authority, AuthorityConfig, Entry, EntryState, IssuedFiles, Names, Order, Pin, Profile, Refusal, SubjectKey, files,
    read_log, revoked_serials,
};

/// What `larder-ca` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an authority: a root and three intermediates, their keys inside the token
    Init(Init),
    /// Issue a certificate to a service, a fridge or an operator
    Issue(Issue),
    /// Give intermediates that are past half of their life a new certificate
    Renew(Renew),
    /// Verify the issuance log and show it
    List(List),
    /// Take certificates back before their time
    Revoke(revoke::Revoke),
    /// Sign the revocation lists again, so that they do not run out
    Crl(revoke::Crl),
    /// Publish the revocation lists and the trust bundle to the services of the house, until told to end
    Serve(serve::Serve),
    /// Show where the authority's keys stand, and what holds their rotation up
    Status(rotate::Status),
    /// Show or take one step of the rotation of a root or an intermediate
    Rotate(rotate::Rotate),
    /// Agree to an act, with your own key
    Approve(people::Approve),
    /// Change who may agree to acts
    Approvers(people::Approvers),
    /// Show what a key ceremony does, and verify what it left
    Ceremony(people::Ceremony),
    /// Verify the log without a token
    Log(log::Log),
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder of the authority; made if it is not there
    #[arg(long)]
    dir: PathBuf,
    /// The PKCS#11 module (a shared library)
    #[arg(long)]
    module: PathBuf,
    /// Label of the token that is to hold the keys
    #[arg(long)]
    token_label: String,
    /// File with the token's PIN, mode 0600
    #[arg(long)]
    pin_file: PathBuf,
    /// Whom the authority vouches for
    #[arg(long, default_value = SINGLE_NODE_TRUST_DOMAIN)]
    trust_domain: TrustDomain,
    /// NAME=FILE, somebody who may agree to acts and his P-256 public key in PEM; two to eight of them, or none
    #[arg(long)]
    approver: Vec<String>,
}

/// Arguments of `issue`.
#[derive(Debug, Args)]
pub struct Issue {
    #[command(flatten)]
    place: Place,
    /// What the certificate is for
    #[arg(long)]
    profile: ProfileArgument,
    /// spiffe://<trust-domain>/…, or short: service/<name>, fridge/<id>, operator/<name>, or the name alone
    #[arg(long)]
    id: String,
    /// Host name of a service; may be given several times
    #[arg(long)]
    dns: Vec<String>,
    /// Address of a service; may be given several times
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// A PKCS #10 request in PEM; without it a key is made and written with mode 0600
    #[arg(long)]
    csr: Option<PathBuf>,
    /// Life of the certificate, at most 168
    #[arg(long, default_value_t = 24)]
    lifetime_hours: u32,
    /// Folder for cert.pem, key.pem and bundle.pem
    #[arg(long)]
    out: PathBuf,
}

/// Arguments of `renew`.
#[derive(Debug, Args)]
pub struct Renew {
    #[command(flatten)]
    place: Place,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Folder of the authority
    #[arg(long)]
    dir: PathBuf,
    /// One JSON object a line, as they stand in the log
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileArgument {
    Service,
    Device,
    Operator,
}

impl Command {
    /// Runs the command at this time and writes what it did to `out`.
    ///
    /// # Errors
    /// [`CliError`], whose text says what happened and what to do.
    pub fn run(self, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
        match self {
            Self::Init(arguments) => init(arguments, now_unix_s, out),
            Self::Issue(arguments) => issue(&arguments, now_unix_s, out),
            Self::Renew(arguments) => renew(&arguments.place, now_unix_s, out),
            Self::List(arguments) => list(&arguments, now_unix_s, out),
            Self::Revoke(arguments) => revoke::revoke(&arguments, now_unix_s, out),
            Self::Crl(arguments) => revoke::crl(&arguments, now_unix_s, out),
            Self::Serve(arguments) => serve::run(&arguments, out),
            Self::Status(arguments) => rotate::status(&arguments, now_unix_s, out),
            Self::Rotate(arguments) => rotate::rotate(&arguments, now_unix_s, out),
            Self::Approve(arguments) => people::approve(&arguments, out),
            Self::Approvers(arguments) => people::approvers(&arguments, now_unix_s, out),
            Self::Ceremony(arguments) => people::ceremony(&arguments, now_unix_s, out),
            Self::Log(arguments) => log::run(&arguments, out),
        }
    }
}

fn init(arguments: Init, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let Init { dir, module, token_label, pin_file, trust_domain, approver } = arguments;
    let approvers = people::read_approvers(&approver)?;
    let config = AuthorityConfig { dir, module, token_label, pin: Pin::File(pin_file), trust_domain };
    let authority = Authority::init_with(&config, &approvers, now_unix_s)?;
    let dir = config.dir.display();
    writeln!(out, "Made the authority of {} in {dir}.", config.trust_domain)?;
    writeln!(out, "  keys     4, made inside the token {:?}; they cannot leave it", config.token_label)?;
    writeln!(out, "  root     {dir}/root.pem   the trust bundle: give it to every party")?;
    writeln!(out, "  log      {dir}/issued.jsonl   {}", describe(&authority.head()))?;
    match approvers.len() {
        0 => writeln!(out, "  people   nobody can agree to acts, so its keys cannot be rotated; see --approver")?,
        some => writeln!(out, "  people   {some} approvers, of whom two agree to what changes its keys")?,
    }
    writeln!(out, "Next: larder-ca issue --dir {dir} --profile service --id service/purchase-session --out <folder>")?;
    Ok(())
}

fn issue(arguments: &Issue, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = arguments.place.open()?;
    let profile = match arguments.profile {
        ProfileArgument::Service => Profile::Service,
        ProfileArgument::Device => Profile::Device,
        ProfileArgument::Operator => Profile::Operator,
    };
    let id = read_id(&arguments.id, profile, authority.trust_domain())?;
    let names = Names { dns: arguments.dns.clone(), ip: arguments.ip.clone() };
    let (key, pair) = match &arguments.csr {
        Some(path) => (SubjectKey::from_csr_pem(&files::read(path)?)?, None),
        None => SubjectKey::generate().map(|(key, pair)| (key, Some(pair)))?,
    };
    let order = Order::new(profile, &id, names, key, arguments.lifetime_hours.saturating_mul(3600))?;
    let chain = authority.issue(&order, now_unix_s)?;
    let pair = pair.as_ref().map(crate::KeyPairPem::expose);
    let written = IssuedFiles::write(&arguments.out, &chain, pair, &authority.trust_bundle_pem())?;
    writeln!(out, "Issued a {} certificate to {id}.", profile.as_str())?;
    writeln!(out, "  serial       {}", chain.serial)?;
    writeln!(out, "  good         {} to {}", moment(chain.not_before_unix_s), moment(chain.not_after_unix_s))?;
    writeln!(out, "  certificate  {}", written.certificate.display())?;
    match &written.key {
        Some(key) => writeln!(out, "  key          {} (mode 0600)", key.display())?,
        None => writeln!(out, "  key          where the request was made; it never came here")?,
    }
    writeln!(out, "  trust        {}", written.bundle.display())?;
    writeln!(out, "  log          {}", describe(&authority.head()))?;
    writeln!(out, "Next: point the party at these files, and issue again before {}.", moment(chain.not_after_unix_s))?;
    Ok(())
}

fn renew(place: &Place, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = place.open()?;
    let renewed = authority.renew(now_unix_s)?;
    if renewed.is_empty() {
        writeln!(out, "Nothing to renew: every intermediate has more than half of its life before it.")?;
        return Ok(());
    }
    for one in renewed {
        writeln!(out, "Renewed the {}: good to {}.", one.kind.as_str(), moment(one.not_after_unix_s))?;
    }
    writeln!(out, "  log  {}", describe(&authority.head()))?;
    writeln!(out, "Next: nothing; certificates issued from now on carry the new intermediate.")?;
    Ok(())
}

fn list(arguments: &List, now_unix_s: i64, out: &mut dyn Write) -> Result<(), CliError> {
    if !arguments.dir.join("authority.toml").exists() {
        return Err(Refusal::NotInitialised(arguments.dir.clone()).into());
    }
    if !arguments.json {
        writeln!(out, "{:<32}  {:<24}  {:<20}  {:<20}  {:<8}  SUBJECT", "SERIAL", "KIND", "FROM", "TO", "STATE")?;
    }
    let revoked = revoked_serials(&arguments.dir)?;
    let mut written = Ok(());
    let head = read_log(&arguments.dir, |entry| {
        if written.is_ok() {
            written = if arguments.json { json(entry, out) } else { row(entry, &revoked, now_unix_s, out) };
        }
    })?;
    written?;
    if !arguments.json {
        writeln!(out, "The log holds from its first line to its last: {}.", describe(&head))?;
        writeln!(out, "Next: compare the head with the one kept elsewhere; it stands for the whole log.")?;
    }
    Ok(())
}

fn json(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(entry).map_err(io::Error::other)?)
}

fn row(entry: &Entry, revoked: &HashSet<String>, now_unix_s: i64, out: &mut dyn Write) -> io::Result<()> {
    let state = match entry.state {
        EntryState::Withheld => "withheld",
        EntryState::Issued if entry.kind.is_leaf() && revoked.contains(&entry.serial) => "revoked",
        EntryState::Issued if now_unix_s > entry.not_after_unix_s => "expired",
        EntryState::Issued => "good",
    };
    let (from, to) = (moment(entry.not_before_unix_s), moment(entry.not_after_unix_s));
    writeln!(
        out,
        "{:<32}  {:<24}  {from:<20}  {to:<20}  {state:<8}  {}",
        entry.serial,
        entry.kind.as_str(),
        entry.subject
    )
}

/// Reads a whole id, a path, or a name alone, to which the profile gives the kind.
fn read_id(text: &str, profile: Profile, trust_domain: &TrustDomain) -> Result<SpiffeId, Refusal> {
    let kind = match profile {
        Profile::Device => "fridge",
        Profile::Service => "service",
        Profile::Operator => "operator",
    };
    let parsed = if text.contains("://") {
        SpiffeId::parse(text)
    } else if text.contains('/') {
        SpiffeId::parse_path_in(trust_domain, text)
    } else {
        SpiffeId::parse_path_in(trust_domain, &format!("{kind}/{text}"))
    };
    parsed.map_err(|why| Refusal::Id { text: text.to_owned(), why })
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
