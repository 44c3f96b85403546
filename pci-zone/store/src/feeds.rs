//! Taking a feed's page: rows, revision and booked place in one transaction, then the index, in the writer's turn.
//!
//! A page that goes back (an older revision, an older booked place) is refused: the feed's owner has lost data, and
//! believing it would forget thefts and give credit twice. What a price was is kept while an open session may ask.

use std::collections::HashMap;
use std::sync::Arc;

use pci_contract::{FeedPage, Gtin, Money};
use sqlx::Row;

use crate::dialect::{BEGIN, Connection, roll_back};
use crate::error::{CommitError, Contradiction, Corrupt, Fault, FeedError, StoreError};
use crate::prepared::{Text, json};
use crate::reference::kind::{Indexed, Mark};
use crate::reference::{Reference, ReferenceRow};
use crate::shape::{Shape, Values};

/// Old prices are kept for at least so many revisions: a session that has read a revision may not be written yet.
const PRICE_REVISIONS_KEPT: i64 = 64;
/// The most rows of one page.
pub(crate) const PAGE_ROWS: usize = 16_384;

static ROWS: Shape = Shape::insert(
    "reference_rows (feed, key, body)",
    "(#, #, #)",
    "ON CONFLICT (feed, key) DO UPDATE SET body = excluded.body",
);
static GONE: Shape = Shape::new("DELETE FROM reference_rows WHERE (feed, key) IN (VALUES", "(#, #)", ")");
static PRICES: Shape = Shape::insert("prices (gtin, revision, minor, currency)", "(#, #, #, #)", "");

type Publish = Box<dyn FnOnce(&Reference, Mark) + Send + Sync>;

