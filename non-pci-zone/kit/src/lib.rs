//! What the four services of the non-PCI zone have in common, so that each is only its own tables and rules.
//!
//! A service is a [`Config`], a [`Kit`] opened with it, [`Routes`] over the kit, and [`serve`]. The kit decides once for
//! all of them: mutual TLS or nothing; a permit or no handler ([`Allowed`]); a problem body for whatever goes wrong
//! ([`Problem`]); pages, entity tags and repeats ([`PageRequest`], [`IfMatch`], [`Once`]); feeds that the PCI zone pulls
//! and an inbox that it pushes to, both in the same transactions as the service's own writes ([`WriteTx`], [`Book`]).
//!
//! It leaves every word of the trade (meals, customers, fridges) to the services, and who may do what to the policies.

mod audit;
mod authority;
mod client;
pub mod clock;
mod config;
mod db;
mod etag;
mod extract;
mod feed;
pub mod guard;
mod inbox;
mod kit;
mod metrics;
mod once;
mod paging;
mod problem;
mod routes;
mod run;
mod serve;

pub use ca_mtls::{Identity, TrustBundle};
pub use client::{Client, ClientError, Reply};
pub use config::{AuthorityConfig, Config, Limits, NoSettings};
pub use db::{Db, Step, WriteTx};
pub use etag::{IfMatch, etag};
pub use extract::{Body, MAX_BATCH, Named, Params, check_batch, present};
pub use guard::{Allowed, Guard};
pub use inbox::{Book, Booked, Event};
pub use kit::Kit;
pub use metrics::{ConnectionCount, Metrics};
pub use once::{Answer, Once, Ticket};
pub use paging::{Page, PageRequest};
pub use problem::{ApiError, Fault, Problem, stored};
pub use routes::{Guarded, Routes};
pub use run::run;
pub use serve::serve;
pub use tokio_util::sync::CancellationToken;
