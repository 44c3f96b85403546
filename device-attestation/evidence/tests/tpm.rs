//! What a TPM really said is read as it was meant, and nothing else is: cut, lengthened, altered or made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use attest_evidence::{
    Attest, Clock, Curve, EcdsaSignature, HashAlgorithm, Malformed, PcrSelection, Public, Said, Scheme, Symmetric, Why,
};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

const QUOTE: &[u8] = include_bytes!("vectors/quote.attest");
const QUOTE_SIGNATURE: &[u8] = include_bytes!("vectors/quote.sig");
const CERTIFICATION: &[u8] = include_bytes!("vectors/certify.attest");
const CERTIFICATION_SIGNATURE: &[u8] = include_bytes!("vectors/certify.sig");
const NONCE: [u8; 16] = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

/// A `TPM2B_PUBLIC` is two bytes of length, then the area.
fn area(public: &'static [u8]) -> &'static [u8] {
    let (length, area) = public.split_first_chunk().unwrap();
    assert_eq!(usize::from(u16::from_be_bytes(*length)), area.len());
    area
}

fn ek() -> &'static [u8] {
    area(include_bytes!("vectors/ek.pub"))
}

fn ak() -> &'static [u8] {
    area(include_bytes!("vectors/ak.pub"))
}

fn tls() -> &'static [u8] {
    area(include_bytes!("vectors/tls.pub"))
}

/// A key's name: the id of the hash and the hash of the public area.
fn name(area: &[u8]) -> Vec<u8> {
    [&HashAlgorithm::Sha256.id().to_be_bytes()[..], digest(&SHA256, area).as_ref()].concat()
}

#[test]
fn a_quote_is_read() {
    let quote = Attest::parse(QUOTE).unwrap();
    assert_eq!(quote.extra_data, NONCE);
    assert_eq!(quote.clock, Clock { millis: 744, resets: 3, restarts: 0, safe: false });
    let Said::Quote(quoted) = quote.said else { panic!("a quote") };
    let registers = [0, 1, 2, 3, 4, 7];
    assert_eq!(quoted.selection, [PcrSelection::of(HashAlgorithm::Sha256, registers)]);
    assert_eq!(quoted.selection[0].registers().collect::<Vec<_>>(), registers);
    assert!(quoted.selection[0].contains(7) && !quoted.selection[0].contains(5) && !quoted.selection[0].contains(200));

    // Zeros, but for register 4, which was extended with the hash of "a".
    let extended = digest(&SHA256, &[&[0; 32], digest(&SHA256, b"a").as_ref()].concat());
    let values = [&[0; 4 * 32], extended.as_ref(), &[0; 32]].concat();
    assert_eq!(quoted.digest, digest(&SHA256, &values).as_ref());
}

#[test]
fn a_key_is_read_and_what_it_signed_is_its_own() {
    let key = Public::parse(ak()).unwrap();
    assert_eq!((key.scheme, key.symmetric), (Scheme::Ecdsa(HashAlgorithm::Sha256), Symmetric::None));
    assert_eq!((key.name_hash, key.policy, key.bytes()), (HashAlgorithm::Sha256, &[][..], ak()));
    let may = key.attributes;
    assert!(may.is_fixed() && may.is_made_inside() && may.is_restricted() && may.signs() && !may.decrypts());
    for (said, signature) in [(QUOTE, QUOTE_SIGNATURE), (CERTIFICATION, CERTIFICATION_SIGNATURE)] {
        let signature = EcdsaSignature::parse(signature).unwrap();
        assert_eq!(signature.hash, HashAlgorithm::Sha256);
        let fixed = signature.fixed(Curve::P256).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key.point()).verify(said, &fixed).unwrap();
        assert_eq!(signature.fixed(Curve::P384).unwrap().len(), 96);
    }
}

#[test]
fn a_certification_names_the_key() {
    let Said::Certify(certified) = Attest::parse(CERTIFICATION).unwrap().said else { panic!("a certification") };
    assert_eq!(certified.name, name(tls()));
    assert_ne!(certified.name, name(ak()));
    let key = Public::parse(tls()).unwrap();
    assert!(key.attributes.is_fixed() && key.attributes.signs() && !key.attributes.is_restricted());
}

