//! The authority as a server: it publishes the revocation lists to the gateways, signs them again before they run out,
//! certifies attestation keys for the attestation service, and gives itself the certificate by which all know it.
//!
//! A person revokes with the command line, in another process; the lists are files, and this process sees them change. So
//! there is one way to revoke, with the server or without it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_http::{Limits, Request, Response, Server, Tls};
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{IdentityFiles, ReloadingServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::publish::{self, Published};
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
    let (sender, published) = watch::channel(Published::of(&authority.lists()?));
    let bound = TcpListener::bind(listen.services).await;
    let listener = bound.map_err(|why| Fault::Serve(format!("cannot listen on {}: {why}", listen.services)))?;
    let address = listener.local_addr().map_err(|why| Fault::Serve(why.to_string()))?;
    if let Some(path) = &listen.ready_file {
        files::write(path, format!("{address}\n").as_bytes(), 0o644)?;
    }
    tracing::info!(%address, "ready");
    let limits = Limits { body_bytes: 1024, ..Limits::default() };
    let asked = Arc::clone(&authority);
    let server = Server::new(Tls::Mutual(tls.config()), limits, now_unix_s, move |request| {
        answer(Arc::clone(&asked), request, published.clone(), now_unix_s)
    });
    let looking = tokio::spawn(look(Arc::clone(&authority), sender));
    let keeping = tokio::spawn(keep(authority, tls, listen.names, now_unix_s));
    server.run(listener, shutdown).await;
    looking.abort();
    keeping.abort();
    Ok(())
}

/// Answers one request.
async fn answer(
    authority: Arc<Authority>,
    request: Request,
    published: watch::Receiver<Published>,
    now_unix_s: fn() -> i64,
) -> Response {
    match request.path.as_str() {
        vouch::PATH => vouch::answer(authority, request, now_unix_s).await,
        _ => publish::answer(request, published).await,
    }
}

/// Publishes the lists whenever their files change.
async fn look(authority: Arc<Authority>, published: watch::Sender<Published>) {
    let mut beat = interval(LOOK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        beat.tick().await;
        let now = stamps(authority.dir());
        if seen.as_ref() == Some(&now) {
            continue;
        }
        let reading = Arc::clone(&authority);
        let Ok(read) = tokio::task::spawn_blocking(move || publish::read(reading.lists())).await else { continue };
        if let Some(new) = read {
            published.send_if_modified(|known| {
                let changed = *known != new;
                *known = new;
                changed
            });
            seen = Some(now);
        }
    }
}

/// What tells one state of the lists' files from another without reading them.
fn stamps(dir: &Path) -> Vec<Option<(u64, i64, i64)>> {
    let stamp = |name: &str| fs::metadata(dir.join(name)).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec()));
    ["device.crl", "service.crl"].map(stamp).to_vec()
}

/// Signs the lists again and again, and renews the server's own certificate.
async fn keep(authority: Arc<Authority>, tls: Arc<ReloadingServer>, names: Names, now_unix_s: fn() -> i64) {
    let (mut refresh, mut renew) = (interval(REFRESH), interval(RENEW));
    refresh.tick().await;
    renew.tick().await;
    loop {
        let (authority, tls, names) = (Arc::clone(&authority), Arc::clone(&tls), names.clone());
        let work: Box<dyn FnOnce() -> Result<(), AuthorityError> + Send> = tokio::select! {
            _ = refresh.tick() => Box::new(move || authority.refresh_lists(now_unix_s())),
            _ = renew.tick() => Box::new(move || {
                own_certificate(&authority, &names, now_unix_s())?;
                tls.reload().map(|_| ()).map_err(|why| Fault::Serve(why.to_string()).into())
            }),
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
