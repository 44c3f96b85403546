//! A right answer proves the key; whatever is exchanged, late, of others or altered is refused with a sentence that says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod answer;

use answer::tpm::{
    ATTESTS, DECRYPTS, FIXED, INSIDE, Key, POLICY, RESTRICTED, SERVES, SIGNS, WITH_AUTH, certification, name, quote,
    sha256,
};
use answer::world::{CLIENT, NOW, SERVER, SERVICE};
use answer::{ASKED, Answer, House, authority, point_of, world};
use attest_statement::{Asked, CertificateRefusal, Proved, StatementRefusal, Trust};
use attest_verdict::{Appraised, Binding, Verdict, VerdictRefusal};
use rcgen::{CertificateParams, DnType, IsCa};

const DAY_S: i64 = 86_400;

fn said<T: std::fmt::Debug>(outcome: Result<T, StatementRefusal>) -> String {
    outcome.unwrap_err().to_string()
}

fn nonce() -> [u8; 32] {
    sha256(ASKED.key_authorization.as_bytes())
}

#[test]
fn a_right_answer_proves_the_key_and_names_the_one_request() {
    let house = House::new();
    let proved = house.judge(&house.answer()).unwrap();
    let point = <[u8; 65]>::try_from(point_of(&house.tls.area(SERVES, &POLICY))).unwrap();
    assert_eq!(proved, Proved { point, csr_sha256: world::binding().csr_sha256, quarantine: vec![] });
    // Quarantine is proved as well, with its reasons.
    let reasons = vec!["event 3 extended register 7".to_owned(), "it went back in time".to_owned()];
    let verdict = Verdict { appraised: Appraised::Quarantine(reasons.clone()), ..house.verdict() };
    let answer = Answer { verdict: house.service.seal(&verdict), ..house.answer() };
    assert_eq!(house.judge(&answer).unwrap().quarantine, reasons);
}

#[test]
fn an_answer_to_another_challenge_is_refused() {
    let house = House::new();
    let answer = house.answer().bytes();
    let other = "other-token.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    let replayed = Asked { key_authorization: other, ..ASKED };
    assert_eq!(house.trust.judge(&answer, &replayed, NOW), Err(StatementRefusal::Challenge));
    let raw = house.signing(
        certification(ASKED.key_authorization.as_bytes()[..32].into(), &house.answer().public_area),
        house.answer().public_area,
    );
    assert_eq!(house.judge(&raw), Err(StatementRefusal::Challenge), "the key authorization itself is no hash of it");
    assert!(StatementRefusal::Challenge.to_string().contains("have the TPM certify the key for this order"));
}

#[test]
fn a_verdict_for_another_order_account_device_or_key_is_refused() {
    let house = House::new();
    let answer = house.answer().bytes();
    for (asked, what) in [
        (Asked { order: "https://ca.larder.internal/acme/order/8", ..ASKED }, "order"),
        (Asked { account: "another", ..ASKED }, "account"),
        (Asked { permanent_identifier: &[9; 32], ..ASKED }, "device"),
    ] {
        let why = house.trust.judge(&answer, &asked, NOW);
        assert_eq!(why, Err(StatementRefusal::Verdict(VerdictRefusal::Another(what))));
        assert!(said(why).starts_with(&format!("the verdict is for another {what} than this one: ")));
    }
    // The same attestation key certified another key than the one that was attested.
    let other = Key::new().area(SERVES, &POLICY);
    let why = house.judge(&house.signing(certification(&nonce(), &other), other));
    assert_eq!(why, Err(StatementRefusal::Verdict(VerdictRefusal::Another("key"))));
}

#[test]
fn a_verdict_about_another_attestation_key_is_refused() {
    let house = House::new();
    let area = Key::new().area(ATTESTS, &[]);
    let verdict = Verdict { attestation_key: name(&area), ..house.verdict() };
    let why = house.judge(&Answer { verdict: house.service.seal(&verdict), ..house.answer() });
    assert_eq!(why, Err(StatementRefusal::AnotherAttestationKey));
    // The same key under another public area is another key.
    let renamed = house.ak.area(ATTESTS | (1 << 10), &[]);
    let why = house.judge(&Answer { attestation_key: renamed, ..house.answer() });
    assert_eq!(why, Err(StatementRefusal::AnotherAttestationKey));
}

#[test]
fn a_certificate_that_is_another_keys_is_refused() {
    let house = House::new();
    let other = Key::new().area(ATTESTS, &[]);
    let certificates = authority::certify(&authority::leaf(NOW), &point_of(&other), &house.attestation);
    let why = house.judge(&Answer { certificates, ..house.answer() });
    assert_eq!(why, Err(StatementRefusal::AnotherCertificate));
}

