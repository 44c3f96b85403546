//! The fridge protocol as generated from `pci-zone/contract/proto`; its comments there are the specification.
//!
//! It is public so that benchmarks and tests can speak it without the agent. The server's half is for tests that play
//! the service.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines, clippy::disallowed_methods)]

tonic::include_proto!("larder.purchase.v1");

use pci_contract::SealedCard as Sealed;

impl From<&Sealed> for SealedCard {
    fn from(card: &Sealed) -> Self {
        Self {
            key_id: card.key().as_str().to_owned(),
            encapsulated_key: card.encapsulated_key().to_vec(),
            cipher_text: card.cipher_text().to_vec(),
        }
    }
}
