//! The one writer: a task that owns the one writing connection and turns what waits into groups.
//!
//! A commit costs a flush of the disk, whatever is in it. So while one group is being flushed the next gathers, and is
//! written with a few multi-row statements in one transaction. When a group fails because of something in it, each
//! part is written again behind its own savepoint, so one bad batch sinks nobody else. Before anyone is answered the
//! index in memory has what was committed.

use std::sync::Arc;

use pci_contract::Timestamp;
use sqlx::Connection as _;
use tokio::sync::{mpsc, oneshot, watch};

use crate::dialect::{self, BEGIN, Connection, roll_back};
use crate::error::{CommitError, Contradiction, Fault, FeedError};
use crate::feeds::{self, Page};
use crate::group::{self, How, Item, Trouble, Verdict};
use crate::prepared::{EventRow, Text};
use crate::reference::Reference;
use crate::shape::WIDEST;
use crate::{key_checks, outbox};

/// How many writes may wait.
pub(crate) const QUEUE: usize = 4096;
/// How many writes one group takes.
pub(crate) const GROUP: usize = WIDEST;

pub(crate) type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// Something for the writer to do.
pub(crate) enum Job {
    Write(Item, Answer<Verdict, CommitError>),
    Feed(Box<Page>, Answer<(), FeedError>),
    SetBack { subscriber: Text, position: i64, answer: Answer<bool, CommitError> },
    KeyChecks(Vec<(String, String)>, Answer<(), CommitError>),
    Prune { limit: u32, before: Timestamp, answer: Answer<u64, CommitError> },
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) reference: Arc<Reference>,
    pub(crate) committed: watch::Sender<i64>,
}

type Waiting = (Item, Answer<Verdict, CommitError>);

impl Writer {
    /// Works until told to close or until nobody is left to ask.
    pub(crate) async fn run(mut self) {
        let mut taken = Vec::with_capacity(GROUP);
        let mut closing = None;
        while closing.is_none() && self.jobs.recv_many(&mut taken, GROUP).await > 0 {
            self.gather(&mut taken).await;
            let mut group: Vec<Waiting> = Vec::with_capacity(taken.len());
            for job in taken.drain(..) {
                if let Job::Write(item, answer) = job {
                    group.push((item, answer));
                    continue;
                }
                self.commit(std::mem::take(&mut group)).await;
                closing = self.other(job).await.or(closing);
            }
            self.commit(group).await;
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the purchase database did not close cleanly");
        }
        if let Some(closed) = closing {
            let _ = closed.send(());
        }
    }

    /// Gives everybody who is ready to run his turn first: under load, what they write goes into the same group.
    async fn gather(&mut self, taken: &mut Vec<Job>) {
        tokio::task::yield_now().await;
        while taken.len() < GROUP
            && let Ok(job) = self.jobs.try_recv()
        {
            taken.push(job);
        }
    }

    /// Does what is no part of a group; hands back who waits for the end.
    async fn other(&mut self, job: Job) -> Option<oneshot::Sender<()>> {
        match job {
            Job::Write(..) => None,
            Job::Feed(page, answer) => {
                let _ = answer.send(feeds::apply(&mut self.connection, *page, &self.reference).await);
                None
            }
            Job::SetBack { subscriber, position, answer } => {
                let _ = answer.send(outbox::set_back(&mut self.connection, &subscriber, position).await);
                None
            }
            Job::KeyChecks(checks, answer) => {
                let _ = answer.send(key_checks::keep(&mut self.connection, &checks).await);
                None
            }
            Job::Prune { limit, before, answer } => {
                let _ = answer.send(outbox::prune(&mut self.connection, limit, before).await);
                None
            }
            Job::Close(closed) => {
                self.jobs.close();
                Some(closed)
            }
        }
    }

    /// Writes a group and answers everyone in it, in order.
    async fn commit(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let (items, answers): (Vec<Item>, Vec<_>) = group.into_iter().unzip();
        let all: Vec<&Item> = items.iter().collect();
        let mut outcome = write_together(&mut self.connection, &all).await;
        if let Err(trouble) = &outcome
            && !matches!(trouble, Trouble::Database(error) if dialect::concerns_all(error))
        {
            outcome = write_apart(&mut self.connection, &all).await;
        }
        let results = match outcome {
            Ok(written) => {
                self.announce(&written.events);
                written.results
            }
            Err(trouble) => {
                let error = CommitError::from(trouble);
                tracing::error!(%error, writes = answers.len(), "a group of writes failed");
                answers.iter().map(|_| Err(error.clone())).collect()
            }
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever stopped waiting does not need it.
            let _ = answer.send(result);
        }
    }

    fn announce(&self, events: &[(i64, &EventRow)]) {
        self.reference.note_events(events.iter().map(|(position, row)| (*position, &row.body)));
        if let Some((last, _)) = events.last() {
            self.committed.send_replace(*last);
        }
    }
}

/// A committed group.
struct Committed<'a> {
    results: Vec<Result<Verdict, CommitError>>,
    events: Vec<(i64, &'a EventRow)>,
}

async fn write_together<'a>(connection: &mut Connection, items: &[&'a Item]) -> Result<Committed<'a>, Trouble> {
    match group::write(connection, items, How::Whole).await {
        Ok(written) => {
            let results = written.verdicts.into_iter().map(Ok).collect();
            Ok(Committed { results, events: written.events })
        }
        Err(trouble) => {
            roll_back(connection).await;
            Err(trouble)
        }
    }
}

/// Each item behind its own savepoint, all in one transaction. SQLite may roll back the whole transaction when the
/// disk is full; the savepoint is then gone, and nothing of the group counts as written.
async fn write_apart<'a>(connection: &mut Connection, items: &[&'a Item]) -> Result<Committed<'a>, Trouble> {
    sqlx::query(BEGIN).execute(&mut *connection).await?;
    let outcome = match write_each(connection, items).await {
        Ok(committed) => commit(connection).await.map(|()| committed),
        Err(trouble) => Err(trouble),
    };
    if outcome.is_err() {
        roll_back(connection).await;
    }
    outcome
}

async fn write_each<'a>(connection: &mut Connection, items: &[&'a Item]) -> Result<Committed<'a>, Trouble> {
    let mut committed = Committed { results: Vec::with_capacity(items.len()), events: Vec::new() };
    for item in items {
        sqlx::query("SAVEPOINT one").execute(&mut *connection).await?;
        match group::write(connection, &[item], How::Careful).await {
            Ok(written) => {
                let verdict = written.verdicts.into_iter().next();
                committed.results.push(verdict.ok_or_else(|| Fault::without_cause("wrote a batch", true).into()));
                committed.events.extend(written.events);
            }
            Err(trouble) => {
                sqlx::query("ROLLBACK TO SAVEPOINT one").execute(&mut *connection).await?;
                committed.results.push(Err(trouble.into()));
            }
        }
        sqlx::query("RELEASE SAVEPOINT one").execute(&mut *connection).await?;
    }
    Ok(committed)
}

async fn commit(connection: &mut Connection) -> Result<(), Trouble> {
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(())
}

/// What a batch's writer is told.
pub(crate) fn written(verdict: Verdict) -> Result<(), CommitError> {
    match verdict {
        Verdict::Done | Verdict::Leased { .. } => Ok(()),
        Verdict::Fenced { current } => Err(CommitError::Fenced { current: fence(current)? }),
    }
}

/// A stored fence; they are counted from 1 and never negative.
pub(crate) fn fence(stored: i64) -> Result<u64, CommitError> {
    u64::try_from(stored).map_err(|_| CommitError::Conflict(Contradiction::Number))
}
