//! The acts: everything that was ever decided about the authority's own keys and about who decides, as a journal. Where the
//! rotations stand, and who the approvers are, is the fold of these lines and stands nowhere else; so after a crash an act
//! either happened or did not.
//!
//! Reading checks again what was checked before writing: that each act follows from those before it, and that those which
//! need it bear the signatures of two approvers of the time.

use std::fs::File;
use std::path::Path;

use ca_identity::TrustDomain;
use ca_rotation::{Act, Rotation};
use serde::{Deserialize, Serialize};

use crate::approval::{Approval, Approved, Approver};
use crate::journal::{Journal, Line};
use crate::{AuthorityError, Corrupt, Fault, Head, Refusal};

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decision {
    /// The authority was made, with these approvers. The first, and never again.
    Made {
        /// Who may agree to acts; nobody for an authority without approvers.
        approvers: Vec<Approver>,
    },
    /// Others may agree to acts from now on.
    Approvers {
        /// Who.
        approvers: Vec<Approver>,
    },
    /// A step of a rotation.
    Rotate(Act),
    /// Everything below one generation was taken back.
    RevokeAll {
        /// The generation, such as `device-1`.
        issuer: String,
        /// Why, in the standard's word.
        reason: String,
    },
}

impl Decision {
    /// Whether two people have to agree to it.
    #[must_use]
    pub const fn needs_approval(&self) -> bool {
        match self {
            Self::Made { .. } => false,
            Self::Approvers { .. } | Self::RevokeAll { .. } => true,
            Self::Rotate(act) => act.makes_or_retires(),
        }
    }
}

/// One line of the acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActLine {
    sequence: u64,
    previous: String,
    at_unix_s: i64,
    decision: Decision,
    approvals: Vec<Approval>,
    hash: String,
}

impl Line for ActLine {
    /// Eight approvers and eight approvals have some 5,000.
    const MAX_BYTES: u64 = 16 * 1024;

    fn corrupt(line: u64, why: &'static str) -> Corrupt {
        Corrupt::Acts { line, why }
    }

    fn place(&self) -> (u64, &str) {
        (self.sequence, &self.previous)
    }

    fn hash(&mut self) -> &mut String {
        &mut self.hash
    }
}

/// What approvers sign, in this one form.
#[derive(Serialize)]
struct ToSign<'a> {
    trust_domain: &'a str,
    sequence: u64,
    previous: &'a str,
    decision: &'a Decision,
}

/// The acts, read up to some place, and what they come to.
#[derive(Debug)]
pub(crate) struct Acts {
    journal: Journal<ActLine>,
    sum: Sum,
}

#[derive(Debug)]
struct Sum {
    trust_domain: TrustDomain,
    rotation: Option<Rotation>,
    approvers: Vec<Approver>,
}

impl Acts {
    /// Begins the acts of an authority that is being made; there must be none yet.
    pub(crate) fn create(
        dir: &Path,
        trust_domain: &TrustDomain,
        approvers: &[Approver],
        made_unix_s: i64,
    ) -> Result<Self, AuthorityError> {
        Approver::check_all(approvers)?;
        let mut acts = Self { journal: Journal::create(path(dir))?, sum: Sum::empty(trust_domain) };
        let mut file = acts.journal.hold(false)?;
        let made = Decision::Made { approvers: approvers.to_vec() };
        acts.append(&mut file, made, Vec::new(), made_unix_s)?;
        Ok(acts)
    }

    /// Reads and checks all acts.
    pub(crate) fn open(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        let mut acts = Self { journal: Journal::at(path(dir)), sum: Sum::empty(trust_domain) };
        let mut file = acts.hold(true)?;
        acts.catch_up(&mut file)?;
        if acts.sum.rotation.is_none() {
            return Err(Corrupt::Acts { line: 1, why: "it does not say that the authority was made" }.into());
        }
        Ok(acts)
    }

