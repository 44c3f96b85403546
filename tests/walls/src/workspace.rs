//! The repository as data: its files, its packages, and who depends on whom.
//!
//! Packages come from cargo itself, not from reading manifests, so that inherited and renamed dependencies are what
//! cargo takes them for. One target triple is asked for on every machine, so that the answers do not depend on it. The
//! network is tried only when the offline answer is not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::CannotLook;

/// The target whose dependency tree is looked at.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where libraries of others lie that are carried along with a change of ours: no measure of ours is for them, and
/// `third-party/check` sees that nothing else was changed.
pub const CARRIED: &str = "third-party/h2";

/// The root folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// How a package depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Linked into the product.
    Normal,
    /// For tests and benchmarks only.
    Dev,
    /// For build scripts only.
    Build,
}

/// One package depends on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Who depends.
    pub from: String,
    /// On whom.
    pub to: String,
    /// For what.
    pub kind: Kind,
}

/// A package of the lock file, ours or a stranger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its SPDX licence expression, if it states one.
    pub licence: Option<String>,
    /// Where it comes from; `None` for what lies in this repository.
    pub source: Option<String>,
    /// Whether it is a member of the workspace, and so ours.
    pub ours: bool,
    /// The folder of the manifest.
    pub folder: PathBuf,
}

/// Everything cargo knows of this workspace.
#[derive(Debug)]
pub struct Graph {
    /// All packages that any of our crates can pull in on [`TARGET`].
    pub packages: Vec<Package>,
    /// All dependencies between them, as resolved.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Our packages: name and folder relative to the root.
    pub fn members(&self) -> BTreeMap<String, PathBuf> {
        self.packages.iter().filter(|p| p.ours).map(placed).collect()
    }

    /// The packages of others that lie in this repository: name and folder relative to the root.
    pub fn carried(&self) -> BTreeMap<String, PathBuf> {
        self.packages.iter().filter(|p| !p.ours && p.source.is_none()).map(placed).collect()
    }

    /// The dependencies between packages of this repository, sorted, each once.
    pub fn edges_between_members(&self) -> Vec<Edge> {
        let members = self.members();
        let both_ours = |e: &&Edge| members.contains_key(&e.from) && members.contains_key(&e.to);
        let mut edges: Vec<Edge> = self.edges.iter().filter(both_ours).cloned().collect();
        edges.sort();
        edges.dedup();
        edges
    }
}

fn placed(package: &Package) -> (String, PathBuf) {
    let folder = package.folder.strip_prefix(root()).unwrap_or(&package.folder);
    (package.name.clone(), folder.to_path_buf())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDep>,
}

#[derive(Deserialize)]
struct NodeDep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

/// Asks cargo for the whole graph.
///
/// # Errors
/// [`CannotLook`] when cargo fails or answers in an unknown form.
pub fn graph() -> Result<Graph, CannotLook> {
    let text = cargo(&["metadata", "--format-version", "1", "--filter-platform", TARGET])?;
    parse_metadata(&text)
}

fn parse_metadata(text: &str) -> Result<Graph, CannotLook> {
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| CannotLook(format!("cargo metadata: {e}")))?;
    let names: BTreeMap<&str, &str> = metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let name = |id: &str| names.get(id).map_or_else(|| id.to_owned(), |n| (*n).to_owned());
    let mut edges = Vec::new();
    for node in &metadata.resolve.nodes {
        for dep in &node.deps {
            for kind in &dep.dep_kinds {
                let kind = match kind.kind.as_deref() {
                    None => Kind::Normal,
                    Some("dev") => Kind::Dev,
                    Some(_) => Kind::Build,
                };
                edges.push(Edge { from: name(&node.id), to: name(&dep.pkg), kind });
            }
        }
    }
    let packages = metadata.packages.into_iter().map(|p| Package {
        ours: metadata.workspace_members.contains(&p.id),
        name: p.name,
        version: p.version,
        licence: p.license,
        source: p.source,
        folder: p.manifest_path.parent().map(Path::to_path_buf).unwrap_or_default(),
    });
    Ok(Graph { packages: packages.collect(), edges })
}

