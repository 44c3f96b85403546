//! A gateway that follows the authority: what it does with answers that are right, wrong, old or missing; and how long a
//! conversation may last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_mtls::{End, Follower, Lists, LiveConnection, Peer, ReloadingServer};
use pki::{FRIDGE, Issuer, Pki, SESSION, domain, id};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

/// A moment in 2026, seconds since the Unix epoch.
pub(crate) const NOW_S: i64 = 1_790_000_000;
/// How the device intermediate's name is written.
const DEVICE: &str = "CN=root device";
const SIX_HOURS_S: i64 = 6 * 3_600;

fn now_s() -> i64 {
    NOW_S
}

/// The text of a list that revokes certificates 1 to `count`.
pub(crate) fn text(issuer: &Issuer, number: u64, count: u8) -> Vec<u8> {
    list(issuer, number, count, SIX_HOURS_S)
}

/// The text of a list that revokes nothing and is good for longer.
pub(crate) fn later(issuer: &Issuer, number: u64) -> Vec<u8> {
    list(issuer, number, 0, 2 * SIX_HOURS_S)
}

fn list(issuer: &Issuer, number: u64, count: u8, life_s: i64) -> Vec<u8> {
    let time = |unix_s| time::OffsetDateTime::from_unix_timestamp(unix_s).unwrap();
    let entry = |serial: u8| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[serial]),
        revocation_time: time(NOW_S),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: time(NOW_S),
        next_update: time(NOW_S + life_s),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: (1..=count).map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    format!("{}{}", issuer.pem(), list.signed_by(issuer).unwrap().pem().unwrap()).into_bytes()
}

struct House {
    pki: Pki,
    server: Arc<ReloadingServer>,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let (pki, dir) = (Pki::new("root"), tempfile::tempdir().unwrap());
        let files = pki.leaf(SESSION).write(dir.path(), &pki.bundle_pem());
        let server = Arc::new(ReloadingServer::new(files, &domain(), &[b"h2"]).unwrap());
        Self { pki, server, dir }
    }

    fn kept(&self) -> PathBuf {
        self.dir.path().join("lists.pem")
    }

    fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.server), self.kept(), now_s)
    }

    /// A connection of a fridge that shows the certificate of this serial number.
    fn live(&self, serial: &str, not_after: i64) -> LiveConnection {
        let peer = Peer { id: id(FRIDGE), serial: serial.into(), issuer: DEVICE.into(), not_after };
        self.server.revocations().enter(Arc::new(peer)).unwrap()
    }

    fn is_revoked(&self, serial: &str) -> bool {
        self.server.revocations().check(DEVICE, serial).is_err()
    }
}

type Script = VecDeque<Result<Lists, String>>;

/// Has the follower hear these answers, and gives the tags it asked with, the one after the last answer included.
async fn hears(follower: &Follower, answers: impl IntoIterator<Item = Result<Lists, String>>) -> Vec<String> {
    let (script, asked) = (Mutex::new(Script::from_iter(answers)), Mutex::new(Vec::new()));
    let (over, done) = tokio::sync::oneshot::channel::<()>();
    let over = Mutex::new(Some(over));
    let ask = |tag: String| {
        asked.lock().unwrap().push(tag);
        let answer = script.lock().unwrap().pop_front();
        if answer.is_none() {
            drop(over.lock().unwrap().take());
        }
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = follower.run(ask) => {}
        _ = done => {}
    }
    asked.into_inner().unwrap()
}

fn new(tag: &str, pem: Vec<u8>) -> Result<Lists, String> {
    Ok(Lists::New { tag: tag.into(), pem })
}

