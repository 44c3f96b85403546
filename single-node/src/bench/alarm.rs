//! `alarm`: from the touch of somebody else's meal to the alarm, with two hundred sessions open, beside a bare gRPC echo
//! over the same TLS with as many streams open and the same touches at the same pace.

use std::time::Duration;

use fridge_agent::proto::{self, service_message, touch};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::figure::{Bound, Figure, rounded};
use super::fridges::{self, Client};
use super::ground::Ground;
use super::session::{Line, Purchase, touched};
use super::statistics::{median, percentile};
use super::{Progress, world};
use crate::Fault;

/// Rounds; in each, both sides are measured.
const ROUNDS: usize = 15;
/// How long a side is measured in a round.
const ROUND: Duration = Duration::from_secs(2);
/// How long both sides are warmed up.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often each fridge's meal is touched: taken, returned, taken …
const TOUCH_EVERY: Duration = Duration::from_secs(1);
/// How long an alarm may take before the measurement is given up.
const ALARM_WITHIN: Duration = Duration::from_secs(30);
/// The first purchases of every fridge are the probe's and this one's.
pub(super) const PURCHASES: usize = 2;

/// Measures.
///
/// # Errors
/// [`Fault`] when an alarm does not come.
pub(super) async fn measure(ground: &mut Ground, progress: &Progress) -> Result<Figure, Fault> {
    progress.say(&format!("alarm: {} sessions are opened", world::FRIDGES));
    let mut ours = open(ground, &ground.ours).await?;
    let mut bare = open(ground, &ground.bare).await?;
    let (mut alarms, mut echoes) = (Vec::new(), Vec::new());
    (ours, _) = touch_all(ours, WARM_UP).await?;
    (bare, _) = touch_all(bare, WARM_UP).await?;
    for round in 1..=ROUNDS {
        progress.say(&format!("alarm: round {round} of {ROUNDS}"));
        let times;
        (ours, times) = touch_all(ours, ROUND).await?;
        alarms.push(times);
        let times;
        (bare, times) = touch_all(bare, ROUND).await?;
        echoes.push(times);
    }
    for line in ours.into_iter().chain(bare) {
        line.close().await?;
    }
    ground.settled().await?;
    ground.quiet().await?;
    Ok(figure(&alarms, &echoes))
}

fn figure(alarms: &[Vec<f64>], echoes: &[Vec<f64>]) -> Figure {
    let over_rounds = |rounds: &[Vec<f64>], percent| {
        let each: Vec<f64> = rounds.iter().map(|times| percentile(times, percent)).collect();
        median(&each)
    };
    let samples: usize = alarms.iter().map(Vec::len).sum();
    let (alarm_p50, echo_p50) = (over_rounds(alarms, 50.0), over_rounds(echoes, 50.0));
    let details = json!({
        "sessions_open": world::FRIDGES, "alarms": samples,
        "ours_p50_ms": rounded(alarm_p50), "limit_p50_ms": rounded(echo_p50),
    });
    Figure {
        name: "alarm",
        ours: over_rounds(alarms, 99.0),
        limit: over_rounds(echoes, 99.0),
        unit: "ms (p99)",
        bound: Bound::AtMost(2.0),
        details: details.as_object().cloned().unwrap_or_default(),
        notes: vec![
            format!("touch to alarm at the fridge, {} sessions open, {samples} alarms", world::FRIDGES),
            "limit: a bare gRPC echo over the same TLS, as many streams open, the same touches at the same pace"
                .to_owned(),
            format!("p50: {alarm_p50:.2} ms, of the echo {echo_p50:.2} ms; both p99 are medians over {ROUNDS} rounds"),
        ],
    }
}

/// A session at each fridge, with a card that is sealed to the real key.
async fn open(ground: &Ground, clients: &[Client]) -> Result<Vec<Line>, Fault> {
    let first = ground.ours.first().ok_or_else(|| Fault::new("there is no fridge".to_owned()))?;
    let key = fridges::sealing_key(first).await?;
    let mut lines = Vec::with_capacity(clients.len());
    for (fridge, client) in ground.fridges.iter().zip(clients) {
        let purchase = Purchase::seal(fridge, 1, &key)?;
        let (mut line, _) = Line::open(client, purchase.session, purchase.shown).await?;
        line.tell(proto::fridge_message::Body::DoorOpened(proto::DoorOpened {})).await?;
        lines.push(line);
    }
    Ok(lines)
}

/// Touches a meal of somebody else in every fridge again and again, for so long; milliseconds to each alarm.
async fn touch_all(lines: Vec<Line>, duration: Duration) -> Result<(Vec<Line>, Vec<f64>), Fault> {
    let began = Instant::now();
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let mut touching = JoinSet::new();
    for (at, line) in (0_u32..).zip(lines) {
        // Spread evenly over the pace.
        let first = began + TOUCH_EVERY * at / count.max(1);
        touching.spawn(async move { (at, touch_one(line, at, first, began + duration).await) });
    }
    let (mut back, mut times) = (Vec::new(), Vec::new());
    while let Some(touched) = touching.join_next().await {
        let (at, outcome) = touched.map_err(Fault::of("a fridge's task"))?;
        let (line, measured) = outcome?;
        back.push((at, line));
        times.extend(measured);
    }
    back.sort_by_key(|(at, _)| *at);
    Ok((back.into_iter().map(|(_, line)| line).collect(), times))
}

async fn touch_one(mut line: Line, fridge: u32, first: Instant, until: Instant) -> Result<(Line, Vec<f64>), Fault> {
    let barcode = world::owned_meal(usize::try_from(fridge).unwrap_or(0));
    let mut times = Vec::new();
    let mut next = first;
    while next < until {
        sleep_until(next).await;
        times.push(answered(&mut line, touch::Kind::Taken, &barcode).await?.as_secs_f64() * 1_000.0);
        sleep_until(next + TOUCH_EVERY / 2).await;
        answered(&mut line, touch::Kind::Returned, &barcode).await?;
        next += TOUCH_EVERY;
    }
    Ok((line, times))
}

/// Touches, and waits for the alarm or its end.
async fn answered(line: &mut Line, kind: touch::Kind, barcode: &str) -> Result<Duration, Fault> {
    let touch = touched(kind, barcode);
    let began = Instant::now();
    line.say(touch).await?;
    let wanted = |body: &Option<service_message::Body>| match kind {
        touch::Kind::Taken => matches!(body, Some(service_message::Body::Alarm(_))),
        _ => matches!(body, Some(service_message::Body::AlarmCleared(_))),
    };
    let late = |_| Fault::new(format!("no alarm came within {ALARM_WITHIN:?}"));
    tokio::time::timeout(ALARM_WITHIN, line.until(wanted)).await.map_err(late)??;
    Ok(began.elapsed())
}
