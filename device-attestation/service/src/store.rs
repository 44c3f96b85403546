//! What must outlive a restart: what is known of each device, and which reference values were in force. SQLite.
//!
//! A device's row is read, judged and written within one transaction, by one writer: two copies of a TPM that come at once
//! meet here. Commits are `FULL`, since a chain of keys that went back after a power cut would look like a copy.

use std::path::Path;
use std::time::Duration;

use attest_evidence::Clock;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, SqliteConnection};

use crate::history::{Known, Outcome, State, TlsKey};
use crate::{AttestError, Corrupt, Fault, Refusal};

/// How long a write waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// The schema, in its order.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/attestation/0001_first.sql")),
    (2, include_str!("../../../migrations/attestation/0002_registers.sql")),
];

/// The database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store(SqlitePool);

impl Store {
    /// Opens the file, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be opened or was migrated otherwise.
    pub async fn open(path: &Path, now_unix_s: i64) -> Result<Self, Fault> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WAIT);
        // One connection: writers take turns, and there is nothing to read beside them.
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(WAIT).idle_timeout(None);
        let pool = pool.max_lifetime(None).connect_with(options).await.map_err(Fault::database("was opened"))?;
        migrate(&pool, now_unix_s).await?;
        Ok(Self(pool))
    }

    /// Takes a device's history further: `judge` is given what is known and says what is to be known.
    pub(crate) async fn with_device(
        &self,
        device: &str,
        now_unix_s: i64,
        judge: impl FnOnce(Option<&Known>) -> Result<Outcome, Refusal>,
    ) -> Result<Outcome, AttestError> {
        let fault = Fault::database("kept what a device showed");
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.map_err(&fault)?;
        let row = sqlx::query("SELECT * FROM devices WHERE permanent_identifier = $1").bind(device);
        let row = row.fetch_optional(&mut *tx).await.map_err(&fault)?;
        let known = row.map(|row| read_device(device, &row)).transpose()?;
        let outcome = judge(known.as_ref())?;
        if known.as_ref() != Some(&outcome.known) {
            write_device(&mut tx, device, &outcome.known, now_unix_s).await.map_err(&fault)?;
        }
        tx.commit().await.map_err(&fault)?;
        Ok(outcome)
    }

    /// Lets a device out of quarantine: what it shows next is believed once. For a person who has looked at it.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`] when it was never attested, [`Fault`] when the database fails.
    pub async fn release(&self, device: &str, now_unix_s: i64) -> Result<(), AttestError> {
        let fault = Fault::database("released a device");
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.map_err(&fault)?;
        let kept = sqlx::query(
            "INSERT INTO releases (permanent_identifier, released_at, reason)
             SELECT permanent_identifier, $2, reason FROM devices WHERE permanent_identifier = $1
             ON CONFLICT DO NOTHING",
        );
        kept.bind(device).bind(now_unix_s).execute(&mut *tx).await.map_err(&fault)?;
        let changed = sqlx::query(
            "UPDATE devices SET state = 'released', reason = NULL, changed_at = $2 WHERE permanent_identifier = $1",
        );
        let changed = changed.bind(device).bind(now_unix_s).execute(&mut *tx).await.map_err(&fault)?;
        if changed.rows_affected() == 0 {
            return Err(Refusal::NoSuchDevice(device.chars().take(64).collect()).into());
        }
        tx.commit().await.map_err(&fault)?;
        Ok(())
    }

    /// Notes that a list of reference values is in force from now on; one that is older than any before is refused.
    pub(crate) async fn accept_values(&self, version: u64, sha256: &[u8; 32], now: i64) -> Result<(), AttestError> {
        let fault = Fault::database("noted a list of reference values");
        let number = i64::try_from(version).map_err(|_| Refusal::Values("its version is too large"))?;
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.map_err(&fault)?;
        let last = sqlx::query("SELECT version, sha256 FROM reference_values ORDER BY version DESC LIMIT 1");
        if let Some(last) = last.fetch_optional(&mut *tx).await.map_err(&fault)? {
            let accepted: i64 = last.try_get(0).map_err(&fault)?;
            if number < accepted {
                let accepted = u64::try_from(accepted).unwrap_or(0);
                return Err(Refusal::ValuesWentBack { offered: version, accepted }.into());
            }
            if number == accepted {
                let same = last.try_get::<Vec<u8>, _>(1).map_err(&fault)? == sha256;
                return if same { Ok(()) } else { Err(Refusal::ValuesDiffer(version).into()) };
            }
        }
        let noted = sqlx::query("INSERT INTO reference_values (version, sha256, accepted_at) VALUES ($1, $2, $3)");
        noted.bind(number).bind(&sha256[..]).bind(now).execute(&mut *tx).await.map_err(&fault)?;
        tx.commit().await.map_err(&fault)?;
        Ok(())
    }

    /// Closes the file; what is under way ends first.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

