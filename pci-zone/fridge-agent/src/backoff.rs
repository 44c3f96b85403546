//! How long to wait before the next try: 50 ms, doubled to 5 s, spread by chance so that a thousand fridges that lost
//! the same service do not come back in one beat. Pure: chance is an argument.

use std::time::Duration;

/// The first wait.
const FIRST_MS: u64 = 50;
/// The longest wait.
const LONGEST_MS: u64 = 5_000;

/// Counts failures and says how long to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: the wait before the next try, between half of the step and the whole of it.
    pub(crate) fn next(&mut self, chance: u64) -> Duration {
        let step_ms = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(step_ms / 2 + chance % (step_ms / 2 + 1))
    }

    /// The longest wait, for a refusal that trying sooner would not change.
    pub(crate) fn longest(&mut self, chance: u64) -> Duration {
        self.failures = 16;
        self.next(chance)
    }

    /// How many failures there were in a row.
    pub(crate) fn failures(self) -> u32 {
        self.failures
    }

    /// It worked: the next failure begins anew.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_50_ms_to_5_s_and_stay_there() {
        let mut backoff = Backoff::default();
        let whole: Vec<u128> = (0..10).map(|_| backoff.next(u64::MAX / 2 * 2).as_millis()).collect();
        let mut step = 50;
        for wait in whole {
            assert!((step / 2..=step).contains(&wait), "{wait} of {step}");
            step = (step * 2).min(5_000);
        }
        backoff.reset();
        assert!(backoff.next(0).as_millis() <= 50);
    }

    #[test]
    fn chance_spreads_over_half_of_the_step() {
        let all: std::collections::BTreeSet<u128> =
            (0..1_000).map(|chance| Backoff::default().next(chance).as_millis()).collect();
        assert_eq!(all.first(), Some(&25));
        assert_eq!(all.last(), Some(&50));
    }

    #[test]
    fn a_refusal_waits_long_at_once() {
        assert!(Backoff::default().longest(0).as_millis() >= 2_500);
    }
}