/// A page, ready to be stored.
pub(crate) struct Page {
    feed: &'static str,
    revision: i64,
    more: bool,
    booked: i64,
    /// Feed, key, JSON.
    rows: Vec<(&'static str, Text, Text)>,
    gone: Vec<(&'static str, Text)>,
    prices: Vec<(Gtin, Money)>,
    publish: Publish,
}

impl Page {
    pub(crate) fn new<R: ReferenceRow>(page: FeedPage<R>) -> Result<Self, FeedError> {
        let too_large = || FeedError::Fault(Fault::without_cause("took a page of too many rows", false));
        if page.rows.len() > PAGE_ROWS {
            return Err(too_large());
        }
        // The last of several changes of one row counts.
        let mut last: HashMap<String, R> = HashMap::with_capacity(page.rows.len());
        for row in page.rows {
            last.insert(row.key(), row);
        }
        let (mut rows, mut gone, mut prices) = (Vec::new(), Vec::new(), Vec::new());
        for (key, row) in &last {
            let key: Text = key.as_str().into();
            prices.extend(row.price());
            if row.is_removed() {
                gone.push((R::FEED, key));
            } else {
                rows.push((R::FEED, key, json(row).map_err(|_| too_large())?));
            }
        }
        let typed: Vec<R> = last.into_values().collect();
        let publish: Publish = Box::new(move |reference, mark| R::index(reference, typed, mark));
        Ok(Self {
            feed: R::FEED,
            revision: page.revision,
            more: page.more,
            booked: page.booked,
            rows,
            gone,
            prices,
            publish,
        })
    }
}

/// Stores a page and puts it into the index.
pub(crate) async fn apply(connection: &mut Connection, page: Page, reference: &Reference) -> Result<(), FeedError> {
    let changed: Vec<(Gtin, Money)> =
        page.prices.iter().filter(|(gtin, price)| reference.price_now(gtin) != Some(*price)).copied().collect();
    run(connection, BEGIN).await?;
    let stored = match store(connection, &page, &changed).await {
        Ok(stored) => run(connection, "COMMIT").await.map(|()| stored).map_err(FeedError::from),
        Err(error) => Err(error),
    };
    match stored {
        Ok(Stored { mark, prices }) => {
            if let Some(Repriced { revision, oldest }) = prices {
                reference.note_prices(changed.into_iter().map(|(gtin, price)| (gtin, revision, price)));
                reference.forget_prices_before(oldest);
            }
            (page.publish)(reference, mark);
            Ok(())
        }
        Err(error) => {
            roll_back(connection).await;
            Err(error)
        }
    }
}

struct Stored {
    mark: Mark,
    prices: Option<Repriced>,
}

struct Repriced {
    revision: i64,
    oldest: i64,
}

async fn run(connection: &mut Connection, statement: &'static str) -> Result<(), Fault> {
    sqlx::query(statement).execute(&mut *connection).await.map_err(fault)?;
    Ok(())
}

fn fault(error: sqlx::Error) -> Fault {
    Fault::new("took a feed's page", error)
}

async fn store(connection: &mut Connection, page: &Page, changed: &[(Gtin, Money)]) -> Result<Stored, FeedError> {
    let known = state(&mut *connection, page.feed).await?;
    let went_back = FeedError::WentBack { feed: page.feed };
    if page.revision < known.revision {
        return Err(went_back);
    }
    let booked = if page.more { known.booked } else { page.booked };
    if booked < known.booked {
        return Err(went_back);
    }
    let complete = known.complete || !page.more;
    let bind_row = |values: &mut Values, (feed, key, body): &(&'static str, Text, Text)| {
        values.put(*feed);
        values.put(Arc::clone(key));
        values.put(Arc::clone(body));
    };
    ROWS.run(connection, &page.rows, bind_row).await.map_err(fault)?;
    let bind_gone = |values: &mut Values, (feed, key): &(&'static str, Text)| {
        values.put(*feed);
        values.put(Arc::clone(key));
    };
    GONE.run(connection, &page.gone, bind_gone).await.map_err(fault)?;
    let prices = if changed.is_empty() { None } else { Some(reprice(connection, changed).await?) };
    sqlx::query(
        "INSERT INTO feeds (feed, revision, booked, complete) VALUES ($1, $2, $3, $4) ON CONFLICT (feed) DO UPDATE \
         SET revision = excluded.revision, booked = excluded.booked, complete = excluded.complete",
    )
    .bind(page.feed)
    .bind(page.revision)
    .bind(booked)
    .bind(complete)
    .execute(&mut *connection)
    .await
    .map_err(fault)?;
    Ok(Stored { mark: Mark { booked, complete }, prices })
}

/// Gives changed prices the next revision and deletes those that no open session can ask for.
async fn reprice(connection: &mut Connection, changed: &[(Gtin, Money)]) -> Result<Repriced, FeedError> {
    let revision: i64 =
        sqlx::query_scalar("UPDATE counters SET reached = reached + 1 WHERE counter = 'prices' RETURNING reached")
            .fetch_one(&mut *connection)
            .await
            .map_err(fault)?;
    let rows: Vec<(Gtin, i64, Money)> = changed.iter().map(|(gtin, price)| (*gtin, revision, *price)).collect();
    let bind = |values: &mut Values, (gtin, revision, price): &(Gtin, i64, Money)| {
        values.put(gtin.as_str().to_owned());
        values.put(*revision);
        values.put(price.minor());
        values.put(price.currency().as_str().to_owned());
    };
    PRICES.run(connection, &rows, bind).await.map_err(fault)?;
    let frozen: Option<i64> = sqlx::query_scalar("SELECT MIN(price_revision) FROM sessions WHERE NOT done")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    let recent = revision.saturating_sub(PRICE_REVISIONS_KEPT);
    let oldest = frozen.map_or(recent, |frozen| frozen.min(recent));
    sqlx::query(
        "DELETE FROM prices WHERE EXISTS (SELECT 1 FROM prices AS later WHERE later.gtin = prices.gtin \
         AND later.revision > prices.revision AND later.revision <= $1)",
    )
    .bind(oldest)
    .execute(&mut *connection)
    .await
    .map_err(fault)?;
    Ok(Repriced { revision, oldest })
}

/// How far a feed was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FeedState {
    pub(crate) revision: i64,
    pub(crate) booked: i64,
    pub(crate) complete: bool,
}

/// How far `feed` was taken; nowhere when it never was.
pub(crate) async fn state<'e, E>(executor: E, feed: &'static str) -> Result<FeedState, Fault>
where
    E: sqlx::Executor<'e, Database = crate::dialect::Db>,
{
    let row = sqlx::query("SELECT revision, booked, complete FROM feeds WHERE feed = $1")
        .bind(feed)
        .fetch_optional(executor)
        .await
        .map_err(fault)?;
    row.map_or(Ok(FeedState::default()), |row| {
        Ok(FeedState {
            revision: row.try_get(0).map_err(fault)?,
            booked: row.try_get(1).map_err(fault)?,
            complete: row.try_get(2).map_err(fault)?,
        })
    })
}

