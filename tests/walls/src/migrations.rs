//! Migrations are only added: a database somewhere has already run each of them.
//!
//! Every migration's hash is committed. An edited or vanished file is a defect; a new one must be listed, which is the
//! moment to ask whether the code that runs now can live with the new schema.

use std::collections::BTreeMap;

use crate::Violations;

/// The list, as `sha256sum` writes it: hash, two blanks, path. `#` begins a remark.
#[must_use]
pub fn listed(text: &str) -> BTreeMap<String, String> {
    let row = |line: &str| line.split_once("  ").map(|(hash, path)| (path.trim().to_owned(), hash.trim().to_owned()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

/// The SHA-256 of a file in lowercase hexadecimal.
#[must_use]
pub fn hash(content: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

/// Compares the list with the files there are (path to hash).
#[must_use]
pub fn check(listed: &BTreeMap<String, String>, real: &BTreeMap<String, String>) -> Violations {
    let mut found = Vec::new();
    for (path, hash) in listed {
        match real.get(path) {
            None => found.push(format!("{path} is listed and gone: migrations are never removed")),
            Some(now) if now != hash => found.push(format!("{path} was changed: write a new migration instead")),
            Some(_) => {}
        }
    }
    for (path, hash) in real.iter().filter(|(path, _)| !listed.contains_key(*path)) {
        found.push(format!("{path} is new: add this line to tests/walls/migrations.sha256: {hash}  {path}"));
    }
    found
}

/// Finds two migrations of one database with the same number: the second would never run.
#[must_use]
pub fn numbers_used_twice(real: &BTreeMap<String, String>) -> Violations {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut found = Vec::new();
    for path in real.keys() {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let number = file.split('_').next().unwrap_or(file);
        let kind = if file.ends_with(".down.sql") { "down" } else { "up" };
        let key = (folder.to_owned(), format!("{number} {kind}"));
        if let Some(other) = seen.insert(key, path.clone()) {
            found.push(format!("{path} has the same number as {other}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_list_reads_what_sha256sum_writes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(b""), empty);
        assert_eq!(listed(&format!("# a remark\n{empty}  m/1_a.sql\n")), map(&[("m/1_a.sql", empty)]));
    }

    #[test]
    fn a_changed_a_vanished_and_an_unlisted_migration_are_found() {
        let list = map(&[("m/1_a.sql", "aa"), ("m/2_b.sql", "bb")]);
        assert_eq!(check(&list, &list), Violations::new());
        assert!(
            check(&list, &map(&[("m/1_a.sql", "aa"), ("m/2_b.sql", "xx")])).iter().any(|v| v.contains("was changed"))
        );
        assert!(check(&list, &map(&[("m/1_a.sql", "aa")])).iter().any(|v| v.contains("gone")));
        let more = map(&[("m/1_a.sql", "aa"), ("m/2_b.sql", "bb"), ("m/3_c.sql", "cc")]);
        assert!(check(&list, &more).iter().any(|v| v.contains("cc  m/3_c.sql")));
    }

    #[test]
    fn a_number_used_twice_is_found_within_one_database_only() {
        assert_eq!(
            numbers_used_twice(&map(&[("m/1_a.sql", ""), ("n/1_a.sql", ""), ("m/2_a.sql", "")])),
            Violations::new()
        );
        assert_eq!(numbers_used_twice(&map(&[("m/1_a.sql", ""), ("m/1_b.sql", "")])).len(), 1);
    }
}