async fn migrate(pool: &SqlitePool, now_unix_s: i64) -> Result<(), Fault> {
    let fault = Fault::database("was migrated");
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(&fault)?;
    let table = "CREATE TABLE IF NOT EXISTS migrations (
        version BIGINT NOT NULL PRIMARY KEY, text TEXT NOT NULL, applied_at BIGINT NOT NULL)";
    sqlx::query(table).execute(&mut *tx).await.map_err(&fault)?;
    for (version, text) in MIGRATIONS {
        let applied = sqlx::query_scalar::<_, String>("SELECT text FROM migrations WHERE version = $1").bind(version);
        match applied.fetch_optional(&mut *tx).await.map_err(&fault)? {
            Some(applied) if applied == *text => {}
            Some(_) => return Err(Fault::Migration(*version)),
            None => {
                sqlx::raw_sql(*text).execute(&mut *tx).await.map_err(&fault)?;
                let noted = sqlx::query("INSERT INTO migrations (version, text, applied_at) VALUES ($1, $2, $3)");
                noted.bind(version).bind(text).bind(now_unix_s).execute(&mut *tx).await.map_err(&fault)?;
            }
        }
    }
    tx.commit().await.map_err(&fault)
}

/// Reads a row into what it must be; one that cannot be is refused.
fn read_device(device: &str, row: &SqliteRow) -> Result<Known, Corrupt> {
    let corrupt = |why| Corrupt { table: "devices", key: device.to_owned(), why };
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(|_| corrupt("a number is none"));
    let bytes = |column: &str| row.try_get::<Option<Vec<u8>>, _>(column).map_err(|_| corrupt("a key is none"));
    let count = |column: &str| u32::try_from(number(column)?).map_err(|_| corrupt("a counter is no counter"));
    let clock = Clock {
        millis: u64::try_from(number("millis")?).map_err(|_| corrupt("the clock is none"))?,
        resets: count("resets")?,
        restarts: count("restarts")?,
        safe: true,
    };
    let key = |name: Option<Vec<u8>>, point: Option<Vec<u8>>| match (name, point) {
        (Some(name), Some(point)) => Ok(Some(TlsKey { name, point })),
        (None, None) => Ok(None),
        _ => Err(corrupt("half a key")),
    };
    let last = key(bytes("tls_key")?, bytes("tls_point")?)?.ok_or_else(|| corrupt("there is no key for TLS"))?;
    let before = key(bytes("before_key")?, bytes("before_point")?)?;
    let registers = bytes("registers")?;
    let state = row.try_get::<String, _>("state").map_err(|_| corrupt("the state is none"))?;
    let reason = row.try_get::<Option<String>, _>("reason").map_err(|_| corrupt("the reason is none"))?;
    let state = match (state.as_str(), reason) {
        ("trusted", None) => State::Trusted,
        ("released", None) => State::Released,
        ("quarantined", Some(reason)) => State::Quarantined(reason),
        _ => return Err(corrupt("the state and the reason do not fit")),
    };
    Ok(Known { clock, last, before, registers, state })
}

async fn write_device(
    connection: &mut SqliteConnection,
    device: &str,
    known: &Known,
    now_unix_s: i64,
) -> Result<(), sqlx::Error> {
    let (state, reason) = match &known.state {
        State::Trusted => ("trusted", None),
        State::Released => ("released", None),
        State::Quarantined(reason) => ("quarantined", Some(reason)),
    };
    sqlx::query(
        "INSERT INTO devices (permanent_identifier, resets, restarts, millis, tls_key, tls_point, before_key,
             before_point, registers, state, reason, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (permanent_identifier) DO UPDATE SET resets = excluded.resets, restarts = excluded.restarts,
             millis = excluded.millis, tls_key = excluded.tls_key, tls_point = excluded.tls_point,
             before_key = excluded.before_key, before_point = excluded.before_point, registers = excluded.registers,
             state = excluded.state, reason = excluded.reason, changed_at = excluded.changed_at",
    )
    .bind(device)
    .bind(i64::from(known.clock.resets))
    .bind(i64::from(known.clock.restarts))
    // A TPM that was powered for 292 million years is none.
    .bind(i64::try_from(known.clock.millis).unwrap_or(i64::MAX))
    .bind(&known.last.name)
    .bind(&known.last.point)
    .bind(known.before.as_ref().map(|key| &key.name))
    .bind(known.before.as_ref().map(|key| &key.point))
    .bind(&known.registers)
    .bind(state)
    .bind(reason)
    .bind(now_unix_s)
    .execute(connection)
    .await
    .map(drop)
}
