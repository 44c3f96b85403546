//! The clock, the queue of what is going to happen, and what happening does to whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pci_contract::SessionId;
use pci_session::{Display, Input, Session};

use crate::{
    chance::Chance,
    fridge::{Answer, Door, Fridge, Packet, Told, Visit},
    judge::Day,
    outcome::{Failure, Plan, Report},
    processor::{Processor, Question},
    store::Store,
    world::{FRIDGES, FridgeNo, VISITORS, Visitor, session_id},
};

/// The most that may happen in one run; a day that does not come to rest by then never does.
const MOST_HAPPENINGS: u32 = 100_000;
/// Lines of the trace that a failure prints.
const TRACE_LINES: usize = 80;
/// The last customer of each fridge comes after this time, when nothing fails any more.
const CHAOS_MS: i64 = 900_000;

/// Simulates, and judges at the end.
///
/// # Errors
/// [`Failure`] says which rule was broken, with the seed and the last happenings before it.
pub fn run(plan: Plan) -> Result<Report, Failure> {
    let mut simulation = Simulation::new(plan);
    let outcome = simulation.play().and_then(|()| simulation.judge());
    match outcome {
        Ok(()) => {
            simulation.report.crash_points = simulation.crash_points;
            Ok(simulation.report)
        }
        Err(failure) => Err(failure.in_run(plan, simulation.trace.into())),
    }
}

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Arrive(FridgeNo, u64),
    Act(FridgeNo, u64),
    Relock(FridgeNo, u64, SessionId),
    Up { fridge: FridgeNo, boot: u64, stream: u64, packet: Packet },
    Down { fridge: FridgeNo, stream: u64, session: SessionId, answer: Answer },
    Cut(FridgeNo),
    Connect(FridgeNo, u64),
    Reboot(FridgeNo),
    AtProcessor { life: u64, question: Question },
    FromProcessor { life: u64, question: Question, input: Input },
    Patience { life: u64, question: Question, tries: u32 },
    Timer { life: u64, fridge: FridgeNo, stream: u64, session: SessionId },
    Start,
}

