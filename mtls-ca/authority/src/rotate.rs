//! Rotation carried out: evidence out of the log and the followers' words, the gate, two people where it takes them, the
//! effects, and last the act itself. Until the act stands in its journal nothing has happened; what a crash leaves before it
//! is made again or used again, and the log knows of each signature.
//!
//! The acts are held alone meanwhile, so nobody issues between what the gate saw and what was decided.

use ca_identity::{Role, ServiceName, SpiffeId};
use ca_rotation::{Act, Direction, Effect, Evidence, GenerationId, Holder, Leaf, Planned, Rotation, Tier};

use crate::acknowledged::Acknowledged;
use crate::acts::Decision;
use crate::approval::{self, Approval, Approved, Approver};
use crate::authority::State;
use crate::bundles::{self, PublishedBundle, root};
use crate::log::{Entry, EntryState, Kind};
use crate::signer::BACKDATE_S;
use crate::{Authority, AuthorityError, Corrupt, Head, Refusal, read_log, revoke};

/// For so long after its end a certificate still concerns a rotation, in seconds: its list has to be published.
const CONCERNS_S: i64 = 24 * 60 * 60;

/// A decision that may be taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What would be decided.
    pub decision: Decision,
    /// What would be done for it; empty for what is no step of a rotation.
    pub effects: Vec<Effect>,
    /// What two approvers have to sign, if it needs them.
    pub to_sign: Option<String>,
}

impl Proposal {
    /// SHA-256 of what has to be signed, lowercase hex, for people to compare.
    #[must_use]
    pub fn sha256(&self) -> Option<String> {
        self.to_sign.as_deref().map(approval::sha256)
    }
}

/// How everything stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The rotations.
    pub rotation: Rotation,
    /// What the gates are shown.
    pub evidence: Evidence,
    /// Who may agree to acts.
    pub approvers: Vec<Approver>,
    /// Each generation that is not dropped, and the last second of its certificate.
    pub ends: Vec<(GenerationId, i64)>,
    /// The end of the journal of acts.
    pub acts: Head,
    /// The end of the issuance log.
    pub log: Head,
}

impl Authority {
    /// How everything stands at this time.
    ///
    /// # Errors
    /// [`Corrupt`] or [`crate::Fault`] when the log, the acts or the followers' words cannot be used.
    pub fn standing(&self, now_unix_s: i64) -> Result<Standing, AuthorityError> {
        let mut work = self.at_work(true)?;
        work.state.log.refresh()?;
        let ends = work.state.owns.values().map(|own| {
            crate::check::not_after_unix_s(&own.der).map(|ends| (own.id, ends)).map_err(crate::Fault::Withheld)
        });
        let ends = ends.collect::<Result<_, _>>()?;
        Ok(Standing {
            rotation: work.state.acts.rotation()?.clone(),
            evidence: self.evidence(now_unix_s)?,
            approvers: work.state.acts.approvers().to_vec(),
            ends,
            acts: work.state.acts.head().clone(),
            log: work.state.log.head().clone(),
        })
    }

    /// Every trust bundle there ever was, the first one first; the last one is in force.
    ///
    /// # Errors
    /// [`Corrupt::Bundle`] when a file is not what the log says.
    pub fn bundles(&self) -> Result<Vec<PublishedBundle>, AuthorityError> {
        let mut work = self.at_work(true)?;
        work.state.log.refresh()?;
        let last = work.state.acts.rotation()?.bundle().version;
        (1..=last).map(|version| bundles::read(self.dir(), &work.state.log, version)).collect()
    }

    /// The one step in a direction, if it may be taken now; nothing is done.
    ///
    /// # Errors
    /// [`Refusal::Rotation`] says why not, and from when on.
    pub fn propose(&self, tier: Tier, direction: Direction, now_unix_s: i64) -> Result<Proposal, AuthorityError> {
        let work = self.at_work(true)?;
        let planned = self.plan(&work.state, tier, direction, now_unix_s)?;
        proposal(&work.state, Decision::Rotate(planned.act), planned.effects)
    }

    /// Takes one step. What it needs approval for, it does with two different approvers' only.
    ///
    /// # Errors
    /// As [`Self::propose`]; [`Refusal::NotApproved`] or [`Refusal::NoApprovers`]. Asking again is safe.
    pub fn rotate(
        &self,
        tier: Tier,
        direction: Direction,
        approvals: &[Approval],
        now_unix_s: i64,
    ) -> Result<Act, AuthorityError> {
        let mut work = self.at_work(false)?;
        let planned = self.plan(&work.state, tier, direction, now_unix_s)?;
        let decision = Decision::Rotate(planned.act);
        let leave = match decision.needs_approval() {
            true => Some(work.state.acts.check(&decision, approvals)?),
            false => None,
        };
        for effect in &planned.effects {
            self.carry_out(&mut work.state, effect, leave.as_ref(), now_unix_s)?;
        }
        let approvals = if leave.is_some() { approvals.to_vec() } else { Vec::new() };
        work.state.acts.append(&mut work.acts, decision, approvals, now_unix_s)?;
        work.state.load(&self.desk())?;
        tracing::warn!(act = %planned.act, "a step of a rotation was taken");
        Ok(planned.act)
    }

