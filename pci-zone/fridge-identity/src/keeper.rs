//! Keeps a fridge's certificate: gets the first, replaces each in the middle of its life, and tells what the fridge is now.
//!
//! A new certificate is held only once a handshake with it has worked, so a mistake anywhere before that costs nothing: the
//! one before is still there. What is told is told in order and waits for whoever listens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ca_client::{Situation, Span};
use ca_identity::Role;
use ca_mtls::{BundleFollower, HeldClient, Identity, TrustBundle};
use fridge_tpm::{Tpm, TpmSigner};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::enrol::Enrolment;
use crate::report::Reporter;
use crate::store::{Folder, Held};
use crate::{EnrolError, Settings};

/// The bound on a handshake, and on the service's first word after it.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// What a client of HTTP/2 says first (RFC 9113, section 3.4): the preface and empty settings. A server may wait for it.
const HTTP2_BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The longest sleep: clocks of fridges are set while they run, so the time is looked at again.
const LOOK_EVERY_S: u64 = 60;
/// How often the authority is asked for its hint: at most and at least, seconds.
const HINT_S: (u64, u64) = (60, 6 * 60 * 60);

/// What a fridge is now.
#[derive(Debug, Clone)]
pub enum Event {
    /// It has this certificate, from now on.
    Certified(Box<Identity>),
    /// It is genuine, but must not sell; the reasons are for a technician.
    Quarantined(Vec<String>),
    /// There is no new certificate, for this reason; it is tried again. The one before holds until it runs out.
    Failed(String),
}

/// Keeps the certificate of one fridge.
pub struct Keeper {
    enrolment: Enrolment,
    held: Option<Held>,
    reporter: Reporter,
    now_unix_s: fn() -> i64,
    chance: fn() -> u64,
}

impl Keeper {
    /// Opens the TPM and reads what is held. `now_unix_s` is the binary's clock, in seconds since the Unix epoch, `chance`
    /// its source of random bits. Blocks while the TPM answers.
    ///
    /// # Errors
    /// [`EnrolError`], when the TPM does not answer or the folder cannot be used.
    pub fn open(settings: Settings, now_unix_s: fn() -> i64, chance: fn() -> u64) -> Result<Self, EnrolError> {
        let tpm = Tpm::open(&settings.tpm)?;
        let folder = Folder::open(&settings.folder)?;
        let held = folder.held()?;
        let (authority, attestation) = (settings.authority.clone(), settings.attestation.clone());
        let (trusts, file) = (settings.trusts.clone(), settings.bundle.clone());
        let reload = move || TrustBundle::load(&file).map(|bundle| trusts.trust(&bundle));
        let domain = settings.party.trust_domain().clone();
        let bundles = BundleFollower::new(settings.bundle.clone(), domain, reload, now_unix_s)?;
        let (status, party) = (settings.status_address.clone(), settings.party.clone());
        let reporter = Reporter::new(status, party, settings.bundle.clone(), chance);
        let enrolment = Enrolment { settings, tpm, folder, authority, attestation, bundles };
        Ok(Self { enrolment, held, reporter, now_unix_s, chance })
    }

    /// The file of whom the fridge trusts.
    pub(crate) fn bundle(&self) -> &Path {
        &self.enrolment.settings.bundle
    }

