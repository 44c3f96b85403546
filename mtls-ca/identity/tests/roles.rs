//! The closed sets, pinned: certificates, policies and other programs hold these texts, so a change of one is a change of
//! everybody's names and must be made on purpose, here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeSet, HashSet};

use ca_identity::{
    Name, NameError, Role, ServiceName, SpiffeId, SpiffeIdError, TrustDomain, TrustDomainError, UnknownService, Zone,
};

const SERVICES: [(ServiceName, &str, Zone); 9] = [
    (ServiceName::PurchaseSession, "purchase-session", Zone::Pci),
    (ServiceName::Admin, "admin", Zone::NonPci),
    (ServiceName::Status, "status", Zone::NonPci),
    (ServiceName::Inventory, "inventory", Zone::NonPci),
    (ServiceName::Customers, "customers", Zone::NonPci),
    (ServiceName::Console, "console", Zone::NonPci),
    (ServiceName::Authority, "authority", Zone::NonPci),
    (ServiceName::Attestation, "attestation", Zone::NonPci),
    (ServiceName::Monitor, "monitor", Zone::NonPci),
];

fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

#[test]
fn the_services_are_these_and_no_others() {
    let listed: Vec<_> = SERVICES.iter().map(|(service, ..)| *service).collect();
    assert_eq!(ServiceName::ALL, listed);
    for (service, text, zone) in SERVICES {
        assert_eq!((service.as_str(), service.zone()), (text, zone));
        assert_eq!(service.to_string(), text);
        assert_eq!(SpiffeId::service(&domain(), service).as_str(), format!("spiffe://larder.internal/service/{text}"));
    }
}

#[test]
fn no_two_services_share_a_name() {
    let names: HashSet<_> = ServiceName::ALL.iter().map(|service| service.as_str()).collect();
    assert_eq!(names.len(), ServiceName::ALL.len());
    for name in names {
        assert!(Name::parse(name).is_ok(), "{name} could not stand in an id");
    }
}

#[test]
fn zones_are_written_as_policies_write_them() {
    let zones = [(Zone::Pci, "pci"), (Zone::NonPci, "non-pci"), (Zone::Device, "device"), (Zone::People, "people")];
    for (zone, text) in zones {
        assert_eq!((zone.as_str(), zone.to_string()), (text, text.to_owned()));
    }
}

#[test]
fn a_role_gives_back_the_two_segments_it_was_made_of() {
    for (path, zone) in [
        ("fridge/f1", Zone::Device),
        ("quarantine/f1", Zone::Device),
        ("operator/ada", Zone::People),
        ("service/admin", Zone::NonPci),
    ] {
        let id = SpiffeId::parse_path_in(&domain(), path).unwrap();
        assert_eq!(format!("{}/{}", id.role().kind(), id.role().name()), path);
        assert_eq!((id.role().zone(), id.zone()), (zone, zone));
    }
}

#[test]
fn a_service_name_means_nothing_under_another_kind() {
    let fridge = SpiffeId::fridge(&domain(), "purchase-session").unwrap();
    let service = SpiffeId::service(&domain(), ServiceName::PurchaseSession);
    assert_ne!(fridge, service);
    assert_eq!(fridge.zone(), Zone::Device);
    assert!(matches!(fridge.role(), Role::Fridge(_)));
}

#[test]
fn a_fridge_in_quarantine_is_another_party_than_the_fridge_and_nobody_else_can_be() {
    let fridge = SpiffeId::fridge(&domain(), "f1").unwrap();
    let quarantined = fridge.quarantined().unwrap();
    assert_eq!(quarantined.as_str(), "spiffe://larder.internal/quarantine/f1");
    assert_eq!(SpiffeId::parse(quarantined.as_str()), Ok(quarantined.clone()));
    assert!(quarantined != fridge && quarantined.role() != fridge.role());
    assert_eq!(quarantined.quarantined(), None);
    assert_eq!(SpiffeId::service(&domain(), ServiceName::Admin).quarantined(), None);
    assert_eq!(SpiffeId::operator(&domain(), "ada").unwrap().quarantined(), None);
}

#[test]
fn the_same_path_in_another_domain_is_another_party() {
    let other = TrustDomain::parse("other.example").unwrap();
    let (ours, theirs) = (SpiffeId::fridge(&domain(), "f1").unwrap(), SpiffeId::fridge(&other, "f1").unwrap());
    assert_ne!(ours, theirs);
    assert_eq!(ours.role(), theirs.role());
    assert_eq!(BTreeSet::from([ours.clone(), theirs, ours]).len(), 2);
}

#[test]
fn names_differ_by_case() {
    let (lower, upper) = (SpiffeId::fridge(&domain(), "f1").unwrap(), SpiffeId::fridge(&domain(), "F1").unwrap());
    assert_ne!(lower, upper, "nothing is folded: equal parties are equal bytes");
}

#[test]
fn every_refusal_says_what_a_right_one_looks_like() {
    let cases: [(String, &str); 9] = [
        (SpiffeIdError::Length.to_string(), "2048 bytes"),
        (SpiffeIdError::Scheme.to_string(), "spiffe://"),
        (SpiffeIdError::Path.to_string(), "/service/<name>"),
        (SpiffeIdError::from(UnknownService).to_string(), "no service has this name"),
        (SpiffeIdError::from(NameError::Character).to_string(), "letters, digits"),
        (NameError::DigitRun.to_string(), "12 digits in a row"),
        (NameError::Length.to_string(), "1 to 36"),
        (TrustDomainError::Character.to_string(), "lowercase"),
        (TrustDomainError::Length.to_string(), "1 to 255"),
    ];
    for (said, words) in cases {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn no_refusal_repeats_what_it_refused() {
    // What is refused may be card data in the wrong field; an error must not carry it into a log.
    let digits = "4242424242424242";
    for text in
        [format!("spiffe://larder.internal/fridge/{digits}"), format!("spiffe://{digits}/{digits}"), digits.into()]
    {
        let error = SpiffeId::parse(&text).unwrap_err();
        assert!(!error.to_string().contains("4242") && !format!("{error:?}").contains("4242"), "{error:?}");
    }
}
