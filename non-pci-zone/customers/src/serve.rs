//! The service put together: its migrations and its routes.

use ca_identity::ServiceName;
use ops_kit::guard::{CustomersFeed, CustomersInbox, CustomersRead};
use ops_kit::{CancellationToken, Config, Fault, Kit, Routes, Step};
use pci_contract::{CardRow, CustomerRow};

use crate::{Settings, cards, credit, customers, drive, id_tokens, standing};

const STEPS: &[Step] = &[
    (1, "kit", include_str!("../../../migrations/customers/0001_kit.sql")),
    (2, "customers", include_str!("../../../migrations/customers/0002_customers.sql")),
    (3, "lookups", include_str!("../../../migrations/customers/0003_lookups.sql")),
];

/// Serves until `ending` is cancelled.
///
/// # Errors
/// [`Fault`] when the configuration, the database or the address cannot be used.
pub async fn serve(config: Config<Settings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Customers, &config, STEPS, ending).await?;
    let routes = Routes::new::<CustomersRead>(&kit)
        .get("/customers", customers::list)
        .post("/customers", customers::create)
        .post("/customers:batchCreate", customers::batch_create)
        .get("/customers/{id}", customers::read)
        .patch("/customers/{id}", customers::patch)
        .delete("/customers/{id}", customers::erase)
        .get("/customers/{id}/id-tokens", id_tokens::list)
        .post("/customers/{id}/id-tokens", id_tokens::issue)
        .delete("/customers/{id}/id-tokens/{digest}", id_tokens::revoke)
        .get("/customers/{id}/wallet", cards::wallet)
        .delete("/customers/{id}/wallet/{token}", cards::remove)
        .get("/customers/{id}/credit", credit::list)
        .post("/customers/{id}/credit", credit::grant)
        .get("/cards", cards::list)
        .get("/cards/{token}", cards::read)
        .patch("/cards/{token}", cards::patch)
        .get("/thefts", standing::thefts)
        .post("/thefts/{id}/reversal", standing::reverse)
        .get("/unpaid", standing::unpaid)
        .post("/unpaid/{id}/settlement", standing::settle)
        .feed::<CustomerRow, CustomersFeed>()
        .feed::<CardRow, CustomersFeed>()
        .inbox::<CustomersInbox>(drive::book);
    ops_kit::serve(&config, kit, routes).await
}

/// How SQLite would find the rows of a query; what no index serves reads a whole table.
#[cfg(test)]
pub(crate) async fn plan(query: sqlx::QueryBuilder<sqlx::Sqlite>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let db = ops_kit::Db::open(&folder.path().join("x.sqlite"), STEPS).await.unwrap();
    let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.into_string()));
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(text).fetch_all(db.readers()).await.unwrap();
    steps.into_iter().map(|(.., step)| step + "\n").collect()
}
