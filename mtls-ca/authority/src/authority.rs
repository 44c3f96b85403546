//! The authority itself: made once, opened often, and what it signs for others.
//!
//! Which keys are in use is said by the acts, which another process may add to at any time; so each request holds them as they
//! are, shared, until its certificate is logged. Who decides something holds them alone, and sees a log in which nobody else
//! is writing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ca_identity::TrustDomain;
use ca_rotation::{GenerationId, Tier};

use crate::acts::Acts;
use crate::approval::{Approved, Approver};
use crate::chain::pem;
use crate::check::{self, Expected};
use crate::log::{Kind, Log};
use crate::signer::{Desk, Own, chain, life_under, record, sign};
use crate::template;
use crate::token::{self, Token};
use crate::{
    AttestationKeyOrder, AuthorityConfig, AuthorityError, Corrupt, Fault, Head, IssuedChain, Order, Profile, Refusal,
    attestation_key, bundles, files,
};

/// An intermediate with less than this before it is renewed on request: half of its life.
const RENEW_BELOW_S: i64 = 45 * 24 * 60 * 60;

/// An intermediate that got a new certificate for its old key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Which one.
    pub kind: Kind,
    /// The last second of its new life, since the Unix epoch.
    pub not_after_unix_s: i64,
}

/// What changes while the authority is open.
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) acts: Acts,
    /// Every generation that is not dropped.
    pub(crate) owns: BTreeMap<GenerationId, Own>,
}

impl State {
    /// Reads what was decided since, and loads the certificates of generations that are new.
    pub(crate) fn catch_up(&mut self, desk: &Desk<'_>, acts: &mut File) -> Result<(), AuthorityError> {
        let before = self.acts.head().clone();
        self.acts.catch_up(acts)?;
        if *self.acts.head() != before {
            self.load(desk)?;
        }
        Ok(())
    }

    /// Has exactly the generations that the acts come to.
    pub(crate) fn load(&mut self, desk: &Desk<'_>) -> Result<(), AuthorityError> {
        let wanted: BTreeMap<GenerationId, u32> = self
            .acts
            .rotation()?
            .generations()
            .map(|(tier, generation)| (GenerationId::new(tier, generation.number), generation.root))
            .collect();
        self.owns.retain(|id, _| wanted.contains_key(id));
        for (id, root) in wanted {
            if let Entry::Vacant(free) = self.owns.entry(id) {
                free.insert(desk.load(id, root)?);
            }
        }
        Ok(())
    }

    /// The generation in use of a tier.
    pub(crate) fn active(&self, tier: Tier) -> Result<&Own, AuthorityError> {
        self.own(self.acts.rotation()?.active(tier))
    }

    pub(crate) fn own(&self, id: GenerationId) -> Result<&Own, AuthorityError> {
        let missing =
            || Corrupt::Key { key: token::label(id), why: "no act speaks of it, or it was retired".to_owned() };
        Ok(self.owns.get(&id).ok_or_else(missing)?)
    }

    /// The roots of the bundle in force.
    pub(crate) fn roots(&self) -> Result<Vec<&Own>, AuthorityError> {
        let roots = self.acts.rotation()?.bundle().roots.iter();
        roots.map(|number| self.own(GenerationId::new(Tier::Root, *number))).collect()
    }
}

/// The state for the time of one request.
pub(crate) struct AtWork<'a> {
    pub(crate) state: MutexGuard<'a, State>,
    /// The acts, held; let go with this value.
    pub(crate) acts: File,
}

/// An open authority; shareable between threads.
pub struct Authority {
    pub(crate) token: Token,
    trust_domain: TrustDomain,
    dir: PathBuf,
    state: Mutex<State>,
}

impl Authority {
    /// Makes an authority without approvers; see [`Self::init_with`].
    ///
    /// # Errors
    /// As [`Self::init_with`].
    pub fn init(config: &AuthorityConfig, now_unix_s: i64) -> Result<Self, AuthorityError> {
        Self::init_with(config, &[], now_unix_s)
    }

    /// Makes an authority: its keys inside the token, a root and three intermediates, the first trust bundle, and their log.
    /// Two of `approvers` have to agree to what changes its keys later; without approvers, nothing can. Its settings are
    /// written last; without them there is no authority.
    ///
    /// # Errors
    /// [`Refusal::AlreadyInitialised`] or [`Refusal::TokenInUse`] when there is one already; [`Refusal::Approvers`] when
    /// there are too few or too many; otherwise what failed.
    pub fn init_with(
        config: &AuthorityConfig,
        approvers: &[Approver],
        now_unix_s: i64,
    ) -> Result<Self, AuthorityError> {
        if config.exists() {
            return Err(Refusal::AlreadyInitialised(config.dir.clone()).into());
        }
        Approver::check_all(approvers)?;
        files::make_dir(&config.dir)?;
        let token = Token::open(config)?;
        let first = Tier::ALL.map(|tier| GenerationId::new(tier, 1));
        for id in first {
            if token.holds(id)? {
                return Err(Refusal::TokenInUse { token: config.token_label.clone(), key: token::label(id) }.into());
            }
        }
        let mut log = Log::create(&config.dir)?;
        let desk = Desk { token: &token, trust_domain: &config.trust_domain, dir: &config.dir };
        let (leave, mut owns, root) = (Approved::first_ceremony(), BTreeMap::new(), GenerationId::new(Tier::Root, 1));
        for id in first {
            let point = token.generate(id)?;
            let own = desk.certify(&mut log, (id, point), owns.get(&root), now_unix_s, &leave)?;
            owns.insert(id, own);
        }
        if let Some(root) = owns.get(&root) {
            bundles::sign(&desk, &mut log, 1, &[root], root, now_unix_s)?;
        }
        let acts = Acts::create(&config.dir, &config.trust_domain, approvers, now_unix_s)?;
        config.save()?;
        let (trust_domain, dir) = (config.trust_domain.clone(), config.dir.clone());
        Ok(Self { token, trust_domain, dir, state: Mutex::new(State { log, acts, owns }) })
    }

