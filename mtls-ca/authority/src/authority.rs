//! The authority itself: made once, opened often, and the one function that reaches the signer.
//!
//! Each signature goes the same way: template → sign → independent check → log → out. A certificate that fails the check
//! is logged as withheld, so that the log has as many entries as the token has made signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ca_identity::TrustDomain;
use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, Issuer};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::chain::pem;
use crate::check::{self, Expected};
use crate::log::{Draft, EntryState, Head, Kind, Log};
use crate::template::{self, Life, TokenKey};
use crate::token::{KeyName, Token};
use crate::{
    AttestationKeyOrder, AuthorityConfig, AuthorityError, Corrupt, Fault, IssuedChain, Order, Profile, Refusal,
    attestation_key, files,
};

/// Clocks of fridges go wrong by minutes; a certificate is good a little before it was made.
const BACKDATE_S: i64 = 10 * 60;
const DAY_S: i64 = 24 * 60 * 60;
const ROOT_LIFE_S: i64 = 3652 * DAY_S;
const INTERMEDIATE_LIFE_S: i64 = 90 * DAY_S;
/// An intermediate with less than this before it is renewed on request.
const RENEW_BELOW_S: i64 = 45 * DAY_S;

/// The authority's own keys, as `policies/keys.toml` plans them.
const AUTHORITIES: [(Kind, KeyName, &str); 4] = [
    (Kind::Root, KeyName { label: "larder-ca-root-1", id: "root-1" }, "root.pem"),
    (Kind::DeviceIntermediate, KeyName { label: "larder-ca-device-1", id: "device-1" }, "device.pem"),
    (Kind::ServiceIntermediate, KeyName { label: "larder-ca-service-1", id: "service-1" }, "service.pem"),
    (
        Kind::AttestationIntermediate,
        KeyName { label: "larder-ca-attestation-1", id: "attestation-1" },
        "attestation.pem",
    ),
];

/// An intermediate that got a new certificate for its old key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Which one.
    pub kind: Kind,
    /// The last second of its new life, since the Unix epoch.
    pub not_after_unix_s: i64,
}

/// A certificate of the authority and the key it belongs to.
pub(crate) struct Own {
    pub(crate) kind: Kind,
    pub(crate) key: KeyName,
    pub(crate) point: Vec<u8>,
    pub(crate) der: Vec<u8>,
    path: PathBuf,
}

impl Own {
    /// Where its revocation list of the moment is, DER.
    pub(crate) fn list_path(&self) -> PathBuf {
        self.path.with_extension("crl")
    }
}

/// What changes while the authority is open.
pub(crate) struct State {
    pub(crate) log: Log,
    root: Own,
    pub(crate) device: Own,
    pub(crate) service: Own,
    attestation: Own,
}

/// An open authority; shareable between threads.
pub struct Authority {
    pub(crate) token: Token,
    trust_domain: TrustDomain,
    dir: PathBuf,
    pub(crate) state: Mutex<State>,
}

impl Authority {
    /// Makes an authority: its keys inside the token, a root and three intermediates, and their log. Its settings are written
    /// last; without them there is no authority.
    ///
    /// # Errors
    /// [`Refusal::AlreadyInitialised`] or [`Refusal::TokenInUse`] when there is one already; otherwise what failed.
    pub fn init(config: &AuthorityConfig, now_unix_s: i64) -> Result<Self, AuthorityError> {
        if config.exists() {
            return Err(Refusal::AlreadyInitialised(config.dir.clone()).into());
        }
        files::make_dir(&config.dir)?;
        let token = Token::open(config)?;
        for (_, key, _) in AUTHORITIES {
            if token.holds(key)? {
                let (token, key) = (config.token_label.clone(), key.label.to_owned());
                return Err(Refusal::TokenInUse { token, key }.into());
            }
        }
        let mut log = Log::create(&config.dir)?;
        let mut make = |(kind, key, file), issuer: Option<&Own>| {
            let point = token.generate(key)?;
            let own = Own { kind, key, point, der: Vec::new(), path: config.dir.join(file) };
            certify(&token, &config.trust_domain, &mut log, own, issuer, now_unix_s)
        };
        let [root, device, service, attestation] = AUTHORITIES;
        let root = make(root, None)?;
        let device = make(device, Some(&root))?;
        let service = make(service, Some(&root))?;
        let attestation = make(attestation, Some(&root))?;
        config.save()?;
        let state = Mutex::new(State { log, root, device, service, attestation });
        Ok(Self { token, trust_domain: config.trust_domain.clone(), dir: config.dir.clone(), state })
    }

