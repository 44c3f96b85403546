//! The authority as a server: it publishes the revocation lists to the gateways, signs them again before they run out,
//! certifies attestation keys for the attestation service, and gives itself the certificate by which all know it.
//!
//! A person revokes with the command line, in another process; the lists are files, and this process sees them change. So
//! there is one way to revoke, with the server or without it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_http::{Limits, Request, Response, Server, Tls};
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{IdentityFiles, ReloadingServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::acknowledged::Acknowledged;
use crate::publish::{self, Published};
use crate::publish_bundle::{self, Bundles};
use crate::{Authority, AuthorityError, Fault, IssuedFiles, Names, Order, Profile, SubjectKey, files, vouch};

/// How often the files of the lists are looked at: this much of the two seconds within which a word is to be everywhere.
const LOOK: Duration = Duration::from_millis(100);
/// How often the lists are signed again although nothing was revoked.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How often the server gives itself a new certificate, of twice that life and more.
const RENEW: Duration = Duration::from_secs(8 * 60 * 60);
const OWN_LIFETIME_S: u32 = 24 * 60 * 60;

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// For the services of the house, behind mutual TLS; port 0 takes a free one.
    pub services: SocketAddr,
    /// Host names and addresses by which they reach it, for the certificate.
    pub names: Names,
    /// Where to write the address once it serves.
    pub ready_file: Option<PathBuf>,
}

/// Serves until `shutdown`. `now_unix_s` is the program's clock.
///
/// # Errors
/// [`Fault`] when it cannot listen or cannot give itself a certificate; [`crate::Corrupt`] when the lists in force are not
/// its own.
pub async fn serve(
    authority: Arc<Authority>,
    listen: Listen,
    now_unix_s: fn() -> i64,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AuthorityError> {
    let own = own_certificate(&authority, &listen.names, now_unix_s())?;
    let tls = ReloadingServer::new(own, authority.trust_domain(), &[b"http/1.1"])
        .map_err(|why| Fault::Serve(why.to_string()))?;
    let tls = Arc::new(tls);
    authority.refresh_lists(now_unix_s())?;
    let (lists, published) = watch::channel(Published::of(&authority.lists()?));
    let (bundles, followed) = watch::channel(Arc::new(authority.bundles()?));
    let words = Arc::new(Mutex::new(Acknowledged::open(authority.dir())?));
    let bound = TcpListener::bind(listen.services).await;
    let listener = bound.map_err(|why| Fault::Serve(format!("cannot listen on {}: {why}", listen.services)))?;
    let address = listener.local_addr().map_err(|why| Fault::Serve(why.to_string()))?;
    if let Some(path) = &listen.ready_file {
        files::write(path, format!("{address}\n").as_bytes(), 0o644)?;
    }
    tracing::info!(%address, "ready");
    let limits = Limits { body_bytes: 1024, ..Limits::default() };
    let desk = Desk { authority: Arc::clone(&authority), published, followed, words, now_unix_s };
    let server =
        Server::new(Tls::Mutual(tls.config()), limits, now_unix_s, move |request| answer(desk.clone(), request));
    let itself = Itself { authority, tls, names: listen.names, now_unix_s };
    let looking = tokio::spawn(look(itself.clone(), lists, bundles));
    let keeping = tokio::spawn(keep(itself));
    server.run(listener, shutdown).await;
    looking.abort();
    keeping.abort();
    Ok(())
}

/// What requests are answered out of.
#[derive(Clone)]
struct Desk {
    authority: Arc<Authority>,
    published: watch::Receiver<Published>,
    followed: watch::Receiver<Bundles>,
    words: Arc<Mutex<Acknowledged>>,
    now_unix_s: fn() -> i64,
}

/// Answers one request.
async fn answer(desk: Desk, request: Request) -> Response {
    match request.path.as_str() {
        vouch::PATH => vouch::answer(desk.authority, request, desk.now_unix_s).await,
        publish_bundle::PATH => publish_bundle::answer(request, desk.followed, desk.words, desk.now_unix_s).await,
        _ => publish::answer(request, desk.published).await,
    }
}

/// What the server needs to be who it is.
#[derive(Clone)]
struct Itself {
    authority: Arc<Authority>,
    tls: Arc<ReloadingServer>,
    names: Names,
    now_unix_s: fn() -> i64,
}

impl Itself {
    /// Gives itself a new certificate, and trusts the bundle in force.
    fn renew(&self) -> Result<(), AuthorityError> {
        own_certificate(&self.authority, &self.names, (self.now_unix_s)())?;
        self.tls.reload().map(|_| ()).map_err(|why| Fault::Serve(why.to_string()).into())
    }
}

/// Publishes the lists and the bundles whenever their files change. When something was decided, the server needs a certificate
/// of the generation that is in use now, and the roots that are trusted now.
async fn look(itself: Itself, lists: watch::Sender<Published>, bundles: watch::Sender<Bundles>) {
    let mut beat = interval(LOOK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut decided) = (None, stamp(&itself.authority.dir().join("acts.jsonl")));
    loop {
        beat.tick().await;
        let (now, acts) = (stamps(itself.authority.dir()), stamp(&itself.authority.dir().join("acts.jsonl")));
        if seen.as_ref() == Some(&now) && decided == acts {
            continue;
        }
        let (reading, renew) = (itself.clone(), decided != acts);
        let read = tokio::task::spawn_blocking(move || {
            if renew {
                reading.renew()?;
            }
            Ok((reading.authority.lists()?, reading.authority.bundles()?))
        });
        match read.await {
            Ok(Ok((new_lists, new_bundles))) => {
                put(&lists, Published::of(&new_lists));
                put(&bundles, Arc::new(new_bundles));
                (seen, decided) = (Some(now), acts);
            }
            Ok(Err(error)) => publish::unreadable(&error),
            Err(_) => {}
        }
    }
}

fn put<T: PartialEq>(published: &watch::Sender<T>, new: T) {
    published.send_if_modified(|known| {
        let changed = *known != new;
        *known = new;
        changed
    });
}

/// What tells one state of a file from another without reading it.
type Stamp = Option<(u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec()))
}

