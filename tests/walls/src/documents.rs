//! Documents that are checked: links lead somewhere, and the commands a newcomer is told to type exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Violations;

/// The commands in the fenced `sh` blocks of a document, one a line, remarks and prompts taken off.
#[must_use]
pub fn commands(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside && matches!(language.trim(), "sh" | "bash" | "shell" | "console");
            continue;
        }
        let command = line.split(" #").next().unwrap_or_default().trim().trim_start_matches("$ ");
        if inside && !command.is_empty() && !command.starts_with('#') {
            found.push(command.to_owned());
        }
    }
    found
}

/// The subcommands that a help text lists: the first word of each indented line.
#[must_use]
pub fn subcommands(help: &str) -> BTreeSet<String> {
    let indented = help.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    indented.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Checks that each `./run …` among the commands is a subcommand there is.
#[must_use]
pub fn check_commands(document: &Path, commands: &[String], subcommands: &BTreeSet<String>) -> Violations {
    let mut found = Vec::new();
    for command in commands {
        let mut words = command.split_whitespace();
        if words.next() == Some("./run") {
            let subcommand = words.next().unwrap_or("(nothing)");
            if !subcommands.contains(subcommand) {
                found.push(format!("{}: `{command}`: ./run help does not list {subcommand}", document.display()));
            }
        }
    }
    found
}

/// The targets of a document's links that are files of the repository, without their anchors.
fn targets(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = markdown;
    while let Some(at) = rest.find("](") {
        rest = rest.get(at + 2..).unwrap_or_default();
        let target = rest.split(')').next().unwrap_or_default().split(' ').next().unwrap_or_default();
        let file = target.split('#').next().unwrap_or_default();
        let elsewhere = ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
        if !file.is_empty() && !elsewhere {
            found.push(file.to_owned());
        }
    }
    found
}

/// Checks that each link of a document leads to a file or folder of the repository.
#[must_use]
pub fn check_links(document: &Path, markdown: &str, files: &BTreeSet<PathBuf>) -> Violations {
    let folder = document.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for target in targets(markdown) {
        let path = normal(&folder.join(&target));
        if !files.iter().any(|f| f.starts_with(&path)) {
            found.push(format!("{}: the link to {target} leads nowhere", document.display()));
        }
    }
    found
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# X\n\n```sh\n./run demo --once   # the five stories\n$ ./run tset\n# a remark\n```\n\n\
        ```text\n./run nothing\n```\n[a](docs/a.md#part) [b](../b.md) [c](https://example.org/) [d](#here)\n";

    #[test]
    fn commands_of_shell_blocks_are_found_and_misspelt_ones_reported() {
        assert_eq!(commands(README), ["./run demo --once", "./run tset"]);
        let known =
            subcommands("Usage: ./run COMMAND\n\n  demo [--once]   plays\n      more about it\n  test   tests\n");
        assert_eq!(known, ["demo", "test"].map(str::to_owned).into());
        let found = check_commands(Path::new("README.md"), &commands(README), &known);
        assert_eq!(found, ["README.md: `./run tset`: ./run help does not list tset"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let files: BTreeSet<PathBuf> = ["docs/a.md", "README.md"].map(PathBuf::from).into();
        let found = check_links(Path::new("README.md"), README, &files);
        assert_eq!(found, ["README.md: the link to ../b.md leads nowhere"]);
        assert_eq!(check_links(Path::new("docs/x.md"), "[r](../README.md) [d](.)", &files), Violations::new());
    }
}
