//! A verdict is read as it was written, for one hour, from the attestation service alone; anything else is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod world;

use attest_verdict::{Appraised, Binding, Issuer, LIFE_S, Verdict, VerdictRefusal};
use ca_identity::TrustDomain;
use coset::cbor::value::Value;
use coset::{CoseSign1, CoseSign1Builder, Header, HeaderBuilder, TaggedCborSerializable, iana};
use proptest::prelude::*;
use world::*;

fn open(bytes: &[u8], issuer: &Issuer) -> Result<Verdict, VerdictRefusal> {
    Verdict::open(bytes, issuer, NOW)
}

#[test]
fn what_is_said_is_what_is_read() {
    let world = World::new();
    let service = world.service();
    let mut said = verdict();
    assert_eq!(open(&service.seal(&said), &world.issuer()), Ok(said.clone()));
    said.appraised = Appraised::Quarantine(vec!["register 4 was extended with something unknown".into()]);
    said.reference_values = 0;
    assert_eq!(open(&service.seal(&said), &world.issuer()), Ok(said.clone()));
    assert_eq!(said.expires_at_unix_s(), NOW + LIFE_S);
    // A leaf that is certified by the root itself has a chain of one.
    let mut direct = world.party(&leaf(&[SERVICE], &[CLIENT, SERVER]), &world.root);
    direct.chain.truncate(1);
    assert_eq!(open(&direct.seal(&said), &world.issuer()), Ok(said));
}

#[test]
fn its_form_is_that_of_the_standards() {
    let world = World::new();
    let bytes = world.service().seal(&verdict());
    let sealed = CoseSign1::from_tagged_slice(&bytes).unwrap();
    let header = &sealed.protected.header;
    assert_eq!(header.alg, Some(coset::Algorithm::Assigned(iana::Algorithm::ES256)));
    assert!(sealed.unprotected.is_empty());
    let claims: Value = coset::cbor::de::from_reader(sealed.payload.as_deref().unwrap()).unwrap();
    let claims = claims.into_map().unwrap();
    let claim = |label: i64| claims.iter().find(|(found, _)| *found == Value::from(label)).unwrap().1.clone();
    assert_eq!((claim(6), claim(4)), (Value::from(NOW), Value::from(NOW + 3_600)));
    assert_eq!(claim(10), Value::Bytes(vec![4; 32]));
    // A UEID of the kind RAND: one byte of kind and the identifier.
    assert_eq!(claim(256), Value::Bytes([&[1][..], &[1; 32]].concat()));
    // Deterministic: written twice it is the same but for the signature.
    let again = CoseSign1::from_tagged_slice(&world.service().seal(&verdict())).unwrap();
    assert_eq!(again.payload, sealed.payload);
}

#[test]
fn it_holds_for_an_hour_and_both_times_are_told() {
    let world = World::new();
    let (bytes, issuer) = (world.service().seal(&verdict()), world.issuer());
    let at = |now_unix_s| Verdict::open(&bytes, &issuer, now_unix_s).map(drop);
    for good in [NOW - 60, NOW, NOW + LIFE_S] {
        assert_eq!(at(good), Ok(()));
    }
    let late = at(NOW + LIFE_S + 1).unwrap_err();
    let expires_at_unix_s = NOW + LIFE_S;
    assert_eq!(late, VerdictRefusal::Expired { expires_at_unix_s, now_unix_s: NOW + LIFE_S + 1 });
    assert!(late.to_string().contains("held until 2026-11-27T01:00:00Z, and the time here is 2026-11-27T01:00:01Z"));
    let early = at(NOW - 61).unwrap_err();
    assert_eq!(early, VerdictRefusal::FromTheFuture { issued_at_unix_s: NOW, now_unix_s: NOW - 61 });
    assert!(early.to_string().contains("is of 2026-11-27T00:00:00Z, and the time here is 2026-11-26T23:58:59Z"));
    for day in [-86_400, 86_400] {
        assert!(at(NOW + day).is_err());
    }
}

