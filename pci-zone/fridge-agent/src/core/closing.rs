//! The last stage: the customer is done, the door is locked, and the journal is kept until the service's last word.
//!
//! However long that takes, no other session begins: the order of a fridge's sessions is the order of its journal.

use pci_contract::ReasonCode;

use super::session::Closing;
use super::{AgentInput, AgentState, Stage, Step, aside};

impl AgentState {
    pub(super) fn closing(&self, mut closing: Closing, input: AgentInput, step: &mut Step<'_>) -> Stage {
        match input {
            AgentInput::Answered { session, acknowledged, answer } if session == closing.told.session => {
                match answer {
                    Some(last) if last.is_final() => {
                        closing.told.end(last, step);
                        return Stage::Idle;
                    }
                    Some(answer) => closing.told.basket(answer, false, step),
                    None => {}
                }
                // More is safe with the service than we remember: our journal lost its tail, and the end that we told
                // carries a number it knows as something else. Tell it again behind everything it knows.
                if acknowledged > closing.told.last {
                    closing.told.last = acknowledged;
                    closing.told.tell(closing.ending.clone(), step);
                }
            }
            AgentInput::Swiped { session } | AgentInput::IdTokenShown { session, .. } => {
                let reason = if self.connected { ReasonCode::FRIDGE_BUSY } else { ReasonCode::PAYMENT_UNAVAILABLE };
                step.refuse(session, reason);
            }
            other => aside(other, step),
        }
        Stage::Closing(closing)
    }
}
