//! The keys in the token, held against the plan: created when missing, refused when weaker than planned.
//!
//! A key that is there is not believed for its label: what the HSM says of it (sensitive, always was; not extractable,
//! never was; made inside; one use only) is read back each time the module is opened. Work is done with session
//! copies, because modules reach token objects through files or a network; a copy the HSM refuses, or makes weaker, is
//! not used, and the key itself is.

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use pci_contract::{SealingContext, SealingKeyId};
use thiserror::Error;

use crate::{
    check::{KeyCheck, is_known},
    handles::{Handles, SealingHandle, TokenHandle},
    hpke::{POINT_BYTES, Recipient, is_point},
    hsm::{HsmError, Keeper, agree},
    plan::{KeyKind, KeyPlan, PlannedKey, Purpose},
};

/// DER of the object identifier prime256v1 (1.2.840.10045.3.1.7).
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The base point of P-256 (SP 800-186 section 3.2.1.3), uncompressed.
const BASE_POINT: [u8; POINT_BYTES] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
    0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe,
    0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce,
    0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];

/// Why the keys in the token cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The key is not there, and it is not the time to make one.
    #[error("key {0} is not in the token")]
    Missing(String),
    /// Several objects have the label of one key.
    #[error("{found} objects are called {label}")]
    Ambiguous {
        /// The label.
        label: String,
        /// How many objects have it.
        found: usize,
    },
    /// The key is not as planned, or the HSM does not keep what was asked.
    #[error("key {label}: {rule}")]
    Weak {
        /// The label.
        label: String,
        /// What is wrong.
        rule: &'static str,
    },
    /// A key that was used before is another now, or gone: this is not the HSM, or not the token, it was.
    #[error(
        "key {0} in the HSM is not the one that was used with this database; give the service back the token it had, or \
         a restored copy of it: under another key every card is a stranger's"
    )]
    Another(String),
    /// The lock file could not be had.
    #[error("the lock for opening the HSM: {0}")]
    Lock(#[source] std::io::Error),
}

impl From<cryptoki::error::Error> for KeyError {
    fn from(error: cryptoki::error::Error) -> Self {
        Self::Hsm(error.into())
    }
}

/// Creates the keys of the plan that are missing, except those that are known to have been there. Finding and creating
/// are two calls, so the caller holds the [`OpeningLock`].
pub(crate) fn create_missing(keeper: &Keeper, plan: &KeyPlan, known: &[KeyCheck]) -> Result<(), KeyError> {
    let session = keeper.writing_session()?;
    for key in planned(plan) {
        match find(&session, private_class(key), key) {
            Err(KeyError::Missing(label)) if is_known(known, &label) => return Err(KeyError::Another(label)),
            Err(KeyError::Missing(_)) => create(&session, key)?,
            found => drop(found?),
        }
    }
    Ok(())
}

/// Finds every key of the plan, checks it, and makes session copies.
pub(crate) fn find_all(keeper: &Keeper, plan: &KeyPlan) -> Result<Handles, KeyError> {
    let session = keeper.session();
    let mut handles = Handles { sealing: Vec::new(), tokens: Vec::new() };
    for key in plan.vault_keys(Purpose::Sealing) {
        let (handle, public) = (checked(session, key)?, public_point(session, key)?);
        let weak = |rule| KeyError::Weak { label: key.label.clone(), rule };
        // The private key times the base point is the public key: a public object that is not its pair shows here,
        // and not when every fridge has sealed to it.
        if Some(agree(session, handle, &BASE_POINT)?.expose()) != public.get(1..33) {
            return Err(weak("its public half is another key's"));
        }
        let id = SealingKeyId::parse(&key.id).map_err(|_| weak("its id is not a sealing key id"))?;
        let recipient = Recipient::new(public, SealingContext::INFO);
        let label = key.label.clone();
        handles.sealing.push(SealingHandle { label, id, key: working_copy(session, key, handle), recipient });
    }
    for key in plan.vault_keys(Purpose::Token) {
        let handle = checked(session, key)?;
        let (label, version) = (key.label.clone(), key.version);
        handles.tokens.push(TokenHandle { label, version, key: working_copy(session, key, handle) });
    }
    Ok(handles)
}

fn planned(plan: &KeyPlan) -> impl Iterator<Item = &PlannedKey> {
    [Purpose::Sealing, Purpose::Token].into_iter().flat_map(|purpose| plan.vault_keys(purpose))
}

const fn private_class(key: &PlannedKey) -> ObjectClass {
    match key.kind {
        KeyKind::EcP256 => ObjectClass::PRIVATE_KEY,
        KeyKind::GenericSecret32 => ObjectClass::SECRET_KEY,
    }
}

/// The one token object of a class that has the key's label. Session copies have it too, and are not meant.
fn find(session: &Session, class: ObjectClass, key: &PlannedKey) -> Result<ObjectHandle, KeyError> {
    let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Label(key.label.clone().into_bytes())];
    match session.find_objects(&template)?.as_slice() {
        [] => Err(KeyError::Missing(key.label.clone())),
        [object] => Ok(*object),
        several => Err(KeyError::Ambiguous { label: key.label.clone(), found: several.len() }),
    }
}

