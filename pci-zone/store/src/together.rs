//! Point reads of many callers as one statement.
//!
//! A read costs two hand-overs between threads, whatever it reads; for the look-ups that every session makes they cost
//! more than all of its writes. So while one group of questions is being answered the next gathers, as the writer does
//! with writes. A caller's answer is the row as it was at some moment after he asked.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::dialect::Connection;
use crate::error::{Fault, StoreError};
use crate::prepared::Text;
use crate::shape::Shape;
use crate::statements::bind_text;

/// Questions that may wait.
const QUEUE: usize = 1_024;
/// Questions of one group: as many as the widest statement takes.
const GROUP: usize = 64;

/// Rows by one key each.
static SESSIONS: Shape = Shape::new(
    "SELECT session, fridge, fence, stage, busy, done, customer, token, price_revision, opened_at, state FROM sessions \
     WHERE session IN (",
    "#",
    ")",
);
static CARDS: Shape =
    Shape::new("SELECT token, brand, last_four, reference FROM stored_cards WHERE token IN (", "#", ")");
/// The latest is last.
static AUTHORIZATIONS: Shape = Shape::new(
    "SELECT session, reference FROM intents WHERE verb = 'authorize' AND outcome = 'done' AND session IN (",
    "#",
    ") ORDER BY asked_at",
);

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Session,
    Card,
    Authorization,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Session, Self::Card, Self::Authorization];

    fn shape(self) -> &'static Shape {
        match self {
            Self::Session => &SESSIONS,
            Self::Card => &CARDS,
            Self::Authorization => &AUTHORIZATIONS,
        }
    }
}

type Found = Arc<SqliteRow>;

struct Question {
    kind: Kind,
    key: Text,
    answer: oneshot::Sender<Result<Option<Found>, StoreError>>,
}

/// The way to the reading task.
#[derive(Debug, Clone)]
pub(crate) struct Together(mpsc::Sender<Question>);

impl Together {
    /// Starts the task on the present runtime. It ends with the last of its callers.
    pub(crate) fn start(readers: SqlitePool) -> Self {
        let (questions, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(readers, waiting));
        Self(questions)
    }

    /// The row of this key, if there is one.
    pub(crate) async fn find(&self, kind: Kind, key: &str) -> Result<Option<Found>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let closed = || StoreError::from(Fault::without_cause("was closed", true));
        self.0.send(Question { kind, key: key.into(), answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn run(readers: SqlitePool, mut waiting: mpsc::Receiver<Question>) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let outcome = match readers.acquire().await {
            Ok(mut connection) => look_up(&mut connection, &group).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(found) => {
                for Question { kind, key, answer } in group.drain(..) {
                    let _ = answer.send(Ok(found.get(&(kind, key)).map(Found::clone)));
                }
            }
            Err(error) => {
                let error = StoreError::from(Fault::new("was read", error));
                for question in group.drain(..) {
                    let _ = question.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

async fn look_up(connection: &mut Connection, group: &[Question]) -> Result<HashMap<(Kind, Text), Found>, sqlx::Error> {
    let mut found = HashMap::with_capacity(group.len());
    for kind in Kind::ALL {
        let mut keys: Vec<Text> =
            group.iter().filter(|question| question.kind == kind).map(|question| Text::clone(&question.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        for row in kind.shape().fetch(connection, &keys, bind_text).await? {
            let key: String = row.try_get(0)?;
            found.insert((kind, key.into()), Found::new(row));
        }
    }
    Ok(found)
}
