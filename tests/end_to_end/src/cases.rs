//! Many named cases against one house: all are run, some at once, and every one that fails is told by its name.
//!
//! Starting a house takes seconds and a case milliseconds, so cases share one; each takes fridges of its own. They run on
//! one thread, since what they drive are other processes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use single_node::Fault;
use tokio::task::{JoinSet, LocalSet};

use crate::House;

/// Cases that run at once.
const AT_ONCE: usize = 8;
/// How long one case may take.
const CASE_WITHIN: Duration = Duration::from_secs(180);

type Case = Pin<Box<dyn Future<Output = Result<(), Fault>>>>;

/// The cases of one test.
pub struct Cases {
    house: Arc<House>,
    waiting: VecDeque<(String, Case)>,
}

impl Cases {
    /// No cases yet.
    #[must_use]
    pub fn new(house: &Arc<House>) -> Self {
        Self { house: Arc::clone(house), waiting: VecDeque::new() }
    }

    /// Adds a case. It fails with a fault or with a panic.
    pub fn add<F>(&mut self, name: impl Into<String>, case: impl FnOnce(Arc<House>) -> F)
    where
        F: Future<Output = Result<(), Fault>> + 'static,
    {
        self.waiting.push_back((name.into(), Box::pin(case(Arc::clone(&self.house)))));
    }

    /// Runs all of them.
    ///
    /// # Errors
    /// A [`Fault`] that names every case that failed, and why.
    pub async fn judge(self) -> Result<(), Fault> {
        LocalSet::new().run_until(self.run()).await
    }

    async fn run(mut self) -> Result<(), Fault> {
        let count = self.waiting.len();
        let (mut running, mut failed) = (JoinSet::new(), Vec::new());
        loop {
            while running.len() < AT_ONCE
                && let Some((name, case)) = self.waiting.pop_front()
            {
                running.spawn_local(named(name, case));
            }
            match running.join_next().await {
                None => break,
                Some(Ok((name, Err(why)))) => failed.push(format!("{name}: {why}")),
                Some(Ok((_, Ok(())))) => {}
                Some(Err(error)) => failed.push(format!("a case could not be run: {error}")),
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        failed.sort();
        Err(Fault::new(format!("{} of {count} cases failed\n{}", failed.len(), failed.join("\n"))))
    }
}

/// A panic must not take the name with it, so the case runs in a task inside the one that knows the name.
async fn named(name: String, case: Case) -> (String, Result<(), String>) {
    let task = tokio::task::spawn_local(tokio::time::timeout(CASE_WITHIN, case));
    let outcome = match task.await {
        Ok(Ok(outcome)) => outcome.map_err(|fault| fault.to_string()),
        Ok(Err(_)) => Err(format!("it did not end within {} s", CASE_WITHIN.as_secs())),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(told(&*panic)),
            Err(error) => Err(error.to_string()),
        },
    };
    (name, outcome)
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
