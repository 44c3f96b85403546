//! The switches by which a test makes the sandbox misbehave, as real processors do.

use serde::{Deserialize, Serialize};

/// What a request wants, in the words of the zone's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// `POST /v1/payment_methods`.
    StoreCard,
    /// `POST /v1/payment_intents`.
    Authorize,
    /// `POST /v1/payment_intents/{id}/increment_authorization`.
    Increment,
    /// `POST /v1/payment_intents/{id}/capture`.
    Capture,
    /// `POST /v1/payment_intents/{id}/cancel`.
    Void,
    /// `POST /v1/refunds`.
    Refund,
    /// Any GET.
    Read,
}

/// Which answers get lost: of those that may, every nth. As JSON: a number, or `true` for every one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EveryNthJson", into = "u64")]
pub struct EveryNth(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum EveryNthJson {
    All(bool),
    Nth(u64),
}

impl From<EveryNthJson> for EveryNth {
    fn from(json: EveryNthJson) -> Self {
        match json {
            EveryNthJson::All(all) => Self(u64::from(all)),
            EveryNthJson::Nth(nth) => Self(nth),
        }
    }
}

impl From<EveryNth> for u64 {
    fn from(every: EveryNth) -> Self {
        every.0
    }
}

/// How the sandbox misbehaves. The default is not at all. In JSON, what is left out stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// Every connection is closed at once, those that stand included.
    pub down: bool,
    /// Requests are decided so much later, in milliseconds, even if the caller is gone by then.
    pub delay_ms: u64,
    /// The act is performed, then the connection is closed without an answer.
    pub lose_answers: EveryNth,
    /// Only these verbs lose answers; alone, it loses every answer of theirs. Empty: any verb that changes something.
    pub lose_answers_for: Vec<Verb>,
    /// Every request is answered 503, and nothing is done.
    pub fail_5xx: bool,
}

/// A change of some switches.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    down: Option<bool>,
    delay_ms: Option<u64>,
    lose_answers: Option<EveryNth>,
    lose_answers_for: Option<Vec<Verb>>,
    fail_5xx: Option<bool>,
}

impl Switches {
    pub(crate) fn change(&mut self, change: Change) {
        let Change { down, delay_ms, lose_answers, lose_answers_for, fail_5xx } = change;
        self.down = down.unwrap_or(self.down);
        self.delay_ms = delay_ms.unwrap_or(self.delay_ms);
        self.lose_answers = lose_answers.unwrap_or(self.lose_answers);
        self.fail_5xx = fail_5xx.unwrap_or(self.fail_5xx);
        if let Some(verbs) = lose_answers_for {
            self.lose_answers_for = verbs;
        }
    }

    /// Every how many answers of this verb one is lost; 0 for none.
    pub(crate) fn loses_every(&self, verb: Verb) -> u64 {
        if self.lose_answers_for.is_empty() {
            if verb == Verb::Read { 0 } else { self.lose_answers.0 }
        } else if self.lose_answers_for.contains(&verb) {
            self.lose_answers.0.max(1)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(json: &str) -> Switches {
        let mut switches = Switches { delay_ms: 5, ..Switches::default() };
        switches.change(serde_json::from_str(json).unwrap());
        switches
    }

    #[test]
    fn what_is_left_out_stays() {
        let switches = changed(r#"{"down":true,"lose_answers":true}"#);
        assert_eq!(switches, Switches { down: true, delay_ms: 5, lose_answers: EveryNth(1), ..Switches::default() });
        assert!(serde_json::from_str::<Change>(r#"{"donw":true}"#).is_err());
    }

    #[test]
    fn some_verbs_lose_answers() {
        assert_eq!(changed(r#"{"lose_answers":3}"#).loses_every(Verb::Capture), 3);
        assert_eq!(changed(r#"{"lose_answers":3}"#).loses_every(Verb::Read), 0);
        let only = changed(r#"{"lose_answers_for":["capture"]}"#);
        assert_eq!((only.loses_every(Verb::Capture), only.loses_every(Verb::Void)), (1, 0));
        let nth = changed(r#"{"lose_answers":2,"lose_answers_for":["capture","read"]}"#);
        assert_eq!((nth.loses_every(Verb::Read), nth.loses_every(Verb::Refund)), (2, 0));
        assert_eq!(changed(r#"{"lose_answers":false}"#).loses_every(Verb::Capture), 0);
    }
}
