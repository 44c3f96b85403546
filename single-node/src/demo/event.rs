//! The event that a purchase became, read from the PCI zone's outbox: all that anybody outside will ever know of it.

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::Fault;
use crate::layout::Layout;
use crate::stack::PURCHASE;

/// The first purchase that was finalized here, as its event tells it.
pub(super) async fn first_purchase(layout: &Layout) -> Result<Value, Fault> {
    let options = SqliteConnectOptions::new().filename(layout.state(&format!("{PURCHASE}.sqlite"))).read_only(true);
    let mut outbox = options.connect().await.map_err(Fault::of("the outbox"))?;
    let body: String = sqlx::query_scalar("SELECT body FROM outbox WHERE type = $1 ORDER BY position LIMIT 1")
        .bind("larder.purchase.finalized.v1")
        .fetch_one(&mut outbox)
        .await
        .map_err(Fault::of("the outbox"))?;
    outbox.close().await.map_err(Fault::of("the outbox"))?;
    serde_json::from_str(&body).map_err(Fault::of("an event"))
}