#[test]
fn an_attestation_key_that_may_sign_anything_is_refused() {
    let house = House::new();
    for (attributes, words) in [
        (ATTESTS & !RESTRICTED, "is not restricted, so it would sign a forged statement"),
        (ATTESTS & !FIXED, "may leave its TPM"),
        (ATTESTS & !INSIDE, "was not made inside the TPM"),
        (ATTESTS | DECRYPTS, "must sign and do nothing else"),
    ] {
        let answer = Answer { attestation_key: house.ak.area(attributes, &[]), ..house.answer() };
        let why = said(house.judge(&answer));
        assert!(why.starts_with("the attestation key: ") && why.contains(words), "{why}");
    }
}

#[test]
fn a_statement_that_is_altered_of_another_kind_or_of_another_key_is_refused() {
    let house = House::new();
    let good = house.answer();
    for at in 0..good.statement.len() * 8 {
        let mut statement = good.statement.clone();
        statement[at / 8] ^= 1 << (at % 8);
        let why = house.judge(&Answer { statement, ..good.clone() });
        assert!(
            matches!(why, Err(StatementRefusal::Evidence { why: attest_verifier::Refusal::Signature, .. })),
            "{at}"
        );
    }
    let magic = [&[0xff, 0x54, 0x43, 0x48][..], &good.statement[4..]].concat();
    assert!(
        said(house.judge(&house.signing(magic, good.public_area.clone()))).contains("the TPM did not make this itself")
    );
    let quoted = house.signing(quote(&nonce(), &[0, 7], &[0; 32]), good.public_area.clone());
    assert_eq!(
        said(house.judge(&quoted)),
        "the key that the TPM certified: the statement is no certification of a key"
    );
    let another = house.signing(certification(&nonce(), &Key::new().area(SERVES, &POLICY)), good.public_area.clone());
    assert!(said(house.judge(&another)).contains("is another than the one presented"));
    let by_another = Answer { signature: Key::new().sign(&good.statement), ..good };
    assert!(said(house.judge(&by_another)).contains("did not sign this statement"));
}

#[test]
fn a_key_that_does_not_die_with_the_firmware_is_refused() {
    let house = House::new();
    for (attributes, policy, words) in [
        (SERVES, &[][..], "is not bound to the policy"),
        (SERVES | WITH_AUTH, &POLICY, "is not bound to the policy"),
        (SERVES & !FIXED, &POLICY, "may leave its TPM"),
        (SERVES & !INSIDE, &POLICY, "was not made inside the TPM"),
        (SERVES & !SIGNS, &POLICY, "must sign"),
    ] {
        let area = house.tls.area(attributes, policy);
        let why = said(house.judge(&house.signing(certification(&nonce(), &area), area)));
        assert!(why.starts_with("the key that the TPM certified: ") && why.contains(words), "{attributes:x} {why}");
    }
}

/// One that says this and is signed by the attestation intermediate.
fn certified(house: &House, change: impl FnOnce(&mut CertificateParams)) -> Result<Proved, StatementRefusal> {
    let mut params = authority::leaf(NOW);
    change(&mut params);
    let certificates = authority::certify(&params, &point_of(&house.ak_area()), &house.attestation);
    house.judge(&Answer { certificates, ..house.answer() })
}

#[test]
fn a_certificate_that_is_not_of_our_attestation_intermediate_is_refused() {
    let (house, stranger) = (House::new(), authority::intermediate(&authority::root("a stranger")));
    let point = point_of(&house.ak_area());
    let by = |params: &CertificateParams, issuer| {
        house.judge(&Answer { certificates: authority::certify(params, &point, issuer), ..house.answer() })
    };
    assert!(
        said(by(&authority::leaf(NOW), &stranger))
            .contains("leads to no root of ours; it was issued by \"CN=attestation keys\"")
    );
    // The intermediates of services and fridges vouch for no attestation key, whatever a certificate says.
    for issuer in [&house.world.services, &house.world.devices] {
        let why = by(&authority::leaf(NOW), issuer);
        assert_eq!(why, Err(StatementRefusal::Certificate(CertificateRefusal::NotForAttestation)));
    }
    let mut tls = world::leaf(&[SERVICE], &[CLIENT, SERVER]);
    tls.use_authority_key_identifier_extension = true;
    assert_eq!(
        by(&tls, &house.world.services),
        Err(StatementRefusal::Certificate(CertificateRefusal::NotForAttestation))
    );
    // A root of our root's name is not our root.
    let double = House::new();
    assert_eq!(
        by(&authority::leaf(NOW), &double.attestation),
        Err(StatementRefusal::Certificate(CertificateRefusal::Forged))
    );
    // Without the one above it, it leads nowhere.
    let alone = house.answer().certificates[..1].to_vec();
    assert!(said(house.judge(&Answer { certificates: alone, ..house.answer() })).contains("leads to no root of ours"));
    // The intermediate itself is no attestation key.
    let above = vec![house.attestation.der().to_vec()];
    assert!(matches!(
        house.judge(&Answer { certificates: above, ..house.answer() }),
        Err(StatementRefusal::Certificate(_))
    ));
    let mut altered = house.answer();
    let end = altered.certificates[0].len() - 1;
    altered.certificates[0][end] ^= 1;
    assert_eq!(house.judge(&altered), Err(StatementRefusal::Certificate(CertificateRefusal::Forged)));
    for unreadable in [vec![], b"no certificate".to_vec(), [&house.answer().certificates[0][..], &[0]].concat()] {
        let answer = Answer { certificates: vec![unreadable], ..house.answer() };
        assert_eq!(house.judge(&answer), Err(StatementRefusal::Certificate(CertificateRefusal::Unreadable)));
    }
}

