//! Reading: private rows that become domain values or are refused. An odd row is never guessed into shape.

use pci_contract::{
    Brand, CardRef, Currency, CustomerId, EnrollmentId, FridgeId, LastFour, Money, ScannedCode, SessionId, Timestamp,
    Token,
};
use pci_session::{Session, TouchKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqlitePool};

use crate::batch::{Enrollment, IntentOutcome, StoredCard, TouchRecord, Verb};
use crate::error::{Corrupt, Fault, StoreError};
use crate::prepared::touch_word;
use crate::together::{Kind, Together};

/// A session as it was last written.
#[derive(Debug)]
pub struct StoredSession {
    /// Its state.
    pub session: Session,
    /// The fence it was written with.
    pub fence: u64,
}

/// An intent that has no answer yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingIntent {
    /// The key the processor got, or would have got.
    pub key: String,
    /// The session it pays for.
    pub session: SessionId,
    /// The session's fridge.
    pub fridge: FridgeId,
    /// What is asked.
    pub verb: Verb,
    /// For how much.
    pub amount: Money,
    /// The processor's reference of the session's authorization, when there is one.
    pub authorization: Option<String>,
    /// How often it was asked.
    pub attempts: u64,
    /// When it was asked first.
    pub asked_at: Timestamp,
}

/// An intent, asked and perhaps answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// For how much.
    pub amount: Money,
    /// When it was asked first.
    pub asked_at: Timestamp,
    /// How it ended; `None` while it has no answer.
    pub outcome: Option<IntentOutcome>,
}

/// A private row: a struct whose fields are the columns.
macro_rules! stored {
    ($name:ident { $($column:ident: $kind:ty),+ $(,)? }) => {
        struct $name {
            $($column: $kind),+
        }

        impl FromRow<'_, SqliteRow> for $name {
            fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($column: row.try_get(stringify!($column))?),+ })
            }
        }
    };
}

stored!(SessionStored {
    session: String,
    fridge: String,
    fence: i64,
    stage: String,
    busy: bool,
    done: bool,
    customer: Option<String>,
    token: Option<String>,
    price_revision: Option<i64>,
    opened_at: i64,
    state: String,
});

impl TryFrom<SessionStored> for StoredSession {
    type Error = Corrupt;

    fn try_from(row: SessionStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new("sessions", row.session.as_str(), why);
        let session: Session = serde_json::from_str(&row.state).map_err(|_| corrupt("the state is no session"))?;
        let facts = crate::session_facts::of(&session);
        let agrees = facts.session.to_string() == row.session
            && facts.fridge.as_str() == row.fridge
            && facts.stage == row.stage
            && facts.busy == row.busy
            && facts.done == row.done
            && facts.customer.map(CustomerId::as_str) == row.customer.as_deref()
            && facts.token.map(Token::as_str) == row.token.as_deref()
            && facts.price_revision == row.price_revision
            && facts.opened_at.micros() == row.opened_at;
        if !agrees {
            return Err(corrupt("the columns say otherwise than the state"));
        }
        let fence = u64::try_from(row.fence).map_err(|_| corrupt("a negative fence"))?;
        Ok(Self { session, fence })
    }
}

stored!(IntentStored {
    intent: String,
    session: String,
    fridge: Option<String>,
    verb: String,
    amount_minor: i64,
    currency: String,
    asked_at: i64,
    attempts: i64,
    authorization: Option<String>,
});

impl TryFrom<IntentStored> for PendingIntent {
    type Error = Corrupt;

    fn try_from(row: IntentStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new("intents", row.intent.as_str(), why);
        let fridge = row.fridge.as_deref().ok_or_else(|| corrupt("its session does not exist"))?;
        let currency = Currency::parse(&row.currency).map_err(|_| corrupt("not a currency"))?;
        Ok(Self {
            session: SessionId::parse(&row.session).map_err(|_| corrupt("not a session id"))?,
            fridge: FridgeId::parse(fridge).map_err(|_| corrupt("not a fridge"))?,
            verb: Verb::parse(&row.verb).ok_or_else(|| corrupt("not a verb"))?,
            amount: Money::new(row.amount_minor, currency),
            attempts: u64::try_from(row.attempts).map_err(|_| corrupt("negative attempts"))?,
            asked_at: Timestamp::from_micros(row.asked_at),
            authorization: row.authorization,
            key: row.intent,
        })
    }
}

