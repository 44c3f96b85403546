//! What one session leaves in the purchase database, read from that database itself, and the same rows under fresh ids:
//! what a bare group commit has to write.
//!
//! A session is seven commits there, each of which somebody waits for: asked, unlocked, door opened, two touches, door
//! closed, settled. Each writes the session's row anew, with what belongs to that step.

use std::path::Path;
use std::time::Duration;

use pci_contract::SessionId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, FromRow, Row, SqliteConnection};

use super::world;
use crate::Fault;

/// How long a read waits for a checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A look into the purchase database from outside.
pub(super) struct Ledger(SqliteConnection);

impl Ledger {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// [`Fault`] when it is not there.
    pub(super) async fn open(path: &Path) -> Result<Self, Fault> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let options = options.disable_statement_logging();
        Ok(Self(options.connect().await.map_err(Fault::of("the purchase database"))?))
    }

    /// Questions to the processor that have no answer yet.
    ///
    /// # Errors
    /// [`Fault`] when the database does not answer.
    pub(super) async fn unanswered(&mut self) -> Result<i64, Fault> {
        self.number("SELECT COUNT(*) FROM intents WHERE outcome IS NULL").await
    }

    /// Events that the slowest subscriber has not booked yet.
    ///
    /// # Errors
    /// [`Fault`] when the database does not answer.
    pub(super) async fn unbooked(&mut self) -> Result<i64, Fault> {
        let slowest = "(SELECT COALESCE(MIN(position), 0) FROM cursors)";
        let last = "(SELECT COALESCE(MAX(position), 0) FROM outbox)";
        self.number(&format!("SELECT {last} - {slowest}")).await
    }

    /// A session's stage and state as they are now.
    ///
    /// # Errors
    /// [`Fault`] when there is no such session.
    pub(super) async fn state(&mut self, session: SessionId) -> Result<State, Fault> {
        self.one("SELECT stage, busy, done, state FROM sessions WHERE session = $1", session).await
    }

    /// All that a session that has ended left, with its states at each of its commits.
    ///
    /// # Errors
    /// [`Fault`] when it has not ended, or left something else.
    pub(super) async fn template(&mut self, session: SessionId, states: [State; 7]) -> Result<Template, Fault> {
        let of = "FROM sessions WHERE session = $1";
        let head: Head = self.one(&format!("SELECT fridge, token, price_revision, opened_at {of}"), session).await?;
        let touches = self.all("SELECT kind, code FROM touches WHERE session = $1 ORDER BY sequence", session).await?;
        let intents = "SELECT intent, verb, amount_minor, currency, reference FROM intents WHERE session = $1";
        let intents = self.all(&format!("{intents} ORDER BY asked_at"), session).await?;
        let events = "SELECT type AS kind, subject, body FROM outbox WHERE instr(body, $1) > 0 ORDER BY position";
        let events = self.all(events, session).await?;
        Ok(Template { session: session.to_string(), head, states, touches, intents, events })
    }

    async fn number(&mut self, query: &str) -> Result<i64, Fault> {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()));
        query.fetch_one(&mut self.0).await.map_err(Fault::of("the purchase database"))
    }

    async fn one<T>(&mut self, query: &str, session: SessionId) -> Result<T, Fault>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let rows: Vec<T> = self.all(query, session).await?;
        rows.into_iter().next().ok_or_else(|| Fault::new(format!("session {session} is not in the purchase database")))
    }

    async fn all<T>(&mut self, query: &str, session: SessionId) -> Result<Vec<T>, Fault>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query.to_owned())).bind(session.to_string());
        query.fetch_all(&mut self.0).await.map_err(Fault::of("the purchase database"))
    }
}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $kind:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name {
            $(pub(super) $column: $kind),+
        }

        impl FromRow<'_, SqliteRow> for $name {
            fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($column: row.try_get(stringify!($column))?),+ })
            }
        }
    };
}

row! {
    /// A session's state at one commit.
    State { stage: String, busy: bool, done: bool, state: String }
}
row! {
    /// What stays the same in a session's row.
    Head { fridge: String, token: Option<String>, price_revision: Option<i64>, opened_at: i64 }
}
row! {
    /// A touch.
    Touch { kind: String, code: String }
}
row! {
    /// A question to the processor, with what it answered.
    Intent { intent: String, verb: String, amount_minor: i64, currency: String, reference: Option<String> }
}
row! {
    /// An event.
    Event { kind: String, subject: String, body: String }
}

/// The rows of one real session.
#[derive(Debug, Clone)]
pub(super) struct Template {
    session: String,
    head: Head,
    states: [State; 7],
    touches: Vec<Touch>,
    intents: Vec<Intent>,
    events: Vec<Event>,
}

/// What one commit writes.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) session: String,
    pub(super) head: Head,
    pub(super) state: State,
    /// With their numbers.
    pub(super) touches: Vec<(i64, Touch)>,
    pub(super) asks: Vec<Intent>,
    pub(super) answers: Vec<Intent>,
    /// With their ids.
    pub(super) events: Vec<(String, Event)>,
}

