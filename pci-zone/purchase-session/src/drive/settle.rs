//! What remains after a session's end, and what nobody waits for any more: which session is worked on when.
//!
//! The decision is on disk before it comes here, so a job may be lost and is found again by a sweep that goes over the
//! disk page by page. A job that has to wait gives its place up: neither a processor that is down nor a request that it
//! will never take keeps the others from being settled. What is asked, and what an answer means, is in `payment`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pci_contract::{SessionId, Timestamp};
use pci_store::Verb;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::payment::NotYet;
use super::{Drive, clock};

/// Jobs handed over in memory; what does not fit is found on disk by a later sweep.
const HANDED_OVER: usize = 4_096;
/// Jobs that may wait for a place, beyond which none is taken from the queue.
const MOST_READY: usize = 1_024;
/// Jobs that are remembered while they wait for their time; one more is left to the sweep.
const MOST_WAITING: usize = 4_096;
/// How often a page of the disk is asked for jobs nobody works on.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Intents one sweep reads.
const SWEEP_ROWS: u32 = 1_024;
/// How often sessions are looked for that wait for a fridge nobody hears.
const UNHEARD_EVERY: Duration = Duration::from_secs(60);
/// How long a session that waits for an authorization or a raise is left to its own task, in microseconds.
const FRIDGE_MAY_RETURN_MICROS: i64 = 60_000_000;

/// Where ended sessions are handed over.
pub(super) struct Settler {
    jobs: mpsc::Sender<SessionId>,
    at_once: usize,
}

impl Settler {
    /// A settler that works on `at_once` sessions at a time, and its queue.
    pub(super) fn new(at_once: usize) -> (Self, mpsc::Receiver<SessionId>) {
        let (jobs, queue) = mpsc::channel(HANDED_OVER);
        (Self { jobs, at_once }, queue)
    }

    /// Hands a session over. It is on disk; a full queue only means that a sweep finds it later.
    pub(super) fn hand_over(&self, session: SessionId) {
        let _ = self.jobs.try_send(session);
    }
}

/// Works on jobs until `stop`.
pub(super) async fn run(drive: Arc<Drive>, mut queue: mpsc::Receiver<SessionId>, stop: CancellationToken) {
    let mut desk = Desk::default();
    let mut places = Sweep::default();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        desk.start(&drive);
        let due = desk.waiting.first().map(|(due, _)| *due);
        tokio::select! {
            () = stop.cancelled() => return,
            Some(job) = queue.recv(), if desk.ready.len() < MOST_READY => desk.take(job),
            Some(done) = desk.working.join_next_with_id(), if !desk.working.is_empty() => desk.done(done),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => desk.wake(),
            _ = sweep.tick(), if desk.ready.is_empty() => {
                for job in drive.forgotten(&mut places).await {
                    desk.find(job);
                }
            }
        }
        drive.metrics.settling.set(i64::try_from(desk.jobs.len()).unwrap_or(i64::MAX));
    }
}

/// What is known of a job.
#[derive(Default)]
struct Job {
    /// How often it had to wait.
    waits: u32,
    /// It was handed over while it was worked on: the session may ask for more.
    again: bool,
    /// When it is to be tried again, while it waits.
    due: Option<Instant>,
}

/// The jobs at hand: each is ready, worked on, or waiting for its time.
#[derive(Default)]
struct Desk {
    jobs: HashMap<SessionId, Job>,
    ready: VecDeque<SessionId>,
    working: JoinSet<Result<(), NotYet>>,
    worked_on: HashMap<Id, SessionId>,
    waiting: BTreeSet<(Instant, SessionId)>,
}

impl Desk {
    /// Takes a job that a session hands over: it has something to ask now.
    fn take(&mut self, job: SessionId) {
        let Some(known) = self.jobs.get_mut(&job) else { return self.find(job) };
        match known.due.take() {
            Some(due) => {
                self.waiting.remove(&(due, job));
                self.ready.push_back(job);
            }
            None => known.again = true,
        }
    }

    /// Takes a job that was found on disk, where everything is found that is at hand already.
    fn find(&mut self, job: SessionId) {
        if let Entry::Vacant(place) = self.jobs.entry(job) {
            place.insert(Job::default());
            self.ready.push_back(job);
        }
    }

    /// Begins as many jobs as there are places for.
    fn start(&mut self, drive: &Arc<Drive>) {
        while self.working.len() < drive.settler.at_once
            && let Some(job) = self.ready.pop_front()
        {
            if let Some(known) = self.jobs.get_mut(&job) {
                known.again = false;
            }
            let drive = Arc::clone(drive);
            let task = self.working.spawn(async move { drive.settle(job).await });
            self.worked_on.insert(task.id(), job);
        }
    }

    fn done(&mut self, done: Result<(Id, Result<(), NotYet>), JoinError>) {
        let (id, result) = match done {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Ok(())),
        };
        let Some(job) = self.worked_on.remove(&id) else { return };
        let Some(known) = self.jobs.get_mut(&job) else { return };
        match result {
            Ok(()) if known.again => {
                *known = Job::default();
                self.ready.push_back(job);
            }
            Err(error) if self.waiting.len() < MOST_WAITING => {
                let due = Instant::now() + error.pause(known.waits);
                (known.waits, known.due) = (known.waits.saturating_add(1), Some(due));
                self.waiting.insert((due, job));
            }
            Ok(()) | Err(_) => {
                self.jobs.remove(&job);
            }
        }
    }

    /// Readies the jobs whose time has come.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((due, job)) = self.waiting.first().copied()
            && due <= now
        {
            self.waiting.pop_first();
            if let Some(known) = self.jobs.get_mut(&job) {
                known.due = None;
                self.ready.push_back(job);
            }
        }
    }
}

