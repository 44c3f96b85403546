//! Tests of `check`: a right certificate passes, and every single departure from the order is found and named. The
//! signer here is a software key, since who holds the key is not the check's business.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SanType,
};

use super::{Expected, attestation_key, authority, leaf};
use crate::attestation_key::AIK_PURPOSE;
use crate::attestation_key::tests::{order as attestation_order, tpm};
use crate::log::Kind;
use crate::template::{self, Life};
use crate::{AttestationKeyOrder, Names, Order, Profile, SubjectKey};
use ca_identity::{SpiffeId, TrustDomain};

const NOW: i64 = 1_800_000_000;

fn life() -> Life {
    let mut serial = [7; 16];
    serial[0] = 0x47;
    Life { serial, not_before_unix_s: NOW - 600, not_after_unix_s: NOW + 86_400 }
}

fn long_life() -> Life {
    Life { not_after_unix_s: NOW + 90 * 86_400, ..life() }
}

fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

fn order(profile: Profile) -> Order {
    let (id, names) = match profile {
        Profile::Device => ("fridge/f1", Names::default()),
        Profile::Operator => ("operator/ada", Names::default()),
        Profile::Service => (
            "service/admin",
            Names {
                dns: vec!["localhost".into(), "admin.larder.internal".into()],
                ip: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            },
        ),
    };
    let id = SpiffeId::parse_path_in(&domain(), id).unwrap();
    Order::new(profile, &id, names, SubjectKey::generate().unwrap().0, 86_400).unwrap()
}

fn issuer(kind: Kind) -> CertifiedIssuer<'static, KeyPair> {
    let params = template::authority(kind, &domain(), &long_life()).unwrap();
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Signs the order's template after a change and judges the result.
fn judged(profile: Profile, change: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let (order, issuer) = (order(profile), issuer(Kind::ServiceIntermediate));
    let mut params = template::leaf(&order, &life()).unwrap();
    change(&mut params);
    let der = params.signed_by(order.key(), &issuer).unwrap().der().to_vec();
    leaf(&der, &order, &Expected { point: order.key().point(), life: &life(), issuer: issuer.der() })
}

#[test]
fn what_was_ordered_passes() {
    for profile in [Profile::Device, Profile::Service, Profile::Operator] {
        assert_eq!(judged(profile, |_| ()), Ok(()), "{profile:?}");
    }
}

#[test]
fn every_departure_from_a_service_order_is_found() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let found = |change: &dyn Fn(&mut CertificateParams)| judged(Profile::Service, change).unwrap_err();
    assert_eq!(found(&|p| p.distinguished_name.push(DnType::CommonName, "x")), "its subject is not empty");
    assert_eq!(found(&|p| p.is_ca = IsCa::NoCa), "it has no subject key identifier");
    assert_eq!(found(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "it is not marked as no authority");
    assert_eq!(found(&|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), "its key usage is another");
    assert_eq!(found(&|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]), "its key usage is another");
    assert_eq!(
        found(&|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning)),
        "it is good for more than was ordered"
    );
    assert_eq!(
        found(&|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]))),
        "it is good for more than was ordered"
    );
    assert_eq!(found(&|p| p.extended_key_usages.truncate(1)), "its extended key usage is another");
    assert_eq!(
        found(&|p| p.subject_alt_names[0] = uri("spiffe://larder.internal/service/console")),
        "it names another party"
    );
    assert_eq!(
        found(&|p| p.subject_alt_names.push(uri("spiffe://larder.internal/service/admin"))),
        "it names another party"
    );
    assert_eq!(
        found(&|p| p.subject_alt_names[1] = SanType::DnsName("evil".try_into().unwrap())),
        "its host names are others"
    );
    assert_eq!(found(&|p| p.subject_alt_names.truncate(3)), "its addresses are others");
    assert_eq!(
        found(&|p| p.subject_alt_names.push(SanType::Rfc822Name("a@b".try_into().unwrap()))),
        "it has a name of another form"
    );
    assert_eq!(found(&|p| p.serial_number = Some(vec![0x47, 1].into())), "its serial number is another");
    assert_eq!(found(&|p| p.not_before -= time::Duration::SECOND), "it begins at another time");
    assert_eq!(found(&|p| p.not_after += time::Duration::SECOND), "it ends at another time");
    assert_eq!(found(&|p| p.use_authority_key_identifier_extension = false), "it points to another issuer's key");
    let extension = || CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    assert_eq!(found(&|p| p.custom_extensions.push(extension())), "it has more or fewer extensions than six");
}

