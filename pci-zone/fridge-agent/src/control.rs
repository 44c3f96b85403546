//! Drives the simulated hardware over a Unix socket: JSON lines in (`{"do":"open_door"}`), JSON lines out
//! (`{"saw":"unlocked",…}`). It exists so that scripts and people can play a customer before a running agent.
//!
//! A line may hold a card. So it is read straight into a buffer that wipes itself, parsed without copies (a string
//! with escapes is refused for that), and the one copy that goes on wipes itself, too. One controller at a time: two
//! people cannot stand in one fridge's door.

use std::path::Path;

use pci_contract::{Money, SessionId};
use rustix::fs::Mode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use zeroize::{Zeroize, Zeroizing};

use crate::hardware::AlarmKind;
use crate::simulated::{Controls, Seen};
use crate::words::{Receipt, TouchKind, Unlock};

/// The most bytes of one line.
const MAX_LINE_BYTES: usize = 4_096;

/// One line in.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Do<'a> {
    Swipe { track2: &'a str, session: Option<SessionId> },
    Show { id_token: &'a str, session: Option<SessionId> },
    OpenDoor,
    Take { barcode: &'a str },
    Return { barcode: &'a str },
    CloseDoor,
    ForceDoor,
}

/// Makes the socket, which only this user may use; one that an earlier run left is replaced.
///
/// # Errors
/// As the system says.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    // The mode must be right from the first moment: changed afterwards, it leaves a gap for someone else to connect in.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Serves one controller after the other, for ever.
pub async fn serve(listener: UnixListener, controls: Controls) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => converse(stream, &controls).await,
            Err(why) => {
                tracing::warn!(%why, "the control socket does not accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, controls: &Controls) {
    let (reader, mut writer) = stream.into_split();
    let (answers, mut more_answers) = tokio::sync::mpsc::channel(64);
    let commands = obey(reader, controls, answers);
    tokio::pin!(commands);
    loop {
        let line = tokio::select! {
            () = &mut commands => return,
            Some(line) = more_answers.recv() => line,
            Some(seen) = controls.next_seen() => saw(&seen),
        };
        if write(&mut writer, &line).await.is_err() {
            return;
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, line: &Value) -> std::io::Result<()> {
    writer.write_all(format!("{line}\n").as_bytes()).await
}

/// Reads lines until the controller hangs up or sends one that is too long.
async fn obey(mut reader: OwnedReadHalf, controls: &Controls, answers: tokio::sync::mpsc::Sender<Value>) {
    let mut buffer = Zeroizing::new(vec![0_u8; MAX_LINE_BYTES]);
    let mut filled = 0;
    loop {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else { return };
        match reader.read(room).await {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        while let Some(end) = buffer.get(..filled).and_then(|text| text.iter().position(|&byte| byte == b'\n')) {
            if let Some(line) = buffer.get(..end)
                && let Err(why) = obey_line(line, controls).await
            {
                let _ = answers.send(json!({"saw": "not_understood", "why": why})).await;
            }
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
            if let Some(behind) = buffer.get_mut(filled..) {
                behind.zeroize();
            }
        }
    }
}

/// Obeys one line, or says why not in words that hold nothing of it.
async fn obey_line(line: &[u8], controls: &Controls) -> Result<(), &'static str> {
    let command: Do<'_> = serde_json::from_slice(line).map_err(|_| "not a command")?;
    match command {
        Do::Swipe { track2, session } => controls.swipe(Zeroizing::new(track2.as_bytes().to_vec()), session).await,
        Do::Show { id_token, session } => controls.show_id_token(id_token, session).await,
        Do::OpenDoor => {
            if !controls.open_door().await {
                return Err("the door is locked or open already");
            }
        }
        Do::Take { barcode } => controls.touch(TouchKind::Taken, barcode).await,
        Do::Return { barcode } => controls.touch(TouchKind::Returned, barcode).await,
        Do::CloseDoor => {
            if !controls.close_door().await {
                return Err("the door is shut already");
            }
        }
        Do::ForceDoor => controls.force_door().await,
    }
    Ok(())
}

/// A sight as a line.
fn saw(seen: &Seen) -> Value {
    match seen {
        Seen::Unlocked { session, unlock } => saw_unlocked(*session, unlock),
        Seen::Refused { session, reason } => json!({"saw": "refused", "session": session, "reason": reason}),
        Seen::Alarm { barcode, kind } => {
            let kind = match kind {
                AlarmKind::NotYours => "not_yours",
                AlarmKind::NotSellable => "not_sellable",
            };
            json!({"saw": "alarm", "barcode": barcode, "kind": kind})
        }
        Seen::AlarmCleared { barcode } => json!({"saw": "alarm_cleared", "barcode": barcode}),
        Seen::LimitReached { limit } => json!({"saw": "limit_reached", "limit": money(*limit)}),
        Seen::SoundDoor => json!({"saw": "sound_door"}),
        Seen::Receipt { session, receipt } => saw_receipt(*session, receipt),
        Seen::Technician(note) => json!({"saw": "technician", "note": format!("{note:?}")}),
    }
}

fn saw_unlocked(session: SessionId, unlock: &Unlock) -> Value {
    let own: Vec<Value> = unlock
        .own_meals
        .iter()
        .map(|meal| json!({"barcode": meal.code, "name": meal.name, "sign": meal.sign, "prepaid": meal.prepaid}))
        .collect();
    let prices: Vec<Value> = unlock
        .prices
        .iter()
        .map(|price| json!({"gtin": price.gtin, "name": price.name, "price": money(price.price)}))
        .collect();
    json!({
        "saw": "unlocked",
        "session": session,
        "hold": money(unlock.hold),
        "credit": money(unlock.credit),
        "own_meals": own,
        "prices": prices,
        "open_within_s": unlock.open_within_s,
    })
}

fn saw_receipt(session: SessionId, receipt: &Receipt) -> Value {
    let lines: Vec<Value> = receipt
        .lines
        .iter()
        .map(|line| json!({"barcode": line.code, "name": line.name, "price": money(line.price)}))
        .collect();
    json!({
        "saw": "receipt",
        "session": session,
        "outcome": receipt.outcome,
        "charged": money(receipt.charged),
        "credit_used": money(receipt.credit_used),
        "unpaid": money(receipt.unpaid),
        "lines": lines,
    })
}

fn money(money: Option<Money>) -> Value {
    money.map_or(Value::Null, |money| json!({"minor": money.minor(), "currency": money.currency().as_str()}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Hardware, HardwareEvent};
    use crate::simulated::SimulatedFridge;

    #[tokio::test]
    async fn a_swipe_hands_on_the_track_as_it_was_given() {
        let (mut hardware, controls) = SimulatedFridge::new();
        obey_line(br#"{"do":"swipe","track2":"4242424242424242=3112"}"#, &controls).await.expect("obeyed");
        let Some(HardwareEvent::CardSwiped { track2, session: None }) = hardware.next_event().await else {
            panic!("no card")
        };
        assert_eq!(track2.as_slice(), b"4242424242424242=3112");
    }

    #[tokio::test]
    async fn what_would_be_copied_or_is_no_command_is_refused_in_words_of_our_own() {
        let (_hardware, controls) = SimulatedFridge::new();
        for line in [
            &br#"{"do":"swipe","track2":"4242424242424242\u003d3112"}"#[..],
            br#"{"do":"swipe"}"#,
            br#"{"do":"swipe","track2":"4242424242424242=3112","pin":"1"}"#,
            br#"{"do":"dance"}"#,
            b"4242424242424242",
            b"\xff",
        ] {
            assert_eq!(obey_line(line, &controls).await, Err("not a command"));
        }
        assert!(obey_line(br#"{"do":"open_door"}"#, &controls).await.is_err(), "it is locked");
        assert!(obey_line(br#"{"do":"close_door"}"#, &controls).await.is_err(), "it is shut");
        assert_eq!(obey_line(br#"{"do":"force_door"}"#, &controls).await, Ok(()));
    }
}