/// Everything there is.
pub(crate) struct Simulation {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) now_ms: i64,
    order: u64,
    queue: BTreeMap<(i64, u64), Happening>,
    pub(crate) fridges: BTreeMap<FridgeNo, Fridge>,
    visits: BTreeMap<FridgeNo, u32>,
    pub(crate) homes: BTreeMap<SessionId, FridgeNo>,
    /// The visits that are over, or lost.
    pub(crate) records: BTreeMap<SessionId, Visit>,
    pub(crate) processor: Processor,
    /// Sessions of which a raise was given up.
    pub(crate) given_up: BTreeSet<SessionId>,
    pub(crate) store: Store,
    /// The service's memory; gone with each crash.
    pub(crate) memory: BTreeMap<SessionId, Session>,
    /// How often the service was started; what belongs to an earlier life does not happen.
    pub(crate) life: u64,
    pub(crate) is_up: bool,
    pub(crate) crash_points: u64,
    pub(crate) report: Report,
    trace: VecDeque<String>,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            chance: Chance::new(plan.seed),
            now_ms: 0,
            order: 0,
            queue: BTreeMap::new(),
            fridges: FRIDGES.into_iter().map(|fridge| (fridge, Fridge::new(fridge))).collect(),
            visits: BTreeMap::new(),
            homes: BTreeMap::new(),
            records: BTreeMap::new(),
            processor: Processor::default(),
            given_up: BTreeSet::new(),
            store: Store::default(),
            memory: BTreeMap::new(),
            life: 1,
            is_up: true,
            crash_points: 0,
            report: Report::default(),
            trace: VecDeque::new(),
        }
    }

    pub(crate) const fn now_s(&self) -> i64 {
        self.now_ms / 1_000
    }

    /// Whether things still fail by chance.
    pub(crate) const fn chaos(&self) -> bool {
        self.plan.chaos && self.now_ms < CHAOS_MS
    }

    pub(crate) fn fails(&mut self, one_in: i64) -> bool {
        self.chaos() && self.chance.one_in(one_in)
    }

    pub(crate) fn after(&mut self, ms: i64, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now_ms + ms.max(0), self.order), happening);
    }

    pub(crate) fn soon(&mut self, most_ms: i64, happening: Happening) {
        let ms = self.chance.between(1, most_ms);
        self.after(ms, happening);
    }

    pub(crate) fn fridge(&mut self, fridge: FridgeNo) -> Result<&mut Fridge, Failure> {
        self.fridges.get_mut(&fridge).ok_or_else(|| Failure::new(format!("no fridge {fridge}")))
    }

    fn play(&mut self) -> Result<(), Failure> {
        for fridge in FRIDGES {
            self.after(0, Happening::Connect(fridge, 1));
            self.soon(5_000, Happening::Arrive(fridge, 1));
            if self.plan.chaos {
                self.soon(200_000, Happening::Cut(fridge));
                self.soon(400_000, Happening::Reboot(fridge));
            }
        }
        let mut happened = 0;
        while let Some(((at_ms, _), happening)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            happened += 1;
            if happened > MOST_HAPPENINGS {
                return Err(Failure::new("the day does not come to rest".to_owned()));
            }
            self.note(&happening);
            self.happen(happening)?;
        }
        Ok(())
    }

    fn judge(&mut self) -> Result<(), Failure> {
        let Self { store, processor, fridges, records, given_up, report, .. } = self;
        Day { store, processor, fridges, records, given_up }.judge(report)
    }

    fn note(&mut self, happening: &Happening) {
        if self.trace.len() >= TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>9} ms  {happening:?}", self.now_ms));
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::Arrive(fridge, boot) => self.arrive(fridge, boot),
            Happening::Act(fridge, boot) => self.act(fridge, boot),
            Happening::Relock(fridge, boot, session) => {
                let station = self.fridge(fridge)?;
                let packet = if station.boot == boot { station.relock(session) } else { None };
                match (packet, self.fridge(fridge)?.stream) {
                    (Some(packet), Some(stream)) if self.fails(4) => {
                        self.report.saw("slow to say that the door stayed shut");
                        self.soon(40_000, Happening::Up { fridge, boot, stream, packet });
                        Ok(())
                    }
                    (packet, _) => self.send(fridge, packet),
                }
            }
            Happening::Up { fridge, boot, stream, packet } => {
                let station = self.fridge(fridge)?;
                let (is_dead, is_old) = (boot < station.first_boot_heard, station.stream != Some(stream));
                if !self.is_up || is_dead || (is_old && self.chance.one_in(2)) {
                    return Ok(());
                }
                self.hear(fridge, stream, packet)
            }
            Happening::Down { fridge, stream, session, answer } => self.told(fridge, stream, session, answer),
            Happening::Cut(fridge) => {
                if self.chaos() {
                    self.cut(fridge)?;
                    self.soon(300_000, Happening::Cut(fridge));
                }
                Ok(())
            }
            Happening::Connect(fridge, boot) => self.connect(fridge, boot),
            Happening::Reboot(fridge) => self.reboot(fridge),
            Happening::AtProcessor { life, question } => self.at_processor(life, question),
            Happening::FromProcessor { life, question, input } => self.answered(life, question, input),
            Happening::Patience { life, question, tries } => self.patience(life, question, tries),
            Happening::Timer { life, fridge, stream, session } => self.timer(life, fridge, stream, session),
            Happening::Start => self.start(),
        }
    }

    fn arrive(&mut self, fridge: FridgeNo, boot: u64) -> Result<(), Failure> {
        let count = self.visits.get(&fridge).copied().unwrap_or(0);
        let is_last = count >= self.plan.visits;
        if self.fridge(fridge)?.boot != boot || self.fridge(fridge)?.visit.is_some() || count > self.plan.visits {
            return Ok(());
        }
        if is_last && self.now_ms < CHAOS_MS {
            self.after(CHAOS_MS - self.now_ms, Happening::Arrive(fridge, boot));
            return Ok(());
        }
        self.visits.insert(fridge, count + 1);
        let session = session_id(fridge, count + 1)?;
        self.homes.insert(session, fridge);
        let visitor = self.chance.pick(&VISITORS).unwrap_or(Visitor::Stranger);
        let touches = if is_last { 0 } else { self.chance.below(8) };
        let packet = self.fridge(fridge)?.welcome(session, visitor, touches);
        self.send(fridge, packet)
    }

    fn act(&mut self, fridge: FridgeNo, boot: u64) -> Result<(), Failure> {
        let mut chance = self.chance.clone();
        let station = self.fridge(fridge)?;
        if station.boot != boot {
            return Ok(());
        }
        let packet = station.act(&mut chance);
        let goes_on = station.visit.as_ref().is_some_and(|visit| visit.door == Door::Open);
        self.chance = chance;
        if goes_on {
            let most_ms = if self.chance.one_in(20) { 90_000 } else { 12_000 };
            self.soon(most_ms, Happening::Act(fridge, boot));
        }
        self.send(fridge, packet)
    }

    /// Sends, when there is a stream; otherwise it stays in the journal until there is one.
    fn send(&mut self, fridge: FridgeNo, packets: impl IntoIterator<Item = Packet>) -> Result<(), Failure> {
        let station = self.fridge(fridge)?;
        let (boot, Some(stream)) = (station.boot, station.stream) else { return Ok(()) };
        for packet in packets {
            let up = Happening::Up { fridge, boot, stream, packet };
            if self.fails(10) {
                self.soon(20_000, up.clone());
            }
            let most_ms = if self.fails(10) { 5_000 } else { 40 };
            self.soon(most_ms, up);
        }
        Ok(())
    }

    fn told(&mut self, fridge: FridgeNo, stream: u64, session: SessionId, answer: Answer) -> Result<(), Failure> {
        let stays = self.chance.one_in(6);
        let station = self.fridge(fridge)?;
        let boot = station.boot;
        let Some(visit) = station.visit.as_mut() else { return Ok(()) };
        if station.stream != Some(stream) || visit.session != session {
            return Ok(());
        }
        let told = match answer {
            Answer::ResendFrom(sequence) => {
                let packets = visit.packets_from(sequence);
                return self.send(fridge, packets);
            }
            Answer::Show(Display::Unlock { .. }) if visit.door == Door::Waiting => {
                visit.door = Door::Unlocked;
                self.after(20_000, Happening::Relock(fridge, boot, session));
                if !stays {
                    self.soon(19_000, Happening::Act(fridge, boot));
                }
                return Ok(());
            }
            Answer::Show(Display::Refused(reason)) => Told::Refused(reason.to_string()),
            Answer::Show(Display::Receipt(receipt)) => Told::Receipt(receipt),
            Answer::Show(_) => return Ok(()),
        };
        if let Some(visit) = station.end(session, told)? {
            self.records.insert(session, visit);
            self.soon(60_000, Happening::Arrive(fridge, boot));
        }
        Ok(())
    }

    /// Cuts the stream; the fridge comes back.
    pub(crate) fn cut(&mut self, fridge: FridgeNo) -> Result<(), Failure> {
        let station = self.fridge(fridge)?;
        station.stream = None;
        let boot = station.boot;
        self.soon(60_000, Happening::Connect(fridge, boot));
        Ok(())
    }

    fn connect(&mut self, fridge: FridgeNo, boot: u64) -> Result<(), Failure> {
        let (now_s, is_up) = (self.now_s(), self.is_up);
        let station = self.fridge(fridge)?;
        if station.boot != boot || station.stream.is_some() {
            return Ok(());
        }
        if !is_up {
            self.soon(10_000, Happening::Connect(fridge, boot));
            return Ok(());
        }
        let packets = station.connect(now_s);
        self.send(fridge, packets)
    }

    fn reboot(&mut self, fridge: FridgeNo) -> Result<(), Failure> {
        if !self.chaos() {
            return Ok(());
        }
        let loses = self.chance.one_in(3);
        let station = self.fridge(fridge)?;
        let lost = if loses { station.lose_journal() } else { None };
        if !loses {
            station.reboot();
        }
        let boot = station.boot;
        self.report.saw(if loses { "reboot without journal" } else { "reboot" });
        if let Some(visit) = lost {
            self.records.insert(visit.session, visit);
        }
        self.soon(40_000, Happening::Connect(fridge, boot));
        self.soon(60_000, Happening::Arrive(fridge, boot));
        self.soon(60_000, Happening::Act(fridge, boot));
        self.soon(400_000, Happening::Reboot(fridge));
        Ok(())
    }
}