#[test]
fn a_client_that_could_be_a_server_is_found() {
    for profile in [Profile::Device, Profile::Operator] {
        let change = |p: &mut CertificateParams| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        assert_eq!(judged(profile, change), Err("its extended key usage is another"));
        let change = |p: &mut CertificateParams| p.subject_alt_names.push(SanType::DnsName("a".try_into().unwrap()));
        assert_eq!(judged(profile, change), Err("its host names are others"));
    }
}

#[test]
fn another_key_another_issuer_and_a_changed_byte_are_found() {
    let (order, one) = (order(Profile::Device), issuer(Kind::DeviceIntermediate));
    let other = issuer(Kind::DeviceIntermediate);
    let named = issuer(Kind::ServiceIntermediate);
    let der = template::leaf(&order, &life()).unwrap().signed_by(order.key(), &one).unwrap().der().to_vec();
    let judge = |der: &[u8], point: &[u8], issuer: &[u8]| leaf(der, &order, &Expected { point, life: &life(), issuer });
    let point = order.key().point();
    assert_eq!(judge(&der, point, one.der()), Ok(()));
    assert_eq!(judge(&der, SubjectKey::generate().unwrap().0.point(), one.der()), Err("it is for another key"));
    assert_eq!(judge(&der, point, other.der()), Err("its signature does not verify"));
    assert_eq!(judge(&der, point, named.der()), Err("its signature does not verify"));
    assert_eq!(judge(&der[1..], point, one.der()), Err("it cannot be read"));
    assert_eq!(judge(&[der.clone(), vec![0]].concat(), point, one.der()), Err("it cannot be read"));
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        assert!(judge(&changed, point, one.der()).is_err(), "a changed byte at {at} got through");
    }
}

#[test]
fn a_signature_by_another_algorithm_is_found() {
    let order = order(Profile::Device);
    let params = template::authority(Kind::DeviceIntermediate, &domain(), &long_life()).unwrap();
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()).unwrap();
    let der = template::leaf(&order, &life()).unwrap().signed_by(order.key(), &issuer).unwrap().der().to_vec();
    let expected = Expected { point: order.key().point(), life: &life(), issuer: issuer.der() };
    assert_eq!(leaf(&der, &order, &expected), Err("its algorithm is another"));
}

#[test]
fn a_leaf_that_outlives_its_issuer_is_found() {
    let (order, issuer) = (order(Profile::Device), issuer(Kind::DeviceIntermediate));
    let longer = Life { not_after_unix_s: long_life().not_after_unix_s + 1, ..life() };
    let der = template::leaf(&order, &longer).unwrap().signed_by(order.key(), &issuer).unwrap().der().to_vec();
    let expected = Expected { point: order.key().point(), life: &longer, issuer: issuer.der() };
    assert_eq!(leaf(&der, &order, &expected), Err("it outlives its issuer"));
}

/// Signs an authority's template after a change, with a key of its own, and judges it.
fn judged_authority(kind: Kind, change: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let pair = KeyPair::generate().unwrap();
    let mut params = template::authority(kind, &domain(), &life()).unwrap();
    change(&mut params);
    let point = pair.public_key_raw().to_vec();
    if kind == Kind::Root {
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        return authority(&der, kind, &Expected { point: &point, life: &life(), issuer: &der });
    }
    let root = issuer(Kind::Root);
    let der = params.signed_by(&pair, &root).unwrap().der().to_vec();
    authority(&der, kind, &Expected { point: &point, life: &life(), issuer: root.der() })
}

#[test]
fn an_authority_of_the_right_shape_passes_and_no_other() {
    for kind in [Kind::Root, Kind::DeviceIntermediate, Kind::ServiceIntermediate, Kind::AttestationIntermediate] {
        assert_eq!(judged_authority(kind, |_| ()), Ok(()), "{kind:?}");
        let unbounded = |p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(judged_authority(kind, unbounded), Err("its path length is another"));
        assert_eq!(judged_authority(kind, |p| p.is_ca = IsCa::ExplicitNoCa), Err("it is not marked as an authority"));
        let signs = |p: &mut CertificateParams| p.key_usages.push(KeyUsagePurpose::DigitalSignature);
        assert_eq!(judged_authority(kind, signs), Err("its key usage is another"));
        let named = |p: &mut CertificateParams| p.subject_alt_names.push(SanType::DnsName("a".try_into().unwrap()));
        assert_eq!(judged_authority(kind, named), Err("it has other names"));
    }
}

