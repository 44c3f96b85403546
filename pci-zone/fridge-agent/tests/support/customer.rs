//! What a customer does at the fridge, and what the service must have heard of it.

use fridge_agent::core::TouchKind;
use pci_contract::SessionId;

use super::{MEAL, World};

/// What the service hears of a whole purchase.
pub const WHOLE: [&str; 5] = ["open", "opened", "touch", "touch", "closed"];

/// A customer who takes two meals, whatever the network does meanwhile; the outcome on the receipt.
pub async fn buy(world: &World) -> (SessionId, String) {
    let session = world.swipe().await;
    world.see_unlocked().await;
    assert!(world.controls.open_door().await);
    world.controls.touch(TouchKind::Taken, MEAL).await;
    world.controls.touch(TouchKind::Returned, MEAL).await;
    world.controls.close_door().await;
    (session, world.see_receipt(session).await)
}

/// What the customer does, one step after the other; the agent is killed after `step` of them.
pub async fn step(world: &World, session: &mut Option<SessionId>, at: usize) {
    match at {
        0 => *session = Some(world.swipe().await),
        1 => assert!(world.controls.open_door().await),
        2 | 3 => world.controls.touch(TouchKind::Taken, MEAL).await,
        _ => assert!(world.controls.close_door().await),
    }
    let told = session.unwrap();
    world.fake.until(|state| state.bodies(&told).len() == at + 1).await;
    if at == 0 {
        world.see_unlocked().await;
    }
}

/// The service heard the whole purchase, each message once, numbered from 1.
pub fn heard_whole(world: &World, session: &SessionId) {
    world.fake.with(|state| {
        assert_eq!(state.bodies(session), WHOLE);
        let numbers: Vec<u64> = state.told[&session.to_string()].iter().map(|message| message.sequence).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    });
}
