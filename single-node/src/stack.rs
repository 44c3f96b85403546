//! Both zones on one machine: tokens, authority, processor, databases and every service, started in order and kept up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ca_identity::ServiceName;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::acme::Acme;
use crate::children::{Children, Pid, Service};
use crate::clients::Own;
use crate::control::Control;
use crate::enrolment::Enrolment;
use crate::hsm::Token;
use crate::issuer::{Issuer, Party};
use crate::layout::{self, Layout};
use crate::ops::Ops;
use crate::renewal::Renewal;
use crate::secrets::write_secret;
use crate::services::{ACME, ATTESTATION, MONITORING};
use crate::{Fault, config, ports};

pub use crate::services::{AUTHORITY, OPS, PURCHASE};

/// The person whose identity the commands use.
pub const OPERATOR: Party = Party::Operator("operator");
/// Who reads metrics.
pub const MONITOR: Party = Party::Service(MONITORING);
/// Certificates live a day; those issued by hand are issued anew three times in it.
const REISSUE_EVERY: Duration = Duration::from_secs(8 * 60 * 60);

/// A running machine.
pub struct Stack {
    layout: Layout,
    issuer: Arc<Issuer>,
    addresses: BTreeMap<String, String>,
    children: Children,
    /// What renews certificates, and follows what was renewed.
    keeping: JoinSet<()>,
    control: Control,
    clients: BTreeMap<&'static str, Ops>,
    monitor: Ops,
    acme: Arc<Acme>,
    renewal: Renewal,
    enrolment: Option<Arc<Enrolment>>,
}

impl Stack {
    /// Starts everything in `layout` and waits until all are ready. `told` hears what is being done.
    ///
    /// # Errors
    /// [`Fault`] names the part that did not start, and its log.
    pub async fn start(layout: Layout, told: &(dyn Fn(&str) + Sync)) -> Result<Self, Fault> {
        // A client that finds addresses must find those of this run.
        let _ = std::fs::remove_file(layout.endpoints());
        told("HSM tokens: one for the PCI zone, one for the authority");
        let pci = Token::prepare(&layout, "pci")?;
        let ca = Token::prepare(&layout, "ca")?;
        told("certificate authority: root and intermediates, keys made inside the HSM");
        let issuer = Arc::new(Issuer::open(&layout, &ca)?);
        issuer.issue(&OPERATOR)?;
        let mut children = Children::default();
        let acme = Arc::new(Acme::prepare(&layout)?);
        let renewal = prepare_renewal(&layout, &issuer, &acme);
        told("a card processor, outside our walls");
        let processor = start_processor(&layout, &mut children).await?;
        told("the certificate authority's server, which says what was revoked");
        let authority = start_authority(&layout, &ca, &mut children).await?;
        told("its ACME server, and the services' certificates from it");
        let mut renewal = renewal.await.map_err(Fault::of("account keys"))??;
        acme.start(&issuer, &ca, &mut children).await?;
        renewal.start(&mut children).await?;
        told("inventory, customers, status and admin: the non-PCI zone");
        let mut addresses = start_services(&layout, &issuer, &pci, &processor, authority, &mut children).await?;
        addresses.insert(ACME.to_owned(), acme.address().to_owned());
        let mut keeping = JoinSet::new();
        let address = |name: &str| addresses.get(name).map(String::as_str).unwrap_or_default();
        let operator = Own::of(&issuer, &OPERATOR, &mut keeping)?;
        let clients = OPS
            .iter()
            .map(|(name, service)| Ok((*name, operator.speaks_to(*service, address(name))?)))
            .collect::<Result<_, Fault>>()?;
        let reader = Own::of(&issuer, &MONITOR, &mut keeping)?;
        reader.follows(address(AUTHORITY), &mut keeping)?;
        let monitor = reader.speaks_to(ServiceName::PurchaseSession, address(PURCHASE))?;
        let control = Control::new(&processor.control_url)?;
        keeping.spawn(reissue(Arc::clone(&issuer)));
        let enrolment = None;
        Ok(Self { layout, issuer, addresses, children, keeping, control, clients, monitor, acme, renewal, enrolment })
    }

    /// Starts what fridges with a TPM get their certificates from, too.
    ///
    /// # Errors
    /// [`Fault`] names the part that did not start, and its log.
    pub async fn start_enrolment(&mut self, told: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
        told("the attestation service, a maker of TPMs");
        let authority = self.address(AUTHORITY).unwrap_or_default().to_owned();
        let Self { layout, issuer, acme, renewal, children, .. } = self;
        let enrolment = Enrolment::start(layout, issuer, acme, renewal, &authority, children).await?;
        self.addresses.insert(ATTESTATION.to_owned(), enrolment.address().to_owned());
        self.enrolment = Some(Arc::new(enrolment));
        Ok(())
    }

