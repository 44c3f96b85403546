//! A fridge: the agent's own binary, driven over its control socket by someone who stands before it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use single_node::{Fault, layout};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use crate::driver::house::{self, House};
use crate::places::Process;

/// How long anything may take that someone before the fridge waits for.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether the control socket is there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A fridge's agent, and the one who stands before it.
pub struct Fridge {
    child: Child,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Fridge {
    /// Starts the agent of `fridge`; its journal and its log lie in the house's folder. It logs all there is.
    ///
    /// # Errors
    /// [`Fault`] when it is not built or does not start.
    pub async fn start(house: &House, fridge: &str) -> Result<Self, Fault> {
        let folder = house.folder();
        let (config, log) = (folder.join("config/fridge-agent.toml"), folder.join("log/fridge-agent.log"));
        let socket = folder.join("control.sock");
        std::fs::write(&config, configuration(house, fridge, &socket)?).map_err(Fault::io("write", &config))?;
        let log = std::fs::File::create(&log).map_err(Fault::io("write", &log))?;
        let child = Command::new(layout::binary("fridge-agent")?)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(Fault::of("fridge-agent"))?;
        let (reader, writer) = connect(&socket).await?.into_split();
        Ok(Self { child, lines: BufReader::new(reader).lines(), writer })
    }

    /// Its process.
    ///
    /// # Errors
    /// [`Fault`] when it has ended.
    pub fn process(&self) -> Result<Process, Fault> {
        let pid = self.child.id().ok_or_else(|| Fault::new("the fridge's agent has ended".to_owned()))?;
        Ok(Process { name: "fridge-agent".to_owned(), pid })
    }

    /// Someone swipes a card and is let in or not: the sight of it. The number is not kept here.
    ///
    /// # Errors
    /// [`Fault`] when nothing is seen.
    pub async fn swipe(&mut self, session: &str, track2: &str) -> Result<Value, Fault> {
        self.act(&json!({ "do": "swipe", "track2": track2, "session": session })).await?;
        self.see(&["unlocked", "refused"]).await
    }

    /// Someone shows an ID token and is let in or not.
    ///
    /// # Errors
    /// [`Fault`] when nothing is seen.
    pub async fn show(&mut self, session: &str, id_token: &str) -> Result<Value, Fault> {
        self.act(&json!({ "do": "show", "id_token": id_token, "session": session })).await?;
        self.see(&["unlocked", "refused"]).await
    }

    /// He opens the door and takes what he wants.
    ///
    /// # Errors
    /// [`Fault`] when the agent is gone.
    pub async fn open_and_take(&mut self, barcodes: &[&str]) -> Result<(), Fault> {
        self.act(&json!({ "do": "open_door" })).await?;
        for barcode in barcodes {
            self.act(&json!({ "do": "take", "barcode": barcode })).await?;
        }
        Ok(())
    }

    /// He shuts the door and gets his receipt.
    ///
    /// # Errors
    /// [`Fault`] when there is none.
    pub async fn close(&mut self) -> Result<Value, Fault> {
        self.act(&json!({ "do": "close_door" })).await?;
        self.see(&["receipt"]).await
    }

    /// Says something that the agent does not understand, and is told so.
    ///
    /// # Errors
    /// [`Fault`] when it is not.
    pub async fn mumble(&mut self, line: &str) -> Result<Value, Fault> {
        self.write(line).await?;
        self.see(&["not_understood"]).await
    }

    /// Ends the agent.
    ///
    /// # Errors
    /// [`Fault`] when it does not end, or ends badly.
    pub async fn end(mut self) -> Result<(), Fault> {
        house::terminate(&self.child);
        match tokio::time::timeout(SEEN_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            ended => Err(Fault::new(format!("the fridge's agent did not end well: {ended:?}"))),
        }
    }

    async fn act(&mut self, command: &Value) -> Result<(), Fault> {
        self.write(&command.to_string()).await
    }

    async fn write(&mut self, line: &str) -> Result<(), Fault> {
        self.writer.write_all(format!("{line}\n").as_bytes()).await.map_err(Fault::of("the control socket"))
    }

    /// The next sight of one of these kinds.
    async fn see(&mut self, wanted: &[&str]) -> Result<Value, Fault> {
        let seeing = async {
            while let Some(line) = self.lines.next_line().await.map_err(Fault::of("the control socket"))? {
                let sight: Value = serde_json::from_str(&line).map_err(Fault::of("a sight"))?;
                let kind = sight.get("saw").and_then(Value::as_str).unwrap_or_default();
                if wanted.contains(&kind) {
                    return Ok(sight);
                }
            }
            Err(Fault::new("the agent hung up".to_owned()))
        };
        let late = |_| Fault::new(format!("nothing of {wanted:?} was seen within {SEEN_WITHIN:?}"));
        tokio::time::timeout(SEEN_WITHIN, seeing).await.map_err(late)?
    }
}

fn configuration(house: &House, fridge: &str, socket: &Path) -> Result<String, Fault> {
    let [certificate, key, bundle] = house.files(fridge)?;
    let text = |value: &dyn std::fmt::Display| toml::Value::String(value.to_string());
    let table: toml::Table = [
        ("fridge", text(&fridge)),
        ("service_address", text(&house.address("purchase-session")?)),
        ("service_id", text(&house.id_of("purchase-session")?)),
        ("certificate", text(&certificate.display())),
        ("key", text(&key.display())),
        ("trust_bundle", text(&bundle.display())),
        ("journal", text(&house.folder().join("journal").join(fridge).display())),
        ("control_socket", text(&socket.display())),
        ("log", text(&"trace")),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    Ok(table.to_string())
}

async fn connect(socket: &Path) -> Result<UnixStream, Fault> {
    let connecting = async {
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    let late = |_| Fault::new("the fridge's agent opened no control socket; see its log".to_owned());
    tokio::time::timeout(SEEN_WITHIN, connecting).await.map_err(late)
}
