//! The rows: external account keys, accounts, orders, in SQLite. One connection, so what is read is what is changed.
//!
//! A commit that was answered survives a power cut. The file holds MAC keys and is made readable by its owner alone. A row
//! that does not parse was not written by this code: it is refused and never repaired.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use ca_acme::{Account, AccountStatus, EabKey, Effect, Grant, Host, Jwk, Order, Profile, Revoked};
use ca_identity::SpiffeId;
use data_encoding::HEXLOWER;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr};
use zeroize::Zeroizing;

use crate::error::AcmeServerError;

/// How long a command waits while another process writes.
const BUSY: Duration = Duration::from_secs(5);
/// How long an order without a certificate is kept, in seconds.
const KEPT_S: i64 = 7 * 24 * 60 * 60;
/// The most orders of an account that are listed.
const MOST_LISTED: i64 = 64;

/// The schema, in its order.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "acme", include_str!("../../../migrations/authority/0001_acme.sql")),
    (2, "barred", include_str!("../../../migrations/authority/0002_barred.sql")),
];

/// That a fridge's certificate was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    /// The fridge, also of a certificate of its quarantine.
    pub(crate) party: SpiffeId,
    /// When, in seconds since the Unix epoch.
    pub(crate) unix_s: i64,
    /// Why.
    pub(crate) reason: u8,
}

