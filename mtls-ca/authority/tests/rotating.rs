//! Rotation at the authority itself: keys that are made and used and left, gates that hold, people who have to agree, and
//! crashes in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::fs;

use authority::{
    Approval, Approver, Authority, AuthorityError, Corrupt, Kind, Proposal, Reason, Refusal, Which, read_log,
    revoked_serials,
};
use ca_identity::ServiceName;
use ca_mtls::{CheckedCrl, SignedBundle, TrustBundle, peer};
use ca_rotation::{Direction, Effect, GenerationId, Phase, Step, Tier};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use test_token::{TestToken, in_own_process};
use world::{ADA, FRIDGE, SESSION, acknowledge, attestation_key, config, dir, domain, id, issue, order, people};

const NOW: i64 = 1_800_000_000;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
const NEXT: Direction = Direction::Next;
const BACK: Direction = Direction::Back;

/// An authority with two approvers, and their keys.
struct House {
    authority: Authority,
    keys: Vec<KeyPair>,
}

impl House {
    fn new(token: &TestToken) -> Self {
        let (approvers, keys): (Vec<Approver>, Vec<KeyPair>) = people(["ada", "bob"]).into_iter().unzip();
        Self { authority: Authority::init_with(&config(token), &approvers, NOW).unwrap(), keys }
    }

    fn agree(&self, proposal: &Proposal) -> Vec<Approval> {
        let sign = |key: &KeyPair| Approval::sign(proposal.to_sign.as_ref().unwrap(), &key.serialize_pem()).unwrap();
        if proposal.to_sign.is_some() { self.keys.iter().map(sign).collect() } else { Vec::new() }
    }

    fn step(&self, tier: Tier, direction: Direction, at: i64) -> Result<Step, AuthorityError> {
        let proposal = self.authority.propose(tier, direction, at)?;
        Ok(self.authority.rotate(tier, direction, &self.agree(&proposal), at)?.step)
    }

    fn steps(&self, tier: Tier, count: usize, at: i64) {
        for _ in 0..count {
            self.step(tier, NEXT, at).unwrap();
        }
    }

    fn active(&self, tier: Tier) -> u32 {
        self.authority.standing(NOW).unwrap().rotation.active(tier).number
    }
}

/// Who issued a leaf, as its certificate says.
fn issuer(authority: &Authority, name: &str, at: i64) -> String {
    let chain = issue(authority, name, at).0;
    let der = CertificateDer::from_pem_slice(chain.chain_pem.as_bytes()).unwrap();
    peer(&[der]).unwrap().issuer
}

