//! The house as it is shipped: `single-node stack` and whatever it starts, in a folder of ours, at its most talkative.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId, TrustDomain};
use ca_mtls::{Identity, TrustBundle};
use serde_json::Value;
use single_node::{Fault, layout};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::places::Process;

/// How long the house may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a process may take to end after SIGTERM, and how often it is looked whether it has.
const END_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What stands outside the walls: the processor's process, and the beginnings of its files' names.
pub const OUTSIDE: &str = "processor-sandbox";
const OUTSIDE_FILES: [&str; 3] = ["state/processor-books", "ready/processor-sandbox", "log/processor-sandbox"];

/// A running house.
pub struct House {
    child: Child,
    folder: PathBuf,
    endpoints: Value,
    pids: BTreeMap<String, u32>,
    trust_domain: TrustDomain,
}

impl House {
    /// Starts the house in `folder` with the world of the file `world`; spans go to `collector`, `host:port`.
    ///
    /// # Errors
    /// [`Fault`] when a part is not built or does not get ready.
    pub async fn start(folder: &Path, world: &Path, collector: &str) -> Result<Self, Fault> {
        let log = folder.join("log").join("single-node.log");
        std::fs::create_dir_all(folder.join("log")).map_err(Fault::io("make the folder", folder))?;
        let log_file = std::fs::File::create(&log).map_err(Fault::io("write", &log))?;
        let mut child = Command::new(layout::binary("single-node")?)
            .args(["stack", "--dir"])
            .arg(folder)
            .arg("--world")
            .arg(world)
            .env("LARDER_LOG", "trace")
            .env("LARDER_COLLECTOR", collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env_remove("SOFTHSM2_CONF")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(Fault::of("single-node"))?;
        let ready = tokio::time::timeout(READY_WITHIN, ready(&mut child)).await;
        if !matches!(ready, Ok(Ok(()))) {
            end_now(&mut child);
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Fault::new(format!("the house did not get ready:\n{log}")));
        }
        Self::of(child, folder)
    }

    fn of(child: Child, folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("endpoints.json");
        let text = std::fs::read(&path).map_err(Fault::io("read", &path))?;
        let endpoints: Value = serde_json::from_slice(&text).map_err(Fault::of("endpoints.json"))?;
        let pids = endpoints.get("pids").cloned().unwrap_or_default();
        let mut pids: BTreeMap<String, u32> = serde_json::from_value(pids).map_err(Fault::of("the processes"))?;
        pids.insert("single-node".to_owned(), child.id().ok_or_else(|| Fault::new("single-node ended".to_owned()))?);
        let trust_domain = text_of(&endpoints, "/trust_domain")?;
        let trust_domain = TrustDomain::parse(&trust_domain).map_err(Fault::of("the trust domain"))?;
        Ok(Self { child, folder: folder.to_owned(), endpoints, pids, trust_domain })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its processes inside the walls.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let inside = self.pids.iter().filter(|(name, _)| *name != OUTSIDE);
        inside.map(|(name, pid)| Process { name: name.clone(), pid: *pid }).collect()
    }

    /// Who all its parties are named under.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Where a service listens, `host:port`.
    ///
    /// # Errors
    /// [`Fault`] when there is no such service.
    pub fn address(&self, service: &str) -> Result<String, Fault> {
        text_of(&self.endpoints, &format!("/services/{service}"))
    }

    /// The certificate, key and trust bundle of a party that the house issued an identity to.
    ///
    /// # Errors
    /// [`Fault`] when it issued none.
    pub fn files(&self, party: &str) -> Result<[PathBuf; 3], Fault> {
        let file = |pointer: &str| text_of(&self.endpoints, pointer).map(PathBuf::from);
        let [certificate, key] = ["certificate", "key"].map(|what| file(&format!("/clients/{party}/{what}")));
        Ok([certificate?, key?, file("/trust_bundle")?])
    }

    /// The identity of a party, and whom it trusts.
    ///
    /// # Errors
    /// [`Fault`] when the house issued none.
    pub fn identity(&self, party: &str) -> Result<(Identity, TrustBundle), Fault> {
        let [certificate, key, bundle] = self.files(party)?;
        let identity = Identity::load(&certificate, &key).map_err(Fault::of("an identity"))?;
        Ok((identity, TrustBundle::load(&bundle).map_err(Fault::of("the trust bundle"))?))
    }

    /// The name of a service in certificates.
    ///
    /// # Errors
    /// [`Fault`] when there is no such service.
    pub fn id_of(&self, service: &str) -> Result<SpiffeId, Fault> {
        let name = ServiceName::parse(service).map_err(Fault::of("a service's name"))?;
        Ok(SpiffeId::service(&self.trust_domain, name))
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// [`Fault`] when it does not end, or ends badly.
    pub async fn end(mut self) -> Result<(), Fault> {
        terminate(&self.child);
        let ended = tokio::time::timeout(END_WITHIN, self.child.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Fault::new(format!("single-node ended with {status}"))),
            Ok(Err(why)) => Err(Fault::of("single-node")(why)),
            Err(_) => Err(Fault::new("single-node does not end".to_owned())),
        }
    }
}

/// Whatever becomes of the test, the services go with it: `single-node` ends them when it is asked to end.
impl Drop for House {
    fn drop(&mut self) {
        end_now(&mut self.child);
    }
}

/// Whether a file of the house's folder, by its path below it, is the processor's.
#[must_use]
pub fn is_outside(below: &Path) -> bool {
    OUTSIDE_FILES.iter().any(|beginning| below.to_string_lossy().starts_with(beginning))
}

async fn ready(child: &mut Child) -> std::io::Result<()> {
    let Some(output) = child.stdout.take() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("ready: ") {
            return Ok(());
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// Asks a process to end.
pub fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn end_now(child: &mut Child) {
    terminate(child);
    for _ in 0..END_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let _ = child.start_kill();
}

fn text_of(value: &Value, pointer: &str) -> Result<String, Fault> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Fault::new(format!("endpoints.json has no {pointer}")))
}
