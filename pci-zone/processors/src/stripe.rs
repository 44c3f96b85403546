//! A connector to a processor in the shape of Stripe's PaymentIntents.
//!
//! A hold is a PaymentIntent that is captured by hand; the session's id rides in its metadata, so that a payment whose
//! answer was lost can be found again. Nothing here decides whether to repeat: an ask goes out once, and its error says
//! what may be done. The one look back is at a hold that "is in the wrong state": where the state is the one that was
//! asked for, the ask has been answered before, under a key the processor has forgotten; and to take of a hold that is
//! gone is declined.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use pci_card::{Expiry, Pan};
use pci_contract::{Money, ReasonCode, SessionId};
use serde::de::DeserializeOwned;

use crate::answer::{self, HELD, IntentAnswer, LET_GO, MethodAnswer, RefundAnswer, SearchAnswer, TAKEN};
use crate::config::{ConfigError, ProcessorConfig};
use crate::form::Form;
use crate::health::{Health, HealthCounts};
use crate::http::{Client, CloseAfter, HttpError, Request, Response};
use crate::key::IdempotencyKey;
use crate::port::{
    Ask, AskError, Authorization, AuthorizationRef, Captured, Processor, Standing, StandingState, StoredCard,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The connector. Cloning shares its connections.
#[derive(Clone)]
pub struct StripeShaped(Arc<Shared>);

struct Shared {
    client: Client,
    bearer: HeaderValue,
    after_card: CloseAfter,
    health: Health,
}

impl fmt::Debug for StripeShaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StripeShaped").field(&self.0.client).finish()
    }
}

impl StripeShaped {
    /// A connector; it connects when there is something to ask.
    ///
    /// # Errors
    /// [`ConfigError`] says which setting cannot be used.
    pub fn new(config: ProcessorConfig) -> Result<Self, ConfigError> {
        let after_card = if config.close_after_card { CloseAfter::Always } else { CloseAfter::Failure };
        let shared = Shared {
            client: config.client()?,
            bearer: config.api_key.bearer()?,
            after_card,
            health: Health::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// What the asks so far came to.
    #[must_use]
    pub fn health(&self) -> HealthCounts {
        self.0.health.counts()
    }

    /// Runs an ask and takes note of its end.
    fn ask<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Ask<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AskError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        let work = work(Arc::clone(&shared));
        Box::pin(async move {
            let result = work.await;
            shared.health.note(&result);
            result
        })
    }
}

impl Processor for StripeShaped {
    fn store_card(&self, key: &IdempotencyKey, pan: Pan, expiry: Expiry) -> Ask<StoredCard> {
        let form = Form::new()
            .text("type", "card")
            .field("card[number]", pan.expose())
            .number("card[exp_month]", i64::from(expiry.month()))
            .number("card[exp_year]", i64::from(expiry.year()));
        drop((pan, expiry));
        let request = post("/v1/payment_methods", key, form).close_after(self.0.after_card);
        self.ask(|shared| async move {
            let method: MethodAnswer = shared.send(request).await?;
            method.stored_card()
        })
    }

    fn authorize(
        &self,
        key: &IdempotencyKey,
        session: SessionId,
        hold: Money,
        card: &StoredCard,
    ) -> Ask<Authorization> {
        let form = Form::new()
            .number("amount", hold.minor())
            .text("currency", &hold.currency().as_str().to_ascii_lowercase())
            .text("payment_method", card.as_str())
            .text("payment_method_types[]", "card")
            .text("capture_method", "manual")
            .text("confirm", "true")
            .text("off_session", "true")
            .text("payment_method_options[card][request_incremental_authorization]", "if_available")
            .text("metadata[session]", &session.to_string());
        let request = post("/v1/payment_intents", key, form);
        self.ask(move |shared| async move {
            let intent: IntentAnswer = shared.send(request).await?;
            match intent.status.as_str() {
                HELD if intent.amount()? == hold => Ok(Authorization { reference: intent.reference()?, amount: hold }),
                // Nobody stands at the fridge who could prove more; nothing is held.
                "requires_action" | "requires_payment_method" => Err(AskError::Declined(ReasonCode::CARD_DECLINED)),
                _ => Err(AskError::Unknown),
            }
        })
    }

    fn increment(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, to: Money) -> Ask<Money> {
        let form = Form::new().number("amount", to.minor());
        let request = post(format!("/v1/payment_intents/{authorization}/increment_authorization"), key, form);
        let authorization = authorization.clone();
        self.ask(move |shared| async move {
            let intent: IntentAnswer = shared.send(request).await?;
            let raised = intent.is(&authorization) && intent.status == HELD && intent.amount()? == to;
            if raised { Ok(to) } else { Err(AskError::Unknown) }
        })
    }

