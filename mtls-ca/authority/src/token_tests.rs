//! Tests of `token`: keys by their attributes as the token reports them, signatures by a verifier that is not the token.

use ca_rotation::{GenerationId, Tier};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use test_token::{TestToken, in_own_process};
use zeroize::Zeroizing;

use super::{P256_PARAMS, Token};
use crate::{AuthorityConfig, AuthorityError, Corrupt, Fault, Pin};

const ONE: GenerationId = GenerationId::new(Tier::Device, 1);
const TWO: GenerationId = GenerationId::new(Tier::Device, 2);

fn open(token: &TestToken) -> Token {
    Token::open(&config(token)).unwrap()
}

fn config(token: &TestToken) -> AuthorityConfig {
    AuthorityConfig {
        dir: token.directory().to_owned(),
        module: token.module().to_owned(),
        token_label: token.label().to_owned(),
        pin: Pin::Text(Zeroizing::new(token.pin().to_owned())),
        trust_domain: ca_identity::TrustDomain::parse("larder.internal").unwrap(),
    }
}

/// A session beside the one under test, to put things into the token that our code would not.
fn beside(token: &TestToken) -> Session {
    let context = Pkcs11::new(token.module()).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| context.get_token_info(*slot).unwrap().label() == token.label()).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::from(token.pin())));
    session
}

#[test]
fn a_key_made_inside_signs_and_only_its_own_public_half_verifies() {
    in_own_process("sign", |token| {
        let open = open(token);
        assert!(!open.holds(ONE).unwrap());
        let (one, two) = (open.generate(ONE).unwrap(), open.generate(TWO).unwrap());
        assert!(open.holds(ONE).unwrap());
        assert_ne!(one, two);
        assert_eq!(open.check(ONE).unwrap(), one, "the same point each time");
        let message = b"to be signed";
        let signature = open.sign(ONE, digest(&SHA256, message).as_ref()).unwrap();
        assert_eq!(signature.len(), 64);
        let verify = |point: &[u8], message: &[u8]| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &signature).is_ok()
        };
        assert!(verify(&one, message));
        assert!(!verify(&two, message));
        assert!(!verify(&one, b"another"));
        assert_eq!(open.signatures(), 1);
    });
}

#[test]
fn a_key_that_is_not_there_signs_nothing_and_counts_nothing() {
    in_own_process("none", |token| {
        let open = open(token);
        let refused = open.sign(ONE, &[0; 32]).unwrap_err();
        assert!(matches!(refused, AuthorityError::Fault(Fault::Token { .. })), "{refused}");
        assert_eq!(open.signatures(), 0);
        assert!(matches!(open.check(ONE), Err(AuthorityError::Corrupt(Corrupt::Key { .. }))));
    });
}

#[test]
fn two_keys_of_one_name_are_refused() {
    in_own_process("double", |token| {
        let open = open(token);
        open.generate(ONE).unwrap();
        let again = open.generate(ONE).unwrap_err().to_string();
        assert!(again.contains("several"), "{again}");
    });
}

#[test]
fn each_attribute_that_is_not_as_it_must_be_is_found() {
    in_own_process("attributes", |token| {
        let open = open(token);
        let session = beside(token);
        let right = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Copyable(false),
            Attribute::Sign(true),
            Attribute::Derive(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
        ];
        let wrong = [
            Attribute::Extractable(true),
            Attribute::Copyable(true),
            Attribute::Derive(true),
            Attribute::Decrypt(true),
            Attribute::Unwrap(true),
        ];
        let named = [
            Attribute::Label(b"larder-ca-device-1".to_vec()),
            Attribute::Id(b"device-1".to_vec()),
            Attribute::Token(true),
        ];
        let public = [named.as_slice(), &[Attribute::EcParams(P256_PARAMS.to_vec()), Attribute::Verify(true)]].concat();
        let mut cases: Vec<(Vec<Attribute>, Option<Attribute>)> = vec![(right.to_vec(), None)];
        for wrong in wrong {
            let same = |held: &Attribute| held.attribute_type() == wrong.attribute_type();
            let template = right.iter().map(|held| if same(held) { wrong.clone() } else { held.clone() }).collect();
            cases.push((template, Some(wrong)));
        }
        for (template, wrong) in cases {
            let private = [named.as_slice(), &template].concat();
            let pair = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
            match (open.check(ONE), &wrong) {
                (Ok(_), None) => {}
                (Err(AuthorityError::Corrupt(Corrupt::Key { why, .. })), Some(_)) => {
                    assert!(why.contains("lacks the attribute"), "{why}");
                }
                (outcome, wrong) => panic!("{wrong:?}: {outcome:?}"),
            }
            session.destroy_object(pair.0).unwrap();
            session.destroy_object(pair.1).unwrap();
        }
    });
}

#[test]
fn a_key_of_another_curve_is_found() {
    in_own_process("curve", |token| {
        let open = open(token);
        let p384 = vec![0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];
        let named = [
            Attribute::Label(b"larder-ca-device-1".to_vec()),
            Attribute::Id(b"device-1".to_vec()),
            Attribute::Token(true),
        ];
        let public = [named.as_slice(), &[Attribute::EcParams(p384)]].concat();
        let private = [
            named.as_slice(),
            &[
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Copyable(false),
                Attribute::Sign(true),
                Attribute::Derive(false),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
            ],
        ];
        beside(token).generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private.concat()).unwrap();
        assert!(matches!(open.check(ONE), Err(AuthorityError::Corrupt(Corrupt::Key { .. }))));
    });
}

#[test]
fn a_module_that_is_none_is_a_fault_with_words_that_help() {
    in_own_process("module", |token| {
        let wrong = AuthorityConfig { module: "/nowhere/module.so".into(), ..config(token) };
        let error = Token::open(&wrong).unwrap_err();
        assert!(matches!(error, AuthorityError::Fault(Fault::Token { what: "load its module", .. })), "{error}");
        assert!(error.to_string().contains("check the module"), "{error}");
        assert!(!format!("{:?}", open(token)).contains(token.pin()));
    });
}

#[test]
fn a_token_that_is_gone_is_a_fault_and_its_return_is_noticed() {
    in_own_process("gone", |token| {
        let open = open(token);
        open.generate(ONE).unwrap();
        let (here, away) = (token.token_directory(), token.directory().join("away"));
        std::fs::rename(&here, &away).unwrap();
        std::fs::create_dir(&here).unwrap();
        Pkcs11::new(token.module()).unwrap().finalize().unwrap(); // so that SoftHSM looks at its folder again
        assert!(open.sign(ONE, &[7; 32]).is_err());
        std::fs::remove_dir_all(&here).unwrap();
        std::fs::rename(&away, &here).unwrap();
        let _ = Pkcs11::new(token.module()).unwrap().finalize();
        assert_eq!(open.sign(ONE, &[7; 32]).unwrap().len(), 64);
    });
}
