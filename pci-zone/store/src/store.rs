//! The store itself: opens the database, starts its writer, and offers what a driver may ask.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pci_contract::{
    CardRow, CustomerRow, EnrollmentId, Envelope, FeedPage, FridgeId, FridgeRow, LockRow, MealRow, MealTypeRow,
    PolicyRow, SessionId, Timestamp, Token,
};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::batch::{Batch, Enrollment, StoredCard, TouchRecord};
use crate::dialect::{self, Connection};
use crate::error::{CommitError, Contradiction, Fault, FeedError, StoreError};
use crate::feeds::{self, Page};
use crate::group::{Item, Verdict};
use crate::key_checks;
use crate::migrations;
use crate::outbox::{self, EventText};
use crate::prepared::Prepared;
use crate::read::{Intent, PendingIntent, Reader, StoredSession};
use crate::reference::{Reference, ReferenceRow};
use crate::writer::{self, Job, QUEUE, Writer};

/// Connections for reading.
const READERS: u32 = 4;
/// How long a read waits for a connection.
const READ_WAIT: Duration = Duration::from_secs(5);
/// How long a write waits for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(10);
/// The most rows one read answers with.
const MOST_ROWS: u32 = 10_000;
/// The most touches, intents and events of one batch.
const MOST_PARTS: usize = 4096;

/// The zone's database. Cheap to share behind an `Arc`; all methods take `&self`.
#[derive(Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    reader: Reader,
    reference: Arc<Reference>,
    committed: watch::Receiver<i64>,
}

