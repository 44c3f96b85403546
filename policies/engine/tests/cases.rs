//! The policies answer every case that lies beside them, and no action is without cases.
//!
//! A failure is: a case answered otherwise than written, an action that no case permits or that no case denies, or an
//! area without cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use ca_identity::{Role, ServiceName, SpiffeId, TrustDomain};
use policy_engine::{Action, DenialCause, Engine, Question, Resource, operator_role};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    principal: String,
    action: String,
    resource: String,
    permit: bool,
}

fn party(path: &str) -> SpiffeId {
    SpiffeId::parse_path_in(&TrustDomain::parse("larder.internal").unwrap(), path)
        .unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cedar")
}

fn areas() -> Vec<(String, Cases)> {
    let mut areas: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".cedar").map(str::to_owned))
        .collect();
    areas.sort();
    areas
        .into_iter()
        .map(|area| {
            let text = std::fs::read_to_string(folder().join(format!("{area}.cases.toml"))).expect(&area);
            let cases = toml::from_str(&text).unwrap_or_else(|why| panic!("{area}: {why}"));
            (area, cases)
        })
        .collect()
}

#[test]
fn every_case_is_answered_as_written() {
    let engine = Engine::load().expect("policies load and validate strictly");
    for (area, cases) in areas() {
        for case in cases.case {
            let principal = party(&case.principal);
            let action = Action::parse(&case.action).expect(&case.action);
            assert_eq!(action.area(), area, "{} has its cases beside its policy", case.action);
            let about = party(&case.resource);
            let resource = match about.role() {
                Role::Service(service) => Resource::Service(*service),
                Role::Fridge(name) => Resource::Fridge(name.as_str()),
                Role::Quarantined(_) | Role::Operator(_) => panic!("{about} is no resource"),
            };
            let answer = engine.decide(&Question { principal: &principal, action, resource });
            let told = format!("{area}: {} {} {}: {answer:?}", case.principal, case.action, case.resource);
            assert_eq!(answer.is_ok(), case.permit, "{told}");
            if let Ok(permit) = answer {
                assert_eq!((permit.action(), permit.principal()), (action, &principal));
            }
        }
    }
}

#[test]
fn every_action_has_cases_of_both_kinds() {
    let (mut permitted, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for (_, cases) in areas() {
        for case in cases.case {
            if case.permit {
                permitted.insert(case.action)
            } else {
                denied.insert(case.action)
            };
        }
    }
    let all: BTreeSet<String> = Action::ALL.iter().map(|action| action.as_str().to_owned()).collect();
    assert_eq!((&permitted, &denied), (&all, &all));
}

#[test]
fn nobody_but_a_fridge_ever_reaches_card_acceptance() {
    let engine = Engine::load().unwrap();
    for service in ServiceName::ALL {
        let principal = SpiffeId::service(&TrustDomain::parse("larder.internal").unwrap(), *service);
        for action in [Action::SealingKey, Action::Purchase, Action::EnrollCard, Action::ReportTamper] {
            let resource = Resource::Service(ServiceName::PurchaseSession);
            let denial = engine.decide(&Question { principal: &principal, action, resource }).unwrap_err();
            assert_eq!(denial.area, "pci");
            assert!(matches!(denial.cause, DenialCause::Forbidden(_)), "{denial:?}");
        }
    }
}

#[test]
fn a_fridge_in_quarantine_reports_its_own_health_and_does_nothing_else() {
    let engine = Engine::load().unwrap();
    let principal = party("quarantine/FR-0001");
    let resources = ServiceName::ALL.iter().map(|service| Resource::Service(*service));
    let fridges = ["FR-0001", "FR-0002"].map(Resource::Fridge);
    let mut permitted = Vec::new();
    for resource in resources.chain(fridges) {
        for action in Action::ALL.iter().copied() {
            let question = Question { principal: &principal, action, resource };
            if engine.decide(&question).is_ok() {
                permitted.push(format!("{action:?} {resource:?}"));
            }
        }
    }
    assert_eq!(permitted, [r#"ReportHealth Fridge("FR-0001")"#]);
}

#[test]
fn an_action_of_the_wrong_kind_of_thing_is_denied() {
    let engine = Engine::load().unwrap();
    let principal = party("fridge/FR-0001");
    let question = Question { principal: &principal, action: Action::Purchase, resource: Resource::Fridge("FR-0001") };
    let denial = engine.decide(&question).unwrap_err();
    assert!(matches!(denial.cause, DenialCause::NotEvaluated(_)), "{denial:?}");
}

#[test]
fn a_role_is_what_stands_before_the_first_dash() {
    assert_eq!(operator_role("operator"), "operator");
    assert_eq!(operator_role("operator-ada-2"), "operator");
    assert_eq!(operator_role("-operator"), "");
}