    /// Where fridges with a TPM get their certificates.
    ///
    /// # Errors
    /// [`Fault`] when that was not started.
    pub fn enrolment(&self) -> Result<Arc<Enrolment>, Fault> {
        let enrolment = self.enrolment.as_ref().map(Arc::clone);
        enrolment.ok_or_else(|| Fault::new("the attestation service was not started".to_owned()))
    }

    /// Has everybody given a new certificate now, and waits until all are in their places: services by `larder-renew`, the
    /// others by hand.
    ///
    /// # Errors
    /// [`Fault`] of the first that fails.
    pub async fn renew_all(&self) -> Result<(), Fault> {
        let issuer = Arc::clone(&self.issuer);
        let by_hand = tokio::task::spawn_blocking(move || issuer.renew_all());
        let (by_hand, services) = tokio::join!(by_hand, self.renewal.all_now());
        by_hand.map_err(Fault::of("certificates"))?.and(services)
    }

    /// Where everything is kept.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Who issues identities.
    #[must_use]
    pub const fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// The address of a service, `host:port`.
    #[must_use]
    pub fn address(&self, service: &str) -> Option<&str> {
        self.addresses.get(service).map(String::as_str)
    }

    /// The process id of a service, as it changes.
    #[must_use]
    pub fn pid(&self, service: &str) -> Option<Pid> {
        self.children.pids().into_iter().find(|(name, _)| name == service).map(|(_, pid)| pid)
    }

    /// An operator's client of a service.
    ///
    /// # Errors
    /// [`Fault`] when there is no such service.
    pub fn ops(&self, service: &str) -> Result<&Ops, Fault> {
        self.clients.get(service).ok_or_else(|| Fault::new(format!("there is no service {service}")))
    }

    /// The monitor's client of purchase-session.
    #[must_use]
    pub const fn monitor(&self) -> &Ops {
        &self.monitor
    }

    /// The processor's control interface, and its books.
    #[must_use]
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// What a client written by others needs to drive the system.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be written.
    pub fn write_endpoints(&self, fridges: &[String]) -> Result<PathBuf, Fault> {
        let parties = fridges.iter().map(|name| Party::Fridge(name.clone())).chain([OPERATOR, MONITOR]);
        let clients: BTreeMap<String, Value> = parties
            .map(|party| {
                let (certificate, key, _) = self.issuer.files(&party);
                (party.name().to_owned(), json!({ "certificate": certificate, "key": key }))
            })
            .collect();
        let (_, _, trust_bundle) = self.issuer.files(&OPERATOR);
        let pids: BTreeMap<String, Option<u32>> =
            self.children.pids().into_iter().map(|(name, pid)| (name, *pid.borrow())).collect();
        let endpoints = json!({
            "services": self.addresses,
            "trust_bundle": trust_bundle,
            "trust_domain": self.issuer.trust_domain().as_str(),
            "clients": clients,
            "protos": layout::repository()?.join("pci-zone/contract/proto"),
            "processor_control": self.control.url(),
            "pids": pids,
            "logs": self.layout.root().join("log"),
            "enrolment": self.enrolment.as_ref().map(|enrolment| enrolment.for_others()).transpose()?,
        });
        let path = self.layout.endpoints();
        let partial = path.with_extension("partial");
        let text = serde_json::to_vec_pretty(&endpoints).map_err(Fault::of("endpoints.json"))?;
        std::fs::write(&partial, text).map_err(Fault::io("write", &partial))?;
        std::fs::rename(&partial, &path).map_err(Fault::io("write", &path))?;
        Ok(path)
    }

    /// Ends every service.
    pub async fn end(self) {
        drop(self.keeping);
        self.children.end().await;
    }
}

/// Account keys and settings for those who have a certificate from the beginning, made while other things start.
fn prepare_renewal(
    layout: &Layout,
    issuer: &Arc<Issuer>,
    acme: &Arc<Acme>,
) -> tokio::task::JoinHandle<Result<Renewal, Fault>> {
    let (layout, issuer, acme) = (layout.clone(), Arc::clone(issuer), Arc::clone(acme));
    let services = OPS.iter().map(|(name, _)| *name).chain([PURCHASE, MONITORING]).collect();
    tokio::task::spawn_blocking(move || Renewal::prepare(&layout, &issuer, &acme, services))
}

