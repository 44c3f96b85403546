//! The floor the workers stand on: a bounded queue of jobs, the benches to do them at, and the order to put them down.
//!
//! A mutex and two condition variables rather than a channel, because the hard part is not the queue: recycling and
//! losing the HSM both need every worker away from its bench at one moment, and they differ in what becomes of the
//! waiting jobs (they wait; they are dropped, which answers them). It knows nothing of PKCS#11: `J` is any job, `B` any
//! bench, so that its rules are tested without an HSM.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{VaultFault, VaultHealth, VaultStatus};

/// Up to so many jobs that wait are shared out among the workers, half of them to whoever comes;
const FEW: usize = 8;
/// of more he takes all, up to so many.
const MOST_AT_ONCE: usize = 32;

/// What the floor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Jobs are done.
    Working,
    /// Benches are put down for new ones; jobs wait.
    Recycling,
    /// There is no HSM; jobs are refused.
    Lost,
    /// For good.
    Closed,
}

/// Why the benches are all down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// New benches are wanted.
    Reopen,
    /// No more work will be done.
    Closed,
}

struct State<J, B> {
    phase: Phase,
    jobs: VecDeque<J>,
    benches: Vec<B>,
    occupied: usize,
    /// Workers who wait at their benches: nobody else is woken by a job.
    idle: usize,
    taken: u64,
}

/// See the head of this file.
pub(crate) struct Floor<J, B> {
    state: Mutex<State<J, B>>,
    for_workers: Condvar,
    for_supervisor: Condvar,
    status: watch::Sender<VaultStatus>,
    queue: usize,
    recycle_after: u64,
}

impl<J, B> Floor<J, B> {
    /// A floor with its first benches. `queue` bounds the jobs that wait; after `recycle_after` jobs new benches are
    /// asked for.
    pub(crate) fn new(queue: usize, recycle_after: u64, benches: Vec<B>) -> Self {
        let state = State { phase: Phase::Working, jobs: VecDeque::new(), benches, occupied: 0, idle: 0, taken: 0 };
        Self {
            state: Mutex::new(state),
            for_workers: Condvar::new(),
            for_supervisor: Condvar::new(),
            status: watch::Sender::new(VaultStatus { health: VaultHealth::Ready, generation: 1 }),
            queue,
            recycle_after,
        }
    }

    /// Whether the HSM is there, and changes of that.
    pub(crate) const fn status(&self) -> &watch::Sender<VaultStatus> {
        &self.status
    }

    /// Puts a job into the queue, or drops it and says why.
    pub(crate) fn submit(&self, job: J) -> Result<(), VaultFault> {
        let mut state = self.lock();
        match state.phase {
            Phase::Working | Phase::Recycling if state.jobs.len() < self.queue => state.jobs.push_back(job),
            Phase::Working | Phase::Recycling => return Err(VaultFault::Busy),
            Phase::Lost | Phase::Closed => return Err(VaultFault::Lost),
        }
        let idle = state.idle > 0;
        drop(state);
        if idle {
            self.for_workers.notify_one();
        }
        Ok(())
    }

    /// Asks for new benches; jobs wait meanwhile. Does nothing when that, or worse, is going on already.
    pub(crate) fn recycle(&self) {
        self.leave_working(&mut self.lock(), Phase::Recycling);
    }

    /// The HSM is gone: waiting jobs are dropped, new ones refused, and new benches asked for.
    pub(crate) fn lose(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Recycling {
            state.phase = Phase::Lost;
        }
        self.leave_working(&mut state, Phase::Lost);
        let dropped = std::mem::take(&mut state.jobs);
        // Told under the lock, so that word of a loss cannot come after word of the recovery from it.
        self.status.send_modify(|status| status.health = VaultHealth::Recovering);
        drop(state);
        drop(dropped);
    }

