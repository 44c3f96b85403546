//! Who was in and must out, and who knocks with what was taken back: by real handshakes and real lists. Each refusal
//! stands beside the right case it differs from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::pki;

use std::sync::Arc;
use std::time::Duration;

use ca_mtls::{Applied, CheckedCrl, CrlError, Peer, PeerError, ReloadingServer, Revocations, client_config};
use pki::{ADMIN, FRIDGE, Issuer, LIMIT, Leaf, Pki, SESSION, domain, id, meet};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;

/// A moment in 2026, seconds since the Unix epoch.
const NOW_S: i64 = 1_790_000_000;
const HOUR_S: i64 = 3_600;

/// What a list says; [`Wish::revoking`] is a right one.
#[derive(Clone)]
struct Wish {
    serials: Vec<String>,
    number: u64,
    this_update_s: i64,
    scope: Option<CrlIssuingDistributionPoint>,
}

impl Wish {
    fn revoking(serials: &[&str]) -> Self {
        let serials = serials.iter().map(|serial| (*serial).to_owned()).collect();
        Self { serials, number: 7, this_update_s: NOW_S, scope: None }
    }

    fn signed_by(&self, issuer: &Issuer) -> Vec<u8> {
        let time = |unix_s| time::OffsetDateTime::from_unix_timestamp(unix_s).unwrap();
        let bytes = |hex: &str| {
            let nibbles = hex.as_bytes().chunks(2);
            nibbles.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect::<Vec<_>>()
        };
        let entry = |serial: &String| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes(serial)),
            revocation_time: time(self.this_update_s),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: time(self.this_update_s),
            next_update: time(self.this_update_s + 6 * HOUR_S),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: self.scope.clone(),
            revoked_certs: self.serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(issuer).unwrap().der().to_vec()
    }
}

fn check(pki: &Pki, wish: &Wish, issuer: &Issuer) -> Result<CheckedCrl, CrlError> {
    CheckedCrl::check(&wish.signed_by(issuer), issuer.der(), &pki.bundle(), NOW_S)
}

