//! The table of who may call what against the policies it is a copy of: every kind of caller, every method.
//!
//! A failure is any pair that the two answer differently, and any action of the policies at this service that the table
//! has no method for, or the other way round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use ca_identity::{Role, ServiceName, SpiffeId, TrustDomain};
use ca_mtls::Peer;
use pci_contract::Timestamp;
use policy_engine::{Action, Engine, Question, Resource};
use purchase_session::authorize::{self, Denied, Health, Method, Purchase, permitted};

/// Names of people and fridges, with those that nearly are something else.
const NAMES: [&str; 20] = [
    "FR-0001",
    "admin",
    "admin-ada",
    "operator",
    "operator-ada",
    "operator-auditor",
    "viewer",
    "viewer-vi",
    "auditor",
    "auditor-eve",
    "auditor-",
    "auditors",
    "auditor.eve",
    "auditor_eve",
    "Auditor",
    "AUDITOR-eve",
    "-auditor",
    "-",
    "monitor",
    "purchase-session",
];

fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

/// Every kind of caller: all services, and fridges, with and without quarantine, and people of all those names.
fn callers() -> Vec<SpiffeId> {
    let services = ServiceName::ALL.iter().map(|service| SpiffeId::service(&domain(), *service));
    let fridges = NAMES.iter().map(|name| SpiffeId::fridge(&domain(), name).expect(name));
    let people = NAMES.iter().map(|name| SpiffeId::operator(&domain(), name).expect(name));
    let quarantined = fridges.clone().filter_map(|fridge| fridge.quarantined());
    services.chain(quarantined).chain(fridges).chain(people).collect()
}

fn action(method: Method) -> Action {
    let name = format!("{method:?}");
    Action::parse(&name).unwrap_or_else(|| panic!("the policies know no {name}"))
}

#[test]
fn the_table_answers_every_pair_as_the_policies_do() {
    let engine = Engine::load().unwrap();
    let resource = Resource::Service(ServiceName::PurchaseSession);
    let (mut differ, mut answers) = (Vec::new(), BTreeSet::new());
    for principal in callers() {
        for method in Method::ALL {
            let question = Question { principal: &principal, action: action(method), resource };
            let (policy, table) = (engine.decide(&question).is_ok(), permitted(principal.role(), method));
            answers.insert((format!("{method:?}"), table));
            if policy != table {
                differ.push(format!("{principal} {method:?}: the policies say {policy}, the table {table}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert_eq!(answers.len(), 2 * Method::ALL.len(), "each method has callers of both kinds: {answers:?}");
}

#[test]
fn the_table_has_every_action_of_this_service_and_no_other() {
    let wanted: BTreeSet<Action> =
        Action::ALL.iter().copied().filter(|action| matches!(action.area(), "pci" | "observe")).collect();
    let has: BTreeSet<Action> = Method::ALL.into_iter().map(action).collect();
    assert_eq!(has, wanted);
}

fn peer(path: &str, not_after: i64) -> Peer {
    Peer {
        id: SpiffeId::parse_path_in(&domain(), path).unwrap(),
        serial: "01".into(),
        issuer: "CN=test".into(),
        not_after,
    }
}

#[test]
fn a_permit_ends_with_the_certificate_and_only_a_fridge_gets_one_to_buy() {
    let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000 + 999_999);
    let fridge = peer("fridge/FR-0001", 100);
    let permit = authorize::authorize::<Purchase>(&fridge, at(100)).expect("its last second");
    assert_eq!(permit.fridge().unwrap().as_str(), "FR-0001");
    assert_eq!(authorize::authorize::<Purchase>(&fridge, at(101)).unwrap_err(), Denied::Expired);
    let monitor = peer("service/monitor", 100);
    assert_eq!(authorize::authorize::<Purchase>(&monitor, at(0)).unwrap_err(), Denied::Role);
    let watching = authorize::authorize::<Health>(&monitor, at(0)).expect("it may watch");
    assert_eq!(watching.fridge().unwrap_err(), Denied::NotAFridge);
    assert!(matches!(monitor.id.role(), Role::Service(ServiceName::Monitor)));
}
