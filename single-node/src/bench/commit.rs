//! A bare group commit: what waits is written with multi-row statements in one transaction, with synchronous FULL, into
//! the same schema on the same disk. No fences, no checks, no memory of what was written.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Encode, Sqlite, SqliteConnection, Type};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::rows::{Intent, Step};
use super::statistics::number;
use crate::Fault;

/// Writes of one group, as in the store.
const GROUP: usize = 128;
/// The most rows of one statement, as in the store.
const WIDEST: usize = 128;
const SCHEMA: &str = include_str!("../../../migrations/purchase-session/0001_first.sql");

type Waiting = (Step, oneshot::Sender<()>);

/// Writes `sessions` into a new database at `path`, as many at once as there are lists, each step of a session after the
/// one before it; sessions a second.
///
/// # Errors
/// [`Fault`] when the database fails.
pub(super) async fn rate(path: &Path, sessions: Vec<Vec<Vec<Step>>>) -> Result<f64, Fault> {
    remove(path);
    let connection = connect(path).await?;
    let count: usize = sessions.iter().map(Vec::len).sum();
    let (jobs, waiting) = mpsc::channel(GROUP);
    let writer = tokio::spawn(write(connection, waiting));
    let began = Instant::now();
    let mut callers: JoinSet<Option<()>> = JoinSet::new();
    for list in sessions {
        let jobs = jobs.clone();
        callers.spawn(async move {
            for step in list.into_iter().flatten() {
                let (answer, answered) = oneshot::channel();
                jobs.send((step, answer)).await.ok()?;
                answered.await.ok()?;
            }
            Some(())
        });
    }
    drop(jobs);
    while let Some(caller) = callers.join_next().await {
        caller.map_err(Fault::of("a writer's caller"))?;
    }
    let elapsed = began.elapsed();
    writer.await.map_err(Fault::of("the bare writer"))?.map_err(Fault::of("the bare group commit"))?;
    remove(path);
    Ok(number(count) / elapsed.as_secs_f64())
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        // What is not there need not be removed.
        let _ = std::fs::remove_file(name);
    }
}

async fn connect(path: &Path) -> Result<SqliteConnection, Fault> {
    let fault = "the bare database";
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-16384")
        .statement_cache_capacity(256)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(Fault::of(fault))?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(Fault::of(fault))?;
    Ok(connection)
}

async fn write(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Waiting>) -> Result<(), sqlx::Error> {
    let (mut texts, mut position) = (Texts::default(), 0);
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let (steps, answers): (Vec<Step>, Vec<_>) = group.drain(..).unzip();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        write_group(&mut connection, &mut texts, &steps, &mut position).await?;
        sqlx::query("COMMIT").execute(&mut connection).await?;
        for answer in answers {
            let _ = answer.send(());
        }
    }
    connection.close().await
}

async fn write_group(
    connection: &mut SqliteConnection,
    texts: &mut Texts,
    steps: &[Step],
    position: &mut i64,
) -> Result<(), sqlx::Error> {
    let steps_in_order: Vec<&Step> = steps.iter().collect();
    texts.run(connection, &SESSIONS, &steps_in_order, bind_session).await?;
    let touches: Vec<_> = steps.iter().flat_map(|step| step.touches.iter().map(move |touch| (step, touch))).collect();
    texts
        .run(connection, &TOUCHES, &touches, |values, (step, (sequence, touch))| {
            put(values, step.session.as_str())?;
            put(values, *sequence)?;
            put(values, touch.kind.as_str())?;
            put(values, touch.code.as_str())?;
            put(values, step.head.opened_at)?;
            put(values, step.head.opened_at)
        })
        .await?;
    let asks: Vec<_> = steps.iter().flat_map(|step| step.asks.iter().map(move |ask| (step, ask))).collect();
    texts.run(connection, &ASKS, &asks, |values, (step, ask)| bind_ask(values, step, ask)).await?;
    let answers: Vec<_> = steps.iter().flat_map(|step| step.answers.iter().map(move |ask| (step, ask))).collect();
    texts
        .run(connection, &ANSWERS, &answers, |values, (step, answer)| {
            put(values, answer.intent.as_str())?;
            put(values, "done")?;
            put(values, answer.reference.as_deref())?;
            put(values, step.head.opened_at)
        })
        .await?;
    let events: Vec<_> = steps.iter().flat_map(|step| step.events.iter().map(move |event| (step, event))).collect();
    if !events.is_empty() {
        let next = *position + i64::try_from(events.len()).unwrap_or(0);
        sqlx::query("UPDATE counters SET reached = $1 WHERE counter = 'outbox'")
            .bind(next)
            .execute(&mut *connection)
            .await?;
        let placed: Vec<_> = (*position + 1..).zip(events).collect();
        *position = next;
        texts
            .run(connection, &EVENTS, &placed, |values, (position, (step, (id, event)))| {
                put(values, *position)?;
                put(values, id.as_str())?;
                put(values, event.kind.as_str())?;
                put(values, event.subject.as_str())?;
                put(values, step.head.opened_at)?;
                put(values, event.body.as_str())
            })
            .await?;
    }
    Ok(())
}

