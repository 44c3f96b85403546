//! Trust bundles: signed by a root that is in the bundle before, logged, kept one file a version, and handed out one version
//! after the other, so that whoever trusts any of them can come to the last.
//!
//! Which version is in force is said by the acts alone: a bundle that a crash left beside them is signed again.

use std::path::{Path, PathBuf};

use ca_mtls::{BundleDraft, SignedBundle, TrustBundle};
use ca_rotation::{GenerationId, Tier};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use crate::chain::pem;
use crate::check;
use crate::log::{Draft, EntryState, Kind, Log};
use crate::signer::{Desk, Own};
use crate::{AuthorityError, Corrupt, Fault, files};

/// The most bytes of a kept bundle.
const MAX_BYTES: usize = 64 * 1024;

/// A trust bundle as it is handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedBundle {
    /// Its version.
    pub version: u64,
    /// The bundle, a compact JWS.
    pub text: String,
}

/// Signs a bundle, judges it as a follower would, and logs it; it is in force when the acts say so.
pub(crate) fn sign(
    desk: &Desk<'_>,
    log: &mut Log,
    version: u64,
    roots: &[&Own],
    by: &Own,
    now_unix_s: i64,
) -> Result<(), AuthorityError> {
    let ders: Vec<Vec<u8>> = roots.iter().map(|root| root.der.clone()).collect();
    let encoding = |why: ca_mtls::BundleError| Fault::Encoding(why.to_string());
    let draft = BundleDraft {
        trust_domain: desk.trust_domain,
        version,
        issued_at_unix_s: now_unix_s,
        roots: &ders,
        signer_point: &by.point,
    };
    let input = draft.signing_input().map_err(encoding)?;
    let signature = desk.token.sign(by.id, digest(&SHA256, input.as_bytes()).as_ref())?;
    let text = BundleDraft::assemble(&input, &signature);
    let verdict = judge(desk, &text, version, roots, by);
    files::write(&path(desk.dir, version), text.as_bytes(), 0o644)?;
    let names: Vec<String> = roots.iter().map(|root| root.id.to_string()).collect();
    log.append(Draft {
        state: if verdict.is_ok() { EntryState::Issued } else { EntryState::Withheld },
        kind: Kind::TrustBundle,
        issuer: by.id,
        subject: format!("trust bundle {version}: {}", names.join(", ")),
        serial: format!("{version:02x}"),
        not_before_unix_s: now_unix_s,
        not_after_unix_s: check::not_after_unix_s(&by.der).map_err(Fault::Withheld)?,
        certificate_sha256: hash(&text),
    })?;
    Ok(verdict.map_err(Fault::Withheld)?)
}

fn judge(desk: &Desk<'_>, text: &str, version: u64, roots: &[&Own], by: &Own) -> Result<(), &'static str> {
    let before = TrustBundle::from_pem(pem("CERTIFICATE", &by.der).as_bytes()).map_err(|_| "its signer is no root")?;
    let read = SignedBundle::check(text, &before, desk.trust_domain, version.saturating_sub(1));
    let read = read.map_err(|_| "a follower would not believe the bundle")?;
    let wanted: String = roots.iter().map(|root| pem("CERTIFICATE", &root.der)).collect();
    if read.version() == version && read.pem() == wanted { Ok(()) } else { Err("the bundle says something else") }
}

/// Reads the bundle of a version that is or was in force.
pub(crate) fn read(dir: &Path, log: &Log, version: u64) -> Result<PublishedBundle, AuthorityError> {
    let path = path(dir, version);
    let corrupt = |why| Corrupt::Bundle { path: path.clone(), why };
    let text = std::fs::read_to_string(&path).map_err(|source| files::disk("cannot read", &path, source))?;
    if text.len() > MAX_BYTES || log.bundle(version) != Some(hash(&text).as_str()) {
        return Err(corrupt("it is not the one last logged").into());
    }
    Ok(PublishedBundle { version, text })
}

/// The id of a root.
pub(crate) const fn root(number: u32) -> GenerationId {
    GenerationId::new(Tier::Root, number)
}

fn path(dir: &Path, version: u64) -> PathBuf {
    dir.join(format!("bundle-{version}.jws"))
}

fn hash(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}