    /// A change of who may agree to acts; nothing is done.
    ///
    /// # Errors
    /// [`Refusal::Approvers`] when these cannot be the approvers, [`Refusal::NoApprovers`] when nobody could agree.
    pub fn propose_approvers(&self, approvers: &[Approver]) -> Result<Proposal, AuthorityError> {
        let work = self.at_work(true)?;
        proposal(&work.state, change(approvers)?, Vec::new())
    }

    /// Has others agree to acts from now on, if two of those who did so far agree to it.
    ///
    /// # Errors
    /// As [`Self::propose_approvers`], and [`Refusal::NotApproved`].
    pub fn change_approvers(
        &self,
        approvers: &[Approver],
        approvals: &[Approval],
        now_unix_s: i64,
    ) -> Result<(), AuthorityError> {
        let mut work = self.at_work(false)?;
        let decision = change(approvers)?;
        work.state.acts.check(&decision, approvals)?;
        work.state.acts.append(&mut work.acts, decision, approvals.to_vec(), now_unix_s)
    }

    fn plan(
        &self,
        state: &State,
        tier: Tier,
        direction: Direction,
        now_unix_s: i64,
    ) -> Result<Planned, AuthorityError> {
        let planned = state.acts.rotation()?.plan(tier, direction, &self.evidence(now_unix_s)?);
        Ok(planned.map_err(|why| Refusal::Rotation(Box::new(why)))?)
    }

    fn carry_out(
        &self,
        state: &mut State,
        effect: &Effect,
        leave: Option<&Approved>,
        now_unix_s: i64,
    ) -> Result<(), AuthorityError> {
        let desk = self.desk();
        match effect {
            Effect::Make { generation, under } => {
                let leave = leave.ok_or(Refusal::NoApprovers)?;
                // A key of this name that no act speaks of was left by a crash, and nothing was signed with it but for this.
                let made = desk.token.holds(*generation)?;
                let point = if made { desk.token.check(*generation)? } else { desk.token.generate(*generation)? };
                let issuer = match generation.tier {
                    Tier::Root => None,
                    _ => state.owns.get(&root(*under)),
                };
                let own = desk.certify(&mut state.log, (*generation, point), issuer, now_unix_s, leave)?;
                state.owns.insert(*generation, own);
                Ok(())
            }
            Effect::SignList(generation) => {
                let State { log, owns, .. } = state;
                let own = owns.get(generation).ok_or_else(|| unknown(*generation))?;
                revoke::first(&desk, log, own, now_unix_s)
            }
            Effect::SignBundle { version, roots, by } => {
                let State { log, owns, .. } = state;
                let own = |number: &u32| owns.get(&root(*number)).ok_or_else(|| unknown(root(*number)));
                let roots: Vec<_> = roots.iter().map(own).collect::<Result<_, _>>()?;
                bundles::sign(&desk, log, *version, &roots, own(by)?, now_unix_s)
            }
            Effect::KeyMayBeDestroyed(_) => Ok(()),
        }
    }

    fn evidence(&self, now_unix_s: i64) -> Result<Evidence, AuthorityError> {
        let mut leaves = Vec::new();
        read_log(self.dir(), |entry| {
            let concerns = entry.not_after_unix_s.saturating_add(CONCERNS_S) >= now_unix_s;
            if concerns && entry.state == EntryState::Issued {
                leaves.extend(leaf(entry));
            }
        })?;
        Ok(Evidence { now_unix_s, leaves, heard: Acknowledged::open(self.dir())?.heard() })
    }
}

fn proposal(state: &State, decision: Decision, effects: Vec<Effect>) -> Result<Proposal, AuthorityError> {
    let to_sign = match decision.needs_approval() {
        true if state.acts.approvers().is_empty() => return Err(Refusal::NoApprovers.into()),
        true => Some(state.acts.to_sign(&decision)?),
        false => None,
    };
    Ok(Proposal { decision, effects, to_sign })
}

fn change(approvers: &[Approver]) -> Result<Decision, Refusal> {
    if approvers.is_empty() {
        return Err(Refusal::Approvers("nobody is named; name two to eight people".to_owned()));
    }
    Approver::check_all(approvers)?;
    Ok(Decision::Approvers { approvers: approvers.to_vec() })
}

fn unknown(generation: GenerationId) -> Corrupt {
    Corrupt::Key { key: crate::token::label(generation), why: "no act speaks of it".to_owned() }
}

/// What an entry of the log says to the gates.
fn leaf(entry: &Entry) -> Option<Leaf> {
    let holder = match entry.kind {
        Kind::Device | Kind::Operator => Holder::Carrier,
        Kind::AttestationKey => Holder::Nobody,
        Kind::Service => match SpiffeId::parse(&entry.subject).ok()?.role() {
            Role::Service(ServiceName::Authority) => Holder::Nobody,
            Role::Service(name) => Holder::Follower(name.as_str().to_owned()),
            _ => Holder::Carrier,
        },
        _ => return None,
    };
    Some(Leaf {
        issuer: entry.issuer.parse().ok()?,
        holder,
        issued_unix_s: entry.not_before_unix_s.saturating_add(BACKDATE_S),
        not_after_unix_s: entry.not_after_unix_s,
    })
}
