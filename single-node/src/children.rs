//! The services as child processes: started, watched, started again when they die, ended together.
//!
//! A service that is killed must come back by itself, on the same port and state, or killing it would prove nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Fault;

/// How long a service may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The pause before a dead service is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// How long a service may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(20);

/// What to start, and how to know that it is ready.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, for messages.
    pub name: String,
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Set in its environment.
    pub environment: Vec<(String, PathBuf)>,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// The file it writes when it is ready.
    pub ready: PathBuf,
}

/// A running service's current process id; none while it is being started again.
pub type Pid = watch::Receiver<Option<u32>>;

/// All services of one machine.
pub struct Children {
    watchers: JoinSet<()>,
    stop: CancellationToken,
    pids: Vec<(String, Pid)>,
}

impl Default for Children {
    fn default() -> Self {
        Self { watchers: JoinSet::new(), stop: CancellationToken::new(), pids: Vec::new() }
    }
}

impl Children {
    /// Starts a service and keeps it running. Wait for [`Children::all_ready`] before using it.
    ///
    /// # Errors
    /// [`Fault`] when the process cannot be started at all.
    pub fn start(&mut self, service: Service) -> Result<(), Fault> {
        let _ = std::fs::remove_file(&service.ready);
        let child = spawn(&service)?;
        let (pid, pids) = watch::channel(child.id());
        self.pids.push((service.name.clone(), pids));
        self.watchers.spawn(watch_over(service, child, pid, self.stop.clone()));
        Ok(())
    }

    /// The process ids of the services by name.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, Pid)> {
        self.pids.clone()
    }

    /// The process id of one service, if it runs.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.pids.iter().find(|(known, _)| known == name).and_then(|(_, pid)| *pid.borrow())
    }

    /// Waits until every one of `services` has said that it is ready.
    ///
    /// # Errors
    /// [`Fault`] names the service that ended or did not get ready, with its last words.
    pub async fn all_ready(&self, services: &[Service]) -> Result<(), Fault> {
        let until = Instant::now() + READY_WITHIN;
        for service in services {
            while !service.ready.exists() {
                let (ended, late) = (self.pid(&service.name).is_none(), Instant::now() >= until);
                if ended || late {
                    let what = if ended { "ended at once" } else { "did not get ready" };
                    let (name, log) = (&service.name, service.log.display());
                    let last = last_line(&service.log);
                    return Err(Fault::new(format!("{name} {what}; its log is {log} and ends: {last}")));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Ends every service: SIGTERM first, SIGKILL for those that do not end in time.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.watchers.join_next().await.is_some() {}
    }
}

/// The last line of a log.
pub(crate) fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("(nothing)").to_owned()
}

/// Runs a command of ours to its end; what it wrote.
///
/// # Errors
/// [`Fault`] with what it said when it failed.
pub(crate) fn run(mut command: std::process::Command, name: &str) -> Result<Vec<u8>, Fault> {
    let output = command.output().map_err(Fault::of(name))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Fault::new(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))))
}

fn spawn(service: &Service) -> Result<Child, Fault> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&service.log)
        .map_err(Fault::io("open the log", &service.log))?;
    let mut command = Command::new(&service.binary);
    command.args(&service.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    for (key, value) in &service.environment {
        command.env(key, value);
    }
    command.spawn().map_err(Fault::io("start", &service.binary))
}

async fn watch_over(service: Service, mut child: Child, pid: watch::Sender<Option<u32>>, stop: CancellationToken) {
    let service = Arc::new(service);
    loop {
        tokio::select! {
            _ = child.wait() => {}
            () = stop.cancelled() => {
                end(&mut child).await;
                return;
            }
        }
        let _ = pid.send(None);
        loop {
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = stop.cancelled() => return,
            }
            match spawn(&service) {
                Ok(started) => {
                    child = started;
                    break;
                }
                Err(error) => tracing::error!(service = %service.name, %error, "could not be started again"),
            }
        }
        let _ = pid.send(child.id());
    }
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(END_WITHIN, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