impl Store {
    /// Opens the database at `path`, creating it when there is none, brings its schema up to date, fills the index and
    /// starts the writer on the present tokio runtime. `now` is noted with the migrations that are applied.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be opened, holds a row that cannot be, or was migrated otherwise.
    pub async fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        Self::open_with(dialect::writer_options(path), path, now).await
    }

    async fn open_with(writer: SqliteConnectOptions, path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let mut connection = writer.connect().await.map_err(|error| Fault::new("was opened", error))?;
        migrations::apply(&mut connection, migrations::ALL, now).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READ_WAIT)
            .connect_lazy_with(dialect::reader_options(path));
        let reader = Reader::new(pool);
        let reference = Arc::new(Reference::new());
        load(&mut connection, &reader, &reference).await?;
        let last = outbox::last_position(&mut connection).await?;
        let (committed, watching) = watch::channel(last);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Writer { connection, jobs: waiting, reference: Arc::clone(&reference), committed };
        tokio::spawn(writer.run());
        Ok(Self { jobs, reader, reference, committed: watching })
    }

    /// What the zone knows of fridges, meals and people.
    #[must_use]
    pub fn reference(&self) -> Arc<Reference> {
        Arc::clone(&self.reference)
    }

    /// Writes a batch: all of it, durably, or nothing. Batches are written in the order they were queued. Dropping the
    /// future before it answers leaves the batch in the queue.
    ///
    /// # Errors
    /// [`CommitError::Fenced`] when another driver holds the fridge's lease, [`CommitError::Conflict`] when the batch
    /// contradicts what is stored, [`CommitError::Fault`] when the database failed; the same batch may be sent again.
    pub async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if batch.touches.len() + batch.intents.len() + batch.events.len() > MOST_PARTS {
            return Err(CommitError::Conflict(Contradiction::TooLarge));
        }
        let prepared = Prepared::try_from(batch)?;
        writer::written(self.write(Item::Batch(Box::new(prepared))).await?)
    }

    /// Takes a fridge's lease for `holder`, from whoever had it, and answers with its fence: the only one whose session
    /// writes succeed from now on.
    ///
    /// # Errors
    /// [`CommitError::Fault`] when the database failed.
    pub async fn take_lease(&self, fridge: &FridgeId, holder: &str) -> Result<u64, CommitError> {
        match self.write(Item::Lease { fridge: fridge.as_str().into(), holder: holder.into() }).await? {
            Verdict::Leased { fence } | Verdict::Fenced { current: fence } => writer::fence(fence),
            Verdict::Done => Err(Fault::without_cause("took a lease", true).into()),
        }
    }

    /// Notes that a subscriber has booked all events up to `position`; never goes back. A subscriber should be noted
    /// with position 0 before its first event, so that nothing is pruned before it.
    ///
    /// # Errors
    /// [`CommitError::Fault`] when the database failed.
    pub async fn save_cursor(&self, subscriber: &str, position: i64) -> Result<(), CommitError> {
        self.write(Item::Cursor { subscriber: subscriber.into(), position }).await.map(|_| ())
    }

    /// Sets a subscriber's cursor back to `position`, for one that lost what it had booked. Says whether it did: not
    /// when the cursor is no further, nor when the next event is no longer kept.
    ///
    /// # Errors
    /// [`CommitError::Fault`] when the database failed.
    pub async fn set_cursor_back(&self, subscriber: &str, position: i64) -> Result<bool, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue(Job::SetBack { subscriber: subscriber.into(), position, answer }).await?;
        answered.await.map_err(|_| lost())?
    }

    /// The check values of the HSM's keys that were kept, as label and value.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed.
    pub async fn key_checks(&self) -> Result<Vec<(String, String)>, StoreError> {
        key_checks::all(&self.reader.pool).await
    }

    /// Keeps check values of keys, as label and value. One that is kept for a label is never changed.
    ///
    /// # Errors
    /// [`CommitError::Fault`] when the database failed.
    pub async fn keep_key_checks(&self, checks: Vec<(String, String)>) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue(Job::KeyChecks(checks, answer)).await?;
        answered.await.map_err(|_| lost())?
    }

    /// Deletes up to `limit` events older than `before` that every subscriber and the feeds of people's standing have
    /// booked; says how many.
    ///
    /// # Errors
    /// [`CommitError::Fault`] when the database failed.
    pub async fn prune_events(&self, limit: u32, before: Timestamp) -> Result<u64, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue(Job::Prune { limit: limit.min(MOST_ROWS), before, answer }).await?;
        answered.await.map_err(|_| lost())?
    }

    /// Stores a page of a feed and puts it into the index, both before this answers.
    ///
    /// # Errors
    /// [`FeedError::WentBack`] when the page is older than what was taken, [`FeedError::Fault`] when the database
    /// failed; the same page may be applied again.
    pub async fn apply_feed<R: ReferenceRow>(&self, page: FeedPage<R>) -> Result<(), FeedError> {
        let page = Page::new(page)?;
        let (answer, answered) = oneshot::channel();
        self.queue(Job::Feed(Box::new(page), answer)).await?;
        answered.await.map_err(|_| lost())?
    }

    /// The revision after which to ask for more of a feed; 0 when none of it was taken yet.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed.
    pub async fn feed_revision<R: ReferenceRow>(&self) -> Result<i64, StoreError> {
        Ok(feeds::state(&self.reader.pool, R::FEED).await?.revision)
    }

    /// A session's last state.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or the row cannot be.
    pub async fn session(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.reader.session(id).await
    }

    /// The session that keeps a fridge busy.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or the row cannot be.
    pub async fn open_session_of(&self, fridge: &FridgeId) -> Result<Option<StoredSession>, StoreError> {
        self.reader.busy_session_of(fridge).await
    }

    /// Sessions that are not final, of ids after `after`, by id; for a restart.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or a row cannot be.
    pub async fn unfinished_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.reader.unfinished(after, limit.min(MOST_ROWS)).await
    }

    /// Intents without an answer, the longest waiting first: those behind the one that was asked at that time under that
    /// key, so that a page of intents that wait for ever hides none behind it.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or a row cannot be.
    pub async fn pending_intents(
        &self,
        after: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<PendingIntent>, StoreError> {
        self.reader.pending_intents(after, limit.min(MOST_ROWS)).await
    }

    /// An intent by its key.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or the row cannot be.
    pub async fn intent(&self, key: &str) -> Result<Option<Intent>, StoreError> {
        self.reader.intent(key).await
    }

    /// The processor's reference of a session's authorization.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed.
    pub async fn authorization_of(&self, session: SessionId) -> Result<Option<String>, StoreError> {
        self.reader.authorization_of(session).await
    }

    /// The touches of a session, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or a row cannot be.
    pub async fn touches_of(&self, session: SessionId) -> Result<Vec<TouchRecord>, StoreError> {
        self.reader.touches_of(session, MOST_ROWS).await
    }

    /// What the processor calls a card that it keeps.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or the row cannot be.
    pub async fn stored_card(&self, token: &Token) -> Result<Option<StoredCard>, StoreError> {
        self.reader.stored_card(token).await
    }

    /// An enrolment that is on record.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or the row cannot be.
    pub async fn enrollment(&self, id: EnrollmentId) -> Result<Option<Enrollment>, StoreError> {
        self.reader.enrollment(id).await
    }

    /// Events after a position with their positions, oldest first; `sequence` is the position.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or a row cannot be.
    pub async fn events_after(&self, position: i64, limit: u32) -> Result<Vec<(i64, Envelope)>, StoreError> {
        outbox::events_after(&self.reader.pool, position, limit.min(MOST_ROWS)).await
    }

    /// Events after a position as they go out, oldest first: at most `limit`, and together at most `most_bytes` unless
    /// the first alone is larger. The stored text is used as it is, since every subscriber reads it anew.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed or a row cannot be.
    pub async fn event_texts_after(
        &self,
        position: i64,
        limit: u32,
        most_bytes: u32,
    ) -> Result<Vec<EventText>, StoreError> {
        outbox::texts_after(&self.reader.pool, position, limit.min(MOST_ROWS), most_bytes).await
    }

    /// How far a subscriber has booked; 0 when it is unknown.
    ///
    /// # Errors
    /// [`StoreError`] when the database failed.
    pub async fn cursor(&self, subscriber: &str) -> Result<i64, StoreError> {
        outbox::cursor(&self.reader.pool, subscriber).await
    }

    /// The last position of the outbox; changes with every commit that tells events.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.committed.clone()
    }

    /// Writes what is queued, folds the log into the database file and closes. Later writes fail. Dropping the store
    /// without this loses nothing that was answered.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.queue(Job::Close(closed)).await.is_ok() {
            self.reader.pool.close().await;
            let _ = done.await;
        }
    }

    async fn write(&self, item: Item) -> Result<Verdict, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue(Job::Write(item, answer)).await?;
        answered.await.map_err(|_| lost())?
    }

    async fn queue(&self, job: Job) -> Result<(), Fault> {
        self.jobs.send_timeout(job, QUEUE_WAIT).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => Fault::without_cause("had a full queue", true),
            mpsc::error::SendTimeoutError::Closed(_) => lost(),
        })
    }
}

