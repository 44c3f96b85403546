//! CPU time and memory of other processes, as the kernel counts them in `/proc`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::Fault;
use crate::stack::Stack;

/// Milliseconds of one tick in `/proc/PID/stat`; USER_HZ is 100 on every Linux we run on.
const TICK_MS: u64 = 10;

/// The name under which our own process is told of.
const CLIENT: &str = "bench client";

/// The services of the other zone.
const OTHER_ZONE: [&str; 4] = ["inventory", "customers", "status", "admin"];

/// The processes of a running machine, by name.
pub(super) struct Processes(BTreeMap<String, u32>);

impl Processes {
    /// The services of `stack` and the present process, which plays the fridges.
    pub(super) fn of(stack: &Stack) -> Self {
        let mut processes: BTreeMap<String, u32> = [(CLIENT.to_owned(), std::process::id())].into();
        for name in ["purchase-session", "processor-sandbox"].into_iter().chain(OTHER_ZONE) {
            let pid = stack.pid(name).and_then(|pid| *pid.borrow());
            processes.extend(pid.map(|pid| (name.to_owned(), pid)));
        }
        Self(processes)
    }

    /// Milliseconds of CPU time that each has used since it began.
    ///
    /// # Errors
    /// [`Fault`] when one is gone.
    pub(super) fn cpu_ms(&self) -> Result<BTreeMap<String, u64>, Fault> {
        self.each(cpu_ms)
    }

    /// The most memory that each has ever had resident, in KiB.
    ///
    /// # Errors
    /// [`Fault`] when one is gone.
    pub(super) fn peak_kib(&self) -> Result<BTreeMap<String, u64>, Fault> {
        self.each(|pid| {
            let text = read(pid, "status")?;
            memory(&text, "VmHWM:").ok_or_else(another_form)
        })
    }

    /// Stops the services of the other zone until what is returned is dropped.
    pub(super) fn pause_the_other_zone(&self) -> Paused {
        let pids = OTHER_ZONE.iter().filter_map(|name| self.0.get(*name)).filter_map(|pid| i32::try_from(*pid).ok());
        let paused = Paused(pids.filter_map(Pid::from_raw).collect());
        paused.send(Signal::STOP);
        paused
    }

    fn each(&self, of: impl Fn(u32) -> Result<u64, Fault>) -> Result<BTreeMap<String, u64>, Fault> {
        self.0.iter().map(|(name, pid)| Ok((name.clone(), of(*pid)?))).collect()
    }
}

/// Processes that stand still.
pub(super) struct Paused(Vec<Pid>);

impl Paused {
    fn send(&self, signal: Signal) {
        for pid in &self.0 {
            // One that is gone is missed by whoever waits for it.
            let _ = kill_process(*pid, signal);
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.send(Signal::CONT);
    }
}

/// Milliseconds of CPU time that a process has used since it began.
///
/// # Errors
/// [`Fault`] when it is gone.
pub(super) fn cpu_ms(pid: u32) -> Result<u64, Fault> {
    ticks(&read(pid, "stat")?).map(|ticks| ticks * TICK_MS).ok_or_else(another_form)
}

/// The CPU time that each thread of a process has used since it began, in nanoseconds: ticks are too coarse for much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Threads(BTreeMap<String, u64>);

impl Threads {
    /// Of this process, now.
    ///
    /// # Errors
    /// [`Fault`] when it is gone.
    pub(super) fn of(pid: u32) -> Result<Self, Fault> {
        let folder = PathBuf::from(format!("/proc/{pid}/task"));
        let mut threads = BTreeMap::new();
        for thread in std::fs::read_dir(&folder).map_err(Fault::io("read", &folder))? {
            let path = thread.map_err(Fault::io("read", &folder))?.path();
            // One that ended meanwhile is gone with what it did since it was looked at.
            let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else { continue };
            let used = text.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
            threads.insert(path.display().to_string(), used.ok_or_else(another_form)?);
        }
        if threads.is_empty() { Err(another_form()) } else { Ok(Self(threads)) }
    }

    /// What was used since `before`, in milliseconds.
    pub(super) fn ms_since(&self, before: &Self) -> f64 {
        let since = |(thread, used): (&String, &u64)| used.saturating_sub(before.0.get(thread).copied().unwrap_or(0));
        Duration::from_nanos(self.0.iter().map(since).sum()).as_secs_f64() * 1_000.0
    }
}

/// The memory that a process has resident now, in KiB.
///
/// # Errors
/// [`Fault`] when it is gone.
pub(super) fn resident_kib(pid: u32) -> Result<u64, Fault> {
    memory(&read(pid, "status")?, "VmRSS:").ok_or_else(another_form)
}

/// Lets this process, and those that it starts from now on, have as many files open as the system allows it.
///
/// # Errors
/// [`Fault`] when that is less than `needed`.
pub(super) fn open_files(needed: u64) -> Result<(), Fault> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Some(most) = maximum.filter(|most| *most < needed) {
        return Err(Fault::new(format!(
            "this measurement has {needed} files open in one process, and the system allows {most}: raise the hard limit \
             (ulimit -Hn) and measure again"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(Fault::of("the limit of open files"))
}

fn another_form() -> Fault {
    Fault::new("/proc has another form".to_owned())
}

fn read(pid: u32, file: &str) -> Result<String, Fault> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    std::fs::read_to_string(&path).map_err(Fault::io("read", &path))
}

/// utime and stime: the 14th and 15th field. The second, the name, is in brackets and may hold blanks.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn memory(status: &str, which: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 500 0 0 0 120 34 0 0 20 0 3 0 9 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        let status = "Name:\tx\nVmHWM:\t   23456 kB\nVmRSS:\t 1 kB\n";
        assert_eq!((memory(status, "VmHWM:"), memory(status, "VmRSS:")), (Some(23_456), Some(1)));
        assert_eq!((ticks("nothing"), memory("nothing", "VmRSS:")), (None, None));
    }

    #[test]
    fn a_paused_process_stands_still_until_it_is_let_go() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let processes = Processes([("inventory".to_owned(), child.id())].into());
        // The kernel says when a signal was acted on, which is later than `kill` returns; at worst the sleep ends.
        let next = |of| waitpid(Some(Pid::from_child(&child)), of).expect("our child").expect("a change").1;
        let paused = processes.pause_the_other_zone();
        assert!(next(WaitOptions::UNTRACED).stopped(), "it stands still");
        drop(paused);
        assert!(next(WaitOptions::CONTINUED).continued(), "it goes on");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    #[test]
    fn a_thread_that_came_counts_and_one_that_went_does_not() {
        let threads = |used: &[(&str, u64)]| Threads(used.iter().map(|(name, ns)| ((*name).to_owned(), *ns)).collect());
        let (before, after) = (threads(&[("a", 5), ("b", 7_000_000)]), threads(&[("a", 1_000_005), ("c", 500_000)]));
        assert!((after.ms_since(&before) - 1.5).abs() < 1e-9);
        let before = Threads::of(std::process::id()).expect("ours");
        let until = tokio::time::Instant::now() + Duration::from_millis(20);
        while tokio::time::Instant::now() < until {}
        assert!(Threads::of(std::process::id()).expect("ours").ms_since(&before) > 0.0);
    }

    #[test]
    fn our_own_process_has_used_time_and_memory() {
        let own = Processes([("own".to_owned(), std::process::id())].into());
        assert!(own.peak_kib().expect("there")["own"] > 0);
        assert!(own.cpu_ms().is_ok());
    }
}
