//! Cards enter wallets at a fridge's reader. The agent runs in the test's own process here, because its control socket
//! offers purchases only; what is searched is the other side.

use fridge_agent::{Agent, AgentConfig, AgentHandle, EnrollError, Enrolled, SimulatedFridge, config};
use pci_contract::FridgeId;
use single_node::Fault;
use zeroize::Zeroizing;

use crate::driver::house::House;

/// A reader that enrols cards.
pub struct Reader {
    agent: AgentHandle,
    _controls: fridge_agent::Controls,
}

impl Reader {
    /// A reader of `fridge`, with its journal in `journal`.
    ///
    /// # Errors
    /// [`Fault`] when the house issued the fridge no identity.
    pub fn start(house: &House, fridge: &str, journal: &std::path::Path) -> Result<Self, Fault> {
        let (identity, bundle) = house.identity(fridge)?;
        let service = house.id_of("purchase-session")?;
        let tls = ca_mtls::client_config(&identity, &bundle, &service, config::ALPN)
            .map_err(Fault::of("a fridge's identity"))?;
        let name = FridgeId::parse(fridge).map_err(Fault::of("a fridge's name"))?;
        let config = AgentConfig::new(name, house.address("purchase-session")?, tls, journal)
            .map_err(Fault::of("a fridge's journal"))?;
        let (hardware, controls) = SimulatedFridge::new();
        let agent = Agent::start(config, hardware).map_err(Fault::of("an agent"))?;
        Ok(Self { agent, _controls: controls })
    }

    /// Puts a card into the wallet of whoever shows `id_token`.
    ///
    /// # Errors
    /// As the service says.
    pub async fn enroll(&self, track2: &str, id_token: &str) -> Result<Enrolled, EnrollError> {
        self.agent.enroll_card(Zeroizing::new(track2.as_bytes().to_vec()), id_token).await
    }

    /// Takes it down.
    pub async fn end(self) {
        self.agent.stop().await;
    }
}
