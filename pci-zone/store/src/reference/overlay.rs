//! What this zone's own events say of people, as long as the feeds do not say it yet (read your own writes).
//!
//! A session's credit use and thefts count for that person's next session at once; the customers service books the
//! events a moment later. Each feed says how far it has booked, and what it has booked is dropped here. Between a
//! feed's first and last page a thing may count twice: that is the strict side, and lasts until the last page.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use pci_contract::{CardRef, CustomerId, EventBody, Money, Token};

/// What an event changes for a customer.
#[derive(Debug, Clone)]
pub(crate) enum CustomerChange {
    CreditUsed(Money),
    Theft,
    Unpaid(Money),
    Enrolled(CardRef),
}

/// What an event changes for a card.
#[derive(Debug, Clone)]
pub(crate) enum CardChange {
    Theft(CardRef),
    Unpaid(CardRef, Money),
    Enrolled(CardRef, CustomerId),
}

/// Changes that one feed has not booked, by whom they concern, in the order of the outbox.
#[derive(Debug)]
pub(crate) struct Unbooked<K, C> {
    booked: i64,
    by_key: HashMap<K, VecDeque<(i64, C)>>,
    order: VecDeque<(i64, K)>,
}

impl<K: Clone + Eq + Hash, C> Unbooked<K, C> {
    fn new() -> Self {
        Self { booked: 0, by_key: HashMap::new(), order: VecDeque::new() }
    }

    fn push(&mut self, position: i64, key: &K, change: C) {
        if position > self.booked {
            self.by_key.entry(key.clone()).or_default().push_back((position, change));
            self.order.push_back((position, key.clone()));
        }
    }

    /// Drops what the feed has booked.
    pub(crate) fn booked(&mut self, booked: i64) {
        self.booked = self.booked.max(booked);
        while let Some((position, key)) = self.order.pop_front() {
            if position > self.booked {
                self.order.push_front((position, key));
                return;
            }
            let emptied = self.by_key.get_mut(&key).is_some_and(|changes| {
                while changes.front().is_some_and(|(at, _)| *at <= position) {
                    changes.pop_front();
                }
                changes.is_empty()
            });
            if emptied {
                self.by_key.remove(&key);
            }
        }
    }

    /// What is not booked for `key`, oldest first.
    pub(crate) fn of<Q>(&self, key: &Q) -> impl Iterator<Item = &C>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_key.get(key).into_iter().flatten().map(|(_, change)| change)
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.order.len())
    }
}

/// Both ledgers.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// For the `customers` feed.
    pub(crate) customers: Unbooked<CustomerId, CustomerChange>,
    /// For the `cards` feed.
    pub(crate) cards: Unbooked<Token, CardChange>,
}

impl Overlay {
    pub(crate) fn new() -> Self {
        Self { customers: Unbooked::new(), cards: Unbooked::new() }
    }

    /// Notes an event that was committed at `position`; positions only grow.
    pub(crate) fn note(&mut self, position: i64, event: &EventBody) {
        match event {
            EventBody::PurchaseFinalized(data) => {
                if let Some(customer) = &data.customer
                    && data.credit_used.is_positive()
                {
                    self.customers.push(position, customer, CustomerChange::CreditUsed(data.credit_used));
                }
            }
            EventBody::TheftConfirmed(data) => match &data.customer {
                Some(customer) => self.customers.push(position, customer, CustomerChange::Theft),
                None => self.cards.push(position, &data.card.token, CardChange::Theft(data.card.clone())),
            },
            EventBody::PaymentFailed(data) => {
                if let Some(customer) = &data.customer {
                    self.customers.push(position, customer, CustomerChange::Unpaid(data.amount));
                }
                self.cards.push(position, &data.card.token, CardChange::Unpaid(data.card.clone(), data.amount));
            }
            EventBody::CardEnrolled(data) => {
                self.customers.push(position, &data.customer, CustomerChange::Enrolled(data.card.clone()));
                let change = CardChange::Enrolled(data.card.clone(), data.customer.clone());
                self.cards.push(position, &data.card.token, change);
            }
            EventBody::PurchaseRefused(_) | EventBody::PaymentSettled(_) | EventBody::FridgeTampered(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_booked_is_dropped_and_the_rest_stays_in_order() {
        let mut unbooked: Unbooked<&str, u32> = Unbooked::new();
        for (position, key, change) in [(1, "a", 1), (2, "b", 2), (2, "b", 3), (3, "a", 4), (5, "b", 5)] {
            unbooked.push(position, &key, change);
        }
        assert_eq!(unbooked.of(&"a").copied().collect::<Vec<_>>(), [1, 4]);
        unbooked.booked(2);
        assert_eq!(unbooked.of(&"a").copied().collect::<Vec<_>>(), [4]);
        assert_eq!(unbooked.of(&"b").copied().collect::<Vec<_>>(), [5]);
        unbooked.booked(1);
        assert_eq!(unbooked.len(), (2, 2));
        unbooked.booked(9);
        assert_eq!(unbooked.len(), (0, 0));
        unbooked.push(9, &"a", 6);
        assert_eq!(unbooked.of(&"a").count(), 0, "booked before it was noted");
        unbooked.push(10, &"a", 7);
        assert_eq!(unbooked.of(&"a").copied().collect::<Vec<_>>(), [7]);
    }
}
