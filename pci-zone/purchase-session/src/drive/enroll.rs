//! Puts a card into a customer's wallet: the card is opened in the vault, stored with the processor, and only its token
//! and the processor's reference are kept.

use pci_contract::{
    CardEnrolled, CardRef, EnrollmentId, EventBody, IdTokenDigest, ReasonCode, SealedCard, SealingContext,
};
use pci_processors::{AskError, IdempotencyKey};
use pci_store::{Batch, Enrollment, NewEvent, StoredCard};
use pci_vault::OpenError;

use super::{Drive, DriveError};
use crate::authorize::{EnrollCard, Permit};
use crate::clock;

impl Drive {
    /// Enrols the card for whoever shows the ID token. The inner error is the reason it was refused; the same enrolment
    /// again has the same answer.
    ///
    /// # Errors
    /// [`DriveError::Fault`] when the vault, the processor or the database is away: nothing was done, or doing it again
    /// does no harm.
    pub async fn enroll(
        &self,
        _permit: &Permit<EnrollCard>,
        context: SealingContext,
        card: Option<SealedCard>,
        id_token: &IdTokenDigest,
    ) -> Result<Result<CardRef, ReasonCode>, DriveError> {
        let enrollment = EnrollmentId::from_uuid(*context.session.uuid());
        let known = self.store.enrollment(enrollment).await.map_err(|_| DriveError::Fault)?;
        if let Some(known) = known {
            return Ok(Ok(known.card));
        }
        let Some(customer) = self.reference.customer_by_id_token(id_token) else {
            return Ok(Err(ReasonCode::UNKNOWN_ID_TOKEN));
        };
        let Some(sealed) = card else { return Ok(Err(ReasonCode::INVALID_CARD)) };
        let opened = match self.vault.open(sealed, context, clock::now().seconds()).await {
            Ok(opened) => opened,
            Err(OpenError::Fault(_)) => return Err(DriveError::Fault),
            Err(error) => return Ok(Err(super::open::card_reason(&error))),
        };
        let key = IdempotencyKey::of_enrollment(enrollment);
        let reference = match self.processor.store_card(&key, opened.pan, opened.expiry).await {
            Ok(reference) => reference,
            Err(AskError::Declined(reason)) => return Ok(Err(reason)),
            Err(AskError::NotSent | AskError::Unknown | AskError::Rejected { .. }) => return Err(DriveError::Fault),
        };
        let now = clock::now();
        let card = opened.card;
        let body = EventBody::CardEnrolled(CardEnrolled {
            enrollment,
            customer: customer.customer.clone(),
            card: card.clone(),
            at: now,
        });
        let batch = Batch {
            stored_card: Some(StoredCard { card: card.clone(), reference: reference.as_str().to_owned() }),
            enrollment: Some(Enrollment { id: enrollment, customer: customer.customer, card: card.clone(), at: now }),
            events: vec![NewEvent { id: clock::event_id(), body, at: now }],
            ..Batch::default()
        };
        self.store.commit(batch).await.map_err(|error| {
            tracing::error!(%error, "an enrolment could not be stored");
            DriveError::Fault
        })?;
        Ok(Ok(card))
    }
}
