//! Whole names, from outside: what parses says what it says, what is not exactly a name is refused, and no input at all
//! makes the parser panic or accept two texts for one party.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use ca_identity::{NameError, Role, ServiceName, SpiffeId, SpiffeIdError, TrustDomain, TrustDomainError, Zone};
use proptest::prelude::*;

fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

#[test]
fn a_fridge_is_a_device() {
    let id = SpiffeId::parse("spiffe://larder.internal/fridge/01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    assert_eq!(id.trust_domain(), &domain());
    assert!(matches!(id.role(), Role::Fridge(name) if name.as_str() == "01890a5d-ac96-774b-bcce-b302099a8057"));
    assert_eq!(id.zone(), Zone::Device);
    assert_eq!(id, SpiffeId::fridge(&domain(), "01890a5d-ac96-774b-bcce-b302099a8057").unwrap());
}

#[test]
fn services_and_operators_are_told_apart() {
    let service = SpiffeId::parse("spiffe://larder.internal/service/purchase-session").unwrap();
    assert_eq!(service.role(), &Role::Service(ServiceName::PurchaseSession));
    assert_eq!(service.zone(), Zone::Pci);
    assert_eq!(service, SpiffeId::service(&domain(), ServiceName::PurchaseSession));
    let operator = SpiffeId::parse("spiffe://larder.internal/operator/ada").unwrap();
    assert_eq!(operator, SpiffeId::operator(&domain(), "ada").unwrap());
    assert_eq!(operator.zone(), Zone::People);
}

#[test]
fn a_service_of_no_name_of_ours_is_refused() {
    assert!(matches!(SpiffeId::parse("spiffe://larder.internal/service/billing"), Err(SpiffeIdError::Service(_))));
}

#[test]
fn everything_that_is_almost_a_name_is_refused() {
    use SpiffeIdError::{Length, Name, Path, Scheme};
    let long = format!("spiffe://larder.internal/fridge/{}", "a".repeat(2048));
    let cases: &[(&str, SpiffeIdError)] = &[
        ("", Scheme),
        ("larder.internal/fridge/f1", Scheme),
        ("SPIFFE://larder.internal/fridge/f1", Scheme),
        ("https://larder.internal/fridge/f1", Scheme),
        ("spiffe:/larder.internal/fridge/f1", Scheme),
        ("spiffe://larder.internal", Path),
        ("spiffe://larder.internal/", Path),
        ("spiffe://larder.internal/fridge", Path),
        ("spiffe://larder.internal/fridge/", Name(NameError::Length)),
        ("spiffe://larder.internal/fridge/f1/", Path),
        ("spiffe://larder.internal/fridge/f1/door", Path),
        ("spiffe://larder.internal//fridge/f1", Path),
        ("spiffe://larder.internal/Fridge/f1", Path),
        ("spiffe://larder.internal/fridges/f1", Path),
        ("spiffe://larder.internal/fridge/..", Name(NameError::Dots)),
        ("spiffe://larder.internal/./f1", Path),
        ("spiffe://larder.internal/fridge/f1?x=1", Name(NameError::Character)),
        ("spiffe://larder.internal/fridge/f1#x", Name(NameError::Character)),
        ("spiffe://larder.internal/fridge/%66", Name(NameError::Character)),
        ("spiffe:///fridge/f1", SpiffeIdError::TrustDomain(TrustDomainError::Length)),
        ("spiffe://larder.internal:443/fridge/f1", SpiffeIdError::TrustDomain(TrustDomainError::Character)),
        ("spiffe://a@larder.internal/fridge/f1", SpiffeIdError::TrustDomain(TrustDomainError::Character)),
        ("spiffe://Larder.internal/fridge/f1", SpiffeIdError::TrustDomain(TrustDomainError::Character)),
        (&long, Length),
    ];
    for (text, error) in cases {
        assert_eq!(SpiffeId::parse(text).as_ref(), Err(error), "{text}");
    }
}

#[test]
fn a_short_form_is_completed_by_the_trust_domain() {
    let whole = SpiffeId::parse("spiffe://larder.internal/service/admin").unwrap();
    assert_eq!(SpiffeId::parse_path_in(&domain(), "service/admin"), Ok(whole.clone()));
    assert_eq!(SpiffeId::parse_path_in(&domain(), "/service/admin"), Ok(whole));
    assert_eq!(SpiffeId::parse_path_in(&domain(), "//service/admin"), Err(SpiffeIdError::Path));
    assert_eq!(SpiffeId::parse_path_in(&domain(), "admin"), Err(SpiffeIdError::Path));
}

#[test]
fn a_debug_text_shows_the_whole_id() {
    let id = SpiffeId::operator(&domain(), "ada").unwrap();
    assert_eq!(format!("{id:?}"), "SpiffeId(spiffe://larder.internal/operator/ada)");
    assert_eq!("spiffe://larder.internal/operator/ada".parse(), Ok(id));
}

proptest! {
    #[test]
    fn whatever_parses_is_its_own_text(text in "(spiffe://)?[a-z.A-Z:]{0,12}/?(fridge|service|operator|x)?/?[-a-z0-9./_%]{0,40}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = SpiffeId::parse(&text);
        let _ = SpiffeId::parse(&format!("spiffe://{text}"));
        let _ = SpiffeId::parse(&format!("spiffe://larder.internal/{text}"));
    }

    #[test]
    fn every_fridge_name_makes_a_whole_id_that_parses_back(name in "[A-Za-z_-][A-Za-z_.-]{0,35}") {
        let id = SpiffeId::fridge(&domain(), &name).unwrap();
        prop_assert_eq!(SpiffeId::parse(id.as_str()), Ok(id));
    }
}
