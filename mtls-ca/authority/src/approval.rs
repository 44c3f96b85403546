//! Two people agree to what one alone may not do: make or retire an authority, change who agrees, take back many certificates
//! at once.
//!
//! What they sign is the exact act as canonical JSON, together with the head of the journal of acts: so an approval serves
//! once, and for nothing else. ECDSA with P-256 and SHA-256, as `openssl dgst -sha256 -sign` makes it. [`Approved`] can be
//! made here alone, and the function that signs an authority's certificate takes one.

use ca_identity::Name;
use data_encoding::{BASE64, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{Refusal, SubjectKey};

/// How many have to agree.
const NEEDED: usize = 2;
/// The most people who may.
const MOST: usize = 8;

/// Somebody who may agree to acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Who it is, for people to read.
    pub name: String,
    /// The uncompressed P-256 point of the key, lowercase hex: what counts.
    pub point: String,
}

impl Approver {
    /// Takes a name and a P-256 public key in PEM (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// [`Refusal::Approvers`] when either is none.
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::Approvers(format!("the key of {name:?} cannot be used: {why}"));
        Name::parse(name).map_err(|why| Refusal::Approvers(format!("{name:?} is no name of an approver: {why}")))?;
        let der =
            SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong("it is no public key in PEM"))?;
        let (_, key) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| wrong("it is no public key"))?;
        let key = SubjectKey::from_point(&key.subject_public_key.data).map_err(|_| wrong("it is not P-256"))?;
        Ok(Self { name: name.to_owned(), point: HEXLOWER.encode(key.point()) })
    }

    /// Whether these can be the approvers of an authority: none, or two to eight with a key and a name each of their own.
    pub(crate) fn check_all(approvers: &[Self]) -> Result<(), Refusal> {
        let refused = |why: &str| Err(Refusal::Approvers(why.to_owned()));
        if !approvers.is_empty() && !(NEEDED..=MOST).contains(&approvers.len()) {
            return refused("there are two to eight approvers, or none");
        }
        for (at, one) in approvers.iter().enumerate() {
            if approvers
                .iter()
                .skip(at.saturating_add(1))
                .any(|other| other.name == one.name || other.point == one.point)
            {
                return refused("two approvers have one name or one key; each is a person with a key of his own");
            }
        }
        Ok(())
    }
}

/// One person's agreement to one act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// SHA-256 of the act, lowercase hex: what was agreed to, for people to compare.
    pub act_sha256: String,
    /// The point of the key that signed, lowercase hex.
    pub point: String,
    /// The signature, DER, base64.
    pub signature: String,
}

impl Approval {
    /// Agrees to an act with a P-256 key in PEM (PKCS #8).
    ///
    /// # Errors
    /// [`Refusal::Key`] when the key is none, or the system gives no randomness.
    pub fn sign(act: &str, key_pem: &str) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::Key(why.to_owned());
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| wrong("it is not PKCS #8 in PEM"))?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &random)
            .map_err(|_| wrong("it is no P-256 key"))?;
        let signature = pair.sign(&random, act.as_bytes()).map_err(|_| wrong("the system gives no randomness"))?;
        Ok(Self {
            act_sha256: sha256(act),
            point: HEXLOWER.encode(pair.public_key().as_ref()),
            signature: BASE64.encode(signature.as_ref()),
        })
    }

    fn is_for(&self, act: &str) -> bool {
        let (Ok(point), Ok(signature)) =
            (HEXLOWER.decode(self.point.as_bytes()), BASE64.decode(self.signature.as_bytes()))
        else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        self.act_sha256 == sha256(act) && key.verify(act.as_bytes(), &signature).is_ok()
    }
}

/// Leave to sign a certificate of the authority's own.
#[derive(Debug)]
pub(crate) struct Approved(());

impl Approved {
    /// Making an authority is the first ceremony: there is nobody yet who could agree.
    pub(crate) const fn first_ceremony() -> Self {
        Self(())
    }

    /// A key that was agreed to gets a certificate of the same kind for longer.
    pub(crate) const fn same_key() -> Self {
        Self(())
    }

    /// Two different approvers agreed to exactly this act.
    pub(crate) fn check(act: &str, approvals: &[Approval], approvers: &[Approver]) -> Result<Self, Refusal> {
        if approvers.is_empty() {
            return Err(Refusal::NoApprovers);
        }
        let mut agreed: Vec<&str> = Vec::new();
        for approval in approvals.iter().take(MOST) {
            let Some(approver) = approvers.iter().find(|approver| approver.point == approval.point) else {
                return Err(Refusal::NotApproved("one of the approvals is by a key that is no approver's".to_owned()));
            };
            let name = &approver.name;
            if !approval.is_for(act) {
                let why =
                    format!("the approval of {name} is not for this act: it is for another one, or was used already");
                return Err(Refusal::NotApproved(why));
            }
            if !agreed.contains(&name.as_str()) {
                agreed.push(name);
            }
        }
        if agreed.len() < NEEDED {
            let names: Vec<&str> = approvers.iter().map(|approver| approver.name.as_str()).collect();
            let (have, all) = (agreed.len(), names.join(", "));
            return Err(Refusal::NotApproved(format!("{have} of {all} agreed, and {NEEDED} of them must")));
        }
        Ok(Self(()))
    }
}

/// SHA-256 of an act as people compare it, lowercase hex.
pub(crate) fn sha256(act: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, act.as_bytes()).as_ref())
}

#[cfg(test)]
#[path = "approval_tests.rs"]
pub(crate) mod tests;
