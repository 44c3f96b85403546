//! Clients that send anything: whatever is cut, turned or made up is refused, changes no row and begins nothing; and a
//! random walk of two accounts through the whole protocol never gets a certificate that was not earned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::collections::{BTreeMap, BTreeSet};

use ca_acme::{Effect, Kind, Order, Problem, Proof, Stage};
use proptest::prelude::*;
use rcgen::KeyPair;
use serde_json::{Value, json};
use world::{HOST, Holder, OTHER_HOST, Signer, World, b64, binding, csr, path_of, url, wanted};

/// Right messages of every kind, each to its resource. The first is sent by nobody's account yet.
fn messages(world: &mut World) -> Vec<(String, String)> {
    let admin = world.enrol("service-1");
    let (path, certificate, _) = world.certified(&admin);
    let ready = world.proved(&admin, &[HOST]);
    let open = world.order(&admin, "dns", &[HOST]);
    let pem: String = certificate.chain_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = data_encoding::BASE64.decode(pem.as_bytes()).unwrap();
    let next = Signer::new();
    let inner = json!({"alg": next.algorithm(), "jwk": next.jwk(), "url": url("key-change")});
    let change = next.message(&inner, &json!({"account": admin.kid, "oldKey": admin.signer.jwk()}).to_string());
    let request = json!({"csr": csr(&KeyPair::generate().unwrap(), &[HOST], &[])});
    let posts = [
        ("new-order".to_owned(), wanted("dns", &[HOST]).to_string()),
        (path_of(&admin.kid), json!({"contact": ["mailto:a@b"]}).to_string()),
        (format!("{ready}/finalize"), request.to_string()),
        (open.replace("order/", "challenge/") + "/0", "{}".to_owned()),
        (open.replace("order/", "authorization/") + "/0", json!({"status": "deactivated"}).to_string()),
        ("revoke-cert".to_owned(), json!({ "certificate": b64(der) }).to_string()),
        (path.clone(), String::new()),
        (path.replace("order/", "certificate/"), String::new()),
        ("key-change".to_owned(), change.to_string()),
    ];
    let mut made = Vec::new();
    for (path, payload) in posts {
        let header = json!({"alg": "ES256", "kid": admin.kid, "nonce": world.nonce(), "url": url(&path)});
        made.push((path, admin.signer.message(&header, &payload).to_string()));
    }
    let stranger = Signer::new();
    let bound = binding("service-2", &world::MAC_KEY, &stranger.jwk(), &url("new-account"));
    let header = json!({"alg": "ES256", "jwk": stranger.jwk(), "nonce": world.nonce(), "url": url("new-account")});
    let payload = json!({ "externalAccountBinding": bound }).to_string();
    made.push(("new-account".to_owned(), stranger.message(&header, &payload).to_string()));
    world.effects.clear();
    made
}

fn rows(world: &World) -> String {
    format!("{:?} {:?} {:?} {:?}", world.accounts, world.orders, world.eabs, world.effects)
}

#[test]
fn a_message_that_is_cut_short_is_refused() {
    let mut world = World::new();
    for (path, message) in messages(&mut world) {
        let before = rows(&world);
        for end in (0..message.len()).step_by(message.len() / 12) {
            world::refused(&world.ask("POST", &path, &message[..end]), "malformed", "");
        }
        assert_eq!(rows(&world), before, "{path}");
    }
}

#[test]
fn a_message_for_one_resource_is_not_taken_at_another() {
    let mut world = World::new();
    let made = messages(&mut world);
    let before = rows(&world);
    for ((_, message), (elsewhere, _)) in made.iter().zip(made.iter().cycle().skip(1)) {
        let answer = world.ask("POST", elsewhere, message);
        world::refused(&answer, "unauthorized", "signed for");
    }
    assert_eq!(rows(&world), before);
    for (path, message) in made {
        let answer = world.ask("POST", &path, &message);
        assert!(answer.status < 400, "each was right where it belongs, at {path}: {answer:?}");
    }
}

#[test]
fn a_message_with_one_character_turned_is_refused() {
    let mut world = World::new();
    for (path, message) in messages(&mut world) {
        let before = rows(&world);
        for at in (0..message.len()).step_by(message.len() / 14) {
            let mut bytes = message.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let turned = String::from_utf8(bytes).unwrap();
            let answer = world.ask("POST", &path, &turned);
            assert!(answer.status >= 400, "{path} at {at}: {answer:?}");
        }
        assert_eq!(rows(&world), before, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bytes_come_they_are_refused(body in ".{0,300}", path in "[a-z/-]{0,30}", method in "GET|HEAD|POST|PUT") {
        let mut world = World::new();
        let answer = world.ask(&method, &path, &body);
        let readable = matches!(path.as_str(), "directory" | "new-nonce") && method != "POST" && method != "PUT";
        prop_assert!(answer.status >= 400 || readable, "{answer:?}");
        prop_assert!(world.orders.is_empty() && world.accounts.is_empty() && world.effects.is_empty());
    }

    #[test]
    fn whatever_json_an_account_signs_it_gets_an_answer(payload in json_text(), at in 0_usize..6) {
        let mut world = World::new();
        let admin = world.enrol("service-1");
        let order = world.order(&admin, "dns", &[HOST]);
        let paths = [
            "new-order".to_owned(),
            path_of(&admin.kid),
            format!("{order}/finalize"),
            order.replace("order/", "authorization/") + "/0",
            "revoke-cert".to_owned(),
            "key-change".to_owned(),
        ];
        let answer = world.post(&admin, &paths[at], &payload);
        prop_assert!(answer.status < 500, "{answer:?}");
        prop_assert!(world.effects.is_empty());
    }
}

/// JSON with the names that the protocol knows and values that it does not.
fn json_text() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "identifiers",
        "type",
        "value",
        "csr",
        "status",
        "contact",
        "certificate",
        "reason",
        "replaces",
        "profile",
        "account",
        "oldKey",
        "protected",
        "payload",
        "signature",
        "notBefore",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9_.-]{0,40}".prop_map(Value::from),
        Just(json!("deactivated")),
        Just(json!("")),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
    .prop_map(|value| value.to_string())
}

