//! An agent among services that break the protocol or are someone else: it lets nobody in on a guess, loses nothing,
//! and goes on when the right service is back. And many agents side by side, each with its own fridge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::sync::Arc;

use fridge_agent::core::TouchKind;
use fridge_agent::disk::Folder;
use fridge_agent::hardware::TechnicianNote;
use fridge_agent::{Agent, AgentConfig, Controls, Limits, Seen, SimulatedFridge};
use pci_contract::{FridgeId, SessionId};
use support::fake::Break;
use support::{MEAL, Pki, TRACK2, World};
use zeroize::Zeroizing;

const REJECTS: Seen = Seen::Technician(TechnicianNote::ServiceRejects);

/// The first stream is spoilt; the technician is told, and the second lets the customer in.
async fn spoilt(broken: Break) {
    let world = World::new().await;
    world.fake.with(|state| state.breaks = [broken].into());
    let session = world.swipe().await;
    assert_eq!(world.seen().await, REJECTS, "{broken:?}");
    assert!(world.controls.is_locked());
    world.see_unlocked().await;
    assert_eq!(world.fake.with(|state| (state.streams, state.bodies(&session))), (2, vec!["open"]), "{broken:?}");
}

#[tokio::test]
async fn an_answer_for_another_session_is_not_obeyed() {
    spoilt(Break::WrongSession).await;
}

#[tokio::test]
async fn an_answer_that_does_not_parse_is_not_obeyed() {
    spoilt(Break::Malformed).await;
}

#[tokio::test]
async fn a_service_that_asks_for_ever_is_left() {
    spoilt(Break::AskForEver).await;
}

#[tokio::test]
async fn a_service_that_does_not_accept_us_is_asked_again_and_the_journal_kept() {
    for code in [tonic::Code::PermissionDenied, tonic::Code::InvalidArgument, tonic::Code::Unimplemented] {
        spoilt(Break::Status(code)).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_in_good_order_without_a_last_word_is_opened_again() {
    let world = World::new().await;
    world.fake.with(|state| state.breaks = [Break::EndAfter(1), Break::EndAfter(2)].into());
    let session = world.swipe().await;
    world.see_unlocked().await;
    world.controls.open_door().await;
    world.controls.close_door().await;
    assert_eq!(world.see_receipt(session).await, "charged");
    assert_eq!(world.fake.with(|state| state.bodies(&session)), ["open", "opened", "closed"]);
}

/// Starts the world's agent anew with another configuration, and shows that a customer is refused.
async fn meets_nobody(world: &mut World, config: AgentConfig) {
    world.kill();
    let before = world.fake.with(|state| state.keys_asked);
    world.agent = Some(Agent::start(config, world.controls.reboot()).unwrap());
    world.swipe().await;
    let seen = world.see(|seen| matches!(seen, Seen::Refused { .. })).await;
    assert!(matches!(seen, Seen::Refused { reason, .. } if reason.as_str() == "payment_unavailable"));
    assert!(world.controls.is_locked());
    let asked = world.fake.with(|state| (state.keys_asked, state.streams));
    assert_eq!(asked, (before, 0), "not a word was said");
}

#[tokio::test]
async fn a_service_of_another_name_or_of_another_authority_gets_no_word() {
    let mut world = World::with(Limits { unreachable_after_ms: 300, ..Limits::default() }).await;
    world.fake.until(|state| state.keys_asked == 1).await;
    let other_name = world.config_for("spiffe://larder.internal/service/admin");
    meets_nobody(&mut world, other_name).await;
    // The same names, signed by an authority that the service does not know and that does not know the service.
    let own = std::mem::replace(&mut world.pki, Pki::new());
    let other_authority = world.config();
    meets_nobody(&mut world, other_authority).await;
    world.pki = own;
    world.kill();
    world.start();
    world.swipe().await;
    world.see_unlocked().await;
}

async fn seen(controls: &Controls) -> Seen {
    tokio::time::timeout(support::PATIENCE, controls.next_seen()).await.expect("seen in time").expect("a fridge")
}

async fn buy_at(controls: Controls, meals: usize) -> SessionId {
    controls.swipe(Zeroizing::new(TRACK2.to_vec()), None).await;
    let Seen::Unlocked { session, .. } = seen(&controls).await else { panic!("not unlocked") };
    assert!(controls.open_door().await);
    for _ in 0..meals {
        controls.touch(TouchKind::Taken, MEAL).await;
    }
    assert!(controls.close_door().await);
    let Seen::Receipt { session: of, .. } = seen(&controls).await else { panic!("no receipt") };
    assert_eq!(of, session);
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_in_one_process_keep_to_their_own_fridges() {
    let world = World::new().await;
    let mut shoppers = tokio::task::JoinSet::new();
    for number in 0..12_usize {
        let (hardware, controls) = SimulatedFridge::new();
        let name = format!("FR-{number:04}");
        let identity = world.pki.identity(&format!("spiffe://larder.internal/fridge/{name}"));
        let expected = ca_identity::SpiffeId::parse(support::SERVICE).unwrap();
        let folder = world.folder.path().join(&name);
        let config = AgentConfig {
            fridge: FridgeId::parse(&name).unwrap(),
            tls: ca_mtls::client_config(&identity, &world.pki.bundle(), &expected, fridge_agent::config::ALPN).unwrap(),
            disk: Arc::new(Folder::open(&folder).unwrap()),
            ..world.config()
        };
        let agent = Agent::start(config, hardware).unwrap();
        shoppers.spawn(async move {
            let mut sessions = Vec::new();
            for _ in 0..3 {
                sessions.push((buy_at(controls.clone(), number).await, number));
            }
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
            drop(agent);
            sessions
        });
    }
    let mut count = 0;
    while let Some(sessions) = shoppers.join_next().await {
        for (session, meals) in sessions.unwrap() {
            count += 1;
            assert_eq!(world.fake.with(|state| state.bodies(&session).len()), meals + 3);
        }
    }
    assert_eq!(count, 36);
    assert_eq!(world.fake.with(|state| state.told.len()), 36);
}
