//! Fridge agents that run in this process, each with the identity its authority issued and a journal of its own.

use ca_identity::{ServiceName, SpiffeId};
use fridge_agent::AgentConfig;
use pci_contract::FridgeId;

use crate::Fault;
use crate::issuer::Party;
use crate::stack::{PURCHASE, Stack};

/// The configuration of the agent of `fridge`, whose identity must have been issued.
///
/// # Errors
/// [`Fault`] when its identity or journal cannot be used.
pub fn config(stack: &Stack, fridge: &str) -> Result<AgentConfig, Fault> {
    let (identity, bundle) = stack.issuer().load(&Party::Fridge(fridge.to_owned()))?;
    let service = SpiffeId::service(stack.issuer().trust_domain(), ServiceName::PurchaseSession);
    let tls =
        ca_mtls::client_config(&identity, &bundle, &service, &[b"h2"]).map_err(Fault::of("a fridge's identity"))?;
    let address = stack.address(PURCHASE).ok_or_else(|| Fault::new("purchase-session has no address".to_owned()))?;
    let name = FridgeId::parse(fridge).map_err(Fault::of("a fridge's name"))?;
    AgentConfig::new(name, address, tls, stack.layout().journal(fridge)).map_err(Fault::of("a fridge's journal"))
}