#[test]
fn it_is_for_what_was_asked_and_nothing_else() {
    let said = verdict();
    assert_eq!(said.answers(&binding()), Ok(()));
    let refused = |change: fn(&mut Binding)| {
        let mut asked = binding();
        change(&mut asked);
        said.answers(&asked).unwrap_err()
    };
    assert_eq!(refused(|asked| asked.permanent_identifier[31] ^= 1), VerdictRefusal::Another("device"));
    assert_eq!(refused(|asked| asked.tls_key_sha256[0] ^= 1), VerdictRefusal::Another("key"));
    assert_eq!(refused(|asked| asked.csr_sha256[0] ^= 1), VerdictRefusal::Another("certificate request"));
    assert_eq!(refused(|asked| asked.account.push('x')), VerdictRefusal::Another("account"));
    let order = refused(|asked| asked.order = "https://ca.larder.internal/acme/order/8".into());
    assert_eq!(order, VerdictRefusal::Another("order"));
    assert_eq!(
        order.to_string(),
        "the verdict is for another order than this one: have the device attested for what is asked here"
    );
}

#[test]
fn only_the_attestation_service_says_it() {
    let world = World::new();
    let refused = |uris: &[&str]| {
        let party = world.party(&leaf(uris, &[CLIENT, SERVER]), &world.services);
        open(&party.seal(&verdict()), &world.issuer()).unwrap_err()
    };
    let admin = "spiffe://larder.internal/service/admin";
    for (uris, found) in [(&[admin][..], admin), (&[], "nobody"), (&[SERVICE, admin], "nobody")] {
        assert_eq!(refused(uris), VerdictRefusal::Name { expected: SERVICE.into(), found: found.into() });
    }
    let elsewhere = "spiffe://other.internal/service/attestation";
    assert!(matches!(refused(&[elsewhere]), VerdictRefusal::Name { found, .. } if found == elsewhere));
    // The authority of devices cannot make a service by naming one.
    let device = world.party(&leaf(&[SERVICE], &[CLIENT, SERVER]), &world.devices);
    assert!(matches!(open(&device.seal(&verdict()), &world.issuer()), Err(VerdictRefusal::Chain(_))));
    let for_clients = world.party(&leaf(&[SERVICE], &[CLIENT]), &world.services);
    assert!(matches!(open(&for_clients.seal(&verdict()), &world.issuer()), Err(VerdictRefusal::Chain(_))));
    let without_use = world.party(&leaf(&[SERVICE], &[]), &world.services);
    assert!(matches!(open(&without_use.seal(&verdict()), &world.issuer()), Err(VerdictRefusal::Chain(_))));
    // Another house with the same names.
    let other = World::new();
    assert!(matches!(open(&other.service().seal(&verdict()), &world.issuer()), Err(VerdictRefusal::Chain(_))));
}

#[test]
fn a_chain_must_be_there_and_live() {
    let world = World::new();
    let mut service = world.service();
    service.chain.truncate(1);
    assert!(matches!(open(&service.seal(&verdict()), &world.issuer()), Err(VerdictRefusal::Chain(_))));
    service.chain.clear();
    assert_eq!(verdict().seal(&service.chain, |_| Some(vec![0; 64])), Err(VerdictRefusal::Malformed("the chain")));
    let five = vec![vec![1]; 5];
    assert_eq!(verdict().seal(&five, |_| Some(vec![0; 64])), Err(VerdictRefusal::Malformed("the chain")));
    let mut ended = leaf(&[SERVICE], &[CLIENT, SERVER]);
    ended.not_after = rcgen::date_time_ymd(2026, 11, 26);
    let ended = open(&world.party(&ended, &world.services).seal(&verdict()), &world.issuer()).unwrap_err();
    assert_eq!(ended, VerdictRefusal::SignerExpired { not_after_unix_s: NOW - 86_400, now_unix_s: NOW });
    assert!(ended.to_string().contains("ended at 2026-11-26T00:00:00Z, and the time here is 2026-11-27T00:00:00Z"));
    let mut coming = leaf(&[SERVICE], &[CLIENT, SERVER]);
    coming.not_before = rcgen::date_time_ymd(2026, 11, 28);
    let coming = open(&world.party(&coming, &world.services).seal(&verdict()), &world.issuer()).unwrap_err();
    assert_eq!(coming, VerdictRefusal::SignerNotYetValid { not_before_unix_s: NOW + 86_400, now_unix_s: NOW });
}

