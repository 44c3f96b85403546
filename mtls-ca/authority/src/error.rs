//! What can go wrong, by whose fault it is: the caller's ([`Refusal`]), ours or the token's ([`Fault`]), or a stored state
//! that no code of ours could have written ([`Corrupt`]). Every text says what happened, why, and what to do.

use std::path::PathBuf;

use ca_identity::SpiffeId;
use thiserror::Error;

/// Why the authority did not do what it was asked.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The request cannot be granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The authority or something it depends on failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What is stored cannot be trusted; nothing is done until a person has looked at it.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// A request that cannot be granted, by the caller's fault.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The folder holds an authority already.
    #[error(
        "{} already holds an authority; use it as it is (`larder-ca list --dir {}`), or give another folder and token",
        .0.display(), .0.display()
    )]
    AlreadyInitialised(PathBuf),
    /// The token holds keys of an authority already.
    #[error(
        "the token {token:?} already holds the key {key:?}, and an authority's keys are never overwritten; \
         open the authority they belong to, or give a fresh token"
    )]
    TokenInUse {
        /// The token's label.
        token: String,
        /// The key that is there.
        key: String,
    },
    /// The folder holds no authority.
    #[error("{} holds no authority; make one with `larder-ca init --dir {}`", .0.display(), .0.display())]
    NotInitialised(PathBuf),
    /// The token is not there.
    #[error("no token is labelled {label:?}; found: {found}; check the label and the token's environment")]
    NoSuchToken {
        /// The label that was looked for.
        label: String,
        /// The labels that are there.
        found: String,
    },
    /// A PIN that others may read, or that is not there.
    #[error("{0}")]
    Pin(String),
    /// The profile is not for a party of this kind.
    #[error("the profile {profile} is not for {id}; devices are fridges, services services, operators operators")]
    Profile {
        /// The profile asked for.
        profile: &'static str,
        /// The party.
        id: Box<SpiffeId>,
    },
    /// A party of another trust domain.
    #[error("{id} is not of this authority's trust domain {ours}")]
    TrustDomain {
        /// The party.
        id: Box<SpiffeId>,
        /// The domain this authority vouches for.
        ours: String,
    },
    /// Host names where none may be.
    #[error("only services may have host names or addresses; leave --dns and --ip out for devices and operators")]
    NamesNotAllowed,
    /// A host name that is none, or too many of them.
    #[error("{0}")]
    Names(String),
    /// A lifetime out of bounds.
    #[error("a lifetime of {asked_s} s was asked for; it must be between {min_s} s and {max_s} s")]
    Lifetime {
        /// Seconds asked for.
        asked_s: u32,
        /// The least, in seconds.
        min_s: u32,
        /// The most, in seconds.
        max_s: u32,
    },
    /// The intermediate would end before the leaf.
    #[error(
        "the {issuer} ends at {}, before the certificate asked for would; run `larder-ca renew`, then ask again",
        ca_rotation::moment(*not_after_unix_s)
    )]
    IssuerTooOld {
        /// Which intermediate.
        issuer: &'static str,
        /// The last second of its life, since the Unix epoch.
        not_after_unix_s: i64,
    },
    /// A key we do not certify.
    #[error("the key cannot be certified: {0}; make a P-256 key and a request signed with it")]
    Key(String),
    /// What is said of a TPM and cannot stand in a certificate.
    #[error(
        "the {attribute} of the TPM is {value:?}; it must be 1 to 64 printable ASCII characters, as in the TPM's own \
         endorsement certificate"
    )]
    Tpm {
        /// Which of the three attributes.
        attribute: &'static str,
        /// What it was, shortened.
        value: String,
    },
    /// People who cannot be the approvers of an authority.
    #[error("these cannot be the approvers: {0}; name two to eight people, each with a P-256 key of his own")]
    Approvers(String),
    /// An act that takes two people, at an authority that has nobody.
    #[error(
        "this takes the agreement of two people, and this authority was made without approvers; make one with \
         `larder-ca init --approver NAME=FILE --approver NAME=FILE`, and move the parties to it"
    )]
    NoApprovers,
    /// An act to which not enough people agreed.
    #[error(
        "this takes the agreement of two people: {0}; have them sign the act as it is now (`larder-ca approve --act FILE \
         --key FILE`)"
    )]
    NotApproved(String),
    /// A step of a rotation whose gate is shut.
    #[error(transparent)]
    Rotation(Box<ca_rotation::Refusal>),
    /// No certificate that lives is meant.
    #[error("{0} has no certificate that lives, so there is nothing to revoke; `larder-ca list` shows what there is")]
    NothingToRevoke(String),
    /// A time no calendar holds.
    #[error("the time {0} s since the epoch is out of range; check the clock")]
    Time(i64),
    /// A file the caller named cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name on the command line that is none.
    #[error("{text:?} is no name of a party: {why}; write spiffe://<trust-domain>/service/<name>, or service/<name>")]
    Id {
        /// What was written.
        text: String,
        /// Why it is none.
        why: ca_identity::SpiffeIdError,
    },
}

