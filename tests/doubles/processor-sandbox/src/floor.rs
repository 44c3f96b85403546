//! The shop floor: what the connections share, and how one request goes through it.
//!
//! A request runs in a task of its own, so that it is decided even if the caller hangs up first: that is how a
//! processor acts after its caller's timeout.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::{self, Routed};
use crate::desk::{Claim, Desk};
use crate::entry::{Asked, Line};
use crate::failure::Failure;
use crate::switches::Switches;

/// A request, as far as the API cares.
pub(crate) struct Posted {
    pub(crate) is_post: bool,
    pub(crate) path: String,
    /// The body of a POST, the query of a GET.
    pub(crate) fields: Vec<u8>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) authorization: Option<String>,
}

/// An answer on its way out.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The same answer as the first time.
    pub(crate) is_replay: bool,
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        let (status, body) = failure.render();
        Self { status, body, is_replay: false }
    }
}

/// What all connections share.
pub(crate) struct Floor {
    desk: Mutex<Desk>,
    prefix: String,
    bearer: String,
    switches: watch::Sender<Switches>,
    losable: AtomicU64,
}

impl Floor {
    pub(crate) fn new(desk: Desk, api_key: &str) -> Self {
        Self {
            prefix: desk.books.prefix.clone(),
            desk: Mutex::new(desk),
            bearer: format!("Bearer {api_key}"),
            switches: watch::Sender::new(Switches::default()),
            losable: AtomicU64::new(0),
        }
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn switches(&self) -> Switches {
        self.switches.borrow().clone()
    }

    pub(crate) fn switch(&self, turn: impl FnOnce(&mut Switches)) {
        self.switches.send_modify(turn);
    }

    /// Tells when the sandbox goes down.
    pub(crate) fn watch(&self) -> watch::Receiver<Switches> {
        self.switches.subscribe()
    }

    /// Runs one request; `None` when its answer is to be lost.
    pub(crate) async fn serve(self: Arc<Self>, posted: Posted) -> Option<Reply> {
        let switches = self.switches();
        if switches.fail_5xx {
            return Some(Failure::Unavailable.into());
        }
        if posted.authorization.as_deref() != Some(self.bearer.as_str()) {
            return Some(Failure::Unauthorized.into());
        }
        let routed = match api::route(posted.is_post, &posted.path, &posted.fields, &self.prefix) {
            Ok(routed) => routed,
            Err(failure) => return Some(failure.into()),
        };
        let loses_every = switches.loses_every(routed.verb());
        let reply = self.perform(routed, &posted, switches.delay_ms).await.unwrap_or_else(Reply::from);
        if loses_every > 0 && (self.losable.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(loses_every) {
            return None;
        }
        Some(reply)
    }

    async fn perform(&self, routed: Routed, posted: &Posted, delay_ms: u64) -> Result<Reply, Failure> {
        let ask = match routed {
            Routed::Ask(ask) => ask,
            read => {
                wait(delay_ms).await;
                return self.read(&read);
            }
        };
        let asked = self.asked(posted);
        let claim = self.desk().claim(asked);
        match claim {
            Claim::New => {}
            Claim::Answered(answer) => {
                let (status, body) = api::render(&self.desk().books, answer);
                return Ok(Reply { status, body, is_replay: true });
            }
            Claim::OtherBody => return Err(Failure::KeyReused),
            Claim::InUse => return Err(Failure::KeyInUse),
        }
        wait(delay_ms).await;
        let mut desk = self.desk();
        let answer = desk.decide(asked, ask).map_err(|_| Failure::Unavailable)?.ok_or(Failure::NoSuch("id"))?;
        let (status, body) = api::render(&desk.books, answer);
        Ok(Reply { status, body, is_replay: false })
    }

    fn read(&self, read: &Routed) -> Result<Reply, Failure> {
        let desk = self.desk();
        let body = match read {
            Routed::Search(session) => api::render_search(&desk.books, &desk.books.of_session(session)),
            Routed::Read(intent) => api::render_current(&desk.books, *intent).ok_or(Failure::NoSuch("intent"))?,
            Routed::Ask(_) => return Err(Failure::UnknownUrl),
        };
        Ok(Reply { status: 200, body, is_replay: false })
    }

    fn asked(&self, posted: &Posted) -> Option<Asked> {
        let key = posted.idempotency_key.as_deref()?;
        let desk = self.desk();
        let digester = &desk.books.digester;
        let body = digester.of("body", &[posted.path.as_bytes(), &posted.fields]);
        Some(Asked { key: digester.of("key", &[key.as_bytes()]), body })
    }

    /// Writes a setting into the books.
    pub(crate) fn set(&self, line: Line) -> std::io::Result<()> {
        self.desk().write(line).map(drop)
    }
}

async fn wait(delay_ms: u64) {
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Total;
    use crate::journal::Journal;

    async fn post(floor: &Arc<Floor>, path: &str, key: String, form: &str) -> Reply {
        let posted = Posted {
            is_post: true,
            path: path.to_owned(),
            fields: form.as_bytes().to_vec(),
            idempotency_key: Some(key),
            authorization: Some("Bearer key".to_owned()),
        };
        Arc::clone(floor).serve(posted).await.unwrap()
    }

    fn id(reply: &Reply) -> String {
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_day_of_many_payments_adds_up() {
        let floor = Arc::new(Floor::new(Desk::new(Journal::in_memory().unwrap()), "key"));
        let card = "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2040";
        let method = id(&post(&floor, "/v1/payment_methods", "card".to_owned(), card).await);
        for n in 0..3_000 {
            let form = format!(
                "amount=2500&currency=usd&payment_method={method}&capture_method=manual&confirm=true&metadata[session]=s{n}"
            );
            let intent = id(&post(&floor, "/v1/payment_intents", format!("hold{n}"), &form).await);
            let act = if n % 3 == 0 { "cancel" } else { "capture" };
            let reply = post(&floor, &format!("/v1/payment_intents/{intent}/{act}"), format!("end{n}"), "").await;
            assert_eq!((reply.status, reply.is_replay), (200, false));
        }
        let again = post(&floor, "/v1/payment_methods", "card".to_owned(), card).await;
        assert!(again.is_replay);
        let ledger = floor.desk().books.ledger;
        assert_eq!(ledger.authorized, Total { count: 3_000, sum: 7_500_000 });
        assert_eq!(ledger.captured, Total { count: 2_000, sum: 5_000_000 });
        assert_eq!((ledger.voided, ledger.open), (Total { count: 1_000, sum: 2_500_000 }, Total::default()));
        assert_eq!(floor.desk().books.of_session("s2999").len(), 1);
    }

    #[tokio::test]
    async fn a_key_in_use_is_told_so_and_the_first_still_acts() {
        let floor = Arc::new(Floor::new(Desk::new(Journal::in_memory().unwrap()), "key"));
        floor.switch(|switches| switches.delay_ms = 50);
        let card = "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2040";
        let (one, other) = tokio::join!(
            post(&floor, "/v1/payment_methods", "k".to_owned(), card),
            post(&floor, "/v1/payment_methods", "k".to_owned(), card)
        );
        assert_eq!((one.status, other.status), (200, 409));
        assert_eq!(floor.desk().books.methods.len(), 1);
    }
}