#[test]
fn no_bit_of_it_can_be_altered() {
    let world = World::new();
    let (bytes, issuer) = (world.service().seal(&verdict()), world.issuer());
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&altered, &issuer).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert!(open(&bytes[..cut], &issuer).is_err(), "{cut}");
    }
    assert!(open(&[&bytes[..], &[0]].concat(), &issuer).is_err());
    let another = world.service();
    let forged = verdict().seal(&world.service().chain, |tbs| Some(another.sign(tbs))).unwrap();
    assert_eq!(open(&forged, &issuer), Err(VerdictRefusal::Signature));
}

type Claims = Vec<(Value, Value)>;

/// What the service's own key signs, but not in the one form.
fn signed(service: &Party, protected: Header, unprotected: Header, payload: Vec<u8>) -> Vec<u8> {
    CoseSign1Builder::new()
        .protected(protected)
        .unprotected(unprotected)
        .payload(payload)
        .create_signature(&[], |tbs| service.sign(tbs))
        .build()
        .to_tagged_vec()
        .unwrap()
}

#[test]
fn there_is_one_form_and_no_other() {
    let world = World::new();
    let (service, issuer) = (world.service(), world.issuer());
    let whole = CoseSign1::from_tagged_slice(&service.seal(&verdict())).unwrap();
    let (header, payload) = (whole.protected.header, whole.payload.unwrap());
    let opened = |header: &Header, unprotected: Header, payload: &[u8]| {
        open(&signed(&service, header.clone(), unprotected, payload.to_vec()), &issuer)
    };
    assert_eq!(opened(&header, Header::default(), &payload), Ok(verdict()));
    let beside = HeaderBuilder::new().key_id(vec![1]).build();
    assert_eq!(opened(&header, beside, &payload), Err(VerdictRefusal::Malformed("its encoding")));
    for change in [
        |header: &mut Header| header.key_id = vec![1],
        |header: &mut Header| header.alg = Some(coset::Algorithm::Assigned(iana::Algorithm::ES384)),
        |header: &mut Header| header.rest.retain(|(label, _)| *label != coset::Label::Int(16)),
        |header: &mut Header| header.rest[0].1 = Value::Text("application/cwt".into()),
    ] {
        let mut other = header.clone();
        change(&mut other);
        assert_eq!(opened(&other, Header::default(), &payload), Err(VerdictRefusal::Malformed("the header")));
    }
    let claims: Value = coset::cbor::de::from_reader(&payload[..]).unwrap();
    let claims = claims.into_map().unwrap();
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        let mut payload = Vec::new();
        coset::cbor::ser::into_writer(&Value::Map(claims), &mut payload).unwrap();
        opened(&header, Header::default(), &payload)
    };
    assert_eq!(with(&|_| ()), Ok(verdict()));
    for at in 0..claims.len() {
        assert!(with(&|claims| drop(claims.remove(at))).is_err(), "without claim {at}");
        assert!(with(&|claims| claims.insert(at, claims[at].clone())).is_err(), "claim {at} twice");
        assert!(with(&|claims| claims[at].1 = Value::Bool(true)).is_err(), "claim {at} of another kind");
        assert!(with(&|claims| claims[at].1 = Value::Bytes(vec![0; 31])).is_err(), "claim {at} of another size");
    }
    let more = with(&|claims| claims.push((Value::from(-70_009), Value::from(1))));
    assert_eq!(more, Err(VerdictRefusal::Malformed("a claim too many")));
    let longer = with(&|claims| claims[0].1 = Value::from(NOW + LIFE_S + 1));
    assert_eq!(longer, Err(VerdictRefusal::Malformed("its life")));
    let praised = with(&|claims| claims[11].1 = Value::Array(vec![Value::Text("but".into())]));
    assert_eq!(praised, Err(VerdictRefusal::Malformed("the appraisal")));
    let silent = with(&|claims| claims[10].1 = Value::Text("quarantine".into()));
    assert_eq!(silent, Err(VerdictRefusal::Malformed("the reasons")), "a quarantine says why");
    // The same number, written longer than it must be.
    let mut long = payload.clone();
    assert_eq!(long[0], 0xad);
    long.splice(0..1, [0xb8, 0x0d]);
    assert_eq!(opened(&header, Header::default(), &long), Err(VerdictRefusal::Malformed("its encoding")));
}

