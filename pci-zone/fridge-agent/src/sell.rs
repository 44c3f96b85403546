//! One fridge from power on to power off: its certificate first, then its agent, and while that runs the certificates that
//! replace it. A fridge that may not sell any more stops selling and says why until that is mended; sessions under way stay
//! in the journal.
//!
//! It leaves which certificate that is, and when to get the next, to `fridge-identity`.

use std::pin::pin;

use fridge_identity::{Certified, Event, Keeper, Settings};
use thiserror::Error;

use crate::agent::AddressError;
use crate::clock;
use crate::config::{ConfigError, FileConfig, Source};
use crate::hardware::Hardware;
use crate::{Agent, AgentHandle};

/// Why a fridge stopped selling, other than that it was told to.
#[derive(Debug, Error)]
pub enum SellError {
    /// It was never able to.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The service's address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Its TPM or what is kept for it cannot be used.
    #[error(transparent)]
    Identity(#[from] fridge_identity::EnrolError),
    /// It may not: these are the reasons.
    #[error("this fridge may not sell: {0}; it stays shut until that is mended and it is started again")]
    Quarantined(String),
    /// Part of it ended.
    #[error("{0} ended by itself; the fridge must be started again")]
    Ended(&'static str),
}

/// Runs a fridge until `stop`, or until it may not sell any more.
///
/// # Errors
/// [`SellError`] says why it stopped by itself.
pub async fn sell(
    config: &FileConfig,
    hardware: impl Hardware,
    stop: impl Future<Output = ()>,
) -> Result<(), SellError> {
    let mut stop = pin!(stop);
    match config.source()? {
        Source::Files(certificates) => {
            let files = certificates.watched();
            let agent = config.agent(|service, alpn| certificates.config(service, alpn))?;
            let agent = Agent::start(agent, hardware)?;
            let reload = || certificates.reload().map(drop);
            let over = async {
                files.keep_fresh(reload).await;
                SellError::Ended("what reads certificates again")
            };
            watched(agent, &mut stop, over).await
        }
        Source::Tpm(settings) => {
            let first = tokio::select! {
                () = &mut stop => return Ok(()),
                first = certified(*settings) => first,
            };
            let mut certified = first?;
            let agent = config.agent(|service, alpn| certified.client().config(service, alpn))?;
            let agent = Agent::start(agent, hardware)?;
            let over = async { SellError::Quarantined(certified.follow(told).await.join("; ")) };
            let sold = watched(agent, &mut stop, over).await;
            if let Err(SellError::Quarantined(_)) = &sold {
                // Shut, and not silent: it says why for as long as that lasts.
                tokio::select! {
                    () = &mut stop => {}
                    () = certified.quarantine(told) => {}
                }
            }
            sold
        }
    }
}

/// Runs an agent until `stop`, its own end, or what says that it is `over`.
async fn watched(
    mut agent: AgentHandle,
    stop: &mut (impl Future<Output = ()> + Unpin),
    over: impl Future<Output = SellError>,
) -> Result<(), SellError> {
    let sold = tokio::select! {
        () = stop => Ok(()),
        why = over => Err(why),
        () = agent.stopped() => return Err(SellError::Ended("the agent")),
    };
    agent.stop().await;
    sold
}

/// Waits for the first certificate.
async fn certified(settings: Settings) -> Result<Certified, SellError> {
    let opened = tokio::task::spawn_blocking(move || Keeper::open(settings, clock::unix_s, clock::chance)).await;
    let keeper = opened.map_err(|_| SellError::Ended("opening the TPM"))??;
    Certified::first(keeper, told).await.ok_or(SellError::Ended("what keeps the certificate"))
}

fn told(event: &Event) {
    match event {
        Event::Certified(identity) => {
            let own = identity.own();
            tracing::info!(id = %own.id, serial = own.serial, not_after = own.not_after, "certified");
        }
        Event::Quarantined(reasons) => {
            tracing::error!(reasons = reasons.join("; "), "quarantined: this fridge may not sell")
        }
        Event::Failed(why) => tracing::warn!(why, "no new certificate yet"),
    }
}
