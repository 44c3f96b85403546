//! Every move of an order from every place it can stand in, what is shown of it, and how it is stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use ca_acme::{Authorization, Certificate, DeviceProof, Failure, Kind, Order, Problem, Profile, Proof, Revoked, Stage};
use serde_json::{Value, json};
use world::{Holder, NOW, World, body, csr, header, refused};

const AFTER_ITS_TIME: i64 = NOW + 3601;

fn failure() -> Failure {
    Failure::from(&Problem::new(Kind::Connection, "nobody listens"))
}

fn certificate() -> Certificate {
    Certificate {
        chain_pem: "-----BEGIN CERTIFICATE-----\n".into(),
        serial: "0a".into(),
        sha256: "5a".repeat(32),
        renewal_id: "AAAA.Cg".into(),
        point: "04aa".into(),
        not_before_unix_s: NOW,
        not_after_unix_s: NOW + 86_400,
        revoked: None,
    }
}

fn order(proofs: &[Proof], stage: Stage) -> Order {
    let authorization = |(place, proof): (usize, &Proof)| Authorization {
        identifier: format!("n{place}.example"),
        token: format!("token-{place}"),
        proof: proof.clone(),
    };
    Order {
        id: "order-1".into(),
        account: "account-1".into(),
        profile: Profile::Service,
        created_unix_s: NOW,
        authorizations: proofs.iter().enumerate().map(authorization).collect(),
        stage,
        replaces: None,
    }
}

fn valid() -> Proof {
    Proof::Valid { unix_s: NOW, device: None }
}

#[test]
fn an_order_is_ready_when_every_proof_is_there_and_not_before() {
    let invalid = || Proof::Invalid(failure());
    for (proofs, status) in [
        (vec![Proof::Pending], "pending"),
        (vec![Proof::Processing], "pending"),
        (vec![valid()], "ready"),
        (vec![valid(), valid(), valid()], "ready"),
        (vec![valid(), Proof::Pending], "pending"),
        (vec![Proof::Pending, valid()], "pending"),
        (vec![valid(), Proof::Processing], "pending"),
        (vec![valid(), invalid()], "pending"),
        (vec![valid(), Proof::Deactivated], "pending"),
        (vec![], "pending"),
    ] {
        let order = order(&proofs, Stage::Open);
        assert_eq!(order.status(NOW), status, "{proofs:?}");
        assert_eq!(order.status(NOW + 3600), status, "at its last second: {proofs:?}");
        assert_eq!(order.status(AFTER_ITS_TIME), "invalid", "{proofs:?}");
        assert!(order.is_open(NOW) && !order.is_open(AFTER_ITS_TIME));
        assert!(order.certificate().is_none());
    }
}

#[test]
fn time_changes_nothing_about_an_order_that_is_past_its_proofs() {
    for (stage, status, open) in [
        (Stage::Processing { csr: "AAAA".into() }, "processing", true),
        (Stage::Valid(Box::new(certificate())), "valid", false),
        (Stage::Invalid(failure()), "invalid", false),
    ] {
        let order = order(&[valid()], stage);
        for now in [NOW, AFTER_ITS_TIME, i64::MAX] {
            assert_eq!(order.status(now), status);
            assert_eq!(order.is_open(now), open);
        }
    }
}

#[test]
fn a_proof_is_told_only_while_it_is_waited_for() {
    let device = || DeviceProof::new(&[4; 65], &[5; 32], vec!["other firmware".into()]);
    for (proof, stage, counts) in [
        (Proof::Processing, Stage::Open, true),
        (Proof::Pending, Stage::Open, false),
        (Proof::Undecided(failure()), Stage::Open, false),
        (Proof::Deactivated, Stage::Open, false),
        (Proof::Invalid(failure()), Stage::Open, false),
        (valid(), Stage::Open, false),
        (Proof::Processing, Stage::Invalid(failure()), false),
        (Proof::Processing, Stage::Processing { csr: String::new() }, false),
        (Proof::Processing, Stage::Valid(Box::new(certificate())), false),
    ] {
        let before = order(std::slice::from_ref(&proof), stage.clone());
        let good = before.clone().proved(0, Ok(Some(device())), NOW + 5);
        let undecided = before.clone().undecided(0, &Problem::new(Kind::Connection, "nobody listens"));
        let bad = before.clone().proved(0, Err(Problem::new(Kind::IncorrectResponse, "another text")), NOW + 5);
        if counts {
            let told = Proof::Valid { unix_s: NOW + 5, device: Some(device()) };
            assert_eq!(good.authorizations[0].proof, told);
            assert_eq!(good.status(NOW), "ready");
            assert!(matches!(&bad.stage, Stage::Invalid(why) if why.detail == "another text"));
            assert_eq!(bad.status(NOW), "invalid");
            assert_eq!(undecided.authorizations[0].proof, Proof::Undecided(failure()));
            assert_eq!((undecided.status(NOW), &undecided.stage), ("pending", &Stage::Open));
        } else {
            assert_eq!(undecided, before, "{proof:?} {stage:?}");
            assert_eq!(good, before, "{proof:?} {stage:?}");
            assert_eq!(bad, before, "{proof:?} {stage:?}");
        }
        assert_eq!(before.clone().proved(1, Ok(None), NOW), before, "there is no such place");
    }
}