#[tokio::test(start_paused = true)]
async fn lists_come_into_force_one_after_the_other() {
    let house = House::new();
    let follower = house.follower();
    assert!(!follower.knows());
    let one = new("a", text(&house.pki.device, 1, 1));
    let two = new("b", text(&house.pki.device, 2, 2));
    let asked = hears(&follower, [one, Ok(Lists::Unchanged), two]).await;
    assert_eq!(asked, ["", "a", "a", "b"]);
    assert_eq!(["01", "02", "03"].map(|serial| house.is_revoked(serial)), [true, true, false]);
    assert_eq!((follower.knows(), follower.horizon_s()), (true, Some(NOW_S + SIX_HOURS_S)));
    assert_eq!(follower.failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_believed_changes_nothing_and_is_counted() {
    let (house, stranger) = (House::new(), Pki::new("root"));
    let follower = house.follower();
    let right = text(&house.pki.device, 7, 1);
    let asked = hears(
        &follower,
        [
            new("a", right.clone()),
            Err("the authority does not answer".into()),
            new("b", text(&stranger.device, 8, 2)),
            new("c", text(&house.pki.device, 6, 2)),
            new("d", b"rubbish".to_vec()),
        ],
    )
    .await;
    assert_eq!(asked, ["", "a", "a", "a", "a", "a"]);
    assert_eq!(["01", "02"].map(|serial| house.is_revoked(serial)), [true, false]);
    assert_eq!(follower.failures(), 4);
    drop(follower);
    assert_eq!(std::fs::read(house.kept()).unwrap(), right, "the next run begins with what was believed");
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_what_the_run_before_knew() {
    let house = House::new();
    hears(&house.follower(), [new("a", text(&house.pki.device, 1, 1))]).await;
    let again = House { pki: Pki::new("root"), ..House::new() };
    std::fs::copy(house.kept(), again.kept()).unwrap();
    let stranger = again.follower();
    assert!(!stranger.knows(), "lists of another authority are not believed");
    let files = house.pki.leaf(SESSION).write(house.dir.path(), &house.pki.bundle_pem());
    let server = Arc::new(ReloadingServer::new(files, &domain(), &[b"h2"]).unwrap());
    let house = House { server, ..house };
    assert!(!house.is_revoked("01"));
    assert!(house.follower().knows());
    assert!(house.is_revoked("01"));
}

/// How a conversation that never ends by itself ends; and whether it was told to finish.
async fn ends(live: &LiveConnection, stop: impl Future<Output = ()>) -> (End<&'static str>, bool) {
    let (told, finished) = (Mutex::new(false), tokio::sync::Notify::new());
    let talk = async {
        finished.notified().await;
        "finished"
    };
    let finish = |_: std::pin::Pin<&mut _>| {
        *told.lock().unwrap() = true;
        finished.notify_one();
    };
    let end = live.keep(pin!(talk), stop, finish, NOW_S).await;
    (end, told.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_conversation_ends_with_its_certificate_its_revocation_its_age_or_the_service() {
    let house = House::new();
    let never = std::future::pending::<()>;
    let begun = tokio::time::Instant::now();
    assert_eq!(ends(&house.live("01", NOW_S + 60), never()).await, (End::Expired, false));
    assert_eq!(begun.elapsed().as_secs(), 61, "through its last second");
    assert_eq!(ends(&house.live("01", NOW_S - 1), never()).await.0, End::Expired);

    let begun = tokio::time::Instant::now();
    assert_eq!(ends(&house.live("01", i64::MAX), never()).await, (End::Finished("finished"), true));
    assert_eq!(begun.elapsed().as_secs(), 15 * 60, "old");

    let stop = tokio::time::sleep(Duration::from_secs(5));
    assert_eq!(ends(&house.live("01", i64::MAX), stop).await, (End::Finished("finished"), true));
    assert_eq!(begun.elapsed().as_secs(), 15 * 60 + 5);

    let (live, follower) = (house.live("01", i64::MAX), house.follower());
    let (end, _) = tokio::join!(ends(&live, never()), hears(&follower, [new("a", text(&house.pki.device, 1, 1))]));
    assert_eq!(end, (End::Revoked, false), "at once, whatever is under way");

    let done = live.keep(pin!(async { 7 }), never(), |_| panic!("nothing to finish"), NOW_S).await;
    assert_eq!(done, End::Finished(7));
}

#[tokio::test(start_paused = true)]
async fn the_list_of_a_retired_authority_is_not_waited_for_and_still_revokes() {
    let house = House::new();
    let follower = house.follower();
    let next = house.pki.intermediate("root device 2", &[pki::CLIENT], (2020, 2090));
    let both = [text(&house.pki.device, 1, 1), later(&next, 1)].concat();
    hears(&follower, [new("a", both)]).await;
    assert_eq!(follower.horizon_s(), Some(NOW_S + SIX_HOURS_S), "the earlier of the two");
    hears(&follower, [new("b", later(&next, 2))]).await;
    assert_eq!(follower.horizon_s(), Some(NOW_S + 2 * SIX_HOURS_S));
    assert!(house.is_revoked("01"));
    hears(&follower, [new("c", [text(&house.pki.device, 1, 1), later(&next, 2)].concat())]).await;
    assert_eq!(follower.horizon_s(), Some(NOW_S + SIX_HOURS_S), "it came back");
}