    /// Opens an authority: logs in, checks that its keys are kept as they must be and belong to its certificates, and
    /// verifies its whole log.
    ///
    /// # Errors
    /// [`Refusal::NotInitialised`], or [`Corrupt`] when something is not as this code left it.
    pub fn open(config: &AuthorityConfig) -> Result<Self, AuthorityError> {
        if !config.exists() {
            return Err(Refusal::NotInitialised(config.dir.clone()).into());
        }
        let token = Token::open(config)?;
        let log = Log::open(&config.dir)?;
        let [root, device, service, attestation] = AUTHORITIES.map(|own| load(&token, &config.dir, own));
        let state = State { log, root: root?, device: device?, service: service?, attestation: attestation? };
        let state = Mutex::new(state);
        Ok(Self { token, trust_domain: config.trust_domain.clone(), dir: config.dir.clone(), state })
    }

    /// Issues a leaf: the only way to a signature for a party.
    ///
    /// # Errors
    /// [`Refusal`] when the party is of another trust domain or would outlive its issuer; [`Fault`] when the token, the
    /// disk or our own check failed. Asking again is safe.
    pub fn issue(&self, order: &Order, now_unix_s: i64) -> Result<IssuedChain, AuthorityError> {
        if order.id().trust_domain() != &self.trust_domain {
            let ours = self.trust_domain.as_str().to_owned();
            return Err(Refusal::TrustDomain { id: Box::new(order.id().clone()), ours }.into());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { log, device, service, .. } = &mut *state;
        let issuer = match order.profile() {
            Profile::Device => &*device,
            Profile::Service | Profile::Operator => &*service,
        };
        let life = life_under(issuer, now_unix_s, i64::from(order.lifetime_s()))?;
        let key = TokenKey::new(&self.token, issuer.key, &issuer.point);
        let der = sign(&template::leaf(order, &life)?, order.key(), &key, issuer)?;
        let expected = Expected { point: order.key().point(), life: &life, issuer: &issuer.der };
        let verdict = check::leaf(&der, order, &expected);
        let entry = record(log, template::kind_of(order.profile()), order.id().as_str(), &life, &der, verdict)?;
        Ok(chain(&der, issuer, entry))
    }

    /// Issues the certificate of a TPM's attestation key, good for an hour. Whether the key lives in that TPM is the
    /// attestation service's to know.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_attestation_key(
        &self,
        order: &AttestationKeyOrder,
        now_unix_s: i64,
    ) -> Result<IssuedChain, AuthorityError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { log, attestation: issuer, .. } = &mut *state;
        let life = life_under(issuer, now_unix_s, attestation_key::LIFETIME_S)?;
        let key = TokenKey::new(&self.token, issuer.key, &issuer.point);
        let der = sign(&template::attestation_key(order, &life)?, order.key(), &key, issuer)?;
        let expected = Expected { point: order.key().point(), life: &life, issuer: &issuer.der };
        let verdict = check::attestation_key(&der, order, &expected);
        let entry = record(log, Kind::AttestationKey, &order.subject(), &life, &der, verdict)?;
        Ok(chain(&der, issuer, entry))
    }

    /// The certificate of the intermediate under which attestation keys are, DER: for who verifies what such a key signed.
    #[must_use]
    pub fn attestation_intermediate_der(&self) -> Vec<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).attestation.der.clone()
    }

    /// Gives the intermediates that are past half of their life a new certificate for the same key. Leaves that are out
    /// stay good, since they name the key.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn renew(&self, now_unix_s: i64) -> Result<Vec<Renewed>, AuthorityError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { log, root, device, service, attestation } = &mut *state;
        let mut renewed = Vec::new();
        for own in [device, service, attestation] {
            let ends = check::not_after_unix_s(&own.der).map_err(Fault::Withheld)?;
            if ends.saturating_sub(now_unix_s) >= RENEW_BELOW_S {
                continue;
            }
            let next =
                Own { kind: own.kind, key: own.key, point: own.point.clone(), der: vec![], path: own.path.clone() };
            *own = certify(&self.token, &self.trust_domain, log, next, Some(root), now_unix_s)?;
            let not_after_unix_s = check::not_after_unix_s(&own.der).map_err(Fault::Withheld)?;
            renewed.push(Renewed { kind: own.kind, not_after_unix_s });
        }
        Ok(renewed)
    }

    /// The roots to trust, PEM.
    #[must_use]
    pub fn trust_bundle_pem(&self) -> String {
        pem("CERTIFICATE", &self.state.lock().unwrap_or_else(PoisonError::into_inner).root.der)
    }

    /// The end of the issuance log as this authority last knew it.
    #[must_use]
    pub fn head(&self) -> Head {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).log.head().clone()
    }

    /// How many signatures the token has made for this authority since it was opened.
    #[must_use]
    pub fn signatures(&self) -> u64 {
        self.token.signatures()
    }

    /// Whom it vouches for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("dir", &self.dir)
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// Makes, checks, logs and keeps a certificate of the authority itself; without an issuer it signs itself.
fn certify(
    token: &Token,
    trust_domain: &TrustDomain,
    log: &mut Log,
    mut own: Own,
    issuer: Option<&Own>,
    now_unix_s: i64,
) -> Result<Own, AuthorityError> {
    let life = life(now_unix_s, if issuer.is_some() { INTERMEDIATE_LIFE_S } else { ROOT_LIFE_S })?;
    let params = template::authority(own.kind, trust_domain, &life)?;
    let subject = TokenKey::new(token, own.key, &own.point);
    own.der = match issuer {
        Some(issuer) => sign(&params, &subject, &TokenKey::new(token, issuer.key, &issuer.point), issuer)?,
        None => params.self_signed(&subject).map_err(|why| subject.cause(&why))?.der().to_vec(),
    };
    let issuer_der = issuer.map_or(own.der.as_slice(), |issuer| issuer.der.as_slice());
    let verdict =
        check::authority(&own.der, own.kind, &Expected { point: &own.point, life: &life, issuer: issuer_der });
    record(log, own.kind, &template::authority_name(own.kind, trust_domain), &life, &own.der, verdict)?;
    files::write(&own.path, pem("CERTIFICATE", &own.der).as_bytes(), 0o644)?;
    Ok(own)
}

