//! What fridges need to get their certificates besides the authority's ACME server: the attestation service with the firmware
//! that is known to be good, a maker of TPMs and the TPMs that he makes.
//!
//! The maker and the TPMs stand outside our walls, so they are doubles; everything that judges them is the product. Each
//! fridge has an external account key of its own, as a factory would give it one: made for the hash of its endorsement key.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use authority::SubjectKey;
use data_encoding::HEXLOWER;
use fridge_identity::TpmSettings;
use fridge_tpm::{Tpm, TpmAddress};
use serde_json::{Value, json};
use tpm_sandbox::{Boot, Maker, SandboxTpm};

use crate::acme::{Acme, key_id};
use crate::children::{Children, Service, run};
use crate::issuer::{Issuer, Party};
use crate::layout::{self, Layout};
use crate::renewal::Renewal;
use crate::secrets::write_secret;
use crate::services::ATTESTATION;
use crate::{Fault, people, ports};

/// The registers that the firmware of these fridges is measured into; their keys for TLS die when one changes.
const REGISTERS: [u8; 2] = [0, 7];

/// The firmware that is released: what it measures.
#[must_use]
pub fn released() -> Boot {
    Boot::new(&[(0, b"fridge firmware 1"), (7, b"release keys 1")])
}

/// Its successor, which is released beside it.
#[must_use]
pub fn updated() -> Boot {
    Boot::new(&[(0, b"fridge firmware 2"), (7, b"release keys 1")])
}

/// Firmware that nobody released.
#[must_use]
pub fn changed() -> Boot {
    Boot::new(&[(0, b"fridge firmware 1, changed by somebody"), (7, b"release keys 1")])
}

/// Where fridges get their certificates.
pub struct Enrolment {
    layout: Layout,
    maker: Maker,
    acme: Arc<Acme>,
    attestation: String,
    tpms: Mutex<BTreeMap<String, SandboxTpm>>,
}

impl Enrolment {
    /// Starts the attestation service, and waits until it answers.
    ///
    /// # Errors
    /// [`Fault`] names what did not start.
    pub(crate) async fn start(
        layout: &Layout,
        issuer: &Issuer,
        acme: &Arc<Acme>,
        renewal: &mut Renewal,
        authority: &str,
        children: &mut Children,
    ) -> Result<Self, Fault> {
        let [port] = ports::free()?;
        let attestation = format!("127.0.0.1:{port}");
        let (own, kept) = (layout.clone(), layout.root().join("tpm"));
        let maker = tokio::task::spawn_blocking(move || made(&own, &kept)).await.map_err(Fault::of("a maker"))??;
        renewal.add(ATTESTATION).await?;
        write_attestation(layout, issuer, &maker, &attestation, authority)?;
        let service = attestation_service(layout)?;
        children.start(service.clone())?;
        children.all_ready(&[service]).await?;
        Ok(Self { layout: layout.clone(), maker, acme: Arc::clone(acme), attestation, tpms: Mutex::default() })
    }

    /// The address of the attestation service.
    pub(crate) fn address(&self) -> &str {
        &self.attestation
    }

    /// Gives a fridge's TPM power, with this firmware; the maker makes one for a fridge that has none, and the authority an
    /// external account key for it. Blocks for a second or two.
    ///
    /// # Errors
    /// [`Fault`] when the TPM or the key cannot be made.
    pub fn boot(&self, fridge: &str, firmware: &Boot) -> Result<TpmSettings, Fault> {
        let folder = self.layout.root().join("tpm").join(fridge);
        let mut tpms = self.tpms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tpm = match tpms.remove(fridge) {
            Some(tpm) => tpm,
            None => self.maker.make(&folder).map_err(Fault::of("a TPM"))?,
        };
        tpm.boot(firmware).map_err(Fault::of("a TPM's boot"))?;
        let address = tpm.address().unwrap_or_default();
        let event_log = tpm.event_log();
        tpms.insert(fridge.to_owned(), tpm);
        drop(tpms);
        let (id, file) = (identifier(&address)?, folder.join("account-key"));
        let key = self.acme.account_key(&format!("fridge/{fridge}"), &["--ek-sha256", &id], &file)?;
        Ok(TpmSettings {
            address,
            event_log,
            folder: folder.join("identity"),
            maker_intermediates: Some(self.maker.issuer()),
            registers: REGISTERS.to_vec(),
            authority_address: self.acme.address().to_owned(),
            authority_directory: self.acme.directory(),
            attestation_address: self.attestation.clone(),
            account_key_id: key_id(&key).to_owned(),
            account_key_file: file,
            status_address: None,
        })
    }

