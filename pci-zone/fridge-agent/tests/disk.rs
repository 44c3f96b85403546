//! What must hold when the power goes while the fridge writes, and when its disk is full or damaged: nothing is said
//! before it is written, the customer inside is served to the end, and nobody is let in on what could not be kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fridge_agent::core::TouchKind;
use fridge_agent::disk::{Disk, Folder};
use fridge_agent::hardware::TechnicianNote;
use fridge_agent::{Limits, Seen};
use support::customer::{WHOLE, buy, heard_whole, step};
use support::{MEAL, World};

/// A disk that halts at its n-th writing, before or after it, until the test lets go: the moment of a power cut.
struct Halting {
    folder: Folder,
    left: AtomicUsize,
    after: bool,
    halted: tokio::sync::mpsc::UnboundedSender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Disk for Halting {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.folder.read(name)
    }
    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return self.folder.append(name, at, bytes);
        }
        if self.after {
            self.folder.append(name, at, bytes)?;
        }
        let _ = self.halted.send(());
        let _ = self.go_on.lock().unwrap().recv();
        Err(ErrorKind::Other.into())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
    fn put_aside(&self, name: &str, as_name: &str) -> io::Result<()> {
        self.folder.put_aside(name, as_name)
    }
}

/// Buys two meals with the power cut around the n-th writing, and goes on after a restart as far as the customer can;
/// what the service then heard.
async fn cut_at_writing(number: usize, after: bool) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let (halted, mut halts) = tokio::sync::mpsc::unbounded_channel();
    let (let_go, go_on) = std::sync::mpsc::channel();
    let disk = Halting {
        folder: Folder::open(folder.path()).unwrap(),
        left: AtomicUsize::new(number),
        after,
        halted,
        go_on: std::sync::Mutex::new(go_on),
    };
    let mut world = World::on(Arc::new(disk), folder, Limits::default()).await;
    let mut session = None;
    for at in 0..number - 1 {
        step(&world, &mut session, at).await;
    }
    match number {
        1 => session = Some(world.swipe().await),
        2 => assert!(world.controls.open_door().await),
        3 | 4 => world.controls.touch(TouchKind::Taken, MEAL).await,
        _ => assert!(world.controls.close_door().await),
    }
    halts.recv().await.unwrap();
    let session = session.unwrap();
    let heard = world.fake.with(|state| state.bodies(&session).len());
    assert_eq!(heard, number - 1, "nothing is said before it is written");
    world.kill();
    let_go.send(()).unwrap();
    let streams = world.fake.with(|state| state.streams);
    world.disk = Arc::new(Folder::open(world.folder.path()).unwrap());
    world.start();
    if number == 1 && !after {
        // Nothing was written, nothing was said: the fridge is as new.
        assert_eq!(buy(&world).await.1, "charged");
        return world.fake.with(|state| state.bodies(&session));
    }
    // Its new stream shows that the agent is there again and has looked at its door.
    world.fake.until(|state| state.streams > streams).await;
    // The customer of the first writing was never let in.
    let first_step = if number == 1 { 5 } else { number };
    for at in first_step..5 {
        match at {
            2 | 3 => world.controls.touch(TouchKind::Taken, MEAL).await,
            _ => assert!(world.controls.close_door().await),
        }
    }
    world.see_receipt(session).await;
    assert!(world.files().is_empty());
    world.fake.with(|state| state.bodies(&session))
}

#[tokio::test]
async fn the_power_may_go_before_or_after_any_writing() {
    // A touch that was not written when the power went is the one thing that a fridge cannot know.
    let one_touch = ["open", "opened", "touch", "closed"];
    assert_eq!(cut_at_writing(1, false).await, <[&str; 0]>::default());
    assert_eq!(cut_at_writing(1, true).await, ["open", "stayed_shut"]);
    assert_eq!(cut_at_writing(2, false).await, WHOLE);
    assert_eq!(cut_at_writing(2, true).await, WHOLE);
    assert_eq!(cut_at_writing(3, false).await, one_touch);
    assert_eq!(cut_at_writing(3, true).await, WHOLE);
    assert_eq!(cut_at_writing(4, false).await, one_touch);
    assert_eq!(cut_at_writing(4, true).await, WHOLE);
    assert_eq!(cut_at_writing(5, false).await, WHOLE);
    assert_eq!(cut_at_writing(5, true).await, WHOLE);
}

