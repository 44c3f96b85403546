//! The PKCS#11 calls, and nothing else: opening the module, and the two operations the vault lives on.
//!
//! A module is initialised once a process and belongs to the vault that did it. One `Keeper` session stays open as long
//! as the login should last (closing the last session logs out silently) and owns the session copies of keys; each
//! worker has a `Bench`, a session of its own, since a session serves one operation at a time. Which keys there are is
//! `keys.rs`; what an error means for the vault is `worker.rs`.

use std::path::Path;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::{
    handles::Handles,
    hpke::{POINT_BYTES, SharedSecret},
};

/// Bytes of HMAC-SHA-256, and of a P-256 coordinate.
const OUTPUT_BYTES: usize = 32;

/// Why the HSM is not, or no longer, of use. Never caused by what a caller sends.
#[derive(Debug, ThisError)]
pub enum HsmError {
    /// A PKCS#11 call failed.
    #[error("the HSM: {0}")]
    Call(#[from] Error),
    /// Not exactly one token has the label.
    #[error("{found} tokens have the label {label:?}, where one is needed")]
    Token {
        /// The label that was looked for.
        label: String,
        /// How many have it.
        found: usize,
    },
    /// The HSM gave something of another form than the standard says.
    #[error("the HSM answered {0} in a form no HSM should")]
    Answer(&'static str),
}

/// A PKCS#11 module, loaded once.
pub(crate) struct Module {
    pkcs11: Pkcs11,
    token_label: String,
    pin: AuthPin,
}

impl Module {
    /// Loads the library; initialises nothing.
    pub(crate) fn load(path: &Path, token_label: &str, pin: &str) -> Result<Self, HsmError> {
        let pin = AuthPin::from(pin.to_owned().into_boxed_str());
        Ok(Self { pkcs11: Pkcs11::new(path)?, token_label: token_label.to_owned(), pin })
    }

    /// Initialises the module and logs in. On an error the module is finalized again, unless it was not ours to begin
    /// with.
    pub(crate) fn open(&self) -> Result<Keeper, HsmError> {
        self.pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        self.log_in().inspect_err(|_| self.finalize())
    }

    /// Finalizes the module. All sessions must be gone; what it says is of no use, since nothing could be done.
    pub(crate) fn finalize(&self) {
        if let Err(error) = self.pkcs11.clone().finalize() {
            tracing::warn!(%error, "the HSM module did not finalize");
        }
    }

    fn log_in(&self) -> Result<Keeper, HsmError> {
        let slot = self.slot()?;
        let session = self.pkcs11.open_ro_session(slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, Function::Login)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Keeper { pkcs11: self.pkcs11.clone(), slot, session })
    }

    fn slot(&self) -> Result<Slot, HsmError> {
        let mut found = Vec::new();
        for slot in self.pkcs11.get_slots_with_initialized_token()? {
            if self.pkcs11.get_token_info(slot)?.label().trim_end() == self.token_label {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [slot] => Ok(*slot),
            _ => Err(HsmError::Token { label: self.token_label.clone(), found: found.len() }),
        }
    }
}

/// The session that keeps the login alive and owns session copies of keys.
pub(crate) struct Keeper {
    pkcs11: Pkcs11,
    slot: Slot,
    session: Session,
}

impl Keeper {
    /// The session itself.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// A session that may create token objects.
    pub(crate) fn writing_session(&self) -> Result<Session, HsmError> {
        Ok(self.pkcs11.open_rw_session(self.slot)?)
    }

    /// A worker's place.
    pub(crate) fn bench(&self, handles: Handles) -> Result<Bench, HsmError> {
        Ok(Bench { session: self.pkcs11.open_ro_session(self.slot)?, handles })
    }
}

/// A worker's session with the keys it may use.
pub(crate) struct Bench {
    session: Session,
    handles: Handles,
}

impl Bench {
    /// The keys.
    pub(crate) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// ECDH of an HSM key with a point that is known to lie on the curve.
    pub(crate) fn agree(&self, key: ObjectHandle, point: &[u8; POINT_BYTES]) -> Result<SharedSecret, HsmError> {
        agree(&self.session, key, point)
    }

    /// HMAC-SHA-256 under an HSM key. (cryptoki's `sign` asks for the length first; modules answer that themselves,
    /// without the device, and the crate has no call that leaves it out.)
    pub(crate) fn mac(&self, key: ObjectHandle, data: &[u8]) -> Result<Zeroizing<[u8; OUTPUT_BYTES]>, HsmError> {
        let mac = Zeroizing::new(self.session.sign(&Mechanism::Sha256Hmac, key, data)?);
        mac.as_slice().try_into().map(Zeroizing::new).map_err(|_| HsmError::Answer("C_Sign"))
    }
}

/// ECDH1_DERIVE without a key derivation function. The result is a session object that lives for three calls.
pub(crate) fn agree(session: &Session, key: ObjectHandle, point: &[u8; POINT_BYTES]) -> Result<SharedSecret, HsmError> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        // The agreed secret is ours to read: HPKE's key schedule needs its bytes. The private key's are not. A private
        // object would only be encrypted by the module, to be decrypted a call later.
        Attribute::Private(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point));
    let object = session.derive_key(&mechanism, key, &template)?;
    let value = session.get_attributes(object, &[AttributeType::Value]);
    session.destroy_object(object)?;
    match value?.pop() {
        Some(Attribute::Value(bytes)) => SharedSecret::from_x_coordinate(Zeroizing::new(bytes.into())),
        _ => None,
    }
    .ok_or(HsmError::Answer("C_DeriveKey"))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::hpke::Recipient;

