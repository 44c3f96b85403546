//! What the services say of a day: sessions booked, settlements open, stock, and the processor's own books.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;
use crate::stack::Stack;

/// How far the books are.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Sessions that the status service has booked.
    pub sessions: u64,
    /// Those whose payment is not settled.
    pub pending: u64,
    /// Holds that are open at the processor.
    pub open_holds: u64,
}

/// How far the PCI zone has pulled each feed.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The revision up to which its rows are known.
    pub revisions: BTreeMap<String, i64>,
    /// How often it was read to its end.
    pub ends: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Stock {
    stock: Vec<StockRow>,
}

#[derive(Deserialize)]
struct StockRow {
    fridge: String,
    placed: i64,
}

#[derive(Deserialize)]
struct Sessions<T> {
    sessions: Vec<T>,
}

#[derive(Deserialize)]
struct Counts {
    sessions: u64,
    pending: u64,
}

impl Stack {
    /// How far the books are.
    ///
    /// # Errors
    /// [`Fault`] when a service does not answer.
    pub async fn books(&self) -> Result<Standing, Fault> {
        let counts: Counts = self.ops("status")?.get("/sessions:count").await?;
        let ledger = self.control().ledger().await?;
        let open_holds = ledger.pointer("/open/count").and_then(Value::as_u64).unwrap_or(u64::MAX);
        Ok(Standing { sessions: counts.sessions, pending: counts.pending, open_holds })
    }

    /// What the status service booked of these sessions.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn sessions<T: DeserializeOwned>(&self, ids: &[String]) -> Result<Vec<T>, Fault> {
        let page: Sessions<T> = self.ops("status")?.get(&format!("/sessions:batchGet?ids={}", ids.join(","))).await?;
        Ok(page.sessions)
    }

    /// Meals left in each fridge that has any.
    ///
    /// # Errors
    /// [`Fault`] when the inventory service does not answer.
    pub async fn stock(&self) -> Result<BTreeMap<String, i64>, Fault> {
        let stock: Stock = self.ops("inventory")?.get("/stock").await?;
        Ok(stock.stock.into_iter().map(|row| (row.fridge, row.placed)).collect())
    }

    /// The processor's own books.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn ledger(&self) -> Result<Value, Fault> {
        self.control().ledger().await
    }

    /// How far purchase-session has pulled the feeds since it started.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn pulled(&self) -> Result<Pulled, Fault> {
        let metrics = self.monitor().text("/metrics").await?;
        let of = |metric| metrics.lines().filter_map(|line| by_feed(line, metric)).collect();
        Ok(Pulled { revisions: of("feed_revision"), ends: of("feed_ends_total") })
    }
}

/// The feed and number of a line `larder_purchase_feed_ends_total{feed="meals"} 7`.
fn by_feed(line: &str, metric: &str) -> Option<(String, i64)> {
    let rest = line.strip_prefix("larder_purchase_")?.strip_prefix(metric)?.strip_prefix("{feed=\"")?;
    let (feed, number) = rest.split_once("\"} ")?;
    Some((feed.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::by_feed;

    #[test]
    fn a_metric_line_is_read() {
        let line = "larder_purchase_feed_ends_total{feed=\"meals\"} 7";
        assert_eq!(by_feed(line, "feed_ends_total"), Some(("meals".to_owned(), 7)));
        assert_eq!(by_feed(line, "feed_revision"), None);
        assert_eq!(by_feed("larder_purchase_alarms_total 7", "feed_ends_total"), None);
    }
}