fn create(session: &Session, key: &PlannedKey) -> Result<(), KeyError> {
    let named = [
        Attribute::Token(true),
        Attribute::Label(key.label.clone().into_bytes()),
        Attribute::Id(key.id.clone().into_bytes()),
    ];
    let mut secret = named.to_vec();
    secret.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(key.copyable),
    ]);
    // Modules differ in what they allow a key when nothing is said, so all of it is said.
    let derives = key.kind == KeyKind::EcP256;
    secret.extend([Attribute::Derive(derives), Attribute::Sign(!derives)]);
    secret.extend([Attribute::Decrypt(false), Attribute::Unwrap(false)]);
    match key.kind {
        KeyKind::EcP256 => {
            let mut public = named.to_vec();
            public.extend([Attribute::Private(false), Attribute::EcParams(P256_OID.to_vec())]);
            public.extend([Attribute::Verify(false), Attribute::Encrypt(false), Attribute::Wrap(false)]);
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &secret)?;
        }
        KeyKind::GenericSecret32 => {
            secret.extend([Attribute::ValueLen(32.into()), Attribute::KeyType(KeyType::GENERIC_SECRET)]);
            secret.extend([Attribute::Verify(false), Attribute::Encrypt(false), Attribute::Wrap(false)]);
            session.generate_key(&Mechanism::GenericSecretKeyGen, &secret)?;
        }
    }
    tracing::warn!(label = key.label, "a key of the plan was not in the token and has been made");
    Ok(())
}

/// Finds a key and reads back what the plan promises of it.
fn checked(session: &Session, key: &PlannedKey) -> Result<ObjectHandle, KeyError> {
    let object = find(session, private_class(key), key)?;
    match broken_promise(session, key, object)? {
        None => Ok(object),
        Some(rule) => Err(KeyError::Weak { label: key.label.clone(), rule }),
    }
}

/// What the HSM says against a key: the first promise that is broken or not answered.
fn broken_promise(session: &Session, key: &PlannedKey, object: ObjectHandle) -> Result<Option<&'static str>, HsmError> {
    let derives = key.kind == KeyKind::EcP256;
    let key_type = if derives { KeyType::EC } else { KeyType::GENERIC_SECRET };
    let mut promises = vec![
        (Attribute::Private(true), "it can be used without login"),
        (Attribute::Sensitive(true), "it is not sensitive"),
        (Attribute::AlwaysSensitive(true), "it was once not sensitive"),
        (Attribute::Extractable(false), "it is extractable"),
        (Attribute::NeverExtractable(true), "it was once extractable"),
        (Attribute::Local(true), "it was made outside the HSM"),
        (Attribute::KeyType(key_type), "it is of another type"),
        (Attribute::Derive(derives), "it allows or lacks derivation"),
        (Attribute::Sign(!derives), "it allows or lacks signing"),
        (Attribute::Decrypt(false), "it decrypts"),
        (Attribute::Unwrap(false), "it unwraps"),
    ];
    if !derives {
        promises.extend([(Attribute::Encrypt(false), "it encrypts"), (Attribute::Wrap(false), "it wraps")]);
    }
    let asked: Vec<AttributeType> = promises.iter().map(|(attribute, _)| attribute.attribute_type()).collect();
    let answers = session.get_attributes(object, &asked)?;
    Ok(promises.into_iter().find(|(promise, _)| !answers.contains(promise)).map(|(_, rule)| rule))
}

/// A session copy of a key where the HSM allows one that is as strong; else the key itself, which is slower.
fn working_copy(session: &Session, key: &PlannedKey, object: ObjectHandle) -> ObjectHandle {
    if !key.copyable {
        return object;
    }
    let copy = match session.copy_object(object, &[Attribute::Token(false)]) {
        Ok(copy) => copy,
        Err(error) => {
            tracing::info!(label = key.label, %error, "the HSM makes no session copy; the key itself is used");
            return object;
        }
    };
    if is_strong_copy(session, copy) {
        return copy;
    }
    tracing::warn!(label = key.label, "the HSM's session copy is weaker than the key; the key itself is used");
    if let Err(error) = session.destroy_object(copy) {
        tracing::warn!(label = key.label, %error, "the weak copy was not destroyed");
    }
    object
}

/// CKA_LOCAL and CKA_ALWAYS_SENSITIVE are not asked of copies: PKCS#11 leaves them open.
fn is_strong_copy(session: &Session, copy: ObjectHandle) -> bool {
    let promises = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::NeverExtractable(true),
    ];
    let asked = promises.each_ref().map(Attribute::attribute_type);
    session.get_attributes(copy, &asked).is_ok_and(|answers| promises.iter().all(|promise| answers.contains(promise)))
}

/// The public half: a DER octet string with an uncompressed point, or (from some modules) the bare point.
fn public_point(session: &Session, key: &PlannedKey) -> Result<[u8; POINT_BYTES], KeyError> {
    let object = find(session, ObjectClass::PUBLIC_KEY, key)?;
    let point = match session.get_attributes(object, &[AttributeType::EcPoint])?.pop() {
        Some(Attribute::EcPoint(bytes)) => point_of(&bytes),
        _ => None,
    };
    point.ok_or_else(|| KeyError::Weak { label: key.label.clone(), rule: "its public half is no P-256 point" })
}

fn point_of(bytes: &[u8]) -> Option<[u8; POINT_BYTES]> {
    let bare = bytes.strip_prefix(&[0x04, 0x41]).filter(|bare| bare.len() == POINT_BYTES).unwrap_or(bytes);
    bare.try_into().ok().filter(is_point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_in_two_forms() {
        let der = [&[0x04, 0x41], &BASE_POINT[..]].concat();
        assert_eq!(point_of(&der), Some(BASE_POINT));
        assert_eq!(point_of(&BASE_POINT), Some(BASE_POINT));
        assert_eq!(point_of(&der[..66]), None);
        assert_eq!(point_of(&[&[0x04, 0x41], &[4; 65][..]].concat()), None);
    }
}
