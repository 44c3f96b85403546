//! Being allowed is a value: a handler takes [`Allowed`], and only the policies can make one.
//!
//! [`crate::Routes`] accepts no handler whose first argument is not an `Allowed`, so a route that forgets to ask does
//! not compile. It leaves who may do what to `policies/cedar`.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, RawPathParams};
use ca_identity::SpiffeId;
use ca_mtls::Peer;
use http::StatusCode;
use http::request::Parts;
use policy_engine::{Action, Denial, Permit, Question, Resource};

use crate::kit::Kit;
use crate::problem::Problem;

/// An action as a type, so that a permit for one cannot be used for another.
pub trait Guard: Send + Sync + 'static {
    /// The action.
    const ACTION: Action;
}

macro_rules! guards {
    ($($name:ident)*) => {$(
        #[doc = concat!("The action [`Action::", stringify!($name), "`] as a type.")]
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl Guard for $name {
            const ACTION: Action = Action::$name;
        }
    )*};
}

guards! {
    Health Metrics ReportHealth
    AdminRead AdminWrite AdminFeed AdminInbox
    StatusRead StatusWrite StatusFeed StatusInbox
    InventoryRead InventoryWrite InventoryFeed InventoryInbox
    CustomersRead CustomersWrite CustomersFeed CustomersInbox
}

/// Proof that the caller may do `A` to this service, or to the fridge that the path names as `{id}`.
#[derive(Debug)]
pub struct Allowed<A> {
    permit: Permit,
    action: PhantomData<fn() -> A>,
}

impl<A> Allowed<A> {
    /// Who was let in.
    #[must_use]
    pub const fn who(&self) -> &SpiffeId {
        self.permit.principal()
    }
}

impl<A: Guard, E: Send + Sync> FromRequestParts<Kit<E>> for Allowed<A> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, kit: &Kit<E>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().cloned().ok_or_else(|| nobody("the connection names no party"))?;
        peer.check_alive(kit.now().seconds()).map_err(|error| nobody(error.to_string()))?;
        let fridge = if A::ACTION.is_about_a_fridge() { Some(path_id(parts, kit).await?) } else { None };
        let resource = fridge.as_deref().map_or(Resource::Service(kit.service()), Resource::Fridge);
        let question = Question { principal: &peer.id, action: A::ACTION, resource };
        let permit = kit.engine().decide(&question).map_err(|denial| denied(&peer.id, &denial))?;
        Ok(Self { permit, action: PhantomData })
    }
}

async fn path_id<E: Send + Sync>(parts: &mut Parts, kit: &Kit<E>) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, kit).await.map_err(|_| Problem::not_found("fridge"))?;
    let id = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value.to_owned());
    id.ok_or_else(|| Problem::not_found("fridge"))
}

fn nobody(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "no_identity", detail)
}

fn denied(who: &SpiffeId, denial: &Denial) -> Problem {
    tracing::warn!(%who, action = denial.action.as_str(), area = denial.area, cause = ?denial.cause, "denied");
    Problem::new(StatusCode::FORBIDDEN, "permission_denied", "the policies do not let you do this")
        .with("action", denial.action.as_str())
        .with("policy_area", denial.area)
}
