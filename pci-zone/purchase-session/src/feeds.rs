//! Pulls what the zone must know of fridges, meals, prices, customers and standing from the services that own it.
//!
//! One task a feed asks with a long poll for rows after the revision it has. Nobody outside can open a connection into
//! the zone, so this is the only way in for such facts, and a feed that is away leaves the last known rows in force.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pci_contract::{CardRow, CustomerRow, FeedPage, FeedRow, FridgeRow, LockRow, MealRow, MealTypeRow, PolicyRow};
use pci_processors::http;
use pci_store::{ReferenceRow, Store};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Feed, Metrics};

/// Rows of one page.
const ROWS: u32 = 1_000;
/// How long an answer may wait for news, in seconds.
const WAIT_S: u32 = 20;
/// The most one pull may take, in milliseconds: the wait for news and time to answer.
const TIMEOUT_MS: u64 = 30_000;
/// The pause after a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause after the last row there is: what changes under load then comes together, and is stored at once.
const GATHER: Duration = Duration::from_millis(50);

/// A feed by a name that is none of ours.
#[derive(Debug, Error)]
#[error("there is no feed called {0:?}; the feeds are policy, fridges, locks, meal-types, meals, customers, cards")]
pub struct UnknownFeed(String);

/// Why a page did not come in.
#[derive(Debug, Error)]
enum PullError {
    #[error("the service cannot be reached")]
    Unreachable,
    #[error("the service answered {0}")]
    Status(u16),
    #[error("the answer is not a page of this feed")]
    Page,
    #[error("the page cannot be stored")]
    Store,
}

/// The way to one service's feeds.
#[derive(Clone)]
pub struct Source {
    /// The way to it.
    pub client: Arc<http::Client>,
    /// Where rows go.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The feeds of which nothing is known yet.
    pub unknown: Arc<Unknown>,
    /// When to end.
    pub stop: CancellationToken,
}

/// Feeds whose end was never reached, neither in this run nor in one before: without them every fridge is unknown and
/// no card is blocked, so the service is not ready.
#[derive(Debug, Default)]
pub struct Unknown(Mutex<BTreeSet<&'static str>>);

impl Unknown {
    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.set().iter().copied().collect()
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        // Nothing that could panic happens under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Starts the task of the feed called `name`. Whether it is known already is settled when this returns.
    ///
    /// # Errors
    /// [`UnknownFeed`] when there is none.
    pub async fn start(&self, name: &str, tasks: &mut JoinSet<()>) -> Result<(), UnknownFeed> {
        match name {
            PolicyRow::FEED => self.spawn::<PolicyRow>(tasks).await,
            FridgeRow::FEED => self.spawn::<FridgeRow>(tasks).await,
            LockRow::FEED => self.spawn::<LockRow>(tasks).await,
            MealTypeRow::FEED => self.spawn::<MealTypeRow>(tasks).await,
            MealRow::FEED => self.spawn::<MealRow>(tasks).await,
            CustomerRow::FEED => self.spawn::<CustomerRow>(tasks).await,
            CardRow::FEED => self.spawn::<CardRow>(tasks).await,
            _ => return Err(UnknownFeed(name.to_owned())),
        }
        Ok(())
    }

    async fn spawn<R: ReferenceRow>(&self, tasks: &mut JoinSet<()>) {
        // What an earlier run has pulled is as good as it was then.
        if !self.store.feed_revision::<R>().await.is_ok_and(|revision| revision > 0) {
            self.unknown.set().insert(R::FEED);
        }
        tasks.spawn(self.clone().run::<R>());
    }

    async fn run<R: ReferenceRow>(self) {
        let mut pause = FIRST_PAUSE;
        // Until the end was reached once nothing is waited for: an empty feed must be known as empty at once.
        let mut wait_s = 0;
        loop {
            let pulled = tokio::select! {
                () = self.stop.cancelled() => return,
                pulled = self.pull::<R>(wait_s) => pulled,
            };
            let wait = match pulled {
                Ok(more) => {
                    wait_s = if more { 0 } else { WAIT_S };
                    pause = FIRST_PAUSE;
                    if more { Duration::ZERO } else { GATHER }
                }
                Err(error) => {
                    tracing::warn!(feed = R::FEED, %error, "the last known rows stay in force");
                    self.metrics.feed_failures.inc();
                    let now = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    now
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Pulls one page; whether there is more of it now.
    async fn pull<R: ReferenceRow>(&self, wait_s: u32) -> Result<bool, PullError> {
        let after = self.store.feed_revision::<R>().await.map_err(|_| PullError::Store)?;
        let path = format!("/feed/{}?after={after}&limit={ROWS}&wait_s={wait_s}", R::FEED);
        let answer = self
            .client
            .send(http::Request::get(path).timeout_ms(TIMEOUT_MS))
            .await
            .map_err(|_| PullError::Unreachable)?;
        if !answer.status.is_success() {
            return Err(PullError::Status(answer.status.as_u16()));
        }
        let page: FeedPage<R> = serde_json::from_slice(&answer.body).map_err(|_| PullError::Page)?;
        let (rows, more, revision) = (u64::try_from(page.rows.len()).unwrap_or(0), page.more, page.revision);
        self.store.apply_feed(page).await.map_err(|error| {
            tracing::error!(feed = R::FEED, %error, "a page could not be applied");
            PullError::Store
        })?;
        self.metrics.feed_rows.get_or_create(&Feed { feed: R::FEED }).inc_by(rows);
        self.metrics.feed_revision.get_or_create(&Feed { feed: R::FEED }).set(revision);
        if !more {
            self.unknown.set().remove(R::FEED);
            self.metrics.feed_ends.get_or_create(&Feed { feed: R::FEED }).inc();
        }
        Ok(more)
    }
}
