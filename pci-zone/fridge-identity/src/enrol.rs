//! One certificate, from the order to the chain: what the authority, the TPM and the attestation service say to each other
//! through the fridge.
//!
//! A try that breaks anywhere is begun anew, with the same key for TLS: it is kept from when it was made, because the
//! attestation service lets each key be followed by one key, and would take one that comes with another for a copy.

use std::path::Path;

use attest_evidence::{Attest, HashAlgorithm, PcrSelection, Said};
use ca_client::{Account, Challenge, Identifier, Order, Span, Web, next_bundle};
use ca_mtls::BundleFollower;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use fridge_tpm::{
    Attested, Attesting, Message, Refusal, Reply, StoredKey, Tpm, TpmError, TpmSigner, Transport, attest,
    attestation_object,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::store::{Folder, Held};
use crate::{EnrolError, Settings};

/// The authority's name for certificates of fridges.
const PROFILE: &str = "device";
/// The registers that firmware is measured into.
const FIRMWARE: std::ops::RangeInclusive<u8> = 0..=7;
/// The longest log of a boot; the attestation service takes no longer one.
const MOST_LOG_BYTES: u64 = 512 * 1_024;

/// What it takes to get a certificate.
pub(crate) struct Enrolment {
    pub(crate) settings: Settings,
    pub(crate) tpm: Tpm,
    pub(crate) folder: Folder,
    pub(crate) authority: Web,
    pub(crate) attestation: Web,
    pub(crate) bundles: BundleFollower,
}

impl Enrolment {
    /// Gets a certificate for a new key. `held` is what there was before, whether or not it ran out.
    pub(crate) async fn certificate(&self, held: Option<&Held>) -> Result<Held, EnrolError> {
        let account = self.account().await?;
        let attesting = self.prepared(held).await?;
        let booted = self.booted().await?;
        let order = Order::place(&account, PROFILE, &[identifier(&attesting)?]).await?;
        let (acme_account, acme_order) = (account.thumbprint(), order.url().to_owned());
        let attesting = Attesting { acme_account, acme_order, ..attesting };
        let attested = self.attested(&attesting).await?;
        for challenge in order.challenges("device-attest-01").await? {
            self.meet(&order, &challenge, &attesting, &attested).await?;
        }
        let chain_pem = order.certificate(&attesting.request).await?;
        // After it and not before: the authority gives an old root up once every certificate is younger than the bundle.
        let asked = |known| {
            let authority = self.authority.clone();
            async move { next_bundle(&authority, known).await }
        };
        self.bundles.catch_up(asked).await.map_err(EnrolError::Fault)?;
        Ok(Held { key: attesting.tls_key, chain_pem, reasons: attested.reasons, booted })
    }

    /// What was booted, as the TPM knows it: the digest of the registers that firmware is measured into (TCG PC Client
    /// Platform Firmware Profile, section 3.3.4), hex. It goes nowhere; it is for telling one boot from another here.
    pub(crate) async fn booted(&self) -> Result<String, EnrolError> {
        let (tpm, key_file) = (self.tpm.clone(), self.folder.attestation_key());
        aside(move || {
            let registers = PcrSelection::of(HashAlgorithm::Sha256, FIRMWARE);
            let quote = tpm.quote(&tpm.attestation_key(&key_file)?, registers, b"what was booted")?;
            match Attest::parse(&quote.statement).map(|attest| attest.said) {
                Ok(Said::Quote(quoted)) => Ok(HEXLOWER.encode(quoted.digest)),
                _ => Err(EnrolError::Fault("the TPM says something else than what was booted".to_owned())),
            }
        })
        .await
    }

    /// The window in which the authority would have a certificate renewed, and when to ask for it again, in seconds.
    pub(crate) async fn hint(&self, held: &Held) -> Result<(Span, u64), EnrolError> {
        let chain = held.chain()?;
        let leaf = chain.first().ok_or_else(|| EnrolError::Corrupt("the chain is empty".to_owned()))?;
        Ok(ca_client::hint(&self.account().await?, leaf).await?)
    }

    /// The account with the authority, made when there is none.
    async fn account(&self) -> Result<Account, EnrolError> {
        let authority = self.authority.clone();
        if let Some(credentials) = self.folder.account()? {
            return Ok(Account::open(authority, &credentials).await?);
        }
        let (id, secret) = self.settings.external_account()?;
        let (account, credentials) = Account::create(authority, &self.settings.directory, &id, &secret).await?;
        self.folder.keep_account(&credentials)?;
        Ok(account)
    }

    /// Asks the TPM for all that an attestation begins with; the order comes later.
    async fn prepared(&self, held: Option<&Held>) -> Result<Attesting, EnrolError> {
        let (tpm, settings) = (self.tpm.clone(), self.settings.clone());
        let (key_file, next_key) = (self.folder.attestation_key(), self.folder.next_key());
        let previous_tls_key: Option<StoredKey> = held.map(|held| held.key.clone());
        aside(move || {
            let (tls_key, request) = requested(&tpm, &settings, &next_key)?;
            Ok(Attesting {
                endorsement: tpm.endorsement()?,
                ek_intermediates: settings.ek_intermediates.clone(),
                attestation_key: tpm.attestation_key(&key_file)?,
                tls_key,
                request,
                previous_tls_key,
                acme_account: String::new(),
                acme_order: String::new(),
            })
        })
        .await
    }

    /// Has the attestation service judge the TPM.
    async fn attested(&self, attesting: &Attesting) -> Result<Attested, EnrolError> {
        let (tpm, attesting, path) = (self.tpm.clone(), attesting.clone(), self.settings.event_log.clone());
        let mut way = Way { web: self.attestation.clone(), runtime: Handle::current() };
        aside(move || {
            let log = crate::store::read(&path, MOST_LOG_BYTES)?.ok_or_else(|| {
                let path = path.display();
                EnrolError::Fault(format!("there is no log of the boot at {path}: see whether the firmware keeps one"))
            })?;
            Ok(attest(&tpm, &attesting, &log, &mut way)?)
        })
        .await
    }

    /// Meets the authority's challenge with what was attested (draft-ietf-acme-device-attest, section 5).
    async fn meet(
        &self,
        order: &Order<'_>,
        challenge: &Challenge,
        attesting: &Attesting,
        attested: &Attested,
    ) -> Result<(), EnrolError> {
        let (tpm, attesting, attested) = (self.tpm.clone(), attesting.clone(), attested.clone());
        let authorization = challenge.key_authorization.clone();
        let object = aside(move || Ok(attestation_object(&tpm, &attesting, &attested, &authorization)?)).await?;
        Ok(order.meet(challenge, &json!({ "attObj": BASE64URL_NOPAD.encode(&object) })).await?)
    }
}

/// The key that the certificate is to be for, and the request for it: the one of a try before, or else a new one.
fn requested(tpm: &Tpm, settings: &Settings, file: &Path) -> Result<(StoredKey, Vec<u8>), EnrolError> {
    let request =
        |key: &StoredKey| TpmSigner::new(tpm.clone(), key.clone()).certificate_request(settings.party.as_str());
    if let Some(key) = StoredKey::load(file)? {
        match request(&key) {
            Ok(request) => return Ok((key, request)),
            // It was made under other releases, or is another board's: it will never sign again.
            Err(TpmError::Refused(Refusal::Registers { .. }) | TpmError::Corrupt(_)) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let key = tpm.make_tls_key(settings.registers)?;
    key.keep(file)?;
    let request = request(&key)?;
    Ok((key, request))
}

/// What the authority calls this device: the hash of its endorsement key's SubjectPublicKeyInfo, hex.
fn identifier(attesting: &Attesting) -> Result<Identifier, EnrolError> {
    Ok(Identifier::Permanent(HEXLOWER.encode(&attesting.endorsement.permanent_identifier()?)))
}

/// Does what blocks on a thread that may be blocked.
async fn aside<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, EnrolError> + Send + 'static,
) -> Result<T, EnrolError> {
    spawn_blocking(what).await.map_err(|why| EnrolError::Fault(format!("the TPM's answer was lost: {why}")))?
}

/// The way to the attestation service, for a thread that may be blocked.
struct Way {
    web: Web,
    runtime: Handle,
}

impl Transport for Way {
    fn post(&mut self, message: &Message) -> Result<Reply, String> {
        let answer = self.runtime.block_on(self.web.post_json(&message.path, message.body.clone()));
        let answer = answer.map_err(|why| why.to_string())?;
        Ok(Reply { status: answer.status().as_u16(), body: answer.into_body().to_vec() })
    }
}