/// The stamps of all lists.
fn stamps(dir: &Path) -> BTreeMap<PathBuf, Stamp> {
    let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|is| is == "crl"))
        .map(|path| (path.clone(), stamp(&path)))
        .collect()
}

/// Signs the lists again and again, and renews the server's own certificate.
async fn keep(itself: Itself) {
    let (mut refresh, mut renew) = (interval(REFRESH), interval(RENEW));
    refresh.tick().await;
    renew.tick().await;
    loop {
        let itself = itself.clone();
        let work: Box<dyn FnOnce() -> Result<(), AuthorityError> + Send> = tokio::select! {
            _ = refresh.tick() => Box::new(move || itself.authority.refresh_lists((itself.now_unix_s)())),
            _ = renew.tick() => Box::new(move || itself.renew()),
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "the authority could not renew what it publishes; it is tried again");
        }
    }
}

/// Issues the server's own certificate, by the same way as everybody's.
fn own_certificate(authority: &Authority, names: &Names, now_unix_s: i64) -> Result<IdentityFiles, AuthorityError> {
    let id = SpiffeId::service(authority.trust_domain(), ServiceName::Authority);
    let (key, pair) = SubjectKey::generate()?;
    let order = Order::new(Profile::Service, &id, names.clone(), key, OWN_LIFETIME_S)?;
    let chain = authority.issue(&order, now_unix_s)?;
    let out = authority.dir().join("server");
    let written = IssuedFiles::write(&out, &chain, Some(pair.expose()), &authority.trust_bundle_pem())?;
    Ok(IdentityFiles {
        certificate: written.certificate,
        key: written.key.unwrap_or_else(|| out.join("key.pem")),
        bundle: written.bundle,
    })
}
