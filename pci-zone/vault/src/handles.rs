//! Handles of the vault's keys. They are plain values between those who find keys and those who work with them.

use cryptoki::object::ObjectHandle;
use pci_contract::SealingKeyId;

use crate::hpke::Recipient;

/// A sealing key to work with.
pub(crate) struct SealingHandle {
    pub(crate) label: String,
    pub(crate) id: SealingKeyId,
    pub(crate) key: ObjectHandle,
    pub(crate) recipient: Recipient,
}

/// A token key to work with.
pub(crate) struct TokenHandle {
    pub(crate) label: String,
    pub(crate) version: u16,
    pub(crate) key: ObjectHandle,
}

/// Handles of all of the vault's keys, good until the module is finalized; the active ones first.
pub(crate) struct Handles {
    pub(crate) sealing: Vec<SealingHandle>,
    pub(crate) tokens: Vec<TokenHandle>,
}

impl Handles {
    /// The sealing key of this id.
    pub(crate) fn sealing(&self, id: &SealingKeyId) -> Option<&SealingHandle> {
        self.sealing.iter().find(|handle| handle.id == *id)
    }
}
