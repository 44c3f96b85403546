//! The judgement at the end of a day: what was told, charged and owed, against what really happened.

use std::collections::{BTreeMap, BTreeSet};

use pci_contract::{EventBody, MealId, MealStatus, Outcome, PurchaseFinalized, SessionId};
use pci_session::{Session, State};

use crate::{
    fridge::{Fridge, Told, Visit},
    outcome::{self, Failure},
    processor::{Account, Processor, Raise, Verb},
    store::Store,
    world::{FridgeNo, Report, Truth, VISITORS, Visitor, credit_minor, customer_id, truth},
};

/// What is left at the end of a day.
pub(crate) struct Day<'a> {
    pub(crate) store: &'a Store,
    pub(crate) processor: &'a Processor,
    pub(crate) fridges: &'a BTreeMap<FridgeNo, Fridge>,
    pub(crate) records: &'a BTreeMap<SessionId, Visit>,
    /// Sessions of which a raise was given up.
    pub(crate) given_up: &'a BTreeSet<SessionId>,
}

impl Day<'_> {
    /// Judges every session, every account and every fridge, and reports what ends there were.
    pub(crate) fn judge(&self, report: &mut outcome::Report) -> Result<(), Failure> {
        let sessions = self.store.load_all()?;
        for (number, fridge) in self.fridges {
            ensure(fridge.visit.is_none(), || format!("fridge {number} still waits: {:?}", fridge.visit))?;
        }
        ensure(self.store.unanswered.is_empty(), || format!("never answered: {:?}", self.store.unanswered))?;
        for (id, session) in &sessions {
            self.judge_session(*id, session, report)?;
        }
        for id in self.processor.accounts.keys() {
            ensure(sessions.contains_key(id), || format!("the processor knows {id} and the service does not"))?;
        }
        for (id, visit) in self.records {
            ensure(visit.lost || sessions.contains_key(id), || format!("{id} ended at the fridge and nowhere else"))?;
        }
        self.judge_credit()
    }

    fn judge_session(&self, id: SessionId, session: &Session, report: &mut outcome::Report) -> Result<(), Failure> {
        let visit = self.records.get(&id).ok_or_else(|| Failure::new(format!("{id} has no visit")))?;
        let case = Case {
            id,
            session,
            visit,
            events: self.store.events.iter().filter(|event| session_of(event) == Some(id)).collect(),
            account: self.processor.accounts.get(&id).cloned().unwrap_or_default(),
            raises: self.processor.raises(id),
            gave_up: self.given_up.contains(&id),
        };
        let seen =
            case.judge().map_err(|failure| Failure::new(format!("{id}: {failure}\n{visit:#?}\n{session:#?}")))?;
        for verb in [Verb::Authorize, Verb::Capture] {
            ensure(self.processor.asked(id, verb) <= 1, || format!("{id}: {verb:?} under two keys"))?;
        }
        report.saw(&seen);
        for event in &case.events {
            match event {
                EventBody::TheftConfirmed(_) => report.saw("theft"),
                EventBody::PaymentFailed(_) if case.account.captures == 0 => report.saw("capture failed"),
                _ => {}
            }
        }
        Ok(())
    }

    /// No customer spends more credit than he has, in however many sessions at once.
    fn judge_credit(&self) -> Result<(), Failure> {
        for visitor in VISITORS {
            if let Visitor::Subscriber(number) = visitor {
                let used = self.store.credit_used_minor(&customer_id(number)?);
                ensure(used <= credit_minor(number), || format!("customer {number} spent {used} of his credit"))?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what())) }
}

const fn session_of(event: &EventBody) -> Option<SessionId> {
    match event {
        EventBody::PurchaseFinalized(data) => Some(data.session),
        EventBody::PurchaseRefused(data) => Some(data.session),
        EventBody::PaymentFailed(data) => Some(data.session),
        EventBody::TheftConfirmed(data) => Some(data.session),
        EventBody::PaymentSettled(_) | EventBody::CardEnrolled(_) | EventBody::FridgeTampered(_) => None,
    }
}

/// One session, from all sides.
struct Case<'a> {
    id: SessionId,
    session: &'a Session,
    visit: &'a Visit,
    events: Vec<&'a EventBody>,
    account: Account,
    raises: Vec<Raise>,
    /// The service stopped asking for one of the raises.
    gave_up: bool,
}

