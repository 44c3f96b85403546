//! When to get the next certificate. Pure: the time, what is held, what the authority hints at and chance come in.
//!
//! Renewal lies in the window that the authority suggests (RFC 9773), or between 40 and 60 % of the certificate's life when
//! it suggests none; chance picks the moment, so that those who got theirs together do not come together again. A
//! failure is tried again soon, then more and more slowly, but never so slowly that the rest of the life is missed.

/// A certificate's life, or a part of it: seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first second.
    pub from_s: i64,
    /// The last second.
    pub to_s: i64,
}

/// The first pause after a failure, in seconds; it doubles.
const FIRST_PAUSE_S: i64 = 2;
/// The longest pause.
const LONGEST_PAUSE_S: i64 = 10 * 60;
/// The longest pause while nothing is held: somebody may stand before the fridge.
const LONGEST_PAUSE_WITHOUT_S: i64 = 60;
/// Chance is this many steps fine.
const STEPS: i64 = 1 << 20;

/// Where somebody with a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The life of the certificate that is held, if any.
    pub held: Option<Span>,
    /// The window that the authority suggested for it.
    pub hint: Option<Span>,
    /// How many tries failed since the last success, and when the last one did.
    pub failed: Option<(u32, i64)>,
    /// Whether somebody asked for the next one, so that it is time until there is one.
    pub asked: bool,
    /// Chance, drawn once a certificate.
    pub chance: u64,
}

impl Situation {
    /// Just after a certificate was got, or at the beginning. `chance` is random.
    #[must_use]
    pub const fn with(held: Option<Span>, chance: u64) -> Self {
        Self { held, hint: None, failed: None, asked: false, chance }
    }

    /// After one more try that failed, at this time.
    #[must_use]
    pub fn failed_at(self, now_s: i64) -> Self {
        let count = self.failed.map_or(0, |(count, _)| count).saturating_add(1);
        Self { failed: Some((count, now_s)), ..self }
    }

    /// After somebody asked for the next one: it is time, whatever failed before.
    #[must_use]
    pub fn asked(self) -> Self {
        Self { asked: true, failed: None, ..self }
    }

    /// When to try next, seconds since the Unix epoch; in the past when it is time.
    #[must_use]
    pub fn next_s(&self, now_s: i64) -> i64 {
        let held = self.held.filter(|held| (held.from_s..=held.to_s).contains(&now_s));
        let due_s = held.filter(|_| !self.asked).map_or(now_s, |held| self.moment_s(held));
        let Some((count, at_s)) = self.failed else { return due_s };
        due_s.max(at_s.saturating_add(self.pause_s(count, held.is_some())))
    }

    /// The moment in the window.
    fn moment_s(&self, held: Span) -> i64 {
        let part = |percent: i64| {
            let life_s = held.to_s.saturating_sub(held.from_s);
            held.from_s.saturating_add(life_s / 100 * percent)
        };
        let window = self.hint.unwrap_or(Span { from_s: part(40), to_s: part(60) });
        let wide_s = window.to_s.saturating_sub(window.from_s).max(0);
        let step = i64::try_from(self.chance % STEPS.unsigned_abs()).unwrap_or(0);
        // A hint beyond the certificate's end would have it run out.
        window.from_s.saturating_add(wide_s / STEPS * step + wide_s % STEPS * step / STEPS).min(part(90))
    }

