//! The documents against the repository: links lead somewhere, the commands a newcomer types exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use larder_walls::{documents, workspace};

fn markdown() -> Vec<(PathBuf, String)> {
    let files = workspace::files().unwrap().into_iter().filter(|p| p.extension().is_some_and(|e| e == "md"));
    files.map(|p| (p.clone(), workspace::text_of(&p).unwrap().expect("markdown is text"))).collect()
}

fn help() -> String {
    let output = Command::new("bash").args(["./run", "help"]).current_dir(workspace::root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn links_lead_somewhere() {
    let files: BTreeSet<PathBuf> = workspace::files().unwrap().into_iter().collect();
    let found: Vec<String> =
        markdown().iter().flat_map(|(path, text)| documents::check_links(path, text, &files)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_run_command_in_a_document_is_one_that_run_knows() {
    let known = documents::subcommands(&help());
    let mut found = Vec::new();
    for (path, text) in markdown() {
        found.extend(documents::check_commands(&path, &documents::commands(&text), &known));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn run_knows_the_commands_that_people_rely_on() {
    let known = documents::subcommands(&help());
    for command in ["demo", "test", "stack", "replay", "bench", "evidence", "help"] {
        assert!(known.contains(command), "./run help does not list {command}: {known:?}");
    }
}

#[test]
fn the_first_screen_of_the_readme_names_the_two_commands() {
    let readme = std::fs::read_to_string(workspace::root().join("README.md")).unwrap();
    let first_screen: String = readme.lines().take(60).map(|line| format!("{line}\n")).collect();
    let commands = documents::commands(&first_screen);
    for command in ["./run demo --once", "./run test"] {
        assert!(commands.iter().any(|c| c == command), "{command} is not on the first screen: {commands:?}");
    }
}

#[test]
fn an_unknown_command_is_refused_and_says_what_there_is() {
    let output = Command::new("bash").args(["./run", "dmeo"]).current_dir(workspace::root()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("dmeo") && said.contains("  demo "), "{said}");
}