/// How far the sweeps have come over the disk.
#[derive(Default)]
struct Sweep {
    /// The last intent seen; none at the beginning of a round.
    intent: Option<(Timestamp, String)>,
    /// The last unfinished session seen, likewise.
    session: Option<SessionId>,
    /// When unfinished sessions were looked at.
    looked: Option<Instant>,
}

impl Drive {
    /// Jobs on disk that nobody may be working on: the next page of them.
    async fn forgotten(&self, sweep: &mut Sweep) -> Vec<SessionId> {
        let mut jobs = self.unsettled(sweep).await;
        if sweep.looked.is_none_or(|looked| looked.elapsed() >= UNHEARD_EVERY) {
            sweep.looked = Some(Instant::now());
            jobs.extend(self.unheard(sweep).await);
        }
        jobs
    }

    async fn unsettled(&self, sweep: &mut Sweep) -> Vec<SessionId> {
        let after = sweep.intent.as_ref().map(|(asked_at, key)| (*asked_at, key.as_str()));
        let pending = match self.store.pending_intents(after, SWEEP_ROWS).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(%error, "unsettled payments could not be read");
                return Vec::new();
            }
        };
        let is_last = pending.len() < usize::try_from(SWEEP_ROWS).unwrap_or(usize::MAX);
        sweep.intent = pending.last().filter(|_| !is_last).map(|intent| (intent.asked_at, intent.key.clone()));
        let now = clock::now();
        let is_left = |verb, asked_at, session| match verb {
            Verb::Capture | Verb::Void => true,
            Verb::Increment => now.micros_since(asked_at) > FRIDGE_MAY_RETURN_MICROS,
            Verb::Authorize => {
                now.micros_since(asked_at) > FRIDGE_MAY_RETURN_MICROS && !self.registry.is_running(session)
            }
            Verb::Refund => false,
        };
        let left = pending.into_iter().filter(|intent| is_left(intent.verb, intent.asked_at, intent.session));
        left.map(|intent| intent.session).collect()
    }

    /// Sessions with an unlocked door whose fridge has not been heard of for too long.
    async fn unheard(&self, sweep: &mut Sweep) -> Vec<SessionId> {
        let unfinished = match self.store.unfinished_sessions(sweep.session, SWEEP_ROWS).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::error!(%error, "unfinished sessions could not be read");
                return Vec::new();
            }
        };
        let is_last = unfinished.len() < usize::try_from(SWEEP_ROWS).unwrap_or(usize::MAX);
        sweep.session = unfinished.last().filter(|_| !is_last).map(|stored| stored.session.id());
        let now = clock::now();
        let sessions = unfinished.into_iter().map(|stored| stored.session);
        let unheard = sessions.filter(|session| session.is_unheard(now) && !self.registry.is_running(session.id()));
        unheard.map(|session| session.id()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8) -> SessionId {
        SessionId::parse(&format!("4ed615ae-e6a0-47bb-82f2-6b7777de3d{n:02x}")).expect("a session")
    }

    /// Has a job end so, as if it had been worked on.
    async fn ends(desk: &mut Desk, job: SessionId, result: Result<(), NotYet>) {
        assert_eq!(desk.ready.pop_front(), Some(job));
        let task = desk.working.spawn(async move { result });
        desk.worked_on.insert(task.id(), job);
        let done = desk.working.join_next_with_id().await.expect("it was worked on");
        desk.done(done);
    }

    #[tokio::test]
    async fn a_job_that_has_to_wait_keeps_no_place_and_comes_back_in_time() {
        let mut desk = Desk::default();
        desk.find(job(1));
        desk.find(job(1));
        ends(&mut desk, job(1), Err(NotYet::Processor)).await;
        assert!(desk.ready.is_empty() && desk.working.is_empty());
        desk.find(job(1));
        assert!(desk.ready.is_empty(), "it is at hand already");
        let (due, _) = *desk.waiting.first().expect("it waits");
        tokio::time::sleep_until(due).await;
        desk.wake();
        ends(&mut desk, job(1), Ok(())).await;
        assert!(desk.jobs.is_empty() && desk.waiting.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_has_something_to_ask_now_is_not_kept_waiting() {
        let mut desk = Desk::default();
        desk.take(job(1));
        ends(&mut desk, job(1), Err(NotYet::Early)).await;
        desk.take(job(1));
        assert!(desk.waiting.is_empty());
        assert_eq!(desk.ready.front(), Some(&job(1)));
        desk.take(job(1));
        ends(&mut desk, job(1), Ok(())).await;
        ends(&mut desk, job(1), Ok(())).await;
        assert!(desk.jobs.is_empty());
    }

    #[tokio::test]
    async fn a_job_that_died_is_not_at_hand_for_ever() {
        let mut desk = Desk::default();
        desk.find(job(1));
        assert_eq!(desk.ready.pop_front(), Some(job(1)));
        let task = desk.working.spawn(std::future::pending());
        desk.worked_on.insert(task.id(), job(1));
        task.abort();
        let done = desk.working.join_next_with_id().await.expect("it ended");
        desk.done(done);
        assert!(desk.jobs.is_empty(), "a sweep finds it again");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        for error in [NotYet::Processor, NotYet::Store, NotYet::Rejected, NotYet::Early] {
            assert!(error.pause(0) <= error.pause(1) && error.pause(1) <= error.pause(u32::MAX));
            assert!(error.pause(u32::MAX) <= Duration::from_secs(300));
        }
    }
}
