//! Puts a card into a customer's wallet from the fridge's reader. The same sealing, the same channel, no session: a
//! repeat carries the same enrolment id, so that a lost answer enrols nobody twice.

use pci_contract::{Brand, LastFour, ReasonCode, SealingContext, SessionId};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::backoff::Backoff;
use crate::clock;
use crate::proto::{EnrollCardRequest, EnrollCardResponse};
use crate::sealing::seal;
use crate::service::Failure;
use crate::shared::{SEALING_KEY_UNKNOWN, Shared};

/// The most tries of one enrolment.
const MAX_TRIES: u32 = 5;

/// A card that is now in a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Whose network it is of; `None` when the service names one this agent does not know.
    pub brand: Option<Brand>,
    /// Its last four digits.
    pub last_four: Option<LastFour>,
}

/// Why a card is not in a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnrollError {
    /// The service refuses; the code says why.
    #[error("refused: {0}")]
    Refused(ReasonCode),
    /// The service cannot be reached; the customer may try again.
    #[error("the service cannot be reached")]
    Unavailable,
    /// The service does not accept what this fridge says, or does not keep the protocol.
    #[error("the service and this fridge do not understand each other")]
    Fault,
}

/// Seals the card and asks, a few times at most.
pub(crate) async fn enroll(
    shared: &Shared,
    track2: Zeroizing<Vec<u8>>,
    id_token: &str,
) -> Result<Enrolled, EnrollError> {
    let enrollment = clock::new_enrollment_id();
    let mut backoff = Backoff::default();
    let key = loop {
        match shared.keys.current().await {
            Ok(key) => break key,
            Err(failure) => pause(failure, &mut backoff).await?,
        }
    };
    let context =
        SealingContext { fridge: shared.config.fridge.clone(), session: SessionId::from_uuid(*enrollment.uuid()) };
    let card = seal(track2, &context, &key).map_err(|_| EnrollError::Fault)?;
    let request = EnrollCardRequest {
        enrollment_id: enrollment.to_string(),
        card: Some((&card).into()),
        id_token: id_token.to_owned(),
    };
    loop {
        match shared.service.enroll_card(request.clone()).await {
            Ok(response) => return judge(response, shared),
            Err(failure) => pause(failure, &mut backoff).await?,
        }
    }
}

async fn pause(failure: Failure, backoff: &mut Backoff) -> Result<(), EnrollError> {
    if failure == Failure::Rejected {
        return Err(EnrollError::Fault);
    }
    if backoff.failures() >= MAX_TRIES {
        return Err(EnrollError::Unavailable);
    }
    tokio::time::sleep(backoff.next(clock::chance())).await;
    Ok(())
}

fn judge(response: EnrollCardResponse, shared: &Shared) -> Result<Enrolled, EnrollError> {
    if response.result == "enrolled" {
        let brand = serde_json::from_value(serde_json::Value::String(response.brand)).ok();
        return Ok(Enrolled { brand, last_four: LastFour::parse(&response.last_four).ok() });
    }
    let reason = ReasonCode::parse(&response.result).map_err(|_| EnrollError::Fault)?;
    if reason.as_str() == SEALING_KEY_UNKNOWN {
        shared.keys.drop_key();
    }
    Err(EnrollError::Refused(reason))
}