    /// No more work: waiting jobs are dropped, and workers and supervisor sent home.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        let dropped = std::mem::take(&mut state.jobs);
        drop(state);
        drop(dropped);
        self.for_workers.notify_all();
        self.for_supervisor.notify_all();
    }

    /// A worker waits for a bench; `None` when the floor is closed.
    pub(crate) fn take_bench(&self) -> Option<Occupied<'_, J, B>> {
        let mut state = self.lock();
        loop {
            match state.phase {
                Phase::Closed => return None,
                Phase::Working => {
                    if let Some(bench) = state.benches.pop() {
                        state.occupied += 1;
                        return Some(Occupied { floor: self, bench: Some(bench) });
                    }
                }
                Phase::Recycling | Phase::Lost => {}
            }
            state = wait(&self.for_workers, state);
        }
    }

    /// The supervisor waits until new benches are wanted and nobody is at an old one, and gets those nobody took.
    pub(crate) fn wait_for_stop(&self) -> (Stop, Vec<B>) {
        let mut state = self.lock();
        while state.phase == Phase::Working || state.occupied > 0 {
            state = wait(&self.for_supervisor, state);
        }
        let stop = if state.phase == Phase::Closed { Stop::Closed } else { Stop::Reopen };
        (stop, std::mem::take(&mut state.benches))
    }

    /// The supervisor brings new benches; work goes on. They come back when the floor was closed meanwhile.
    pub(crate) fn reopen(&self, benches: Vec<B>) -> Result<(), Vec<B>> {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            return Err(benches);
        }
        state.phase = Phase::Working;
        state.benches = benches;
        state.taken = 0;
        self.status.send_modify(|status| {
            status.health = VaultHealth::Ready;
            status.generation += 1;
        });
        drop(state);
        self.for_workers.notify_all();
        Ok(())
    }

    /// The supervisor waits before it tries again; says whether the floor was closed instead.
    pub(crate) fn closed_within(&self, pause: Duration) -> bool {
        let closed = |state: &mut State<J, B>| state.phase != Phase::Closed;
        let waited = self.for_supervisor.wait_timeout_while(self.lock(), pause, closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Closed
    }

    fn leave_working(&self, state: &mut State<J, B>, to: Phase) {
        if state.phase == Phase::Working {
            state.phase = to;
            self.for_workers.notify_all();
            self.for_supervisor.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, B>> {
        // Every change of the state is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// A bench with a worker at it. Dropping it puts the bench down, even when the worker panics.
pub(crate) struct Occupied<'a, J, B> {
    floor: &'a Floor<J, B>,
    bench: Option<B>,
}

impl<J, B> Occupied<'_, J, B> {
    /// Waits for the next jobs, at least one, and the bench to do them at; `None` when the bench is to be put down. Jobs
    /// that are taken together can be answered together, which wakes the askers' threads once.
    pub(crate) fn next_jobs(&self) -> Option<(Vec<J>, &B)> {
        let bench = self.bench.as_ref()?;
        let mut state = self.floor.lock();
        loop {
            if state.phase != Phase::Working {
                return None;
            }
            let waiting = state.jobs.len();
            let share = if waiting > FEW { waiting.min(MOST_AT_ONCE) } else { waiting.div_ceil(2) };
            if share > 0 {
                let jobs: Vec<J> = state.jobs.drain(..share).collect();
                state.taken = state.taken.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
                if state.taken >= self.floor.recycle_after {
                    self.floor.leave_working(&mut state, Phase::Recycling);
                }
                return Some((jobs, bench));
            }
            state.idle += 1;
            state = wait(&self.floor.for_workers, state);
            state.idle -= 1;
        }
    }
}

impl<J, B> Drop for Occupied<'_, J, B> {
    fn drop(&mut self) {
        // The bench goes first: when nobody is left, the supervisor pulls the floor away.
        drop(self.bench.take());
        self.floor.lock().occupied -= 1;
        self.floor.for_supervisor.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    type TestFloor = Floor<u32, &'static str>;

    fn floor(queue: usize, recycle_after: u64) -> TestFloor {
        Floor::new(queue, recycle_after, vec!["old"])
    }

    fn health(floor: &TestFloor) -> VaultHealth {
        floor.status().borrow().health
    }

    #[test]
    fn jobs_come_out_in_order_and_the_queue_is_bounded() {
        let floor = floor(2, 100);
        assert_eq!([floor.submit(1), floor.submit(2), floor.submit(3)], [Ok(()), Ok(()), Err(VaultFault::Busy)]);
        let bench = floor.take_bench().expect("a bench");
        assert_eq!(bench.next_jobs(), Some((vec![1], &"old")));
        assert_eq!(floor.submit(3), Ok(()));
        assert_eq!([bench.next_jobs(), bench.next_jobs()], [Some((vec![2], &"old")), Some((vec![3], &"old"))]);
    }

    #[test]
    fn a_worker_takes_half_of_few_and_of_many_as_many_as_he_may() {
        let floor = floor(100, 1_000);
        (0..55).for_each(|job| floor.submit(job).expect("room"));
        let bench = floor.take_bench().expect("a bench");
        let taken = || bench.next_jobs().map_or(0, |(jobs, _)| jobs.len());
        assert_eq!([taken(), taken()], [32, 23]);
        (0..5).for_each(|job| floor.submit(job).expect("room"));
        assert_eq!([taken(), taken(), taken()], [3, 1, 1]);
    }

    #[test]
    fn recycling_waits_for_every_worker_and_keeps_the_jobs() {
        let floor = floor(10, 100);
        let bench = floor.take_bench().expect("a bench");
        floor.submit(1).expect("room");
        floor.recycle();
        floor.submit(2).expect("jobs wait while recycling");
        assert_eq!(bench.next_jobs(), None, "a bench is put down before the next job");
        assert_eq!(health(&floor), VaultHealth::Ready);
        thread::scope(|scope| {
            let (stopped, stop) = mpsc::channel();
            let floor = &floor;
            scope.spawn(move || stopped.send(floor.wait_for_stop()));
            assert!(stop.try_recv().is_err(), "a worker still stands at its bench");
            drop(bench);
            assert_eq!(stop.recv().expect("the supervisor"), (Stop::Reopen, vec![]));
        });
        floor.reopen(vec!["new"]).expect("not closed");
        let bench = floor.take_bench().expect("a bench");
        assert_eq!([bench.next_jobs(), bench.next_jobs()], [Some((vec![1], &"new")), Some((vec![2], &"new"))]);
        assert_eq!(floor.status().borrow().generation, 2);
    }

    #[test]
    fn so_many_jobs_ask_for_new_benches() {
        let floor = floor(10, 2);
        let bench = floor.take_bench().expect("a bench");
        for job in 1..=3 {
            floor.submit(job).expect("room");
        }
        assert_eq!([bench.next_jobs(), bench.next_jobs()], [Some((vec![1, 2], &"old")), None]);
        drop(bench);
        assert_eq!(floor.wait_for_stop().0, Stop::Reopen);
        floor.reopen(vec!["new"]).expect("not closed");
        assert_eq!(floor.take_bench().expect("a bench").next_jobs(), Some((vec![3], &"new")), "the count begins anew");
    }

    #[test]
    fn a_loss_drops_what_waits_and_refuses_what_comes() {
        let floor = floor(10, 100);
        floor.submit(1).expect("room");
        floor.lose();
        assert_eq!((floor.submit(2), health(&floor)), (Err(VaultFault::Lost), VaultHealth::Recovering));
        assert_eq!(floor.wait_for_stop(), (Stop::Reopen, vec!["old"]), "a bench nobody took comes back");
        floor.reopen(vec!["new"]).expect("not closed");
        floor.submit(3).expect("room");
        assert_eq!(floor.take_bench().expect("a bench").next_jobs(), Some((vec![3], &"new")));
        assert_eq!(health(&floor), VaultHealth::Ready);
    }

    #[test]
    fn a_recycle_that_fails_becomes_a_loss() {
        let floor = floor(10, 100);
        floor.submit(1).expect("room");
        floor.recycle();
        floor.lose();
        assert_eq!(floor.submit(2), Err(VaultFault::Lost));
        floor.recycle();
        assert_eq!(floor.submit(2), Err(VaultFault::Lost), "asking for a recycle does not end a loss");
    }

    #[test]
    fn closing_sends_all_home() {
        let floor = floor(10, 100);
        thread::scope(|scope| {
            let bench = floor.take_bench().expect("a bench");
            let worker = scope.spawn(move || bench.next_jobs().is_none());
            let supervisor = scope.spawn(|| floor.wait_for_stop().0);
            floor.close();
            assert_eq!(supervisor.join().expect("no panic"), Stop::Closed);
            assert!(worker.join().expect("no panic"), "the worker gets no job");
        });
        assert!(floor.take_bench().is_none() && floor.closed_within(Duration::from_secs(3600)));
        assert_eq!(floor.submit(1), Err(VaultFault::Lost));
        assert_eq!(floor.reopen(vec!["new"]), Err(vec!["new"]));
        floor.lose();
        floor.recycle();
        assert_eq!(floor.wait_for_stop().0, Stop::Closed, "closed stays closed");
    }

    #[test]
    fn a_worker_that_panics_leaves_its_bench() {
        let floor = floor(10, 100);
        thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _bench = floor.take_bench().expect("a bench");
                panic!("as it should");
            });
            assert!(panicked.join().is_err());
        });
        floor.recycle();
        assert_eq!(floor.wait_for_stop().0, Stop::Reopen);
    }
}