/// A disk that can be filled.
struct Filling {
    folder: Folder,
    full: AtomicBool,
    refused: AtomicUsize,
}

impl Disk for Filling {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.folder.read(name)
    }
    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(ErrorKind::StorageFull.into());
        }
        self.folder.append(name, at, bytes)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
    fn put_aside(&self, name: &str, as_name: &str) -> io::Result<()> {
        self.folder.put_aside(name, as_name)
    }
}

async fn filling(limits: Limits) -> (World, Arc<Filling>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Filling {
        folder: Folder::open(folder.path()).unwrap(),
        full: AtomicBool::new(false),
        refused: AtomicUsize::new(0),
    });
    (World::on(Arc::clone(&disk) as Arc<dyn Disk>, folder, limits).await, disk)
}

#[tokio::test]
async fn a_full_disk_refuses_the_customer_before_anything_is_sent() {
    let (world, disk) = filling(Limits::default()).await;
    disk.full.store(true, Ordering::SeqCst);
    let session = world.swipe().await;
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::JournalFull));
    let Seen::Refused { session: of, reason } = world.seen().await else { panic!("not refused") };
    assert_eq!((of, reason.as_str()), (session, "fridge_out_of_service"));
    let again = world.swipe().await;
    let seen = world.seen().await;
    assert!(
        matches!(seen, Seen::Refused { session, .. } if session == again),
        "the technician knows already: {seen:?}"
    );
    assert_eq!(world.fake.with(|state| (state.streams, state.told.len())), (0, 0));
    disk.full.store(false, Ordering::SeqCst);
    let session = world.swipe().await;
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::JournalWell));
    world.see_unlocked().await;
    assert!(world.controls.open_door().await);
    world.controls.close_door().await;
    assert_eq!(world.see_receipt(session).await, "charged");
}

#[tokio::test]
async fn a_disk_that_fills_during_a_purchase_stops_nothing_and_is_written_when_there_is_room() {
    let (mut world, disk) = filling(Limits { disk_retry_ms: 20, ..Limits::default() }).await;
    let mut session = None;
    for at in 0..=1 {
        step(&world, &mut session, at).await;
    }
    disk.full.store(true, Ordering::SeqCst);
    for at in 2..=3 {
        step(&world, &mut session, at).await;
    }
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::JournalFull));
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::JournalWell));
    // What was only in memory is on the disk now: a restart knows it.
    world.kill();
    world.start();
    step(&world, &mut session, 4).await;
    let session = session.unwrap();
    assert_eq!(world.see_receipt(session).await, "charged");
    heard_whole(&world, &session);
    assert!(disk.refused.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_damaged_journal_is_put_aside_and_the_fridge_sells_on() {
    let mut world = World::new().await;
    let mut session = None;
    for at in 0..=1 {
        step(&world, &mut session, at).await;
    }
    world.kill();
    let name = format!("session-{}", session.unwrap());
    let mut bytes = world.disk.read(&name).unwrap();
    bytes[20] ^= 1;
    world.disk.append(&name, 0, &bytes).unwrap();
    world.controls.close_door().await;
    world.start();
    assert_eq!(world.seen().await, Seen::Technician(TechnicianNote::JournalCorrupt));
    assert_eq!(world.files(), [format!("{name}.corrupt")]);
    buy_after_damage(&world).await;
}

async fn buy_after_damage(world: &World) {
    let session = world.swipe().await;
    world.see_unlocked().await;
    assert!(world.controls.open_door().await);
    world.controls.close_door().await;
    assert_eq!(world.see_receipt(session).await, "charged");
}
