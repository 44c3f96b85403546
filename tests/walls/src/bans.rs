//! `deny.toml`, kept even where cargo-deny is not installed: who may depend on what, licences, sources.
//!
//! The file is cargo-deny's own, so that both tools read one list. Only the parts this house uses are understood here; a
//! key that is not understood is refused rather than passed over.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::workspace::{Edge, Package};
use crate::{CannotLook, Violations, licences};

/// The parts of `deny.toml` that this house uses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    #[serde(rename = "graph")]
    _graph: toml::Value,
    #[serde(rename = "advisories")]
    _advisories: toml::Value,
    bans: Bans,
    licenses: Licences,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: String,
    #[serde(rename = "wildcards")]
    _wildcards: String,
    #[serde(rename = "allow-wildcard-paths")]
    _allow_wildcard_paths: bool,
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
    #[serde(default)]
    wrappers: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licences {
    allow: BTreeSet<String>,
    #[serde(rename = "confidence-threshold")]
    _confidence_threshold: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    allow_registry: BTreeSet<String>,
}

impl Deny {
    /// Reads the file.
    ///
    /// # Errors
    /// [`CannotLook`] when it holds something that is not understood here.
    pub fn parse(text: &str) -> Result<Self, CannotLook> {
        toml::from_str(text).map_err(|e| CannotLook(format!("deny.toml: {e}")))
    }

    /// The packages that are banned outright or reserved, with the reason for each.
    pub fn banned(&self) -> impl Iterator<Item = (&str, &str)> {
        self.bans.deny.iter().map(|b| (b.name.as_str(), b.reason.as_str()))
    }
}

/// Checks the whole graph: bans with their wrappers, licences of strangers, sources.
#[must_use]
pub fn check(deny: &Deny, packages: &[Package], edges: &[Edge]) -> Violations {
    let mut found = check_bans(deny, packages, edges);
    for package in packages.iter().filter(|p| !p.ours) {
        let name = format!("{} {}", package.name, package.version);
        match &package.licence {
            Some(licence) if licences::satisfied(licence, &deny.licenses.allow) => {}
            Some(licence) => found.push(format!("{name} is licensed {licence}, which deny.toml does not allow")),
            None => found.push(format!("{name} names no licence")),
        }
        let source = package.source.as_deref().map(|source| source.trim_start_matches("registry+"));
        if let Some(source) = source.filter(|source| !deny.sources.allow_registry.contains(*source)) {
            found.push(format!("{name} comes from {source}, which deny.toml does not allow"));
        }
    }
    for (what, setting) in [("registry", &deny.sources.unknown_registry), ("git", &deny.sources.unknown_git)] {
        if setting != "deny" {
            found.push(format!("deny.toml lets packages come from an unknown {what}"));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn check_bans(deny: &Deny, packages: &[Package], edges: &[Edge]) -> Violations {
    let mut found = Vec::new();
    for ban in &deny.bans.deny {
        if ban.wrappers.is_empty() && packages.iter().any(|p| p.name == ban.name) {
            found.push(format!("{} is in the house: {}", ban.name, ban.reason));
        }
        let users = edges.iter().filter(|e| e.to == ban.name && !ban.wrappers.contains(&e.from));
        found.extend(users.map(|e| format!("{} depends on {}: {}", e.from, ban.name, ban.reason)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Kind;

    const DENY: &str = r#"
        [graph]
        targets = []
        [advisories]
        [bans]
        multiple-versions = "allow"
        wildcards = "deny"
        allow-wildcard-paths = true
        deny = [
            { crate = "sqlx", reason = "SQL lives in one crate", wrappers = ["store"] },
            { crate = "openssl", reason = "rustls only" },
        ]
        [licenses]
        allow = ["MIT"]
        confidence-threshold = 0.9
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
        allow-registry = ["https://example.org/index"]
    "#;

    fn package(name: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        let owned = |t: Option<&str>| t.map(str::to_owned);
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: owned(licence),
            source: owned(source),
            ours: source.is_none(),
            folder: "x".into(),
        }
    }

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: from.into(), to: to.into(), kind: Kind::Normal }
    }

    const HERE: Option<&str> = Some("registry+https://example.org/index");

    #[test]
    fn a_clean_graph_passes() {
        let deny = Deny::parse(DENY).expect("understood");
        let packages = [package("sqlx", Some("MIT OR GPL-3.0"), HERE), package("store", Some("Apache-2.0"), None)];
        assert_eq!(check(&deny, &packages, &[edge("store", "sqlx")]), Violations::new());
        assert_eq!(deny.banned().count(), 2);
    }

    #[test]
    fn what_is_carried_along_has_a_licence_that_is_allowed() {
        let deny = Deny::parse(DENY).expect("understood");
        let carried = |licence| Package { ours: false, ..package("carried", licence, None) };
        assert_eq!(check(&deny, &[carried(Some("MIT"))], &[]), Violations::new());
        assert_eq!(check(&deny, &[carried(Some("GPL-3.0"))], &[]).len(), 1);
        assert_eq!(check(&deny, &[carried(None)], &[]).len(), 1);
    }

    #[test]
    fn each_kind_of_violation_is_found() {
        let deny = Deny::parse(DENY).expect("understood");
        let cases: [(Package, Option<Edge>, &str); 5] = [
            (package("sqlx", Some("MIT"), HERE), Some(edge("rpc", "sqlx")), "rpc depends on sqlx"),
            (package("openssl", Some("MIT"), HERE), None, "openssl is in the house"),
            (package("a", Some("GPL-3.0"), HERE), None, "does not allow"),
            (package("a", None, HERE), None, "names no licence"),
            (package("a", Some("MIT"), Some("git+https://example.org/a")), None, "comes from git+"),
        ];
        for (package, edge, expected) in cases {
            let found = check(&deny, &[package], edge.as_slice());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found.iter().all(|v| v.contains(expected)), "{found:?}");
        }
    }

    #[test]
    fn a_setting_that_is_not_understood_or_too_weak_is_refused() {
        assert!(Deny::parse(&DENY.replace("[licenses]", "skip = []\n[licenses]")).is_err());
        let weak = Deny::parse(&DENY.replace("unknown-git = \"deny\"", "unknown-git = \"allow\"")).expect("understood");
        assert_eq!(check(&weak, &[], &[]).len(), 1);
    }
}
