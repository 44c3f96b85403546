//! A session's first message: who is here, may he buy, and with what is it paid.
//!
//! The checks are the machine's, in its order; here the facts are gathered for them, and each is gathered only once the
//! check before it has passed. So a fridge out of service costs no HSM call, and a blocked customer no processor call.

use std::sync::Arc;
use std::time::Duration;

use pci_contract::{
    CardRef, Currency, CustomerRow, IdTokenDigest, Money, ReasonCode, SealedCard, SealingContext, SessionId, Token,
};
use pci_processors::StoredCard;
use pci_session::{
    Admitted, Bearer, CustomerFacts, FridgeAdmitted, FridgeFacts, Known, Policy, Refusal, Session, Shown, Stage,
    Standing, admit_fridge, admit_shown,
};
use pci_vault::{OpenError, OpenedCard, SealRefusal};
use tokio::sync::oneshot;

use super::Drive;
use super::calls::{Fresh, Means};
use super::live::{Live, Turn};
use super::outgoing::After;
use super::registry::Claim;
use crate::clock;
use crate::message::{Answer, FridgeBody, FridgeMessage, ShownBy};

/// How long the end of a fridge's lost session may take.
const ABANDONED_WITHIN: Duration = Duration::from_secs(5);

/// Why a session did not begin.
enum NotBegun {
    /// It was refused, for a reason that goes to the fridge and into an event.
    Refused(Box<Refusal>),
    /// Something of ours failed; the fridge comes back.
    Fault,
}

/// A refusal of somebody nobody knows.
fn because(reason: ReasonCode) -> Refusal {
    Refusal { reason, known: Known::default() }
}

/// The reason code of a card that did not open.
pub(super) fn card_reason(error: &OpenError) -> ReasonCode {
    match error {
        OpenError::Refused(SealRefusal::UnknownKey) => ReasonCode::SEALING_KEY_UNKNOWN,
        OpenError::Card(pci_card::CardError::Expired) => ReasonCode::EXPIRED_CARD,
        OpenError::Card(_) | OpenError::Refused(_) => ReasonCode::INVALID_CARD,
        OpenError::Fault(_) => ReasonCode::PAYMENT_UNAVAILABLE,
    }
}

impl Live {
    /// The first message of a session nobody knows.
    pub(super) async fn begin(&mut self, message: FridgeMessage) {
        match message.body {
            FridgeBody::Open(shown) if message.sequence == 1 => self.open(shown).await,
            FridgeBody::DoorClosed | FridgeBody::DoorStayedShut if message.sequence == 1 => {
                tracing::warn!(session = %self.id, fridge = %self.fridge, "a close that belongs to no session");
                self.answer(Some(Answer::UnknownSession)).await;
            }
            _ => self.answer(Some(Answer::ResendFrom(1))).await,
        }
    }

    async fn open(&mut self, shown: ShownBy) {
        let now = clock::now();
        match self.admission(shown).await {
            Ok((admitted, means)) => {
                let (session, effects) = Session::begin(self.id, self.fridge.clone(), admitted, now);
                self.session = Some(session);
                self.means = Some(means);
                self.outgoing.session_changed();
                self.absorb(effects, now).await;
            }
            Err(NotBegun::Refused(refused)) => {
                self.drive.reference.release_credit(self.id);
                let (session, effects) = Session::refuse(self.id, self.fridge.clone(), *refused, now);
                self.session = Some(session);
                self.outgoing.session_changed();
                self.drive.registry.release(&self.fridge, self.id);
                self.absorb(effects, now).await;
            }
            Err(NotBegun::Fault) => {
                self.drive.reference.release_credit(self.id);
                self.drive.registry.release(&self.fridge, self.id);
                self.fail();
            }
        }
    }

    async fn admission(&mut self, shown: ShownBy) -> Result<(Admitted, Means), NotBegun> {
        self.fence = self.drive.fence(&self.fridge).await.map_err(|error| {
            tracing::error!(%error, "the fridge's lease could not be taken");
            NotBegun::Fault
        })?;
        // Who knows too little of meals and people would sell at no price, and accuse owners of theft.
        let missing = self.drive.reference.missing_feeds();
        if !missing.is_empty() {
            tracing::warn!(session = %self.id, ?missing, "not yet known, so the door stays shut");
            return Err(NotBegun::Fault);
        }
        let fridge = self.admit_fridge().await?;
        let policy = self.drive.reference.policy().ok_or(NotBegun::Fault)?;
        let policy = Policy { blocked_after_thefts: policy.blocked_after_thefts, currency: policy.currency };
        let (shown, means) = match shown {
            ShownBy::UnreadableCard => (Shown::InvalidCard, None),
            ShownBy::IdToken(digest) => self.by_id_token(&digest).await?,
            ShownBy::Card(sealed) => self.by_card(sealed).await?,
        };
        let admitted = admit_shown(fridge, shown, &policy).map_err(|refused| NotBegun::Refused(Box::new(refused)))?;
        let means = match means {
            Some(means) => means,
            None => self.drive.stored_means(admitted.bearer()).await?,
        };
        Ok((admitted, means))
    }

