//! The bodies of the fridges: an agent each, with simulated hardware, and what a customer does in front of it.

use std::collections::BTreeMap;
use std::time::Duration;

use fridge_agent::core::TouchKind;
use fridge_agent::{Agent, AgentHandle, Controls, Seen, SimulatedFridge};
use pci_contract::SessionId;
use tokio::time::Instant;

use crate::Fault;
use crate::agents;
use crate::day::{OpenWith, Planned, PlannedKind};
use crate::stack::Stack;
use crate::world::World;

/// How long a customer waits for the door, or for his receipt, before the replay gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Every fridge of a world.
pub(super) struct Bodies {
    fridges: BTreeMap<String, Controls>,
    agents: tokio::sync::Mutex<Vec<AgentHandle>>,
}

impl Bodies {
    /// Starts an agent for each fridge of `world`.
    pub(super) async fn start(stack: &Stack, world: &World) -> Result<Self, Fault> {
        let (mut fridges, mut agents) = (BTreeMap::new(), Vec::new());
        for fridge in &world.fridges {
            let (hardware, controls) = SimulatedFridge::new();
            let config = agents::config(stack, &fridge.fridge)?;
            agents.push(Agent::start(config, hardware).map_err(Fault::of("an agent"))?);
            fridges.insert(fridge.fridge.clone(), controls);
        }
        Ok(Self { fridges, agents: tokio::sync::Mutex::new(agents) })
    }

    /// Stops every agent.
    pub(super) async fn stop(&self) {
        for agent in self.agents.lock().await.drain(..) {
            agent.stop().await;
        }
    }

    /// Plays one session to its end.
    pub(super) async fn play(&self, planned: &Planned, speed: Option<f64>) -> Result<(), Fault> {
        let fridge = self
            .fridges
            .get(&planned.fridge)
            .ok_or_else(|| Fault::new(format!("the day names fridge {}, the world does not", planned.fridge)))?;
        let session = SessionId::parse(&planned.session).map_err(Fault::of("a session of the day"))?;
        match &planned.open_with {
            OpenWith::Card(card) => fridge.swipe(card.track2(), Some(session)).await,
            OpenWith::IdToken(token) => fridge.show_id_token(token, Some(session)).await,
        }
        if !door_unlocked(fridge, session).await? {
            return Ok(());
        }
        let began = Instant::now();
        fridge.open_door().await;
        for touch in &planned.touches {
            wait_until(began, touch.at_ms, speed).await;
            let kind = match touch.kind {
                PlannedKind::Taken => TouchKind::Taken,
                PlannedKind::Returned => TouchKind::Returned,
            };
            fridge.touch(kind, &touch.barcode).await;
        }
        wait_until(began, planned.close_at_ms, speed).await;
        fridge.close_door().await;
        receipt(fridge, session).await
    }
}

async fn wait_until(began: Instant, at_ms: u64, speed: Option<f64>) {
    if let Some(speed) = speed {
        tokio::time::sleep_until(began + Duration::from_millis(at_ms).div_f64(speed)).await;
    }
}

async fn next(fridge: &Controls, session: SessionId, what: &str) -> Result<Seen, Fault> {
    match tokio::time::timeout(ANSWER_WITHIN, fridge.next_seen()).await {
        Ok(Some(seen)) => Ok(seen),
        Ok(None) => Err(Fault::new(format!("the agent of session {session} ended"))),
        Err(_) => Err(Fault::new(format!("session {session} saw no {what} within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

/// Whether the door unlocked; false when the session was refused.
async fn door_unlocked(fridge: &Controls, session: SessionId) -> Result<bool, Fault> {
    loop {
        match next(fridge, session, "answer").await? {
            Seen::Unlocked { session: of, .. } if of == session => return Ok(true),
            Seen::Refused { session: of, .. } if of == session => return Ok(false),
            _ => {}
        }
    }
}

async fn receipt(fridge: &Controls, session: SessionId) -> Result<(), Fault> {
    loop {
        match next(fridge, session, "receipt").await? {
            Seen::Receipt { session: of, .. } if of == session => return Ok(()),
            _ => {}
        }
    }
}
