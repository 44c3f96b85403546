//! The PKCS#11 token: the only module that knows of it. Keys are made inside, are read back and checked, sign, and never
//! leave; there is no function here that could take one out.
//!
//! A session can die under a long-running authority (the module was recycled, a network HSM came back). A failed signature
//! therefore opens a new session and tries once more, and only then is a fault. The module is never finalised here,
//! because other code of the same process may be using it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ca_rotation::GenerationId;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::{AuthorityConfig, AuthorityError, Corrupt, Fault, Pin, Refusal};

/// DER of the object identifier of P-256 (1.2.840.10045.3.1.7), as CKA_EC_PARAMS wants it.
const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// CKA_EC_POINT is the point inside an OCTET STRING of 65 bytes.
const POINT_PREFIX: [u8; 2] = [0x04, 0x41];

/// What a key is called in the token, as `policies/keys.toml` plans it: CKA_LABEL.
pub(crate) fn label(key: GenerationId) -> String {
    format!("larder-ca-{key}")
}

/// CKA_ID.
fn id(key: GenerationId) -> String {
    key.to_string()
}

/// A logged-in token.
pub(crate) struct Token {
    module: PathBuf,
    label: String,
    pin: Pin,
    live: Mutex<Option<Live>>,
    signatures: AtomicU64,
}

struct Live {
    session: Session,
    /// Keeps the module loaded for as long as the session lives.
    _context: Pkcs11,
}

impl Token {
    /// Loads the module and logs in.
    pub(crate) fn open(config: &AuthorityConfig) -> Result<Self, AuthorityError> {
        let token = Self {
            module: config.module.clone(),
            label: config.token_label.clone(),
            pin: config.pin.clone(),
            live: Mutex::new(None),
            signatures: AtomicU64::new(0),
        };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    /// How many signatures this token has made since it was opened.
    pub(crate) fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    /// Whether a private key of this name is there.
    pub(crate) fn holds(&self, key: GenerationId) -> Result<bool, AuthorityError> {
        self.with(|session| Ok(!session.find_objects(&private_template(key))?.is_empty()))
    }

    /// Makes a P-256 key inside the token and gives its public point.
    pub(crate) fn generate(&self, key: GenerationId) -> Result<Vec<u8>, AuthorityError> {
        let named = [Attribute::Label(label(key).into()), Attribute::Id(id(key).into()), Attribute::Token(true)];
        let mut public = named.to_vec();
        public.extend([Attribute::EcParams(P256_PARAMS.to_vec()), Attribute::Verify(true), Attribute::Private(false)]);
        let mut private = named.to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Copyable(false),
            Attribute::Sign(true),
            Attribute::Derive(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
        ]);
        self.with(|session| session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map(|_| ()))?;
        self.check(key)
    }

    /// Checks that the key is there once, was made inside and is kept as it must be; gives its public point.
    pub(crate) fn check(&self, key: GenerationId) -> Result<Vec<u8>, AuthorityError> {
        let corrupt = |why: &str| Corrupt::Key { key: label(key), why: why.to_owned() };
        let found = self.with(|session| session.find_objects(&private_template(key)))?;
        let [private] = found.as_slice() else {
            return Err(corrupt(if found.is_empty() { "it is missing" } else { "there are several of it" }).into());
        };
        let wanted = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Copyable(false),
            Attribute::Sign(true),
            Attribute::Derive(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256_PARAMS.to_vec()),
        ];
        let types: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
        let held = self.with(|session| session.get_attributes(*private, &types))?;
        if let Some(missing) = wanted.iter().find(|attribute| !held.contains(attribute)) {
            return Err(corrupt(&format!("it lacks the attribute {missing:?}")).into());
        }
        self.point(key)?.ok_or_else(|| corrupt("its public half is missing or is no P-256 point").into())
    }

    fn point(&self, key: GenerationId) -> Result<Option<Vec<u8>>, AuthorityError> {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Label(label(key).into()),
            Attribute::Id(id(key).into()),
        ];
        let held = self.with(|session| match session.find_objects(&template)?.as_slice() {
            [public] => session.get_attributes(*public, &[AttributeType::EcPoint]),
            _ => Ok(Vec::new()),
        })?;
        Ok(held.into_iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => {
                point.strip_prefix(&POINT_PREFIX).filter(|point| point.len() == 65).map(<[u8]>::to_vec)
            }
            _ => None,
        }))
    }

    /// Signs a SHA-256 digest; the signature is r ‖ s, 32 bytes each.
    pub(crate) fn sign(&self, key: GenerationId, digest: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let signature = self.with(|session| {
            let found = session.find_objects(&private_template(key))?;
            let private: ObjectHandle = *found.first().ok_or(Pkcs11Error::InvalidValue)?;
            session.sign(&Mechanism::Ecdsa, private, digest)
        })?;
        self.signatures.fetch_add(1, Ordering::Relaxed);
        Ok(signature)
    }

    /// Runs one operation on a live session; if it fails, opens a new session and runs it once more.
    fn with<T>(&self, operation: impl Fn(&Session) -> Result<T, Pkcs11Error>) -> Result<T, AuthorityError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = live.as_ref() {
            match operation(&open.session) {
                Ok(done) => return Ok(done),
                Err(why) => tracing::warn!(%why, "the token failed; opening a new session"),
            }
        }
        *live = None; // the old session closes before the new one opens
        let open = self.connect()?;
        let done = operation(&open.session).map_err(|why| fault("carry out an operation", &why))?;
        *live = Some(open);
        Ok(done)
    }

    fn connect(&self) -> Result<Live, AuthorityError> {
        let context = Pkcs11::new(&self.module).map_err(|why| fault("load its module", &why))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(why) => return Err(fault("initialise its module", &why).into()),
        }
        let session = context.open_rw_session(self.slot(&context)?).map_err(|why| fault("open a session", &why))?;
        let pin = AuthPin::from(self.pin.reveal()?.as_str());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                Ok(Live { session, _context: context })
            }
            Err(Pkcs11Error::Pkcs11(RvError::PinIncorrect, _)) => {
                Err(Refusal::Pin(format!("the PIN of the token {:?} is wrong; check the PIN file", self.label)).into())
            }
            Err(why) => Err(fault("log in", &why).into()),
        }
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, AuthorityError> {
        let slots = context.get_slots_with_initialized_token().map_err(|why| fault("list its slots", &why))?;
        let mut labels = Vec::new();
        for slot in slots {
            let info = context.get_token_info(slot).map_err(|why| fault("tell its label", &why))?;
            if info.label() == self.label {
                return Ok(slot);
            }
            labels.push(info.label().to_owned());
        }
        let found = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        Err(Refusal::NoSuchToken { label: self.label.clone(), found }.into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("module", &self.module).field("label", &self.label).finish_non_exhaustive()
    }
}

fn private_template(key: GenerationId) -> [Attribute; 3] {
    [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label(key).into()), Attribute::Id(id(key).into())]
}

fn fault(what: &'static str, why: &Pkcs11Error) -> Fault {
    Fault::Token { what, why: why.to_string() }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