    // RFC 9180 appendix A.3.1, as in `hpke.rs`; here with the private key inside the HSM.
    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const PK_EM: &str = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4";
    const SK_RM: &str = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2";
    const PK_RM: &str = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0";
    const CT_0: &str = "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434";
    const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
    }

    fn point(text: &str) -> [u8; POINT_BYTES] {
        hex(text).try_into().expect("65 bytes")
    }

    fn module(token: &test_token::TestToken) -> Module {
        Module::load(token.module(), token.label(), token.pin()).expect("SoftHSM")
    }

    fn import(session: &Session, private_key: &str) -> ObjectHandle {
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(false),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
            Attribute::EcParams(P256_OID.to_vec()),
            Attribute::Value(hex(private_key)),
        ];
        session.create_object(&template).expect("an imported key")
    }

    #[test]
    fn rfc_9180_a_3_1_with_the_private_key_in_the_hsm() {
        test_token::in_own_process("rfc9180", |token| {
            let module = module(token);
            let keeper = module.open().expect("a login");
            let key = import(keeper.session(), SK_RM);
            let shared = agree(keeper.session(), key, &point(PK_EM)).expect("a shared secret");
            let opened = Recipient::new(point(PK_RM), &hex(INFO))
                .open(&shared, &point(PK_EM), b"Count-0", &hex(CT_0))
                .expect("the vector opens");
            assert_eq!(opened.as_slice(), b"Beauty is truth, truth beauty");
        });
    }

    #[test]
    fn an_agreed_secret_leaves_no_object_behind() {
        test_token::in_own_process("objects", |token| {
            let keeper = module(token).open().expect("a login");
            let key = import(keeper.session(), SK_RM);
            for _ in 0..3 {
                agree(keeper.session(), key, &point(PK_EM)).expect("a shared secret");
            }
            assert_eq!(keeper.session().find_objects(&[]).expect("a search"), [key]);
        });
    }

    #[test]
    fn a_module_opens_once_and_again_after_it_was_finalized() {
        test_token::in_own_process("once", |token| {
            let module = module(token);
            let keeper = module.open().expect("a login");
            let twice = module.open().err().expect("it is open");
            assert!(matches!(twice, HsmError::Call(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _))), "{twice}");
            assert!(keeper.session().find_objects(&[]).is_ok(), "and it stays open");
            drop(keeper);
            module.finalize();
            assert!(module.open().is_ok());
        });
    }

    #[test]
    fn a_label_or_pin_that_is_wrong_is_refused_and_leaves_nothing_open() {
        test_token::in_own_process("doors", |token| {
            let elsewhere = Module::load(token.module(), "elsewhere", token.pin()).expect("SoftHSM");
            let unknown = elsewhere.open().err().expect("no such token");
            assert!(matches!(unknown, HsmError::Token { found: 0, .. }), "{unknown}");
            let stranger = Module::load(token.module(), token.label(), "000000").expect("SoftHSM");
            let refused = stranger.open().err().expect("the wrong PIN");
            assert!(matches!(refused, HsmError::Call(Error::Pkcs11(RvError::PinIncorrect, _))), "{refused}");
            assert!(module(token).open().is_ok());
        });
    }
}
