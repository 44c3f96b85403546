//! The signer's way, which every certificate goes: template → sign → independent check → log → out. A certificate that fails
//! the check is logged as withheld, so that the log has as many entries as the token has made signatures.
//!
//! Here are also the authority's own certificates, one for each generation of its keys. It leaves who may have what signed to
//! `authority` and `rotate`.

use std::fs;
use std::path::{Path, PathBuf};

use ca_identity::TrustDomain;
use ca_rotation::GenerationId;
use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, Issuer};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::approval::Approved;
use crate::chain::pem;
use crate::check::{self, Expected};
use crate::log::{Draft, EntryState, Kind, Log};
use crate::template::{self, Life, TokenKey};
use crate::token::Token;
use crate::{AuthorityError, Corrupt, Fault, IssuedChain, Refusal, files};

/// Clocks of fridges go wrong by minutes; a certificate is good a little before it was made.
pub(crate) const BACKDATE_S: i64 = 10 * 60;
const DAY_S: i64 = 24 * 60 * 60;
const ROOT_LIFE_S: i64 = 3652 * DAY_S;
const INTERMEDIATE_LIFE_S: i64 = 90 * DAY_S;

/// A certificate of the authority and the key it belongs to.
pub(crate) struct Own {
    pub(crate) id: GenerationId,
    /// The number of the root it stands under; its own for a root.
    pub(crate) root: u32,
    pub(crate) point: Vec<u8>,
    pub(crate) der: Vec<u8>,
    path: PathBuf,
}

impl Own {
    pub(crate) const fn kind(&self) -> Kind {
        template::kind_of_tier(self.id.tier)
    }

    /// The key, for signing with it.
    pub(crate) fn key<'a>(&'a self, token: &'a Token) -> TokenKey<'a> {
        TokenKey::new(token, self.id, &self.point)
    }

    /// Where its revocation list of the moment is, DER.
    pub(crate) fn list_path(&self) -> PathBuf {
        self.path.with_extension("crl")
    }
}

/// Where the certificate of a generation is.
pub(crate) fn path_of(dir: &Path, id: GenerationId) -> PathBuf {
    match id.number {
        1 => dir.join(format!("{}.pem", id.tier)),
        _ => dir.join(format!("{id}.pem")),
    }
}

/// Where an authority's certificates are signed and kept.
pub(crate) struct Desk<'a> {
    pub(crate) token: &'a Token,
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) dir: &'a Path,
}

impl Desk<'_> {
    /// Makes, checks, logs and keeps a certificate of the authority itself; without an issuer it signs itself. This is the
    /// one function that reaches the token's keys for that, and it takes leave to.
    pub(crate) fn certify(
        &self,
        log: &mut Log,
        (id, point): (GenerationId, Vec<u8>),
        issuer: Option<&Own>,
        now_unix_s: i64,
        _leave: &Approved,
    ) -> Result<Own, AuthorityError> {
        let root = issuer.map_or(id.number, |issuer| issuer.id.number);
        let mut own = Own { id, root, point, der: Vec::new(), path: path_of(self.dir, id) };
        let life = life(now_unix_s, if issuer.is_some() { INTERMEDIATE_LIFE_S } else { ROOT_LIFE_S })?;
        let params = template::authority(id, self.trust_domain, &life)?;
        let subject = own.key(self.token);
        let der = match issuer {
            Some(issuer) => sign(&params, &subject, &issuer.key(self.token), issuer)?,
            None => params.self_signed(&subject).map_err(|why| subject.cause(&why))?.der().to_vec(),
        };
        own.der = der;
        let issuer_der = issuer.map_or(own.der.as_slice(), |issuer| issuer.der.as_slice());
        let verdict =
            check::authority(&own.der, id.tier, &Expected { point: &own.point, life: &life, issuer: issuer_der });
        let signed_by = issuer.map_or(id, |issuer| issuer.id);
        let name = template::authority_name(id, self.trust_domain);
        record(log, own.kind(), signed_by, &name, &life, &own.der, verdict)?;
        files::write(&own.path, pem("CERTIFICATE", &own.der).as_bytes(), 0o644)?;
        Ok(own)
    }

    /// Loads a certificate of the authority and makes sure that it is its key's.
    pub(crate) fn load(&self, id: GenerationId, root: u32) -> Result<Own, AuthorityError> {
        let point = self.token.check(id)?;
        let path = path_of(self.dir, id);
        let text = fs::read(&path).map_err(|source| files::disk("cannot read", &path, source))?;
        let corrupt = |why| Corrupt::Certificate { path: path.clone(), why };
        let der = CertificateDer::from_pem_slice(&text).map_err(|_| corrupt("it is no certificate"))?.to_vec();
        if check::point_of(&der).map_err(corrupt)? != point {
            return Err(corrupt("it is for another key").into());
        }
        Ok(Own { id, root, point, der, path })
    }
}

pub(crate) fn sign(
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
pub(crate) fn record(
    log: &mut Log,
    kind: Kind,
    issuer: GenerationId,
    subject: &str,
    life: &Life,
    der: &[u8],
    verdict: Result<(), &'static str>,
) -> Result<crate::Entry, AuthorityError> {
    let state = if verdict.is_ok() { EntryState::Issued } else { EntryState::Withheld };
    let entry = log.append(Draft {
        state,
        kind,
        issuer,
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
pub(crate) fn chain(der: &[u8], issuer: &Own, entry: crate::Entry) -> IssuedChain {
    IssuedChain {
        chain_pem: [pem("CERTIFICATE", der), pem("CERTIFICATE", &issuer.der)].concat(),
        serial: entry.serial,
        not_before_unix_s: entry.not_before_unix_s,
        not_after_unix_s: entry.not_after_unix_s,
        sha256: entry.certificate_sha256,
    }
}

/// The life of a leaf, which must end before its issuer's.
pub(crate) fn life_under(issuer: &Own, now_unix_s: i64, seconds: i64) -> Result<Life, AuthorityError> {
    let life = life(now_unix_s, seconds)?;
    let not_after_unix_s = check::not_after_unix_s(&issuer.der).map_err(Fault::Withheld)?;
    if life.not_after_unix_s > not_after_unix_s {
        return Err(Refusal::IssuerTooOld { issuer: issuer.kind().as_str(), not_after_unix_s }.into());
    }
    Ok(life)
}

/// A fresh serial number and the life from now on. The number is positive and has all of its 16 bytes: its first two bits
/// are 01 and 126 are random.
pub(crate) fn life(now_unix_s: i64, seconds: i64) -> Result<Life, AuthorityError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| Fault::Encoding("the system gives no randomness".to_owned()))?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3F) | 0x40;
    }
    let time = |offset| now_unix_s.checked_add(offset).ok_or(Refusal::Time(now_unix_s));
    Ok(Life { serial, not_before_unix_s: time(-BACKDATE_S)?, not_after_unix_s: time(seconds)? })
}
