//! What a party says to its log when whom it follows is away, or what it was given cannot be used: an alarm when it begins,
//! again after a quarter of an hour, and that it is over. A failure is an alarm that nobody sees, or one each second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{BundleFollower, Follower, Lists, NextBundle, ReloadingServer, Watched};
use tokio::time::{Instant, sleep, timeout};

use crate::follow::{NOW_S, later, text};
use crate::log::Log;
use crate::pki::{Pki, SESSION, domain, replace};

/// How long the authority keeps a question.
const WAIT: Duration = Duration::from_secs(25);
const QUARTER_S: u64 = 15 * 60;
const HOUR_S: u64 = 60 * 60;

thread_local! {
    /// When this test's house was built.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Seconds since the house was built, as tokio's clock goes.
fn since_s() -> u64 {
    BEGUN.get().unwrap().elapsed().as_secs()
}

fn now_s() -> i64 {
    NOW_S + i64::try_from(since_s()).unwrap()
}

struct House {
    pki: Pki,
    server: Arc<ReloadingServer>,
    watched: Watched,
    dir: tempfile::TempDir,
    log: Log,
    _kept: tracing::subscriber::DefaultGuard,
}

impl House {
    fn new() -> Self {
        let (log, kept) = Log::keep();
        BEGUN.set(Some(Instant::now()));
        let (pki, dir) = (Pki::new("root"), tempfile::tempdir().unwrap());
        let files = pki.leaf(SESSION).write(dir.path(), &pki.bundle_pem());
        let watched = files.watched();
        let server = Arc::new(ReloadingServer::new(files, &domain(), &[b"h2"]).unwrap());
        Self { pki, server, watched, dir, log, _kept: kept }
    }

    /// Follows the bundle for some hours, with an authority that is away meanwhile.
    async fn follow_bundle(&self, hours: u64, away_s: Range<u64>) {
        let reloaded = Arc::clone(&self.server);
        let reload = move || reloaded.reload().map(drop);
        let follower = BundleFollower::new(self.dir.path().join("bundle.pem"), domain(), reload, now_s).unwrap();
        let asked = |_| {
            let is_away = away_s.contains(&since_s());
            async move {
                sleep(if is_away { Duration::ZERO } else { WAIT }).await;
                if is_away { Err("no route") } else { Ok(NextBundle::Unchanged) }
            }
        };
        assert!(timeout(Duration::from_secs(hours * HOUR_S), follower.run(asked)).await.is_err(), "it never ends");
    }

    /// Follows the lists for some hours. The authority has these, each from this second on, and then no more; `deaf` is what
    /// it answers when it has nothing new.
    async fn follow_lists(&self, hours: u64, lists: Vec<(u64, Vec<u8>)>, deaf: Result<Lists, String>) {
        let follower = Follower::new(Arc::clone(&self.server), self.dir.path().join("lists.pem"), now_s);
        let lists = RefCell::new(VecDeque::from(lists));
        let asked = |_| {
            let next = lists.borrow_mut().pop_front_if(|(from_s, _)| *from_s <= since_s());
            let answer = next.map(|(from_s, pem)| Ok(Lists::New { tag: from_s.to_string(), pem }));
            let deaf = deaf.clone();
            async move {
                sleep(WAIT).await;
                answer.unwrap_or(deaf)
            }
        };
        assert!(timeout(Duration::from_secs(hours * HOUR_S), follower.run(asked)).await.is_err(), "it never ends");
    }
}

/// Whether these moments are the expected ones, or later by less than two questions.
fn are_about(found: &[(u64, bool)], expected: &[(u64, bool)]) {
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    for ((at_s, alarm), (from_s, expected)) in found.iter().zip(expected) {
        assert_eq!(alarm, expected, "{found:?}");
        assert!((*from_s..=from_s + 60).contains(at_s), "{at_s} s and not {from_s} s: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_not_heard_for_an_hour_is_an_alarm_until_it_is_heard() {
    let house = House::new();
    house.follow_bundle(4, 0..6_000).await;
    let expected = [(HOUR_S, true), (HOUR_S + QUARTER_S, true), (HOUR_S + 2 * QUARTER_S, true), (6_000, false)];
    are_about(&house.log.alarms(), &expected);
    let alarm = house.log.first_alarm();
    assert!(alarm.words.contains("the trust bundle may be old"), "{alarm:?}");
    assert_eq!(alarm.error.as_deref(), Some("no route"));
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_away_for_less_than_an_hour_wakes_nobody() {
    let house = House::new();
    house.follow_bundle(4, 600..HOUR_S + 540).await;
    assert_eq!(house.log.alarms(), []);
    assert!(house.log.lines().iter().any(|line| line.level == tracing::Level::WARN), "and is said all the same");
}

#[tokio::test(start_paused = true)]
async fn lists_that_come_near_their_end_are_an_alarm_whether_the_authority_answers_or_not() {
    for deaf in [Err("no route".to_owned()), Ok(Lists::Unchanged)] {
        let house = House::new();
        let (first, next) = (text(&house.pki.device, 1, 1), later(&house.pki.device, 2));
        let lists = vec![(0, first), (3 * HOUR_S + 1_000, next)];
        house.follow_lists(5, lists, deaf.clone()).await;
        // The first is good for six hours, the next until twelve.
        let expected = [(3 * HOUR_S, true), (3 * HOUR_S + QUARTER_S, true), (3 * HOUR_S + 1_000, false)];
        are_about(&house.log.alarms(), &expected);
        let alarm = house.log.first_alarm();
        assert!(alarm.words.contains("they grow old"), "{alarm:?}");
        assert_eq!(alarm.error, deaf.err());
    }
}

#[tokio::test(start_paused = true)]
async fn no_lists_at_all_are_an_alarm_at_once() {
    let house = House::new();
    house.follow_lists(1, vec![(500, text(&house.pki.device, 1, 1))], Err("no route".to_owned())).await;
    are_about(&house.log.alarms(), &[(0, true), (500, false)]);
}

#[tokio::test(start_paused = true)]
async fn replaced_files_that_are_not_usable_are_an_alarm_until_they_are() {
    let house = House::new();
    let certificate = house.dir.path().join("cert.pem");
    let good = fs::read_to_string(&certificate).unwrap();
    let keeping = house.watched.clone().keep_fresh(|| house.server.reload().map(drop));
    let replacing = async {
        sleep(Duration::from_millis(100_500)).await;
        // Whoever replaces them fails again and again: that is one alarm, and not one each second.
        for tries in 1..=QUARTER_S + 100 {
            replace(&certificate, &"x".repeat(usize::try_from(tries).unwrap()), 0o644);
            sleep(Duration::from_secs(1)).await;
        }
        replace(&certificate, &good, 0o644);
        sleep(Duration::from_secs(3_600)).await;
    };
    tokio::select! {
        () = keeping => unreachable!("it never ends"),
        () = replacing => {}
    }
    let expected = [(100, true), (100 + QUARTER_S, true), (200 + QUARTER_S, false)];
    are_about(&house.log.alarms(), &expected);
    let alarm = house.log.first_alarm();
    assert!(alarm.words.contains("replaced files are not usable"), "{alarm:?}");
    assert!(alarm.error.is_some_and(|error| !error.is_empty()));
}
