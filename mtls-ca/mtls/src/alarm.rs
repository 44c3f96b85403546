//! An alarm that lasts: said when it begins, again now and then while it lasts, and once that it is over.
//!
//! What is wrong is found again with every try, several times a minute; who is woken by the log is to be woken once, and
//! not to forget. What is wrong, and in which words it is said, is left to who looks.

/// How often it is said again while it lasts.
const AGAIN_S: i64 = 15 * 60;

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// Nothing, or nothing again.
    Nothing,
    /// The alarm.
    Alarm,
    /// That it is over.
    Over,
}

/// One kind of alarm, and when it was said last.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    said_s: Option<i64>,
}

impl Alarm {
    /// What is to be said now; `now_s` is of any clock in seconds, and one that is set back says it once more.
    pub(crate) fn look(&mut self, is_wrong: bool, now_s: i64) -> Say {
        match (is_wrong, self.said_s) {
            (true, Some(said_s)) if (0..AGAIN_S).contains(&now_s.saturating_sub(said_s)) => Say::Nothing,
            (true, _) => {
                self.said_s = Some(now_s);
                Say::Alarm
            }
            (false, said_s) => {
                self.said_s = None;
                if said_s.is_some() { Say::Over } else { Say::Nothing }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN_S, Alarm, Say};

    #[test]
    fn it_is_said_when_it_begins_again_now_and_then_and_when_it_is_over() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.look(false, 0), Say::Nothing);
        let said: Vec<i64> = (1..=2 * AGAIN_S).filter(|now_s| alarm.look(true, *now_s) == Say::Alarm).collect();
        assert_eq!(said, [1, 1 + AGAIN_S]);
        assert_eq!([alarm.look(false, 2 * AGAIN_S), alarm.look(false, 2 * AGAIN_S)], [Say::Over, Say::Nothing]);
        assert_eq!(alarm.look(true, 2 * AGAIN_S), Say::Alarm, "the next one is another");
    }

    #[test]
    fn a_clock_that_is_set_back_hides_no_alarm() {
        let mut alarm = Alarm::default();
        assert_eq!([alarm.look(true, i64::MAX), alarm.look(true, i64::MIN)], [Say::Alarm; 2]);
        assert_eq!(alarm.look(true, i64::MIN + 1), Say::Nothing);
    }
}
