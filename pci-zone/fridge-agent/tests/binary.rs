//! The binary from outside: its configuration, its control socket, its end on SIGTERM, and no card on its output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::fake::{Fake, listen};
use support::{MEAL, OTHERS_MEAL, PATIENCE, Pki, SERVICE};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn configure(folder: &Path, pki: &Pki, address: &str) {
    let (chain, key) = pki.leaf("spiffe://larder.internal/fridge/FR-0001");
    write_private(&folder.join("fridge.pem"), &chain);
    write_private(&folder.join("fridge.key"), &key);
    write_private(&folder.join("bundle.pem"), &pki.bundle_pem());
    let at = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "fridge = 'FR-0001'\nservice_address = '{address}'\nservice_id = '{SERVICE}'\ncertificate = '{}'\nkey = '{}'\n\
         trust_bundle = '{}'\njournal = '{}'\ncontrol_socket = '{}'\nlog = 'trace'\n",
        at("fridge.pem"),
        at("fridge.key"),
        at("bundle.pem"),
        at("journal"),
        at("control.sock"),
    );
    write_private(&folder.join("agent.toml"), &config);
}

fn run(folder: &Path) -> Child {
    // The log goes to a file: a pipe that nobody empties would stop the agent in the middle of a line.
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fridge-agent"));
    command.arg(folder.join("agent.toml")).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    command.spawn().unwrap()
}

struct Controller {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Controller {
    async fn connect(socket: &Path) -> Self {
        let connect = async {
            loop {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let stream = tokio::time::timeout(PATIENCE, connect).await.expect("the socket is there in time");
        let (reader, writer) = stream.into_split();
        Self { lines: BufReader::new(reader).lines(), writer }
    }

    async fn say(&mut self, line: &Value) {
        self.writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn see(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        serde_json::from_str(&line.unwrap().expect("the agent is there")).unwrap()
    }
}

#[tokio::test]
async fn a_script_plays_a_customer_through_the_control_socket() {
    let (fake, pki) = (Fake::new(), Pki::new());
    fake.with(|state| state.alarming.insert(OTHERS_MEAL.to_owned()));
    let listening = listen(&fake, &pki, None).await;
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &pki, &listening.address.to_string());
    let child = run(folder.path());
    let mut control = Controller::connect(&folder.path().join("control.sock")).await;
    let mode = std::fs::metadata(folder.path().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    control.say(&json!({"do": "open_door"})).await;
    assert_eq!(control.see().await["saw"], "not_understood");
    control.say(&json!({"do": "swipe", "track2": "4242424242424242=3112"})).await;
    let unlocked = control.see().await;
    assert_eq!((&unlocked["saw"], &unlocked["hold"]["minor"]), (&json!("unlocked"), &json!(2_500)));
    control.say(&json!({"do": "open_door"})).await;
    control.say(&json!({"do": "take", "barcode": OTHERS_MEAL})).await;
    assert_eq!(control.see().await, json!({"saw": "alarm", "barcode": OTHERS_MEAL, "kind": "not_yours"}));
    control.say(&json!({"do": "return", "barcode": OTHERS_MEAL})).await;
    assert_eq!(control.see().await, json!({"saw": "alarm_cleared", "barcode": OTHERS_MEAL}));
    control.say(&json!({"do": "take", "barcode": MEAL})).await;
    control.say(&json!({"do": "close_door"})).await;
    let receipt = control.see().await;
    assert_eq!((&receipt["saw"], &receipt["outcome"]), (&json!("receipt"), &json!("charged")));
    assert_eq!(receipt["session"], unlocked["session"]);

    control.say(&json!({"do": "swipe", "track_2": "4242424242424242=3112"})).await;
    let refused = control.see().await;
    assert_eq!(refused, json!({"saw": "not_understood", "why": "not a command"}));
    control.say(&json!({"do": "force_door"})).await;
    fake.until(|state| state.tampers.len() == 1).await;

    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let killed = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap();
    assert!(killed.success());
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("ends in time").unwrap();
    assert!(output.status.success());
    assert!(output.stdout.is_empty());
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.is_empty());
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "JSON lines only");
    for part in ["4242424242424242", "424242424242", "42=3112"] {
        assert!(!log.contains(part), "no part of a card in the log, at its most talkative");
    }
}

#[tokio::test]
async fn a_second_controller_is_served_after_the_first_and_a_line_without_end_is_hung_up_on() {
    let (fake, pki) = (Fake::new(), Pki::new());
    let listening = listen(&fake, &pki, None).await;
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &pki, &listening.address.to_string());
    let _child = run(folder.path());
    let socket = folder.path().join("control.sock");
    let mut first = Controller::connect(&socket).await;
    let _ = first.writer.write_all(&[b'x'; 5_000]).await;
    let hung_up = tokio::time::timeout(PATIENCE, first.lines.next_line()).await.expect("hung up in time");
    assert!(!matches!(hung_up, Ok(Some(_))));
    let mut second = Controller::connect(&socket).await;
    let session = "4ed615ae-e6a0-47bb-82f2-6b7777de3d19";
    second.say(&json!({"do": "show", "id_token": "idt-64746e73", "session": session})).await;
    let unlocked = second.see().await;
    assert_eq!((&unlocked["saw"], &unlocked["session"]), (&json!("unlocked"), &json!(session)));
}

#[tokio::test]
async fn a_wrong_configuration_ends_it_at_once_and_says_why() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &pki, "127.0.0.1:1");
    let path = folder.path().join("agent.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let cases = [
        (good.replace("FR-0001", "FR-0002"), "not this fridge's"),
        (good.replace("journal =", "jurnal ="), "jurnal"),
        (good.replace("fridge.key", "missing.key"), "missing.key"),
        (good.replace("127.0.0.1:1", "no address"), "host:port"),
    ];
    for (config, why) in cases {
        write_private(&path, &config);
        let ended = tokio::time::timeout(PATIENCE, run(folder.path()).wait_with_output()).await;
        let output = ended.expect("ends in time").unwrap();
        assert_eq!(output.status.code(), Some(1), "{why}");
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.contains(why), "{why}: {log}");
    }
}
