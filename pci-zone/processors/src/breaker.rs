//! A circuit breaker: how not to wait for a processor that is down, and how to notice that it is back.
//!
//! Pure: time is an argument and nothing is counted elsewhere, so every turn of it can be tested. Closed, it lets all
//! through and counts failures in a row; open, it lets none through for a while; half open, it lets one ask through and
//! lets that one decide. It knows nothing of verbs or money: an open breaker means "not sent", nothing more. It leaves
//! sharing between tasks (a mutex around it) to the driver.

use pci_contract::Timestamp;

use crate::port::{AskError, Outlook};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it; at least one.
    pub failures_to_open: u32,
    /// It stays open this long before it tries one ask, in milliseconds; also how long that one ask may stay unanswered
    /// before another is let through.
    pub open_for_ms: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures_to_open: 5, open_for_ms: 2_000 }
    }
}

/// Whether an ask said that the processor is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered. A decline is an answer, and so is a rejection.
    Answered,
    /// It was not reached, or its answer is unknown.
    Failed,
}

impl Outcome {
    /// What the result of an ask says of the processor's health.
    #[must_use]
    pub const fn of<T>(result: &Result<T, AskError>) -> Self {
        match result {
            Ok(_) | Err(AskError::Declined(_) | AskError::Rejected { .. }) => Self::Answered,
            Err(AskError::NotSent | AskError::Unknown) => Self::Failed,
        }
    }
}

/// Whether an ask may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead, and [`Breaker::record`] what came of it.
    Pass,
    /// Not before this moment: treat it as [`AskError::NotSent`].
    Wait {
        /// When the breaker will try the processor again.
        until: Timestamp,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp },
    HalfOpen { give_up_at: Timestamp },
}

/// The circuit breaker of one processor.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Whether an ask may go out at `now`.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Pass,
            State::Open { until } | State::HalfOpen { give_up_at: until } if now < until => Admission::Wait { until },
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { give_up_at: self.later(now) };
                Admission::Pass
            }
        }
    }

    /// Takes note of what came of an ask that was let through.
    pub fn record(&mut self, outcome: Outcome, now: Timestamp) {
        self.state = match (self.state, outcome) {
            (State::Closed { .. } | State::HalfOpen { .. }, Outcome::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, Outcome::Failed) => {
                let failures = failures.saturating_add(1);
                if failures >= self.policy.failures_to_open {
                    State::Open { until: self.later(now) }
                } else {
                    State::Closed { failures }
                }
            }
            (State::HalfOpen { .. }, Outcome::Failed) => State::Open { until: self.later(now) },
            // Late news of asks from before it opened: they say nothing of the processor now.
            (open @ State::Open { .. }, _) => open,
        };
    }

    /// What an ask at `now` may expect. Unlike [`Breaker::admit`] it changes nothing.
    #[must_use]
    pub fn outlook(&self, now: Timestamp) -> Outlook {
        match self.state {
            State::Closed { .. } => Outlook::Fair,
            State::Open { until } | State::HalfOpen { give_up_at: until } if now < until => Outlook::Down,
            State::Open { .. } | State::HalfOpen { .. } => Outlook::Trial,
        }
    }

    /// Whether asks pass freely.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn later(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(now.micros().saturating_add(i64::from(self.policy.open_for_ms).saturating_mul(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci_contract::ReasonCode;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy { failures_to_open: 3, open_for_ms: 100 })
    }

    fn opened() -> Breaker {
        let mut breaker = breaker();
        for ms in 0..3 {
            assert_eq!(breaker.admit(at(ms)), Admission::Pass);
            breaker.record(Outcome::Failed, at(ms));
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut breaker = opened();
        assert!(!breaker.is_closed());
        assert_eq!(breaker.admit(at(3)), Admission::Wait { until: at(102) });
        assert_eq!(breaker.admit(at(101)), Admission::Wait { until: at(102) });
    }

    #[test]
    fn an_answer_between_failures_keeps_it_closed() {
        let mut breaker = breaker();
        for ms in 0..100 {
            let outcome = if ms % 3 == 2 { Outcome::Answered } else { Outcome::Failed };
            breaker.record(outcome, at(ms));
            assert!(breaker.is_closed());
        }
    }

    #[test]
    fn half_open_lets_one_through_and_an_answer_closes_it() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(102)), Admission::Pass);
        assert_eq!(breaker.admit(at(103)), Admission::Wait { until: at(202) });
        breaker.record(Outcome::Answered, at(110));
        assert!(breaker.is_closed());
        assert_eq!(breaker.admit(at(111)), Admission::Pass);
        // the count starts anew
        breaker.record(Outcome::Failed, at(111));
        breaker.record(Outcome::Failed, at(112));
        assert!(breaker.is_closed());
    }

    #[test]
    fn half_open_opens_again_on_a_failure() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(150)), Admission::Pass);
        breaker.record(Outcome::Failed, at(160));
        assert_eq!(breaker.admit(at(161)), Admission::Wait { until: at(260) });
        assert_eq!(breaker.admit(at(260)), Admission::Pass);
    }

    #[test]
    fn a_trial_that_never_reports_does_not_block_for_ever() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(102)), Admission::Pass);
        assert_eq!(breaker.admit(at(201)), Admission::Wait { until: at(202) });
        assert_eq!(breaker.admit(at(202)), Admission::Pass);
    }

    #[test]
    fn late_news_does_not_close_an_open_breaker() {
        let mut breaker = opened();
        breaker.record(Outcome::Answered, at(50));
        assert_eq!(breaker.admit(at(51)), Admission::Wait { until: at(102) });
        breaker.record(Outcome::Failed, at(99));
        assert_eq!(breaker.admit(at(102)), Admission::Pass);
    }

    #[test]
    fn the_outlook_is_down_until_somebody_may_try_and_while_he_tries() {
        assert_eq!(breaker().outlook(at(0)), Outlook::Fair);
        let mut breaker = opened();
        assert_eq!([breaker.outlook(at(101)), breaker.outlook(at(102))], [Outlook::Down, Outlook::Trial]);
        assert_eq!(breaker.outlook(at(102)), Outlook::Trial, "looking is not trying");
        assert_eq!(breaker.admit(at(102)), Admission::Pass);
        assert_eq!([breaker.outlook(at(201)), breaker.outlook(at(202))], [Outlook::Down, Outlook::Trial]);
        breaker.record(Outcome::Answered, at(203));
        assert_eq!(breaker.outlook(at(203)), Outlook::Fair);
    }

    #[test]
    fn a_decline_is_an_answer() {
        assert_eq!(Outcome::of(&Ok(())), Outcome::Answered);
        assert_eq!(Outcome::of::<()>(&Err(AskError::Declined(ReasonCode::CARD_DECLINED))), Outcome::Answered);
        let rejected = AskError::Rejected { status: 400, code: "x".to_owned() };
        assert_eq!(Outcome::of::<()>(&Err(rejected)), Outcome::Answered);
        assert_eq!(Outcome::of::<()>(&Err(AskError::NotSent)), Outcome::Failed);
        assert_eq!(Outcome::of::<()>(&Err(AskError::Unknown)), Outcome::Failed);
    }
}