/// A server with its index, and what it sees of a client that shows this leaf.
struct House {
    pki: Pki,
    server: ReloadingServer,
    _files: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let pki = Pki::new("root");
        let dir = tempfile::tempdir().unwrap();
        let files = pki.leaf(SESSION).write(dir.path(), &pki.bundle_pem());
        let server = ReloadingServer::new(files, &domain(), &[b"h2"]).unwrap();
        Self { pki, server, _files: dir }
    }

    async fn shows(&self, leaf: &Leaf) -> Result<Peer, String> {
        let client = client_config(&leaf.identity(), &self.pki.bundle(), &id(SESSION), &[b"h2"]).unwrap();
        meet(self.server.config(), client).await.0
    }

    fn revoke(&self, issuer: &Issuer, number: u64, serials: &[&str]) -> Applied {
        let wish = Wish { number, ..Wish::revoking(serials) };
        self.server.revocations().apply(check(&self.pki, &wish, issuer).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn who_is_on_the_list_is_refused_at_the_door_and_nobody_else_is() {
    let house = House::new();
    let (stolen, other, admin) = (house.pki.leaf(FRIDGE), house.pki.leaf(FRIDGE), house.pki.leaf(ADMIN));
    let serial = house.shows(&stolen).await.unwrap().serial;
    assert_eq!(house.revoke(&house.pki.device, 1, &[&serial]), Applied { revoked: 1, closed: 0 });
    let why = house.shows(&stolen).await.unwrap_err();
    assert!(why.contains("was revoked") && why.contains(&serial), "{why}");
    assert!(house.shows(&other).await.is_ok(), "the same fridge with another certificate");
    assert!(house.shows(&admin).await.is_ok());
    // The next list no longer names it, since its life is over or the matter was mended.
    house.revoke(&house.pki.device, 2, &[]);
    assert!(house.shows(&stolen).await.is_ok());
}

#[tokio::test]
async fn an_authority_revokes_its_own_certificates_and_no_other_authoritys() {
    let house = House::new();
    let fridge = house.pki.leaf(FRIDGE);
    let serial = house.shows(&fridge).await.unwrap().serial;
    house.revoke(&house.pki.service, 1, &[&serial]);
    assert!(house.shows(&fridge).await.is_ok());
    house.revoke(&house.pki.device, 1, &[&serial]);
    assert!(house.shows(&fridge).await.is_err());
    house.revoke(&house.pki.service, 2, &[]);
    assert!(house.shows(&fridge).await.is_err(), "the list of one leaves the other's in force");
}

#[tokio::test]
async fn live_connections_of_the_revoked_are_told_to_close_and_no_others() {
    let house = House::new();
    let index = house.server.revocations();
    let (stolen, other) = (house.pki.leaf(FRIDGE), house.pki.leaf(FRIDGE));
    let peers = [
        Arc::new(house.shows(&stolen).await.unwrap()),
        Arc::new(house.shows(&stolen).await.unwrap()),
        Arc::new(house.shows(&other).await.unwrap()),
    ];
    let [one, two, three] = peers.clone().map(|peer| index.enter(peer).unwrap());
    assert_eq!(index.open(), 3);
    drop(two);
    assert_eq!(index.open(), 2);
    let applied = house.revoke(&house.pki.device, 1, &[&peers[0].serial]);
    assert_eq!(applied, Applied { revoked: 1, closed: 1 });
    tokio::time::timeout(LIMIT, one.revoked()).await.expect("the word was kept for who waits later");
    let untouched = tokio::time::timeout(Duration::from_millis(50), three.revoked()).await;
    assert!(untouched.is_err(), "nobody told it to close");
    // Whoever ended his handshake before the list came, and is entered after it, does not slip through.
    let late = index.enter(Arc::clone(&peers[0])).unwrap_err();
    assert_eq!(late, PeerError::Revoked { serial: peers[0].serial.clone() });
    drop((one, three));
    assert_eq!(index.open(), 0);
}

#[test]
fn an_older_list_is_refused_and_the_same_once_more_changes_nothing() {
    let pki = Pki::new("root");
    let index = Arc::new(Revocations::default());
    assert_eq!(index.horizon_s(), None);
    for (number, newer) in [(7, true), (7, true), (6, false), (255, true), (256, true), (255, false), (8, false)] {
        let wish = Wish { number, ..Wish::revoking(&["0a"]) };
        let applied = index.apply(check(&pki, &wish, &pki.device).unwrap());
        assert_eq!(applied.is_ok(), newer, "{number}: {applied:?}");
        if let Err(error) = applied {
            assert!(matches!(error, CrlError::Older { .. }) && error.to_string().contains("old list"), "{error}");
        }
    }
    let later = Wish { this_update_s: NOW_S + 60, ..Wish::revoking(&[]) };
    index.apply(check(&pki, &later, &pki.service).unwrap()).unwrap();
    assert_eq!(index.horizon_s(), Some(NOW_S + 6 * HOUR_S), "the one that is due first");
}

#[test]
fn a_list_is_believed_only_from_an_authority_of_ours() {
    let (pki, other) = (Pki::new("root"), Pki::new("root"));
    let wish = Wish::revoking(&["0a", "0b"]);
    assert_eq!(check(&pki, &wish, &pki.device).unwrap().revoked(), 2);
    assert_eq!(check(&pki, &wish, &other.device), Err(CrlError::UnknownIssuer));
    let forged =
        |list: &Issuer, shown: &Issuer| CheckedCrl::check(&wish.signed_by(list), shown.der(), &pki.bundle(), NOW_S);
    assert_eq!(forged(&other.device, &pki.device), Err(CrlError::Signature), "one authority's name, another's key");
    assert_eq!(forged(&pki.service, &pki.device), Err(CrlError::Signature), "each for itself");
    let past = pki.intermediate("past", &[], (2020, 2021));
    assert_eq!(check(&pki, &wish, &past), Err(CrlError::UnknownIssuer), "its time is over");
    let leaf = pki.leaf(FRIDGE).certified().cert[0].clone();
    let by_leaf = CheckedCrl::check(&wish.signed_by(&pki.device), &leaf, &pki.bundle(), NOW_S);
    assert_eq!(by_leaf, Err(CrlError::UnknownIssuer), "a leaf is no authority");
}

#[test]
fn no_bit_of_a_list_can_be_changed() {
    let pki = Pki::new("root");
    let list = Wish::revoking(&["0a"]).signed_by(&pki.device);
    for at in 0..list.len() {
        let mut changed = list.clone();
        changed[at] ^= 1;
        let checked = CheckedCrl::check(&changed, pki.device.der(), &pki.bundle(), NOW_S);
        assert!(checked.is_err(), "byte {at}");
    }
    for cut in 0..list.len() {
        assert!(CheckedCrl::check(&list[..cut], pki.device.der(), &pki.bundle(), NOW_S).is_err(), "cut at {cut}");
    }
    let longer = [list.as_slice(), &[0]].concat();
    let checked = CheckedCrl::check(&longer, pki.device.der(), &pki.bundle(), NOW_S);
    assert_eq!(checked, Err(CrlError::Malformed("something stands behind it")));
    let huge = vec![0x30; 9 * 1024 * 1024];
    let checked = CheckedCrl::check(&huge, pki.device.der(), &pki.bundle(), NOW_S);
    assert_eq!(checked, Err(CrlError::TooLarge(huge.len())));
    assert_eq!(
        CheckedCrl::check(&list, &CertificateDer::from(vec![0x30, 0]), &pki.bundle(), NOW_S),
        Err(CrlError::UnknownIssuer)
    );
}

#[test]
fn an_overdue_list_still_revokes_and_one_from_the_future_is_refused_with_both_times() {
    let pki = Pki::new("root");
    let at = |this_update_s| check(&pki, &Wish { this_update_s, ..Wish::revoking(&["0a"]) }, &pki.device);
    let overdue = at(NOW_S - 24 * HOUR_S).unwrap();
    assert_eq!((overdue.revoked(), overdue.next_update_s()), (1, NOW_S - 18 * HOUR_S));
    assert!(at(NOW_S + 600).is_ok());
    let early = at(NOW_S + 24 * HOUR_S).unwrap_err();
    assert_eq!(early, CrlError::FromTheFuture { this_update_s: NOW_S + 24 * HOUR_S, now_s: NOW_S });
    assert!(early.to_string().contains("check both clocks"));
}

#[test]
fn lists_are_published_as_text_each_behind_its_issuers_certificate() {
    let (pki, other) = (Pki::new("root"), Pki::new("root"));
    let pem = |issuer: &Issuer, list: &Issuer, serials: &[&str]| {
        let body = base64(&Wish::revoking(serials).signed_by(list));
        format!("{}-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n", issuer.pem())
    };
    let check = |text: &str| CheckedCrl::check_pem(text.as_bytes(), &pki.bundle(), NOW_S);
    assert!(matches!(check(""), Err(CrlError::Malformed(_))), "nothing is not a list of nothing");
    let both = pem(&pki.device, &pki.device, &["0a"]) + &pem(&pki.service, &pki.service, &[]);
    let revoked: Vec<usize> = check(&both).unwrap().iter().map(CheckedCrl::revoked).collect();
    assert_eq!(revoked, [1, 0]);
    let one_wrong = pem(&pki.device, &pki.device, &["0a"]) + &pem(&other.service, &other.service, &[]);
    assert_eq!(check(&one_wrong), Err(CrlError::UnknownIssuer), "all or none");
    let swapped = pem(&pki.service, &pki.device, &["0a"]) + &pem(&pki.device, &pki.service, &[]);
    assert_eq!(check(&swapped), Err(CrlError::Signature));
    let bare = both.split_once("-----BEGIN X509").unwrap().1;
    assert!(check(&format!("-----BEGIN X509{bare}")).is_err(), "a list without its issuer");
    assert!(check(&both.replacen("-----END X509 CRL", "-----END X509", 1)).is_err());
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().chain([&0, &0]).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4 {
            let padding = place > group.len();
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if padding { '=' } else { char::from(letter) });
        }
    }
    text
}

