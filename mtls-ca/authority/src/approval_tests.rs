//! Tests of `approval`: who may agree, how often one counts, and to what.

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};

use super::{Approval, Approved, Approver};
use crate::Refusal;

/// An approver and the key of him.
pub(crate) fn person(name: &str) -> (Approver, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (Approver::from_pem(name, &key.public_key_pem()).unwrap(), key)
}

fn agree(key: &KeyPair, act: &str) -> Approval {
    Approval::sign(act, &key.serialize_pem()).unwrap()
}

const ACT: &str = "{\"act\":1}";

#[test]
fn two_different_people_are_needed() {
    let ((ada, ada_key), (bob, bob_key), (eve, eve_key)) = (person("ada"), person("bob"), person("eve"));
    let approvers = [ada, bob];
    let check = |approvals: &[Approval]| Approved::check(ACT, approvals, &approvers);
    let (one, two) = (agree(&ada_key, ACT), agree(&bob_key, ACT));
    assert!(check(&[one.clone(), two.clone()]).is_ok());
    assert!(check(&[one.clone(), agree(&ada_key, ACT), two]).is_ok(), "once more is once");
    for too_few in [vec![], vec![one.clone()], vec![one.clone(), one.clone()], vec![one.clone(), agree(&ada_key, ACT)]]
    {
        let why = check(&too_few).unwrap_err().to_string();
        assert!(why.contains("of ada, bob agreed, and 2 of them must"), "{why}");
    }
    let stranger = check(&[one, agree(&eve_key, ACT)]).unwrap_err().to_string();
    assert!(stranger.contains("no approver's"), "{stranger}");
    assert!(eve.name == "eve");
}

#[test]
fn an_agreement_is_to_one_act() {
    let ((ada, ada_key), (bob, bob_key)) = (person("ada"), person("bob"));
    let approvers = [ada, bob];
    let right = [agree(&ada_key, ACT), agree(&bob_key, ACT)];
    let other = Approved::check("{\"act\":2}", &right, &approvers).unwrap_err().to_string();
    assert!(other.contains("the approval of ada is not for this act"), "{other}");
    for change in [
        |it: &mut Approval| it.act_sha256 = "ab".repeat(32),
        |it: &mut Approval| it.signature = it.signature.replacen('M', "N", 1),
        |it: &mut Approval| it.signature = "!".to_owned(),
        |it: &mut Approval| it.signature = String::new(),
    ] {
        let mut wrong = right.clone();
        change(&mut wrong[1]);
        assert!(matches!(Approved::check(ACT, &wrong, &approvers), Err(Refusal::NotApproved(_))));
    }
    let mut renamed = right;
    renamed[0].point.clone_from(&approvers[1].point);
    assert!(Approved::check(ACT, &renamed, &approvers).is_err(), "another's name does not help");
}

#[test]
fn without_approvers_nobody_can_agree() {
    let (_, key) = person("ada");
    let refused = Approved::check(ACT, &[agree(&key, ACT)], &[]).unwrap_err();
    assert!(matches!(refused, Refusal::NoApprovers) && refused.to_string().contains("--approver"), "{refused}");
}

#[test]
fn approvers_are_two_to_eight_people() {
    let people: Vec<Approver> = (0..9).map(|n| person(&format!("p{n}")).0).collect();
    for count in 0..=9 {
        assert_eq!(Approver::check_all(&people[..count]).is_ok(), matches!(count, 0 | 2..=8), "{count}");
    }
    let same_key = Approver { name: "other".into(), ..people[0].clone() };
    assert!(Approver::check_all(&[people[0].clone(), same_key]).is_err());
    let same_name = Approver { name: "p0".into(), ..people[1].clone() };
    assert!(Approver::check_all(&[people[0].clone(), same_name]).is_err());
}

#[test]
fn a_key_that_is_none_is_refused() {
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    for pem in ["", "rubbish", &p384.public_key_pem(), &p384.serialize_pem()] {
        assert!(matches!(Approver::from_pem("ada", pem), Err(Refusal::Approvers(_))));
        assert!(matches!(Approval::sign(ACT, pem), Err(Refusal::Key(_))));
    }
    let good = KeyPair::generate().unwrap().public_key_pem();
    for name in ["", "a b", &"a".repeat(37)] {
        assert!(Approver::from_pem(name, &good).is_err(), "{name:?}");
    }
}

#[test]
fn openssl_agrees_as_we_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (ada, key) = person("ada");
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("act"), ACT).unwrap();
    let output = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .args([path("key.pem"), path("act")])
        .output()
        .expect("openssl is installed");
    let theirs = Approval { signature: data_encoding::BASE64.encode(&output.stdout), ..agree(&key, ACT) };
    let (bob, bob_key) = person("bob");
    assert!(Approved::check(ACT, &[theirs, agree(&bob_key, ACT)], &[ada, bob]).is_ok());
}
