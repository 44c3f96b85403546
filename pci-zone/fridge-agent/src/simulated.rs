//! A fridge that is not there: lock, door, siren and display as values, driven by [`Controls`].
//!
//! It behaves as the real thing would: a locked door does not open unless it is forced, a lock that engages on an open
//! door holds when the door shuts, and a restart of the agent leaves door and lock as they were ([`Controls::reboot`]).
//! What the agent shows comes out as [`Seen`], in order. A display does not wait for someone to look at it: what nobody
//! watches is dropped when too much of it waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pci_contract::{Money, ReasonCode, ScannedCode, SessionId};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use zeroize::Zeroizing;

use crate::hardware::{AlarmKind, Command, Display, Hardware, HardwareEvent, HardwareFault, Siren, TechnicianNote};
use crate::words::{Receipt, TouchKind, Unlock};

/// The most events and sights that wait.
const WAITING: usize = 1_024;

/// What someone who stands before the fridge sees and hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The door is unlocked.
    Unlocked {
        /// For which session.
        session: SessionId,
        /// Hold, credit, own meals, prices, seconds to open.
        unlock: Unlock,
    },
    /// The door stays shut.
    Refused {
        /// For which session.
        session: SessionId,
        /// Why.
        reason: ReasonCode,
    },
    /// The alarm sounds for a meal.
    Alarm {
        /// Which meal.
        barcode: ScannedCode,
        /// What is wrong with it.
        kind: AlarmKind,
    },
    /// The alarm for a meal stopped.
    AlarmCleared {
        /// Which meal.
        barcode: ScannedCode,
    },
    /// The basket is worth more than could be authorized.
    LimitReached {
        /// How much could be.
        limit: Option<Money>,
    },
    /// The fridge sounds because its door has been open for too long.
    SoundDoor,
    /// The session ended.
    Receipt {
        /// Which session.
        session: SessionId,
        /// What was bought.
        receipt: Receipt,
    },
    /// A note for the technician.
    Technician(TechnicianNote),
}

/// What of the fridge survives a restart of the agent.
#[derive(Debug)]
struct Body {
    locked: bool,
    open: bool,
    siren: Option<Siren>,
    events: mpsc::Sender<HardwareEvent>,
}

/// A fridge that is not there.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedFridge;

impl SimulatedFridge {
    /// A fridge with a locked door: the side that the agent drives, and the side where people stand.
    #[expect(clippy::new_ret_no_self, reason = "a fridge is two sides of one thing; neither alone is it")]
    #[must_use]
    pub fn new() -> (SimulatedHardware, Controls) {
        let (events, event_receiver) = mpsc::channel(WAITING);
        let (seen, seen_receiver) = mpsc::channel(WAITING);
        let body = Arc::new(Mutex::new(Body { locked: true, open: false, siren: None, events }));
        let sights = Arc::new(AsyncMutex::new(seen_receiver));
        let controls = Controls { body: Arc::clone(&body), seen: seen.clone(), sights };
        (SimulatedHardware { body, events: event_receiver, seen }, controls)
    }
}

/// The agent's side of a simulated fridge.
pub struct SimulatedHardware {
    body: Arc<Mutex<Body>>,
    events: mpsc::Receiver<HardwareEvent>,
    seen: mpsc::Sender<Seen>,
}

impl Hardware for SimulatedHardware {
    async fn act(&mut self, command: Command) -> Result<(), HardwareFault> {
        let mut body = lock(&self.body);
        match command {
            Command::Unlock => body.locked = false,
            Command::Lock => body.locked = true,
            Command::Sound(siren) => body.siren = Some(siren),
            Command::Silence => body.siren = None,
            Command::Show(display) => {
                if let Some(seen) = Seen::of(display) {
                    let _ = self.seen.try_send(seen);
                }
            }
        }
        Ok(())
    }

    async fn next_event(&mut self) -> Option<HardwareEvent> {
        self.events.recv().await
    }

    async fn door_is_open(&mut self) -> bool {
        lock(&self.body).open
    }
}

/// The side of a simulated fridge where people stand. Clones stand before the same fridge.
///
/// Every event waits until there is room for it, and is lost without a word if the agent is gone, as in life.
#[derive(Clone)]
pub struct Controls {
    body: Arc<Mutex<Body>>,
    seen: mpsc::Sender<Seen>,
    sights: Arc<AsyncMutex<mpsc::Receiver<Seen>>>,
}

impl Controls {
    /// Swipes a card; the buffer is handed on, never copied. A replayed day brings its session id.
    pub async fn swipe(&self, track2: Zeroizing<Vec<u8>>, session: Option<SessionId>) {
        self.happen(HardwareEvent::CardSwiped { track2, session }).await;
    }

    /// Shows an ID token.
    pub async fn show_id_token(&self, text: &str, session: Option<SessionId>) {
        self.happen(HardwareEvent::IdTokenShown { text: text.to_owned(), session }).await;
    }

    /// Opens the door; false, and nothing happened, when it is locked or open already.
    pub async fn open_door(&self) -> bool {
        {
            let mut body = lock(&self.body);
            if body.locked || body.open {
                return false;
            }
            body.open = true;
        }
        self.happen(HardwareEvent::DoorOpened).await;
        true
    }

