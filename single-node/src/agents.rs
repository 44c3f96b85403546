//! Fridge agents that run in this process, each with a journal of its own. Where a test or a measurement names a fridge by
//! a key in a file, its identity is the one the authority issued; otherwise it is got and kept by the fridge's TPM.

use std::sync::Arc;

use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{HeldClient, IdentityFiles, ReloadingClient};
use fridge_agent::AgentConfig;
use fridge_identity::{Certified, Event, Keeper, Settings, TpmSettings};
use pci_contract::FridgeId;
use rustls::ClientConfig;
use tpm_sandbox::Boot;

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
    agent(stack, fridge, tls)
}

/// The same for a fridge whose files may be replaced while it runs; it shows what its client read last.
///
/// # Errors
/// [`Fault`] when its identity or journal cannot be used.
pub fn renewable(stack: &Stack, fridge: &str) -> Result<(AgentConfig, ReloadingClient), Fault> {
    let (certificate, key, bundle) = stack.issuer().files(&Party::Fridge(fridge.to_owned()));
    let client = ReloadingClient::new(IdentityFiles { certificate, key, bundle });
    let client = client.map_err(Fault::of("a fridge's identity"))?;
    let service = SpiffeId::service(stack.issuer().trust_domain(), ServiceName::PurchaseSession);
    let tls = client.config(&service, &[b"h2"]).map_err(Fault::of("a fridge's identity"))?;
    Ok((agent(stack, fridge, tls)?, client))
}

/// Gives a fridge power with this firmware, and has its TPM get the first certificate. `told` hears what comes of it; none
/// when it said that the fridge is to be given up.
///
/// # Errors
/// [`Fault`] when the TPM cannot be used.
pub async fn certified(
    stack: &Stack,
    fridge: &str,
    firmware: Boot,
    mut told: impl FnMut(&Event) -> Going,
) -> Result<Option<(AgentConfig, Certified)>, Fault> {
    let keeper = keeper(stack, fridge, firmware).await?;
    let (given_up, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut given_up = Some(given_up);
    let first = Certified::first(keeper, |event| {
        if told(event) == Going::Stop {
            drop(given_up.take());
        }
    });
    let certified = tokio::select! {
        first = first => first,
        _ = stopped => None,
    };
    let Some(certified) = certified else { return Ok(None) };
    Ok(Some((shown_by(stack, fridge, certified.client())?, certified)))
}

/// The configuration of the agent of `fridge`, which shows what this client shows.
///
/// # Errors
/// [`Fault`] when its journal cannot be used.
pub fn shown_by(stack: &Stack, fridge: &str, client: &HeldClient) -> Result<AgentConfig, Fault> {
    let service = SpiffeId::service(stack.issuer().trust_domain(), ServiceName::PurchaseSession);
    agent(stack, fridge, client.config(&service, &[b"h2"]).map_err(Fault::of("a fridge's identity"))?)
}

/// Whether to wait on for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// Yes.
    On,
    /// No.
    Stop,
}

async fn keeper(stack: &Stack, fridge: &str, firmware: Boot) -> Result<Keeper, Fault> {
    let enrolment = stack.enrolment()?;
    let domain = stack.issuer().trust_domain();
    let party = SpiffeId::fridge(domain, fridge).map_err(Fault::of("a fridge's name"))?;
    let service = SpiffeId::service(domain, ServiceName::PurchaseSession);
    let address = stack.address(PURCHASE).unwrap_or_default().to_owned();
    let status = stack.address("status").map(str::to_owned);
    let (issuer, fridge) = (Arc::clone(stack.issuer()), fridge.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let tpm = TpmSettings { status_address: status, ..enrolment.boot(&fridge, &firmware)? };
        let bundle = issuer.bundle_in(&tpm.folder)?;
        let settings = Settings::new(&tpm, party, service, &address, bundle).map_err(Fault::of("a TPM"))?;
        Keeper::open(settings, authority::now_unix_s, fridge_agent::clock::chance).map_err(Fault::of("a TPM"))
    });
    opened.await.map_err(Fault::of("opening a TPM"))?
}

fn agent(stack: &Stack, fridge: &str, tls: Arc<ClientConfig>) -> Result<AgentConfig, Fault> {
    let address = stack.address(PURCHASE).ok_or_else(|| Fault::new("purchase-session has no address".to_owned()))?;
    let name = FridgeId::parse(fridge).map_err(Fault::of("a fridge's name"))?;
    AgentConfig::new(name, address, tls, stack.layout().journal(fridge)).map_err(Fault::of("a fridge's journal"))
}