    fn capture(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<Captured> {
        let form = Form::new().number("amount_to_capture", amount.minor());
        let request = post(format!("/v1/payment_intents/{authorization}/capture"), key, form);
        let authorization = authorization.clone();
        self.ask(move |shared| async move {
            let decided = |intent: &IntentAnswer| taken(intent, amount) || let_go(intent);
            match shared.settle(request, &authorization, decided).await? {
                intent if taken(&intent, amount) => Ok(Captured { amount }),
                // The hold expired, or somebody let it go: there is nothing left to take, and there never will be.
                intent if let_go(&intent) => Err(AskError::Declined(hold_gone())),
                _ => Err(AskError::Unknown),
            }
        })
    }

    fn void(&self, key: &IdempotencyKey, authorization: &AuthorizationRef) -> Ask<()> {
        let request = post(format!("/v1/payment_intents/{authorization}/cancel"), key, Form::new());
        let authorization = authorization.clone();
        self.ask(move |shared| async move {
            let intent = shared.settle(request, &authorization, let_go).await?;
            if let_go(&intent) { Ok(()) } else { Err(AskError::Unknown) }
        })
    }

    fn refund(&self, key: &IdempotencyKey, authorization: &AuthorizationRef, amount: Money) -> Ask<()> {
        let form = Form::new().text("payment_intent", authorization.as_str()).number("amount", amount.minor());
        let request = post("/v1/refunds", key, form);
        self.ask(move |shared| async move {
            let refund: RefundAnswer = shared.send(request).await?;
            match refund.status.as_str() {
                "succeeded" | "pending" if refund.amount == amount.minor() => Ok(()),
                "failed" | "canceled" => {
                    Err(AskError::Declined(ReasonCode::parse("refund_failed").unwrap_or(ReasonCode::CARD_DECLINED)))
                }
                _ => Err(AskError::Unknown),
            }
        })
    }

    fn sync(&self, session: SessionId) -> Ask<Option<Standing>> {
        let query = Form::new().text("query", &format!("metadata['session']:'{session}'")).number("limit", 10);
        let request = Request::get(format!("/v1/payment_intents/search?{}", query.into_query()));
        self.ask(move |shared| async move {
            let found: SearchAnswer = shared.send(request).await?;
            let mut standings = Vec::with_capacity(found.data.len());
            for intent in &found.data {
                standings.extend(intent.standing()?);
            }
            // One session asks for one hold. Were there more, what was taken would tell the most.
            standings.sort_by_key(|standing| match standing.state {
                StandingState::Captured => 0,
                StandingState::Held => 1,
                StandingState::Voided => 2,
            });
            Ok(standings.into_iter().next())
        })
    }
}

impl Shared {
    async fn send<A: DeserializeOwned>(&self, request: Request) -> Result<A, AskError> {
        answer::read(self.exchange(request).await)
    }

    /// Sends a capture or a void. If the hold is past that, looks whether it `stands` as asked.
    async fn settle(
        &self,
        request: Request,
        authorization: &AuthorizationRef,
        stands: impl Fn(&IntentAnswer) -> bool,
    ) -> Result<IntentAnswer, AskError> {
        let rejected = match self.send::<IntentAnswer>(request).await {
            Ok(intent) if intent.is(authorization) => return Ok(intent),
            Ok(_) => return Err(AskError::Unknown),
            Err(rejected @ AskError::Rejected { .. }) => rejected,
            Err(other) => return Err(other),
        };
        if !matches!(&rejected, AskError::Rejected { code, .. } if code == answer::UNEXPECTED_STATE) {
            return Err(rejected);
        }
        match self.send::<IntentAnswer>(Request::get(format!("/v1/payment_intents/{authorization}"))).await {
            Ok(intent) if intent.is(authorization) && stands(&intent) => Ok(intent),
            Ok(_) => Err(rejected),
            // The hold's state is not known; that the first ask did nothing does not settle it.
            Err(_) => Err(AskError::Unknown),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Response, HttpError> {
        let request = request.header(header::AUTHORIZATION, self.bearer.clone());
        let answer = self.client.send(request).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "no answer from the processor");
        }
        answer
    }
}

fn post(path: impl Into<String>, key: &IdempotencyKey, form: Form) -> Request {
    Request::post(path, form.into_body()).header(header::CONTENT_TYPE, FORM).text_header(IDEMPOTENCY_KEY, key.as_str())
}

/// Why nothing can be taken of a hold that the processor gave up.
fn hold_gone() -> ReasonCode {
    ReasonCode::parse("hold_expired").unwrap_or(ReasonCode::CARD_DECLINED)
}

fn taken(intent: &IntentAnswer, amount: Money) -> bool {
    intent.status == TAKEN && intent.received() == Ok(amount)
}

fn let_go(intent: &IntentAnswer) -> bool {
    intent.status == LET_GO
}
