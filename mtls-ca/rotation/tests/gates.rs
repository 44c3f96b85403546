//! Each gate by itself: what holds it shut, what it says, and that it opens when the reason is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use ca_rotation::{
    Act, Direction, Effect, Evidence, GenerationId, Heard, Holder, Leaf, Phase, Planned, Refusal, Rotation, Step, Tier,
};

const NOW: i64 = 1_800_000_000;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
const NEXT: Direction = Direction::Next;
const BACK: Direction = Direction::Back;

fn device(number: u32) -> GenerationId {
    GenerationId::new(Tier::Device, number)
}

fn leaf(issuer: GenerationId, holder: Holder, issued_unix_s: i64) -> Leaf {
    Leaf { issuer, holder, issued_unix_s, not_after_unix_s: issued_unix_s + DAY_S }
}

fn at(now_unix_s: i64) -> Evidence {
    Evidence { now_unix_s, ..Evidence::default() }
}

/// Takes so many steps, with nothing in their way.
fn stepped(mut state: Rotation, tier: Tier, steps: usize, at_unix_s: i64) -> Rotation {
    for _ in 0..steps {
        let planned = state.plan(tier, NEXT, &at(at_unix_s)).unwrap();
        state = state.apply(&planned.act, at_unix_s).unwrap();
    }
    state
}

fn first() -> Rotation {
    Rotation::first(NOW - DAY_S)
}

fn refused(state: &Rotation, tier: Tier, direction: Direction, evidence: &Evidence) -> Refusal {
    state.plan(tier, direction, evidence).unwrap_err()
}

#[test]
fn a_rotation_goes_through_six_steps_and_is_where_it_began() {
    let mut state = first();
    for step in [Step::Prepare, Step::Distribute, Step::Activate, Step::Taint, Step::Drain, Step::Retire] {
        let Planned { act, .. } = state.plan(Tier::Device, NEXT, &at(NOW)).unwrap();
        assert_eq!(act.step, step);
        state = state.apply(&act, NOW).unwrap();
    }
    assert_eq!(state.line(Tier::Device).phase, Phase::Steady);
    assert_eq!(state.active(Tier::Device), device(2));
    assert_eq!(state.bundle().version, 1, "an intermediate is in no bundle");
    let again = state.plan(Tier::Device, NEXT, &at(NOW)).unwrap().act;
    assert_eq!(again.id(), device(3));
}

#[test]
fn the_effects_of_a_root_s_steps() {
    let mut state = first();
    let mut effects = Vec::new();
    for _ in 0..6 {
        let planned = state.plan(Tier::Root, NEXT, &at(NOW));
        let planned = match planned {
            Err(Refusal::StandsUnder { generations, .. }) => {
                assert_eq!(generations.len(), 3);
                for tier in [Tier::Device, Tier::Service, Tier::Attestation] {
                    state = stepped(state, tier, 6, NOW);
                }
                state.plan(Tier::Root, NEXT, &at(NOW)).unwrap()
            }
            planned => planned.unwrap(),
        };
        effects.extend(planned.effects);
        state = state.apply(&planned.act, NOW).unwrap();
    }
    let root = |number| GenerationId::new(Tier::Root, number);
    assert_eq!(
        effects,
        [
            Effect::Make { generation: root(2), under: 2 },
            Effect::SignBundle { version: 2, roots: vec![1, 2], by: 1 },
            Effect::SignBundle { version: 3, roots: vec![2], by: 2 },
            Effect::KeyMayBeDestroyed(root(1)),
        ]
    );
    assert_eq!((state.bundle().version, state.bundle().roots.as_slice()), (3, [2].as_slice()));
}

#[test]
fn an_intermediate_is_made_under_the_root_in_use_and_its_list_is_signed_first() {
    let state = first();
    let made = state.plan(Tier::Service, NEXT, &at(NOW)).unwrap();
    let two = GenerationId::new(Tier::Service, 2);
    assert_eq!(made.effects, [Effect::Make { generation: two, under: 1 }]);
    let state = state.apply(&made.act, NOW).unwrap();
    assert_eq!(state.plan(Tier::Service, NEXT, &at(NOW)).unwrap().effects, [Effect::SignList(two)]);
    let under_two = stepped(stepped(first(), Tier::Root, 3, NOW), Tier::Service, 1, NOW);
    assert_eq!(under_two.line(Tier::Service).other().unwrap().root, 2);
    let attestation = stepped(first(), Tier::Attestation, 1, NOW);
    assert_eq!(attestation.plan(Tier::Attestation, NEXT, &at(NOW)).unwrap().effects, [], "it has no list");
}

