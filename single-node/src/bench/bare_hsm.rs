//! The PKCS#11 calls that open and tokenize one card, and nothing around them: derive, read, destroy, sign, with session
//! copies of the keys, as the vault makes them.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use pci_vault::{KeyPlan, KeyZone, Purpose};

use crate::Fault;
use crate::hsm::Token;

/// As long as what the vault hashes: its domain string and a card number of sixteen digits.
const TEXT: [u8; 37] = [0; 37];

/// The module, opened and logged in, with its keys.
pub(super) struct Bare {
    pkcs11: Pkcs11,
    slot: Slot,
    // The last session to go: it keeps the login and owns the copies of the keys.
    _keeper: Session,
    sealing: ObjectHandle,
    token: ObjectHandle,
}

impl Bare {
    /// Opens the module of `token` and finds the keys that the vault made.
    ///
    /// # Errors
    /// [`Fault`] when the module refuses.
    pub(super) fn open(token: &Token, pin: &str, plan: &KeyPlan) -> Result<Self, Fault> {
        let refused = "the bare HSM";
        let pkcs11 = Pkcs11::new(&token.module).map_err(Fault::of(refused))?;
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(Fault::of(refused))?;
        let slots = pkcs11.get_slots_with_initialized_token().map_err(Fault::of(refused))?;
        let slot = slots.into_iter().next().ok_or_else(|| Fault::new("the bare HSM has no token".to_owned()))?;
        let keeper = pkcs11.open_ro_session(slot).map_err(Fault::of(refused))?;
        let pin = AuthPin::from(pin.trim_end().to_owned().into_boxed_str());
        keeper.login(UserType::User, Some(&pin)).map_err(Fault::of(refused))?;
        let sealing = copy(&keeper, ObjectClass::PRIVATE_KEY, plan, Purpose::Sealing)?;
        let token = copy(&keeper, ObjectClass::SECRET_KEY, plan, Purpose::Token)?;
        Ok(Self { pkcs11, slot, _keeper: keeper, sealing, token })
    }

    /// A session for one thread.
    ///
    /// # Errors
    /// [`Fault`] when the module refuses.
    pub(super) fn bench(&self) -> Result<Bench, Fault> {
        let session = self.pkcs11.open_ro_session(self.slot).map_err(Fault::of("the bare HSM"))?;
        Ok(Bench { session, sealing: self.sealing, token: self.token })
    }

    /// Gives the module back.
    pub(super) fn finalize(self) {
        let Self { pkcs11, _keeper: keeper, .. } = self;
        drop(keeper);
        if let Err(error) = pkcs11.finalize() {
            tracing::warn!(%error, "the module did not finalize");
        }
    }
}

/// One thread's session.
pub(super) struct Bench {
    session: Session,
    sealing: ObjectHandle,
    token: ObjectHandle,
}

impl Bench {
    /// The calls for one card.
    ///
    /// # Errors
    /// [`Fault`] when the module refuses.
    pub(super) fn round(&self, point: &[u8; 65]) -> Result<(), Fault> {
        self.calls(point).map_err(Fault::of("the bare HSM"))
    }

    fn calls(&self, point: &[u8; 65]) -> Result<(), cryptoki::error::Error> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Token(false),
            Attribute::Private(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point));
        let object = self.session.derive_key(&mechanism, self.sealing, &template)?;
        self.session.get_attributes(object, &[AttributeType::Value])?;
        self.session.destroy_object(object)?;
        self.session.sign(&Mechanism::Sha256Hmac, self.token, &TEXT)?;
        Ok(())
    }
}

/// A session copy of the active key of a purpose.
fn copy(session: &Session, class: ObjectClass, plan: &KeyPlan, purpose: Purpose) -> Result<ObjectHandle, Fault> {
    let planned = plan.zone(KeyZone::Pci).find(|key| key.purpose == purpose);
    let label = planned.map(|key| key.label.clone().into_bytes()).unwrap_or_default();
    let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Label(label)];
    let found = session.find_objects(&template).map_err(Fault::of("the bare HSM"))?;
    let key = found.first().ok_or_else(|| Fault::new("the bare HSM lacks a key of the vault".to_owned()))?;
    session.copy_object(*key, &[Attribute::Token(false)]).map_err(Fault::of("the bare HSM"))
}
