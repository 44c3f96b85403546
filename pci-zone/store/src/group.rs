//! One group: the writes of many callers as rows of a few statements, in one transaction.
//!
//! Several writes of one session become one row, the last state; touches, intents and events are all kept. Fences are
//! judged in the order the writes came, so a group means exactly what its parts would have meant one after another. A
//! group that cannot be written as a whole is given up with [`Trouble`]; the writer then tries each part carefully.

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use crate::dialect::{BEGIN, Connection};
use crate::error::{CommitError, Contradiction, Fault};
use crate::prepared::{AnswerRow, AskRow, CardTextRow, EventRow, Prepared, SessionRow, Text};
use crate::shape::{Shape, WIDEST};
use crate::statements as sql;

/// One caller's write.
#[derive(Debug)]
pub(crate) enum Item {
    Batch(Box<Prepared>),
    Lease { fridge: Text, holder: Text },
    Cursor { subscriber: Text, position: i64 },
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Fenced { current: i64 },
    Leased { fence: i64 },
}

/// Why a group could not be written. The transaction must be rolled back to where it was.
#[derive(Debug)]
pub(crate) enum Trouble {
    Database(sqlx::Error),
    Contradiction(Contradiction),
    /// Something in the group was written before; the careful way knows what to leave out.
    Repeat,
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Trouble> for CommitError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Database(error) => Fault::new("wrote a batch", error).into(),
            Trouble::Contradiction(contradiction) => Self::Conflict(contradiction),
            Trouble::Repeat => Fault::without_cause("wrote a batch", true).into(),
        }
    }
}

/// A group as written: what became of each item, in order, and where its events are.
#[derive(Debug, Default)]
pub(crate) struct Written<'a> {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) events: Vec<(i64, &'a EventRow)>,
}

/// How a group is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As a transaction of its own, which begins with its first statement and is committed with its last: each thing
    /// said to the database costs two hand-overs between threads.
    Whole,
    /// Within a transaction that the writer holds. What was written before (an enrolment, an event) is looked up and
    /// left out.
    Careful,
}

/// Writes a group, of [`WIDEST`] items at most. After an error the transaction must be rolled back.
pub(crate) async fn write<'a>(
    connection: &mut Connection,
    items: &[&'a Item],
    how: How,
) -> Result<Written<'a>, Trouble> {
    let (verdicts, batches) = judge(connection, items, how).await?;
    let batches = match how {
        How::Whole => batches,
        How::Careful => leave_out_enrolled(connection, batches).await?,
    };
    write_sessions(connection, &batches).await?;
    let touches: Vec<_> = batches.iter().flat_map(|batch| &batch.touches).collect();
    sql::TOUCHES.run(connection, &touches, sql::bind_touch).await?;
    write_intents(connection, &batches).await?;
    write_cards(connection, &batches).await?;
    write_cursors(connection, items).await?;
    let events = write_events(connection, &batches, how).await?;
    Ok(Written { verdicts, events })
}

/// Takes the leases that were asked for and finds the batches whose fence is the present one at their turn.
async fn judge<'a>(
    connection: &mut Connection,
    items: &[&'a Item],
    how: How,
) -> Result<(Vec<Verdict>, Vec<&'a Prepared>), Trouble> {
    let concerned: HashSet<Text> = items.iter().filter_map(|item| fridge_of(item)).map(Text::clone).collect();
    let concerned: Vec<Text> = concerned.into_iter().collect();
    let mut fences: HashMap<Text, i64> = HashMap::with_capacity(concerned.len());
    let leases = match how {
        How::Whole if concerned.is_empty() => {
            sqlx::query(BEGIN).execute(&mut *connection).await?;
            Vec::new()
        }
        How::Whole => sql::BEGIN_AND_LEASES.fetch(connection, &concerned, sql::bind_text).await?,
        How::Careful => sql::LEASES.fetch(connection, &concerned, sql::bind_text).await?,
    };
    for row in leases {
        fences.insert(row.try_get::<String, _>(0)?.into(), row.try_get(1)?);
    }
    let mut taken: HashMap<Text, (i64, Text)> = HashMap::new();
    let mut verdicts = Vec::with_capacity(items.len());
    let mut batches = Vec::with_capacity(items.len());
    for item in items {
        verdicts.push(match item {
            Item::Lease { fridge, holder } => {
                let fence = fences.get(fridge).copied().unwrap_or(0).saturating_add(1);
                fences.insert(Text::clone(fridge), fence);
                taken.insert(Text::clone(fridge), (fence, Text::clone(holder)));
                Verdict::Leased { fence }
            }
            Item::Cursor { .. } => Verdict::Done,
            Item::Batch(batch) => match &batch.session {
                Some(row) if fences.get(&row.fridge) != Some(&row.fence) => {
                    Verdict::Fenced { current: fences.get(&row.fridge).copied().unwrap_or(0) }
                }
                _ => {
                    batches.push(&**batch);
                    Verdict::Done
                }
            },
        });
    }
    let taken: Vec<(Text, i64, Text)> = taken.into_iter().map(|(fridge, (fence, by))| (fridge, fence, by)).collect();
    sql::TAKE_LEASES.run(connection, &taken, sql::bind_lease).await?;
    Ok((verdicts, batches))
}