/// One step of a walk: who, what, at which of the orders, and a choice.
type Step = (bool, u8, usize, bool);

/// What the walk knows by itself of what was earned: the orders, whose they are, and what was proved.
#[derive(Default)]
struct Model {
    owner: BTreeMap<String, usize>,
    names: BTreeMap<String, BTreeSet<String>>,
    proved: BTreeMap<String, BTreeSet<String>>,
    broken: BTreeSet<String>,
    issued: BTreeSet<String>,
}

fn walk(steps: &[Step]) {
    let mut world = World::new();
    let holders = [world.enrol("service-1"), world.enrol("service-2")];
    let mut model = Model::default();
    for (who, what, which, choice) in steps {
        let (who, holder) = (usize::from(*who), &holders[usize::from(*who)]);
        let paths: Vec<String> = model.owner.keys().cloned().collect();
        let path = (!paths.is_empty()).then(|| paths[which % paths.len()].clone());
        let done = world.effects.len();
        match (what, path) {
            (0, _) | (_, None) => begin(&mut world, &mut model, who, holder, *choice),
            (1 | 2, Some(path)) => respond(&mut world, &mut model, holder, &path, *choice),
            (3, Some(path)) => tell(&mut world, &mut model, &path, *choice),
            (4, Some(path)) => give_up(&mut world, &mut model, who, holder, &path),
            (_, Some(path)) => finalize(&mut world, &mut model, who, holder, &path, *choice),
        }
        for effect in &world.effects[done..] {
            let Effect::Issue(approved) = effect else { continue };
            let path = format!("order/{}", approved.order());
            let (names, proved) = (&model.names[&path], &model.proved[&path]);
            assert_eq!((model.owner[&path], names), (who, proved), "only its owner's order with every name proved");
            assert!(!model.broken.contains(&path), "nothing that failed is issued");
            assert!(model.issued.insert(path), "nothing is issued twice");
            assert_eq!(&approved.dns().iter().cloned().collect::<BTreeSet<_>>(), names);
        }
    }
}

fn begin(world: &mut World, model: &mut Model, who: usize, holder: &Holder, both: bool) {
    let names: &[&str] = if both { &[HOST, OTHER_HOST] } else { &[HOST] };
    let answer = world.post(holder, "new-order", &wanted("dns", names).to_string());
    if answer.status == 201 {
        let path = path_of(&world::header(&answer, "location"));
        model.owner.insert(path.clone(), who);
        model.names.insert(path.clone(), names.iter().map(|name| (*name).to_owned()).collect());
        model.proved.insert(path, BTreeSet::new());
    }
}

fn respond(world: &mut World, model: &mut Model, holder: &Holder, path: &str, second: bool) {
    let place = usize::from(second && model.names[path].len() > 1);
    let answer = world.post(holder, &(path.replace("order/", "challenge/") + &format!("/{place}")), "{}");
    assert!(answer.status < 500);
}

/// The outside tells of one proof that is being looked at.
fn tell(world: &mut World, model: &mut Model, path: &str, good: bool) {
    let order: &Order = &world.orders[path.trim_start_matches("order/")];
    let waiting = order.authorizations.iter().position(|one| one.proof == Proof::Processing);
    let Some(place) = waiting.filter(|_| order.stage == Stage::Open) else { return };
    let name = order.authorizations[place].identifier.clone();
    if good {
        model.proved.get_mut(path).unwrap().insert(name);
        world.tell(path, place, Ok(None));
    } else {
        model.broken.insert(path.to_owned());
        world.tell(path, place, Err(Problem::new(Kind::IncorrectResponse, "no")));
    }
}

fn give_up(world: &mut World, model: &mut Model, who: usize, holder: &Holder, path: &str) {
    let payload = json!({"status": "deactivated"}).to_string();
    let answer = world.post(holder, &(path.replace("order/", "authorization/") + "/0"), &payload);
    assert!(answer.status >= 400 || model.owner[path] == who, "nobody gives up what is another's");
    if answer.status == 200 {
        model.broken.insert(path.to_owned());
    }
}

fn finalize(world: &mut World, model: &mut Model, who: usize, holder: &Holder, path: &str, right: bool) {
    let names: Vec<&str> = if right { vec![HOST] } else { vec![HOST, "elsewhere.example"] };
    let request = csr(&KeyPair::generate().unwrap(), &names, &[]);
    let answer = world.finalize(holder, path, &request);
    let earned = right
        && model.owner[path] == who
        && model.names[path] == model.proved[path]
        && !model.broken.contains(path)
        && !model.issued.contains(path);
    assert_eq!(answer.status == 200, earned, "what is earned is given: {answer:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_gets_what_it_did_not_earn(steps in prop::collection::vec((any::<bool>(), 0_u8..8, 0_usize..4, any::<bool>()), 1..60)) {
        walk(&steps);
    }
}
