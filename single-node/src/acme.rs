//! The authority's ACME server on this machine, and the external account keys that it is asked with.
//!
//! Where names and addresses are proved is port 80 in life. Whoever plays here may not have it, and an ACME client of others
//! has to listen somewhere, too: so the server is told one port for our own services, and another for the one name that
//! others may prove.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::children::{Children, Service, run};
use crate::hsm::Token;
use crate::issuer::{Issuer, Party};
use crate::layout::{self, Layout};
use crate::services::{ACME, AUTHORITY, HOUSE};
use crate::{Fault, ports};

/// The DNS name that an ACME client of others may prove here, and what it is a name of.
const FOREIGN: (&str, &str) = ("client.larder.internal", "console");

/// The ACME server.
pub struct Acme {
    layout: Layout,
    address: String,
    /// Where our own services prove what they are, and others what they may.
    proofs: u16,
    foreign_proofs: u16,
}

impl Acme {
    /// Decides where it will be; keys can be made for it from now on.
    ///
    /// # Errors
    /// [`Fault`] when there is no free port.
    pub(crate) fn prepare(layout: &Layout) -> Result<Self, Fault> {
        let [port, proofs, foreign_proofs] = ports::free()?;
        Ok(Self { layout: layout.clone(), address: format!("127.0.0.1:{port}"), proofs, foreign_proofs })
    }

    /// Starts it and waits until it answers. Its own certificate is issued by hand, since nobody can ask a server for the
    /// one that it has to show first; and were it to run out, nobody could ask for any.
    ///
    /// # Errors
    /// [`Fault`] when it does not start.
    pub(crate) async fn start(&self, issuer: &Issuer, ca: &Token, children: &mut Children) -> Result<(), Fault> {
        issuer.issue(&Party::Service(AUTHORITY))?;
        let service = Service {
            name: ACME.to_owned(),
            binary: layout::binary("larder-acme")?,
            arguments: self.arguments(issuer),
            environment: vec![("SOFTHSM2_CONF".to_owned(), ca.conf.clone())],
            log: self.layout.log(ACME),
            ready: self.layout.ready(ACME),
        };
        children.start(service.clone())?;
        children.all_ready(&[service]).await
    }

    fn arguments(&self, issuer: &Issuer) -> Vec<String> {
        let (certificate, key, _) = issuer.files(&Party::Service(AUTHORITY));
        let own = [
            ("--dir", self.layout.authority().display().to_string()),
            ("--database", self.database().display().to_string()),
            ("--listen", self.address.clone()),
            ("--origin", format!("https://{}", self.address)),
            ("--certificate", certificate.display().to_string()),
            ("--key", key.display().to_string()),
            ("--http01-port", self.proofs.to_string()),
            ("--resolve", format!("{}=127.0.0.1:{}", FOREIGN.0, self.foreign_proofs)),
            ("--ready-file", self.layout.ready(ACME).display().to_string()),
        ];
        // Of our own names no resolver knows.
        let names: std::collections::BTreeSet<String> = HOUSE.iter().flat_map(|name| issuer.names(name).dns).collect();
        let ours = names.into_iter().map(|name| ("--resolve", format!("{name}=127.0.0.1:{}", self.proofs)));
        let arguments = own.into_iter().chain(ours).flat_map(|(flag, value)| [flag.to_owned(), value]);
        std::iter::once("serve".to_owned()).chain(arguments).collect()
    }

    /// Its address, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where clients begin.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/acme/directory", self.address)
    }

    /// The port at which our own services are asked for proofs.
    pub(crate) const fn proofs(&self) -> u16 {
        self.proofs
    }

    /// The external account key of a party in this file: what `larder-acme` said of it when it made it, which it does once.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be made.
    pub(crate) fn account_key(&self, party: &str, allows: &[&str], file: &Path) -> Result<Value, Fault> {
        let kept = file.with_extension("json");
        if !kept.exists() {
            let mut command = Command::new(layout::binary("larder-acme")?);
            command.args(["eab", "new", "--json", "--id", party, "--database"]).arg(self.database());
            command.args(allows).arg("--out").arg(file);
            std::fs::write(&kept, run(command, "larder-acme eab new")?).map_err(Fault::io("write", &kept))?;
        }
        let text = std::fs::read(&kept).map_err(Fault::io("read", &kept))?;
        serde_json::from_slice(&text).map_err(Fault::of("an external account key"))
    }

    /// What an ACME client of others needs.
    ///
    /// # Errors
    /// [`Fault`] when no external account key can be made for it.
    pub(crate) fn for_others(&self) -> Result<[(&'static str, Value); 3], Fault> {
        let (name, service) = FOREIGN;
        let file = self.layout.state("foreign-account-key");
        let key = self.account_key(&format!("service/{service}"), &["--dns", name], &file)?;
        let http01 = json!({ "name": name, "port": self.foreign_proofs, "resolves_to": "127.0.0.1" });
        Ok([("directory", self.directory().into()), ("http01", http01), ("external_account", key)])
    }

    fn database(&self) -> PathBuf {
        self.layout.state("acme.sqlite")
    }
}

/// The id of a key that [`Acme::account_key`] gave.
pub(crate) fn key_id(key: &Value) -> &str {
    key.get("kid").and_then(Value::as_str).unwrap_or_default()
}
