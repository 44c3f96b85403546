//! A fridge that has a certificate: what an agent needs of its keeper. It waits for the first one, has each later one shown
//! from then on, and says when the fridge may not sell any more.

use std::path::PathBuf;

use ca_mtls::{HeldClient, Identity, MtlsError, TrustBundle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Event, Keeper};

/// How many events wait for whoever listens.
const WAITING: usize = 8;

/// A fridge with a certificate, for as long as this lives.
#[derive(Debug)]
pub struct Certified {
    client: HeldClient,
    bundle: PathBuf,
    events: mpsc::Receiver<Event>,
    /// Whether it was heard last that the fridge is in quarantine.
    quarantined: bool,
    _keeper: Running,
}

impl Certified {
    /// Starts the keeper and waits for a certificate, however long that takes; `told` hears what comes before it, and the
    /// certificate itself. None when the keeper ended, or the trust bundle is not there any more.
    pub async fn first(keeper: Keeper, mut told: impl FnMut(&Event)) -> Option<Self> {
        let bundle = keeper.bundle().to_owned();
        let (sender, mut events) = mpsc::channel(WAITING);
        let running = Running(tokio::spawn(keeper.run(sender)));
        loop {
            let event = events.recv().await?;
            told(&event);
            if let Event::Certified(identity) = event {
                let client = HeldClient::new(&identity, &TrustBundle::load(&bundle).ok()?);
                return Some(Self { client, bundle, events, quarantined: false, _keeper: running });
            }
        }
    }

    /// What shows the certificate of the moment.
    #[must_use]
    pub const fn client(&self) -> &HeldClient {
        &self.client
    }

    /// Shows each new certificate from when it is there, until the fridge may not sell any more: then the reasons. `told`
    /// hears everything.
    pub async fn follow(&mut self, mut told: impl FnMut(&Event)) -> Vec<String> {
        while let Some(event) = self.events.recv().await {
            let replaced = match &event {
                Event::Certified(identity) => self.replace(identity),
                Event::Quarantined(_) | Event::Failed(_) => Ok(()),
            };
            told(&event);
            match (replaced, event) {
                (Err(why), _) => return vec![why.to_string()],
                (Ok(()), Event::Quarantined(reasons)) => {
                    self.quarantined = true;
                    return reasons;
                }
                (Ok(()), _) => {}
            }
        }
        vec!["what keeps its certificate has ended".to_owned()]
    }

    /// Waits for as long as the fridge is in quarantine: its keeper goes on trying, and reporting. `told` hears everything.
    pub async fn quarantine(&mut self, mut told: impl FnMut(&Event)) {
        while self.quarantined
            && let Some(event) = self.events.recv().await
        {
            told(&event);
            self.quarantined = !matches!(event, Event::Certified(_));
        }
    }

    /// Shows this one from now on, and trusts the roots that came with it.
    fn replace(&self, identity: &Identity) -> Result<(), MtlsError> {
        self.client.replace(identity, &TrustBundle::load(&self.bundle)?).map(drop)
    }
}

/// A task that ends with whoever holds it.
#[derive(Debug)]
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
