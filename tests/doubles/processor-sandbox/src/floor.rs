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
