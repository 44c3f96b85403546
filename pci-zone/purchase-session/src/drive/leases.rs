//! The fences under which this process writes, one a fridge.
//!
//! Each lease has a higher fence than the one before, so two tasks that took one at the same time would fence each other
//! off: a fridge's lease is taken by one task at a time, and the others wait for what it got.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pci_contract::FridgeId;
use pci_store::{CommitError, Store};

type Fence = Arc<tokio::sync::Mutex<Option<u64>>>;

/// The leases this process holds, as far as it knows.
#[derive(Default)]
pub(super) struct Leases {
    fences: Mutex<HashMap<FridgeId, Fence>>,
}

impl Leases {
    /// The fence of `fridge`; its lease is taken for `holder` if this process has none.
    pub(super) async fn fence(&self, store: &Store, fridge: &FridgeId, holder: &str) -> Result<u64, CommitError> {
        let lease = self.of(fridge);
        let mut fence = lease.lock().await;
        if let Some(fence) = *fence {
            return Ok(fence);
        }
        let taken = store.take_lease(fridge, holder).await?;
        *fence = Some(taken);
        Ok(taken)
    }

    /// A write with this fence failed: the lease must be taken again, unless that was done already.
    pub(super) async fn forget(&self, fridge: &FridgeId, lost: u64) {
        let lease = self.of(fridge);
        let mut fence = lease.lock().await;
        if *fence == Some(lost) {
            *fence = None;
        }
    }

    fn of(&self, fridge: &FridgeId) -> Fence {
        Arc::clone(self.fences.lock().unwrap_or_else(PoisonError::into_inner).entry(fridge.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci_contract::Timestamp;
    use tokio::task::JoinSet;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_that_come_at_once_write_under_one_fence() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("purchase.db"), Timestamp::from_micros(1)).await.expect("a store");
        let (store, leases) = (Arc::new(store), Arc::new(Leases::default()));
        let fridge = FridgeId::parse("FR-0001").expect("a fridge");
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let (store, leases, fridge) = (Arc::clone(&store), Arc::clone(&leases), fridge.clone());
            tasks.spawn(async move { leases.fence(&store, &fridge, "this").await.expect("a fence") });
        }
        let fences = tasks.join_all().await;
        assert!(fences.iter().all(|fence| *fence == fences[0]), "{fences:?}");

        leases.forget(&fridge, fences[0]).await;
        let next = leases.fence(&store, &fridge, "this").await.expect("a fence");
        assert!(next > fences[0]);
        leases.forget(&fridge, fences[0]).await;
        assert_eq!(leases.fence(&store, &fridge, "this").await.expect("a fence"), next, "the newer lease is kept");
    }
}