    /// Has the authority give a fridge another external account key, and forgets its account: what a security team does for
    /// a fridge that was stolen and found.
    ///
    /// # Errors
    /// [`Fault`] when a file cannot be removed.
    pub fn forget_account(&self, fridge: &str) -> Result<(), Fault> {
        let folder = self.layout.root().join("tpm").join(fridge);
        for name in ["account-key", "account-key.json", "identity/account.json"] {
            let file = folder.join(name);
            if file.exists() {
                std::fs::remove_file(&file).map_err(Fault::io("remove", &file))?;
            }
        }
        Ok(())
    }

    /// What an ACME client, and an attesting device, of others need.
    ///
    /// # Errors
    /// [`Fault`] when no external account key can be made for them.
    pub(crate) fn for_others(&self) -> Result<Value, Fault> {
        let mut known = json!({
            "attestation": format!("https://{}", self.attestation),
            "tpm_maker_root": self.maker.root(),
        });
        if let Some(members) = known.as_object_mut() {
            members.extend(self.acme.for_others()?.map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(known)
    }
}

/// The maker, and one TPM: with it he makes his own certificates, which the attestation service must know.
fn made(layout: &Layout, folder: &Path) -> Result<Maker, Fault> {
    let maker = Maker::open(&folder.join("maker")).map_err(Fault::of("a maker of TPMs"))?;
    if !maker.root().exists() {
        maker.make(&layout.root().join("tpm").join("first")).map_err(Fault::of("a TPM"))?;
    }
    Ok(maker)
}

/// What the authority calls the TPM at this address.
fn identifier(address: &str) -> Result<String, Fault> {
    let address: TpmAddress = address.parse().map_err(Fault::of("a TPM's address"))?;
    let endorsement = Tpm::open(&address).and_then(|tpm| tpm.endorsement()).map_err(Fault::of("a TPM"))?;
    Ok(HEXLOWER.encode(&endorsement.permanent_identifier().map_err(Fault::of("a TPM's key"))?))
}

fn attestation_service(layout: &Layout) -> Result<Service, Fault> {
    let config = layout.config(ATTESTATION).display().to_string();
    Ok(Service {
        name: ATTESTATION.to_owned(),
        binary: layout::binary("larder-attest")?,
        arguments: vec!["serve".to_owned(), "--config".to_owned(), config],
        environment: Vec::new(),
        log: layout.log(ATTESTATION),
        ready: layout.ready(ATTESTATION),
    })
}

/// Writes the attestation service's settings, and the signed list of the firmware that is released.
fn write_attestation(
    layout: &Layout,
    issuer: &Issuer,
    maker: &Maker,
    listen: &str,
    authority: &str,
) -> Result<(), Fault> {
    let (list, signed) = (layout.state("firmware.json"), layout.state("firmware.jws"));
    let (key, public) = (layout.state("firmware.key"), layout.state("firmware.pub"));
    if !signed.exists() {
        let (point, pair) = SubjectKey::generate().map_err(Fault::of("a key for the list of firmware"))?;
        write_secret(&key, pair.expose())?;
        std::fs::write(&public, people::spki_pem(&point)).map_err(Fault::io("write", &public))?;
        std::fs::write(&list, firmware().to_string()).map_err(Fault::io("write", &list))?;
        let mut command = Command::new(layout::binary("larder-attest")?);
        command.args(["sign-values", "--values"]).arg(&list).arg("--key").arg(&key).arg("--out").arg(&signed);
        run(command, "larder-attest sign-values")?;
    }
    let (certificate, own_key, bundle) = issuer.files(&Party::Service(ATTESTATION));
    let config = json!({
        "listen": listen,
        "certificate": certificate,
        "key": own_key,
        "database": layout.state("attestation.sqlite"),
        "maker_roots": maker.root(),
        "reference_values": signed,
        "reference_values_key": public,
        "ready_file": layout.ready(ATTESTATION),
        "authority": { "address": authority, "bundle": bundle },
    });
    let text = toml::to_string(&config).map_err(Fault::of("the attestation service's settings"))?;
    let path = layout.config(ATTESTATION);
    std::fs::write(&path, text).map_err(Fault::io("write", &path))
}

/// The list of released firmware.
fn firmware() -> Value {
    let one = |name: &str, boot: &Boot| {
        let events = boot.events();
        let events = events.map(|(register, hash)| json!({"register": register, "sha256": HEXLOWER.encode(&hash)}));
        json!({ "name": name, "events": events.collect::<Vec<_>>() })
    };
    let firmware = [one("fridge firmware 1", &released()), one("fridge firmware 2", &updated())];
    json!({ "version": 1, "registers": REGISTERS, "firmware": firmware })
}