    /// Makes the fridge this session's. A session of it that hangs is ended first.
    async fn admit_fridge(&mut self) -> Result<FridgeAdmitted, NotBegun> {
        let claim = self.drive.registry.claim(&self.fridge, self.id);
        let known = self.drive.reference.fridge(&self.fridge);
        let facts = FridgeFacts {
            enrolled: known.is_some(),
            in_service: known.as_ref().is_some_and(|known| known.row.in_service),
            locked: known.as_ref().is_some_and(|known| known.locked),
            busy: claim == Claim::Busy,
            hold: known.as_ref().map_or(self.drive.zero(), |known| known.row.hold),
            open_limit_s: known.as_ref().map_or(0, |known| known.row.open_limit_s),
            price_revision: self.drive.reference.price_revision(),
        };
        let admitted = admit_fridge(&facts).map_err(|refused| NotBegun::Refused(Box::new(refused)))?;
        if let Claim::Hanging(old) = claim {
            self.end_hanging(old).await?;
        }
        Ok(admitted)
    }

    /// Ends the session that the fridge has lost, and takes its place.
    async fn end_hanging(&mut self, old: SessionId) -> Result<(), NotBegun> {
        tracing::warn!(session = %self.id, %old, fridge = %self.fridge, "the fridge lost its old session");
        let (ended, end) = oneshot::channel();
        let delivered = self.drive.deliver(old, &self.fridge, Turn::Abandon(ended));
        if delivered.is_err() || !matches!(tokio::time::timeout(ABANDONED_WITHIN, end).await, Ok(Ok(()))) {
            return Err(NotBegun::Fault);
        }
        match self.drive.registry.claim(&self.fridge, self.id) {
            Claim::Free => Ok(()),
            // Another session of the fridge was quicker.
            Claim::Busy | Claim::Hanging(_) => Err(NotBegun::Refused(Box::new(because(ReasonCode::FRIDGE_BUSY)))),
        }
    }

    async fn by_id_token(&mut self, digest: &IdTokenDigest) -> Result<(Shown, Option<Means>), NotBegun> {
        Ok(match self.drive.reference.customer_by_id_token(digest) {
            Some(customer) => (Shown::IdToken(self.customer_facts(customer)), None),
            None => (Shown::UnknownIdToken, None),
        })
    }

    async fn by_card(&mut self, sealed: SealedCard) -> Result<(Shown, Option<Means>), NotBegun> {
        let (card, means) = match self.read_card(sealed).await? {
            Read::Card(card, means) => (card, means),
            Read::Not(shown) => return Ok((shown, None)),
        };
        let known = self.drive.reference.card(&card.token);
        let zero = self.drive.zero();
        let standing = known.as_ref().map_or(Standing { blocked: false, thefts: 0, unpaid: zero }, |row| Standing {
            blocked: row.blocked,
            thefts: row.thefts,
            unpaid: row.unpaid,
        });
        let customer = known.and_then(|row| row.customer).and_then(|id| self.drive.reference.customer(&id));
        let customer = customer.map(|row| self.customer_facts(row));
        Ok((Shown::Card { card, standing, customer }, Some(means)))
    }

    /// Opens a sealed card, and finds out how to pay with it.
    async fn read_card(&mut self, sealed: SealedCard) -> Result<Read, NotBegun> {
        let context = SealingContext { fridge: self.fridge.clone(), session: self.id };
        let opened = self.drive.vault.open(sealed.clone(), context.clone(), clock::now().seconds()).await;
        let OpenedCard { card, earlier_tokens, pan, expiry } = match opened {
            Ok(opened) => opened,
            Err(OpenError::Card(pci_card::CardError::Expired)) => return Ok(Read::Not(Shown::ExpiredCard)),
            Err(OpenError::Card(_) | OpenError::Refused(SealRefusal::NotAPoint | SealRefusal::DoesNotOpen)) => {
                return Ok(Read::Not(Shown::InvalidCard));
            }
            Err(error) => return Err(NotBegun::Refused(Box::new(because(card_reason(&error))))),
        };
        let (card, stored) = self.drive.known_as(card, earlier_tokens).await?;
        let vault = Arc::clone(&self.drive.vault);
        let means = match stored {
            Some(stored) => Means::Stored(stored),
            None => Means::Fresh(Box::new(Fresh { pan, expiry, vault, sealed, context })),
        };
        Ok(Read::Card(card, means))
    }