    /// Takes a meal out or puts it back.
    pub async fn touch(&self, kind: TouchKind, barcode: &str) {
        self.happen(HardwareEvent::Touched { kind, barcode: barcode.to_owned() }).await;
    }

    /// Shuts the door; false, and nothing happened, when it is shut.
    pub async fn close_door(&self) -> bool {
        {
            let mut body = lock(&self.body);
            if !std::mem::take(&mut body.open) {
                return false;
            }
        }
        self.happen(HardwareEvent::DoorClosed).await;
        true
    }

    /// Opens the door by force.
    pub async fn force_door(&self) {
        lock(&self.body).open = true;
        self.happen(HardwareEvent::DoorForced).await;
    }

    /// The next thing to be seen; `None` only when the fridge is gone.
    pub async fn next_seen(&self) -> Option<Seen> {
        self.sights.lock().await.recv().await
    }

    /// Whether the lock is engaged.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        lock(&self.body).locked
    }

    /// Why the siren sounds, if it does.
    #[must_use]
    pub fn siren(&self) -> Option<Siren> {
        lock(&self.body).siren
    }

    /// The agent's side for an agent that starts again on this fridge: door and lock are as they were, and events that
    /// the old agent had not taken are lost.
    #[must_use]
    pub fn reboot(&self) -> SimulatedHardware {
        let (events, event_receiver) = mpsc::channel(WAITING);
        lock(&self.body).events = events;
        SimulatedHardware { body: Arc::clone(&self.body), events: event_receiver, seen: self.seen.clone() }
    }

    async fn happen(&self, event: HardwareEvent) {
        let events = lock(&self.body).events.clone();
        let _ = events.send(event).await;
    }
}

impl Seen {
    /// What a display's text is to someone who looks at it; `None` for what tells him nothing.
    fn of(display: Display) -> Option<Self> {
        Some(match display {
            Display::Unlocked { session, unlock } => Self::Unlocked { session, unlock },
            Display::Refused { session, reason } => Self::Refused { session, reason },
            Display::Alarm { barcode, kind } => Self::Alarm { barcode, kind },
            Display::AlarmCleared { barcode } => Self::AlarmCleared { barcode },
            Display::LimitReached { limit } => Self::LimitReached { limit },
            Display::DoorOpenTooLong => Self::SoundDoor,
            Display::Receipt { session, receipt } => Self::Receipt { session, receipt },
            Display::Technician(note) => Self::Technician(note),
            Display::Ready | Display::OneMoment | Display::Settling => return None,
        })
    }
}

fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_locked_door_opens_by_force_only_and_a_shut_one_does_not_shut() {
        let (mut hardware, controls) = SimulatedFridge::new();
        assert!(controls.is_locked());
        assert!(!controls.open_door().await && !controls.close_door().await);
        hardware.act(Command::Unlock).await.expect("obeys");
        assert!(controls.open_door().await);
        assert!(!controls.open_door().await, "it is open");
        hardware.act(Command::Lock).await.expect("obeys");
        assert!(hardware.door_is_open().await);
        assert!(controls.close_door().await);
        assert!(!controls.open_door().await, "the lock holds");
        controls.force_door().await;
        for expected in ["DoorOpened", "DoorClosed", "DoorForced"] {
            assert_eq!(hardware.next_event().await.map(|event| format!("{event:?}")).as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_restart_leaves_the_door_as_it_was_and_loses_what_was_not_taken() {
        let (mut hardware, controls) = SimulatedFridge::new();
        hardware.act(Command::Unlock).await.expect("obeys");
        controls.open_door().await;
        controls.touch(TouchKind::Taken, "lost").await;
        let mut rebooted = controls.reboot();
        assert!(rebooted.door_is_open().await);
        controls.close_door().await;
        assert!(matches!(rebooted.next_event().await, Some(HardwareEvent::DoorClosed)));
        drop(rebooted);
        controls.touch(TouchKind::Taken, "nobody is there").await;
    }

    #[tokio::test]
    async fn what_is_shown_is_seen_in_order_and_what_nobody_watches_is_dropped() {
        let (mut hardware, controls) = SimulatedFridge::new();
        hardware.act(Command::Show(Display::Ready)).await.expect("obeys");
        for number in 0..WAITING + 5 {
            let barcode = ScannedCode::read(&format!("(01)09500000000198(21){number}"));
            hardware.act(Command::Show(Display::AlarmCleared { barcode })).await.expect("obeys");
        }
        for number in 0..WAITING {
            let barcode = ScannedCode::read(&format!("(01)09500000000198(21){number}"));
            assert_eq!(controls.next_seen().await, Some(Seen::AlarmCleared { barcode }));
        }
        hardware.act(Command::Show(Display::DoorOpenTooLong)).await.expect("obeys");
        assert_eq!(controls.next_seen().await, Some(Seen::SoundDoor));
    }

    #[tokio::test]
    async fn the_siren_sounds_until_it_is_silenced() {
        let (mut hardware, controls) = SimulatedFridge::new();
        assert_eq!(controls.siren(), None);
        hardware.act(Command::Sound(Siren::Meal)).await.expect("obeys");
        assert_eq!(controls.siren(), Some(Siren::Meal));
        hardware.act(Command::Silence).await.expect("obeys");
        assert_eq!(controls.siren(), None);
    }
}