/// What is linked into one package's binary: sorted `name version` lines, each once. Features are resolved for this
/// package alone, as `cargo build -p` does.
///
/// # Errors
/// [`CannotLook`] when cargo fails.
pub fn linked_into(package: &str) -> Result<Vec<String>, CannotLook> {
    let text = cargo(&["tree", "-p", package, "--edges", "normal", "--target", TARGET, "--prefix", "none"])?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    };
    let mut lines: Vec<String> = text.lines().filter_map(line).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

fn cargo(arguments: &[&str]) -> Result<String, CannotLook> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ask = |network: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--locked").args(network).current_dir(root());
        command.output().map_err(|e| CannotLook(format!("cargo does not start: {e}")))
    };
    let mut output = ask(&["--offline"])?;
    if !output.status.success() {
        output = ask(&[])?;
    }
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(|e| CannotLook(format!("cargo's answer: {e}")))
    } else {
        Err(CannotLook(format!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))))
    }
}

/// The repository's files, relative to the root and sorted: what git knows and what it would add, or, where there is no
/// git, what lies in the folder apart from build products. What is [`CARRIED`] is not among them.
///
/// # Errors
/// [`CannotLook`] when the folder cannot be read.
pub fn files() -> Result<Vec<PathBuf>, CannotLook> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .ok()
        .filter(|o| o.status.success());
    let mut files: Vec<PathBuf> = match listed {
        Some(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split('\0').filter(|p| !p.is_empty()).map(PathBuf::from).filter(|p| root.join(p).is_file()).collect()
        }
        None => files_below(&root)?,
    };
    files.retain(|file| !file.starts_with(CARRIED));
    files.sort();
    files.dedup();
    Ok(files)
}

fn files_below(root: &Path) -> Result<Vec<PathBuf>, CannotLook> {
    let entered = |e: &walkdir::DirEntry| !matches!(e.file_name().to_str(), Some("target" | ".git"));
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root).into_iter().filter_entry(entered) {
        let entry = entry.map_err(|e| CannotLook(e.to_string()))?;
        if entry.file_type().is_file() {
            files.push(entry.path().strip_prefix(root).unwrap_or(entry.path()).to_path_buf());
        }
    }
    Ok(files)
}

/// The text of a file of the repository; `None` when it is not text.
///
/// # Errors
/// [`CannotLook`] when it cannot be read.
pub fn text_of(file: &Path) -> Result<Option<String>, CannotLook> {
    let bytes = std::fs::read(root().join(file)).map_err(|e| CannotLook(format!("{}: {e}", file.display())))?;
    Ok(String::from_utf8(bytes).ok().filter(|t| !t.contains('\0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_named_edges_of_each_kind() {
        let text = r#"{"packages":[
            {"id":"a-id","name":"a","version":"0.1.0","license":"MIT","source":null,"manifest_path":"/x/a/Cargo.toml"},
            {"id":"b-id","name":"b","version":"1.0.0","license":null,"source":"registry+x","manifest_path":"/y/b/Cargo.toml"},
            {"id":"c-id","name":"c","version":"1.0.0","license":null,"source":null,"manifest_path":"/x/c/Cargo.toml"}],
          "workspace_members":["a-id"],
          "resolve":{"nodes":[{"id":"a-id","deps":[{"pkg":"b-id","dep_kinds":[{"kind":null},{"kind":"dev"},{"kind":"build"}]}]},
            {"id":"b-id","deps":[]}]}}"#;
        let graph = parse_metadata(text).expect("well formed");
        let kinds: Vec<Kind> = graph.edges.iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Dev, Kind::Build]);
        assert!(graph.edges.iter().all(|e| e.from == "a" && e.to == "b"));
        assert_eq!(graph.members().keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(graph.carried().keys().collect::<Vec<_>>(), ["c"], "it lies here, and others wrote it");
        assert!(graph.edges_between_members().is_empty(), "b is a stranger");
    }

    #[test]
    fn the_folder_walk_finds_what_git_finds() {
        let walked = files_below(&root()).expect("readable");
        let manifest = Path::new("tests/walls/Cargo.toml");
        assert!(walked.iter().any(|p| p == manifest));
        assert!(files().expect("readable").iter().any(|p| p == manifest));
        assert!(!walked.iter().any(|p| p.starts_with("target") || p.starts_with(".git/")));
    }
}
