//! One step at a time in a TPM that has room for three keys: what a step loads is flushed at its end, whatever came of it.
//!
//! Making the two root keys of a TPM, and unwrapping a stored one, is slow on a real TPM. So each key that was loaded once
//! is kept as the TPM saved it (`TPM2_ContextSave`, wrapped for this boot only) and is taken back from there. After the
//! TPM was restarted it takes nothing back, and the key is loaded anew.

use attest_evidence::Curve;
use tss_esapi::Context;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Public, SymmetricDefinition};
use tss_esapi::utils::TpmsContext;

use crate::error::{INTEGRITY, code, fault, says};
use crate::{Corrupt, Fault, StoredKey, TpmAddress, TpmError, template};

type Tss<T> = Result<T, tss_esapi::Error>;

/// The most keys that are kept saved: two roots, the attestation key, two keys for TLS, and some that were replaced.
const MOST_SAVED: usize = 8;

/// A TPM and the way to it.
pub(crate) struct Device {
    address: TpmAddress,
    context: Option<Context>,
    saved: Vec<(Which, TpmsContext)>,
}

/// Which key was saved.
#[derive(Clone, PartialEq, Eq)]
enum Which {
    Endorsement(Curve),
    StorageRoot,
    Stored(Vec<u8>),
}

impl Device {
    pub(crate) const fn new(address: TpmAddress) -> Self {
        Self { address, context: None, saved: Vec::new() }
    }

    /// Does one step, and flushes what it loaded.
    pub(crate) fn step<T>(&mut self, act: impl FnOnce(&mut Step<'_>) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let context = match self.context.take() {
            Some(context) => context,
            None => Context::new(self.address.tcti()).map_err(|error| self.not_there(error))?,
        };
        let context = self.context.insert(context);
        let mut step = Step { context, saved: &mut self.saved, loaded: Vec::new() };
        let outcome = act(&mut step);
        let flushed = step.flush();
        if flushed.is_err() || outcome.as_ref().is_err_and(TpmError::is_lost) {
            self.close();
        }
        // What the step gave is good, even if the way broke behind it.
        outcome
    }

    /// Forgets the way to the TPM, and what it saved; the next step opens it again.
    fn close(&mut self) {
        self.saved.clear();
        self.context = None;
    }

    fn not_there(&self, error: tss_esapi::Error) -> TpmError {
        Fault::NotThere { address: self.address.to_string(), code: code(error).unwrap_or(0) }.into()
    }
}

/// What goes on in one step.
pub(crate) struct Step<'a> {
    context: &'a mut Context,
    saved: &'a mut Vec<(Which, TpmsContext)>,
    loaded: Vec<ObjectHandle>,
}

