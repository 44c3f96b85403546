//! A service's SQLite database: one writer, a pool of readers, and migrations that are only ever added to.
//!
//! Writes begin with `BEGIN IMMEDIATE`, because a deferred transaction that reads and then writes fails at once and
//! ignores the busy timeout; one writer connection makes writers wait their turn in order. Commits are `FULL`: an event
//! that was acknowledged must outlive a power cut. Feed rows are written through the transaction, so that a row and what
//! it tells of change together, and readers that wait for a feed are woken by the commit and not before.
//!
//! It leaves the tables to each service's migrations, and the answers of a feed to `feed`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pci_contract::FeedRow;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, SqlSafeStr, Sqlite, Transaction};
use tokio::sync::watch;

use crate::problem::{ApiError, Fault};

/// Readers at a time; SQLite reads from memory mostly, so more would only wait for the same cores.
const READERS: u32 = 8;
/// Seconds to wait for a connection before giving up.
const ACQUIRE_S: u64 = 10;

/// Feed rows of one statement; one of fewer is not kept for the next time, there are too many of them.
const ROWS: usize = 64;

/// One migration: its number, its name, and its text. Once landed it is never changed.
pub type Step = (i64, &'static str, &'static str);

/// The database of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct Db {
    writer: SqlitePool,
    readers: SqlitePool,
    watched: Arc<Mutex<BTreeMap<&'static str, watch::Sender<i64>>>>,
}

impl Db {
    /// Opens the file, makes it when it is not there, and runs the migrations it lacks.
    ///
    /// # Errors
    /// [`Fault`] when the file cannot be opened, or has had other migrations than these.
    pub async fn open(path: &Path, steps: &[Step]) -> Result<Self, Fault> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(ACQUIRE_S))
            .pragma("secure_delete", "ON")
            .pragma("cache_size", "-32768")
            .statement_cache_capacity(256);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(ACQUIRE_S))
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        let migrations = steps.iter().map(|&(version, name, text)| {
            Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect())
            .run(&writer)
            .await
            .map_err(|error| Fault::new(format!("migrations: {error}"), false))?;
        let readers = pool(READERS).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers, watched: Arc::default() })
    }

    /// Begins a write; others wait until it is committed or dropped, which undoes it.
    ///
    /// # Errors
    /// [`Fault`] when the writer is not free within the bound.
    pub async fn write(&self) -> Result<WriteTx, ApiError> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(WriteTx { inner, revision: None, changed: BTreeMap::new(), rows: BTreeMap::new(), db: self.clone() })
    }

    /// Begins a read: all its statements see the same moment.
    ///
    /// # Errors
    /// [`Fault`] when no reader is free within the bound.
    pub async fn read(&self) -> Result<Transaction<'static, Sqlite>, ApiError> {
        Ok(self.readers.begin().await?)
    }

    /// The pool of readers, for a read of one statement.
    #[must_use]
    pub const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Tells of each commit that changed rows of this feed.
    #[must_use]
    pub fn watch_feed(&self, kind: &'static str) -> watch::Receiver<i64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.entry(kind).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Closes the files; what is under way ends first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn wake(&self, changed: &BTreeMap<&'static str, i64>) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, revision) in changed {
            if let Some(sender) = watched.get(kind) {
                sender.send_replace(*revision);
            }
        }
    }
}

/// A write under way. Dropped without [`WriteTx::commit`], it never was.
#[derive(Debug)]
pub struct WriteTx {
    inner: Transaction<'static, Sqlite>,
    revision: Option<i64>,
    changed: BTreeMap<&'static str, i64>,
    /// Feed rows by kind and key, written before the commit: a batch of events changes the same feed again and again.
    rows: BTreeMap<(&'static str, String), (i64, String)>,
    db: Db,
}

impl WriteTx {
    /// The connection, for the service's own statements.
    pub fn sql(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    /// The next revision of the service.
    ///
    /// # Errors
    /// [`Fault`] when the database fails.
    pub async fn next_revision(&mut self) -> Result<i64, ApiError> {
        let last = match self.revision {
            Some(revision) => revision,
            None => sqlx::query_scalar("SELECT value FROM counter").fetch_one(&mut *self.inner).await?,
        };
        let next = last + 1;
        self.revision = Some(next);
        Ok(next)
    }

    /// Writes a feed row under the next revision, which is also the answer.
    ///
    /// # Errors
    /// [`Fault`] when the database fails.
    pub async fn put_row<R: FeedRow>(&mut self, row: &R) -> Result<i64, ApiError> {
        let revision = self.next_revision().await?;
        self.put_row_at(row, revision).await?;
        Ok(revision)
    }

    /// Writes a feed row, when this is committed, under a revision that [`WriteTx::next_revision`] gave for the same
    /// change. Of several under one key the last counts.
    ///
    /// # Errors
    /// [`Fault`] when the row has no JSON form.
    pub async fn put_row_at<R: FeedRow>(&mut self, row: &R, revision: i64) -> Result<(), ApiError> {
        let body = serde_json::to_string(row).map_err(|error| Fault::new(format!("feed row: {error}"), false))?;
        self.rows.insert((R::FEED, row.key().to_string()), (revision, body));
        self.changed.insert(R::FEED, revision);
        Ok(())
    }

    async fn write_rows(&mut self) -> Result<(), ApiError> {
        let rows: Vec<_> = std::mem::take(&mut self.rows).into_iter().collect();
        for rows in rows.chunks(ROWS) {
            let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO feed (kind, key, rev, body) ");
            insert.push_values(rows, |mut row, ((kind, key), (revision, body))| {
                row.push_bind(*kind).push_bind(key).push_bind(*revision).push_bind(body);
            });
            insert.push(" ON CONFLICT (kind, key) DO UPDATE SET rev = excluded.rev, body = excluded.body");
            insert.build().persistent(rows.len() == ROWS).execute(&mut *self.inner).await?;
        }
        Ok(())
    }

    /// Makes it all true at once, then wakes who waits for it.
    ///
    /// # Errors
    /// [`Fault`] when the database fails; nothing has changed then.
    pub async fn commit(mut self) -> Result<(), ApiError> {
        self.write_rows().await?;
        if let Some(revision) = self.revision {
            sqlx::query("UPDATE counter SET value = $1").bind(revision).execute(&mut *self.inner).await?;
        }
        self.inner.commit().await?;
        self.db.wake(&self.changed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Db;

    const KIT: &str = include_str!("../../../migrations/inventory/0001_kit.sql");

    #[tokio::test]
    async fn a_write_that_is_dropped_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("x.sqlite"), &[(1, "kit", KIT)]).await.unwrap();
        let mut tx = db.write().await.unwrap();
        assert_eq!(tx.next_revision().await.unwrap(), 1);
        assert_eq!(tx.next_revision().await.unwrap(), 2);
        drop(tx);
        let mut tx = db.write().await.unwrap();
        assert_eq!(tx.next_revision().await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(db.write().await.unwrap().next_revision().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_changed_migration_stops_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        Db::open(&path, &[(1, "kit", KIT)]).await.unwrap().close().await;
        let error = Db::open(&path, &[(1, "kit", "SELECT 1;")]).await.unwrap_err();
        assert!(error.to_string().contains("migration"), "{error}");
    }

    #[test]
    fn every_service_has_the_same_tables_of_the_kit() {
        for other in [
            include_str!("../../../migrations/customers/0001_kit.sql"),
            include_str!("../../../migrations/status/0001_kit.sql"),
            include_str!("../../../migrations/admin/0001_kit.sql"),
        ] {
            assert_eq!(other, KIT);
        }
    }
}