/// The writer is gone: the store was closed.
fn lost() -> Fault {
    Fault::without_cause("was closed", false)
}

/// Fills the index: stored rows, prices, events that a feed has not booked, credit that open sessions hold.
async fn load(connection: &mut Connection, reader: &Reader, reference: &Reference) -> Result<(), StoreError> {
    feeds::load::<PolicyRow>(connection, reference).await?;
    feeds::load::<FridgeRow>(connection, reference).await?;
    feeds::load::<LockRow>(connection, reference).await?;
    feeds::load::<MealTypeRow>(connection, reference).await?;
    feeds::load::<MealRow>(connection, reference).await?;
    let customers = feeds::load::<CustomerRow>(connection, reference).await?;
    let cards = feeds::load::<CardRow>(connection, reference).await?;
    feeds::load_prices(connection, reference).await?;
    let mut after = customers.booked.min(cards.booked);
    loop {
        let events = outbox::events_after(&mut *connection, after, MOST_ROWS).await?;
        let Some((last, _)) = events.last() else { break };
        after = *last;
        reference.note_events(events.iter().map(|(position, envelope)| (*position, &envelope.body)));
    }
    let mut after = None;
    loop {
        let sessions = reader.unfinished(after, MOST_ROWS).await?;
        let Some(last) = sessions.last() else { return Ok(()) };
        after = Some(last.session.id());
        for facts in sessions.iter().map(|stored| crate::session_facts::of(&stored.session)) {
            if let (Some(customer), Some(credit)) = (facts.customer, facts.credit) {
                reference.restore_reservation(facts.session, customer, credit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::NewEvent;
    use crate::error::CommitError;
    use pci_contract::{EventBody, EventId, FridgeTampered, TamperKind};

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn tell(n: u128, more: usize) -> Batch {
        let fridge = FridgeId::parse("FR-1").expect("fridge");
        let body =
            EventBody::FridgeTampered(FridgeTampered { fridge, kind: TamperKind::DoorForced, code: None, at: NOW });
        let id = |k: usize| EventId::from_uuid(uuid::Uuid::from_u128((n << 32) + u128::try_from(k).expect("fits")));
        Batch {
            events: (0..more).map(|k| NewEvent { id: id(k), body: body.clone(), at: NOW }).collect(),
            ..Batch::default()
        }
    }

    /// The disk may hold so many more pages than the empty database has.
    async fn small(path: &Path) -> Store {
        Store::open(path, NOW).await.expect("opens").close().await;
        let options = dialect::writer_options(path).pragma("max_page_count", "60");
        Store::open_with(options, path, NOW).await.expect("opens again")
    }

    async fn positions(store: &Store) -> Vec<i64> {
        store.events_after(0, MOST_ROWS).await.expect("reads").into_iter().map(|(position, _)| position).collect()
    }

    #[tokio::test]
    async fn a_full_disk_is_a_fault_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.db");
        let store = small(&path).await;
        store.commit(tell(1, 3)).await.expect("fits");
        // Together they do not fit: all three hear it, none is written.
        let (a, b, c) =
            tokio::join!(store.commit(tell(2, 3000)), store.commit(tell(3, 1)), store.commit(tell(4, 3000)));
        for refused in [a, b, c] {
            assert!(matches!(refused, Err(CommitError::Fault(ref fault)) if fault.retry_safe()), "{refused:?}");
        }
        assert_eq!(positions(&store).await, [1, 2, 3]);
        // What fits is still taken, and the order goes on without a gap.
        store.commit(tell(5, 2)).await.expect("fits");
        assert_eq!(positions(&store).await, [1, 2, 3, 4, 5]);
        assert_eq!(*store.committed().borrow(), 5);
        store.close().await;
        // With more room the same batch goes through.
        let store = Store::open(&path, NOW).await.expect("opens");
        store.commit(tell(2, 3000)).await.expect("fits now");
        assert_eq!(positions(&store).await, (1..=3005).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_page_that_does_not_fit_changes_neither_rows_nor_index() {
        let folder = tempfile::tempdir().expect("folder");
        let store = small(&folder.path().join("a.db")).await;
        let row = |n: usize| LockRow { fridge: FridgeId::parse(&format!("FR-{n}")).expect("fridge"), locked: false };
        let page = FeedPage { rows: (0..9000).map(row).collect(), revision: 5, more: false, booked: 0 };
        let refused = store.apply_feed(page).await;
        assert!(matches!(refused, Err(FeedError::Fault(ref fault)) if fault.retry_safe()), "{refused:?}");
        assert_eq!(store.feed_revision::<LockRow>().await.expect("reads"), 0);
        assert!(store.reference().missing_feeds().contains(&"locks"));
        let page = FeedPage { rows: vec![row(1)], revision: 5, more: false, booked: 0 };
        store.apply_feed(page).await.expect("fits");
        assert!(!store.reference().missing_feeds().contains(&"locks"));
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_a_fault() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.db");
        Store::open(&path, NOW).await.expect("opens").close().await;
        let options = dialect::writer_options(&path).pragma("query_only", "ON");
        match Store::open_with(options, &path, NOW).await {
            Err(StoreError::Fault(_)) => {}
            Err(other) => panic!("{other}"),
            Ok(store) => {
                let refused = store.commit(tell(1, 1)).await;
                assert!(matches!(refused, Err(CommitError::Fault(_))), "{refused:?}");
                assert!(positions(&store).await.is_empty());
            }
        }
        assert!(Store::open(folder.path(), NOW).await.is_err(), "a folder is no database");
    }
}