impl Step<'_> {
    /// Asks without any authorization.
    pub(crate) fn ask<T>(
        &mut self,
        doing: &'static str,
        ask: impl FnOnce(&mut Context) -> Tss<T>,
    ) -> Result<T, TpmError> {
        self.context.execute_without_session(ask).map_err(fault(doing))
    }

    /// Asks with sessions of the question's own, and gives out the TPM's own error.
    pub(crate) fn bare<T>(&mut self, ask: impl FnOnce(&mut Context) -> Tss<T>) -> Tss<T> {
        self.context.execute_without_session(ask)
    }

    /// Asks with these authorizations, and gives out the TPM's own error.
    pub(crate) fn raw<T>(
        &mut self,
        sessions: (AuthSession, Option<AuthSession>),
        ask: impl FnOnce(&mut Context) -> Tss<T>,
    ) -> Tss<T> {
        self.context.execute_with_sessions((Some(sessions.0), sessions.1, None), ask)
    }

    /// Asks with an empty password.
    pub(crate) fn with_password<T>(
        &mut self,
        doing: &'static str,
        ask: impl FnOnce(&mut Context) -> Tss<T>,
    ) -> Result<T, TpmError> {
        self.raw((AuthSession::Password, None), ask).map_err(fault(doing))
    }

    /// A policy session that has no conditions met yet; a trial only computes a policy.
    pub(crate) fn session(
        &mut self,
        kind: SessionType,
        hash: HashingAlgorithm,
    ) -> Result<(AuthSession, PolicySession), TpmError> {
        const DOING: &str = "began a session";
        let started = self.ask(DOING, |context| {
            context.start_auth_session(None, None, None, kind, SymmetricDefinition::AES_128_CFB, hash)
        })?;
        let none = || Fault::Answer { doing: DOING, said: "it gave no session".to_owned() };
        let session = started.ok_or_else(none)?;
        self.loaded.push(ObjectHandle::from(SessionHandle::from(session)));
        Ok((session, PolicySession::try_from(session).map_err(fault(DOING))?))
    }

    /// The endorsement key of a curve, and its public area.
    pub(crate) fn endorsement(&mut self, curve: Curve) -> Result<(KeyHandle, Public), TpmError> {
        const DOING: &str = "made the endorsement key";
        let handle = self.key(Which::Endorsement(curve), |step| {
            step.primary(DOING, Hierarchy::Endorsement, template::endorsement(curve)?)
        })?;
        let (public, _, _) = self.ask("read the endorsement key", |context| context.read_public(handle))?;
        Ok((handle, public))
    }

    /// The key under which all others are kept.
    pub(crate) fn storage_root(&mut self) -> Result<KeyHandle, TpmError> {
        const DOING: &str = "made the storage root key";
        self.key(Which::StorageRoot, |step| step.primary(DOING, Hierarchy::Owner, template::storage_root()?))
    }

    /// A key that was kept outside.
    pub(crate) fn stored(&mut self, key: &StoredKey) -> Result<KeyHandle, TpmError> {
        const DOING: &str = "loaded a stored key";
        self.key(Which::Stored(key.name()), |step| {
            let (public, private) = key.blobs()?;
            let root = step.storage_root()?;
            let loaded =
                step.raw((AuthSession::Password, None), |context| context.load(root, private, public)).map_err(
                    |error| if says(error, INTEGRITY) { Corrupt::AnotherTpm.into() } else { fault(DOING)(error) },
                )?;
            step.loaded.push(loaded.into());
            step.drop_key(root)?;
            Ok(loaded)
        })
    }

    fn primary(&mut self, doing: &'static str, hierarchy: Hierarchy, public: Public) -> Result<KeyHandle, TpmError> {
        let made = self.with_password(doing, |context| {
            context.create_primary(hierarchy, public, None, None, None, None).map(|made| made.key_handle)
        })?;
        self.loaded.push(made.into());
        Ok(made)
    }

    /// A key as the TPM saved it, or else as `make` loads it.
    fn key(
        &mut self,
        which: Which,
        make: impl FnOnce(&mut Self) -> Result<KeyHandle, TpmError>,
    ) -> Result<KeyHandle, TpmError> {
        if let Some(at) = self.saved.iter().position(|(saved, _)| *saved == which) {
            let (_, saved) = self.saved.remove(at);
            match self.ask("took back a key", |context| context.context_load(saved.clone())) {
                Ok(handle) => {
                    self.loaded.push(handle);
                    self.saved.push((which, saved));
                    return Ok(handle.into());
                }
                Err(lost) if lost.is_lost() => return Err(lost),
                // It was saved before the TPM was restarted.
                Err(_) => (),
            }
        }
        let handle = make(self)?;
        let saved = self.ask("saved a key", |context| context.context_save(handle.into()))?;
        if self.saved.len() >= MOST_SAVED {
            self.saved.remove(0);
        }
        self.saved.push((which, saved));
        Ok(handle)
    }

    /// Makes room at once.
    fn drop_key(&mut self, key: KeyHandle) -> Result<(), TpmError> {
        let handle = ObjectHandle::from(key);
        self.loaded.retain(|loaded| *loaded != handle);
        self.ask("flushed a key", |context| context.flush_context(handle))
    }

    fn flush(self) -> Result<(), tss_esapi::Error> {
        let Self { context, loaded, .. } = self;
        // All of them are tried before the first failure is told.
        let flushed: Vec<_> = loaded.into_iter().rev().map(|handle| context.flush_context(handle)).collect();
        flushed.into_iter().collect()
    }
}
