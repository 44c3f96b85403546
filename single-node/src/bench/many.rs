//! Many things to do, some of them at once.

use tokio::task::JoinSet;

use crate::Fault;

/// Does `what` with each of `items`, `at_once` of them at once, in their order; what came of them, in the order in which
/// they ended.
///
/// # Errors
/// The first [`Fault`]; what is under way then is given up.
pub(super) async fn many<I, T, F>(
    items: impl IntoIterator<Item = I>,
    at_once: usize,
    what: impl Fn(I) -> F,
) -> Result<Vec<T>, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    let (mut items, mut doing, mut done) = (items.into_iter(), JoinSet::new(), Vec::new());
    loop {
        while doing.len() < at_once
            && let Some(item) = items.next()
        {
            doing.spawn(what(item));
        }
        match doing.join_next().await {
            Some(one) => done.push(one.map_err(Fault::of("a task of the measurement"))??),
            None => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn all_are_done_and_never_more_at_once_than_asked_for() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let what = |n: usize| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(1 + now.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            }
        };
        let mut done = many(0..50, 7, what).await.expect("done");
        done.sort_unstable();
        assert_eq!((done, most.load(Ordering::SeqCst)), ((0..50).collect(), 7));
    }

    #[tokio::test]
    async fn a_fault_ends_it() {
        let what = |n| async move { if n == 3 { Err(Fault::new("three".to_owned())) } else { Ok(n) } };
        assert_eq!(many(0.., 2, what).await.expect_err("a fault").to_string(), "three");
    }
}
