//! What has left the fridge in this session, and what each meal means for who took it.
//!
//! A meal's price and claim are fixed when it is first touched: a meal taken, put back and taken again costs what it
//! cost the first time. A barcode names one single meal, so taking it twice is taking it once.
//!
//! Bounded: at most [`MAX_CODES`] different barcodes. What comes beyond is not recorded, so it is not charged either;
//! operators are told once and the next inventory snapshot finds what is missing. No fridge holds so many meals.

use std::collections::{BTreeMap, BTreeSet};

use pci_contract::{CustomerId, MealId, Money, ScannedCode, SubscriptionId};
use serde::{Deserialize, Serialize};

use crate::{
    AlarmKind, MealFacts, StepError, Touch, TouchKind,
    error::{CorruptSession, invariant},
};

/// The most different barcodes a session records, taken and unidentified together; and likewise of stray returns.
pub const MAX_CODES: usize = 512;

/// What a session knows of the meals that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basket {
    /// Nothing, in the session's currency: where sums begin.
    zero: Money,
    /// Every known meal that was ever taken, kept or put back.
    meals: BTreeMap<MealId, Meal>,
    /// What was taken and no list knows; one entry for each item kept.
    unidentified: Vec<ScannedCode>,
    /// Put back without having been taken.
    stray: BTreeSet<MealId>,
    /// A barcode did not fit.
    full: bool,
}

/// One known meal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meal {
    price: Money,
    pub(crate) claim: Claim,
    pub(crate) owner_subscription: Option<SubscriptionId>,
    pub(crate) kept: bool,
}

/// What a meal is to who took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Claim {
    /// His to buy.
    Buy,
    /// His own, paid for in advance.
    Prepaid,
    /// Another's: full price, whoever paid for it.
    Others,
    /// Nobody's to have; comes before whose it is, since none may be charged for unsafe food.
    NotSellable,
}

impl Claim {
    fn of(facts: &MealFacts, customer: Option<&CustomerId>) -> Self {
        match &facts.owner {
            _ if !facts.sellable => Self::NotSellable,
            None => Self::Buy,
            Some(owner) if customer != Some(owner) => Self::Others,
            Some(_) if facts.prepaid => Self::Prepaid,
            Some(_) => Self::Buy,
        }
    }

    pub(crate) const fn alarm(self) -> Option<AlarmKind> {
        match self {
            Self::Buy | Self::Prepaid => None,
            Self::Others => Some(AlarmKind::NotYours),
            Self::NotSellable => Some(AlarmKind::NotSellable),
        }
    }
}

impl Meal {
    /// What is due if it is kept.
    pub(crate) const fn due(&self) -> Money {
        match self.claim {
            Claim::Buy | Claim::Others => self.price,
            Claim::Prepaid | Claim::NotSellable => Money::zero(self.price.currency()),
        }
    }
}

/// What a touch sets off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sound {
    Nothing,
    Alarm(MealId, AlarmKind),
    Cleared(MealId),
    /// The first barcode that did not fit.
    Full,
}

impl Basket {
    /// An empty basket; `zero` gives the currency.
    pub(crate) const fn empty(zero: Money) -> Self {
        let zero = Money::zero(zero.currency());
        Self { zero, meals: BTreeMap::new(), unidentified: Vec::new(), stray: BTreeSet::new(), full: false }
    }

    /// The sum of what is due for the meals kept.
    ///
    /// # Errors
    /// [`StepError::Money`] when it does not fit; a touch that would make it so is refused before it is recorded.
    pub fn due(&self) -> Result<Money, StepError> {
        self.kept().try_fold(self.zero, |sum, (_, meal)| Ok(sum.plus(meal.due())?))
    }

    /// Records a touch by `customer`. On an error nothing is recorded.
    pub(crate) fn touch(&mut self, touch: &Touch, customer: Option<&CustomerId>) -> Result<Sound, StepError> {
        match (touch.kind, &touch.code, &touch.facts) {
            (TouchKind::Taken, ScannedCode::Meal(id), facts) if !self.unidentified.contains(&touch.code) => {
                match (self.meals.contains_key(id), facts) {
                    (true, _) => self.take_again(id),
                    (false, Some(facts)) => self.take(id, facts, customer),
                    (false, None) => Ok(self.take_unidentified(&touch.code)),
                }
            }
            (TouchKind::Taken, ScannedCode::Meal(_), _) => Ok(Sound::Nothing),
            (TouchKind::Taken, ScannedCode::Unreadable, _) => Ok(self.take_unidentified(&touch.code)),
            (TouchKind::Returned, code, _) => Ok(self.put_back(code)),
        }
    }