    /// Opens an authority: logs in, checks that its keys are kept as they must be and belong to its certificates, and
    /// verifies its whole log and all of its acts.
    ///
    /// # Errors
    /// [`Refusal::NotInitialised`], or [`Corrupt`] when something is not as this code left it.
    pub fn open(config: &AuthorityConfig) -> Result<Self, AuthorityError> {
        if !config.exists() {
            return Err(Refusal::NotInitialised(config.dir.clone()).into());
        }
        let token = Token::open(config)?;
        let log = Log::open(&config.dir)?;
        let acts = Acts::open(&config.dir, &config.trust_domain)?;
        let mut state = State { log, acts, owns: BTreeMap::new() };
        state.load(&Desk { token: &token, trust_domain: &config.trust_domain, dir: &config.dir })?;
        let (trust_domain, dir) = (config.trust_domain.clone(), config.dir.clone());
        Ok(Self { token, trust_domain, dir, state: Mutex::new(state) })
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
        let tier = match order.profile() {
            Profile::Device => Tier::Device,
            Profile::Service | Profile::Operator => Tier::Service,
        };
        let mut work = self.at_work(true)?;
        let (der, life, verdict, issuer) = {
            let issuer = work.state.active(tier)?;
            let life = life_under(issuer, now_unix_s, i64::from(order.lifetime_s()))?;
            let der = sign(&template::leaf(order, &life)?, order.key(), &issuer.key(&self.token), issuer)?;
            let expected = Expected { point: order.key().point(), life: &life, issuer: &issuer.der };
            let verdict = check::leaf(&der, order, &expected);
            (der, life, verdict, issuer.id)
        };
        let kind = template::kind_of(order.profile());
        let entry = record(&mut work.state.log, kind, issuer, order.id().as_str(), &life, &der, verdict)?;
        Ok(chain(&der, work.state.own(issuer)?, entry))
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
        let mut work = self.at_work(true)?;
        let (der, life, verdict, issuer) = {
            let issuer = work.state.active(Tier::Attestation)?;
            let life = life_under(issuer, now_unix_s, attestation_key::LIFETIME_S)?;
            let params = template::attestation_key(order, &life)?;
            let der = sign(&params, order.key(), &issuer.key(&self.token), issuer)?;
            let expected = Expected { point: order.key().point(), life: &life, issuer: &issuer.der };
            let verdict = check::attestation_key(&der, order, &expected);
            (der, life, verdict, issuer.id)
        };
        let entry = record(&mut work.state.log, Kind::AttestationKey, issuer, &order.subject(), &life, &der, verdict)?;
        Ok(chain(&der, work.state.own(issuer)?, entry))
    }

    /// The certificate of the intermediate under which attestation keys are certified now, DER: for who verifies what such a
    /// key signed. Empty if the acts cannot be used.
    #[must_use]
    pub fn attestation_intermediate_der(&self) -> Vec<u8> {
        self.lock().active(Tier::Attestation).map_or_else(|_| Vec::new(), |own| own.der.clone())
    }

    /// Gives the intermediates that are past half of their life a new certificate for the same key. Leaves that are out
    /// stay good, since they name the key. One that signs nothing new is left to end.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn renew(&self, now_unix_s: i64) -> Result<Vec<Renewed>, AuthorityError> {
        let mut work = self.at_work(false)?;
        let State { log, acts, owns } = &mut *work.state;
        let (desk, leave) = (self.desk(), Approved::same_key());
        let mut renewed = Vec::new();
        for tier in [Tier::Device, Tier::Service, Tier::Attestation] {
            let id = acts.rotation()?.active(tier);
            let Some(own) = owns.get(&id) else { continue };
            let ends = check::not_after_unix_s(&own.der).map_err(Fault::Withheld)?;
            if ends.saturating_sub(now_unix_s) >= RENEW_BELOW_S {
                continue;
            }
            let root = owns.get(&GenerationId::new(Tier::Root, own.root));
            let own = desk.certify(log, (id, own.point.clone()), root, now_unix_s, &leave)?;
            let not_after_unix_s = check::not_after_unix_s(&own.der).map_err(Fault::Withheld)?;
            renewed.push(Renewed { kind: own.kind(), not_after_unix_s });
            owns.insert(id, own);
        }
        Ok(renewed)
    }

    /// The roots to trust, PEM. Empty if the acts cannot be used.
    #[must_use]
    pub fn trust_bundle_pem(&self) -> String {
        let work = self.at_work(true);
        let pems = |state: &State| -> Result<String, AuthorityError> {
            Ok(state.roots()?.iter().map(|root| pem("CERTIFICATE", &root.der)).collect())
        };
        work.and_then(|work| pems(&work.state)).unwrap_or_else(|error| {
            tracing::error!(%error, "the trust bundle cannot be put together");
            String::new()
        })
    }

    /// The end of the issuance log as this authority last knew it.
    #[must_use]
    pub fn head(&self) -> Head {
        self.lock().log.head().clone()
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

    /// The state as the acts are now, which are held until the value is dropped: together with others who issue, or alone to
    /// decide something.
    pub(crate) fn at_work(&self, shared: bool) -> Result<AtWork<'_>, AuthorityError> {
        let mut state = self.lock();
        let mut acts = state.acts.hold(shared)?;
        state.catch_up(&self.desk(), &mut acts)?;
        Ok(AtWork { state, acts })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk { token: &self.token, trust_domain: &self.trust_domain, dir: &self.dir }
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

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
