//! Places to plant copies in: a database with its write-ahead log, and the memory of a process that holds what it got.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use larder_leak::planted::Copy;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// A database that keeps what is written in its write-ahead log until it is told to write it down.
pub struct Database {
    pool: SqlitePool,
    path: PathBuf,
}

impl Database {
    pub async fn plant(path: &Path, copies: &[Copy]) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .pragma("wal_autocheckpoint", "0");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        for table in ["texts (cell TEXT)", "blobs (cell BLOB)", "numbers (cell INTEGER)"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("CREATE TABLE {table}"))).execute(&pool).await.unwrap();
        }
        let database = Self { pool, path: path.to_owned() };
        for copy in copies {
            match std::str::from_utf8(&copy.bytes) {
                Ok(text) => database.add_text(text).await,
                Err(_) => database.add_blob(&copy.bytes).await,
            }
        }
        database
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn add_text(&self, text: &str) {
        sqlx::query("INSERT INTO texts VALUES ($1)").bind(text).execute(&self.pool).await.unwrap();
    }

    pub async fn add_number(&self, number: i64) {
        sqlx::query("INSERT INTO numbers VALUES ($1)").bind(number).execute(&self.pool).await.unwrap();
    }

    async fn add_blob(&self, bytes: &[u8]) {
        sqlx::query("INSERT INTO blobs VALUES ($1)").bind(bytes).execute(&self.pool).await.unwrap();
    }

    pub async fn checkpoint(&self) {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await.unwrap();
    }

    pub async fn close(self) {
        self.pool.close().await;
    }
}

/// A process that holds in its memory what it was given; it ends when this is dropped.
pub struct Holder(Child);

impl Holder {
    pub fn start(text: &[u8]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_planted-memory"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.as_mut().unwrap();
        input.write_all(format!("{}\n", text.len()).as_bytes()).unwrap();
        input.write_all(text).unwrap();
        input.flush().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