    fn take(&mut self, id: &MealId, facts: &MealFacts, customer: Option<&CustomerId>) -> Result<Sound, StepError> {
        if facts.price.minor() < 0 {
            return Err(StepError::Amount);
        }
        let claim = Claim::of(facts, customer);
        let meal = Meal { price: facts.price, claim, owner_subscription: facts.owner_subscription.clone(), kept: true };
        self.zero.plus(meal.price)?;
        self.due()?.plus(meal.due())?;
        if !self.has_room() {
            return Ok(self.overflow());
        }
        self.meals.insert(id.clone(), meal);
        Ok(claim.alarm().map_or(Sound::Nothing, |kind| Sound::Alarm(id.clone(), kind)))
    }

    fn take_again(&mut self, id: &MealId) -> Result<Sound, StepError> {
        let due = self.due()?;
        let Some(meal) = self.meals.get_mut(id).filter(|meal| !meal.kept) else { return Ok(Sound::Nothing) };
        due.plus(meal.due())?;
        meal.kept = true;
        Ok(meal.claim.alarm().map_or(Sound::Nothing, |kind| Sound::Alarm(id.clone(), kind)))
    }

    fn take_unidentified(&mut self, code: &ScannedCode) -> Sound {
        if !self.has_room() {
            return self.overflow();
        }
        self.unidentified.push(code.clone());
        Sound::Nothing
    }

    fn put_back(&mut self, code: &ScannedCode) -> Sound {
        if let Some(place) = self.unidentified.iter().position(|taken| taken == code) {
            self.unidentified.remove(place);
            return Sound::Nothing;
        }
        let ScannedCode::Meal(id) = code else { return Sound::Nothing };
        if let Some(meal) = self.meals.get_mut(id) {
            let was_kept = std::mem::replace(&mut meal.kept, false);
            let clears = was_kept && meal.claim.alarm().is_some();
            return if clears { Sound::Cleared(id.clone()) } else { Sound::Nothing };
        }
        if self.stray.len() < MAX_CODES {
            self.stray.insert(id.clone());
            return Sound::Nothing;
        }
        self.overflow()
    }

    fn has_room(&self) -> bool {
        self.meals.len().saturating_add(self.unidentified.len()) < MAX_CODES
    }

    const fn overflow(&mut self) -> Sound {
        if std::mem::replace(&mut self.full, true) { Sound::Nothing } else { Sound::Full }
    }

    /// The meals kept, sorted by barcode.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&MealId, &Meal)> {
        self.meals.iter().filter(|(_, meal)| meal.kept)
    }

    /// The kept meals that are sold or stolen, sorted by barcode.
    pub(crate) fn sold(&self) -> impl Iterator<Item = (&MealId, &Meal)> {
        self.kept().filter(|(_, meal)| meal.claim != Claim::NotSellable)
    }

    /// The kept meals that must not be sold, sorted by barcode.
    pub(crate) fn not_sellable(&self) -> Vec<MealId> {
        self.kept().filter(|(_, meal)| meal.claim == Claim::NotSellable).map(|(id, _)| id.clone()).collect()
    }

    /// The alarms that sound now.
    pub(crate) fn sounding(&self) -> impl Iterator<Item = (&MealId, AlarmKind)> {
        self.kept().filter_map(|(id, meal)| meal.claim.alarm().map(|kind| (id, kind)))
    }

    /// The meals that sounded and were put back, sorted by barcode.
    pub(crate) fn silenced(&self) -> impl Iterator<Item = &MealId> {
        self.meals.iter().filter(|(_, meal)| !meal.kept && meal.claim.alarm().is_some()).map(|(id, _)| id)
    }

    /// The meals that ever sounded, sorted by barcode.
    pub(crate) fn alarms(&self) -> Vec<MealId> {
        self.meals.iter().filter(|(_, meal)| meal.claim.alarm().is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// Put back without having been taken, sorted by barcode.
    pub(crate) fn stray_returns(&self) -> Vec<MealId> {
        self.stray.iter().cloned().collect()
    }

    /// Kept and unknown, sorted by barcode.
    pub(crate) fn unidentified(&self) -> Vec<ScannedCode> {
        let mut codes = self.unidentified.clone();
        codes.sort();
        codes
    }

    pub(crate) fn check(&self, currency: Money) -> Result<(), CorruptSession> {
        let prices = |meal: &Meal| meal.price.minor() >= 0 && meal.price.currency() == currency.currency();
        invariant(self.zero == Money::zero(currency.currency()), "sums begin at nothing")?;
        invariant(self.meals.values().all(prices), "prices are not negative and of the session's currency")?;
        let codes = self.meals.len().saturating_add(self.unidentified.len());
        invariant(codes <= MAX_CODES && self.stray.len() <= MAX_CODES, "a basket is bounded")?;
        invariant(self.due().is_ok(), "what is due fits")
    }
}
