//! The threads: a few workers who do jobs, and a supervisor who brings the HSM back.
//!
//! An HSM is not faster with more threads than it has hands, so there are few and a queue. The supervisor alone opens
//! and finalizes the module, and only when no worker stands at a bench: for a quiet recycle (SoftHSM leaks some 235
//! bytes a session object until it is finalized), and after a loss, again and again with growing pauses, without a
//! restart of the process. A key that is another after the HSM came back is refused like a missing one: silently
//! going on with it would give every card a new token.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use pci_contract::SealingKey;

use crate::{
    check::{KeyCheck, another},
    floor::{Floor, Stop},
    handles::SealingHandle,
    hsm::{Bench, Keeper, Module},
    job::{Done, Job, probe},
    keys::{KeyError, find_all},
    lock::OpeningLock,
    plan::KeyPlan,
};

/// The pause before the second attempt to bring the HSM back; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Failed jobs in a row after which a worker calls the HSM lost even though it still answers.
const FAILURES_IN_A_ROW: u32 = 3;

/// Opens the module again and again, the same way.
pub(crate) struct Opener {
    pub(crate) module: Module,
    pub(crate) plan: KeyPlan,
    pub(crate) lock_file: PathBuf,
    pub(crate) threads: usize,
    pub(crate) known: Vec<KeyCheck>,
}

/// The module opened: a login, a bench for each worker, and by what the keys are known again.
pub(crate) struct Opened {
    // Dropped in this order: the keeper is the last session.
    pub(crate) benches: Vec<Bench>,
    keeper: Keeper,
    pub(crate) fingerprint: Fingerprint,
}

/// What must stay the same as long as the vault lives: the sealing keys, and the check value of every key, which must
/// stay the same for longer than that.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) sealing: Vec<SealingKey>,
    pub(crate) checks: Vec<KeyCheck>,
}

impl Opener {
    /// Opens the module and finds the keys, after `prepare`, which may create some, and holds them against what is known
    /// of them. On an error nothing stays open.
    pub(crate) fn open(&self, prepare: impl FnOnce(&Keeper) -> Result<(), KeyError>) -> Result<Opened, KeyError> {
        let _held = OpeningLock::take(&self.lock_file).map_err(KeyError::Lock)?;
        let keeper = self.module.open()?;
        // The keeper is dropped before the error comes out, and only then may the module be finalized.
        let opened = prepare(&keeper).and_then(|()| self.settle(keeper)).and_then(|opened| {
            match another(&self.known, &opened.fingerprint.checks).map(str::to_owned) {
                Some(label) => Err(KeyError::Another(label)),
                None => Ok(opened),
            }
        });
        opened.inspect_err(|_| self.module.finalize())
    }

    fn settle(&self, keeper: Keeper) -> Result<Opened, KeyError> {
        // Each worker has copies of its own: a module locks a key while it works with it.
        let bench = || Ok::<_, KeyError>(keeper.bench(find_all(&keeper, &self.plan)?)?);
        let first = bench()?;
        let handles = first.handles();
        let public = |handle: &SealingHandle| SealingKey { id: handle.id.clone(), public: *handle.recipient.public() };
        let sealing: Vec<SealingKey> = handles.sealing.iter().map(public).collect();
        let labels = handles.sealing.iter().map(|handle| handle.label.as_str());
        let mut checks: Vec<_> = labels.zip(&sealing).map(|(label, key)| KeyCheck::of_sealing(label, key)).collect();
        for handle in &handles.tokens {
            checks.push(KeyCheck::of_token(&first, handle)?);
        }
        let mut benches = vec![first];
        while benches.len() < self.threads {
            benches.push(bench()?);
        }
        Ok(Opened { benches, keeper, fingerprint: Fingerprint { sealing, checks } })
    }

    fn open_again(&self, before: &Fingerprint) -> Result<Opened, KeyError> {
        let opened = self.open(|_| Ok(()))?;
        if opened.fingerprint == *before {
            return Ok(opened);
        }
        let other = another(&before.checks, &opened.fingerprint.checks).unwrap_or("of the plan").to_owned();
        drop(opened);
        self.module.finalize();
        Err(KeyError::Another(other))
    }
}

/// Starts the threads; joining the handle waits for all of them and for the module to be finalized.
pub(crate) fn spawn(opener: Opener, opened: Opened, floor: Arc<Floor<Job, Bench>>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("vault-supervisor".to_owned()).spawn(move || {
        thread::scope(|scope| {
            for number in 0..opener.threads.max(1) {
                let worker = thread::Builder::new().name(format!("vault-worker-{number}"));
                if let Err(error) = worker.spawn_scoped(scope, || work(&floor)) {
                    tracing::error!(%error, "a vault worker did not start");
                }
            }
            supervise(&opener, opened, &floor);
        });
    })
}

fn work(floor: &Floor<Job, Bench>) {
    // A panic is a fault like any other: the bench is put down, and the HSM opened anew before work goes on.
    while catch_unwind(AssertUnwindSafe(|| work_until_closed(floor))).is_err() {
        tracing::error!("a vault worker panicked");
        floor.lose();
    }
}

fn work_until_closed(floor: &Floor<Job, Bench>) {
    while let Some(place) = floor.take_bench() {
        let mut failures_in_a_row = 0;
        while let Some((jobs, bench)) = place.next_jobs() {
            let mut done = Vec::with_capacity(jobs.len());
            for job in jobs {
                let Err(error) = job.run(bench, &mut done) else {
                    failures_in_a_row = 0;
                    continue;
                };
                failures_in_a_row += 1;
                tracing::warn!(%error, failures_in_a_row, "the HSM failed a job");
                if failures_in_a_row >= FAILURES_IN_A_ROW || probe(bench).is_err() {
                    tracing::error!("the HSM is lost");
                    floor.lose();
                    // The rest is dropped like what waits.
                    break;
                }
            }
            Done::send_all(done);
            // The askers' turn, now that no lock of the HSM's library is held.
            thread::yield_now();
        }
    }
}

fn supervise(opener: &Opener, opened: Opened, floor: &Floor<Job, Bench>) {
    let Opened { mut keeper, fingerprint, benches } = opened;
    drop(benches);
    loop {
        let (stop, benches) = floor.wait_for_stop();
        drop(benches);
        drop(keeper);
        opener.module.finalize();
        if stop == Stop::Closed {
            return;
        }
        let Some(opened) = open_until_closed(opener, &fingerprint, floor) else { return };
        keeper = opened.keeper;
        if let Err(benches) = floor.reopen(opened.benches) {
            drop(benches);
            drop(keeper);
            opener.module.finalize();
            return;
        }
    }
}

/// Opens the module however long it takes; `None` when the floor is closed first.
fn open_until_closed(opener: &Opener, before: &Fingerprint, floor: &Floor<Job, Bench>) -> Option<Opened> {
    let mut pause = FIRST_PAUSE;
    loop {
        match opener.open_again(before) {
            Ok(opened) => return Some(opened),
            Err(error) => tracing::warn!(%error, "the HSM did not come back yet"),
        }
        floor.lose();
        if floor.closed_within(pause) {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
