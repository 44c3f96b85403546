//! The certificates of this machine's services: one `larder-renew` gets them over ACME and replaces them in time, as on any
//! machine. What a person brings to a machine is brought here: the roots to begin with, an external account key for each
//! service that allows its own names and no others, and the settings.
//!
//! Issued by hand, straight from the authority, is what ACME cannot give: the authority's own certificate, which its ACME
//! server has to show before anybody can ask; and what is no service's, operators' and fridges' with a key in a file. The
//! attestation service is no prerequisite of any of this, so it gets its own here like all the others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use authority::now_unix_s;
use ca_mtls::Identity;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::Fault;
use crate::acme::{Acme, key_id};
use crate::children::{Children, Pid, Service, last_line};
use crate::issuer::{Issuer, Party};
use crate::layout::{self, Layout};
use crate::services::{MONITORING, RENEW};

/// How long it may take until all certificates are there.
const THERE_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Who keeps the certificates, and of whom.
pub struct Renewal {
    layout: Layout,
    issuer: Arc<Issuer>,
    acme: Arc<Acme>,
    services: Vec<&'static str>,
    pid: Option<Pid>,
}

impl Renewal {
    /// Prepares the machine for these services. Blocks.
    ///
    /// # Errors
    /// [`Fault`] when a key cannot be made, or a file written.
    pub(crate) fn prepare(
        layout: &Layout,
        issuer: &Arc<Issuer>,
        acme: &Arc<Acme>,
        services: Vec<&'static str>,
    ) -> Result<Self, Fault> {
        let (issuer, acme) = (Arc::clone(issuer), Arc::clone(acme));
        let prepared = Self { layout: layout.clone(), issuer, acme, services, pid: None };
        prepared.write()?;
        Ok(prepared)
    }

    /// Starts `larder-renew`, and waits until every service has a certificate that is good.
    ///
    /// # Errors
    /// [`Fault`] names those that have none in time, and the log.
    pub(crate) async fn start(&mut self, children: &mut Children) -> Result<(), Fault> {
        children.start(Service {
            name: RENEW.to_owned(),
            binary: layout::binary("larder-renew")?,
            arguments: vec![self.layout.config(RENEW).display().to_string()],
            environment: Vec::new(),
            log: self.layout.log(RENEW),
            ready: self.layout.ready(RENEW),
        })?;
        self.pid = children.pids().into_iter().find(|(name, _)| name == RENEW).map(|(_, pid)| pid);
        self.wait(|_, identity| identity.own().check_alive(now_unix_s()).is_ok()).await
    }

    /// Keeps the certificate of one more service, and waits until it is there. `larder-renew` reads its settings when it
    /// begins, and begins anew with what it held.
    ///
    /// # Errors
    /// As for [`Renewal::start`].
    pub(crate) async fn add(&mut self, service: &'static str) -> Result<(), Fault> {
        if !self.services.contains(&service) {
            self.services.push(service);
            self.write()?;
            self.signal(Signal::TERM).await?;
        }
        self.wait(|_, identity| identity.own().check_alive(now_unix_s()).is_ok()).await
    }

    /// Has every service given its next certificate now, and waits until all are in their places.
    ///
    /// # Errors
    /// As for [`Renewal::start`].
    pub(crate) async fn all_now(&self) -> Result<(), Fault> {
        let serial = |service| self.held(service).map(|identity| identity.own().serial.clone());
        let before: Vec<Option<String>> = self.services.iter().map(|service| serial(service)).collect();
        self.signal(Signal::HUP).await?;
        let another = |place: usize, identity: &Identity| {
            let before = before.get(place).and_then(Option::as_ref);
            before.is_none_or(|before| *before != identity.own().serial)
        };
        self.wait(another).await
    }

    /// What a service holds, when key and certificate belong together.
    fn held(&self, service: &'static str) -> Option<Identity> {
        let (certificate, key, _) = self.issuer.files(&Party::Service(service));
        Identity::load(&certificate, &key).ok()
    }

    /// Waits until what each service holds is as wanted; those are told by their places.
    async fn wait(&self, wanted: impl Fn(usize, &Identity) -> bool) -> Result<(), Fault> {
        let until = Instant::now() + THERE_WITHIN;
        let lacks = |(place, service): (usize, &&'static str)| {
            self.held(service).filter(|identity| wanted(place, identity)).is_none().then_some(*service)
        };
        loop {
            let lacking: Vec<&str> = self.services.iter().enumerate().filter_map(lacks).collect();
            if lacking.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                let (names, log) = (lacking.join(", "), self.layout.log(RENEW));
                let (log, last) = (log.display(), last_line(&log));
                return Err(Fault::new(format!("no certificate for {names}; the log is {log} and ends: {last}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn signal(&self, signal: Signal) -> Result<(), Fault> {
        let gone = || Fault::new("larder-renew does not run".to_owned());
        let mut pid = self.pid.clone().ok_or_else(gone)?;
        // It may be between two starts.
        let runs = tokio::time::timeout(THERE_WITHIN, pid.wait_for(Option::is_some)).await;
        let id = runs.ok().and_then(Result::ok).and_then(|id| *id).and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw).ok_or_else(gone)?;
        rustix::process::kill_process(id, signal).map_err(Fault::of("larder-renew"))
    }

    /// Brings each service its roots and its account key, and writes the settings.
    fn write(&self) -> Result<(), Fault> {
        let certificates = self.services.iter().map(|service| self.wanted(service)).collect::<Result<Vec<_>, _>>()?;
        let (_, _, bundle) = self.issuer.files(&Party::Service(MONITORING));
        let settings = json!({
            "authority_address": self.acme.address(),
            "authority_directory": self.acme.directory(),
            // One that is followed for as long as this machine runs; larder-renew reads it for each certificate.
            "trust_bundle": bundle,
            "trust_domain": self.issuer.trust_domain().as_str(),
            "http01_listen": format!("127.0.0.1:{}", self.acme.proofs()),
            "certificate": certificates,
        });
        let (path, text) = (self.layout.config(RENEW), toml::to_string(&settings));
        let text = text.map_err(Fault::of("the settings of larder-renew"))?;
        std::fs::write(&path, text).map_err(Fault::io("write", &path))
    }

    fn wanted(&self, service: &'static str) -> Result<serde_json::Value, Fault> {
        let (certificate, key, _) = self.issuer.files(&Party::Service(service));
        // The service itself replaces it from then on.
        self.issuer.bundle_in(&self.layout.identity(service))?;
        let (names, party, file) = (self.issuer.names(service), format!("service/{service}"), self.account(service)?);
        let ip: Vec<String> = names.ip.iter().map(ToString::to_string).collect();
        let dns = names.dns.iter().flat_map(|name| ["--dns", name.as_str()]);
        let allows: Vec<&str> = dns.chain(ip.iter().flat_map(|address| ["--ip", address.as_str()])).collect();
        let account_key = self.acme.account_key(&party, &allows, &file)?;
        Ok(json!({
            "party": party,
            "dns": names.dns,
            "ip": ip,
            "certificate": certificate,
            "key": key,
            "account": file.with_extension("account"),
            "account_key_id": key_id(&account_key),
            "account_key_file": file,
        }))
    }

    /// Where the account key of a service is; its account beside it. An account is known at one address, and the ACME server
    /// has another with each start of a machine.
    fn account(&self, service: &str) -> Result<PathBuf, Fault> {
        let folder = self.layout.root().join("accounts").join(self.acme.address().replace(':', "-"));
        std::fs::create_dir_all(&folder).map_err(Fault::io("make the folder", &folder))?;
        Ok(folder.join(service))
    }
}
