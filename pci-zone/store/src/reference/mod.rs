//! What the zone knows of fridges, meals, prices and people, held in memory and answered in well under a microsecond:
//! the alarm for another's meal must sound while the hand is still in the fridge.
//!
//! The rows are copies that were pulled from the feeds and stored; this index is filled from them at start. Only the
//! store's writer changes it, after its commit and before anyone hears of that commit, so a reader who knows of a
//! commit sees its effect. What a row means for a purchase is `pci-session`'s business.

mod meals;
mod overlay;
mod people;
mod places;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pci_contract::{
    CardRow, Currency, CustomerId, CustomerRow, EventBody, FeedRow, FridgeId, FridgeRow, Gtin, IdTokenDigest, LockRow,
    MealId, MealRow, MealTypeRow, Money, PolicyRow, SessionId, Token,
};

use meals::Meals;
use people::People;
use places::Places;

/// The feeds this zone pulls.
pub(crate) const FEEDS: [&str; 7] = [
    PolicyRow::FEED,
    FridgeRow::FEED,
    LockRow::FEED,
    MealTypeRow::FEED,
    MealRow::FEED,
    CustomerRow::FEED,
    CardRow::FEED,
];

/// A fridge as this zone knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FridgeKnown {
    /// The row of the `fridges` feed.
    pub row: FridgeRow,
    /// Whether it is locked for food safety. True for every fridge until the `locks` feed was read to its end once.
    pub locked: bool,
}

/// The index over the reference tables. Shared; every method is synchronous.
#[derive(Debug)]
pub struct Reference {
    places: RwLock<Places>,
    meals: RwLock<Meals>,
    people: RwLock<People>,
    missing: RwLock<BTreeSet<&'static str>>,
}

impl Reference {
    pub(crate) fn new() -> Self {
        Self {
            places: RwLock::default(),
            meals: RwLock::default(),
            people: RwLock::new(People::new()),
            missing: RwLock::new(FEEDS.into_iter().collect()),
        }
    }

    /// The feeds that were never read to their end, by name. While one is missing the zone knows too little to sell.
    #[must_use]
    pub fn missing_feeds(&self) -> Vec<&'static str> {
        read(&self.missing).iter().copied().collect()
    }

    /// The fridge, if it is enrolled.
    #[must_use]
    pub fn fridge(&self, fridge: &FridgeId) -> Option<FridgeKnown> {
        read(&self.places).fridge(fridge).map(|(row, locked)| FridgeKnown { row, locked })
    }

    /// The rules that hold everywhere.
    #[must_use]
    pub fn policy(&self) -> Option<PolicyRow> {
        read(&self.places).policy.clone()
    }

    /// The customer with this active ID token; see [`Reference::customer`].
    #[must_use]
    pub fn customer_by_id_token(&self, digest: &IdTokenDigest) -> Option<CustomerRow> {
        read(&self.people).customer_by_id_token(digest)
    }

    /// The customer with his effective standing: what our own events say is counted in, whether the customers service
    /// has booked it or not, and `credit` is what is left after the reservations of open sessions.
    #[must_use]
    pub fn customer(&self, customer: &CustomerId) -> Option<CustomerRow> {
        read(&self.people).customer(customer)
    }

    /// The card with its effective standing; `None` when it is in no wallet and nothing counts against it.
    #[must_use]
    pub fn card(&self, token: &Token) -> Option<CardRow> {
        let currency = self.currency();
        read(&self.people).card(token, currency)
    }

    /// The meal with this barcode; `None` when it is not ours to sell.
    #[must_use]
    pub fn meal(&self, barcode: &MealId) -> Option<Arc<MealRow>> {
        read(&self.meals).meal(barcode)
    }

    /// The meal type.
    #[must_use]
    pub fn meal_type(&self, gtin: &Gtin) -> Option<Arc<MealTypeRow>> {
        read(&self.places).meal_type(gtin)
    }

    /// The meals of `owner` in a fridge, by barcode.
    #[must_use]
    pub fn meals_of(&self, fridge: &FridgeId, owner: &CustomerId) -> Vec<Arc<MealRow>> {
        let meals = read(&self.meals);
        let mut own: Vec<_> = meals.in_fridge(fridge).filter(|meal| meal.owner.as_ref() == Some(owner)).collect();
        own.sort_by(|a, b| a.barcode.cmp(&b.barcode));
        own.into_iter().cloned().collect()
    }

    /// The types of the meals in a fridge, by trade item number. A type that has no row yet is left out.
    #[must_use]
    pub fn meal_types_in(&self, fridge: &FridgeId) -> Vec<Arc<MealTypeRow>> {
        let gtins: BTreeSet<Gtin> = read(&self.meals).in_fridge(fridge).map(|meal| meal.barcode.gtin()).collect();
        let places = read(&self.places);
        gtins.iter().filter_map(|gtin| places.meal_type(gtin)).collect()
    }

    /// The local revision of the prices as they are now; a session remembers it to freeze them.
    #[must_use]
    pub fn price_revision(&self) -> i64 {
        read(&self.places).prices.revision
    }

    /// What a type cost at `revision`; `None` when it had no price yet.
    #[must_use]
    pub fn price_at(&self, gtin: &Gtin, revision: i64) -> Option<Money> {
        read(&self.places).prices.at(gtin, revision)
    }

    /// Reserves up to `wanted` of a customer's credit for an open session, so that two sessions at once never spend
    /// the same credit, and says how much. A second call replaces the first; an unknown customer gets nothing.
    pub fn reserve_credit(&self, session: SessionId, customer: &CustomerId, wanted: Money) -> Money {
        write(&self.people).reserve(session, customer, wanted)
    }

    /// Ends the session's reservation. To be called after the commit that says what was used of it.
    pub fn release_credit(&self, session: SessionId) {
        write(&self.people).release(session);
    }

    fn currency(&self) -> Currency {
        read(&self.places).policy.as_ref().map_or(Currency::USD, |policy| policy.currency)
    }

    /// Reserves exactly what a stored session says it reserves.
    pub fn restore_reservation(&self, session: SessionId, customer: &CustomerId, amount: Money) {
        write(&self.people).restore_reservation(session, customer, amount);
    }

    /// Notes events of ours that were committed.
    pub(crate) fn note_events<'a>(&self, events: impl Iterator<Item = (i64, &'a EventBody)>) {
        let mut people = write(&self.people);
        for (position, body) in events {
            people.overlay.note(position, body);
        }
    }

    /// Notes prices from a revision on.
    pub(crate) fn note_prices(&self, prices: impl Iterator<Item = (Gtin, i64, Money)>) {
        let mut places = write(&self.places);
        for (gtin, revision, price) in prices {
            places.prices.note(gtin, revision, price);
        }
    }

    pub(crate) fn price_now(&self, gtin: &Gtin) -> Option<Money> {
        read(&self.places).prices.now(gtin)
    }

    pub(crate) fn forget_prices_before(&self, oldest: i64) {
        write(&self.places).prices.forget_before(oldest);
    }

    pub(crate) fn set_price_revision(&self, revision: i64) {
        let mut places = write(&self.places);
        places.prices.revision = places.prices.revision.max(revision);
    }
}