#[test]
fn what_the_authority_says_ends_an_order() {
    let processing = || order(&[valid()], Stage::Processing { csr: "AAAA".into() });
    let issued = processing().issued(certificate());
    assert_eq!((issued.status(NOW), issued.certificate()), ("valid", Some(&certificate())));
    let failed = processing().failed(&Problem::new(Kind::ServerInternal, "the intermediate ends too soon"));
    assert_eq!(failed.status(NOW), "invalid");
    let Stage::Invalid(why) = &failed.stage else { panic!("{failed:?}") };
    assert_eq!(why.urn, "urn:ietf:params:acme:error:serverInternal");
    assert!(failed.certificate().is_none());
}

/// The stored form of each stage and each proof: rows of earlier versions are read by later ones.
#[test]
fn the_stored_forms_are_these() {
    let stored = |order: &Order| serde_json::to_value(order).unwrap();
    let failure_json = json!({"urn": "urn:ietf:params:acme:error:connection", "detail": "nobody listens"});
    let revoked = Certificate { revoked: Some(Revoked { unix_s: NOW, reason: 4 }), ..certificate() };
    let certificate_json = json!({
        "chain_pem": "-----BEGIN CERTIFICATE-----\n",
        "serial": "0a",
        "sha256": "5a".repeat(32),
        "renewal_id": "AAAA.Cg",
        "point": "04aa",
        "not_before_unix_s": 1_800_000_000,
        "not_after_unix_s": 1_800_086_400,
        "revoked": {"unix_s": 1_800_000_000, "reason": 4},
    });
    let device = DeviceProof::new(&[4; 65], &[5; 32], vec!["other firmware".into()]);
    let device_json =
        json!({"point": "04".repeat(65), "csr_sha256": "05".repeat(32), "quarantine": ["other firmware"]});
    let stages = [
        (Stage::Open, json!("open")),
        (Stage::Processing { csr: "AAAA".into() }, json!({"processing": {"csr": "AAAA"}})),
        (Stage::Valid(Box::new(revoked)), json!({ "valid": certificate_json })),
        (Stage::Invalid(failure()), json!({ "invalid": failure_json })),
    ];
    let proofs = [
        (Proof::Pending, json!("pending")),
        (Proof::Processing, json!("processing")),
        (Proof::Undecided(failure()), json!({ "undecided": failure_json })),
        (valid(), json!({"valid": {"unix_s": 1_800_000_000, "device": null}})),
        (
            Proof::Valid { unix_s: NOW, device: Some(device) },
            json!({"valid": {"unix_s": 1_800_000_000, "device": device_json}}),
        ),
        (Proof::Invalid(failure()), json!({ "invalid": failure_json })),
        (Proof::Deactivated, json!("deactivated")),
    ];
    for (stage, stage_json) in &stages {
        for (proof, proof_json) in &proofs {
            let order = order(std::slice::from_ref(proof), stage.clone());
            let expected = json!({
                "id": "order-1",
                "account": "account-1",
                "profile": "service",
                "created_unix_s": 1_800_000_000,
                "authorizations": [{"identifier": "n0.example", "token": "token-0", "proof": proof_json}],
                "stage": stage_json,
                "replaces": null,
            });
            assert_eq!(stored(&order), expected);
            assert_eq!(serde_json::from_value::<Order>(expected).unwrap(), order);
        }
    }
}

