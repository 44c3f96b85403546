//! A customer at a fridge of his own, from the card to the receipt: what most cases begin and end with.

use std::sync::Arc;

use fridge_agent::proto::{FridgeMessage, Receipt};
use serde_json::Value;
use single_node::Fault;

use crate::{House, Journal, Line, PRICE_MINOR, Place, Talk};

/// A visit that has begun.
pub struct Visit {
    /// Where all this is.
    pub house: Arc<House>,
    /// The fridge.
    pub place: Place,
    /// Its connection.
    pub line: Line,
    /// What it has said.
    pub journal: Journal,
    /// The stream of the moment.
    pub talk: Talk,
}

impl Visit {
    /// A card was read, and the fridge has asked; it has not heard the answer.
    ///
    /// # Errors
    /// [`Fault`] when it cannot ask.
    pub async fn asked(house: Arc<House>) -> Result<Self, Fault> {
        let place = house.place()?;
        Self::asked_at(house, place).await
    }

    /// The same, at a fridge that may have been used.
    ///
    /// # Errors
    /// [`Fault`] when it cannot ask.
    pub async fn asked_at(house: Arc<House>, place: Place) -> Result<Self, Fault> {
        let line = house.fridge(&place.fridge).await?;
        let journal = house.arrival(&line, &place.fridge).await?;
        let mut talk = line.purchase().await?;
        talk.say_all(journal.messages()).await;
        Ok(Self { house, place, line, journal, talk })
    }

    /// The door is unlocked.
    ///
    /// # Errors
    /// [`Fault`] when it stays shut.
    pub async fn unlocked(house: Arc<House>) -> Result<Self, Fault> {
        let mut visit = Self::asked(house).await?;
        visit.talk.unlock().await?;
        Ok(visit)
    }

    /// The door is open, and the service knows it.
    ///
    /// # Errors
    /// [`Fault`] when it stays shut.
    pub async fn open(house: Arc<House>) -> Result<Self, Fault> {
        let mut visit = Self::unlocked(house).await?;
        let opened = visit.journal.door_opened();
        visit.talk.say(&opened).await;
        visit.talk.acknowledged(2).await?;
        Ok(visit)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &str {
        self.journal.session()
    }

    /// The barcode of one of the fridge's meals of nobody.
    #[must_use]
    pub fn meal(&self, number: usize) -> String {
        self.place.meals.get(number).cloned().unwrap_or_default()
    }

    /// Says that one of these meals was taken.
    pub async fn take(&mut self, number: usize) {
        let taken = self.journal.taken(&self.meal(number));
        self.talk.say(&taken).await;
    }

    /// Says something that may stand in the journal or not.
    pub async fn say(&mut self, message: &FridgeMessage) {
        self.talk.say(message).await;
    }

    /// A new stream that says everything again.
    ///
    /// # Errors
    /// [`Fault`] when there is none.
    pub async fn come_back(&mut self) -> Result<(), Fault> {
        self.talk = self.line.purchase().await?;
        self.talk.say_all(self.journal.messages()).await;
        Ok(())
    }

    /// The stream ends in good order in the middle of the session, and the service knows that nobody is on the line.
    pub async fn hang(&mut self) {
        self.talk.finish();
        let _ = self.talk.end().await;
    }

    /// The door is shut: the receipt.
    ///
    /// # Errors
    /// [`Fault`] when there is none.
    pub async fn close(&mut self) -> Result<Receipt, Fault> {
        let closed = self.journal.door_closed();
        self.talk.say(&closed).await;
        Ok(self.talk.receipt().await?)
    }

    /// Checks that exactly so many meals were charged, once; what is booked.
    ///
    /// # Errors
    /// [`Fault`] says what the books say instead.
    pub async fn charged(&self, meals: i64) -> Result<Value, Fault> {
        self.house.charged(self.session(), meals.saturating_mul(PRICE_MINOR)).await
    }
}