/// The database of the ACME server.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, or makes it, and brings its schema up to date.
    ///
    /// # Errors
    /// [`AcmeServerError`] when the file cannot be made or opened, or has had another schema than ours.
    pub async fn open(path: &Path) -> Result<Self, AcmeServerError> {
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| AcmeServerError::system(format!("cannot open {}", path.display()), source))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON");
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY).connect_with(options).await?;
        let migrations = MIGRATIONS.iter().map(|(version, name, text)| {
            Migration::new(*version, (*name).into(), MigrationType::Simple, (*text).into_sql_str(), false)
        });
        let migrations = migrations.collect::<Vec<_>>();
        let migrated = Migrator::with_migrations(migrations).run(&pool).await;
        migrated.map_err(|why| AcmeServerError::corrupt("the schema", why))?;
        Ok(Self { pool })
    }

    /// Stores the rows among these effects in one transaction.
    pub(crate) async fn put(&self, effects: &[Effect]) -> Result<(), AcmeServerError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for effect in effects {
            match effect {
                Effect::PutEab(key) => put_eab(&mut transaction, key).await?,
                Effect::PutAccount(account) => put_account(&mut transaction, account).await?,
                Effect::PutOrder(order) => put_order(&mut transaction, order).await?,
                _ => {}
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Stores a new binding key.
    ///
    /// # Errors
    /// [`AcmeServerError::Database`].
    pub async fn add_eab(&self, key: &EabKey) -> Result<(), AcmeServerError> {
        put_eab(&mut *self.pool.acquire().await?, key).await
    }

    /// Revokes a binding key; `false` when there is none of this id that is in force.
    ///
    /// # Errors
    /// [`AcmeServerError::Database`].
    pub async fn revoke_eab(&self, kid: &str, now_unix_s: i64) -> Result<bool, AcmeServerError> {
        let done = sqlx::query("UPDATE eab_keys SET revoked_unix_s = $1 WHERE kid = $2 AND revoked_unix_s IS NULL")
            .bind(now_unix_s)
            .bind(kid)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Bars the binding keys of a fridge, and those for the same device, that were made before this; whether there were any.
    pub(crate) async fn bar(&self, bar: &Bar) -> Result<bool, AcmeServerError> {
        let done = sqlx::query(
            "UPDATE eab_keys SET barred_unix_s = $1, barred_reason = $2
             WHERE barred_unix_s IS NULL AND profile = 'device' AND created_unix_s <= $1 AND (party = $3 OR identifiers IN
                 (SELECT identifiers FROM eab_keys WHERE party = $3 AND profile = 'device'))",
        )
        .bind(bar.unix_s)
        .bind(i64::from(bar.reason))
        .bind(bar.party.as_str())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// A binding key by its id.
    pub(crate) async fn eab(&self, kid: &str) -> Result<Option<EabKey>, AcmeServerError> {
        let row = sqlx::query("SELECT * FROM eab_keys WHERE kid = $1").bind(kid).fetch_optional(&self.pool).await?;
        row.as_ref().map(eab_of).transpose()
    }

    /// All binding keys, oldest first.
    ///
    /// # Errors
    /// [`AcmeServerError::Database`], or [`AcmeServerError::Corrupt`] at the first row that is none.
    pub async fn eabs(&self) -> Result<Vec<EabKey>, AcmeServerError> {
        let rows = sqlx::query("SELECT * FROM eab_keys ORDER BY created_unix_s, kid").fetch_all(&self.pool).await?;
        rows.iter().map(eab_of).collect()
    }

    pub(crate) async fn account(&self, id: &str) -> Result<Option<Account>, AcmeServerError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(account_of).transpose()
    }

    pub(crate) async fn account_of_key(&self, thumbprint: &str) -> Result<Option<Account>, AcmeServerError> {
        let asked = sqlx::query("SELECT * FROM accounts WHERE thumbprint = $1").bind(thumbprint);
        asked.fetch_optional(&self.pool).await?.as_ref().map(account_of).transpose()
    }

    pub(crate) async fn order(&self, id: &str) -> Result<Option<Order>, AcmeServerError> {
        let row = sqlx::query("SELECT * FROM orders WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(order_of).transpose()
    }

    pub(crate) async fn order_of_certificate(&self, sha256: &str) -> Result<Option<Order>, AcmeServerError> {
        let asked = sqlx::query("SELECT * FROM orders WHERE certificate_sha256 = $1").bind(sha256);
        asked.fetch_optional(&self.pool).await?.as_ref().map(order_of).transpose()
    }

    pub(crate) async fn order_of_renewal(&self, renewal_id: &str) -> Result<Option<Order>, AcmeServerError> {
        let asked = sqlx::query("SELECT * FROM orders WHERE renewal_id = $1").bind(renewal_id);
        asked.fetch_optional(&self.pool).await?.as_ref().map(order_of).transpose()
    }

    pub(crate) async fn is_replaced(&self, renewal_id: &str) -> Result<bool, AcmeServerError> {
        let found = sqlx::query("SELECT 1 FROM orders WHERE replaces = $1 AND stage = 'valid' LIMIT 1");
        Ok(found.bind(renewal_id).fetch_optional(&self.pool).await?.is_some())
    }

    /// The newest orders of an account.
    pub(crate) async fn orders_of(&self, account: &str) -> Result<Vec<Order>, AcmeServerError> {
        let rows = sqlx::query("SELECT * FROM orders WHERE account = $1 ORDER BY created_unix_s DESC, id LIMIT $2")
            .bind(account)
            .bind(MOST_LISTED)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(order_of).collect()
    }

    /// The orders in a stage that a restart may have left them in.
    pub(crate) async fn orders_in(&self, stage: &str) -> Result<Vec<Order>, AcmeServerError> {
        let rows = sqlx::query("SELECT * FROM orders WHERE stage = $1").bind(stage).fetch_all(&self.pool).await?;
        rows.iter().map(order_of).collect()
    }

    /// Forgets orders that came to nothing long ago.
    pub(crate) async fn prune(&self, now_unix_s: i64) -> Result<(), AcmeServerError> {
        sqlx::query("DELETE FROM orders WHERE stage IN ('open', 'invalid') AND created_unix_s < $1")
            .bind(now_unix_s.saturating_sub(KEPT_S))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

async fn put_eab(connection: &mut sqlx::SqliteConnection, key: &EabKey) -> Result<(), AcmeServerError> {
    sqlx::query(
        "INSERT INTO eab_keys (kid, mac_key, profile, party, identifiers, account, created_unix_s, revoked_unix_s)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (kid) DO UPDATE SET account = excluded.account",
    )
    .bind(&key.kid)
    .bind(key.mac_key.as_slice())
    .bind(key.grant.profile().as_str())
    .bind(key.grant.party().as_str())
    .bind(serde_json::json!(key.grant.identifiers()).to_string())
    .bind(&key.account)
    .bind(key.created_unix_s)
    .bind(key.revoked_unix_s)
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_account(connection: &mut sqlx::SqliteConnection, account: &Account) -> Result<(), AcmeServerError> {
    sqlx::query(
        "INSERT INTO accounts (id, thumbprint, key, status, contact, eab_kid, created_unix_s)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET thumbprint = excluded.thumbprint, key = excluded.key,
             status = excluded.status, contact = excluded.contact",
    )
    .bind(&account.id)
    .bind(account.key.thumbprint())
    .bind(account.key.to_json().to_string())
    .bind(match account.status {
        AccountStatus::Valid => "valid",
        AccountStatus::Deactivated => "deactivated",
    })
    .bind(serde_json::json!(account.contact).to_string())
    .bind(&account.eab_kid)
    .bind(account.created_unix_s)
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_order(connection: &mut sqlx::SqliteConnection, order: &Order) -> Result<(), AcmeServerError> {
    let document = serde_json::to_string(order).map_err(|why| AcmeServerError::corrupt("an order", why))?;
    let certificate = order.certificate();
    sqlx::query(
        "INSERT INTO orders (id, account, created_unix_s, stage, certificate_sha256, renewal_id, replaces, document)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, document = excluded.document,
             certificate_sha256 = excluded.certificate_sha256, renewal_id = excluded.renewal_id",
    )
    .bind(&order.id)
    .bind(&order.account)
    .bind(order.created_unix_s)
    .bind(stage(order))
    .bind(certificate.map(|certificate| &certificate.sha256))
    .bind(certificate.map(|certificate| &certificate.renewal_id))
    .bind(&order.replaces)
    .bind(document)
    .execute(connection)
    .await?;
    Ok(())
}

/// The stage as it stands beside the document.
const fn stage(order: &Order) -> &'static str {
    match order.stage {
        ca_acme::Stage::Open => "open",
        ca_acme::Stage::Processing { .. } => "processing",
        ca_acme::Stage::Valid(_) => "valid",
        ca_acme::Stage::Invalid(_) => "invalid",
    }
}

fn eab_of(row: &SqliteRow) -> Result<EabKey, AcmeServerError> {
    let kid: String = row.try_get("kid")?;
    let corrupt = |why: String| AcmeServerError::corrupt(&format!("the external account key {kid:?}"), why);
    let mac_key = Zeroizing::new(row.try_get::<Vec<u8>, _>("mac_key")?);
    let mac_key = Zeroizing::new(<[u8; 32]>::try_from(mac_key.as_slice()).map_err(|why| corrupt(why.to_string()))?);
    let party = SpiffeId::parse(&row.try_get::<String, _>("party")?).map_err(|why| corrupt(why.to_string()))?;
    let identifiers: Vec<String> =
        serde_json::from_str(&row.try_get::<String, _>("identifiers")?).map_err(|why| corrupt(why.to_string()))?;
    let profile: String = row.try_get("profile")?;
    let grant = match (profile.as_str(), identifiers.as_slice()) {
        (name, texts) if name == Profile::Service.as_str() => {
            let hosts = texts.iter().map(|text| Host::parse(text)).collect::<Result<_, _>>();
            hosts.and_then(|hosts| Grant::service(party, hosts))
        }
        (name, [ek]) if name == Profile::Device.as_str() => HEXLOWER
            .decode(ek.as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| "its endorsement key is no SHA-256".to_owned())
            .and_then(|ek| Grant::device(party, ek)),
        _ => Err(format!("its profile is {profile:?}")),
    };
    let barred = (row.try_get::<Option<i64>, _>("barred_unix_s")?, row.try_get::<Option<i64>, _>("barred_reason")?);
    let barred = match (barred.0, barred.1.map(u8::try_from)) {
        (None, None) => Ok(None),
        (Some(unix_s), Some(Ok(reason))) => Ok(Some(Revoked { unix_s, reason })),
        _ => Err("it is barred and it is not".to_owned()),
    };
    Ok(EabKey {
        mac_key,
        grant: grant.map_err(corrupt)?,
        account: row.try_get("account")?,
        created_unix_s: row.try_get("created_unix_s")?,
        revoked_unix_s: row.try_get("revoked_unix_s")?,
        barred: barred.map_err(corrupt)?,
        kid,
    })
}

fn account_of(row: &SqliteRow) -> Result<Account, AcmeServerError> {
    let id: String = row.try_get("id")?;
    let corrupt = |why: String| AcmeServerError::corrupt(&format!("the account {id:?}"), why);
    let json = |name: &str| -> Result<serde_json::Value, AcmeServerError> {
        serde_json::from_str(&row.try_get::<String, _>(name)?).map_err(|why| corrupt(why.to_string()))
    };
    let status = match row.try_get::<String, _>("status")?.as_str() {
        "valid" => AccountStatus::Valid,
        "deactivated" => AccountStatus::Deactivated,
        other => return Err(corrupt(format!("its status is {other:?}"))),
    };
    let key = Jwk::parse(&json("key")?).map_err(|why| corrupt(why.detail))?;
    if key.thumbprint() != row.try_get::<String, _>("thumbprint")? {
        return Err(corrupt("its thumbprint is another key's".to_owned()));
    }
    Ok(Account {
        key,
        status,
        contact: serde_json::from_value(json("contact")?).map_err(|why| corrupt(why.to_string()))?,
        eab_kid: row.try_get("eab_kid")?,
        created_unix_s: row.try_get("created_unix_s")?,
        id,
    })
}

fn order_of(row: &SqliteRow) -> Result<Order, AcmeServerError> {
    let id: String = row.try_get("id")?;
    let corrupt = |why: String| AcmeServerError::corrupt(&format!("the order {id:?}"), why);
    let document: String = row.try_get("document")?;
    let order: Order = serde_json::from_str(&document).map_err(|why| corrupt(why.to_string()))?;
    let beside = (row.try_get::<String, _>("account")?, row.try_get::<String, _>("stage")?);
    if order.id != id || (order.account.as_str(), stage(&order)) != (beside.0.as_str(), beside.1.as_str()) {
        return Err(corrupt("its document is about another order than its row".to_owned()));
    }
    Ok(order)
}