/// Loads a certificate of the authority and makes sure that it is its key's.
fn load(token: &Token, dir: &Path, (kind, key, file): (Kind, KeyName, &str)) -> Result<Own, AuthorityError> {
    let point = token.check(key)?;
    let path = dir.join(file);
    let text = fs::read(&path).map_err(|source| files::disk("cannot read", &path, source))?;
    let corrupt = |why| Corrupt::Certificate { path: path.clone(), why };
    let der = CertificateDer::from_pem_slice(&text).map_err(|_| corrupt("it is no certificate"))?.to_vec();
    if check::point_of(&der).map_err(corrupt)? != point {
        return Err(corrupt("it is for another key").into());
    }
    Ok(Own { kind, key, point, der, path })
}

fn sign(
    params: &CertificateParams,
    subject: &impl rcgen::PublicKeyData,
    key: &TokenKey<'_>,
    issuer: &Own,
) -> Result<Vec<u8>, AuthorityError> {
    let signer = Issuer::from_ca_cert_der(&CertificateDer::from(issuer.der.as_slice()), key)
        .map_err(|why| Fault::Encoding(why.to_string()))?;
    let signed = params.signed_by(subject, &signer).map_err(|why| key.cause(&why))?;
    Ok(signed.der().to_vec())
}

/// Writes what was signed into the log; only then does a good one get out.
fn record(
    log: &mut Log,
    kind: Kind,
    subject: &str,
    life: &Life,
    der: &[u8],
    verdict: Result<(), &'static str>,
) -> Result<crate::Entry, AuthorityError> {
    let state = if verdict.is_ok() { EntryState::Issued } else { EntryState::Withheld };
    let entry = log.append(Draft {
        state,
        kind,
        subject: subject.to_owned(),
        serial: HEXLOWER.encode(&life.serial),
        not_before_unix_s: life.not_before_unix_s,
        not_after_unix_s: life.not_after_unix_s,
        certificate_sha256: HEXLOWER.encode(digest(&SHA256, der).as_ref()),
    })?;
    verdict.map_err(Fault::Withheld)?;
    tracing::info!(kind = kind.as_str(), subject, serial = entry.serial, "certificate issued");
    Ok(entry)
}

/// What is handed out of a logged certificate.
fn chain(der: &[u8], issuer: &Own, entry: crate::Entry) -> IssuedChain {
    IssuedChain {
        chain_pem: [pem("CERTIFICATE", der), pem("CERTIFICATE", &issuer.der)].concat(),
        serial: entry.serial,
        not_before_unix_s: entry.not_before_unix_s,
        not_after_unix_s: entry.not_after_unix_s,
        sha256: entry.certificate_sha256,
    }
}

/// The life of a leaf, which must end before its issuer's.
fn life_under(issuer: &Own, now_unix_s: i64, seconds: i64) -> Result<Life, AuthorityError> {
    let life = life(now_unix_s, seconds)?;
    let not_after_unix_s = check::not_after_unix_s(&issuer.der).map_err(Fault::Withheld)?;
    if life.not_after_unix_s > not_after_unix_s {
        return Err(Refusal::IssuerTooOld { issuer: issuer.kind.as_str(), not_after_unix_s }.into());
    }
    Ok(life)
}

/// A fresh serial number and the life from now on. The number is positive and has all of its 16 bytes: its first two bits
/// are 01 and 126 are random.
fn life(now_unix_s: i64, seconds: i64) -> Result<Life, AuthorityError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| Fault::Encoding("the system gives no randomness".to_owned()))?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3F) | 0x40;
    }
    let time = |offset| now_unix_s.checked_add(offset).ok_or(Refusal::Time(now_unix_s));
    Ok(Life { serial, not_before_unix_s: time(-BACKDATE_S)?, not_after_unix_s: time(seconds)? })
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
