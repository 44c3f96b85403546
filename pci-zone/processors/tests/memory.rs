//! After a card has been stored, its number is nowhere in the memory of this process: not in a buffer of hyper, rustls
//! or tokio, nor on a worker's stack. The processor runs in a process of its own, or its memory would be ours.
//!
//! The card numbers lie here disguised, so that the search cannot find its own list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, Stdio};

use common::*;
use pci_card::Pan;
use pci_processors::{ApiKey, AskError, IdempotencyKey, Processor, ProcessorConfig, StripeShaped, Verb};
use processor_sandbox::{Sandbox, SandboxConfig};
use zeroize::Zeroizing;

/// As the binaries of the zone.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const DISGUISE: u8 = 0x55;
const LENGTH: usize = 16;
const CARDS: [[u8; LENGTH]; 6] = [
    disguised(b"4242424242424242"),
    disguised(b"4111111111111111"),
    disguised(b"5555555555554444"),
    disguised(b"2223003122003222"),
    disguised(b"6011111111111117"),
    disguised(b"3530111333300000"),
];
const READY: &str = "PROCESSOR_SANDBOX_READY";

const fn disguised(digits: &[u8; LENGTH]) -> [u8; LENGTH] {
    let mut hidden = *digits;
    let mut n = 0;
    while n < LENGTH {
        hidden[n] ^= DISGUISE;
        n += 1;
    }
    hidden
}

fn digits(hidden: &[u8; LENGTH]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hidden.iter().map(|byte| byte ^ DISGUISE).collect())
}

/// The sandbox in a process of its own: this very program, told by its environment to serve.
struct Apart(Child);

impl Apart {
    fn start(ready: &std::path::Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_sandbox_serves_when_told_to"])
            .env(READY, ready)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_sandbox_serves_when_told_to() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    assert!(sandbox.base_url().starts_with("https://127.0.0.1:"));
    if let Some(ready) = std::env::var_os(READY) {
        sandbox.write_ready_file(ready.as_ref()).unwrap();
        std::future::pending::<()>().await;
    }
}

/// How often any of the cards occurs in memory that this process can write to.
fn found() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        if memory.read_exact(&mut bytes).is_err() {
            continue; // gone since, or not ours to read (vvar)
        }
        // disguise the copy first, so that it does not count
        bytes.iter_mut().for_each(|byte| *byte ^= DISGUISE);
        found += bytes.windows(LENGTH).filter(|window| CARDS.iter().any(|card| card == window)).count();
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_card_number_outlives_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let _apart = Apart::start(&ready);
    let said = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !ready.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        std::fs::read(&ready).unwrap()
    });
    let said: serde_json::Value = serde_json::from_slice(&said.await.unwrap()).unwrap();
    let root_pem = std::fs::read_to_string(said["root_pem"].as_str().unwrap()).unwrap();
    let key = || ApiKey::new(Zeroizing::new(said["api_key"].as_str().unwrap().to_owned()));
    let config = ProcessorConfig::new(said["base_url"].as_str().unwrap(), key(), root_pem);
    let processor = StripeShaped::new(config.clone()).unwrap();
    let in_vain = StripeShaped::new(ProcessorConfig { base_url: "https://127.0.0.1:1".to_owned(), ..config }).unwrap();

    let mut asks = tokio::task::JoinSet::new();
    for n in 0..600_u32 {
        let (processor, in_vain) = (processor.clone(), in_vain.clone());
        asks.spawn(async move {
            let card = || Pan::parse(&digits(&CARDS[usize::try_from(n).unwrap() % CARDS.len()])[..]).unwrap();
            let key = IdempotencyKey::new(session(n), Verb::StoreCard, 0);
            assert_eq!(in_vain.store_card(&key, card(), expiry()).await, Err(AskError::NotSent));
            processor.store_card(&key, card(), expiry()).await.unwrap();
        });
    }
    while let Some(ask) = asks.join_next().await {
        ask.unwrap();
    }
    assert_eq!(processor.health().answered, 600);
    assert_eq!(found(), 0, "card numbers left in memory, connections still open");

    let kept: Vec<_> = CARDS.iter().map(digits).collect();
    assert!(found() >= kept.len(), "the search finds what is there");
}