    /// Keeps the certificate and tells `events`, until nobody listens.
    pub async fn run(mut self, events: mpsc::Sender<Event>) {
        let Ok(good) = self.told_of_held(&events).await else { return };
        if good {
            self.report();
        }
        let held = self.life().filter(|_| good);
        let mut situation = Situation::with(held, (self.chance)());
        let mut hint_at_s = (self.now_unix_s)();
        loop {
            let now_s = (self.now_unix_s)();
            if situation.next_s(now_s) <= now_s {
                let event = match self.renewed().await {
                    Ok(event) => {
                        self.report();
                        situation = Situation::with(self.life(), (self.chance)());
                        event
                    }
                    Err(why) => {
                        situation = situation.failed_at((self.now_unix_s)());
                        tracing::warn!(%why, "no new certificate");
                        Event::Failed(why.to_string())
                    }
                };
                if events.send(event).await.is_err() {
                    return;
                }
                continue;
            }
            if hint_at_s <= now_s {
                let (hint, again_s) = self.hint().await;
                situation.hint = hint.or(situation.hint);
                hint_at_s = now_s.saturating_add_unsigned(again_s.clamp(HINT_S.0, HINT_S.1));
                continue;
            }
            let wait_s = situation.next_s(now_s).min(hint_at_s).saturating_sub(now_s).clamp(0, i64::MAX).unsigned_abs();
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(wait_s.min(LOOK_EVERY_S))) => {}
                () = events.closed() => return,
            }
        }
    }

    /// Tells of what the run before left, and says whether it is still good.
    async fn told_of_held(&self, events: &mpsc::Sender<Event>) -> Result<bool, mpsc::error::SendError<Event>> {
        let Some(held) = &self.held else { return Ok(false) };
        let now_s = (self.now_unix_s)();
        if self.life().is_none_or(|life| !(life.from_s..=life.to_s).contains(&now_s)) {
            tracing::info!("the certificate that is held ran out; a new one is got by attestation");
            return Ok(false);
        }
        match self.enrolment.booted().await {
            Ok(booted) if booted == held.booted => {}
            Ok(_) => {
                tracing::info!(
                    "other firmware was booted than the certificate is for; it is shown before anything is sold"
                );
                return Ok(false);
            }
            Err(why) => return events.send(Event::Failed(why.to_string())).await.map(|()| false),
        }
        if !self.is_taken(held).await {
            tracing::warn!("the certificate that is held is refused, as one that was revoked; a new one is asked for");
            return Ok(false);
        }
        match self.event(held) {
            Ok(event) => events.send(event).await.map(|()| true),
            Err(why) => events.send(Event::Failed(why.to_string())).await.map(|()| false),
        }
    }

    /// Whether the service takes the certificate that is held; one that cannot be reached may.
    async fn is_taken(&self, held: &Held) -> bool {
        match self.event(held) {
            Ok(Event::Certified(identity)) => !matches!(self.shown(&identity).await, Err(EnrolError::Refused(_))),
            _ => true,
        }
    }

    fn life(&self) -> Option<Span> {
        self.held.as_ref().and_then(|held| held.life().ok())
    }

    /// Gets the next certificate, tries it, and holds it.
    async fn renewed(&mut self) -> Result<Event, EnrolError> {
        let held = match self.enrolment.certificate(self.held.as_ref()).await {
            // It may be that the root was replaced while the fridge was off.
            Err(EnrolError::Fault(_)) if self.enrolment.caught_up().await => {
                self.enrolment.certificate(self.held.as_ref()).await?
            }
            came => came?,
        };
        let event = self.event(&held)?;
        if let Event::Certified(identity) = &event {
            self.shown(identity).await?;
        }
        self.enrolment.folder.hold(&held)?;
        self.held = Some(held);
        Ok(event)
    }

    /// Tells the status service what the fridge is with the certificate that is held.
    fn report(&mut self) {
        let told = self.held.as_ref().map(|held| (self.identity(held), held.reasons.clone()));
        if let Some((Ok(identity), reasons)) = told {
            self.reporter.tell(identity, &reasons);
        }
    }

    /// Who the fridge is with this certificate.
    fn identity(&self, held: &Held) -> Result<Identity, EnrolError> {
        let signer = TpmSigner::new(self.enrolment.tpm.clone(), held.key.clone());
        Identity::new(held.chain()?, Arc::new(signer)).map_err(|why| EnrolError::Corrupt(why.to_string()))
    }

    /// What the fridge is with this certificate.
    fn event(&self, held: &Held) -> Result<Event, EnrolError> {
        let identity = self.identity(held)?;
        let is_ours =
            identity.id() == &self.enrolment.settings.party && matches!(identity.id().role(), Role::Fridge(_));
        match (held.reasons.is_empty(), is_ours) {
            (true, true) => Ok(Event::Certified(Box::new(identity))),
            (true, false) => {
                let (found, party) = (identity.id(), &self.enrolment.settings.party);
                Err(EnrolError::Refused(format!(
                    "the authority certified {found} and not {party}: this fridge was \
                     given another's external account key; correct which key it was given"
                )))
            }
            (false, _) => Ok(Event::Quarantined(held.reasons.clone())),
        }
    }

    /// Shows the new certificate to the service that it is for, and waits for its first word: in TLS 1.3 a server that
    /// refuses a certificate says so after the handshake.
    async fn shown(&self, identity: &Identity) -> Result<(), EnrolError> {
        let settings = &self.enrolment.settings;
        let failed = |why: &dyn std::fmt::Display| {
            EnrolError::Fault(format!(
                "{} was shown the new certificate: {why}; the one before is kept",
                settings.service
            ))
        };
        let bundle = TrustBundle::load(&settings.bundle).map_err(|why| failed(&why))?;
        let client = HeldClient::new(identity, &bundle);
        let tls = client.config(&settings.service, &[b"h2"]).map_err(|why| failed(&why))?;
        let address = &settings.service_address;
        let stream = tokio::time::timeout(HANDSHAKE_WITHIN, TcpStream::connect(address)).await;
        let stream = stream.map_err(|why| failed(&why))?.map_err(|why| failed(&why))?;
        // Only sent along: who the server must be is in the configuration.
        let name = ServerName::try_from("purchase-session").map_err(|why| failed(&why))?;
        let (mut tls, _) = ca_mtls::connect(tls, name, stream, HANDSHAKE_WITHIN).await.map_err(|why| failed(&why))?;
        let word = async {
            tls.write_all(HTTP2_BEGINS).await?;
            tls.flush().await?;
            tls.read_u8().await
        };
        match tokio::time::timeout(HANDSHAKE_WITHIN, word).await.map_err(|why| failed(&why))? {
            Ok(_) => Ok(()),
            Err(why) if is_alert(&why) => {
                Err(EnrolError::Refused(format!("{} refuses the certificate: {why}", settings.service)))
            }
            Err(why) => Err(failed(&why)),
        }
    }

    /// The authority's hint, and in how many seconds to ask again. That there is none costs nothing.
    async fn hint(&self) -> (Option<Span>, u64) {
        let Some(held) = &self.held else { return (None, HINT_S.0) };
        match self.enrolment.hint(held).await {
            Ok((hint, again_s)) => (Some(hint), again_s),
            Err(why) => {
                tracing::info!(%why, "the authority gives no hint when to renew");
                (None, HINT_S.1 / 12)
            }
        }
    }
}

/// Whether the other side said no, and is not just gone.
fn is_alert(why: &std::io::Error) -> bool {
    let inner = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("party", &self.enrolment.settings.party).finish_non_exhaustive()
    }
}