#[test]
fn nothing_in_it_is_larger_than_it_may_be() {
    let world = World::new();
    let service = world.service();
    let refused = |change: fn(&mut Verdict)| {
        let mut said = verdict();
        change(&mut said);
        said.seal(&service.chain, |tbs| Some(service.sign(tbs))).map(drop)
    };
    let malformed = |what| Err(VerdictRefusal::Malformed(what));
    assert_eq!(refused(|said| said.binding.account = "a".repeat(65)), malformed("the account"));
    assert_eq!(refused(|said| said.binding.account.clear()), malformed("the account"));
    assert_eq!(refused(|said| said.binding.order = "a".repeat(513)), malformed("the order"));
    assert_eq!(refused(|said| said.binding.order = "a\nb".into()), malformed("the order"));
    for name in [vec![], vec![0; 34], [&[0, 0x0c][..], &[0; 32]].concat(), [&[0, 0x04][..], &[0; 20]].concat()] {
        let said = Verdict { attestation_key: name, ..verdict() };
        assert_eq!(said.seal(&service.chain, |_| None), malformed("the attestation key's name").map(|()| vec![]));
    }
    let reasons = |reasons| Appraised::Quarantine(reasons);
    assert_eq!(refused(|said| said.appraised = Appraised::Quarantine(vec![])), malformed("the reasons"));
    assert_eq!(refused(|said| said.issued_at_unix_s = -1), malformed("the time"));
    let mut said = verdict();
    for (list, good) in [
        (vec!["a".repeat(256); 32], true),
        (vec!["a".repeat(257)], false),
        (vec!["a".into(); 33], false),
        (vec![String::new()], false),
    ] {
        said.appraised = reasons(list);
        assert_eq!(said.seal(&service.chain, |tbs| Some(service.sign(tbs))).is_ok(), good);
    }
    said.appraised = reasons(vec!["a".repeat(256); 32]);
    assert_eq!(open(&service.seal(&said), &world.issuer()), Ok(said));
    assert_eq!(open(&vec![0; 32 * 1_024 + 1], &world.issuer()), Err(VerdictRefusal::TooLarge { most: 32 * 1_024 }));
    assert_eq!(verdict().seal(&service.chain, |_| None), Err(VerdictRefusal::Signature));
}

#[test]
fn roots_are_authorities_and_there_are_some() {
    let world = World::new();
    let none: [&[u8]; 0] = [];
    let refused = |roots: &[&[u8]]| Issuer::new(roots, &domain()).map(drop);
    assert_eq!(refused(&none), Err(VerdictRefusal::Roots));
    assert_eq!(refused(&[world.root.der(), &world.service().chain[0]]), Err(VerdictRefusal::Roots));
    assert_eq!(refused(&[&[1, 2, 3]]), Err(VerdictRefusal::Roots));
    assert_eq!(refused(&vec![&world.root.der()[..]; 17]), Err(VerdictRefusal::Roots));
    // During a rotation there are two.
    let (old, other) = (World::new(), TrustDomain::parse("other.internal").unwrap());
    let both = Issuer::new(&[old.root.der(), world.root.der()], &domain()).unwrap();
    for house in [&old, &world] {
        assert_eq!(open(&house.service().seal(&verdict()), &both), Ok(verdict()));
    }
    let elsewhere = Issuer::new(&[world.root.der()], &other).unwrap();
    assert!(matches!(open(&world.service().seal(&verdict()), &elsewhere), Err(VerdictRefusal::Name { .. })));
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(open(&bytes, &World::new().issuer()).is_err());
    }
}