stored!(AskedStored { intent: String, amount_minor: i64, currency: String, asked_at: i64, outcome: Option<String> });

impl TryFrom<AskedStored> for Intent {
    type Error = Corrupt;

    fn try_from(row: AskedStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new("intents", row.intent.as_str(), why);
        let currency = Currency::parse(&row.currency).map_err(|_| corrupt("not a currency"))?;
        let outcome = match &row.outcome {
            Some(word) => Some(IntentOutcome::parse(word).ok_or_else(|| corrupt("not an outcome"))?),
            None => None,
        };
        Ok(Self {
            amount: Money::new(row.amount_minor, currency),
            asked_at: Timestamp::from_micros(row.asked_at),
            outcome,
        })
    }
}

stored!(TouchStored { session: String, sequence: i64, kind: String, code: String, device_time: i64, received_at: i64 });

impl TryFrom<TouchStored> for TouchRecord {
    type Error = Corrupt;

    fn try_from(row: TouchStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new("touches", format!("{} {}", row.session, row.sequence), why);
        let code = ScannedCode::read(&row.code);
        if code.as_str() != row.code {
            return Err(corrupt("not a scanned code"));
        }
        Ok(Self {
            session: SessionId::parse(&row.session).map_err(|_| corrupt("not a session id"))?,
            sequence: u64::try_from(row.sequence).map_err(|_| corrupt("a negative number"))?,
            kind: touch_kind(&row.kind).ok_or_else(|| corrupt("neither taken nor returned"))?,
            code,
            device_time: Timestamp::from_micros(row.device_time),
            received_at: Timestamp::from_micros(row.received_at),
        })
    }
}

stored!(EnrollmentStored {
    enrollment: String,
    customer: String,
    token: String,
    brand: String,
    last_four: String,
    enrolled_at: i64,
});

impl TryFrom<EnrollmentStored> for Enrollment {
    type Error = Corrupt;

    fn try_from(row: EnrollmentStored) -> Result<Self, Corrupt> {
        let corrupt = |why| Corrupt::new("enrollments", row.enrollment.as_str(), why);
        Ok(Self {
            id: EnrollmentId::parse(&row.enrollment).map_err(|_| corrupt("not an enrolment id"))?,
            customer: CustomerId::parse(&row.customer).map_err(|_| corrupt("not a customer"))?,
            card: card(&row.token, &row.brand, &row.last_four).ok_or_else(|| corrupt("not a card"))?,
            at: Timestamp::from_micros(row.enrolled_at),
        })
    }
}

fn touch_kind(word: &str) -> Option<TouchKind> {
    [TouchKind::Taken, TouchKind::Returned].into_iter().find(|kind| touch_word(*kind) == word)
}

fn card(token: &str, brand: &str, last_four: &str) -> Option<CardRef> {
    let brand: Brand = serde_json::from_value(serde_json::Value::String(brand.to_owned())).ok()?;
    Some(CardRef { token: Token::parse(token).ok()?, brand, last_four: LastFour::parse(last_four).ok()? })
}

const SESSION_COLUMNS: &str =
    "SELECT session, fridge, fence, stage, busy, done, customer, token, price_revision, opened_at, state FROM sessions";

/// The reading half of the store.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) pool: SqlitePool,
    together: Together,
}

impl Reader {
    /// Reads through `pool`; to be made on a runtime.
    pub(crate) fn new(pool: SqlitePool) -> Self {
        Self { together: Together::start(pool.clone()), pool }
    }

    pub(crate) async fn session(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        let row = self.together.find(Kind::Session, &id.to_string()).await?;
        one(row.map(|row| SessionStored::from_row(&row)).transpose())
    }

