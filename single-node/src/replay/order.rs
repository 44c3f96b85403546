//! Who must wait for whom. As in life, a person and a fridge are in one session at a time: a session waits for the
//! earlier sessions of the same fridge, card and customer; all others may run at once.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use crate::day::{OpenWith, Planned};
use crate::world::World;

/// After so many sessions, ends that nobody waits for any more are dropped.
const TIDY_EVERY: usize = 4_096;

/// What a session must wait for, and how it says that it has ended.
pub(super) struct Turn {
    before: Vec<CancellationToken>,
    done: CancellationToken,
}

impl Turn {
    /// Waits for the earlier sessions.
    pub(super) async fn wait(&self) {
        for earlier in &self.before {
            earlier.cancelled().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

/// Hands out turns in the order of the day.
pub(super) struct Order {
    /// Customers by what they show: an ID token, or the digest of a wallet card.
    people: HashMap<String, String>,
    last: HashMap<String, CancellationToken>,
    handed_out: usize,
}

impl Order {
    /// The order of a day in `world`.
    #[must_use]
    pub(super) fn new(world: &World) -> Self {
        let mut people = HashMap::new();
        for customer in &world.customers {
            people.insert(customer.id_token.clone(), customer.customer.clone());
            if let Some(card) = &customer.wallet_card {
                people.insert(card.person(), customer.customer.clone());
            }
        }
        Self { people, last: HashMap::new(), handed_out: 0 }
    }

    /// The turn of the next session of the day.
    pub(super) fn turn(&mut self, planned: &Planned) -> Turn {
        self.handed_out += 1;
        if self.handed_out.is_multiple_of(TIDY_EVERY) {
            self.last.retain(|_, done| !done.is_cancelled());
        }
        let shown = match &planned.open_with {
            OpenWith::Card(card) => card.person(),
            OpenWith::IdToken(token) => token.clone(),
        };
        let person = self.people.get(&shown).map_or_else(|| format!("shown {shown}"), |c| format!("customer {c}"));
        let done = CancellationToken::new();
        let keys = [format!("fridge {}", planned.fridge), person];
        let before = keys.into_iter().filter_map(|key| self.last.insert(key, done.clone())).collect();
        Turn { before, done }
    }
}
