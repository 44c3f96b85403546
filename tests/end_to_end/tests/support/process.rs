//! A fridge agent as the process it is in the field, to be killed with SIGKILL; a socket drives its simulated hardware.
//!
//! The body dies with the process: a fridge that starts again finds its door locked and shut, as after a power cut
//! during which somebody shut it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use single_node::issuer::Party;
use single_node::layout;
use single_node::stack::PURCHASE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use super::house::{House, PATIENCE, eventually};
use super::world::{Kind, OpenWith, Session};

/// A fridge agent of its own process.
pub(crate) struct AgentProcess {
    name: String,
    folder: PathBuf,
    journal: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl AgentProcess {
    /// Starts the agent of the fridge of this name.
    pub(crate) async fn start(house: &House, name: &str) -> Self {
        let layout = house.stack.layout();
        let folder = layout.root().join(format!("agent-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key, bundle) = house.stack.issuer().files(&Party::Fridge(name.to_owned()));
        let journal = layout.journal(name);
        let domain = house.stack.issuer().trust_domain();
        let config = format!(
            "fridge = '{name}'\nservice_address = '{}'\nservice_id = 'spiffe://{domain}/service/{PURCHASE}'\n\
             certificate = '{}'\nkey = '{}'\ntrust_bundle = '{}'\njournal = '{}'\ncontrol_socket = '{}'\n",
            house.stack.address(PURCHASE).unwrap(),
            certificate.display(),
            key.display(),
            bundle.display(),
            journal.display(),
            folder.join("control.sock").display(),
        );
        std::fs::write(folder.join("agent.toml"), config).unwrap();
        let mut agent = Self { name: name.to_owned(), folder, journal, running: None };
        agent.start_again().await;
        agent
    }

    /// Starts the process again on its journal.
    pub(crate) async fn start_again(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(layout::binary("fridge-agent").unwrap());
        command.arg(self.folder.join("agent.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.kill_on_drop(true).spawn().unwrap();
        let (reader, writer) = connect(&self.folder.join("control.sock")).await.into_split();
        self.running = Some(Running { child, lines: BufReader::new(reader).lines(), writer });
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.child.kill().await.unwrap();
    }

    async fn say(&mut self, line: Value) {
        let running = self.running.as_mut().unwrap();
        running.writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Somebody shows what he has.
    pub(crate) async fn show(&mut self, session: &Session) {
        let id = &session.session;
        self.say(match &session.open_with {
            OpenWith::Card(card) => {
                json!({"do": "swipe", "track2": format!("{}={}", card.pan, card.expiry), "session": id})
            }
            OpenWith::IdToken(token) => json!({"do": "show", "id_token": token, "session": id}),
        })
        .await;
    }

    pub(crate) async fn open_door(&mut self) {
        self.say(json!({"do": "open_door"})).await;
    }

    pub(crate) async fn close_door(&mut self) {
        self.say(json!({"do": "close_door"})).await;
    }

    pub(crate) async fn touch(&mut self, kind: Kind, barcode: &str) {
        let what = if kind == Kind::Taken { "take" } else { "return" };
        self.say(json!({"do": what, "barcode": barcode})).await;
    }

    /// Waits for a sight of this kind.
    pub(crate) async fn see(&mut self, what: &str) -> Value {
        let running = self.running.as_mut().unwrap();
        let mut before = Vec::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, running.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{}: {what} in time, after {before:?}", self.name));
            let seen: Value = serde_json::from_str(&line.unwrap().expect("the agent is there")).unwrap();
            if seen["saw"] == what {
                return seen;
            }
            assert_ne!(seen["saw"], "not_understood", "{seen}");
            before.push(seen);
        }
    }

    /// Bytes in the journal of a session.
    pub(crate) fn journaled(&self, session: &Session) -> u64 {
        let file = self.journal.join(format!("session-{}", session.session));
        std::fs::metadata(file).map_or(0, |file| file.len())
    }

    /// Waits until the journal of a session has more than `before` bytes.
    pub(crate) async fn journals_beyond(&self, session: &Session, before: u64) {
        eventually("the journal grows", async || (self.journaled(session) > before).then_some(())).await;
    }
}

async fn connect(socket: &Path) -> UnixStream {
    eventually("the control socket is there", async || UnixStream::connect(socket).await.ok()).await
}
