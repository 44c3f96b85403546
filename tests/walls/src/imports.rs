//! Who of us may import whom: the table of `imports.toml` against what cargo says.
//!
//! The table is exact in both directions: an import it does not name is a hole in a wall, and a row that nobody uses
//! any more is a door left open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::workspace::{Edge, Kind};
use crate::{CannotLook, Violations};

/// The table: for each of our packages, whom it imports.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What is linked into the product.
    pub normal: BTreeMap<String, BTreeSet<String>>,
    /// What only tests and build scripts use, beyond the normal imports.
    pub tests: BTreeMap<String, BTreeSet<String>>,
    /// Packages that only pretend to be something else.
    pub doubles: BTreeSet<String>,
    /// Who may link a double into a program that is not a test.
    pub doubles_allowed_in: BTreeSet<String>,
    /// Folders of packages that are no members of the workspace.
    pub outside: BTreeSet<String>,
}

impl Table {
    /// Reads the table.
    ///
    /// # Errors
    /// [`CannotLook`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, CannotLook> {
        toml::from_str(text).map_err(|e| CannotLook(format!("imports.toml: {e}")))
    }
}

/// Compares the imports between our own packages with the table.
#[must_use]
pub fn check(table: &Table, members: &BTreeMap<String, PathBuf>, edges: &[Edge]) -> Violations {
    let mut found = Vec::new();
    for name in members.keys().filter(|name| !table.normal.contains_key(*name)) {
        found.push(format!("{name} is not in imports.toml: give it a row under [normal], empty if it imports nobody"));
    }
    for name in table.normal.keys().chain(table.tests.keys()).filter(|name| !members.contains_key(*name)) {
        found.push(format!("imports.toml has a row for {name}, which is no package of ours: remove the row"));
    }
    let real = |kind: fn(Kind) -> bool| {
        let chosen = edges.iter().filter(move |e| kind(e.kind));
        chosen.map(|e| (e.from.clone(), e.to.clone())).collect::<BTreeSet<_>>()
    };
    let normal = real(|kind| kind == Kind::Normal);
    let for_tests: BTreeSet<_> = real(|kind| kind != Kind::Normal).difference(&normal).cloned().collect();
    compare(&mut found, "normal", &table.normal, &normal);
    compare(&mut found, "tests", &table.tests, &for_tests);
    found.extend(doubles(table, &normal));
    found
}

fn compare(
    found: &mut Violations,
    section: &str,
    rows: &BTreeMap<String, BTreeSet<String>>,
    real: &BTreeSet<(String, String)>,
) {
    let allowed: BTreeSet<(String, String)> =
        rows.iter().flat_map(|(from, to)| to.iter().map(move |to| (from.clone(), to.clone()))).collect();
    for (from, to) in real.difference(&allowed) {
        found.push(format!("{from} imports {to}, and [{section}] of imports.toml does not allow it"));
    }
    for (from, to) in allowed.difference(real) {
        found.push(format!("[{section}] of imports.toml allows {from} to import {to}, which it does not: remove it"));
    }
}

fn doubles(table: &Table, normal: &BTreeSet<(String, String)>) -> Violations {
    let links = normal.iter().filter(|(_, to)| table.doubles.contains(to));
    let strangers = links.filter(|(from, _)| !table.doubles_allowed_in.contains(from) && !table.doubles.contains(from));
    strangers.map(|(from, to)| format!("{from} links the double {to}; doubles are for tests")).collect()
}

/// Checks that every package under `tests/doubles` is called a double, so that none slips through by its name.
#[must_use]
pub fn doubles_are_named(table: &Table, members: &BTreeMap<String, PathBuf>) -> Violations {
    let in_folder: BTreeSet<String> = members
        .iter()
        .filter(|(_, folder)| folder.starts_with(Path::new("tests/doubles")))
        .map(|(n, _)| n.clone())
        .collect();
    let mut found = Vec::new();
    for name in in_folder.symmetric_difference(&table.doubles) {
        found.push(format!("{name}: `doubles` in imports.toml and the folder tests/doubles disagree"));
    }
    found
}