fn refused(outcome: Result<Step, AuthorityError>) -> String {
    match outcome {
        Err(AuthorityError::Refused(Refusal::Rotation(why))) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_intermediate_is_replaced_step_by_step_and_each_signature_is_logged() {
    in_own_process("device", |token| {
        let house = House::new(token);
        let ca = &house.authority;
        ca.refresh_lists(NOW).unwrap();
        assert_eq!(issuer(ca, FRIDGE, NOW), "CN=larder.internal device-intermediate 1");
        let old = issue(ca, FRIDGE, NOW).0;
        assert_eq!(house.step(Tier::Device, NEXT, NOW).unwrap(), Step::Prepare);
        assert_eq!(ca.lists().unwrap().len(), 2, "nobody knows of it yet");
        assert_eq!(house.step(Tier::Device, NEXT, NOW).unwrap(), Step::Distribute);
        assert_eq!(ca.lists().unwrap().len(), 3, "its list is there before its first certificate");
        assert_eq!(issuer(ca, FRIDGE, NOW), "CN=larder.internal device-intermediate 1");
        assert_eq!(house.step(Tier::Device, NEXT, NOW).unwrap(), Step::Activate);
        assert_eq!(issuer(ca, FRIDGE, NOW), "CN=larder.internal device-intermediate 2");
        assert_eq!(house.step(Tier::Device, NEXT, NOW).unwrap(), Step::Taint);
        let why = refused(house.step(Tier::Device, NEXT, NOW));
        assert!(why.starts_with("3 certificates under device-1 live until"), "{why}");
        // What the old one signed can still be taken back, and what the new one signed, each in its own list.
        ca.revoke(&Which::Serial(old.serial.clone()), Reason::KeyCompromise, NOW).unwrap();
        ca.revoke(&Which::Party(id(FRIDGE)), Reason::KeyCompromise, NOW).unwrap();
        let bundle = TrustBundle::from_pem(ca.trust_bundle_pem().as_bytes()).unwrap();
        let counts: Vec<usize> = ca
            .lists()
            .unwrap()
            .iter()
            .map(|it| {
                CheckedCrl::check(&it.list, &CertificateDer::from(it.issuer.clone()), &bundle, NOW).unwrap().revoked()
            })
            .collect();
        assert_eq!(counts, [1, 3, 0], "the one in use first");
        assert_eq!(revoked_serials(&dir(token)).unwrap().len(), 4);
        assert_eq!(house.step(Tier::Device, NEXT, NOW + DAY_S + 1).unwrap(), Step::Drain);
        let why = refused(house.step(Tier::Device, NEXT, NOW + DAY_S + 1));
        assert!(why.contains("the revocation list of device-1 is needed until"), "{why}");
        assert_eq!(house.step(Tier::Device, NEXT, NOW + 2 * DAY_S + 1).unwrap(), Step::Retire);
        assert_eq!(ca.lists().unwrap().len(), 2);
        assert_eq!(house.active(Tier::Device), 2);
        assert_eq!(ca.signatures(), ca.head().entries, "each signature has its line");
        drop(house);
        let again = Authority::open(&config(token)).unwrap();
        assert_eq!(issuer(&again, FRIDGE, NOW), "CN=larder.internal device-intermediate 2");
    });
}

#[test]
fn a_step_is_taken_back_and_what_signed_before_signs_again() {
    in_own_process("back", |token| {
        let house = House::new(token);
        house.steps(Tier::Service, 4, NOW);
        let names = || issuer(&house.authority, SESSION, NOW + 1);
        assert_eq!(names(), "CN=larder.internal service-intermediate 2");
        for step in [Step::Taint, Step::Activate] {
            assert_eq!(house.step(Tier::Service, BACK, NOW).unwrap(), step);
        }
        assert_eq!(names(), "CN=larder.internal service-intermediate 1");
        let why = refused(house.step(Tier::Service, BACK, NOW + 1));
        assert!(why.starts_with("1 certificate under service-2 live"), "{why}");
        for step in [Step::Distribute, Step::Prepare] {
            assert_eq!(house.step(Tier::Service, BACK, NOW + DAY_S + 2).unwrap(), step);
        }
        assert!(refused(house.step(Tier::Service, BACK, NOW)).contains("nothing to undo"));
        assert_eq!(house.authority.standing(NOW).unwrap().rotation.line(Tier::Service).phase, Phase::Steady);
        house.step(Tier::Service, NEXT, NOW).unwrap();
        let next = house.authority.standing(NOW).unwrap().rotation.line(Tier::Service).other().unwrap();
        assert_eq!(next.number, 3, "a number is not given twice, and so no key has two lives");
    });
}

#[test]
fn a_root_is_replaced_and_everything_below_it() {
    in_own_process("root", |token| {
        let house = House::new(token);
        let ca = &house.authority;
        issue(ca, SESSION, NOW);
        issue(ca, FRIDGE, NOW);
        house.steps(Tier::Root, 2, NOW + 1);
        assert_eq!(TrustBundle::from_pem(ca.trust_bundle_pem().as_bytes()).unwrap().count(), 2);
        let why = refused(house.step(Tier::Root, NEXT, NOW + 1));
        assert!(why.contains("purchase-session (never heard) has not acknowledged bundle 2"), "{why}");
        acknowledge(token, ServiceName::PurchaseSession, 2, NOW + 1);
        let why = refused(house.step(Tier::Root, NEXT, NOW + 1));
        assert!(why.starts_with("1 certificate of fridges or operators older than bundle 2"), "{why}");
        let later = NOW + DAY_S + 2;
        assert_eq!(house.step(Tier::Root, NEXT, later).unwrap(), Step::Activate);
        let why = refused(house.step(Tier::Root, NEXT, later));
        assert!(why.contains("device-1, service-1, attestation-1 stand under root-1"), "{why}");
        for tier in [Tier::Device, Tier::Service, Tier::Attestation] {
            house.steps(tier, 3, later);
        }
        for name in [FRIDGE, ADA] {
            let chain = issue(ca, name, later).0.chain_pem;
            let intermediate = CertificateDer::pem_slice_iter(chain.as_bytes()).nth(1).unwrap().unwrap();
            assert!(under(&intermediate).contains("larder.internal root 2"), "{}", under(&intermediate));
        }
        ca.issue_attestation_key(&attestation_key().0, later).unwrap();
        house.step(Tier::Root, NEXT, later).unwrap();
        let much_later = later + 3 * DAY_S;
        for tier in [Tier::Device, Tier::Service, Tier::Attestation] {
            house.steps(tier, 3, much_later);
        }
        house.steps(Tier::Root, 2, much_later);
        let bundles = ca.bundles().unwrap();
        assert_eq!(bundles.len(), 3);
        // Who has the first bundle comes to the last one, step by step.
        let mut trusted = None;
        for (known, bundle) in (0..).zip(&bundles) {
            let first = TrustBundle::from_pem(&fs::read(dir(token).join("root.pem")).unwrap()).unwrap();
            let read = SignedBundle::check(&bundle.text, trusted.as_ref().unwrap_or(&first), &domain(), known).unwrap();
            trusted = Some(read.bundle().clone());
        }
        assert_eq!(trusted.unwrap().count(), 1);
        let pem = ca.trust_bundle_pem();
        assert!(!pem.contains(fs::read_to_string(dir(token).join("root.pem")).unwrap().trim()), "the old root is gone");
        assert_eq!(ca.signatures(), ca.head().entries);
        assert_eq!(Authority::open(&config(token)).unwrap().trust_bundle_pem(), pem);
    });
}

fn under(certificate: &CertificateDer<'_>) -> String {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).unwrap();
    read.issuer().to_string()
}

#[test]
fn what_makes_or_retires_an_authority_takes_two_people() {
    in_own_process("approve", |token| {
        let house = House::new(token);
        let ca = &house.authority;
        let proposal = ca.propose(Tier::Device, NEXT, NOW).unwrap();
        assert_eq!(proposal.effects, [Effect::Make { generation: GenerationId::new(Tier::Device, 2), under: 1 }]);
        let agreed = house.agree(&proposal);
        let before = ca.signatures();
        let not_approved = |tier, approvals: &[Approval]| {
            let refused = ca.rotate(tier, NEXT, approvals, NOW).unwrap_err();
            assert!(matches!(refused, AuthorityError::Refused(Refusal::NotApproved(_))), "{refused}");
        };
        not_approved(Tier::Device, &[]);
        not_approved(Tier::Device, &agreed[..1]);
        not_approved(Tier::Device, &[agreed[0].clone(), agreed[0].clone()]);
        not_approved(Tier::Service, &agreed); // another act
        let stranger =
            Approval::sign(proposal.to_sign.as_ref().unwrap(), &KeyPair::generate().unwrap().serialize_pem());
        not_approved(Tier::Device, &[agreed[0].clone(), stranger.unwrap()]);
        assert_eq!(ca.signatures(), before, "nothing was signed");
        ca.rotate(Tier::Device, NEXT, &agreed, NOW).unwrap();
        assert_eq!(house.step(Tier::Device, BACK, NOW).unwrap(), Step::Prepare);
        not_approved(Tier::Device, &agreed); // used already
    });
}

#[test]
fn without_approvers_nothing_is_rotated() {
    in_own_process("nobody", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        for outcome in [
            authority.propose(Tier::Device, NEXT, NOW).map(|_| ()),
            authority.rotate(Tier::Root, NEXT, &[], NOW).map(|_| ()),
            authority.propose_approvers(&people(["ada", "bob"]).map(|(approver, _)| approver)).map(|_| ()),
        ] {
            let refused = outcome.unwrap_err();
            assert!(matches!(&refused, AuthorityError::Refused(Refusal::NoApprovers)), "{refused}");
            assert!(refused.to_string().contains("larder-ca init --approver"), "{refused}");
        }
        assert_eq!(authority.head().entries, 5);
    });
}

#[test]
fn approvers_change_and_the_old_ones_have_no_say() {
    in_own_process("change", |token| {
        let house = House::new(token);
        let (new, new_keys): (Vec<Approver>, Vec<KeyPair>) = people(["eve", "joe"]).into_iter().unzip();
        let proposal = house.authority.propose_approvers(&new).unwrap();
        assert!(house.authority.change_approvers(&new, &house.agree(&proposal)[..1], NOW).is_err());
        house.authority.change_approvers(&new, &house.agree(&proposal), NOW).unwrap();
        assert!(house.step(Tier::Device, NEXT, NOW).is_err());
        let house = House { keys: new_keys, ..house };
        assert_eq!(house.step(Tier::Device, NEXT, NOW).unwrap(), Step::Prepare);
        let names: Vec<String> =
            house.authority.standing(NOW).unwrap().approvers.into_iter().map(|approver| approver.name).collect();
        assert_eq!(names, ["eve", "joe"]);
    });
}

#[test]
fn another_process_hears_of_an_act_at_its_next_certificate() {
    in_own_process("two", |token| {
        let house = House::new(token);
        let other = Authority::open(&config(token)).unwrap();
        house.steps(Tier::Device, 3, NOW);
        assert_eq!(issuer(&other, FRIDGE, NOW), "CN=larder.internal device-intermediate 2");
        other.refresh_lists(NOW).unwrap();
        assert_eq!(other.lists().unwrap().len(), 3);
        house.steps(Tier::Root, 2, NOW);
        assert_eq!(other.trust_bundle_pem(), house.authority.trust_bundle_pem());
    });
}

#[test]
fn after_a_crash_between_a_key_and_its_act_the_step_is_taken_again() {
    in_own_process("crash", |token| {
        let mut house = House::new(token);
        let acts = dir(token).join("acts.jsonl");
        for (tier, count) in [(Tier::Device, 2), (Tier::Root, 2)] {
            for _ in 0..count {
                let before = fs::read(&acts).unwrap();
                house.step(tier, NEXT, NOW).unwrap();
                let after = fs::read(&acts).unwrap();
                // As it is when the process dies after the effects and before the act, or in the middle of writing it.
                for torn in [0, 1, after.len() - before.len() - 1] {
                    fs::write(&acts, &after[..before.len() + torn]).unwrap();
                    let opened = Authority::open(&config(token)).unwrap();
                    let again = House { authority: opened, keys: copies(&house.keys) };
                    let standing = again.authority.standing(NOW).unwrap();
                    assert_eq!(
                        standing.acts.entries,
                        u64::try_from(before.split(|b| *b == b'\n').count() - 1).unwrap()
                    );
                    again.step(tier, NEXT, NOW).unwrap();
                    assert_eq!(
                        again.authority.bundles().unwrap().last().unwrap().version,
                        again.authority.standing(NOW).unwrap().rotation.bundle().version
                    );
                    house = again; // the one before is dead, and does not know what was written in its place
                }
            }
        }
        let opened = Authority::open(&config(token)).unwrap();
        assert_eq!(TrustBundle::from_pem(opened.trust_bundle_pem().as_bytes()).unwrap().count(), 2);
        assert_eq!(opened.lists().unwrap().len(), 1, "the one that the new generation began with");
    });
}

fn copies(keys: &[KeyPair]) -> Vec<KeyPair> {
    keys.iter().map(|key| KeyPair::from_pem(&key.serialize_pem()).unwrap()).collect()
}

#[test]
fn acts_that_are_gone_or_changed_stop_the_authority() {
    in_own_process("acts", |token| {
        let house = House::new(token);
        house.steps(Tier::Device, 3, NOW);
        let acts = dir(token).join("acts.jsonl");
        let good = fs::read_to_string(&acts).unwrap();
        fs::write(&acts, good.replace("\"activate\"", "\"taint\"")).unwrap();
        let stopped = Authority::open(&config(token)).unwrap_err();
        assert!(matches!(stopped, AuthorityError::Corrupt(Corrupt::Acts { line: 4, .. })), "{stopped}");
        fs::remove_file(&acts).unwrap();
        assert!(Authority::open(&config(token)).is_err());
        assert!(house.authority.issue(&order(FRIDGE, 3600).0, NOW).is_err(), "nor does one that is open go on");
        fs::write(&acts, good).unwrap();
        assert_eq!(issuer(&house.authority, FRIDGE, NOW), "CN=larder.internal device-intermediate 2");
    });
}

#[test]
fn a_bundle_put_there_by_somebody_else_is_not_handed_out() {
    in_own_process("bundle", |token| {
        let house = House::new(token);
        house.steps(Tier::Root, 2, NOW);
        let path = dir(token).join("bundle-2.jws");
        let right = fs::read(&path).unwrap();
        fs::copy(dir(token).join("bundle-1.jws"), &path).unwrap();
        let stopped = house.authority.bundles().unwrap_err();
        assert!(matches!(stopped, AuthorityError::Corrupt(Corrupt::Bundle { .. })), "{stopped}");
        fs::write(&path, right).unwrap();
        assert_eq!(house.authority.bundles().unwrap().len(), 2);
        let mut bundles = Vec::new();
        read_log(&dir(token), |entry| {
            if entry.kind == Kind::TrustBundle {
                bundles.push((entry.issuer.clone(), entry.subject.clone()));
            }
        })
        .unwrap();
        assert_eq!(bundles[1], ("root-1".to_owned(), "trust bundle 2: root-1, root-2".to_owned()));
    });
}

#[test]
fn everything_below_an_intermediate_is_taken_back_by_two_people() {
    in_own_process("bulk", |token| {
        let house = House::new(token);
        let ca = &house.authority;
        let (which, reason) = (Which::Issuer(GenerationId::new(Tier::Device, 1)), Reason::KeyCompromise);
        let fridges: Vec<String> = (0..11).map(|n| format!("spiffe://larder.internal/fridge/f{n}")).collect();
        for fridge in &fridges[..10] {
            issue(ca, fridge, NOW);
        }
        issue(ca, SESSION, NOW);
        assert_eq!(ca.revocation_to_sign(&which, reason, NOW).unwrap(), None, "ten are one person's");
        assert_eq!(ca.revoke(&which, reason, NOW).unwrap().len(), 10);
        issue(ca, &fridges[10], NOW);
        let act = ca.revocation_to_sign(&which, reason, NOW).unwrap().unwrap();
        let agreed: Vec<Approval> =
            house.keys.iter().map(|key| Approval::sign(&act, &key.serialize_pem()).unwrap()).collect();
        for (reason, approvals) in [(reason, &agreed[..1]), (reason, &[][..]), (Reason::Superseded, &agreed[..])] {
            let refused = ca.revoke_agreed(&which, reason, approvals, NOW).unwrap_err();
            assert!(matches!(refused, AuthorityError::Refused(Refusal::NotApproved(_))), "{refused}");
        }
        assert_eq!(revoked_serials(&dir(token)).unwrap().len(), 10, "nothing was taken back");
        let taken = ca.revoke_agreed(&which, reason, &agreed, NOW).unwrap();
        assert_eq!((taken.len(), revoked_serials(&dir(token)).unwrap().len()), (11, 11));
        assert!(taken.iter().all(|one| one.party.contains("/fridge/")), "nobody else's");
        assert!(ca.revoke_agreed(&which, reason, &agreed, NOW).is_err(), "an approval serves once");
        assert_eq!(ca.standing(NOW).unwrap().acts.entries, 2);
        assert_eq!(ca.signatures(), ca.head().entries);
        drop(house);
        assert!(Authority::open(&config(token)).is_ok(), "the act is believed when it is read again");
    });
}

#[test]
fn one_party_is_taken_back_by_one_person_however_much_it_holds() {
    in_own_process("one", |token| {
        let authority = Authority::init(&config(token), NOW).unwrap();
        for _ in 0..12 {
            issue(&authority, FRIDGE, NOW);
        }
        let everything = Which::Issuer(GenerationId::new(Tier::Device, 1));
        let refused = authority.revoke(&everything, Reason::KeyCompromise, NOW).unwrap_err();
        assert!(matches!(refused, AuthorityError::Refused(Refusal::NoApprovers)), "{refused}");
        assert!(authority.revocation_to_sign(&everything, Reason::KeyCompromise, NOW).is_err());
        let taken = authority.revoke(&Which::Party(id(FRIDGE)), Reason::KeyCompromise, NOW).unwrap();
        assert_eq!(taken.len(), 12);
        let unknown = Which::Issuer(GenerationId::new(Tier::Device, 7));
        let nothing = authority.revoke(&unknown, Reason::KeyCompromise, NOW).unwrap_err();
        assert!(nothing.to_string().contains("device-7 has no certificate that lives"), "{nothing}");
    });
}

#[test]
fn the_order_of_approvals_and_of_people_does_not_matter() {
    in_own_process("order", |token| {
        let (approvers, keys): (Vec<Approver>, Vec<KeyPair>) = people(["ada", "bob", "eve", "joe"]).into_iter().unzip();
        let authority = Authority::init_with(&config(token), &approvers, NOW).unwrap();
        for pair in [[0, 1], [3, 2], [2, 0], [1, 3]] {
            let act = authority.propose(Tier::Attestation, NEXT, NOW).unwrap().to_sign.unwrap();
            let agreed = pair.map(|at: usize| Approval::sign(&act, &keys[at].serialize_pem()).unwrap());
            authority.rotate(Tier::Attestation, NEXT, &agreed, NOW).unwrap();
            authority.rotate(Tier::Attestation, BACK, &[], NOW).unwrap();
        }
        assert_eq!(authority.standing(NOW).unwrap().rotation.line(Tier::Attestation).last_number, 5);
    });
}

#[test]
fn an_init_with_people_who_cannot_agree_makes_nothing() {
    in_own_process("init", |token| {
        let [ada, bob] = people(["ada", "bob"]).map(|(approver, _)| approver);
        let twin = Approver { name: "twin".into(), ..ada.clone() };
        for wrong in [vec![ada.clone()], vec![ada.clone(), ada.clone()], vec![ada.clone(), twin]] {
            let refused = Authority::init_with(&config(token), &wrong, NOW).unwrap_err();
            assert!(matches!(refused, AuthorityError::Refused(Refusal::Approvers(_))), "{refused}");
        }
        assert!(Authority::init_with(&config(token), &[ada, bob], NOW).is_ok(), "the token was still empty");
    });
}

#[test]
fn a_retired_generation_signs_nothing_and_its_certificate_is_kept_for_who_looks_back() {
    in_own_process("retired", |token| {
        let house = House::new(token);
        house.authority.refresh_lists(NOW).unwrap();
        let taken = issue(&house.authority, FRIDGE, NOW).0.serial;
        house.authority.revoke(&Which::Serial(taken.clone()), Reason::Superseded, NOW).unwrap();
        house.steps(Tier::Device, 4, NOW);
        house.steps(Tier::Device, 2, NOW + 3 * DAY_S);
        let ca = dir(token);
        assert!(ca.join("device.pem").exists() && ca.join("device.crl").exists());
        assert!(revoked_serials(&ca).unwrap().contains(&taken), "the log of the past can still be read");
        let mut signed = Vec::new();
        house.authority.refresh_lists(NOW + 3 * DAY_S).unwrap();
        issue(&house.authority, FRIDGE, NOW + 3 * DAY_S);
        read_log(&ca, |entry| signed.push((entry.issuer.clone(), entry.not_before_unix_s))).unwrap();
        assert!(!signed.iter().any(|(issuer, at)| issuer == "device-1" && *at > NOW));
        assert!(signed.iter().any(|(issuer, at)| issuer == "device-2" && *at > NOW + 2 * DAY_S));
        assert_eq!(house.authority.renew(NOW + 60 * DAY_S).unwrap().len(), 3, "those in use");
    });
}

#[test]
fn an_intermediate_that_waits_to_end_is_not_renewed() {
    in_own_process("wait", |token| {
        let house = House::new(token);
        house.steps(Tier::Service, 4, NOW + 40 * DAY_S);
        let renewed = house.authority.renew(NOW + 60 * DAY_S).unwrap();
        let kinds: Vec<Kind> = renewed.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [Kind::DeviceIntermediate, Kind::AttestationIntermediate], "the new one is young enough");
        let standing = house.authority.standing(NOW).unwrap();
        let ends = |number| standing.ends.iter().find(|(id, _)| *id == GenerationId::new(Tier::Service, number));
        assert_eq!(ends(1).unwrap().1, NOW + 90 * DAY_S);
    });
}