    /// A customer as the machine wants to know him, with all his credit that no other session reserves set aside for
    /// this one.
    fn customer_facts(&self, row: CustomerRow) -> CustomerFacts {
        let all = Money::new(i64::MAX, row.credit.currency());
        let credit = self.drive.reference.reserve_credit(self.id, &row.customer, all);
        CustomerFacts {
            standing: Standing { blocked: row.blocked, thefts: row.thefts, unpaid: row.unpaid },
            credit,
            default_card: row.default_card,
            subscription: row.subscription,
            expert: row.expert,
            referral_code: row.referral_code,
            customer: row.customer,
        }
    }

    /// The Open of a session that is known already: the fridge has come back, or never heard the answer.
    pub(super) async fn open_again(&mut self, shown: ShownBy) {
        let Some(session) = &self.session else { return };
        if session.stage() != Stage::Authorizing {
            let effects = session.resume();
            if effects.is_empty() {
                // Nothing is to be said again, but the fridge asks whether its journal is safe.
                return self.answer(None).await;
            }
            return self.absorb(effects, clock::now()).await;
        }
        if self.means.is_some() || self.is_asking() || !self.outgoing.is_empty() {
            return;
        }
        // An earlier run asked and never heard. The same key brings the same answer.
        let (hold, bearer) = (session.hold(), session.bearer().cloned());
        let token = bearer.as_ref().map(|bearer| bearer.card.token.clone());
        let read = match shown {
            ShownBy::Card(sealed) => self.read_card(sealed).await.map(|read| match read {
                Read::Card(card, means) if Some(&card.token) == token.as_ref() => Some(means),
                Read::Card(..) | Read::Not(_) => None,
            }),
            ShownBy::IdToken(_) | ShownBy::UnreadableCard => Ok(None),
        };
        let means = match (read, bearer) {
            (Ok(Some(means)), _) => Some(means),
            (Ok(None), Some(bearer)) => self.drive.stored_means(&bearer).await.ok(),
            _ => None,
        };
        match (hold, means) {
            (Some(hold), Some(means)) => {
                self.asked_before = true;
                self.outgoing.after.push_back(After::Authorize(hold, means));
            }
            _ => self.fail(),
        }
    }
}

/// What reading a sealed card brought.
enum Read {
    /// A card, and how to pay with it.
    Card(CardRef, Means),
    /// None, and what was shown instead.
    Not(Shown),
}

impl Drive {
    /// The card under the token by which it is known here, and the processor's reference of it. The token key may have
    /// been replaced since the card was first seen: its earlier token is still its name, or its wallet would be lost.
    async fn known_as(&self, card: CardRef, earlier: Vec<Token>) -> Result<(CardRef, Option<StoredCard>), NotBegun> {
        for token in std::iter::once(card.token.clone()).chain(earlier) {
            let stored = self.stored(&token).await?;
            if stored.is_some() || self.reference.card(&token).is_some() {
                return Ok((CardRef { token, ..card }, stored));
            }
        }
        Ok((card, None))
    }

    /// What pays when no card was read: the processor's reference of the wallet's card.
    async fn stored_means(&self, bearer: &Bearer) -> Result<Means, NotBegun> {
        match self.stored(&bearer.card.token).await? {
            Some(card) => Ok(Means::Stored(card)),
            None => {
                let known = Known::from(bearer.clone());
                Err(NotBegun::Refused(Box::new(Refusal { reason: ReasonCode::NO_WALLET_CARD, known })))
            }
        }
    }

    async fn stored(&self, token: &Token) -> Result<Option<StoredCard>, NotBegun> {
        let kept = self.store.stored_card(token).await.map_err(|error| {
            tracing::error!(%error, "a stored card could not be looked up");
            NotBegun::Fault
        })?;
        Ok(kept.and_then(|kept| StoredCard::parse(&kept.reference).ok()))
    }

    /// Nothing, in the currency everything is priced in.
    pub(super) fn zero(&self) -> Money {
        Money::zero(self.reference.policy().map_or(Currency::USD, |policy| policy.currency))
    }
}
