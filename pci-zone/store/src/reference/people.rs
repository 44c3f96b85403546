//! Customers, cards and what may be spent: the rows of two feeds, the overlay of our own events, and the credit that
//! open sessions have reserved.
//!
//! Every answer is the effective one: what the row says, and what the customers service will say once it has booked our
//! events. Where a sum cannot be made (it does not fit, or currencies differ) the answer is the strict one: everything
//! is owed, no credit is left.

use std::collections::HashMap;

use pci_contract::{CardRow, Currency, CustomerId, CustomerRow, IdTokenDigest, Money, SessionId, Token};

use super::overlay::{CardChange, CustomerChange, Overlay};

/// What is known of people.
#[derive(Debug)]
pub(crate) struct People {
    customers: HashMap<CustomerId, CustomerRow>,
    by_id_token: HashMap<IdTokenDigest, CustomerId>,
    cards: HashMap<Token, CardRow>,
    pub(crate) overlay: Overlay,
    reserved: Reserved,
}

impl People {
    pub(crate) fn new() -> Self {
        Self {
            customers: HashMap::new(),
            by_id_token: HashMap::new(),
            cards: HashMap::new(),
            overlay: Overlay::new(),
            reserved: Reserved::default(),
        }
    }

    pub(crate) fn replace_customer(&mut self, row: CustomerRow) {
        if let Some(old) = self.customers.remove(&row.customer) {
            for digest in &old.id_tokens {
                if self.by_id_token.get(digest) == Some(&old.customer) {
                    self.by_id_token.remove(digest);
                }
            }
        }
        if row.removed {
            return;
        }
        for digest in &row.id_tokens {
            self.by_id_token.insert(digest.clone(), row.customer.clone());
        }
        self.customers.insert(row.customer.clone(), row);
    }

    pub(crate) fn replace_card(&mut self, row: CardRow) {
        if row.removed {
            self.cards.remove(&row.card.token);
        } else {
            self.cards.insert(row.card.token.clone(), row);
        }
    }

    pub(crate) fn customer_by_id_token(&self, digest: &IdTokenDigest) -> Option<CustomerRow> {
        self.customer(self.by_id_token.get(digest)?)
    }

    pub(crate) fn customer(&self, customer: &CustomerId) -> Option<CustomerRow> {
        let mut row = self.customers.get(customer)?.clone();
        for change in self.overlay.customers.of(customer) {
            match change {
                CustomerChange::CreditUsed(used) => row.credit = less(row.credit, *used),
                CustomerChange::Theft => row.thefts = row.thefts.saturating_add(1),
                CustomerChange::Unpaid(amount) => row.unpaid = owed(row.unpaid, *amount),
                CustomerChange::Enrolled(card) => {
                    if self.cards.get(&card.token).is_none_or(|known| !known.blocked) {
                        row.default_card.get_or_insert_with(|| card.clone());
                    }
                }
            }
        }
        row.credit = less(row.credit, self.reserved.of(customer, row.credit));
        Some(row)
    }

    /// The card; `currency` is what a card is owed in that owes nothing yet.
    pub(crate) fn card(&self, token: &Token, currency: Currency) -> Option<CardRow> {
        let mut row = self.cards.get(token).cloned();
        for change in self.overlay.cards.of(token) {
            let (CardChange::Theft(card) | CardChange::Unpaid(card, _) | CardChange::Enrolled(card, _)) = change;
            let row = row.get_or_insert_with(|| CardRow {
                card: card.clone(),
                customer: None,
                blocked: false,
                thefts: 0,
                unpaid: Money::zero(currency),
                removed: false,
            });
            match change {
                CardChange::Theft(_) => row.thefts = row.thefts.saturating_add(1),
                CardChange::Unpaid(_, amount) => row.unpaid = owed(row.unpaid, *amount),
                // A card in two wallets stands for whoever enrolled it first; a blocked one stands for nobody.
                CardChange::Enrolled(_, customer) => {
                    if !row.blocked {
                        row.customer.get_or_insert_with(|| customer.clone());
                    }
                }
            }
        }
        row
    }

    /// Reserves up to `wanted` of the customer's credit for a session, in place of what the session had reserved.
    pub(crate) fn reserve(&mut self, session: SessionId, customer: &CustomerId, wanted: Money) -> Money {
        let nothing = Money::zero(wanted.currency());
        self.reserved.release(session);
        let granted = self
            .customer(customer)
            .and_then(|row| row.credit.min(wanted).ok())
            .filter(|granted| granted.is_positive())
            .unwrap_or(nothing);
        self.reserved.hold(session, customer, granted);
        granted
    }

    /// Holds exactly `amount` again, as the session's stored state says it was granted.
    pub(crate) fn restore_reservation(&mut self, session: SessionId, customer: &CustomerId, amount: Money) {
        self.reserved.release(session);
        self.reserved.hold(session, customer, amount);
    }

    pub(crate) fn release(&mut self, session: SessionId) {
        self.reserved.release(session);
    }
}

/// `left` less `used`, at least nothing.
fn less(left: Money, used: Money) -> Money {
    let nothing = Money::zero(left.currency());
    left.minus(used).ok().filter(|rest| rest.is_positive()).unwrap_or(nothing)
}

/// `owed` and `more`; all there is when that is no amount.
fn owed(owed: Money, more: Money) -> Money {
    owed.plus(more).unwrap_or(Money::new(i64::MAX, owed.currency()))
}

/// Credit that open sessions may still use.
#[derive(Debug, Default)]
struct Reserved {
    by_session: HashMap<SessionId, CustomerId>,
    by_customer: HashMap<CustomerId, Vec<(SessionId, Money)>>,
}

impl Reserved {
    fn hold(&mut self, session: SessionId, customer: &CustomerId, amount: Money) {
        if amount.is_positive() {
            self.by_session.insert(session, customer.clone());
            self.by_customer.entry(customer.clone()).or_default().push((session, amount));
        }
    }

    fn release(&mut self, session: SessionId) {
        let Some(customer) = self.by_session.remove(&session) else { return };
        if let Some(held) = self.by_customer.get_mut(&customer) {
            held.retain(|(holder, _)| *holder != session);
            if held.is_empty() {
                self.by_customer.remove(&customer);
            }
        }
    }

    /// What open sessions hold of the customer's credit; all of `credit` when that is no amount.
    fn of(&self, customer: &CustomerId, credit: Money) -> Money {
        let mut held = self.by_customer.get(customer).into_iter().flatten();
        held.try_fold(Money::zero(credit.currency()), |sum, (_, amount)| sum.plus(*amount)).unwrap_or(credit)
    }
}