impl Refusal {
    /// A stable code for programs; the text is for people.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyInitialised(_) => "already_initialised",
            Self::TokenInUse { .. } => "token_in_use",
            Self::NotInitialised(_) => "not_initialised",
            Self::NoSuchToken { .. } => "no_such_token",
            Self::Pin(_) => "pin",
            Self::Profile { .. } => "profile",
            Self::TrustDomain { .. } => "trust_domain",
            Self::NamesNotAllowed => "names_not_allowed",
            Self::Names(_) => "names",
            Self::Lifetime { .. } => "lifetime",
            Self::IssuerTooOld { .. } => "issuer_too_old",
            Self::Key(_) => "key",
            Self::Tpm { .. } => "tpm",
            Self::Approvers(_) => "approvers",
            Self::NoApprovers => "no_approvers",
            Self::NotApproved(_) => "not_approved",
            Self::Rotation(why) => why.code(),
            Self::NothingToRevoke(_) => "nothing_to_revoke",
            Self::Time(_) => "time",
            Self::Unreadable { .. } => "unreadable",
            Self::Id { .. } => "id",
        }
    }
}

/// A failure of the authority or of what it depends on. Asking again is always safe: what was not handed out is at worst
/// one more entry in the log.
#[derive(Debug, Error)]
pub enum Fault {
    /// The token or its module.
    #[error("the token failed to {what}: {why}; check the module, the token and the PIN")]
    Token {
        /// What was being done.
        what: &'static str,
        /// What PKCS#11 said.
        why: String,
    },
    /// The disk.
    #[error("{what} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process held the log for too long.
    #[error("{} is held by another process; wait until it has ended, then ask again", .0.display())]
    Busy(PathBuf),
    /// The server.
    #[error("the authority cannot serve: {0}")]
    Serve(String),
    /// A certificate could not be put together.
    #[error("the certificate could not be made: {0}")]
    Encoding(String),
    /// The signed certificate is not what was ordered. It was logged as withheld and never left.
    #[error("the signed certificate was withheld, because it is not what was ordered: {0}; report this as a defect")]
    Withheld(&'static str),
}

/// A stored state that no code of ours could have written.
#[derive(Debug, Error)]
pub enum Corrupt {
    /// The issuance log.
    #[error(
        "the issuance log is damaged or was changed at line {line}: {why}; issue nothing, keep the file, and compare it \
         with its copies"
    )]
    Log {
        /// The line, counted from one.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The acts.
    #[error(
        "the acts of the authority are damaged or were changed at line {line}: {why}; do nothing, keep the file, and compare \
         it with its copies"
    )]
    Acts {
        /// The line, counted from one.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A trust bundle.
    #[error("the trust bundle {} cannot be used: {why}; restore it from a backup", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The settings.
    #[error("{} cannot be used: {why}; restore it from a backup", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate of the authority itself.
    #[error("{} is not a certificate of this authority's key: {why}; restore it from a backup", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A revocation list.
    #[error("the revocation list {} cannot be used: {why}; restore it from a backup", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key of the authority that is missing or is not kept as it must be.
    #[error("the key {key:?} in the token cannot be used: {why}; it was not made by this authority, find out by whom")]
    Key {
        /// The key's label.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io;

    use ca_identity::SpiffeId;

    use super::{AuthorityError, Corrupt, Fault, Refusal};

    fn refusals() -> Vec<Refusal> {
        let id = || Box::new(SpiffeId::parse("spiffe://larder.internal/fridge/f1").unwrap());
        vec![
            Refusal::AlreadyInitialised("dir".into()),
            Refusal::TokenInUse { token: "t".into(), key: "k".into() },
            Refusal::NotInitialised("dir".into()),
            Refusal::NoSuchToken { label: "t".into(), found: "none".into() },
            Refusal::Pin("the PIN is wrong; check the PIN file".into()),
            Refusal::Profile { profile: "service", id: id() },
            Refusal::TrustDomain { id: id(), ours: "other.example".into() },
            Refusal::NamesNotAllowed,
            Refusal::Names("it is no host name".into()),
            Refusal::Lifetime { asked_s: 1, min_s: 300, max_s: 604_800 },
            Refusal::IssuerTooOld { issuer: "device-intermediate", not_after_unix_s: 7 },
            Refusal::Key("it is not a P-256 key".into()),
            Refusal::Tpm { attribute: "model", value: String::new() },
            Refusal::Approvers("nobody is named".into()),
            Refusal::NoApprovers,
            Refusal::NotApproved("1 of ada, bob agreed".into()),
            Refusal::Rotation(Box::new(ca_rotation::Refusal::NothingToUndo(ca_rotation::Tier::Device))),
            Refusal::NothingToRevoke("fridge/f1".into()),
            Refusal::Time(i64::MAX),
            Refusal::Unreadable { path: "file".into(), source: io::ErrorKind::NotFound.into() },
            Refusal::Id { text: "x".into(), why: SpiffeId::parse("x").unwrap_err() },
        ]
    }

    #[test]
    fn each_refusal_has_a_code_of_its_own_that_programs_can_hold_on_to() {
        let codes: HashSet<_> = refusals().iter().map(Refusal::code).collect();
        assert_eq!(codes.len(), refusals().len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn the_texts_say_what_to_do() {
        for (refusal, words) in refusals().iter().zip([
            "use it as it is",
            "give a fresh token",
            "larder-ca init",
            "check the label",
            "check the PIN file",
            "devices are fridges",
            "other.example",
            "leave --dns and --ip out",
            "no host name",
            "between 300 s and 604800 s",
            "larder-ca renew",
            "make a P-256 key",
            "endorsement certificate",
            "two to eight people",
            "--approver",
            "larder-ca approve",
            "nothing to undo",
            "larder-ca list",
            "check the clock",
            "cannot read file",
            "write spiffe://",
        ]) {
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
    }

    #[test]
    fn whose_fault_it_was_is_kept_and_the_text_is_the_same() {
        let refused = AuthorityError::from(Refusal::NamesNotAllowed);
        assert!(matches!(refused, AuthorityError::Refused(_)));
        assert_eq!(refused.to_string(), Refusal::NamesNotAllowed.to_string());
        let fault = AuthorityError::from(Fault::Busy("issued.jsonl".into()));
        assert!(matches!(fault, AuthorityError::Fault(_)) && fault.to_string().contains("wait until it has ended"));
        let corrupt = AuthorityError::from(Corrupt::Log { line: 3, why: "it is no entry" });
        assert!(matches!(corrupt, AuthorityError::Corrupt(_)) && corrupt.to_string().contains("issue nothing"));
    }
}
