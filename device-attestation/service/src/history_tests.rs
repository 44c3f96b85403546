//! Every way in which a device can come back, held against what was known of it.

use proptest::prelude::*;

use super::*;

fn clock(resets: u32, restarts: u32, millis: u64) -> Clock {
    Clock { millis, resets, restarts, safe: true }
}

fn key(number: u8) -> TlsKey {
    TlsKey { name: vec![number; 34], point: vec![number; 65] }
}

fn shown(clock: Clock, number: u8, previous: Option<u8>) -> Shown {
    Shown { clock, key: key(number), previous: previous.map(|number| key(number).name), registers: vec![7; 32] }
}

fn known() -> Known {
    let registers = Some(vec![7; 32]);
    Known { clock: clock(5, 2, 1_000), last: key(2), before: Some(key(1)), registers, state: State::Trusted }
}

#[test]
fn a_key_may_have_died_when_something_else_was_booted() {
    assert!(!known().may_have_died(&[7; 32]));
    assert!(known().may_have_died(&[8; 32]));
    let unknown = Known { registers: None, ..known() };
    assert!(!unknown.may_have_died(&[8; 32]), "nobody knows what was booted before");
}

#[test]
fn a_key_that_died_before_it_was_certified_leaves_the_one_before_it() {
    let updated = |number, previous| {
        judge(Some(&known()), &Shown { registers: vec![8; 32], ..shown(clock(6, 0, 0), number, Some(previous)) })
    };
    let next = updated(3, 1);
    assert_eq!((next.reason, next.known.last, next.known.before), (None, key(3), Some(key(1))));
    assert!(updated(3, 9).alarm, "a key that nobody knows");
    // Was there another who has the key, he is found out when he comes.
    let both = updated(3, 1).known;
    assert!(judge(Some(&both), &shown(clock(7, 0, 0), 4, Some(2))).alarm);
}

#[test]
fn what_was_booted_is_known_of_the_last_time_that_was_believed() {
    let updated = |number, previous| Shown { registers: vec![8; 32], ..shown(clock(6, 0, 0), number, previous) };
    for (number, previous, booted) in [(3, Some(2), 8), (2, Some(1), 8), (3, None, 7), (3, Some(9), 7)] {
        let outcome = judge(Some(&known()), &updated(number, previous));
        assert_eq!(outcome.known.registers, Some(vec![booted; 32]), "{number} after {previous:?}");
    }
}

#[test]
fn a_first_time_is_believed() {
    let outcome = judge(None, &shown(clock(0, 0, 0), 1, None));
    assert_eq!((outcome.reason, outcome.alarm, outcome.known.before), (None, false, None));
    let lost = judge(None, &shown(clock(0, 0, 0), 2, Some(1)));
    assert!(
        lost.reason.is_some() && lost.alarm && lost.known.state == State::Trusted,
        "believed from the next time on"
    );
}

#[test]
fn a_clock_that_goes_back_is_a_copy() {
    for (now, back) in [
        (clock(5, 2, 1_000), false),
        (clock(5, 2, 999), true),
        (clock(5, 1, 2_000), true),
        (clock(5, 3, 999), true),
        (clock(4, 9, 9_000), true),
        (clock(6, 0, 0), false),
    ] {
        let outcome = judge(Some(&known()), &shown(now, 3, Some(2)));
        assert_eq!((outcome.alarm, outcome.reason.is_some()), (back, back), "{now:?}");
        let frozen = Known { state: outcome.known.state.clone(), ..known() };
        assert_eq!(outcome.known == frozen, back, "what is known of a copy is not taken further");
        assert_eq!(matches!(outcome.known.state, State::Quarantined(_)), back);
    }
}

#[test]
fn a_key_is_followed_by_one_key() {
    let later = clock(6, 0, 0);
    let judged = |number, previous| judge(Some(&known()), &shown(later, number, previous));
    let follows = judged(3, Some(2));
    assert_eq!((follows.reason, follows.known.last, follows.known.before), (None, key(3), Some(key(2))));
    let again = judged(2, Some(1));
    assert_eq!((again.reason, again.known.last, again.known.before), (None, key(2), Some(key(1))));
    for (number, previous) in [(3, 1), (3, 9), (2, 9), (2, 2), (1, 1)] {
        let spent = judged(number, Some(previous));
        assert!(matches!(spent.known.state, State::Quarantined(_)) && spent.alarm, "{number} after {previous}");
    }
    // Of a first time there is no key before, and its answer may be lost as well.
    let first_again = judged(2, None);
    assert_eq!((first_again.reason, first_again.alarm, first_again.known.last), (None, false, key(2)));
    let silent = judged(3, None);
    assert!(silent.reason.is_some() && silent.alarm && silent.known == known(), "kept as it was");
}

#[test]
fn quarantine_is_for_good_until_somebody_has_looked() {
    let quarantined = Known { state: State::Quarantined("a copy".into()), ..known() };
    let outcome = judge(Some(&quarantined), &shown(clock(6, 0, 0), 3, Some(2)));
    assert_eq!((outcome.reason.as_deref(), outcome.alarm), (Some("a copy"), false));
    assert_eq!(outcome.known, quarantined);
    let released = Known { state: State::Released, ..known() };
    // Whatever it shows: its TPM may have been cleared, its keys may be gone.
    for (now, previous) in [(clock(0, 0, 0), None), (clock(9, 0, 0), Some(9)), (clock(5, 2, 1), Some(1))] {
        let outcome = judge(Some(&released), &shown(now, 3, previous));
        assert_eq!((outcome.reason, outcome.known.state, outcome.known.clock), (None, State::Trusted, now));
    }
}

proptest! {
    /// Two copies that both come again and again, in whatever order, do not both stay unnoticed.
    #[test]
    fn two_copies_that_both_come_are_found(order in proptest::collection::vec(any::<bool>(), 2..12)) {
        prop_assume!(order.iter().any(|first| *first) && order.iter().any(|first| !*first));
        let start = judge(None, &shown(clock(1, 0, 0), 0, None)).known;
        let mut all = Some(start);
        let (mut last, mut millis, mut next, mut found) = ([0, 0], [0_u64, 0], 1, false);
        for first in &order {
            let who = usize::from(!first);
            millis[who] += 10;
            // The second copy was started once more than the first.
            let now = clock(1 + u32::try_from(who).unwrap(), 0, millis[who]);
            let outcome = judge(all.as_ref(), &shown(now, next, Some(last[who])));
            found |= outcome.reason.is_some();
            (last[who], next, all) = (next, next + 1, Some(outcome.known));
        }
        prop_assert!(found);
    }

    #[test]
    fn one_device_is_never_taken_for_two(steps in proptest::collection::vec((0_u32..3, 0_u64..1_000, any::<bool>()), 1..30)) {
        let (mut resets, mut millis, mut number) = (1, 0, 0);
        let mut all = judge(None, &shown(clock(resets, 0, millis), 0, None)).known;
        for (more, ahead, lost) in steps {
            resets += more;
            millis += ahead;
            let next = shown(clock(resets, 0, millis), number + 1, Some(number));
            let outcome = judge(Some(&all), &next);
            prop_assert_eq!(&outcome.reason, &None);
            all = outcome.known;
            if lost {
                let outcome = judge(Some(&all), &next);
                prop_assert_eq!(&outcome.reason, &None);
                all = outcome.known;
            }
            number += 1;
        }
    }
}