/// Rows fetched at a time while the index is filled.
const LOAD_ROWS: i64 = 4096;

/// Fills the index with the stored rows of one feed.
pub(crate) async fn load<R: Indexed>(
    connection: &mut Connection,
    reference: &Reference,
) -> Result<FeedState, StoreError> {
    const TABLE: &str = "reference_rows";
    let state = state(&mut *connection, R::FEED).await?;
    let mark = Mark { booked: state.booked, complete: state.complete };
    let mut after = String::new();
    loop {
        let stored =
            sqlx::query("SELECT key, body FROM reference_rows WHERE feed = $1 AND key > $2 ORDER BY key LIMIT $3")
                .bind(R::FEED)
                .bind(after.as_str())
                .bind(LOAD_ROWS)
                .fetch_all(&mut *connection)
                .await
                .map_err(fault)?;
        let mut rows = Vec::with_capacity(stored.len());
        for row in stored {
            let (key, body): (String, String) = (row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
            let parsed: R =
                serde_json::from_str(&body).map_err(|_| Corrupt::new(TABLE, key.as_str(), "not a row of its feed"))?;
            if parsed.key() != key {
                return Err(Corrupt::new(TABLE, key, "stored under another key").into());
            }
            if parsed.is_removed() {
                return Err(Corrupt::new(TABLE, key, "a removed row").into());
            }
            rows.push(parsed);
            after = key;
        }
        let last = rows.is_empty();
        R::index(reference, rows, mark);
        if last {
            return Ok(state);
        }
    }
}

/// Fills the index with the prices through time.
pub(crate) async fn load_prices(connection: &mut Connection, reference: &Reference) -> Result<(), StoreError> {
    const TABLE: &str = "prices";
    let stored = sqlx::query("SELECT gtin, revision, minor, currency FROM prices ORDER BY revision")
        .fetch_all(&mut *connection)
        .await
        .map_err(fault)?;
    let mut prices = Vec::with_capacity(stored.len());
    for row in stored {
        let (gtin, currency): (String, String) = (row.try_get(0).map_err(fault)?, row.try_get(3).map_err(fault)?);
        let corrupt = |why| Corrupt::new(TABLE, gtin.as_str(), why);
        let parsed = Gtin::parse(&gtin).map_err(|_| corrupt("not a trade item number"))?;
        let currency = pci_contract::Currency::parse(&currency).map_err(|_| corrupt("not a currency"))?;
        let minor = row.try_get(2).map_err(fault)?;
        prices.push((parsed, row.try_get(1).map_err(fault)?, Money::new(minor, currency)));
    }
    reference.note_prices(prices.into_iter());
    let revision: i64 = sqlx::query_scalar("SELECT reached FROM counters WHERE counter = 'prices'")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    reference.set_price_revision(revision);
    Ok(())
}

impl From<Contradiction> for CommitError {
    fn from(contradiction: Contradiction) -> Self {
        Self::Conflict(contradiction)
    }
}
