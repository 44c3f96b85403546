//! Tests of the signer's way that need the inside: what the device intermediate's key could sign at worst, and that a
//! certificate which fails the check is logged and does not leave.

use std::path::Path;
use std::time::Duration;

use ca_identity::SpiffeId;
use rcgen::SanType;
use rustls_pki_types::{CertificateDer, UnixTime};
use test_token::{TestToken, in_own_process};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

use super::{Authority, State, TokenKey, life, record, sign};
use crate::log::{EntryState, Kind};
use crate::{AuthorityConfig, AuthorityError, Fault, Names, Order, Pin, Profile, SubjectKey, read_log, template};

const NOW: i64 = 1_800_000_000;

fn config(token: &TestToken, dir: &Path) -> AuthorityConfig {
    AuthorityConfig {
        dir: dir.to_owned(),
        module: token.module().to_owned(),
        token_label: token.label().to_owned(),
        pin: Pin::Text(Zeroizing::new(token.pin().to_owned())),
        trust_domain: ca_identity::TrustDomain::parse("larder.internal").unwrap(),
    }
}

fn fridge() -> Order {
    let id = SpiffeId::parse("spiffe://larder.internal/fridge/f1").unwrap();
    Order::new(Profile::Device, &id, Names::default(), SubjectKey::generate().unwrap().0, 3600).unwrap()
}

fn verify(root: &[u8], intermediate: &[u8], leaf: &[u8]) -> Result<(), webpki::Error> {
    let (root, leaf) = (CertificateDer::from(root), CertificateDer::from(leaf));
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let intermediates = [CertificateDer::from(intermediate)];
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
    let usage = KeyUsage::client_auth();
    let leaf = EndEntityCert::try_from(&leaf)?;
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, now, usage, None, None).map(|_| ())
}

/// An order for this cannot be made; so it is signed past the order, as one who took over the process would.
#[test]
fn verifiers_refuse_host_names_under_the_device_intermediate() {
    in_own_process("names", |token| {
        let authority = Authority::init(&config(token, &token.directory().join("ca")), NOW).unwrap();
        let order = fridge();
        let state = authority.state.lock().unwrap();
        let State { root, device, .. } = &*state;
        let key = TokenKey::new(&authority.token, device.key, &device.point);
        let life = life(NOW, 3600).unwrap();
        let right = template::leaf(&order, &life).unwrap();
        let der = sign(&right, order.key(), &key, device).unwrap();
        assert_eq!(verify(&root.der, &device.der, &der), Ok(()), "the one URI is no host name");
        for name in [
            SanType::DnsName("admin.larder.internal".try_into().unwrap()),
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("::1".parse().unwrap()),
        ] {
            let mut wrong = right.clone();
            wrong.subject_alt_names.push(name.clone());
            let der = sign(&wrong, order.key(), &key, device).unwrap();
            assert_eq!(verify(&root.der, &device.der, &der), Err(webpki::Error::NameConstraintViolation), "{name:?}");
        }
    });
}

#[test]
fn what_fails_the_check_is_logged_as_withheld_and_does_not_leave() {
    in_own_process("withheld", |token| {
        let dir = token.directory().join("ca");
        let authority = Authority::init(&config(token, &dir), NOW).unwrap();
        let mut state = authority.state.lock().unwrap();
        let outcome = record(&mut state.log, Kind::Device, "x", &life(NOW, 60).unwrap(), b"der", Err("it is wrong"));
        assert!(matches!(outcome, Err(AuthorityError::Fault(Fault::Withheld("it is wrong")))));
        let mut states = Vec::new();
        read_log(&dir, |entry| states.push(entry.state)).unwrap();
        assert_eq!(states.last(), Some(&EntryState::Withheld));
        assert_eq!(states.len(), 5);
    });
}

#[test]
fn serial_numbers_are_positive_sixteen_bytes_and_new_each_time() {
    let serials: std::collections::HashSet<_> = (0..1000).map(|_| life(NOW, 60).unwrap().serial).collect();
    assert_eq!(serials.len(), 1000);
    assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial[0])));
}

#[test]
fn a_life_begins_ten_minutes_early_and_stays_in_the_calendar() {
    let life = life(NOW, 3600).unwrap();
    assert_eq!((life.not_before_unix_s, life.not_after_unix_s), (NOW - 600, NOW + 3600));
    assert!(super::life(i64::MAX, 1).is_err());
    assert!(super::life(i64::MIN, 1).is_err());
    assert!(template::authority(Kind::Root, &"a".parse().unwrap(), &super::life(i64::MAX / 2, 1).unwrap()).is_err());
}
