//! The engine: loads the compiled-in policies, strictly validated, and answers questions with them.
//!
//! It fails closed: a policy that does not validate stops the service from starting, a policy that errors while it is
//! evaluated denies. It leaves the words of a question to `question`.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use ca_identity::{Role, ServiceName, SpiffeId};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use thiserror::Error;

use crate::question::{Action, Question, Resource, operator_role};

const SCHEMA: &str = include_str!("../../cedar/schema.cedarschema");

/// Policy areas and their text; the cases of each lie beside it.
const AREAS: &[(&str, &str)] = &[
    ("pci", include_str!("../../cedar/pci.cedar")),
    ("observe", include_str!("../../cedar/observe.cedar")),
    ("wall", include_str!("../../cedar/wall.cedar")),
    ("people", include_str!("../../cedar/people.cedar")),
    ("fridges", include_str!("../../cedar/fridges.cedar")),
];

/// Why the policies cannot be used. Ours to repair; nobody can cause it from outside.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The schema does not parse.
    #[error("the policy schema does not parse: {0}")]
    Schema(String),
    /// A policy file does not parse, or a policy in it has no `@id`, or an id that another has.
    #[error("policy area {area}: {why}")]
    Policy {
        /// The file's name without its ending.
        area: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The policies contradict the schema.
    #[error("the policies do not validate: {0}")]
    Invalid(String),
}

/// Proof that the engine let a party do an action. Nobody else can make one.
#[derive(Debug)]
pub struct Permit {
    action: Action,
    principal: SpiffeId,
}

impl Permit {
    /// What was permitted.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Who was permitted to.
    #[must_use]
    pub const fn principal(&self) -> &SpiffeId {
        &self.principal
    }
}

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialCause {
    /// No policy permits it.
    NothingPermits,
    /// These policies forbid it, by id, sorted.
    Forbidden(Vec<String>),
    /// The question could not be evaluated; whatever cannot be, is denied.
    NotEvaluated(String),
}

/// The answer is no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("policy area `{area}` does not let this party do {action:?}")]
pub struct Denial {
    /// The policy area that decides about the action.
    pub area: &'static str,
    /// What was asked for.
    pub action: Action,
    /// Why not.
    pub cause: DenialCause,
}

/// The loaded policies. Cheap to share behind an `Arc`; a decision reads and locks nothing.
#[derive(Debug)]
pub struct Engine {
    schema: Schema,
    policies: PolicySet,
    types: Types,
}

impl Engine {
    /// Loads and strictly validates the policies that are compiled in.
    ///
    /// # Errors
    /// [`EngineError`] when they do not parse or validate.
    pub fn load() -> Result<Self, EngineError> {
        let (schema, warnings) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| EngineError::Schema(error.to_string()))?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(EngineError::Schema(warning.to_string()));
        }
        let mut policies = PolicySet::new();
        for &(area, text) in AREAS {
            add_area(&mut policies, area, text)?;
        }
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if !result.validation_passed_without_warnings() {
            return Err(EngineError::Invalid(result.to_string()));
        }
        Ok(Self { schema, policies, types: Types::new()? })
    }

    /// Answers one question.
    ///
    /// # Errors
    /// [`Denial`] when no policy permits it, one forbids it, or it cannot be evaluated.
    pub fn decide(&self, question: &Question<'_>) -> Result<Permit, Denial> {
        let action = question.action;
        let denied = |cause| Denial { area: action.area(), action, cause };
        let response = self.ask(question).map_err(|why| denied(DenialCause::NotEvaluated(why)))?;
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(denied(DenialCause::NotEvaluated(error.to_string())));
        }
        match response.decision() {
            Decision::Allow => Ok(Permit { action, principal: question.principal.clone() }),
            Decision::Deny => {
                let mut by: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
                by.sort();
                Err(denied(if by.is_empty() { DenialCause::NothingPermits } else { DenialCause::Forbidden(by) }))
            }
        }
    }

    fn ask(&self, question: &Question<'_>) -> Result<cedar_policy::Response, String> {
        let principal = self.types.principal(question.principal)?;
        let resource = self.types.resource(&question.resource)?;
        let action =
            EntityUid::from_type_name_and_id(self.types.action.clone(), EntityId::new(question.action.as_str()));
        let request = Request::new(principal.uid(), action, resource.uid(), Context::empty(), Some(&self.schema))
            .map_err(text)?;
        // A party that asks something of itself is one entity, not two.
        let asker = Some(principal).filter(|party| party.uid() != resource.uid());
        let entities =
            Entities::from_entities(asker.into_iter().chain([resource]), Some(&self.schema)).map_err(text)?;
        Ok(Authorizer::new().is_authorized(&request, &self.policies, &entities))
    }
}

/// Names of the entity types, parsed once.
#[derive(Debug)]
struct Types {
    fridge: EntityTypeName,
    quarantined: EntityTypeName,
    service: EntityTypeName,
    operator: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    fn new() -> Result<Self, EngineError> {
        let parse = |name| EntityTypeName::from_str(name).map_err(|error| EngineError::Schema(error.to_string()));
        Ok(Self {
            fridge: parse("Larder::Fridge")?,
            quarantined: parse("Larder::Quarantined")?,
            service: parse("Larder::Service")?,
            operator: parse("Larder::Operator")?,
            action: parse("Larder::Action")?,
        })
    }

    fn principal(&self, id: &SpiffeId) -> Result<Entity, String> {
        let zone = id.zone().as_str();
        match id.role() {
            Role::Fridge(name) => entity(&self.fridge, name.as_str(), &[("zone", zone)]),
            Role::Quarantined(name) => entity(&self.quarantined, name.as_str(), &[("zone", zone)]),
            Role::Service(service) => self.service(*service),
            Role::Operator(name) => {
                entity(&self.operator, name.as_str(), &[("zone", zone), ("role", operator_role(name.as_str()))])
            }
        }
    }

    fn resource(&self, resource: &Resource<'_>) -> Result<Entity, String> {
        match resource {
            Resource::Service(service) => self.service(*service),
            Resource::Fridge(name) => entity(&self.fridge, name, &[("zone", "device")]),
        }
    }

    fn service(&self, service: ServiceName) -> Result<Entity, String> {
        entity(&self.service, service.as_str(), &[("zone", service.zone().as_str())])
    }
}

fn entity(kind: &EntityTypeName, name: &str, attributes: &[(&str, &str)]) -> Result<Entity, String> {
    let mut all: HashMap<String, RestrictedExpression> = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), RestrictedExpression::new_string((*value).to_owned())))
        .collect();
    all.insert("name".to_owned(), RestrictedExpression::new_string(name.to_owned()));
    let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name));
    Entity::new(uid, all, HashSet::new()).map_err(text)
}

fn add_area(policies: &mut PolicySet, area: &'static str, source: &str) -> Result<(), EngineError> {
    let fault = |why: String| EngineError::Policy { area, why };
    let parsed = PolicySet::from_str(source).map_err(|error| fault(error.to_string()))?;
    for policy in parsed.policies() {
        let id = policy.annotation("id").ok_or_else(|| fault("a policy has no @id".to_owned()))?;
        let named: Policy = policy.new_id(PolicyId::new(format!("{area}/{id}")));
        policies.add(named).map_err(|error| fault(error.to_string()))?;
    }
    Ok(())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
