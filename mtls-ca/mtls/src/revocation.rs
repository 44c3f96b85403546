//! What is revoked now, and the live connections of a server: so that a word of the authority reaches those who are in
//! already, and not only those who knock.
//!
//! A connection is entered into the index first and asked about second, and a new list is in force first and looked for
//! among the connections second. So whichever comes first, none slips through between. It leaves getting the lists to the
//! services, and what to do with a connection that must close to whoever holds it.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::{CheckedCrl, CrlError, Peer, PeerError};

/// A connection that is older takes nothing new, so that nobody lives long on one handshake.
const OLD: Duration = Duration::from_secs(15 * 60);

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<T> {
    /// The conversation was over.
    Finished(T),
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate ran out.
    Expired,
}

/// The lists in force and the connections that are open.
#[derive(Debug, Default)]
pub struct Revocations {
    lists: ArcSwap<HashMap<String, List>>,
    /// Held while a list is replaced, so that of two at once the newer one wins.
    replacing: Mutex<()>,
    live: Mutex<HashMap<u64, Live>>,
    next: AtomicU64,
}

#[derive(Debug, Clone)]
struct List {
    number: Vec<u8>,
    next_update_s: i64,
    serials: Arc<HashSet<Box<str>>>,
    /// Whether the authority still publishes it; what it revokes stays revoked in any case.
    published: bool,
}

#[derive(Debug)]
struct Live {
    peer: Arc<Peer>,
    close: Arc<Notify>,
}

/// What a new list did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// How many certificates the list revokes.
    pub revoked: usize,
    /// How many live connections were told to close.
    pub closed: usize,
}

impl Revocations {
    /// Puts a list in force in place of its issuer's last one, and tells the connections it revokes to close. The same list
    /// once more changes nothing.
    ///
    /// # Errors
    /// [`CrlError::Older`] when a newer one is in force.
    pub fn apply(&self, crl: CheckedCrl) -> Result<Applied, CrlError> {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = HashMap::clone(&self.lists.load());
        if let Some(known) = lists.get(&crl.issuer).filter(|known| is_older(&crl.number, &known.number)) {
            let (known, found) = (crate::peer::hex(&known.number), crate::peer::hex(&crl.number));
            return Err(CrlError::Older { known, found });
        }
        let revoked = crl.revoked();
        let (number, next_update_s) = (crl.number, crl.next_update_s);
        let list = List { number, next_update_s, serials: Arc::new(crl.serials), published: true };
        lists.insert(crl.issuer, list);
        self.lists.store(Arc::new(lists));
        Ok(Applied { revoked, closed: self.close_revoked() })
    }

    /// Enters a connection into the index.
    ///
    /// # Errors
    /// [`PeerError::Revoked`] when its certificate was revoked since its handshake began.
    pub fn enter(self: &Arc<Self>, peer: Arc<Peer>) -> Result<LiveConnection, PeerError> {
        let close = Arc::new(Notify::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.live().insert(number, Live { peer: Arc::clone(&peer), close: Arc::clone(&close) });
        let entered = LiveConnection { index: Arc::clone(self), number, peer, close };
        self.check(&entered.peer.issuer, &entered.peer.serial)?;
        Ok(entered)
    }

    /// Whether a certificate may be used.
    ///
    /// # Errors
    /// [`PeerError::Revoked`] when it is on its issuer's list.
    pub fn check(&self, issuer: &str, serial: &str) -> Result<(), PeerError> {
        let lists = self.lists.load();
        match lists.get(issuer) {
            Some(list) if list.serials.contains(serial) => Err(PeerError::Revoked { serial: serial.to_owned() }),
            _ => Ok(()),
        }
    }

    /// When the first of the lists in force is due to be replaced, seconds since the Unix epoch; none without lists.
    #[must_use]
    pub fn horizon_s(&self) -> Option<i64> {
        self.lists.load().values().filter(|list| list.published).map(|list| list.next_update_s).min()
    }

    /// Says whose lists the authority publishes now. Those of others, whose authority was retired, revoke what they did and are
    /// not waited for any more.
    pub(crate) fn published(&self, issuers: &HashSet<String>) {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = HashMap::clone(&self.lists.load());
        for (issuer, list) in &mut lists {
            list.published = issuers.contains(issuer);
        }
        self.lists.store(Arc::new(lists));
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.live().len()
    }

    fn close_revoked(&self) -> usize {
        let live = self.live();
        let revoked = live.values().filter(|live| self.check(&live.peer.issuer, &live.peer.serial).is_err());
        revoked.map(|live| live.close.notify_one()).count()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the index, for as long as this value lives.
#[derive(Debug)]
pub struct LiveConnection {
    index: Arc<Revocations>,
    number: u64,
    peer: Arc<Peer>,
    close: Arc<Notify>,
}

impl LiveConnection {
    /// Who is on the other side.
    #[must_use]
    pub fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }

    /// Runs the conversation on a connection until it ends, its certificate is revoked, or its certificate runs out, all of
    /// which end it at once. When `stop` comes, or the connection is old, `finish` is called, which should have the
    /// conversation take nothing new and end with what is under way. `now_unix_s` is the present time.
    pub async fn keep<C: Future>(
        &self,
        mut conversation: Pin<&mut C>,
        stop: impl Future<Output = ()>,
        finish: impl FnOnce(Pin<&mut C>),
        now_unix_s: i64,
    ) -> End<C::Output> {
        // A certificate lives through its last second.
        let lives_s = u64::try_from(self.peer.not_after.saturating_sub(now_unix_s).saturating_add(1)).unwrap_or(0);
        let orderly = async {
            tokio::select! {
                ended = conversation.as_mut() => return ended,
                () = stop => {}
                () = tokio::time::sleep(OLD) => {}
            }
            finish(conversation.as_mut());
            conversation.await
        };
        tokio::select! {
            ended = orderly => End::Finished(ended),
            () = self.revoked() => {
                tracing::warn!(peer = %self.peer.id, serial = self.peer.serial, "revoked; its connection is closed");
                End::Revoked
            }
            () = tokio::time::sleep(Duration::from_secs(lives_s)) => {
                tracing::info!(peer = %self.peer.id, "its certificate ran out; its connection is closed");
                End::Expired
            }
        }
    }

    /// Waits until the connection must close because its certificate was revoked; for one holder to wait on.
    pub async fn revoked(&self) {
        self.close.notified().await;
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.index.live().remove(&self.number);
    }
}

/// Whether one big-endian number without leading zeros is less than another.
fn is_older(number: &[u8], known: &[u8]) -> bool {
    (number.len(), number) < (known.len(), known)
}