#[test]
fn a_root_is_not_used_before_every_follower_has_it() {
    let state = stepped(first(), Tier::Root, 2, NOW);
    let service = |name: &str| leaf(GenerationId::new(Tier::Service, 1), Holder::Follower(name.into()), NOW - HOUR_S);
    let mut evidence = Evidence { leaves: vec![service("purchase-session"), service("admin")], ..at(NOW + 1) };
    let why = refused(&state, Tier::Root, NEXT, &evidence);
    assert_eq!(
        why.to_string(),
        "admin (never heard), purchase-session (never heard) have not acknowledged bundle 2; see that each runs and \
         reaches the authority, or let its certificate run out"
    );
    evidence.heard.insert("admin".into(), Heard { version: 2, at_unix_s: NOW });
    evidence.heard.insert("purchase-session".into(), Heard { version: 1, at_unix_s: NOW });
    let why = refused(&state, Tier::Root, NEXT, &evidence);
    assert!(why.to_string().starts_with("purchase-session (has 1) has not acknowledged bundle 2"), "{why}");
    assert_eq!(why.possible_from_unix_s(), None, "waiting alone does not help");
    evidence.heard.insert("purchase-session".into(), Heard { version: 2, at_unix_s: NOW });
    assert!(state.plan(Tier::Root, NEXT, &evidence).is_ok());
    // Whose certificate ran out is no party any more.
    evidence.heard.clear();
    evidence.now_unix_s = NOW - HOUR_S + DAY_S + 1;
    assert!(state.plan(Tier::Root, NEXT, &evidence).is_ok());
}

#[test]
fn a_root_is_not_used_before_every_fridge_has_renewed() {
    let state = stepped(first(), Tier::Root, 2, NOW);
    let fridge = |issued| leaf(device(1), Holder::Carrier, issued);
    let evidence = Evidence { leaves: vec![fridge(NOW - 5), fridge(NOW), fridge(NOW + 1)], ..at(NOW + HOUR_S) };
    let why = refused(&state, Tier::Root, NEXT, &evidence);
    assert_eq!(why, Refusal::OlderCarriers { version: 2, count: 2, until_unix_s: NOW + DAY_S });
    assert_eq!(why.possible_from_unix_s(), Some(NOW + DAY_S + 1));
    assert!(why.to_string().contains("2 certificates of fridges or operators older than bundle 2 live until"), "{why}");
    let later = Evidence { now_unix_s: NOW + DAY_S + 1, ..evidence };
    assert!(state.plan(Tier::Root, NEXT, &later).is_ok());
    let nobody = Evidence { leaves: vec![leaf(device(1), Holder::Nobody, NOW - 5)], ..at(NOW) };
    assert!(state.plan(Tier::Root, NEXT, &nobody).is_ok(), "who verifies nobody needs no bundle");
}

#[test]
fn what_has_live_leaves_is_not_dropped() {
    let state = stepped(first(), Tier::Device, 4, NOW);
    let evidence = Evidence { leaves: vec![leaf(device(1), Holder::Carrier, NOW); 3], ..at(NOW + 1) };
    let why = refused(&state, Tier::Device, NEXT, &evidence);
    assert!(why.to_string().starts_with("3 certificates under device-1 live until"), "{why}");
    let gone = Evidence { now_unix_s: why.possible_from_unix_s().unwrap(), ..evidence };
    let state = state.apply(&state.plan(Tier::Device, NEXT, &gone).unwrap().act, NOW).unwrap();
    let why = refused(&state, Tier::Device, NEXT, &gone);
    assert_eq!(why, Refusal::ListNeeded { generation: device(1), until_unix_s: NOW + 2 * DAY_S });
    let later = Evidence { now_unix_s: why.possible_from_unix_s().unwrap(), ..gone };
    let retired = state.plan(Tier::Device, NEXT, &later).unwrap();
    assert_eq!(retired.effects, [Effect::KeyMayBeDestroyed(device(1))]);
}