/// Before devices could prove anything, the place for it had another name and was empty.
#[test]
fn an_order_that_was_stored_before_devices_were_judged_is_read() {
    let mut stored = serde_json::to_value(order(&[valid()], Stage::Open)).unwrap();
    let before = json!({"valid": {"unix_s": 1_800_000_000, "point": null}});
    stored["authorizations"][0]["proof"] = before;
    assert_eq!(serde_json::from_value::<Order>(stored.clone()).unwrap(), order(&[valid()], Stage::Open));
    stored["authorizations"][0]["proof"]["valid"]["point"] = json!("04".repeat(65));
    assert!(serde_json::from_value::<Order>(stored).is_err(), "no code wrote a point alone");
}

#[test]
fn a_stored_form_that_no_code_wrote_is_not_read() {
    let good = serde_json::to_value(order(&[valid()], Stage::Open)).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        serde_json::from_value::<Order>(value)
    };
    assert!(changed(&|_| ()).is_ok());
    assert!(changed(&|order| order["more"] = 1.into()).is_err());
    assert!(changed(&|order| order["stage"] = "shut".into()).is_err());
    assert!(changed(&|order| order["stage"] = json!({"processing": {}})).is_err());
    assert!(changed(&|order| order["profile"] = "operator".into()).is_err());
    assert!(changed(&|order| order["created_unix_s"] = "now".into()).is_err());
    assert!(changed(&|order| order["authorizations"][0]["proof"] = json!({"valid": {}})).is_err());
    assert!(changed(&|order| drop(order["authorizations"][0].as_object_mut().unwrap().remove("token"))).is_err());
}

/// An order of a world, put where a test wants it.
fn placed(world: &mut World, admin: &Holder, proof: &Proof, stage: &Stage) -> String {
    let path = world.order(admin, "dns", &[world::HOST]);
    let order = world.orders.get_mut(path.trim_start_matches("order/")).unwrap();
    order.authorizations[0].proof = proof.clone();
    order.stage = stage.clone();
    path
}