#[test]
fn an_endorsement_key_only_decrypts() {
    let key = Public::parse(ek()).unwrap();
    assert_eq!((key.scheme, key.symmetric), (Scheme::Any, Symmetric::AesCfb(128)));
    assert!(key.attributes.decrypts() && key.attributes.is_restricted() && !key.attributes.signs());
    assert_eq!((key.policy.len(), key.key.curve, key.key.point().len()), (32, Curve::P256, 65));
}

#[test]
fn what_is_wrong_is_said_and_where() {
    let changed = |at: usize, bytes: &[u8]| {
        let mut quote = QUOTE.to_vec();
        quote[at..at + bytes.len()].copy_from_slice(bytes);
        Attest::parse(&quote).map(drop).unwrap_err()
    };
    let structure = "attestation (TPMS_ATTEST)";
    assert_eq!(changed(0, &[0]), Malformed { structure, at: 4, why: Why::NotGenerated });
    // A time stamp is a statement too, but not one for us.
    assert_eq!(changed(4, &[0x80, 0x19]).why, Why::Kind(0x8019));
    assert_eq!(changed(6, &[0xff, 0xff]), Malformed { structure, at: 8, why: Why::TooLarge { most: 66 } });
    let told = changed(0, &[0]).to_string();
    assert_eq!(told, "the attestation (TPMS_ATTEST) cannot be read, at byte 4: the TPM did not make this itself");

    assert_eq!(Attest::parse(&[0xff; 2_000]).unwrap_err().why, Why::TooLarge { most: 1_024 });
    let mut rsa = ak().to_vec();
    rsa[1] = 1;
    assert_eq!(Public::parse(&rsa).unwrap_err().why, Why::Algorithm(1));
    let mut odd = ak().to_vec();
    odd[4] = 0x80;
    assert_eq!(Public::parse(&odd).unwrap_err().why, Why::Value, "an attribute without a meaning");
    let mut schnorr = QUOTE_SIGNATURE.to_vec();
    schnorr[1] = 0x1c;
    assert_eq!(EcdsaSignature::parse(&schnorr).unwrap_err().why, Why::Algorithm(0x1c));
}

#[test]
fn numbers_are_brought_to_their_full_width() {
    // r is 1 and s is 2, without the zeros before them.
    let short = [0, 0x18, 0, 0x0b, 0, 1, 1, 0, 1, 2];
    let mut fixed = [0; 64];
    (fixed[31], fixed[63]) = (1, 2);
    assert_eq!(EcdsaSignature::parse(&short).unwrap().fixed(Curve::P256).unwrap(), fixed);
    let wide = [&[0, 0x18, 0, 0x0b, 0, 33][..], &[1; 33], &[0, 1, 2]].concat();
    assert_eq!(EcdsaSignature::parse(&wide).unwrap().fixed(Curve::P256), None);
}

#[test]
fn a_bank_that_is_named_twice_is_refused() {
    let at = QUOTE.len() - 34 - 10;
    let twice =
        [&QUOTE[..at], &[0, 0, 0, 2], &QUOTE[at + 4..at + 10], &QUOTE[at + 4..at + 10], &QUOTE[at + 10..]].concat();
    assert_eq!(Attest::parse(&twice).unwrap_err().why, Why::Value);
}

type Parse = fn(&[u8]) -> Result<(), Malformed>;

fn all() -> [(&'static [u8], Parse); 6] {
    let attest: Parse = |bytes| Attest::parse(bytes).map(drop);
    let public: Parse = |bytes| Public::parse(bytes).map(drop);
    let signature: Parse = |bytes| EcdsaSignature::parse(bytes).map(drop);
    [
        (QUOTE, attest),
        (CERTIFICATION, attest),
        (ak(), public),
        (ek(), public),
        (tls(), public),
        (QUOTE_SIGNATURE, signature),
    ]
}

#[test]
fn nothing_is_read_that_was_cut_or_goes_on() {
    for (whole, parse) in all() {
        assert_eq!(parse(whole), Ok(()));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap_err().why, Why::Short, "{cut}");
        }
        assert_eq!(parse(&[whole, &[0]].concat()).unwrap_err().why, Why::LeftOver);
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1_200)) {
        for (_, parse) in all() {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn whatever_is_altered_is_read_or_refused(which in 0_usize..6, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (whole, parse) = all()[which];
        let mut altered = whole.to_vec();
        altered[at.index(whole.len())] = to;
        if let Err(error) = parse(&altered) {
            prop_assert!(error.at <= whole.len());
        }
    }
}
