//! What the HSM's keys are known by is kept for ever: a database belongs to the keys it was first used with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use support::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn what_is_kept_of_a_key_is_never_changed() {
    let place = Place::new();
    let store = place.open().await;
    assert!(store.key_checks().await.unwrap().is_empty());
    store.keep_key_checks(pairs(&[("token-1", "aa"), ("seal-1", "bb")])).await.unwrap();
    store.close().await;
    let store = place.open().await;
    store.keep_key_checks(pairs(&[("token-1", "cc"), ("token-2", "dd")])).await.unwrap();
    let kept = store.key_checks().await.unwrap();
    assert_eq!(kept, pairs(&[("seal-1", "bb"), ("token-1", "aa"), ("token-2", "dd")]));
    store.close().await;
    assert!(store.keep_key_checks(pairs(&[("token-3", "ee")])).await.is_err());
}
