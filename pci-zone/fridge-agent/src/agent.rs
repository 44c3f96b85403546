//! One running agent: starts its tasks, gives the handle that stops it and enrols cards.
//!
//! Many agents run in one process (a replayed day, a benchmark), so nothing here is global. The work is `drive`'s.

mod drive;

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::config::AgentConfig;
use crate::enroll::{EnrollError, Enrolled, enroll};
use crate::hardware::Hardware;
use crate::keys::SealingKeys;
use crate::service::Service;
use crate::shared::Shared;

/// The service's address cannot be one.
#[derive(Debug, Error)]
#[error("the service's address is not host:port")]
pub struct AddressError;

/// Starts agents.
#[derive(Debug, Clone, Copy)]
pub struct Agent;

impl Agent {
    /// Starts an agent on the current runtime: it goes on where its journal says it was.
    ///
    /// # Errors
    /// [`AddressError`] when the service's address is none. That the service cannot be reached is no error.
    pub fn start(config: AgentConfig, hardware: impl Hardware) -> Result<AgentHandle, AddressError> {
        let service = Service::new(&config).map_err(|_| AddressError)?;
        let keys = SealingKeys::new(service.clone());
        let shared = Arc::new(Shared { config, service, keys });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(drive::drive(Arc::clone(&shared), hardware, stopped));
        Ok(AgentHandle { shared, stop: Some(stop), task })
    }
}

/// A running agent; dropping it stops it at once, as a power cut would.
pub struct AgentHandle {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl AgentHandle {
    /// Puts a card into the wallet of the customer who shows the ID token.
    ///
    /// # Errors
    /// [`EnrollError`]; the card is wiped in any case.
    pub async fn enroll_card(&self, track2: Zeroizing<Vec<u8>>, id_token: &str) -> Result<Enrolled, EnrollError> {
        enroll(&self.shared, track2, id_token).await
    }

    /// Stops the agent between two steps. A session under way stays in its journal.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.stopped().await;
    }

    /// Resolves when the agent has stopped by itself, which it does when its hardware is gone.
    pub async fn stopped(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
