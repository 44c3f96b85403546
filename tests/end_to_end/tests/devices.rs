//! What the house stands on fails and comes back: the HSM's token, the disks. The door stays shut rather than open on a
//! promise nobody can keep; what was promised is kept once the device is back; nobody starts anything anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fridge_agent::hardware::TechnicianNote;
use fridge_agent::{Agent, Limits, Seen, SimulatedFridge};
use rustix::process::Signal;
use single_node::agents;
use single_node::stack::PURCHASE;
use support::fridge::Fridge;
use support::house::{can_mount, eventually, in_house, in_house_with_mounts};
use support::stage::{FRIDGES, RECYCLE_AFTER, Stage};
use support::visit::{STEPS, Step, act, walk};
use support::world::{Card, EXPIRED_SINCE, Kind, OpenWith, Session};
use zeroize::Zeroizing;

#[test]
fn the_hsm_goes_and_comes_back() {
    in_house(async |layout| {
        let mut stage = Stage::set(layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        hsm_goes_and_comes_back(&mut stage).await;
        stage.the_books_agree().await;
    });
}

/// Needs the right to mount: where that is missing, as in most containers, nothing is tried, and said so.
#[test]
fn disks_fill_up_and_have_room_again() {
    if !can_mount() {
        eprintln!("not tried: nobody here may mount a small disk");
        return;
    }
    in_house_with_mounts(async |layout| {
        let mut stage = Stage::set(layout, |folder| mount(folder, "32m")).await;
        fridges_disk_is_full(&mut stage).await;
        services_disk_is_full(&mut stage).await;
        stage.the_books_agree().await;
    });
}

async fn hsm_goes_and_comes_back(stage: &mut Stage) {
    let (fridge, [first, mut during, mut after], _) = stage.fridge();
    let (pid, tokens) = (stage.pid(), stage.house.stack.layout().tokens("pci"));
    let aside = tokens.with_extension("aside");
    std::fs::rename(&tokens, &aside).unwrap();
    open_cards(stage, RECYCLE_AFTER).await;
    eventually("it is told that the HSM is gone", async || {
        (stage.house.healthy(PURCHASE).await == Some(false)).then_some(())
    })
    .await;
    assert_eq!(fridge.play(&first).await, Err("payment_unavailable".to_owned()));
    assert!(fridge.controls.is_locked());
    stage.refused(&first, "payment_unavailable");
    // Who shows an ID token pays with a card that the processor keeps: nothing is to be opened.
    during.open_with = OpenWith::IdToken(stage.customer.id_token.clone());
    assert_eq!(fridge.play(&during).await, Ok(("charged".to_owned(), 890)));
    stage.played(&during);

    std::fs::rename(&aside, &tokens).unwrap();
    stage.house.works(PURCHASE).await;
    // The same keys make the same token, so his card is known as his.
    after.open_with = OpenWith::Card(stage.customer.wallet_card.clone().unwrap());
    assert_eq!(fridge.play(&after).await, Ok(("charged".to_owned(), 890)));
    assert!(stage.played(&after).customer.is_some());
    assert_eq!(stage.pid(), pid, "nobody started it anew");
    fridge.shut_down().await;
}

/// Has the HSM open so many cards, none of which is good for anything.
async fn open_cards(stage: &Stage, count: usize) {
    let reader = agents::config(&stage.house.stack, &stage.large[FRIDGES - 1].fridge).unwrap();
    let agent = Arc::new(Agent::start(reader, SimulatedFridge::new().0).unwrap());
    let track2 = format!("{}={}", Card::test(1).pan, EXPIRED_SINCE);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (agent, track2, id_token) = (Arc::clone(&agent), track2.clone(), stage.customer.id_token.clone());
            tokio::spawn(async move {
                for _ in 0..count.div_ceil(8) {
                    let track2 = Zeroizing::new(track2.clone().into_bytes());
                    let _ = agent.enroll_card(track2, &id_token).await;
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn fridges_disk_is_full(stage: &mut Stage) {
    let number = stage.next;
    let journal = stage.house.stack.layout().journal(&stage.large[number].fridge);
    mount(&journal, "64k");
    let (fridge, [first, second, third], _) = stage.fridge();
    let full = |seen: &Seen| matches!(seen, Seen::Technician(TechnicianNote::JournalFull));
    let well = |seen: &Seen| matches!(seen, Seen::Technician(TechnicianNote::JournalWell));

    let filler = fill(&journal);
    fridge.show(&first).await;
    fridge.see("a note that the disk is full", full).await;
    assert_eq!(fridge.answer(&first).await, Err("fridge_out_of_service".to_owned()));
    assert!(fridge.controls.is_locked());
    std::fs::remove_file(&filler).unwrap();
    assert!(fridge.play(&second).await.is_ok());
    assert!(fridge.seen().iter().any(well), "a note that it is well again");
    stage.played(&second);

    // It fills up while somebody shops: he is not kept, and what he did is written down when there is room.
    walk(&fridge, &third, &[Step::Show, Step::OpenDoor]).await;
    let filler = fill(&journal);
    let journaled = fridge.journaled(&third.session);
    act(&fridge, &third, Step::Touch(0)).await;
    // The last block of the file has room for some more.
    for _ in 0..30 {
        fridge.touch(Kind::Returned, &third.touches[0].barcode).await;
        fridge.touch(Kind::Taken, &third.touches[0].barcode).await;
    }
    fridge.see("a note that the disk is full", full).await;
    std::fs::remove_file(&filler).unwrap();
    fridge.see("a note that it is well again", well).await;
    fridge.journals_beyond(&third.session, journaled).await;
    walk(&fridge, &third, &[Step::CloseDoor]).await;
    stage.played(&third);
    assert!(stage.house.stack.control().intents_of(&first.session).await.unwrap().is_empty(), "nobody was asked");
    fridge.shut_down().await;
}

async fn services_disk_is_full(stage: &mut Stage) {
    let (fridge, [_, next, _], large) = stage.fridge();
    let (_, [turned_away, ..], _) = stage.fridge();
    // A write-ahead log that begins anew must grow with the next write; an old one has room for some.
    let before = stage.house.signal(PURCHASE, Signal::TERM);
    stage.house.reborn(PURCHASE, before).await;
    stage.house.works(PURCHASE).await;
    let mut config = agents::config(&stage.house.stack, &turned_away.fridge).unwrap();
    config.limits = Limits { answer_within_ms: 1_500, unreachable_after_ms: 1_500, ..Limits::default() };
    let journal = stage.house.stack.layout().journal(&turned_away.fridge);
    let other = Fridge::with(config, &turned_away.fridge, journal);

    walk(&fridge, &large, &STEPS[..4]).await;
    let pid = stage.pid();
    let filler = fill(&stage.disk);
    // An alarm does not wait for the disk; what is not safe is not called so.
    walk(&fridge, &large, &STEPS[4..8]).await;
    act(&fridge, &large, Step::CloseDoor).await;
    other.show(&turned_away).await;
    assert_eq!(other.answer(&turned_away).await, Err("payment_unavailable".to_owned()));
    assert!(other.controls.is_locked());
    assert_eq!(stage.settlement(&large).await, None, "nobody is told of what is not written");
    assert_eq!(stage.payments(&large).await, [("requires_capture".to_owned(), 0)], "and nothing is charged");

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(fridge.receipt(&large).await.0, "charged");
    stage.played(&large);
    let no_purchase = Session { touches: Vec::new(), ..turned_away };
    assert_eq!(other.receipt(&no_purchase).await.0, "no_purchase");
    stage.played(&no_purchase);
    assert!(fridge.play(&next).await.is_ok());
    stage.played(&next);
    assert_eq!(stage.pid(), pid, "nobody started it anew");
    fridge.shut_down().await;
    other.shut_down().await;
}

/// Mounts a small disk on a folder.
fn mount(folder: &Path, size: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let options = format!("size={size},mode=700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder).status().unwrap();
    assert!(mounted.success(), "a small disk on {}", folder.display());
}

/// Fills a disk to the last byte; what to remove to make room.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for block in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
    path
}
