//! The commands of `larder-acme`: serve, and the external account keys. Each says what it did and what to do next.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authority::{Authority, AuthorityConfig, Pin};
use ca_acme::{EabKey, Grant, Host};
use ca_http::{Limits, Server, Tls};
use ca_identity::{SINGLE_NODE_TRUST_DOMAIN, SpiffeId, TrustDomain};
use ca_mtls::{EnrolmentServer, Identity, Watched};
use clap::{Args, Subcommand};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::clock::now_unix_s;
use crate::error::AcmeServerError;
use crate::probe::Http01;
use crate::server::AcmeServer;
use crate::store::Store;

/// What `larder-acme` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer ACME clients, until it is told to end
    Serve(Serve),
    /// External account keys: who may have which certificate
    #[command(subcommand)]
    Eab(Eab),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Folder of the authority
    #[arg(long)]
    dir: PathBuf,
    /// File with the token's PIN, mode 0600; the one that the authority's settings name when it is left out
    #[arg(long)]
    pin_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// How clients reach this server: https://<host> or https://<host>:<port>
    #[arg(long)]
    origin: String,
    /// The server's own certificate chain, PEM; with a DNS name that clients know
    #[arg(long)]
    certificate: PathBuf,
    /// Its private key, PEM, mode 0600
    #[arg(long)]
    key: PathBuf,
    /// The port at which DNS names and addresses are proved
    #[arg(long, default_value_t = 80)]
    http01_port: u16,
    /// Where a DNS name is proved whose address is not asked of the resolver: <name>=<address>:<port>; may be given several
    /// times
    #[arg(long, value_parser = resolve)]
    resolve: Vec<(String, SocketAddr)>,
    /// Is written with the address when the server answers
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

/// Where the rows are.
#[derive(Debug, Args)]
pub struct Place {
    /// The database; made if it is not there
    #[arg(long)]
    database: PathBuf,
}

/// What can be done with external account keys.
#[derive(Debug, Subcommand)]
pub enum Eab {
    /// Make a key for one party; its MAC key is written to a file and shown nowhere else
    New(New),
    /// Show the keys
    List(List),
    /// Revoke a key: its account can order nothing any more
    Revoke(Revoke),
}

/// Arguments of `eab new`.
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    place: Place,
    /// spiffe://<trust-domain>/service/<name> or …/fridge/<id>, or short: service/<name>, fridge/<id>
    #[arg(long)]
    id: String,
    /// The trust domain of a short id
    #[arg(long, default_value = SINGLE_NODE_TRUST_DOMAIN)]
    trust_domain: TrustDomain,
    /// A DNS name that the service may have; may be given several times
    #[arg(long)]
    dns: Vec<String>,
    /// An address that the service may have; may be given several times
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// The SHA-256 of the fridge's endorsement key (its SubjectPublicKeyInfo), 64 hex digits
    #[arg(long)]
    ek_sha256: Option<String>,
    /// File for the MAC key, made with mode 0600; it must not exist
    #[arg(long)]
    out: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `eab list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Arguments of `eab revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    place: Place,
    /// The key's id
    kid: String,
}

