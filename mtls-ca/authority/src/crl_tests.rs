//! Tests of `crl`: a list is read as strictly as a stranger's, since the next one is made of it. The lists are signed by keys
//! of the test, so that they can say what ours never would.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

use super::{LIST_LIFE_S, List, Reason, Revoked, read};

const NOW: i64 = 1_800_000_000;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn at(unix_s: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s).unwrap()
}

fn params(number: SerialNumber, reasons: &[Option<RevocationReason>]) -> CertificateRevocationListParams {
    let entry = |(place, reason): (usize, &Option<RevocationReason>)| RevokedCertParams {
        serial_number: SerialNumber::from(vec![0x40, u8::try_from(place).unwrap()]),
        revocation_time: at(NOW - 60),
        reason_code: *reason,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: at(NOW),
        next_update: at(NOW + LIST_LIFE_S),
        crl_number: number,
        issuing_distribution_point: None,
        revoked_certs: reasons.iter().enumerate().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn signed(params: &CertificateRevocationListParams, issuer: &Issuer) -> Vec<u8> {
    params.signed_by(issuer).unwrap().der().to_vec()
}

#[test]
fn every_reason_of_ours_is_read_back_and_no_other_is_taken() {
    let issuer = issuer("one");
    let encoded: Vec<Option<RevocationReason>> = Reason::ALL.into_iter().map(Reason::encoded).collect();
    let list = read(&signed(&params(SerialNumber::from(9), &encoded), &issuer), issuer.der()).unwrap();
    let revoked = |(place, reason)| Revoked { serial: format!("40{place:02x}"), at_unix_s: NOW - 60, reason };
    let entries = Reason::ALL.into_iter().enumerate().map(revoked).collect();
    assert_eq!(list, List { number: 9, this_update_unix_s: NOW, entries });
    for other in [RevocationReason::CertificateHold, RevocationReason::RemoveFromCrl, RevocationReason::CaCompromise] {
        let list = signed(&params(SerialNumber::from(9), &[Some(other)]), &issuer);
        assert_eq!(read(&list, issuer.der()), Err("it gives a reason that is none of ours"), "{other:?}");
    }
}

#[test]
fn reasons_have_names_and_codes_of_their_own() {
    let names: std::collections::HashSet<_> = Reason::ALL.into_iter().map(Reason::as_str).collect();
    let codes: std::collections::HashSet<_> = Reason::ALL.into_iter().map(Reason::code).collect();
    assert_eq!((names.len(), codes.len()), (Reason::ALL.len(), Reason::ALL.len()));
}

#[test]
fn what_our_own_list_never_says_is_refused() {
    let (one, other) = (issuer("one"), issuer("two"));
    let right = params(SerialNumber::from(1), &[]);
    let list = signed(&right, &one);
    assert!(read(&list, one.der()).is_ok());
    assert_eq!(read(&list, other.der()), Err("it names another issuer"));
    assert_eq!(read(&list, issuer("one").der()), Err("its signature does not verify"), "the same name, another key");
    assert_eq!(read(&[list.as_slice(), &[0]].concat(), one.der()), Err("something stands behind it"));
    assert_eq!(read(&list[..list.len() - 1], one.der()), Err("it is no revocation list"));
    assert_eq!(read(b"", one.der()), Err("it is no revocation list"));
    assert_eq!(read(&list, b"rubbish"), Err("its issuer's certificate cannot be read"));
    let longer = CertificateRevocationListParams { next_update: at(NOW + LIST_LIFE_S + 1), ..right.clone() };
    assert_eq!(read(&signed(&longer, &one), one.der()), Err("its next update is at another time"));
    let huge = CertificateRevocationListParams { crl_number: SerialNumber::from(vec![1; 9]), ..right };
    assert_eq!(read(&signed(&huge, &one), one.der()), Err("it has no number of ours"));
}

#[test]
fn no_byte_of_the_signed_part_can_be_changed() {
    let issuer = issuer("one");
    let list = signed(&params(SerialNumber::from(1), &[None]), &issuer);
    // Behind the signed part stand the algorithm, which is not looked at, and the signature.
    let signed_part = list.len() - 12 - 74;
    for place in 4..signed_part {
        let mut changed = list.clone();
        changed[place] ^= 1;
        assert!(read(&changed, issuer.der()).is_err(), "byte {place}");
    }
}
