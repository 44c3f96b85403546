//! What the tasks of one agent share: its configuration, its connection, its sealing key.

use crate::config::AgentConfig;
use crate::keys::SealingKeys;
use crate::service::Service;

/// The reason code by which the service says that a card was sealed to a key it does not have.
pub(crate) const SEALING_KEY_UNKNOWN: &str = "sealing_key_unknown";

/// What an agent's tasks share.
pub(crate) struct Shared {
    pub(crate) config: AgentConfig,
    pub(crate) service: Service,
    pub(crate) keys: SealingKeys,
}