/// A row that this zone keeps: one of the seven kinds of feed row.
pub trait ReferenceRow: kind::Indexed {}

pub(crate) mod kind {
    //! What the store must know of a kind of row; closed to other crates.

    use super::Reference;
    use pci_contract::{FeedRow, Gtin, Money};

    /// How far a page brings its feed.
    #[derive(Debug, Clone, Copy)]
    pub struct Mark {
        pub(crate) booked: i64,
        pub(crate) complete: bool,
    }

    /// A kind of row that has a place in the index.
    pub trait Indexed: FeedRow {
        /// Whether the row says that what it names is gone.
        fn is_removed(&self) -> bool {
            false
        }

        /// The price the row sets, if it is of the kind that does.
        fn price(&self) -> Option<(Gtin, Money)> {
            None
        }

        /// Puts rows in the place of older ones and, in the same moment, drops what the feed has booked.
        fn index(reference: &Reference, rows: Vec<Self>, mark: Mark)
        where
            Self: Sized;
    }
}

use kind::{Indexed, Mark};

impl Reference {
    fn heard(&self, feed: &'static str, mark: Mark) {
        if mark.complete {
            write(&self.missing).remove(feed);
        }
    }
}

impl ReferenceRow for PolicyRow {}
impl Indexed for PolicyRow {
    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut places = write(&reference.places);
        places.policy = rows.into_iter().next_back().or(places.policy.take());
        drop(places);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for FridgeRow {}
impl Indexed for FridgeRow {
    fn is_removed(&self) -> bool {
        self.removed
    }

    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut places = write(&reference.places);
        rows.into_iter().for_each(|row| places.replace_fridge(row));
        drop(places);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for LockRow {}
impl Indexed for LockRow {
    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut places = write(&reference.places);
        rows.into_iter().for_each(|row| places.replace_lock(row));
        places.locks_known |= mark.complete;
        drop(places);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for MealTypeRow {}
impl Indexed for MealTypeRow {
    fn price(&self) -> Option<(Gtin, Money)> {
        Some((self.gtin, self.price))
    }

    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut places = write(&reference.places);
        rows.into_iter().for_each(|row| places.replace_meal_type(row));
        drop(places);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for MealRow {}
impl Indexed for MealRow {
    fn is_removed(&self) -> bool {
        self.removed
    }

    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut meals = write(&reference.meals);
        rows.into_iter().for_each(|row| meals.replace(row));
        drop(meals);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for CustomerRow {}
impl Indexed for CustomerRow {
    fn is_removed(&self) -> bool {
        self.removed
    }

    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut people = write(&reference.people);
        rows.into_iter().for_each(|row| people.replace_customer(row));
        people.overlay.customers.booked(mark.booked);
        drop(people);
        reference.heard(Self::FEED, mark);
    }
}

impl ReferenceRow for CardRow {}
impl Indexed for CardRow {
    fn is_removed(&self) -> bool {
        self.removed
    }

    fn index(reference: &Reference, rows: Vec<Self>, mark: Mark) {
        let mut people = write(&reference.people);
        rows.into_iter().for_each(|row| people.replace_card(row));
        people.overlay.cards.booked(mark.booked);
        drop(people);
        reference.heard(Self::FEED, mark);
    }
}

/// No code holding these locks can leave them half-changed in a way that matters more than going on.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