#[test]
fn a_root_goes_only_after_everything_below_it() {
    let state = stepped(first(), Tier::Root, 3, NOW);
    let why = refused(&state, Tier::Root, NEXT, &at(NOW)).to_string();
    assert!(why.starts_with("device-1, service-1, attestation-1 stand under root-1; rotate each first"), "{why}");
    let mut state = state;
    for tier in [Tier::Device, Tier::Service] {
        state = stepped(state, tier, 3, NOW);
    }
    let why = refused(&state, Tier::Root, NEXT, &at(NOW)).to_string();
    assert!(why.contains("attestation-1 stands under root-1; rotate it first (`larder-ca rotate attestation next`)"));
    state = stepped(stepped(state, Tier::Attestation, 3, NOW), Tier::Root, 1, NOW);
    let why = refused(&state, Tier::Root, NEXT, &at(NOW));
    assert!(
        matches!(&why, Refusal::StandsUnder { generations, .. } if generations.len() == 3),
        "the old ones are there"
    );
    for tier in [Tier::Device, Tier::Service, Tier::Attestation] {
        let why = refused(&stepped(state.clone(), tier, 0, NOW), tier, BACK, &at(NOW));
        assert!(matches!(why, Refusal::UnderTainted { .. }), "{why}");
        state = stepped(state, tier, 3, NOW);
    }
    assert!(state.plan(Tier::Root, NEXT, &at(NOW)).is_ok());
}

#[test]
fn an_intermediate_prepared_under_the_old_root_does_not_come_up_behind_it() {
    let state = stepped(stepped(first(), Tier::Device, 1, NOW), Tier::Root, 3, NOW);
    let state = stepped(stepped(state, Tier::Service, 3, NOW), Tier::Attestation, 3, NOW);
    let why = refused(&state, Tier::Root, NEXT, &at(NOW));
    let Refusal::StandsUnder { generations, .. } = why else { panic!("{why}") };
    assert_eq!(generations, [device(1), device(2)]);
}

#[test]
fn what_was_activated_can_be_taken_back_but_not_from_under_what_stands_on_it() {
    let state = stepped(stepped(first(), Tier::Root, 3, NOW), Tier::Device, 1, NOW);
    let why = refused(&state, Tier::Root, BACK, &at(NOW)).to_string();
    assert!(why.contains("device-2 stands under root-2; rotate it first (`larder-ca rotate device back`)"), "{why}");
    let act = state.plan(Tier::Device, BACK, &at(NOW)).unwrap().act;
    let state = state.apply(&act, NOW).unwrap();
    assert!(state.plan(Tier::Root, BACK, &at(NOW)).is_ok());
}

#[test]
fn what_has_signed_something_that_lives_stays_known() {
    let state = stepped(first(), Tier::Device, 3, NOW);
    let back = state.plan(Tier::Device, BACK, &at(NOW)).unwrap();
    let state = state.apply(&back.act, NOW).unwrap();
    assert_eq!(state.active(Tier::Device), device(1));
    let evidence = Evidence { leaves: vec![leaf(device(2), Holder::Carrier, NOW)], ..at(NOW + 1) };
    assert!(matches!(refused(&state, Tier::Device, BACK, &evidence), Refusal::LiveLeaves { count: 1, .. }));
    assert_eq!(state.line(Tier::Device).known().count(), 2, "its list is published");
    assert!(state.plan(Tier::Device, BACK, &at(NOW + 1)).is_ok());
}

#[test]
fn there_is_nothing_to_undo_when_nothing_is_under_way() {
    for state in [first(), stepped(first(), Tier::Device, 6, NOW)] {
        let why = refused(&state, Tier::Device, BACK, &at(NOW));
        assert_eq!((why.code(), &why), ("nothing_to_undo", &Refusal::NothingToUndo(Tier::Device)));
    }
}

#[test]
fn an_act_that_does_not_follow_is_not_folded() {
    let state = stepped(first(), Tier::Device, 1, NOW);
    let right = state.plan(Tier::Device, NEXT, &at(NOW)).unwrap().act;
    assert!(state.apply(&right, NOW).is_ok());
    for wrong in [
        Act { step: Step::Activate, ..right },
        Act { generation: 3, ..right },
        Act { generation: 1, ..right },
        Act { tier: Tier::Service, ..right },
        Act { direction: BACK, ..right },
    ] {
        let why = state.apply(&wrong, NOW).unwrap_err().to_string();
        assert!(why.contains("does not follow"), "{why}");
    }
    let once = state.apply(&right, NOW).unwrap();
    assert!(once.apply(&right, NOW).is_err(), "an act happens once");
}
