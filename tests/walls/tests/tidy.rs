//! The house rules on files: sizes, heads, tests beside source, circles, marks, card numbers, migrations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use larder_walls::{cards, circles, migrations, tidy, workspace};

/// The files of the repository that are text, with their text.
fn texts() -> Vec<(PathBuf, String)> {
    let files = workspace::files().unwrap().into_iter();
    files.filter_map(|file| workspace::text_of(&file).unwrap().map(|text| (file, text))).collect()
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let files: Vec<_> = texts().into_iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "rs")).collect();
    assert!(files.len() > 20, "only {} Rust files found", files.len());
    files
}

#[test]
fn files_and_functions_are_short_and_have_a_head() {
    let files = tidy::measure(&rust_files()).unwrap();
    let mut found = tidy::check_files(&files);
    found.extend(tidy::check_spread(&files));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn strict_folders_have_as_much_test_as_source() {
    let files = tidy::measure(&rust_files()).unwrap();
    for (folder, testers) in tidy::TESTED_FOLDERS {
        let (tests, source) = tidy::tests_and_source(&files, folder, testers);
        println!("{folder}: {tests} lines of test for {source} of source");
    }
    let found = tidy::check_tested(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_test_is_in_a_binary() {
    let found = tidy::check_gathered(&rust_files());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let files = rust_files();
    let mut found = Vec::new();
    for (package, folder) in workspace::graph().unwrap().members() {
        let source = folder.join("src");
        let below = |(path, text): &(PathBuf, String)| {
            path.strip_prefix(&source).ok().map(|relative| (relative.to_path_buf(), text.clone()))
        };
        let own: Vec<_> = files.iter().filter_map(below).collect();
        assert!(!own.is_empty(), "{package} has no source below {}", source.display());
        found.extend(circles::check(&package, &own).unwrap());
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_left_unfinished_and_no_machine_is_named() {
    let found: Vec<String> = texts().iter().flat_map(|(path, text)| tidy::check_text(path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn card_numbers_are_published_ones_and_in_their_place() {
    let places = cards::Places::parse(include_str!("../card_places.toml")).unwrap();
    let published = cards::published(include_str!("../test_pans.txt"));
    assert!(published.iter().all(|number| cards::passes_luhn(number)), "the list holds a number that fails Luhn");
    let found: Vec<String> = texts().iter().flat_map(|(p, text)| cards::check(p, text, &places, &published)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let files = workspace::files().unwrap();
    for place in places.places.keys() {
        assert!(files.iter().any(|f| f.starts_with(place)), "card_places.toml names {place}, which is not there");
    }
}

#[test]
fn migrations_are_only_added() {
    let is_migration = |path: &Path| path.starts_with("migrations") && path.extension().is_some_and(|e| e == "sql");
    let mut real = BTreeMap::new();
    for path in workspace::files().unwrap().into_iter().filter(|path| is_migration(path)) {
        let content = std::fs::read(workspace::root().join(&path)).unwrap();
        real.insert(path.to_string_lossy().into_owned(), migrations::hash(&content));
    }
    let mut found = migrations::check(&migrations::listed(include_str!("../migrations.sha256")), &real);
    found.extend(migrations::numbers_used_twice(&real));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
