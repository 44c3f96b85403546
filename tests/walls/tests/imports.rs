//! The import table of the house against the house: see `imports.toml`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use larder_walls::{bans, imports, licences, linked, workspace};

const REFRESH: &str = "UPDATE_DEPS=1 cargo test -p larder-walls --test imports";

fn listed() -> std::path::PathBuf {
    workspace::root().join("tests/walls/purchase-session.deps")
}

#[test]
fn our_packages_import_whom_the_table_allows() {
    let table = imports::Table::parse(include_str!("../imports.toml")).unwrap();
    let graph = workspace::graph().unwrap();
    let members = graph.members();
    let mut found = imports::check(&table, &members, &graph.edges_between_members());
    found.extend(imports::doubles_are_named(&table, &members));
    found.extend(imports::check_outside(&table, &members, &workspace::files().unwrap()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn of_what_others_wrote_only_one_library_is_carried_along() {
    let carried: Vec<_> = workspace::graph().unwrap().carried().into_values().collect();
    assert_eq!(carried, [std::path::Path::new(workspace::CARRIED)]);
}

#[test]
fn nothing_forbidden_is_linked_into_the_pci_service() {
    let lines = workspace::linked_into("purchase-session").unwrap();
    assert!(lines.len() > 50, "cargo tree lists only {} packages", lines.len());
    let found = linked::forbidden(&lines, &workspace::graph().unwrap().members());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_linked_into_the_pci_service_has_been_looked_at() {
    let lines = workspace::linked_into("purchase-session").unwrap();
    if std::env::var_os("UPDATE_DEPS").is_some() {
        let head =
            "# Everything linked into the purchase-session service. Each line is in PCI scope.\n# Rewrite with: ";
        std::fs::write(listed(), format!("{head}{REFRESH}\n{}\n", lines.join("\n"))).unwrap();
    }
    let committed = std::fs::read_to_string(listed()).unwrap();
    let found = linked::compare(&committed, &lines, REFRESH);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn deny_toml_holds_without_cargo_deny() {
    let deny = bans::Deny::parse(&std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap()).unwrap();
    let graph = workspace::graph().unwrap();
    let found = bans::check(&deny, &graph.packages, &graph.edges);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn deny_toml_bans_every_other_tls_and_every_public_root_store() {
    let deny = bans::Deny::parse(&std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap()).unwrap();
    let banned: Vec<&str> = deny.banned().map(|(name, _)| name).collect();
    for name in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "aws-lc-rs",
        "aws-lc-sys",
        "webpki-roots",
        "rustls-native-certs",
        "reqwest",
    ] {
        assert!(banned.contains(&name), "{name} is not banned");
    }
}

#[test]
fn our_own_licence_is_the_one_of_the_licence_file() {
    let text = std::fs::read_to_string(workspace::root().join("LICENSE")).unwrap();
    assert!(text.contains("Apache License") && text.contains("Version 2.0"));
    let ours = ["Apache-2.0".to_owned()].into();
    for package in workspace::graph().unwrap().packages.iter().filter(|p| p.ours) {
        let licence = package.licence.as_deref().unwrap_or_default();
        assert!(licences::satisfied(licence, &ours), "{} is licensed {licence:?}", package.name);
    }
}