impl Case<'_> {
    /// Gives what kind of end it was.
    fn judge(&self) -> Result<String, Failure> {
        ensure(self.session.is_final(), || "never came to rest".to_owned())?;
        let endings: Vec<&&EventBody> = self
            .events
            .iter()
            .filter(|event| matches!(event, EventBody::PurchaseFinalized(_) | EventBody::PurchaseRefused(_)))
            .collect();
        match (&endings[..], self.session.state()) {
            ([EventBody::PurchaseFinalized(data)], State::Ended(_)) => self.judge_finalized(data),
            ([EventBody::PurchaseRefused(data)], State::Refused(_)) => {
                self.judge_refused(data.reason.as_str())?;
                Ok(format!("refused {}", data.reason))
            }
            _ => Err(Failure::new(format!("not exactly one ending: {endings:?}"))),
        }
    }

    fn judge_refused(&self, reason: &str) -> Result<(), Failure> {
        let Account { held_minor, captures, closed, .. } = self.account;
        ensure(captures == 0, || "refused and charged".to_owned())?;
        ensure(held_minor == 0 || closed, || "refused, and money is still held".to_owned())?;
        ensure(self.events.len() == 1, || format!("refused, and more was told: {:?}", self.events))?;
        ensure(!self.visit.journal.contains(&Report::Opened), || "refused, and the door was opened".to_owned())?;
        let as_told = match &self.visit.told {
            Some(Told::Refused(told)) => told == reason,
            Some(Told::Receipt(_)) => false,
            None => self.visit.lost,
        };
        ensure(as_told, || format!("refused for {reason}, and told otherwise"))
    }

    /// What the service could know: all of the journal, or what had been counted when it was lost.
    fn truth(&self) -> Result<Truth, Failure> {
        let counted = usize::try_from(self.session.received().saturating_sub(1)).unwrap_or(usize::MAX);
        let known = if self.visit.lost { counted } else { usize::MAX };
        let reports: Vec<Report> = self.visit.journal.iter().copied().take(known).collect();
        truth(&reports, self.visit.visitor)
    }

    fn judge_finalized(&self, data: &PurchaseFinalized) -> Result<String, Failure> {
        let truth = self.truth()?;
        let abandoned = data.outcome == Outcome::Abandoned;
        ensure(!abandoned || self.visit.lost, || "abandoned, but its fridge has the journal".to_owned())?;

        let meals: Vec<&MealId> = data.meals.iter().map(|line| &line.barcode).collect();
        ensure(meals.iter().copied().eq(&truth.sold), || format!("meals {meals:?}, in truth {:?}", truth.sold))?;
        ensure(data.alarms == truth.alarms, || format!("alarms {:?}, in truth {:?}", data.alarms, truth.alarms))?;
        ensure(data.stray_returns == truth.stray, || "other stray returns in truth".to_owned())?;
        ensure(data.unidentified == truth.unidentified, || "other unidentified in truth".to_owned())?;
        ensure(data.not_sellable == truth.not_sellable, || "other unsellable in truth".to_owned())?;

        self.judge_thefts(data, if abandoned { &[] } else { &truth.stolen })?;
        self.judge_money(data, truth.due_minor)?;
        let expected = match (abandoned, data.charged.minor(), truth.sold.is_empty()) {
            (true, _, _) => Outcome::Abandoned,
            (false, 1.., _) => Outcome::Charged,
            (false, _, false) => Outcome::Free,
            (false, _, true) => Outcome::NoPurchase,
        };
        ensure(data.outcome == expected, || format!("{:?} for {expected:?}", data.outcome))?;
        let as_told = match &self.visit.told {
            Some(Told::Receipt(told)) => self.session.receipt() == Some(told) && told.charged == data.charged,
            Some(Told::Refused(_)) => false,
            None => self.visit.lost,
        };
        ensure(as_told, || format!("told {:?}", self.visit.told))?;
        Ok(data.outcome.as_str().to_owned())
    }

    fn judge_thefts(&self, data: &PurchaseFinalized, stolen: &[MealId]) -> Result<(), Failure> {
        let reported: Vec<&MealId> = self
            .events
            .iter()
            .filter_map(|event| match event {
                EventBody::TheftConfirmed(theft) => Some(&theft.meal),
                _ => None,
            })
            .collect();
        let marked = data.meals.iter().filter(|line| line.status == MealStatus::Stolen).map(|line| &line.barcode);
        ensure(reported.iter().copied().eq(stolen), || format!("thefts {reported:?}, in truth {stolen:?}"))?;
        ensure(marked.eq(stolen), || format!("other meals are marked stolen, in truth {stolen:?}"))
    }

    /// captured + owed + credit = due, and nothing is held any more.
    fn judge_money(&self, data: &PurchaseFinalized, due_minor: i64) -> Result<(), Failure> {
        let owed_minor: i64 = self
            .events
            .iter()
            .map(|event| match event {
                EventBody::PaymentFailed(failed) => failed.amount.minor(),
                _ => 0,
            })
            .sum();
        let Account { held_minor, captured_minor, closed, .. } = self.account;
        let (charged, credit) = (data.charged.minor(), data.credit_used.minor());
        ensure(charged + credit == due_minor && credit >= 0, || {
            format!("charged {charged} and credit {credit} for {due_minor}")
        })?;
        ensure(captured_minor + owed_minor == charged, || {
            format!("{}: captured {captured_minor} and owed {owed_minor} of {charged}", self.id)
        })?;
        ensure(data.unpaid.minor() <= owed_minor, || "unpaid, and not told so".to_owned())?;
        self.judge_debt(data, owed_minor)?;
        ensure(captured_minor <= held_minor && closed, || "money is still held".to_owned())
    }

    /// Nobody owes anything unless the processor would not hold it, would not take it, or was given up.
    fn judge_debt(&self, data: &PurchaseFinalized, owed_minor: i64) -> Result<(), Failure> {
        let (charged, unpaid) = (data.charged.minor(), data.unpaid.minor());
        let refused = self.raises.iter().any(|raise| raise.limits(charged));
        ensure(unpaid == 0 || refused || self.gave_up, || {
            format!("owes {unpaid} of {charged}, which the card was never refused: {:?}", self.raises)
        })?;
        let failed = self.account.captures == 0;
        ensure(owed_minor == unpaid || failed, || format!("owes {owed_minor}, and the capture was done"))
    }
}
