//! The walls of the house: each rule that people would otherwise have to remember is a check here, and a test that fails.
//!
//! Every check is a function from data to a list of violations in plain words. The tests under `tests/` feed it the
//! repository as it stands; the unit tests beside each check feed it a planted violation, so that no wall is painted on.
//! What is allowed stands in readable files next to this crate (`imports.toml`, `purchase-session.deps`,
//! `card_places.toml`, `migrations.sha256`), never in code.
//!
//! It leaves the running of formatters, lints and tests to `./run test`, and what the rules are for to ARCHITECTURE.md.

pub mod bans;
pub mod cards;
pub mod circles;
pub mod documents;
pub mod imports;
pub mod licences;
pub mod linked;
pub mod migrations;
pub mod source;
pub mod tidy;
pub mod workspace;

/// A check could not look at all: a file is missing, a command failed, a table does not parse.
#[derive(Debug)]
pub struct CannotLook(pub String);

impl std::fmt::Display for CannotLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotLook {}

/// What a check finds: each entry says in plain words what is wrong and what to do about it. Empty when all is well.
pub type Violations = Vec<String>;