/// Checks that every manifest among the files is the root's, a member's or one that is said to stand outside, and that
/// whatever is said to stand outside is there. What stands outside is under none of the other walls.
#[must_use]
pub fn check_outside(table: &Table, members: &BTreeMap<String, PathBuf>, files: &[PathBuf]) -> Violations {
    let manifests = files.iter().filter(|file| file.ends_with("Cargo.toml")).filter_map(|file| file.parent());
    let folders: BTreeSet<&Path> = manifests.filter(|folder| *folder != Path::new("")).collect();
    let inside: BTreeSet<&Path> = members.values().map(PathBuf::as_path).collect();
    let outside: BTreeSet<&Path> = table.outside.iter().map(Path::new).collect();
    let mut found = Vec::new();
    for folder in folders.difference(&inside).filter(|folder| !outside.contains(*folder)) {
        found.push(format!("{} holds a package that is no member of the workspace", folder.display()));
    }
    for folder in outside.iter().filter(|folder| !folders.contains(*folder) || inside.contains(*folder)) {
        found.push(format!("`outside` in imports.toml names {}, where no package stands outside", folder.display()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        doubles = ["fake"]
        doubles_allowed_in = ["node"]
        outside = ["tests/stranger"]
        [normal]
        ground = []
        core = ["ground"]
        node = ["core", "fake"]
        fake = []
        [tests]
        core = ["fake"]
    "#;

    fn members() -> BTreeMap<String, PathBuf> {
        let folder = |n: &str| if n == "fake" { "tests/doubles/fake".into() } else { PathBuf::from(n) };
        ["ground", "core", "node", "fake"].into_iter().map(|n| (n.to_owned(), folder(n))).collect()
    }

    fn edges(list: &[(&str, &str, Kind)]) -> Vec<Edge> {
        list.iter().map(|(from, to, kind)| Edge { from: (*from).into(), to: (*to).into(), kind: *kind }).collect()
    }

    fn good() -> Vec<(&'static str, &'static str, Kind)> {
        vec![
            ("core", "ground", Kind::Normal),
            ("node", "core", Kind::Normal),
            ("node", "fake", Kind::Normal),
            ("core", "fake", Kind::Dev),
        ]
    }

    fn found(list: &[(&str, &str, Kind)]) -> Violations {
        check(&Table::parse(TABLE).expect("a table"), &members(), &edges(list))
    }

    #[test]
    fn a_house_that_matches_its_table_is_clean() {
        assert_eq!(found(&good()), Violations::new());
        assert_eq!(doubles_are_named(&Table::parse(TABLE).expect("a table"), &members()), Violations::new());
    }

    #[test]
    fn an_import_outside_the_table_is_found() {
        let mut list = good();
        list.push(("ground", "core", Kind::Normal));
        assert_eq!(found(&list), ["ground imports core, and [normal] of imports.toml does not allow it"]);
    }

    #[test]
    fn a_row_nobody_uses_is_found() {
        let list: Vec<_> = good().into_iter().filter(|e| e.0 != "core" || e.2 != Kind::Normal).collect();
        assert_eq!(
            found(&list),
            ["[normal] of imports.toml allows core to import ground, which it does not: remove it"]
        );
    }

    #[test]
    fn a_double_linked_into_the_product_is_found_even_with_a_row() {
        let mut list = good();
        list.retain(|e| e.2 != Kind::Dev);
        list.push(("core", "fake", Kind::Normal));
        let text =
            TABLE.replace("core = [\"ground\"]", "core = [\"ground\", \"fake\"]").replace("core = [\"fake\"]", "");
        let found = check(&Table::parse(&text).expect("a table"), &members(), &edges(&list));
        assert_eq!(found, ["core links the double fake; doubles are for tests"]);
    }

    #[test]
    fn a_package_without_a_row_and_a_row_without_a_package_are_found() {
        let mut members = members();
        members.remove("ground");
        members.insert("newcomer".into(), "newcomer".into());
        let found = check(&Table::parse(TABLE).expect("a table"), &members, &edges(&good()));
        assert!(found.iter().any(|v| v.starts_with("newcomer is not in imports.toml")), "{found:?}");
        assert!(found.iter().any(|v| v.contains("row for ground, which is no package")), "{found:?}");
    }

    #[test]
    fn a_double_outside_its_folder_is_found() {
        let mut members = members();
        members.insert("fake".into(), "pci-zone/fake".into());
        let found = doubles_are_named(&Table::parse(TABLE).expect("a table"), &members);
        assert_eq!(found, ["fake: `doubles` in imports.toml and the folder tests/doubles disagree"]);
    }

    #[test]
    fn a_package_outside_is_named_and_a_name_has_its_package() {
        let table = Table::parse(TABLE).expect("a table");
        let found = |folders: &[&str]| {
            let files: Vec<PathBuf> = folders
                .iter()
                .map(|folder| Path::new(folder).join("Cargo.toml"))
                .chain(["core/src/x.rs".into()])
                .collect();
            check_outside(&table, &members(), &files)
        };
        assert_eq!(found(&["", "core", "tests/stranger"]), Violations::new());
        assert_eq!(
            found(&["core", "tests/stranger", "tests/another"]),
            ["tests/another holds a package that is no member of the workspace"]
        );
        let gone = ["`outside` in imports.toml names tests/stranger, where no package stands outside"];
        assert_eq!(found(&["core"]), gone);
        let mut members = members();
        members.insert("stranger".into(), "tests/stranger".into());
        assert_eq!(check_outside(&table, &members, &["tests/stranger/Cargo.toml".into()]), gone);
    }
}