impl Command {
    /// Runs the command; `shutdown` ends a server.
    ///
    /// # Errors
    /// [`AcmeServerError`], with what to do.
    pub async fn run(
        self,
        now_unix_s: i64,
        out: &mut dyn Write,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AcmeServerError> {
        match self {
            Self::Serve(arguments) => serve(arguments, shutdown).await,
            Self::Eab(Eab::New(arguments)) => new(&arguments, now_unix_s, out).await,
            Self::Eab(Eab::List(arguments)) => list(&arguments, out).await,
            Self::Eab(Eab::Revoke(arguments)) => revoke(&arguments, now_unix_s, out).await,
        }
    }
}

async fn serve(arguments: Serve, shutdown: impl Future<Output = ()>) -> Result<(), AcmeServerError> {
    let config = AuthorityConfig::load(&arguments.dir, arguments.pin_file.map(Pin::File))?;
    let authority = tokio::task::spawn_blocking(move || Authority::open(&config)).await;
    let authority = authority.map_err(|why| AcmeServerError::system("opening ended", std::io::Error::other(why)))??;
    let own = Watched::new(vec![arguments.certificate.clone(), arguments.key.clone()]);
    let identity = || Identity::load(&arguments.certificate, &arguments.key);
    let tls = Arc::new(EnrolmentServer::new(&identity()?, &[b"http/1.1"])?);
    let store = Store::open(&arguments.place.database).await?;
    let resolve: BTreeMap<String, SocketAddr> = arguments.resolve.into_iter().collect();
    let http01 = Http01 { port: arguments.http01_port, resolve };
    let server = AcmeServer::start(Arc::new(authority), store, &arguments.origin, http01, now_unix_s).await?;
    let listen = |source| AcmeServerError::system(format!("cannot listen on {}", arguments.listen), source);
    let listener = tokio::net::TcpListener::bind(arguments.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    if let Some(path) = &arguments.ready_file {
        write(path, &format!("{address}\n"), true)?;
    }
    tracing::info!(%address, origin = arguments.origin, "ready");
    let limits = Limits { body_bytes: ca_acme::MOST_BODY_BYTES, ..Limits::default() };
    let keeping = tokio::spawn(Arc::clone(&server).keep());
    let shown = Tls::Enrolment(Arc::clone(&tls));
    let server = Server::new(shown, limits, now_unix_s, move |request| Arc::clone(&server).answer(request));
    tokio::select! {
        () = server.run(listener, shutdown) => {}
        () = own.keep_fresh(|| identity().and_then(|identity| tls.replace(&identity))) => {}
    }
    keeping.abort();
    Ok(())
}

async fn new(arguments: &New, now_unix_s: i64, out: &mut dyn Write) -> Result<(), AcmeServerError> {
    let mut random = Zeroizing::new([0; 48]);
    let filled = SystemRandom::new().fill(random.as_mut_slice());
    filled.map_err(|why| {
        AcmeServerError::system("the system gives no randomness", std::io::Error::other(why.to_string()))
    })?;
    let (kid, mac_key) = random.split_at(16);
    let mac_key = Zeroizing::new(<[u8; 32]>::try_from(mac_key).unwrap_or_default());
    let kid = BASE64URL_NOPAD.encode(kid);
    let grant = grant(arguments).map_err(AcmeServerError::Refused)?;
    let key =
        EabKey { kid, mac_key, grant, account: None, created_unix_s: now_unix_s, revoked_unix_s: None, barred: None };
    let store = Store::open(&arguments.place.database).await?;
    let text = Zeroizing::new(BASE64URL_NOPAD.encode(key.mac_key.as_slice()));
    write(&arguments.out, &text, false)?;
    store.add_eab(&key).await?;
    if arguments.json {
        let mut value = described(&key);
        if let Some(members) = value.as_object_mut() {
            members.insert("mac_key_file".to_owned(), arguments.out.display().to_string().into());
        }
        return say(out, &format!("{value}\n"));
    }
    let (kid, file) = (&key.kid, arguments.out.display());
    say(out, &format!("Made an external account key for {}.\n", key.grant.party()))?;
    say(out, &format!("  key id   {kid}\n  allows   {}\n", key.grant.identifiers().join(", ")))?;
    say(out, &format!("  MAC key  {file} (mode 0600)\n"))?;
    say(out, &format!("Next: give both to whoever runs the client, for one account (certbot: --eab-kid {kid} "))?;
    say(out, &format!("--eab-hmac-key \"$(cat {file})\"), and delete the file afterwards.\n"))
}

fn grant(arguments: &New) -> Result<Grant, String> {
    let id = &arguments.id;
    let parsed =
        if id.contains("://") { SpiffeId::parse(id) } else { SpiffeId::parse_path_in(&arguments.trust_domain, id) };
    let party = parsed.map_err(|why| format!("{id:?} is no name of a party: {why}"))?;
    match (&arguments.ek_sha256, arguments.dns.is_empty() && arguments.ip.is_empty()) {
        (None, _) => {
            let names = arguments.dns.iter().map(|name| Host::dns(name));
            let hosts = names.chain(arguments.ip.iter().map(|address| Host::ip(*address)));
            Grant::service(party, hosts.collect::<Result<_, _>>()?)
        }
        (Some(hash), true) => {
            let bytes = HEXLOWER.decode(hash.to_ascii_lowercase().as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            Grant::device(party, bytes.ok_or_else(|| format!("{hash:?} is no SHA-256: 64 hex digits"))?)
        }
        (Some(_), false) => {
            Err("a fridge has neither DNS names nor addresses: give --ek-sha256 or those, not both".to_owned())
        }
    }
}

async fn list(arguments: &List, out: &mut dyn Write) -> Result<(), AcmeServerError> {
    let keys = Store::open(&arguments.place.database).await?.eabs().await?;
    if arguments.json {
        return keys.iter().try_for_each(|key| say(out, &format!("{}\n", described(key))));
    }
    say(out, &format!("{:<22}  {:<8}  {:<20}  {:<48}  ALLOWS\n", "KEY ID", "STATE", "MADE", "PARTY"))?;
    for key in &keys {
        let (made, allows) = (moment(key.created_unix_s), key.grant.identifiers().join(", "));
        say(out, &format!("{:<22}  {:<8}  {made:<20}  {:<48}  {allows}\n", key.kid, state(key), key.grant.party()))?;
    }
    say(
        out,
        &format!("{} keys.\nNext: revoke one that is not to order any more with `eab revoke <KEY ID>`.\n", keys.len()),
    )
}

async fn revoke(arguments: &Revoke, now_unix_s: i64, out: &mut dyn Write) -> Result<(), AcmeServerError> {
    let store = Store::open(&arguments.place.database).await?;
    if !store.revoke_eab(&arguments.kid, now_unix_s).await? {
        let detail = format!("no key {:?} is in force; `eab list` shows which are", arguments.kid);
        return Err(AcmeServerError::Refused(detail));
    }
    say(
        out,
        &format!("Revoked the external account key {}: its account can order nothing any more.\n", arguments.kid),
    )?;
    say(
        out,
        "Next: certificates that are out stay good until they end; take them back with `larder-ca revoke --party`.\n",
    )
}

fn described(key: &EabKey) -> Value {
    json!({
        "kid": key.kid,
        "state": state(key),
        "profile": key.grant.profile(),
        "party": key.grant.party().as_str(),
        "identifiers": key.grant.identifiers(),
        "account": key.account,
        "created_unix_s": key.created_unix_s,
        "revoked_unix_s": key.revoked_unix_s,
        "barred_unix_s": key.barred.map(|barred| barred.unix_s),
    })
}

const fn state(key: &EabKey) -> &'static str {
    match (key.revoked_unix_s, &key.barred, &key.account) {
        (Some(_), _, _) => "revoked",
        (None, Some(_), _) => "barred",
        (None, None, Some(_)) => "in use",
        (None, None, None) => "unused",
    }
}

fn moment(unix_s: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_s).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{unix_s} s"))
}

fn resolve(text: &str) -> Result<(String, SocketAddr), String> {
    let (host, address) = text.split_once('=').ok_or("write <host>=<address>:<port>")?;
    Ok((host.to_owned(), address.parse().map_err(|why| format!("{address:?} is no address with a port: {why}"))?))
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), AcmeServerError> {
    out.write_all(text.as_bytes()).map_err(|source| AcmeServerError::system("the output could not be written", source))
}

/// Writes a file that its owner alone may read; a new one, unless it may be replaced.
fn write(path: &Path, text: &str, replace: bool) -> Result<(), AcmeServerError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| AcmeServerError::system(format!("cannot write {}", path.display()), source);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if !replace {
        let mut file = options.create_new(true).open(path).map_err(failed)?;
        return file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed);
    }
    let next = path.with_extension("new");
    let mut file = options.create(true).truncate(true).open(&next).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&next, path)).map_err(failed)
}