    pub(crate) async fn busy_session_of(&self, fridge: &FridgeId) -> Result<Option<StoredSession>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{SESSION_COLUMNS} WHERE fridge = $1 AND busy"));
        one(sqlx::query_as::<_, SessionStored>(sql).bind(fridge.as_str()).fetch_optional(&self.pool).await)
    }

    pub(crate) async fn unfinished(
        &self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<StoredSession>, StoreError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let sql =
            sqlx::AssertSqlSafe(format!("{SESSION_COLUMNS} WHERE NOT done AND session > $1 ORDER BY session LIMIT $2"));
        let rows =
            sqlx::query_as::<_, SessionStored>(sql).bind(after).bind(i64::from(limit)).fetch_all(&self.pool).await;
        all(rows)
    }

    pub(crate) async fn pending_intents(
        &self,
        after: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<PendingIntent>, StoreError> {
        let (asked_at, intent) = after.map_or((i64::MIN, ""), |(asked_at, intent)| (asked_at.micros(), intent));
        let rows = sqlx::query_as::<_, IntentStored>(
            "SELECT i.intent, i.session, s.fridge, i.verb, i.amount_minor, i.currency, i.asked_at, i.attempts, \
             (SELECT a.reference FROM intents AS a WHERE a.session = i.session AND a.verb = 'authorize' \
              AND a.outcome = 'done' ORDER BY a.asked_at DESC LIMIT 1) AS authorization \
             FROM intents AS i LEFT JOIN sessions AS s ON s.session = i.session \
             WHERE i.outcome IS NULL AND (i.asked_at, i.intent) > ($1, $2) ORDER BY i.asked_at, i.intent LIMIT $3",
        )
        .bind(asked_at)
        .bind(intent)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await;
        all(rows)
    }

    pub(crate) async fn authorization_of(&self, session: SessionId) -> Result<Option<String>, StoreError> {
        let row = self.together.find(Kind::Authorization, &session.to_string()).await?;
        Ok(row.map(|row| row.try_get(1)).transpose().map_err(fault)?.flatten())
    }

    pub(crate) async fn intent(&self, key: &str) -> Result<Option<Intent>, StoreError> {
        let row = sqlx::query_as::<_, AskedStored>(
            "SELECT intent, amount_minor, currency, asked_at, outcome FROM intents WHERE intent = $1",
        )
        .bind(key)
        .fetch_optional(&self.pool)
        .await;
        one(row)
    }

    pub(crate) async fn touches_of(&self, session: SessionId, limit: u32) -> Result<Vec<TouchRecord>, StoreError> {
        let rows = sqlx::query_as::<_, TouchStored>(
            "SELECT session, sequence, kind, code, device_time, received_at FROM touches WHERE session = $1 \
             ORDER BY sequence LIMIT $2",
        )
        .bind(session.to_string())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await;
        all(rows)
    }

    pub(crate) async fn stored_card(&self, token: &Token) -> Result<Option<StoredCard>, StoreError> {
        let Some(row) = self.together.find(Kind::Card, token.as_str()).await? else { return Ok(None) };
        let text = |at: usize| row.try_get::<String, _>(at).map_err(refused);
        let (brand, last_four, reference) = (text(1)?, text(2)?, text(3)?);
        match card(token.as_str(), &brand, &last_four) {
            Some(card) => Ok(Some(StoredCard { card, reference })),
            None => Err(Corrupt::new("stored_cards", token.as_str(), "not a card").into()),
        }
    }

    pub(crate) async fn enrollment(&self, id: EnrollmentId) -> Result<Option<Enrollment>, StoreError> {
        let row = sqlx::query_as::<_, EnrollmentStored>(
            "SELECT enrollment, customer, token, brand, last_four, enrolled_at FROM enrollments WHERE enrollment = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await;
        one(row)
    }
}

fn fault(error: sqlx::Error) -> Fault {
    Fault::new("was read", error)
}

/// A row whose columns are not of their types is corrupt, too; SQLite lets any value into any column.
fn refused(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { index, .. } => Corrupt::new("(row)", index, "not of the column's type").into(),
        other => fault(other).into(),
    }
}

fn one<S, T>(row: Result<Option<S>, sqlx::Error>) -> Result<Option<T>, StoreError>
where
    S: for<'r> FromRow<'r, SqliteRow>,
    T: TryFrom<S, Error = Corrupt>,
{
    row.map_err(refused)?.map(|row| T::try_from(row).map_err(StoreError::from)).transpose()
}

fn all<S, T>(rows: Result<Vec<S>, sqlx::Error>) -> Result<Vec<T>, StoreError>
where
    S: for<'r> FromRow<'r, SqliteRow>,
    T: TryFrom<S, Error = Corrupt>,
{
    rows.map_err(refused)?.into_iter().map(|row| T::try_from(row).map_err(StoreError::from)).collect()
}
