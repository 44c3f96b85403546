//! What each follower said last about the trust bundle that it has in force. A follower says so by asking for the next one; the
//! certificate says who asks. Kept in a file, because the gates of a rotation are asked by another process.
//!
//! There are as many lines as services in the house: nobody else's question is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ca_identity::ServiceName;
use ca_rotation::Heard;
use serde::{Deserialize, Serialize};

use crate::{AuthorityError, Corrupt, files};

/// How old a kept word may get before the same word is written again, in seconds.
const REWRITE_S: i64 = 60;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u64,
    at_unix_s: i64,
}

/// The words of the followers, by the names of the services.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    path: PathBuf,
    kept: BTreeMap<String, Kept>,
}

impl Acknowledged {
    /// Reads what was kept; an authority that nobody asked has nothing.
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let path = dir.join("acknowledged.json");
        if !path.exists() {
            return Ok(Self { path, kept: BTreeMap::new() });
        }
        let text = files::read(&path)?;
        let corrupt = |why: &str| Corrupt::Settings { path: path.clone(), why: why.to_owned() };
        let kept: BTreeMap<String, Kept> = serde_json::from_str(&text).map_err(|why| corrupt(&why.to_string()))?;
        if kept.keys().any(|name| ServiceName::parse(name).is_err()) {
            return Err(corrupt("it speaks of a service that there is not").into());
        }
        Ok(Self { path, kept })
    }

    /// Notes that a service has this version in force.
    pub(crate) fn note(&mut self, service: ServiceName, version: u64, now_unix_s: i64) -> Result<(), AuthorityError> {
        let said = Kept { version, at_unix_s: now_unix_s };
        let before = self.kept.insert(service.as_str().to_owned(), said);
        if before.is_some_and(|it| it.version == version && now_unix_s.saturating_sub(it.at_unix_s) < REWRITE_S) {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.kept).map_err(|why| crate::Fault::Encoding(why.to_string()))?;
        files::write(&self.path, &text, 0o600)?;
        Ok(())
    }

    /// What the gates are shown.
    pub(crate) fn heard(&self) -> BTreeMap<String, Heard> {
        let heard = |kept: &Kept| Heard { version: kept.version, at_unix_s: kept.at_unix_s };
        self.kept.iter().map(|(name, kept)| (name.clone(), heard(kept))).collect()
    }
}

#[cfg(test)]
mod tests {
    use ca_identity::ServiceName;
    use ca_rotation::Heard;

    use super::{Acknowledged, REWRITE_S};

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_last_word_counts_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Acknowledged::open(dir.path()).unwrap();
        assert!(one.heard().is_empty());
        one.note(ServiceName::Admin, 1, NOW).unwrap();
        one.note(ServiceName::PurchaseSession, 2, NOW).unwrap();
        one.note(ServiceName::Admin, 2, NOW + 1).unwrap();
        let heard = Acknowledged::open(dir.path()).unwrap().heard();
        assert_eq!(heard["admin"], Heard { version: 2, at_unix_s: NOW + 1 });
        assert_eq!((heard.len(), heard["purchase-session"].version), (2, 2));
    }

    #[test]
    fn the_same_word_is_written_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Acknowledged::open(dir.path()).unwrap();
        let mut said = |at| {
            one.note(ServiceName::Admin, 1, at).unwrap();
            Acknowledged::open(dir.path()).unwrap().heard()["admin"].at_unix_s
        };
        assert_eq!(said(NOW), NOW);
        assert_eq!(said(NOW + 20), NOW);
        assert_eq!(said(NOW + 20 + REWRITE_S), NOW + 20 + REWRITE_S);
    }

    #[test]
    fn a_file_of_somebody_else_s_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in
            ["", "[]", "{\"billing\":{\"version\":1,\"at_unix_s\":1}}", "{\"admin\":{\"version\":-1,\"at_unix_s\":1}}"]
        {
            std::fs::write(dir.path().join("acknowledged.json"), wrong).unwrap();
            assert!(Acknowledged::open(dir.path()).is_err(), "{wrong}");
        }
    }
}