/// Where an order stands and how much later it is asked; what order, authorization and challenge show; what a response to
/// the challenge, a deactivation, a finalization and a fetch of the certificate come to.
type Row = (Proof, Stage, i64, [&'static str; 7]);

fn table() -> Vec<Row> {
    let processing = Stage::Processing { csr: "AAAA".into() };
    let issued = Stage::Valid(Box::new(certificate()));
    let failed = Stage::Invalid(failure());
    let late = AFTER_ITS_TIME - NOW;
    vec![
        (
            Proof::Pending,
            Stage::Open,
            0,
            ["pending", "pending", "pending", "processing", "deactivated", "orderNotReady", "malformed"],
        ),
        (
            Proof::Pending,
            Stage::Open,
            late,
            ["invalid", "expired", "pending", "malformed", "deactivated", "orderNotReady", "malformed"],
        ),
        (
            Proof::Processing,
            Stage::Open,
            0,
            ["pending", "pending", "processing", "processing", "deactivated", "orderNotReady", "malformed"],
        ),
        (
            Proof::Undecided(failure()),
            Stage::Open,
            0,
            ["pending", "pending", "pending", "processing", "deactivated", "orderNotReady", "malformed"],
        ),
        (
            Proof::Undecided(failure()),
            Stage::Open,
            late,
            ["invalid", "expired", "pending", "malformed", "deactivated", "orderNotReady", "malformed"],
        ),
        (valid(), Stage::Open, 0, ["ready", "valid", "valid", "valid", "deactivated", "processing", "malformed"]),
        (
            valid(),
            Stage::Open,
            late,
            ["invalid", "valid", "valid", "valid", "deactivated", "orderNotReady", "malformed"],
        ),
        (valid(), processing, 0, ["processing", "valid", "valid", "valid", "malformed", "orderNotReady", "malformed"]),
        (valid(), issued, late, ["valid", "valid", "valid", "valid", "malformed", "orderNotReady", "200"]),
        (
            Proof::Invalid(failure()),
            failed.clone(),
            0,
            ["invalid", "invalid", "invalid", "invalid", "malformed", "orderNotReady", "malformed"],
        ),
        (
            Proof::Deactivated,
            failed,
            0,
            ["invalid", "deactivated", "invalid", "invalid", "malformed", "orderNotReady", "malformed"],
        ),
    ]
}

/// What is answered at each resource of an order, wherever it stands: a status that is shown, or an error type.
#[test]
fn every_resource_in_every_stage() {
    let good = json!({"csr": csr(&rcgen::KeyPair::generate().unwrap(), &[world::HOST], &[])}).to_string();
    let give_up = json!({"status": "deactivated"}).to_string();
    for (proof, stage, later_s, expected) in table() {
        let asks = [
            ("order/ID", ""),
            ("authorization/ID/0", ""),
            ("challenge/ID/0", ""),
            ("challenge/ID/0", "{}"),
            ("authorization/ID/0", give_up.as_str()),
            ("order/ID/finalize", good.as_str()),
            ("certificate/ID", ""),
        ];
        for ((path, payload), expected) in asks.into_iter().zip(expected) {
            let mut world = World::new();
            let admin = world.enrol("service-1");
            let id = placed(&mut world, &admin, &proof, &stage).replace("order/", "");
            world.now += later_s;
            let answer = world.post(&admin, &path.replace("ID", &id), payload);
            let at = format!("{path} {payload} of {proof:?} in {stage:?}, {later_s} s later");
            match expected {
                "200" => assert_eq!(answer.status, 200, "{at}"),
                "malformed" | "orderNotReady" => {
                    assert!(answer.status >= 400, "{at}: {answer:?}");
                    refused(&answer, expected, "");
                }
                status => {
                    assert_eq!(answer.status, 200, "{at}: {answer:?}");
                    assert_eq!(body(&answer)["status"], status, "{at}");
                }
            }
        }
    }
}

#[test]
fn an_order_that_is_being_processed_says_when_to_look_again_and_one_that_is_done_does_not() {
    let mut world = World::new();
    let admin = world.enrol("service-1");
    let path = placed(&mut world, &admin, &valid(), &Stage::Processing { csr: String::new() });
    let answer = world.post(&admin, &path, "");
    assert_eq!(header(&answer, "retry-after"), "1");
    let id = path.replace("order/", "");
    let done = world.orders[&id].clone().issued(certificate());
    let shown = world.acme.shown(answer, &done, NOW);
    assert_eq!(body(&shown)["status"], "valid");
    assert_eq!(body(&shown)["certificate"], world::url(&format!("certificate/{id}")));
    assert!(shown.headers.iter().all(|(name, _)| *name != "retry-after"));
    assert!(!header(&shown, "replay-nonce").is_empty());
}

#[test]
fn every_error_type_has_a_name_and_a_status_of_its_own_kind() {
    let kinds = [
        (Kind::AccountDoesNotExist, "accountDoesNotExist", 400),
        (Kind::AlreadyReplaced, "alreadyReplaced", 409),
        (Kind::AlreadyRevoked, "alreadyRevoked", 400),
        (Kind::BadAttestationStatement, "badAttestationStatement", 400),
        (Kind::BadCsr, "badCSR", 400),
        (Kind::BadNonce, "badNonce", 400),
        (Kind::BadPublicKey, "badPublicKey", 400),
        (Kind::BadRevocationReason, "badRevocationReason", 400),
        (Kind::BadSignatureAlgorithm, "badSignatureAlgorithm", 400),
        (Kind::Connection, "connection", 400),
        (Kind::ExternalAccountRequired, "externalAccountRequired", 403),
        (Kind::IncorrectResponse, "incorrectResponse", 403),
        (Kind::InvalidContact, "invalidContact", 400),
        (Kind::InvalidProfile, "invalidProfile", 400),
        (Kind::Malformed, "malformed", 400),
        (Kind::OrderNotReady, "orderNotReady", 403),
        (Kind::RateLimited, "rateLimited", 429),
        (Kind::RejectedIdentifier, "rejectedIdentifier", 400),
        (Kind::ServerInternal, "serverInternal", 500),
        (Kind::Unauthorized, "unauthorized", 403),
        (Kind::UnsupportedContact, "unsupportedContact", 400),
        (Kind::UnsupportedIdentifier, "unsupportedIdentifier", 400),
    ];
    for (kind, name, status) in kinds {
        assert_eq!(kind.urn(), format!("urn:ietf:params:acme:error:{name}"));
        assert_eq!(kind.status(), status, "{name}");
        let problem = Problem::new(kind, "why").with_status(499);
        let expected = json!({"type": kind.urn(), "status": 499, "detail": "why"});
        assert_eq!(problem.to_json(), expected);
    }
}
