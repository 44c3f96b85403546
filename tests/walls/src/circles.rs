//! Import circles inside a crate: modules that need each other are one module in two files.
//!
//! A module is the first folder or file below `src`; what lies deeper belongs to it. `crate::Name` counts as an import of
//! the module from which the crate's root re-exports `Name`, so that a circle cannot hide behind the root.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::RustFile;
use crate::{CannotLook, Violations};

/// Finds circles among the modules of one crate. `files` are the crate's Rust files with paths relative to its `src`.
///
/// # Errors
/// [`CannotLook`] when a file is not Rust.
pub fn check(package: &str, files: &[(PathBuf, String)]) -> Result<Violations, CannotLook> {
    let parsed = files.iter().map(|(path, text)| RustFile::parse(path, text)).collect::<Result<Vec<_>, _>>()?;
    let graph = graph(&parsed);
    let within = |circle: &[String]| {
        let edges = circle.iter().flat_map(|from| graph.get(from).into_iter().flatten().map(move |to| (from, to)));
        let inside = edges.filter(|(_, to)| circle.contains(to)).map(|(from, to)| format!("{from} → {to}"));
        inside.collect::<Vec<_>>().join(", ")
    };
    let say = |circle: &Vec<String>| format!("{package}: modules import each other in a circle: {}", within(circle));
    Ok(circles(&graph).iter().map(say).collect())
}

type Modules = BTreeMap<String, BTreeSet<String>>;

fn graph(files: &[RustFile]) -> Modules {
    let modules: BTreeSet<String> = files.iter().filter_map(|f| module_of(f.path())).collect();
    let exports: BTreeMap<String, String> = files
        .iter()
        .filter(|f| module_of(f.path()).is_none())
        .flat_map(RustFile::names_from_modules)
        .filter(|(_, module)| modules.contains(module))
        .collect();
    let mut graph = Modules::new();
    for file in files {
        let Some(module) = module_of(file.path()) else { continue };
        let mut names = file.names_after_crate();
        if file.path().components().count() == 1 {
            names.extend(file.names_after_super());
        }
        let imports = names.iter().filter_map(|name| modules.get(name).or_else(|| exports.get(name)));
        let others: Vec<String> = imports.filter(|other| **other != module).cloned().collect();
        graph.entry(module).or_default().extend(others);
    }
    graph
}

fn module_of(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main" | "bin")).then(|| name.to_owned())
}

/// Groups of modules that reach each other.
fn circles(graph: &Modules) -> Vec<Vec<String>> {
    let reach: Modules = graph.keys().map(|from| (from.clone(), reachable(graph, from))).collect();
    let reaches = |from: &String, to: &String| reach.get(from).is_some_and(|r| r.contains(to));
    let mut groups = Vec::new();
    let mut seen = BTreeSet::new();
    for module in graph.keys().filter(|m| reaches(m, m)) {
        if seen.contains(module) {
            continue;
        }
        let group: Vec<String> = graph.keys().filter(|o| reaches(module, o) && reaches(o, module)).cloned().collect();
        seen.extend(group.iter().cloned());
        groups.push(group);
    }
    groups
}

fn reachable(graph: &Modules, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(module) = waiting.pop() {
        for next in graph.get(&module).into_iter().flatten() {
            if found.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Violations {
        let files: Vec<(PathBuf, String)> = files.iter().map(|(p, t)| (p.into(), (*t).to_owned())).collect();
        check("x", &files).expect("Rust")
    }

    #[test]
    fn one_way_imports_are_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::A; }"),
        ];
        assert_eq!(found(&files), Violations::new());
    }

    #[test]
    fn a_circle_through_paths_is_found() {
        let files = [
            ("lib.rs", ""),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c;"),
            ("c.rs", "fn f() { crate::a::go() }"),
        ];
        assert_eq!(found(&files), ["x: modules import each other in a circle: a → b, b → c, c → a"]);
    }

    #[test]
    fn a_circle_behind_the_root_is_found() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::{B as Other};"),
            ("a/mod.rs", "mod deep;"),
            ("a/deep.rs", "use crate::Other;"),
            ("b.rs", "use super::A;"),
        ];
        assert_eq!(found(&files), ["x: modules import each other in a circle: a → b, b → a"]);
    }
}
