//! Parts of a measurement that need a process of their own: a PKCS#11 module belongs to one process and sees one
//! configuration, and a bare server must meet its client across processes as ours does.
//!
//! A part is our own binary again. It reads commands from its standard input, one JSON value a line, answers each with a
//! line, and ends when the input does; so it cannot outlive whoever measures.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::bare_tls::Acceptor;
use super::clients::Crowd;
use super::{bare, hsm};
use crate::Fault;
use crate::layout::Layout;

/// How long one answer of a part may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What a part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Works an HSM, through the vault or bare.
    Hsm,
    /// Serves by rote.
    Server,
    /// Accepts connections and does nothing else.
    Acceptor,
    /// Plays thousands of fridges.
    Crowd,
}

/// A running part.
pub(super) struct Part {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What a part answers.
#[derive(Serialize, Deserialize)]
enum Answer<T> {
    Done(T),
    Failed(String),
}

impl Part {
    /// Starts a part with its state in `folder`.
    ///
    /// # Errors
    /// [`Fault`] when the process cannot be started.
    pub(super) fn start(kind: Kind, folder: &Path) -> Result<Self, Fault> {
        let layout = Layout::new(folder)?;
        let own = std::env::current_exe().map_err(Fault::of("our own binary"))?;
        let name = kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut command = Command::new(own);
        if kind == Kind::Hsm {
            // Who only asks an HSM should take little of the processors from what is measured.
            command.env("TOKIO_WORKER_THREADS", "1");
        }
        let mut child = command
            .args(["bench-part", &name, "--dir"])
            .arg(layout.root())
            .env("SOFTHSM2_CONF", layout.softhsm_conf("ca"))
            // Whoever inherits this believes the folder to be his, and removes it at his end.
            .env_remove("LARDER_NODE_FOLDER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Fault::of("a part of the measurement cannot be started"))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::new("a part of the measurement has no pipes".to_owned()));
        };
        Ok(Self { child, commands, answers: BufReader::new(answers).lines() })
    }

    /// Has the part do something.
    ///
    /// # Errors
    /// [`Fault`] says what went wrong there.
    pub(super) async fn ask<C: Serialize, T: DeserializeOwned>(&mut self, command: &C) -> Result<T, Fault> {
        let mut line = serde_json::to_vec(command).map_err(Fault::of("a command"))?;
        line.push(b'\n');
        let gone = "a part of the measurement";
        let answered = async {
            self.commands.write_all(&line).await.map_err(Fault::of(gone))?;
            self.commands.flush().await.map_err(Fault::of(gone))?;
            self.answers.next_line().await.map_err(Fault::of(gone))
        };
        let late = |_| Fault::new(format!("{gone} did not answer within {ANSWER_WITHIN:?}"));
        let answer = tokio::time::timeout(ANSWER_WITHIN, answered).await.map_err(late)??;
        let answer = answer.ok_or_else(|| Fault::new(format!("{gone} has ended")))?;
        match serde_json::from_str(&answer).map_err(Fault::of(gone))? {
            Answer::Done(value) => Ok(value),
            Answer::Failed(why) => Err(Fault::new(why)),
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends the part.
    pub(super) async fn end(self) {
        let Self { mut child, commands, .. } = self;
        drop(commands);
        if tokio::time::timeout(ANSWER_WITHIN, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

/// Is a part, until the input ends.
///
/// # Errors
/// [`Fault`] when the input cannot be read.
pub async fn be(kind: Kind, layout: &Layout) -> Result<(), Fault> {
    let (mut hsm, mut acceptor, mut crowd) = (None, Acceptor::default(), Crowd::default());
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await.map_err(Fault::of("the commands"))? {
        let answer = match kind {
            Kind::Hsm => told(hsm::obey(&mut hsm, layout, &line).await),
            Kind::Server => told(serve(&line).await),
            Kind::Acceptor => told(acceptor.obey(&line).await),
            Kind::Crowd => told(crowd.obey(&line).await),
        };
        say(&answer?);
    }
    Ok(())
}

async fn serve(setup: &str) -> Result<bare::Listening, Fault> {
    bare::start(&serde_json::from_str(setup).map_err(Fault::of("a command"))?).await
}

fn told<T: Serialize>(outcome: Result<T, Fault>) -> Result<String, Fault> {
    let answer = outcome.map_or_else(|fault| Answer::Failed(fault.to_string()), Answer::Done);
    serde_json::to_string(&answer).map_err(Fault::of("an answer"))
}

#[allow(clippy::print_stdout, reason = "the part's answer")]
fn say(line: &str) {
    println!("{line}");
}
