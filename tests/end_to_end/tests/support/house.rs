//! The whole house in a process of its own, and the ways to hurt it.
//!
//! SoftHSM finds the authority's token by the environment, which belongs to the process and which a process cannot
//! safely change in itself. So the body of a test runs in a child: the same binary, the same test, on a folder that is
//! removed afterwards.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use single_node::layout::Layout;
use single_node::load::load_once;
use single_node::stack::{PURCHASE, Stack};

use super::world::World;

/// The most a whole test may take.
const TEST_WITHIN: Duration = Duration::from_secs(300);
/// The most anything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many lines of each log are shown when a test fails.
const LOG_LINES: usize = 25;
/// Names the child's folder of state.
const FOLDER: &str = "LARDER_TEST_FOLDER";
/// Written by a body that ran to its end: a child that ran no test at all must not look like success.
const DONE: &str = "done";

/// Runs the body of a test in a process that sees the authority's token. Call it directly from the test function.
pub(crate) fn in_house<F, R>(body: F)
where
    F: FnOnce(Layout) -> R,
    R: Future<Output = ()>,
{
    run(&[], body);
}

/// Whether a test may have a mount namespace of its own.
pub(crate) fn can_mount() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(namespace()).args(["mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null());
    unshare.status().is_ok_and(|ended| ended.success())
}

fn namespace() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--mount", "--map-root-user"] }
}

/// The same in a mount namespace of its own, where small disks can be mounted that vanish with the test.
pub(crate) fn in_house_with_mounts<F, R>(body: F)
where
    F: FnOnce(Layout) -> R,
    R: Future<Output = ()>,
{
    let through: Vec<&str> = std::iter::once("unshare").chain(namespace().iter().copied()).collect();
    run(&through, body);
}

fn run<F, R>(through: &[&str], body: F)
where
    F: FnOnce(Layout) -> R,
    R: Future<Output = ()>,
{
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        let layout = Layout::new(folder).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bounded = async { tokio::time::timeout(TEST_WITHIN, body(layout)).await };
        tokio::task::LocalSet::new().block_on(&runtime, bounded).expect("the whole test ends in time");
        std::fs::write(folder.join(DONE), "").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path()).unwrap();
    let own = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = through.iter().map(std::ffi::OsStr::new).collect();
    words.push(own.as_os_str());
    let mut child = Command::new(words[0]);
    child.args(&words[1..]).args([test_name::<F>(), "--exact", "--nocapture", "--test-threads=1"]);
    child.env("SOFTHSM2_CONF", layout.softhsm_conf("ca")).env(FOLDER, layout.root()).stdin(Stdio::null());
    let ended = child.status().unwrap();
    let ran = ended.success() && layout.root().join(DONE).exists();
    assert!(ran, "the test in its own process: {ended}{}", logs(&layout.root().join("log")));
}

/// The name libtest knows the calling test by: the path of its closure without the crate and without `{{closure}}`.
fn test_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_, inside)| inside);
    path.split_once("::{{closure}}").map_or(path, |(test, _)| test)
}

/// The last lines of every log, for whoever reads why a test failed.
fn logs(folder: &Path) -> String {
    let mut told = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        told.push_str(&format!("\n--- {}\n{last}", entry.path().display()));
    }
    told
}

/// A running house.
pub(crate) struct House {
    pub(crate) stack: Stack,
}

impl House {
    /// Starts everything and loads `world`.
    pub(crate) async fn start(layout: Layout, world: &World) -> Self {
        let house = Self::empty(layout).await;
        house.load(world).await;
        house
    }

    /// Starts everything.
    pub(crate) async fn empty(layout: Layout) -> Self {
        Self { stack: Stack::start(layout, &|_: &str| ()).await.unwrap() }
    }

    /// Loads `world` through the services' own interfaces.
    pub(crate) async fn load(&self, world: &World) {
        let world: single_node::world::World = serde_json::from_value(serde_json::to_value(world).unwrap()).unwrap();
        load_once(&self.stack, &world, &|_: &str| ()).await.unwrap();
    }

    /// Sends `signal` to a service; the process id it went to.
    pub(crate) fn signal(&self, service: &str, signal: Signal) -> u32 {
        let id = self.stack.pid(service).unwrap().borrow().expect("it runs");
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
        id
    }

    /// Kills a service with SIGKILL and waits until another process of it runs.
    pub(crate) async fn kill(&self, service: &str) {
        let before = self.signal(service, Signal::KILL);
        self.reborn(service, before).await;
    }

    /// Waits until another process than `before` runs a service.
    pub(crate) async fn reborn(&self, service: &str, before: u32) {
        let mut pid = self.stack.pid(service).unwrap();
        let other = pid.wait_for(|now| now.is_some_and(|now| now != before));
        tokio::time::timeout(PATIENCE, other).await.expect("it is started again in time").unwrap();
    }

    /// What a service says of its health: `Some(true)` when it can work, `None` when it does not answer.
    pub(crate) async fn healthy(&self, service: &str) -> Option<bool> {
        let client = if service == PURCHASE { self.stack.monitor() } else { self.stack.ops(service).unwrap() };
        match client.text("/healthz").await {
            Ok(_) => Some(true),
            Err(fault) if fault.to_string().contains("answered 503") => Some(false),
            Err(_) => None,
        }
    }

    /// Waits until a service says that it can work.
    pub(crate) async fn works(&self, service: &str) {
        eventually(&format!("{service} works"), async || self.healthy(service).await.filter(|works| *works)).await;
    }

    /// Turns switches of the processor.
    pub(crate) async fn switch(&self, switches: Value) {
        self.stack.control().post("/control/switches", switches.to_string().into_bytes()).await.unwrap();
    }

    /// Waits until the processor's own interface answers.
    pub(crate) async fn processor_answers(&self) {
        eventually("the processor answers", async || self.stack.ledger().await.ok()).await;
    }

    /// Tells the processor which cards it declines or raises no hold for.
    pub(crate) async fn decline(&self, declines: Value) {
        self.stack.control().post("/control/declines", declines.to_string().into_bytes()).await.unwrap();
    }

    /// A figure of the processor's ledger.
    pub(crate) async fn ledger(&self, figure: &str) -> i64 {
        let ledger = self.stack.ledger().await.unwrap();
        ledger.pointer(figure).and_then(Value::as_i64).unwrap()
    }

    /// Waits until the processor holds nothing open any more.
    pub(crate) async fn nothing_held(&self) {
        eventually("the processor holds nothing", async || {
            let ledger = self.stack.ledger().await.ok()?;
            (ledger.pointer("/open/count").and_then(Value::as_i64) == Some(0)).then_some(())
        })
        .await;
    }

    /// Ends everything.
    pub(crate) async fn end(self) {
        self.stack.end().await;
    }
}

/// Runs all of them at once; what they give, in their order.
pub(crate) async fn together<T: 'static>(tasks: impl Iterator<Item = impl Future<Output = T> + 'static>) -> Vec<T> {
    let running: Vec<_> = tasks.map(tokio::task::spawn_local).collect();
    let mut given = Vec::new();
    for task in running {
        given.push(task.await.unwrap());
    }
    given
}

/// Looks again and again until there is something to see.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("in time: {what}"))
}
