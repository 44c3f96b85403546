//! The service put together: its files, its listener, and what reads the files again and follows the authority.
//!
//! The listener asks for no certificate: who comes may have none, or one that ran out. A file that cannot be used when it
//! is read again changes nothing: what was in force stays so, and the log says why.

use std::sync::Arc;
use std::time::Duration;

use ca_http::{Limits, Server, Tls};
use ca_identity::{Role, ServiceName};
use ca_mtls::{BundleFollower, EnrolmentServer, Watched};
use tokio::net::TcpListener;

use crate::{Attestation, AuthorityClient, Certifier, Config, ServeError, Store, routes};

/// How often the reference values are read again.
const READ_VALUES: Duration = Duration::from_secs(60);
/// The most bytes of a request: a log of 256 KiB in base64url, and the rest.
const BODY_BYTES: usize = 512 * 1_024;

/// A service that listens, and serves once it is told to run.
#[derive(Debug)]
pub struct Service {
    config: Config,
    /// The files of its identity, as they were before they were read.
    watched: Watched,
    tls: Arc<EnrolmentServer>,
    attestation: Arc<Attestation>,
    store: Store,
    authority: Arc<AuthorityClient>,
    bundles: BundleFollower,
    listener: TcpListener,
    now_unix_s: fn() -> i64,
}

impl Service {
    /// Reads the files, opens the database and listens. `now_unix_s` is the clock, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`ServeError`], whose text says what to do.
    pub async fn open(config: Config, now_unix_s: fn() -> i64) -> Result<Self, ServeError> {
        let watched = config.files().watched();
        let (identity, signer) = config.identity()?;
        if *identity.id().role() != Role::Service(ServiceName::Attestation) {
            return Err(ServeError::Name(identity.id().to_string()));
        }
        let tls = Arc::new(EnrolmentServer::new(&identity, &[b"http/1.1"])?);
        let (roots, values) = (config.roots()?, config.values()?);
        let store = Store::open(&config.database, now_unix_s()).await?;
        let authority = Arc::new(config.authority()?);
        let (reloaded, domain) = (Arc::clone(&authority), identity.id().trust_domain().clone());
        let bundles = BundleFollower::new(config.files().bundle, domain, move || reloaded.reload(), now_unix_s)?;
        let certifier = Arc::clone(&authority) as Arc<dyn Certifier>;
        let attestation = Attestation::new(roots, values, signer, certifier, store.clone(), now_unix_s()).await?;
        let listener = TcpListener::bind(config.listen).await?;
        let attestation = Arc::new(attestation);
        Ok(Self { config, watched, tls, attestation, store, authority, bundles, listener, now_unix_s })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `ending` ends.
    pub async fn run(self, ending: impl Future<Output = ()>) {
        let Self { config, watched, tls, attestation, store, authority, bundles, listener, now_unix_s } = self;
        let limits = Limits { body_bytes: BODY_BYTES, ..Limits::default() };
        let asked = Arc::clone(&attestation);
        let server = Server::new(Tls::Enrolment(Arc::clone(&tls)), limits, now_unix_s, move |request| {
            routes::answer(Arc::clone(&asked), request, now_unix_s())
        });
        let identity = || reload_identity(&config, &tls, &attestation, &authority);
        let asked = |known| {
            let authority = Arc::clone(&authority);
            async move { authority.next_bundle(known).await }
        };
        tokio::select! {
            () = server.run(listener, ending) => {}
            () = watched.keep_fresh(identity) => {}
            () = bundles.run(asked) => {}
            () = read_values_for_ever(&config, &attestation, now_unix_s) => {}
        }
        store.close().await;
    }
}

async fn read_values_for_ever(config: &Config, attestation: &Attestation, now_unix_s: fn() -> i64) {
    loop {
        tokio::time::sleep(READ_VALUES).await;
        let replaced = match config.values() {
            Ok(values) => attestation.replace_values(values, now_unix_s()).await.map_err(ServeError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = replaced {
            tracing::error!(alarm = true, %error, "the reference values were not replaced");
        }
    }
}

fn reload_identity(
    config: &Config,
    tls: &EnrolmentServer,
    attestation: &Attestation,
    authority: &AuthorityClient,
) -> Result<(), ServeError> {
    let (identity, signer) = config.identity()?;
    tls.replace(&identity)?;
    attestation.replace_signer(signer);
    authority.reload()?;
    Ok(())
}