impl Template {
    /// The rows of another session, at the `fridge`th fridge, in the seven steps in which they are written.
    pub(super) fn in_steps(&self, fridge: usize) -> Vec<Step> {
        let all = self.renamed(fridge);
        let pick = |at: i64, state: &State| Step {
            session: all.session.clone(),
            head: all.head.clone(),
            state: state.clone(),
            touches: all.touches.iter().filter(|(number, _)| *number + 1 == at).cloned().collect(),
            asks: all.asks.iter().take(usize::from(at == 1)).cloned().collect(),
            answers: all.asks.iter().take(usize::from(at == 2)).cloned().collect(),
            events: Vec::new(),
        };
        let mut steps: Vec<Step> = (1..).zip(&self.states).map(|(at, state)| pick(at, state)).collect();
        for step in &mut steps {
            step.state.state = step.state.state.replace(&self.session, &all.session);
        }
        if let [.., closed, settled] = steps.as_mut_slice() {
            closed.asks = all.asks.iter().skip(1).cloned().collect();
            closed.events = all.events.iter().take(1).cloned().collect();
            settled.answers = all.asks.iter().skip(1).cloned().collect();
            settled.events = all.events.iter().skip(1).cloned().collect();
        }
        steps
    }

    /// The same rows as they are in the end, each written once, in one step: less than any system can do that must
    /// keep its word in between.
    pub(super) fn at_once(&self, fridge: usize) -> Vec<Step> {
        vec![self.renamed(fridge)]
    }

    fn renamed(&self, fridge: usize) -> Step {
        let session = fridge_agent::clock::new_session_id().to_string();
        let rename = |text: &str| text.replace(&self.session, &session);
        let head = Head { fridge: world::fridge(fridge), ..self.head.clone() };
        let [.., last] = &self.states;
        let intent = |intent: &Intent| Intent { intent: rename(&intent.intent), ..intent.clone() };
        let event = |event: &Event| {
            let id = fridge_agent::clock::new_report_id().to_string();
            (id, Event { body: rename(&event.body), subject: rename(&event.subject), ..event.clone() })
        };
        let asks: Vec<Intent> = self.intents.iter().map(intent).collect();
        Step {
            head,
            state: State { state: rename(&last.state), ..last.clone() },
            // A touch's number is its message's: the card is 1, the door 2. Its commit is one further, the card has two.
            touches: (3..).zip(self.touches.iter().cloned()).collect(),
            answers: asks.clone(),
            asks,
            events: self.events.iter().map(event).collect(),
            session,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn template() -> Template {
        let session = "019cb000-0000-7000-8000-000000000000";
        let state = |stage: &str, busy| State {
            stage: stage.to_owned(),
            busy,
            done: false,
            state: format!("{{\"id\":\"{session}\",\"stage\":\"{stage}\"}}"),
        };
        let intent = |verb: &str| Intent {
            intent: format!("{session}-{verb}-1"),
            verb: verb.to_owned(),
            amount_minor: 2_500,
            currency: "USD".to_owned(),
            reference: Some("pi_a".to_owned()),
        };
        let touch = |code: &str| Touch { kind: "taken".to_owned(), code: code.to_owned() };
        let event = |kind: &str| Event {
            kind: kind.to_owned(),
            subject: "FR-B000".to_owned(),
            body: format!("{{\"session\":\"{session}\"}}"),
        };
        Template {
            session: session.to_owned(),
            head: Head { fridge: "FR-B000".to_owned(), token: None, price_revision: Some(1), opened_at: 1 },
            states: ["authorizing", "unlocked", "open", "open", "open", "ended", "ended"]
                .map(|stage| state(stage, stage != "ended")),
            touches: vec![touch("a"), touch("b")],
            intents: vec![intent("authorize"), intent("capture")],
            events: vec![event("finalized"), event("settled")],
        }
    }

    #[test]
    fn seven_steps_write_every_row_once_and_the_session_each_time() {
        let steps = template().in_steps(3);
        let count = |of: fn(&Step) -> usize| steps.iter().map(of).collect::<Vec<_>>();
        assert_eq!(count(|step| step.touches.len()), [0, 0, 0, 1, 1, 0, 0]);
        assert_eq!(count(|step| step.asks.len()), [1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(count(|step| step.answers.len()), [0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(count(|step| step.events.len()), [0, 0, 0, 0, 0, 1, 1]);
        for step in &steps {
            assert_eq!((step.session.as_str(), step.head.fridge.as_str()), (steps[0].session.as_str(), "FR-B003"));
            assert!(step.state.state.contains(&step.session));
        }
        assert!(steps[5].asks[0].intent.starts_with(&steps[0].session));
        assert_eq!(steps[4].touches[0].1.code, "b");
    }

    #[test]
    fn at_once_is_all_of_it() {
        let steps = template().at_once(0);
        let [step] = steps.as_slice() else { panic!("one step") };
        let counts = [step.touches.len(), step.asks.len(), step.answers.len(), step.events.len()];
        assert_eq!((counts, step.state.stage.as_str()), ([2, 2, 2, 2], "ended"));
    }
}