#[test]
fn a_device_intermediate_that_may_do_more_is_found() {
    let kind = Kind::DeviceIntermediate;
    let serves = |p: &mut CertificateParams| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(judged_authority(kind, serves), Err("its extended key usage is another"));
    assert_eq!(judged_authority(kind, |p| p.name_constraints = None), Err("it has no name constraints"));
    for leave_out in 0..3 {
        let change = |p: &mut CertificateParams| {
            p.name_constraints.as_mut().unwrap().excluded_subtrees.remove(leave_out);
        };
        assert_eq!(judged_authority(kind, change), Err("it may name hosts"));
    }
    let narrower = |p: &mut CertificateParams| {
        p.name_constraints.as_mut().unwrap().excluded_subtrees[0] = rcgen::GeneralSubtree::DnsName("example".into());
    };
    assert_eq!(judged_authority(kind, narrower), Err("it may name hosts"));
}

/// Signs the template of an attestation key after a change and judges the result.
fn judged_attestation_key(change: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let (order, issuer) = (attestation_order("ST33HTPHAHD4").unwrap(), issuer(Kind::AttestationIntermediate));
    let mut params = template::attestation_key(&order, &life()).unwrap();
    change(&mut params);
    let der = params.signed_by(order.key(), &issuer).unwrap().der().to_vec();
    attestation_key(&der, &order, &Expected { point: order.key().point(), life: &life(), issuer: issuer.der() })
}

#[test]
fn every_departure_from_an_attestation_key_is_found() {
    let found = |change: &dyn Fn(&mut CertificateParams)| judged_attestation_key(change).unwrap_err();
    let purpose = || ExtendedKeyUsagePurpose::Other(AIK_PURPOSE.to_vec());
    assert_eq!(judged_attestation_key(|_| ()), Ok(()));
    assert_eq!(found(&|p| p.distinguished_name.push(DnType::CommonName, "x")), "its subject is not empty");
    assert_eq!(found(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "it is not marked as no authority");
    assert_eq!(found(&|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), "its key usage is another");
    let another = "its extended key usage is another";
    for more in [
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1]),
    ] {
        assert_eq!(found(&|p| p.extended_key_usages = vec![purpose(), more.clone()]), another);
        assert_eq!(found(&|p| p.extended_key_usages = vec![more.clone()]), another);
    }
    let renamed = |order: &AttestationKeyOrder, critical| {
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], order.name_der());
        extension.set_criticality(critical);
        extension
    };
    let right = attestation_order("ST33HTPHAHD4").unwrap();
    let other = attestation_order("ST33HTPHAHD5").unwrap();
    assert_eq!(found(&|p| p.custom_extensions = vec![renamed(&other, true)]), "it names another TPM");
    assert_eq!(
        found(&|p| p.custom_extensions = vec![renamed(&right, false)]),
        "its names are not critical though its subject is empty"
    );
    let uri = || SanType::URI("spiffe://larder.internal/fridge/f1".try_into().unwrap());
    let swapped = |p: &mut CertificateParams| {
        p.custom_extensions.clear();
        p.subject_alt_names = vec![uri()];
    };
    assert_eq!(found(&swapped), "it has a name of another form");
    assert!(judged_attestation_key(|p| p.subject_alt_names = vec![uri()]).is_err(), "both at once");
    assert!(tpm("x").values().iter().all(|value| !value.is_empty()));
}

#[test]
fn an_attestation_intermediate_that_may_do_more_is_found() {
    for more in [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth] {
        let change = |p: &mut CertificateParams| p.extended_key_usages.push(more);
        assert_eq!(judged_authority(Kind::AttestationIntermediate, change), Err("its extended key usage is another"));
    }
    let none = |p: &mut CertificateParams| p.extended_key_usages.clear();
    assert_eq!(judged_authority(Kind::AttestationIntermediate, none), Err("its extended key usage is another"));
}
