//! What a fridge tells the status service of itself by its certificate: that it is there, once; and in quarantine why, again
//! and again, so that somebody comes who would not hear of it otherwise.
//!
//! Who it is, and whether it is in quarantine, the status service sees in the certificate; nothing here says it. A fridge
//! that is told no address tells nobody. What a fridge measures is not told here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ca_client::Web;
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{HeldClient, Identity, TrustBundle};
use serde_json::json;
use tokio::task::JoinSet;

/// How often a fridge in quarantine tells it again, and the longest wait after failures; seconds.
const BEAT_S: u64 = 15 * 60;
/// The wait after a first failure; it doubles with each.
const FIRST_S: u64 = 5;
/// The most reasons, and the most bytes of each, that the status service takes.
const MOST_REASONS: usize = 16;
const MOST_REASON_BYTES: usize = 256;

/// Tells the status service, for as long as this lives.
pub(crate) struct Reporter {
    address: Option<String>,
    fridge: SpiffeId,
    bundle: PathBuf,
    chance: fn() -> u64,
    telling: JoinSet<()>,
}

impl Reporter {
    /// Tells the status service at `address`, if there is one, of `fridge`, and trusts the roots in the file `bundle`.
    pub(crate) fn new(address: Option<String>, fridge: SpiffeId, bundle: PathBuf, chance: fn() -> u64) -> Self {
        Self { address, fridge, bundle, chance, telling: JoinSet::new() }
    }

    /// Tells from now on what the fridge is with this certificate, and nothing any more of the one before.
    pub(crate) fn tell(&mut self, identity: Identity, reasons: &[String]) {
        self.telling = JoinSet::new();
        let Some(address) = self.address.clone() else { return };
        let (fridge, bundle) = (self.fridge.clone(), self.bundle.clone());
        let path = format!("/fridges/{}/reports", fridge.role().name());
        let (body, again) = (body(reasons), !reasons.is_empty());
        let post = move || {
            let way = way(&address, &fridge, &identity, &bundle);
            let (path, body) = (path.clone(), body.clone());
            async move { post(&way?, &path, body).await }
        };
        self.telling.spawn(tell(post, again, self.chance));
    }
}

/// A way to the status service with the roots of the moment.
fn way(address: &str, fridge: &SpiffeId, identity: &Identity, bundle: &Path) -> Result<Web, String> {
    let bundle = TrustBundle::load(bundle).map_err(|why| why.to_string())?;
    let service = SpiffeId::service(fridge.trust_domain(), ServiceName::Status);
    let tls = HeldClient::new(identity, &bundle).config(&service, &[b"http/1.1"]);
    Ok(Web::new(address.to_owned(), tls.map_err(|why| why.to_string())?))
}

async fn post(web: &Web, path: &str, body: String) -> Result<(), String> {
    let answer = web.post_json(path, body).await.map_err(|why| why.to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}: {:.200}", String::from_utf8_lossy(answer.body()))),
    }
}

/// Posts until it was told once, or, if it is to be told `again`, for ever.
async fn tell<F>(post: impl Fn() -> F, again: bool, chance: fn() -> u64)
where
    F: Future<Output = Result<(), String>>,
{
    let mut failures = 0_u32;
    loop {
        match post().await {
            Ok(()) if !again => return,
            Ok(()) => failures = 0,
            Err(why) => {
                failures = failures.saturating_add(1);
                tracing::warn!(why, "the status service was not told what this fridge is");
            }
        }
        tokio::time::sleep(pause(failures, chance())).await;
    }
}

/// How long to wait after so many failures in a row: between half of the step and the whole of it, so that fridges which
/// got the same firmware do not come in one beat.
fn pause(failures: u32, chance: u64) -> Duration {
    let step_s = match failures.checked_sub(1) {
        Some(doubled) => FIRST_S.saturating_mul(1 << doubled.min(16)).min(BEAT_S),
        None => BEAT_S,
    };
    let half_ms = step_s.saturating_mul(500);
    Duration::from_millis(half_ms + chance % (half_ms + 1))
}

/// The report: in quarantine with as much of the reasons as the status service takes.
fn body(reasons: &[String]) -> String {
    if reasons.is_empty() {
        return json!({}).to_string();
    }
    let short = reasons.iter().filter_map(|reason| reason.get(..reason.floor_char_boundary(MOST_REASON_BYTES)));
    let reasons: Vec<&str> = short.filter(|reason| !reason.is_empty()).take(MOST_REASONS).collect();
    json!({ "reasons": reasons }).to_string()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// When it is told, seconds, by a status service that fails in the first `away_s` seconds.
    async fn told(again: bool, away_s: u64) -> Vec<u64> {
        let (begun, times) = (tokio::time::Instant::now(), RefCell::new(Vec::new()));
        let post = || {
            let now_s = begun.elapsed().as_secs();
            times.borrow_mut().push(now_s);
            async move { if now_s < away_s { Err("no route".to_owned()) } else { Ok(()) } }
        };
        let _ = tokio::time::timeout(2 * HOUR, tell(post, again, || u64::MAX)).await;
        times.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fridge_tells_that_it_is_there_once_and_in_quarantine_again_and_again() {
        assert_eq!(told(false, 0).await, [0]);
        let beats = told(true, 0).await;
        assert!((8..=16).contains(&beats.len()), "{beats:?}");
        assert!(beats.windows(2).all(|pair| (450..=900).contains(&(pair[1] - pair[0]))), "{beats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_service_that_is_away_is_asked_ever_more_seldom_and_told_when_it_is_back() {
        let tries = told(false, HOUR.as_secs()).await;
        assert!((10..=18).contains(&tries.len()), "{tries:?}");
        assert!(tries[1] <= 5 && *tries.last().unwrap() >= HOUR.as_secs(), "{tries:?}");
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= BEAT_S), "{tries:?}");
    }

    #[test]
    fn pauses_double_to_the_beat_and_chance_spreads_them() {
        let whole_s: Vec<u64> = (1..=10).map(|failures| (pause(failures, 0) * 2).as_secs()).collect();
        assert_eq!(whole_s, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(pause(u32::MAX, 0), pause(0, 0));
        assert_eq!(pause(1, 2_500), Duration::from_secs(5));
    }

    #[test]
    fn a_report_holds_what_the_status_service_takes() {
        assert_eq!(body(&[]), "{}");
        assert_eq!(body(&["a".to_owned(), "b".to_owned()]), r#"{"reasons":["a","b"]}"#);
        // 255 bytes and then two of one letter: it is not cut in two.
        let long = format!("{}\u{e4}{}", "x".repeat(255), "y".repeat(99));
        let all = vec![long; MOST_REASONS + 1];
        let told: serde_json::Value = serde_json::from_str(&body(&all)).unwrap();
        let told = told["reasons"].as_array().unwrap();
        assert_eq!((told.len(), told[0].as_str().unwrap()), (MOST_REASONS, "x".repeat(255).as_str()));
    }
}