fn fridge_of(item: &Item) -> Option<&Text> {
    match item {
        Item::Batch(batch) => batch.session.as_ref().map(|row| &row.fridge),
        Item::Lease { fridge, .. } => Some(fridge),
        Item::Cursor { .. } => None,
    }
}

/// Drops a batch whose enrolment is on record: all of it was written with it.
async fn leave_out_enrolled<'a>(
    connection: &mut Connection,
    batches: Vec<&'a Prepared>,
) -> Result<Vec<&'a Prepared>, Trouble> {
    let mut left = Vec::with_capacity(batches.len());
    for batch in batches {
        let known = match &batch.enrollment {
            Some(row) => sqlx::query("SELECT 1 FROM enrollments WHERE enrollment = $1")
                .bind(Text::clone(&row.enrollment))
                .fetch_optional(&mut *connection)
                .await?
                .is_some(),
            None => false,
        };
        if !known {
            left.push(batch);
        }
    }
    Ok(left)
}

/// One row a session, its last state, at the place of its first write: whatever had to let go of a fridge before it
/// began still comes before it.
async fn write_sessions(connection: &mut Connection, batches: &[&Prepared]) -> Result<(), Trouble> {
    let Last { rows, left } = last_states(batches)?;
    if !sql::NOT_BUSY.fetch(connection, &left, sql::bind_text).await?.is_empty() {
        // It had left its fridge before; the group must not hide that a write wanted it back.
        return Err(Trouble::Contradiction(Contradiction::SessionDiffers));
    }
    let written = sql::SESSIONS.run(connection, &rows, sql::bind_session).await.map_err(|error| match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            Trouble::Contradiction(Contradiction::FridgeBusy)
        }
        _ => Trouble::Database(error),
    })?;
    all_written(written, rows.len(), Contradiction::SessionDiffers)
}

/// The sessions of a group.
struct Last<'a> {
    /// Their last states, in the order of their first writes.
    rows: Vec<&'a SessionRow>,
    /// Those that kept their fridge busy at first and no longer do.
    left: Vec<Text>,
}

/// Folds the writes of each session into the last one, as long as none of them contradicts another.
fn last_states<'a>(batches: &[&'a Prepared]) -> Result<Last<'a>, Trouble> {
    let mut last = Last { rows: Vec::with_capacity(batches.len()), left: Vec::new() };
    let mut place: HashMap<&str, usize> = HashMap::with_capacity(batches.len());
    let mut busy: HashMap<&str, &str> = HashMap::with_capacity(batches.len());
    for row in batches.iter().filter_map(|batch| batch.session.as_ref()) {
        match place.get(&*row.session).and_then(|at| last.rows.get_mut(*at)) {
            Some(earlier) if earlier.fridge != row.fridge || (row.busy && !earlier.busy) => {
                return Err(Trouble::Contradiction(Contradiction::SessionDiffers));
            }
            Some(earlier) => {
                if earlier.busy && !row.busy {
                    last.left.push(Text::clone(&row.session));
                }
                *earlier = row;
            }
            None => {
                place.insert(&row.session, last.rows.len());
                last.rows.push(row);
            }
        }
        if !row.busy {
            if busy.get(&*row.fridge) == Some(&&*row.session) {
                busy.remove(&*row.fridge);
            }
        } else if busy.insert(&row.fridge, &row.session).is_some_and(|other| other != &*row.session) {
            return Err(Trouble::Contradiction(Contradiction::FridgeBusy));
        }
    }
    Ok(last)
}

async fn write_intents(connection: &mut Connection, batches: &[&Prepared]) -> Result<(), Trouble> {
    let mut asks: Vec<AskRow> = Vec::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    let mut answers: HashMap<&str, &AnswerRow> = HashMap::new();
    for batch in batches {
        for ask in &batch.asks {
            match place.get(&*ask.key).and_then(|at| asks.get_mut(*at)) {
                Some(earlier) if !same_request(earlier, ask) => {
                    return Err(Trouble::Contradiction(Contradiction::IntentDiffers));
                }
                Some(earlier) => earlier.attempts += ask.attempts,
                // Answered before it was asked: only one by one can tell whether it was asked before the group.
                None if answers.contains_key(&*ask.key) => return Err(Trouble::Repeat),
                None => {
                    place.insert(&ask.key, asks.len());
                    asks.push(ask.clone());
                }
            }
        }
        for answer in &batch.answers {
            let first = *answers.entry(&answer.key).or_insert(answer);
            if first.outcome != answer.outcome {
                return Err(Trouble::Contradiction(Contradiction::AnswerDiffers));
            }
        }
    }
    let written = sql::ASKS.run(connection, &asks, sql::bind_ask).await?;
    all_written(written, asks.len(), Contradiction::IntentDiffers)?;
    let answers: Vec<&AnswerRow> = answers.into_values().collect();
    let written = sql::ANSWERS.run(connection, &answers, sql::bind_answer).await?;
    all_written(written, answers.len(), Contradiction::AnswerDiffers)
}