#[tokio::test]
async fn accepting_enters_the_index_and_leaving_ends_it() {
    let house = House::new();
    let index = house.server.revocations();
    let client =
        client_config(&house.pki.leaf(FRIDGE).identity(), &house.pki.bundle(), &id(SESSION), &[b"h2"]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = rustls_pki_types::ServerName::try_from("larder.internal").unwrap();
    let (accepted, connected) =
        tokio::join!(house.server.accept(far, LIMIT), ca_mtls::connect(client, name, near, LIMIT));
    let ((stream, live), _near) = (accepted.unwrap(), connected.unwrap());
    assert_eq!((index.open(), &live.peer().id), (1, &id(FRIDGE)));
    let serial = live.peer().serial.clone();
    assert_eq!(house.revoke(&house.pki.device, 1, &[&serial]).closed, 1);
    live.revoked().await;
    drop((stream, live));
    assert_eq!(index.open(), 0);
}

#[test]
fn a_list_of_narrower_scope_is_not_taken_for_the_whole() {
    let pki = Pki::new("root");
    let uri = "http://crl.example/part.crl".to_owned();
    let scope =
        CrlIssuingDistributionPoint { distribution_point: CrlDistributionPoint { uris: vec![uri] }, scope: None };
    let partial = Wish { scope: Some(scope), ..Wish::revoking(&["0a"]) };
    assert!(matches!(check(&pki, &partial, &pki.device), Err(CrlError::Malformed(_))));
}

#[test]
fn an_authority_that_may_not_sign_lists_is_not_believed() {
    let pki = Pki::new("root");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let shown = params.signed_by(&KeyPair::generate().unwrap(), &pki.root).unwrap();
    let list = Wish::revoking(&[]).signed_by(&pki.device);
    let checked = CheckedCrl::check(&list, shown.der(), &pki.bundle(), NOW_S);
    assert_eq!(checked, Err(CrlError::UnknownIssuer));
}

/// Whoever comes while a list comes into force is either refused or told to close; there is no third way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_slips_through_between_the_handshake_and_the_list() {
    let pki = Pki::new("root");
    for round in 0..50_u64 {
        let index = Arc::new(Revocations::default());
        let peer = |serial: &str| Peer {
            id: id(FRIDGE),
            serial: serial.to_owned(),
            issuer: "CN=root device".to_owned(),
            not_after: i64::MAX,
        };
        let comers: Vec<_> = (0..40)
            .map(|number| {
                let (index, serial) = (Arc::clone(&index), if number % 2 == 0 { "0a" } else { "0b" });
                let comer = Arc::new(peer(serial));
                tokio::spawn(async move { (serial, index.enter(comer)) })
            })
            .collect();
        index.apply(check(&pki, &Wish { number: round, ..Wish::revoking(&["0a"]) }, &pki.device).unwrap()).unwrap();
        for comer in comers {
            match comer.await.unwrap() {
                ("0a", Ok(live)) => tokio::time::timeout(LIMIT, live.revoked()).await.expect("it is told to close"),
                ("0a", Err(refused)) => assert_eq!(refused, PeerError::Revoked { serial: "0a".into() }),
                (_, entered) => drop(entered.expect("nobody revoked this one")),
            }
        }
        assert_eq!(index.open(), 0);
    }
}

/// A generator of handshakes runs while lists come and go; nobody who is not on them notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_while_lists_are_replaced() {
    let house = Arc::new(House::new());
    let (right, stolen) = (house.pki.leaf(FRIDGE), house.pki.leaf(FRIDGE));
    let serial = house.shows(&stolen).await.unwrap().serial;
    let generator = {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for _ in 0..150 {
                failed.extend(house.shows(&right).await.err());
            }
            failed
        })
    };
    let mut number = 0;
    while !generator.is_finished() {
        number += 1;
        house.revoke(&house.pki.device, number, &[&serial]);
        assert!(house.shows(&stolen).await.unwrap_err().contains("was revoked"));
    }
    assert!(number > 1, "lists did come meanwhile");
    assert_eq!(generator.await.unwrap(), [] as [String; 0]);
}