    fn pause_s(&self, count: u32, holds: bool) -> i64 {
        let longest_s = if holds { LONGEST_PAUSE_S } else { LONGEST_PAUSE_WITHOUT_S };
        let step_s = FIRST_PAUSE_S.saturating_mul(1 << count.saturating_sub(1).min(16)).min(longest_s);
        let spread = i64::try_from(self.chance % 1_000).unwrap_or(0);
        step_s / 2 + (step_s - step_s / 2) * spread / 999
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Span = Span { from_s: 1_000_000, to_s: 1_086_400 };

    fn situation(held: Option<Span>) -> Situation {
        Situation::with(held, 0)
    }

    #[test]
    fn without_a_certificate_or_with_one_that_ran_out_it_is_time() {
        for held in [None, Some(DAY)] {
            let now_s = DAY.to_s + 365 * 86_400;
            assert_eq!(situation(held).next_s(now_s), now_s);
        }
        assert_eq!(situation(Some(DAY)).next_s(DAY.from_s - 1), DAY.from_s - 1, "not good yet: a clock went back");
        assert!(situation(Some(DAY)).next_s(DAY.to_s) < DAY.to_s, "its last second counts");
    }

    #[test]
    fn the_window_is_40_to_60_percent_or_what_the_authority_says() {
        let at = |chance, hint| Situation { chance, hint, ..situation(Some(DAY)) }.next_s(DAY.from_s);
        let last = STEPS.unsigned_abs() - 1;
        assert_eq!(at(0, None), DAY.from_s + 34_560);
        assert_eq!(at(last, None), DAY.from_s + 51_839);
        let hint = Span { from_s: DAY.from_s + 10, to_s: DAY.from_s + 20 };
        assert_eq!((at(0, Some(hint)), at(last, Some(hint))), (DAY.from_s + 10, DAY.from_s + 19));
        let past = Span { from_s: DAY.from_s - 100, to_s: DAY.from_s - 50 };
        assert!(at(7, Some(past)) < DAY.from_s, "revoked: now");
        let late = Span { from_s: DAY.to_s + 10, to_s: DAY.to_s + 20 };
        assert!(at(0, Some(late)) < DAY.to_s, "a hint never lets a certificate run out");
        let wrong = Span { from_s: DAY.from_s + 20, to_s: DAY.from_s + 10 };
        assert_eq!(at(last, Some(wrong)), DAY.from_s + 20);
    }

    #[test]
    fn who_is_asked_for_the_next_one_gets_it_now_and_keeps_trying() {
        let (young_s, later) = (DAY.from_s + 60, Some(Span { from_s: DAY.to_s - 100, to_s: DAY.to_s }));
        let quiet = Situation { hint: later, ..situation(Some(DAY)) };
        assert!(quiet.next_s(young_s) > young_s);
        let asked = quiet.asked();
        assert_eq!(asked.next_s(young_s), young_s, "whatever the hint says");
        let failed = asked.failed_at(young_s);
        let again_s = failed.next_s(young_s);
        assert!((young_s + 1..=young_s + 2).contains(&again_s), "not at once again: {again_s}");
        assert_eq!(failed.next_s(again_s + 10), again_s + 10, "it is still due");
        let slow = Situation { failed: Some((30, young_s)), ..asked };
        assert!(slow.next_s(young_s) > young_s && slow.asked().next_s(young_s) == young_s, "asked again: now again");
        assert!(!Situation::with(Some(DAY), 0).asked, "the next certificate was not asked for");
    }

    #[test]
    fn failures_are_tried_again_more_and_more_slowly() {
        let now_s = DAY.from_s + 60_000;
        let pause = |count, held| {
            Situation { failed: Some((count, now_s)), chance: 999, ..situation(held) }.next_s(now_s) - now_s
        };
        let twice = situation(None).failed_at(5).failed_at(9);
        assert_eq!(twice.failed, Some((2, 9)));
        assert_eq!([1, 2, 3].map(|count| pause(count, None)), [2, 4, 8]);
        assert_eq!((pause(30, None), pause(u32::MAX, None)), (60, 60));
        assert_eq!((pause(1, Some(DAY)), pause(30, Some(DAY))), (2, 600));
    }

    proptest! {
        #[test]
        fn whatever_comes_a_try_is_never_far_nor_panics(
            from_s in any::<i64>(), life_s in 0_i64..100_000_000, now_s in any::<i64>(), chance in any::<u64>(),
            failed in proptest::option::of((any::<u32>(), any::<i64>())),
            hint in proptest::option::of((any::<i64>(), any::<i64>())), asked in any::<bool>(),
        ) {
            let held = Span { from_s, to_s: from_s.saturating_add(life_s) };
            let hint = hint.map(|(from_s, to_s)| Span { from_s, to_s });
            let next_s = Situation { held: Some(held), hint, failed, asked, chance }.next_s(now_s);
            let latest_s = held.to_s.max(now_s).max(failed.map_or(i64::MIN, |(_, at_s)| at_s.saturating_add(LONGEST_PAUSE_S)));
            prop_assert!(next_s <= latest_s, "{next_s} after {latest_s}");
        }
    }
}
