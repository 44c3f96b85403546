//! What every handler of a service has at hand: the database, the policies, the metrics, the clock, and the end.
//!
//! One value, cheap to clone, is the state of all routes. It leaves what is particular to a service to `E`.

use std::sync::Arc;

use ca_identity::ServiceName;
use pci_contract::Timestamp;
use policy_engine::Engine;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};
use crate::db::{Db, Step};
use crate::metrics::Metrics;
use crate::problem::Fault;
use crate::{Config, Limits};

/// The state of a service; `E` is the part that only one service has.
#[derive(Debug)]
pub struct Kit<E> {
    inner: Arc<Inner<E>>,
}

#[derive(Debug)]
struct Inner<E> {
    service: ServiceName,
    db: Db,
    engine: Engine,
    metrics: Metrics,
    limits: Limits,
    clock: Clock,
    ending: CancellationToken,
    settings: E,
}

impl<E> Clone for Kit<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Clone> Kit<E> {
    /// Opens what the service named `service` needs. `ending` is cancelled when it shall end.
    ///
    /// # Errors
    /// [`Fault`] when the database or the policies cannot be used.
    pub async fn open(
        service: ServiceName,
        config: &Config<E>,
        steps: &[Step],
        ending: CancellationToken,
    ) -> Result<Self, Fault> {
        let engine = Engine::load().map_err(|error| Fault::new(error.to_string(), false))?;
        let db = Db::open(&config.database, steps).await?;
        let (limits, settings) = (config.limits, config.service.clone());
        let metrics = Metrics::new();
        let inner = Inner { service, db, engine, metrics, limits, clock: clock::now, ending, settings };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl<E> Kit<E> {
    /// Which service this is.
    #[must_use]
    pub fn service(&self) -> ServiceName {
        self.inner.service
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The policies.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    /// Cancelled when the service shall end; whoever waits long, waits for this too.
    #[must_use]
    pub fn ending(&self) -> &CancellationToken {
        &self.inner.ending
    }

    /// What only this service has in its configuration.
    #[must_use]
    pub fn settings(&self) -> &E {
        &self.inner.settings
    }
}