async fn reissue(issuer: Arc<Issuer>) {
    loop {
        tokio::time::sleep(REISSUE_EVERY).await;
        if let Err(error) = issuer.renew_all() {
            tracing::error!(%error, "certificates could not be renewed");
        }
    }
}

/// Where the processor is, as it says itself.
#[derive(serde::Deserialize)]
struct Processor {
    base_url: String,
    control_url: String,
    root_pem: PathBuf,
    api_key: String,
}

async fn start_processor(layout: &Layout, children: &mut Children) -> Result<Processor, Fault> {
    let ready = layout.ready("processor-sandbox.json");
    let [listen, control] = ports::free()?;
    let arguments = [
        ("--listen", format!("127.0.0.1:{listen}")),
        ("--control", format!("127.0.0.1:{control}")),
        ("--ready", ready.display().to_string()),
        ("--books", layout.state("processor-books.jsonl").display().to_string()),
    ];
    let service = Service {
        name: "processor-sandbox".to_owned(),
        binary: layout::binary("processor-sandbox")?,
        arguments: arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
        environment: Vec::new(),
        log: layout.log("processor-sandbox"),
        ready: ready.clone(),
    };
    children.start(service.clone())?;
    children.all_ready(&[service]).await?;
    let text = std::fs::read(&ready).map_err(Fault::io("read", &ready))?;
    let processor: Processor = serde_json::from_slice(&text).map_err(Fault::of("the processor's ready file"))?;
    write_secret(&layout.state("processor.key"), &processor.api_key)?;
    Ok(processor)
}

/// Starts the authority's server; gives its address.
async fn start_authority(layout: &Layout, ca: &Token, children: &mut Children) -> Result<String, Fault> {
    let [port] = ports::free()?;
    let address = format!("127.0.0.1:{port}");
    let (dir, ready) = (layout.authority(), layout.ready(AUTHORITY));
    let arguments = [
        ("--dir", dir.display().to_string()),
        ("--services", address.clone()),
        ("--dns", "localhost".to_owned()),
        ("--ip", "127.0.0.1".to_owned()),
        ("--ready-file", ready.display().to_string()),
    ];
    let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let arguments = std::iter::once("serve".to_owned()).chain(arguments).collect();
    let environment = vec![("SOFTHSM2_CONF".to_owned(), ca.conf.clone())];
    let service = service(layout, AUTHORITY, "larder-ca", arguments, environment)?;
    children.start(service.clone())?;
    children.all_ready(&[service]).await?;
    Ok(address)
}

async fn start_services(
    layout: &Layout,
    issuer: &Issuer,
    pci: &Token,
    processor: &Processor,
    authority: String,
    children: &mut Children,
) -> Result<BTreeMap<String, String>, Fault> {
    let [purchase, inventory, customers, status, admin] = ports::free()?;
    let ports = [inventory, customers, status, admin];
    let mut addresses: BTreeMap<String, String> =
        OPS.iter().zip(ports).map(|((name, _), port)| ((*name).to_owned(), format!("127.0.0.1:{port}"))).collect();
    let mut services = Vec::new();
    for (name, _) in OPS {
        let listen = addresses.get(name).cloned().unwrap_or_default();
        config::write_ops(layout, issuer, name, &listen, &authority)?;
        let arguments = vec!["--config".to_owned(), layout.config(name).display().to_string()];
        services.push(service(layout, name, &format!("ops-{name}"), arguments, Vec::new())?);
    }
    addresses.insert(AUTHORITY.to_owned(), authority);
    addresses.insert(PURCHASE.to_owned(), format!("127.0.0.1:{purchase}"));
    let asked = config::Purchase {
        base_url: &processor.base_url,
        api_key_file: &layout.state("processor.key"),
        pinned_roots: &processor.root_pem,
        token: pci,
        addresses: &addresses,
    };
    config::write_purchase(layout, issuer, &asked)?;
    let environment = vec![("SOFTHSM2_CONF".to_owned(), pci.conf.clone())];
    let arguments = vec![layout.config(PURCHASE).display().to_string()];
    services.push(service(layout, PURCHASE, PURCHASE, arguments, environment)?);
    for service in &services {
        children.start(service.clone())?;
    }
    children.all_ready(&services).await?;
    Ok(addresses)
}

fn service(
    layout: &Layout,
    name: &str,
    binary: &str,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
) -> Result<Service, Fault> {
    Ok(Service {
        name: name.to_owned(),
        binary: layout::binary(binary)?,
        arguments,
        environment,
        log: layout.log(name),
        ready: layout.ready(name),
    })
}
