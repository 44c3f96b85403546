//! The trust bundle beside certificates: fridges get the one of the moment, or none. A failure is an old one that is handed
//! out although the authority's could not be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

use test_token::in_own_process;

use crate::house::house;

/// The file in place of itself, as another one: whoever watches it sees that it was replaced.
fn touch(path: &Path) {
    let next = path.with_extension("next");
    fs::copy(path, &next).unwrap();
    fs::rename(next, path).unwrap();
}

#[test]
fn a_bundle_that_cannot_be_read_is_not_replaced_by_the_one_before() {
    in_own_process("bundle", |token| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let house = house(token).await;
            let running = house.start().await;
            let first = running.ask_at("GET", "/bundle", "").await;
            assert_eq!(first.status, 200, "{}", first.text);
            let (acts, bundle) = (house.authority.dir().join("acts.jsonl"), house.authority.dir().join("bundle-1.jws"));
            let good = fs::read(&bundle).unwrap();
            assert_eq!(first.text.as_bytes(), good);

            // The authority decided something, and what it decided cannot be read: nobody is told what was before.
            fs::write(&bundle, "rubbish").unwrap();
            touch(&acts);
            for question in 1..=3 {
                let answer = running.ask_at("GET", "/bundle", "").await;
                assert_eq!(answer.status, 500, "question {question}: {}", answer.text);
                assert!(!answer.text.contains("rubbish") && !answer.text.contains(&first.text));
            }
            // It is read again without another decision as soon as it can be.
            fs::write(&bundle, &good).unwrap();
            assert_eq!(running.ask_at("GET", "/bundle", "").await.text, first.text);
            running.stop().await;
        });
    });
}
