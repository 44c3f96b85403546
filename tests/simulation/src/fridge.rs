//! A fridge: it writes its journal before it sends, keeps it until it is told the end, and sends all of it again
//! when it comes back. The customer in front of it does as he likes.

use std::collections::BTreeSet;

use pci_contract::SessionId;
use pci_session::{Display, Receipt};

use crate::{
    chance::Chance,
    outcome::Failure,
    world::{FridgeNo, MealNo, Report, UNKNOWN, Visitor, stock},
};

/// A message on its way to the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) session: SessionId,
    pub(crate) visitor: Visitor,
    /// 1 is the Open.
    pub(crate) sequence: u64,
    /// `None` for the Open.
    pub(crate) report: Option<Report>,
}

/// A message on its way to a fridge.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Show(Display),
    ResendFrom(u64),
}

/// Where the door is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Locked, the customer waits.
    Waiting,
    Unlocked,
    Open,
    /// Locked again.
    Shut,
}

/// The end that a fridge was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Refused(String),
    Receipt(Receipt),
}

/// One customer's visit, and what is remembered of it for the judge.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) session: SessionId,
    pub(crate) visitor: Visitor,
    pub(crate) door: Door,
    /// Reports after the Open; the journal is the Open and these.
    pub(crate) journal: Vec<Report>,
    touches_left: i64,
    held: BTreeSet<MealNo>,
    /// The journal was lost.
    pub(crate) lost: bool,
    pub(crate) told: Option<Told>,
}

impl Visit {
    /// The journal from message `sequence` on.
    pub(crate) fn packets_from(&self, sequence: u64) -> Vec<Packet> {
        let bodies = std::iter::once(None).chain(self.journal.iter().copied().map(Some));
        (1..)
            .zip(bodies)
            .filter(|(number, _)| *number >= sequence)
            .map(|(number, report)| Packet { session: self.session, visitor: self.visitor, sequence: number, report })
            .collect()
    }

    fn last_packet(&self) -> Option<Packet> {
        self.packets_from(1).pop()
    }
}

/// A fridge.
#[derive(Debug)]
pub(crate) struct Fridge {
    /// The present connection, if there is one.
    pub(crate) stream: Option<u64>,
    pub(crate) online_since_s: i64,
    pub(crate) streams: u64,
    /// How often it was started; what belongs to an earlier start does not happen.
    pub(crate) boot: u64,
    /// Packets of earlier boots died with the journal.
    pub(crate) first_boot_heard: u64,
    pub(crate) visit: Option<Visit>,
    shelves: BTreeSet<MealNo>,
}

impl Fridge {
    pub(crate) fn new(fridge: FridgeNo) -> Self {
        Self {
            stream: None,
            online_since_s: 0,
            streams: 0,
            boot: 1,
            first_boot_heard: 1,
            visit: None,
            shelves: stock(fridge),
        }
    }

    /// Connects, and gives the packets to send: the whole journal.
    pub(crate) fn connect(&mut self, now_s: i64) -> Vec<Packet> {
        self.streams += 1;
        self.stream = Some(self.streams);
        self.online_since_s = now_s;
        self.visit.as_ref().map_or_else(Vec::new, |visit| visit.packets_from(1))
    }

    /// A customer comes. Gives the packet to send.
    pub(crate) fn welcome(&mut self, session: SessionId, visitor: Visitor, touches: i64) -> Option<Packet> {
        let visit = Visit {
            session,
            visitor,
            door: Door::Waiting,
            journal: Vec::new(),
            touches_left: touches,
            held: BTreeSet::new(),
            lost: false,
            told: None,
        };
        let packet = visit.last_packet();
        self.visit = Some(visit);
        packet
    }

    /// Writes to the journal, and gives the packet to send.
    pub(crate) fn write(&mut self, report: Report) -> Option<Packet> {
        let visit = self.visit.as_mut()?;
        visit.journal.push(report);
        visit.last_packet()
    }

    /// The customer's next act: he opens the door, touches something, or closes it.
    pub(crate) fn act(&mut self, chance: &mut Chance) -> Option<Packet> {
        let visit = self.visit.as_mut()?;
        match visit.door {
            Door::Unlocked => {
                visit.door = Door::Open;
                self.write(Report::Opened)
            }
            Door::Open if visit.touches_left > 0 => {
                visit.touches_left -= 1;
                let report = touch(&mut visit.held, &mut self.shelves, chance)?;
                self.write(report)
            }
            Door::Open => {
                visit.door = Door::Shut;
                self.write(Report::Closed)
            }
            Door::Waiting | Door::Shut => None,
        }
    }

    /// Locks a door that nobody opened.
    pub(crate) fn relock(&mut self, session: SessionId) -> Option<Packet> {
        let visit = self.visit.as_mut().filter(|visit| visit.session == session && visit.door == Door::Unlocked)?;
        visit.door = Door::Shut;
        self.write(Report::StayedShut)
    }

    /// Starts again with its journal: a door that was not opened is locked, and that is reported.
    pub(crate) fn reboot(&mut self) {
        self.boot += 1;
        self.stream = None;
        if let Some(visit) = self.visit.as_mut().filter(|visit| matches!(visit.door, Door::Waiting | Door::Unlocked)) {
            visit.door = Door::Shut;
            visit.journal.push(Report::StayedShut);
        }
    }

    /// Starts again without its journal. What was going on is forgotten here, though not by the judge.
    pub(crate) fn lose_journal(&mut self) -> Option<Visit> {
        self.boot += 1;
        self.first_boot_heard = self.boot;
        self.stream = None;
        self.visit.take().map(|visit| Visit { lost: true, ..visit })
    }

    /// Hears the end of the session. The visit is over, and is handed out.
    pub(crate) fn end(&mut self, session: SessionId, told: Told) -> Result<Option<Visit>, Failure> {
        let Some(visit) = self.visit.take_if(|visit| visit.session == session) else { return Ok(None) };
        if matches!(visit.door, Door::Open | Door::Unlocked) {
            return Err(Failure::new(format!("{session} was ended while its door was {:?}", visit.door)));
        }
        Ok(Some(Visit { told: Some(told), ..visit }))
    }
}

/// Takes, puts back, takes again, puts a foreign meal in, or takes something without a known barcode.
fn touch(held: &mut BTreeSet<MealNo>, shelves: &mut BTreeSet<MealNo>, chance: &mut Chance) -> Option<Report> {
    let in_hand: Vec<MealNo> = held.iter().copied().collect();
    let on_shelf: Vec<MealNo> = shelves.iter().copied().collect();
    match chance.below(10) {
        0 => Some(Report::Returned(7_000 + u32::try_from(chance.below(20)).ok()?)),
        1 => {
            let meal = UNKNOWN + u32::try_from(chance.below(50)).ok()?;
            held.insert(meal);
            Some(Report::Taken(meal))
        }
        2..=4 if !in_hand.is_empty() => {
            let meal = chance.pick(&in_hand)?;
            held.remove(&meal);
            shelves.insert(meal);
            Some(Report::Returned(meal))
        }
        _ => {
            let meal = chance.pick(&on_shelf)?;
            shelves.remove(&meal);
            held.insert(meal);
            Some(Report::Taken(meal))
        }
    }
}
