//! A fridge whose agent runs in this process, and what somebody does in front of it, step by step.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fridge_agent::core::TouchKind;
use fridge_agent::{Agent, AgentConfig, AgentHandle, Controls, Seen, SimulatedFridge};
use pci_contract::SessionId;
use single_node::agents;
use zeroize::Zeroizing;

use super::house::{House, PATIENCE, eventually};
use super::world::{Kind, OpenWith, Session};

/// One fridge: its agent can be cut off and started again while its body stands.
pub(crate) struct Fridge {
    pub(crate) name: String,
    pub(crate) config: AgentConfig,
    pub(crate) controls: Controls,
    journal: PathBuf,
    agent: Mutex<Option<AgentHandle>>,
    seen: Mutex<Vec<Seen>>,
}

impl Fridge {
    /// Puts up the fridge of this name.
    pub(crate) fn put_up(house: &House, name: &str) -> Self {
        let config = agents::config(&house.stack, name).unwrap();
        Self::with(config, name, house.stack.layout().journal(name))
    }

    /// Puts up a fridge with a configuration of its own.
    pub(crate) fn with(config: AgentConfig, name: &str, journal: PathBuf) -> Self {
        let (hardware, controls) = SimulatedFridge::new();
        let agent = Mutex::new(Some(Agent::start(config.clone(), hardware).unwrap()));
        Self { name: name.to_owned(), config, controls, journal, agent, seen: Mutex::default() }
    }

    /// Ends the agent between two steps, as a shutdown does.
    pub(crate) async fn shut_down(&self) {
        let agent = self.agent.lock().unwrap().take();
        if let Some(agent) = agent {
            agent.stop().await;
        }
    }

    /// Ends the agent at once, as a power cut does. What the body is told meanwhile nobody hears.
    pub(crate) fn cut_power(&self) {
        *self.agent.lock().unwrap() = None;
    }

    /// Starts the agent again on its journal; door and lock are as they were.
    pub(crate) fn power_up(&self) {
        let agent = Agent::start(self.config.clone(), self.controls.reboot()).unwrap();
        *self.agent.lock().unwrap() = Some(agent);
    }

    /// Bytes in the journal of a session; none when it is final or unknown.
    pub(crate) fn journaled(&self, session: &str) -> u64 {
        let file = self.journal.join(format!("session-{session}"));
        std::fs::metadata(file).map_or(0, |file| file.len())
    }

    /// Waits until the journal of a session has more than `before` bytes.
    pub(crate) async fn journals_beyond(&self, session: &str, before: u64) {
        eventually("the journal grows", async || (self.journaled(session) > before).then_some(())).await;
    }

    /// Copies the journal of a session to another fridge's folder, as who clones a disk does.
    pub(crate) fn copy_journal(&self, session: &str, to: &Path) {
        let name = format!("session-{session}");
        std::fs::copy(self.journal.join(&name), to.join(&name)).unwrap();
    }

    /// Waits for a sight; everything seen on the way is kept.
    pub(crate) async fn see(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let find = async {
            loop {
                let seen = self.controls.next_seen().await.expect("the fridge stands");
                self.seen.lock().unwrap().push(seen.clone());
                if wanted(&seen) {
                    return seen;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        found.unwrap_or_else(|_| panic!("{}: {what} in time, after {:?}", self.name, self.seen.lock().unwrap()))
    }

    /// Everything seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Somebody shows what he has.
    pub(crate) async fn show(&self, session: &Session) {
        let id = SessionId::parse(&session.session).unwrap();
        match &session.open_with {
            OpenWith::Card(card) => {
                let track2 = Zeroizing::new(format!("{}={}", card.pan, card.expiry).into_bytes());
                self.controls.swipe(track2, Some(id)).await;
            }
            OpenWith::IdToken(token) => self.controls.show_id_token(token, Some(id)).await,
        }
    }

    /// Waits until the door is unlocked for this session, or a refusal.
    pub(crate) async fn answer(&self, session: &Session) -> Result<(), String> {
        let id = SessionId::parse(&session.session).unwrap();
        let answer = |seen: &Seen| match seen {
            Seen::Unlocked { session, .. } | Seen::Refused { session, .. } => *session == id,
            _ => false,
        };
        match self.see("an answer to the card", answer).await {
            Seen::Refused { reason, .. } => Err(reason.as_str().to_owned()),
            _ => Ok(()),
        }
    }

    /// Somebody takes something or puts it back.
    pub(crate) async fn touch(&self, kind: Kind, barcode: &str) {
        let kind = match kind {
            Kind::Taken => TouchKind::Taken,
            Kind::Returned => TouchKind::Returned,
        };
        self.controls.touch(kind, barcode).await;
    }

    /// Waits for the receipt of a session; how it ended and what was charged.
    pub(crate) async fn receipt(&self, session: &Session) -> (String, i64) {
        let id = SessionId::parse(&session.session).unwrap();
        let his = |seen: &Seen| matches!(seen, Seen::Receipt { session, .. } if *session == id);
        match self.see("a receipt", his).await {
            Seen::Receipt { receipt, .. } => (receipt.outcome, receipt.charged.map_or(0, |money| money.minor())),
            other => panic!("{other:?} is no receipt"),
        }
    }

    /// Plays a session from its beginning to its receipt or refusal.
    pub(crate) async fn play(&self, session: &Session) -> Result<(String, i64), String> {
        self.show(session).await;
        self.answer(session).await?;
        assert!(self.controls.open_door().await, "it is unlocked");
        for touch in &session.touches {
            self.touch(touch.kind, &touch.barcode).await;
        }
        assert!(self.controls.close_door().await, "it is open");
        Ok(self.receipt(session).await)
    }
}