fn bind_session(values: &mut SqliteArguments, step: &&Step) -> Result<(), sqlx::Error> {
    put(values, step.session.as_str())?;
    put(values, step.head.fridge.as_str())?;
    put(values, 1_i64)?;
    put(values, step.state.stage.as_str())?;
    put(values, step.state.busy)?;
    put(values, step.state.done)?;
    put(values, None::<&str>)?;
    put(values, step.head.token.as_deref())?;
    put(values, step.head.price_revision)?;
    put(values, step.head.opened_at)?;
    put(values, step.head.opened_at)?;
    put(values, step.state.state.as_str())
}

fn bind_ask(values: &mut SqliteArguments, step: &Step, ask: &Intent) -> Result<(), sqlx::Error> {
    put(values, ask.intent.as_str())?;
    put(values, step.session.as_str())?;
    put(values, ask.verb.as_str())?;
    put(values, ask.amount_minor)?;
    put(values, ask.currency.as_str())?;
    put(values, step.head.opened_at)?;
    put(values, 1_i64)
}

fn put<'q, V: Encode<'q, Sqlite> + Type<Sqlite>>(values: &mut SqliteArguments, value: V) -> Result<(), sqlx::Error> {
    values.add(value).map_err(sqlx::Error::Encode)
}

/// A statement whose middle repeats once a row.
struct Statement {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
}

const SESSIONS: Statement = Statement {
    head: "INSERT INTO sessions (session, fridge, fence, stage, busy, done, customer, token, price_revision, opened_at, \
           updated_at, state) VALUES",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail: "ON CONFLICT (session) DO UPDATE SET stage = excluded.stage, busy = excluded.busy, done = excluded.done, \
           updated_at = excluded.updated_at, state = excluded.state",
};
const TOUCHES: Statement = Statement {
    head: "INSERT INTO touches (session, sequence, kind, code, device_time, received_at) VALUES",
    row: "(?, ?, ?, ?, ?, ?)",
    tail: "",
};
const ASKS: Statement = Statement {
    head: "INSERT INTO intents (intent, session, verb, amount_minor, currency, asked_at, attempts) VALUES",
    row: "(?, ?, ?, ?, ?, ?, ?)",
    tail: "",
};
const ANSWERS: Statement = Statement {
    head: "WITH said (intent, outcome, reference, answered_at) AS (VALUES",
    row: "(?, ?, CAST(? AS TEXT), CAST(? AS BIGINT))",
    tail: ") UPDATE intents SET outcome = said.outcome, reference = said.reference, answered_at = said.answered_at \
           FROM said WHERE intents.intent = said.intent",
};
const EVENTS: Statement = Statement {
    head: "INSERT INTO outbox (position, event, type, subject, at, body) VALUES",
    row: "(?, ?, ?, ?, ?, ?)",
    tail: "",
};

/// The texts of statements by their widths, made once.
#[derive(Default)]
struct Texts(HashMap<(&'static str, usize), Arc<str>>);

impl Texts {
    async fn run<T>(
        &mut self,
        connection: &mut SqliteConnection,
        statement: &Statement,
        rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        let mut rest = rows;
        while !rest.is_empty() {
            let width = (1 << rest.len().ilog2()).min(WIDEST);
            let (chunk, after) = rest.split_at_checked(width).unwrap_or((rest, &[]));
            rest = after;
            let mut values = SqliteArguments::default();
            for row in chunk {
                bind(&mut values, row)?;
            }
            let text = self.0.entry((statement.head, width)).or_insert_with(|| {
                let rows = vec![statement.row; width].join(", ");
                format!("{} {rows} {}", statement.head, statement.tail).into()
            });
            sqlx::query_with(AssertSqlSafe(Arc::clone(text)), values).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::tests::template;

    #[tokio::test]
    async fn every_step_of_every_session_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bare.sqlite");
        let lists = (0..3).map(|fridge| vec![template().in_steps(fridge), template().in_steps(fridge)]).collect();
        assert!(rate(&path, lists).await.expect("written") > 0.0);
        assert!(!path.exists(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_group_is_whole_in_the_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = connect(&folder.path().join("bare.sqlite")).await.expect("a database");
        let steps: Vec<Step> = (0..70).flat_map(|fridge| template().at_once(fridge)).collect();
        let (mut texts, mut position) = (Texts::default(), 0);
        write_group(&mut connection, &mut texts, &steps, &mut position).await.expect("written");
        for (query, expected) in [
            ("SELECT COUNT(*) FROM sessions", 70),
            ("SELECT COUNT(*) FROM touches", 140),
            ("SELECT COUNT(*) FROM intents WHERE outcome = 'done'", 140),
            ("SELECT MAX(position) FROM outbox", 140),
        ] {
            let count: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("read");
            assert_eq!(count, expected, "{query}");
        }
    }
}