    /// Holds the file: alone to decide something, `shared` to act on what was decided.
    pub(crate) fn hold(&self, shared: bool) -> Result<File, AuthorityError> {
        self.journal.hold(shared)
    }

    /// Reads what others have decided since.
    pub(crate) fn catch_up(&mut self, file: &mut File) -> Result<(), AuthorityError> {
        let Self { journal, sum } = self;
        journal.catch_up(file, &mut |line| sum.add(&line))
    }

    /// Where the rotations stand.
    pub(crate) fn rotation(&self) -> Result<&Rotation, Corrupt> {
        self.sum.rotation.as_ref().ok_or(Corrupt::Acts { line: 1, why: "there is none" })
    }

    pub(crate) fn approvers(&self) -> &[Approver] {
        &self.sum.approvers
    }

    pub(crate) fn head(&self) -> &Head {
        self.journal.head()
    }

    /// What has to be signed by those who agree that this is decided next.
    pub(crate) fn to_sign(&self, decision: &Decision) -> Result<String, Fault> {
        let Head { entries, hash } = self.head();
        self.sum.to_sign(entries.saturating_add(1), hash, decision)
    }

    /// Whether this may be decided next.
    pub(crate) fn check(&self, decision: &Decision, approvals: &[Approval]) -> Result<Approved, AuthorityError> {
        Ok(Approved::check(&self.to_sign(decision)?, approvals, self.approvers())?)
    }

    /// Appends a decision to the file, which is held alone and read to its end; when this returns, it happened.
    pub(crate) fn append(
        &mut self,
        file: &mut File,
        decision: Decision,
        approvals: Vec<Approval>,
        at_unix_s: i64,
    ) -> Result<(), AuthorityError> {
        let line = self.journal.append(file, |head| ActLine {
            sequence: head.entries.saturating_add(1),
            previous: head.hash.clone(),
            at_unix_s,
            decision,
            approvals,
            hash: String::new(),
        })?;
        self.sum.add(&line)
    }
}

impl Sum {
    fn empty(trust_domain: &TrustDomain) -> Self {
        Self { trust_domain: trust_domain.clone(), rotation: None, approvers: Vec::new() }
    }

    fn to_sign(&self, sequence: u64, previous: &str, decision: &Decision) -> Result<String, Fault> {
        let to_sign = ToSign { trust_domain: self.trust_domain.as_str(), sequence, previous, decision };
        serde_json::to_string(&to_sign).map_err(|why| Fault::Encoding(why.to_string()))
    }

    fn add(&mut self, line: &ActLine) -> Result<(), AuthorityError> {
        let corrupt = |why| Corrupt::Acts { line: line.sequence, why };
        if line.decision.needs_approval() {
            let act = self.to_sign(line.sequence, &line.previous, &line.decision)?;
            Approved::check(&act, &line.approvals, &self.approvers)
                .map_err(|_: Refusal| corrupt("two approvers of the time did not agree to it"))?;
        }
        match (&line.decision, &self.rotation) {
            (Decision::Made { approvers }, None) => {
                self.rotation = Some(Rotation::first(line.at_unix_s));
                self.approvers.clone_from(approvers);
            }
            (_, None) => return Err(corrupt("the authority was not made yet").into()),
            (Decision::Made { .. }, Some(_)) => return Err(corrupt("the authority was made already").into()),
            (Decision::Approvers { approvers }, Some(_)) => self.approvers.clone_from(approvers),
            (Decision::Rotate(act), Some(before)) => {
                let after = before.apply(act, line.at_unix_s);
                self.rotation = Some(after.map_err(|_| corrupt("it does not follow from the acts before it"))?);
            }
            (Decision::RevokeAll { .. }, Some(_)) => {}
        }
        Ok(())
    }
}

fn path(dir: &Path) -> std::path::PathBuf {
    dir.join("acts.jsonl")
}

#[cfg(test)]
#[path = "acts_tests.rs"]
mod tests;