#[test]
fn a_certificate_in_another_form_than_webauthns_is_refused() {
    let house = House::new();
    let form = |flaw| Err(StatementRefusal::Certificate(CertificateRefusal::Form(flaw)));
    assert!(certified(&house, |_| ()).is_ok());
    let named = certified(&house, |params| params.distinguished_name.push(DnType::CommonName, "a key"));
    assert_eq!(named, form("its subject is not empty"));
    let names = "its alternative name is not a TPM's manufacturer, model and version";
    let tpm = |attributes: &[(u8, &str)], critical| {
        certified(&house, |params| params.custom_extensions = vec![authority::tpm_name(attributes, critical)])
    };
    assert_eq!(certified(&house, |params| params.custom_extensions.clear()), form(names));
    assert_eq!(tpm(&authority::TPM, false), form(names));
    assert_eq!(tpm(&authority::TPM[..2], true), form(names));
    assert_eq!(tpm(&[&authority::TPM[..], &authority::TPM[..1]].concat(), true), form(names));
    let client = certified(&house, |params| params.extended_key_usages = vec![CLIENT]);
    assert_eq!(client, Err(StatementRefusal::Certificate(CertificateRefusal::NotForAttestation)));
    let any = certified(&house, |params| params.extended_key_usages.clear());
    assert_eq!(any, Err(StatementRefusal::Certificate(CertificateRefusal::NotForAttestation)));
    let authoritys = certified(&house, |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    assert!(matches!(authoritys, Err(StatementRefusal::Certificate(_))));
}

#[test]
fn a_clock_that_is_wrong_by_a_day_either_way_is_told_with_both_times() {
    let house = House::new();
    let answer = house.answer().bytes();
    let late = house.trust.judge(&answer, &ASKED, NOW + DAY_S).unwrap_err();
    assert!(late.may_be_the_clock());
    let late = late.to_string();
    assert!(late.contains("ended at 2026-11-27T01:00:00Z, and the time here is 2026-11-28T00:00:00Z"), "{late}");
    let early = house.trust.judge(&answer, &ASKED, NOW - DAY_S).unwrap_err();
    assert!(early.may_be_the_clock());
    let early = early.to_string();
    assert!(early.contains("begins at 2026-11-26T23:50:00Z, and the time here is 2026-11-26T00:00:00Z"), "{early}");
    // The attestation service's clock is wrong, and the authority's is right.
    for (issued_at_unix_s, words) in [
        (NOW - DAY_S, "held until 2026-11-26T01:00:00Z, and the time here is 2026-11-27T00:00:00Z"),
        (NOW + DAY_S, "is of 2026-11-28T00:00:00Z, and the time here is 2026-11-27T00:00:00Z"),
    ] {
        let verdict = house.service.seal(&Verdict { issued_at_unix_s, ..house.verdict() });
        let why = house.judge(&Answer { verdict, ..house.answer() }).unwrap_err();
        assert!(why.may_be_the_clock() && why.to_string().contains(words), "{why}");
    }
    // A verdict that was good and is not any more, with an attestation key that was certified anew.
    let now = NOW + DAY_S;
    let certificates = authority::certify(&authority::leaf(now), &point_of(&house.ak_area()), &house.attestation);
    let late = Answer { certificates, ..house.answer() };
    let why = said(house.trust.judge(&late.bytes(), &ASKED, now));
    assert!(why.contains("the verdict held until 2026-11-27T01:00:00Z, and the time here is 2026-11-28"), "{why}");
    // And the other way round.
    for (made, words) in [
        (NOW - DAY_S, "ended at 2026-11-26T01:00:00Z, and the time here is 2026-11-27T00:00:00Z"),
        (NOW + DAY_S, "begins at 2026-11-27T23:50:00Z, and the time here is 2026-11-27T00:00:00Z"),
    ] {
        let certificates = authority::certify(&authority::leaf(made), &point_of(&house.ak_area()), &house.attestation);
        let why = said(house.judge(&Answer { certificates, ..house.answer() }));
        assert!(why.contains(words), "{why}");
    }
    assert!(!StatementRefusal::Challenge.may_be_the_clock());
}

#[test]
fn a_verdict_that_anybody_else_signed_is_refused() {
    let house = House::new();
    let other = house
        .world
        .party(&world::leaf(&["spiffe://larder.internal/service/admin"], &[CLIENT, SERVER]), &house.world.services);
    let why = said(house.judge(&Answer { verdict: other.seal(&house.verdict()), ..house.answer() }));
    assert!(why.contains("was signed by spiffe://larder.internal/service/admin, and only"), "{why}");
    let stranger = House::new();
    let why = said(house.judge(&Answer { verdict: stranger.service.seal(&house.verdict()), ..house.answer() }));
    assert!(why.contains("the verdict's signer has no certificate of ours"), "{why}");
    for at in [0, 1, 40, house.answer().verdict.len() - 1] {
        let mut altered = house.answer();
        altered.verdict[at] ^= 1;
        assert!(matches!(house.judge(&altered), Err(StatementRefusal::Verdict(_))), "{at}");
    }
    let whole = house.answer().verdict;
    let cut = Answer { verdict: whole[..whole.len() - 1].to_vec(), ..house.answer() };
    assert!(matches!(house.judge(&cut), Err(StatementRefusal::Verdict(VerdictRefusal::Malformed(_)))));
}

#[test]
fn what_is_cut_lengthened_or_no_object_is_refused_with_the_place() {
    let house = House::new();
    let good = house.answer().bytes();
    for length in 0..good.len() {
        let why = house.trust.judge(&good[..length], &ASKED, NOW);
        assert!(matches!(why, Err(StatementRefusal::Malformed(_))), "{length}");
    }
    let longer = house.trust.judge(&[&good[..], &[0]].concat(), &ASKED, NOW);
    assert!(said(longer).contains("there are bytes left over; send the object that the fridge's own program makes"));
    let large = house.trust.judge(&vec![0xa2; 32 * 1_024 + 1], &ASKED, NOW);
    assert!(said(large).contains("more than 32768 are never needed here"));
    for (cut, what) in [
        (Answer { attestation_key: house.ak_area()[..40].to_vec(), ..house.answer() }, "public area of a key"),
        (Answer { signature: house.answer().signature[..30].to_vec(), ..house.answer() }, "signature (TPMT_SIGNATURE)"),
        (
            house.signing(house.answer().statement[..50].to_vec(), house.answer().public_area),
            "attestation (TPMS_ATTEST)",
        ),
        (house.signing(house.answer().statement, house.answer().public_area[..60].to_vec()), "public area of a key"),
    ] {
        let why = said(house.judge(&cut));
        assert!(why.contains(what) && why.contains("it ends too early"), "{why}");
    }
}

/// A key on another curve can be certified by a TPM, but not by us.
#[test]
fn a_key_on_another_curve_is_refused() {
    let house = House::new();
    let area = include_bytes!("../../../tests/fuzz/corpus/public/ek384.area");
    let mut area = area.to_vec();
    // The attributes of a key for TLS; what follows the policy is that of the endorsement key, which protects children.
    area[4..8].copy_from_slice(&SERVES.to_be_bytes());
    let why = house.judge(&house.signing(certification_of_sha384(&area), area));
    assert_eq!(why, Err(StatementRefusal::Curve));
}

fn certification_of_sha384(area: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA384, area);
    answer::tpm::certification_of(&nonce(), &[&[0x00, 0x0c][..], hash.as_ref()].concat())
}

#[test]
fn roots_that_are_none_are_no_trust() {
    let house = House::new();
    let domain = world::domain();
    assert_eq!(Trust::new::<Vec<u8>>(&[], &domain).unwrap_err(), VerdictRefusal::Roots);
    assert_eq!(Trust::new(&[b"no certificate"], &domain).unwrap_err(), VerdictRefusal::Roots);
    assert_eq!(Trust::new(&[&house.answer().certificates[0]], &domain).unwrap_err(), VerdictRefusal::Roots);
    // With two roots, as during a rotation, what leads to either is believed.
    let other = House::new();
    let both = Trust::new(&[other.world.root.der(), house.world.root.der()], &domain).unwrap();
    assert!(both.judge(&house.answer().bytes(), &ASKED, NOW).is_ok());
    let binding = Binding { account: String::new(), ..world::binding() };
    assert!(house.verdict().answers(&binding).is_err());
}
