//! The configuration files of the services of one machine.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Table;
use toml::Value;

use crate::Fault;
use crate::hsm::Token;
use crate::issuer::{Issuer, Party};
use crate::layout::{self, Layout};
use crate::services::{AUTHORITY, OPS, PURCHASE};

/// The feeds that each service has.
const FEEDS: [(&str, &[&str]); 4] = [
    ("admin", &["policy", "fridges"]),
    ("status", &["locks"]),
    ("inventory", &["meal-types", "meals"]),
    ("customers", &["customers", "cards"]),
];

/// What purchase-session is told from our own environment: what to log, in the variable that the other services read by
/// themselves, and where to send its spans, `host:port` of a collector.
const FROM_ENVIRONMENT: [(&str, &str); 2] = [("log", "LARDER_LOG"), ("collector", "LARDER_COLLECTOR")];

/// Every feed that the PCI zone pulls.
pub fn feeds() -> impl Iterator<Item = &'static str> {
    FEEDS.iter().flat_map(|(_, feeds)| feeds.iter().copied())
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn path(value: &Path) -> Value {
    text(value.display())
}

fn table<const N: usize>(rows: [(&str, Value); N]) -> Table {
    rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn write(layout: &Layout, name: &str, table: &Table) -> Result<(), Fault> {
    let file = layout.config(name);
    std::fs::write(&file, table.to_string()).map_err(Fault::io("write", &file))
}

/// Writes the configuration of a service outside the PCI zone.
///
/// # Errors
/// [`Fault`] when it cannot be written.
pub fn write_ops(
    layout: &Layout,
    issuer: &Issuer,
    name: &'static str,
    listen: &str,
    authority: &str,
) -> Result<(), Fault> {
    let (certificate, key, bundle) = issuer.files(&Party::Service(name));
    let config = table([
        ("listen", text(listen)),
        ("certificate", path(&certificate)),
        ("key", path(&key)),
        ("trust_bundle", path(&bundle)),
        ("trust_domain", text(issuer.trust_domain())),
        ("database", path(&layout.state(&format!("{name}.sqlite")))),
        ("ready_file", path(&layout.ready(name))),
        ("authority", follows(layout, name, authority)),
    ]);
    write(layout, name, &config)
}

/// How a service follows the authority at this address.
fn follows(layout: &Layout, name: &str, authority: &str) -> Value {
    let kept = layout.state(&format!("{name}-revocations.pem"));
    Value::Table(table([("address", text(authority)), ("revocations", path(&kept))]))
}

/// What purchase-session is told besides.
pub struct Purchase<'a> {
    /// The processor's base URL.
    pub base_url: &'a str,
    /// The file of its API key.
    pub api_key_file: &'a Path,
    /// The root of its certificate.
    pub pinned_roots: &'a Path,
    /// The zone's HSM token.
    pub token: &'a Token,
    /// Where everybody listens.
    pub addresses: &'a BTreeMap<String, String>,
}

/// Writes the configuration of purchase-session.
///
/// # Errors
/// [`Fault`] when it cannot be written.
pub fn write_purchase(layout: &Layout, issuer: &Issuer, asked: &Purchase<'_>) -> Result<(), Fault> {
    let (certificate, key, bundle) = issuer.files(&Party::Service(PURCHASE));
    let address = |name: &str| text(asked.addresses.get(name).map_or("", String::as_str));
    let identity = table([
        ("certificate", path(&certificate)),
        ("key", path(&key)),
        ("trust_bundle", path(&bundle)),
        ("trust_domain", text(issuer.trust_domain())),
    ]);
    let hsm = table([
        ("module", path(&asked.token.module)),
        ("token_label", text(&asked.token.label)),
        ("pin_file", path(&asked.token.pin_file)),
        ("keys", path(&layout::repository()?.join("policies/keys.toml"))),
    ]);
    let processor = table([
        ("base_url", text(asked.base_url)),
        ("api_key_file", path(asked.api_key_file)),
        ("pinned_roots", path(asked.pinned_roots)),
    ]);
    let subscriber = |name: &str| Value::Table(table([("name", text(name)), ("address", address(name))]));
    let feed = |(name, feeds): &(&str, &[&str])| {
        let feeds = feeds.iter().map(text).collect();
        Value::Table(table([("name", text(name)), ("address", address(name)), ("feeds", Value::Array(feeds))]))
    };
    let mut config = table([
        ("listen", address(PURCHASE)),
        ("ready_file", path(&layout.ready(PURCHASE))),
        ("database", path(&layout.state("purchase-session.sqlite"))),
        ("identity", Value::Table(identity)),
        ("hsm", Value::Table(hsm)),
        ("processor", Value::Table(processor)),
        ("authority", follows(layout, PURCHASE, asked.addresses.get(AUTHORITY).map_or("", String::as_str))),
        ("subscribers", Value::Array(OPS.iter().map(|(name, _)| subscriber(name)).collect())),
        ("feeds", Value::Array(FEEDS.iter().map(feed).collect())),
    ]);
    let told = FROM_ENVIRONMENT.iter().filter_map(|(key, variable)| Some((*key, std::env::var(variable).ok()?)));
    config.extend(told.map(|(key, value)| (key.to_owned(), text(value))));
    write(layout, PURCHASE, &config)
}