fn same_request(a: &AskRow, b: &AskRow) -> bool {
    a.session == b.session && a.verb == b.verb && a.amount_minor == b.amount_minor && a.currency == b.currency
}

fn all_written(written: u64, rows: usize, otherwise: Contradiction) -> Result<(), Trouble> {
    if usize::try_from(written) == Ok(rows) { Ok(()) } else { Err(Trouble::Contradiction(otherwise)) }
}

async fn write_cards(connection: &mut Connection, batches: &[&Prepared]) -> Result<(), Trouble> {
    let cards: HashMap<&str, &CardTextRow> =
        batches.iter().filter_map(|batch| batch.card.as_ref()).map(|row| (&*row.token, row)).collect();
    let cards: Vec<&CardTextRow> = cards.into_values().collect();
    sql::CARDS.run(connection, &cards, sql::bind_card).await?;
    let enrollments: Vec<_> = batches.iter().filter_map(|batch| batch.enrollment.as_ref()).collect();
    let written = sql::ENROLLMENTS.run(connection, &enrollments, sql::bind_enrollment).await?;
    if usize::try_from(written) == Ok(enrollments.len()) { Ok(()) } else { Err(Trouble::Repeat) }
}

/// Gives the events the next positions, and ends a group's own transaction.
async fn write_events<'a>(
    connection: &mut Connection,
    batches: &[&'a Prepared],
    how: How,
) -> Result<Vec<(i64, &'a EventRow)>, Trouble> {
    let mut events: Vec<&EventRow> = batches.iter().flat_map(|batch| &batch.events).collect();
    if how == How::Careful {
        leave_out_known(connection, &mut events).await?;
    }
    let mut written = Vec::with_capacity(events.len());
    let mut chunks = events.chunks(WIDEST).peekable();
    while let Some(chunk) = chunks.next() {
        let last = chunks.peek().is_none() && how == How::Whole;
        let shape = if last { &sql::EVENTS_AND_COMMIT } else { &sql::EVENTS };
        written.extend(write_chunk(connection, shape, chunk).await?);
    }
    if written.is_empty() && how == How::Whole {
        sqlx::query("COMMIT").execute(&mut *connection).await?;
    }
    Ok(written)
}

async fn leave_out_known(connection: &mut Connection, events: &mut Vec<&EventRow>) -> Result<(), Trouble> {
    let ids: Vec<Text> = events.iter().map(|row| Text::clone(&row.event)).collect();
    let mut known = HashSet::new();
    for row in sql::KNOWN_EVENTS.fetch(connection, &ids, sql::bind_text).await? {
        known.insert(row.try_get::<String, _>(0)?);
    }
    events.retain(|row| known.insert(row.event.to_string()));
    Ok(())
}

async fn write_chunk<'a>(
    connection: &mut Connection,
    shape: &Shape,
    events: &[&'a EventRow],
) -> Result<Vec<(i64, &'a EventRow)>, Trouble> {
    let count = i64::try_from(events.len()).map_err(|_| Trouble::Contradiction(Contradiction::TooLarge))?;
    let mut rows: Vec<(i64, &EventRow)> = (1 - count..=0).zip(events.iter().copied()).collect();
    let answer = shape.fetch_with(connection, count, &rows, sql::bind_event).await.map_err(|error| match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => Trouble::Repeat,
        _ => Trouble::Database(error),
    })?;
    let reached: i64 = answer.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    rows.iter_mut().for_each(|(position, _)| *position += reached);
    Ok(rows)
}

async fn write_cursors(connection: &mut Connection, items: &[&Item]) -> Result<(), Trouble> {
    let mut furthest: HashMap<&Text, i64> = HashMap::new();
    for item in items {
        if let Item::Cursor { subscriber, position } = item {
            let reached = furthest.entry(subscriber).or_insert(*position);
            *reached = (*reached).max(*position);
        }
    }
    let rows: Vec<(Text, i64)> = furthest.into_iter().map(|(by, position)| (Text::clone(by), position)).collect();
    sql::CURSORS.run(connection, &rows, sql::bind_cursor).await?;
    Ok(())
}
