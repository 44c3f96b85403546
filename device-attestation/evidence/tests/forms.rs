//! The forms of keys and selections that there are, each value at its edge, and the forms that are refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use attest_evidence::{Attest, Attributes, Curve, HashAlgorithm, PcrSelection, Public, Said, Scheme, Symmetric, Why};

const ALL: [HashAlgorithm; 4] =
    [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
const NULL: [u8; 2] = [0x00, 0x10];

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// The parts of a `TPMT_PUBLIC`, to be changed one at a time.
struct Area {
    kind: u16,
    hash: u16,
    attributes: u32,
    policy: Vec<u8>,
    symmetric: Vec<u8>,
    scheme: Vec<u8>,
    curve: u16,
    derivation: Vec<u8>,
    x: Vec<u8>,
    y: Vec<u8>,
}

impl Area {
    fn usual() -> Self {
        Self {
            kind: 0x0023,
            hash: 0x000b,
            attributes: 0x0005_0072,
            policy: Vec::new(),
            symmetric: NULL.to_vec(),
            scheme: vec![0x00, 0x18, 0x00, 0x0b],
            curve: 0x0003,
            derivation: NULL.to_vec(),
            x: vec![1; 32],
            y: vec![2; 32],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [
            &self.kind.to_be_bytes()[..],
            &self.hash.to_be_bytes(),
            &self.attributes.to_be_bytes(),
            &sized(&self.policy),
            &self.symmetric,
            &self.scheme,
            &self.curve.to_be_bytes(),
            &self.derivation,
            &sized(&self.x),
            &sized(&self.y),
        ]
        .concat()
    }

    fn why(&self) -> Why {
        Public::parse(&self.bytes()).unwrap_err().why
    }
}

#[test]
fn hashes_have_their_ids_and_sizes() {
    assert_eq!(ALL.map(HashAlgorithm::id), [0x0004, 0x000b, 0x000c, 0x000d]);
    assert_eq!(ALL.map(HashAlgorithm::bytes), [20, 32, 48, 64]);
    assert_eq!(ALL.map(|hash| HashAlgorithm::from_id(hash.id())), ALL.map(Some));
    assert_eq!([0x0000, 0x0012, 0xffff].map(HashAlgorithm::from_id), [None; 3]);
}

#[test]
fn a_real_endorsement_key_on_p384_is_read() {
    let key = Public::parse(&include_bytes!("vectors/ek384.pub")[2..]).unwrap();
    assert_eq!((key.key.curve, key.name_hash), (Curve::P384, HashAlgorithm::Sha384));
    assert_eq!((key.key.point().len(), key.policy.len()), (97, 48));
    assert_eq!((key.symmetric, key.scheme), (Symmetric::AesCfb(256), Scheme::Any));
    assert!(key.attributes.is_usable_without_policy(), "its makers gave it a policy and a password");
}

#[test]
fn each_attribute_is_a_bit_of_its_own() {
    let of = |bit: u32| Attributes::from_bits(1 << bit);
    let known = [1, 2, 4, 5, 6, 7, 10, 11, 16, 17, 18, 19];
    for bit in 0..32 {
        assert_eq!(of(bit).is_some(), known.contains(&bit), "bit {bit}");
    }
    let has = |bit: u32, attribute: fn(Attributes) -> bool| attribute(of(bit).unwrap());
    assert!(has(5, Attributes::is_made_inside) && has(6, Attributes::is_usable_without_policy));
    assert!(has(16, Attributes::is_restricted) && has(17, Attributes::decrypts) && has(18, Attributes::signs));
    assert!(!has(1, Attributes::is_fixed) && !has(4, Attributes::is_fixed), "fixed is fixed with its parents");
    let both = Attributes::from_bits((1 << 1) | (1 << 4)).unwrap();
    assert!(both.is_fixed() && !both.is_restricted() && both.bits() == 0x12);
}

#[test]
fn coordinates_are_brought_to_their_full_width() {
    let mut area = Area::usual();
    (area.x, area.y) = (vec![7], Vec::new());
    let bytes = area.bytes();
    let point = Public::parse(&bytes).unwrap().key.point();
    let mut expected = [0; 65];
    (expected[0], expected[32]) = (4, 7);
    assert_eq!(point, expected);
    area.x = vec![1; 33];
    assert_eq!(area.why(), Why::TooLarge { most: 32 });
    (area.curve, area.x) = (0x0004, vec![1; 48]);
    let bytes = area.bytes();
    assert_eq!(Public::parse(&bytes).unwrap().key.point().len(), 97);
}

#[test]
fn ciphers_and_schemes_are_those_that_are_known() {
    let with_cipher = |symmetric: &[u8]| Area { symmetric: symmetric.to_vec(), ..Area::usual() };
    for bits in [128_u8, 192] {
        let bytes = with_cipher(&[0x00, 0x06, 0x00, bits, 0x00, 0x43]).bytes();
        assert_eq!(Public::parse(&bytes).unwrap().symmetric, Symmetric::AesCfb(u16::from(bits)));
    }
    assert_eq!(with_cipher(&[0x00, 0x06, 0x00, 64, 0x00, 0x43]).why(), Why::Value);
    assert_eq!(with_cipher(&[0x00, 0x06, 0x00, 128, 0x00, 0x44]).why(), Why::Algorithm(0x0044), "electronic code book");
    assert_eq!(with_cipher(&[0x00, 0x13, 0x00, 128, 0x00, 0x43]).why(), Why::Algorithm(0x0013), "SM4");

    let with_scheme = |scheme: &[u8]| Area { scheme: scheme.to_vec(), ..Area::usual() };
    let bytes = with_scheme(&NULL).bytes();
    assert_eq!(Public::parse(&bytes).unwrap().scheme, Scheme::Any);
    assert_eq!(with_scheme(&[0x00, 0x1a, 0x00, 0x0b, 0, 0]).why(), Why::Algorithm(0x001a), "anonymous signatures");
    assert_eq!(with_scheme(&[0x00, 0x18, 0x00, 0x12]).why(), Why::Algorithm(0x0012));
}

#[test]
fn other_kinds_of_keys_are_refused_by_name() {
    assert_eq!(Area { kind: 0x0008, ..Area::usual() }.why(), Why::Algorithm(0x0008), "a keyed hash");
    assert_eq!(Area { hash: 0x0012, ..Area::usual() }.why(), Why::Algorithm(0x0012));
    assert_eq!(Area { curve: 0x0010, ..Area::usual() }.why(), Why::Algorithm(0x0010), "a pairing curve");
    assert_eq!(Area { attributes: 1, ..Area::usual() }.why(), Why::Value);
    assert_eq!(Area { policy: vec![0; 65], ..Area::usual() }.why(), Why::TooLarge { most: 64 });
    assert_eq!(Area { derivation: vec![0, 0x20, 0, 0x0b], ..Area::usual() }.why(), Why::Algorithm(0x0020));
    assert_eq!(Public::parse(&[0; 513]).unwrap_err().why, Why::TooLarge { most: 512 });
}

/// A quote of these banks, as they stand in it.
fn quote(banks: &[(u16, &[u8])]) -> Vec<u8> {
    let mut statement = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 0, 0, 0];
    statement.extend([0; 16]);
    statement.push(1);
    statement.extend([0; 8]);
    statement.extend(u32::try_from(banks.len()).unwrap().to_be_bytes());
    for (id, map) in banks {
        statement.extend(id.to_be_bytes());
        statement.push(u8::try_from(map.len()).unwrap());
        statement.extend(*map);
    }
    statement.extend(sized(&[5; 32]));
    statement
}

#[test]
fn selections_are_read_bit_by_bit() {
    let bytes = quote(&[(0x000b, &[0x81, 0x00, 0x80, 0x80]), (0x000c, &[])]);
    let Said::Quote(quoted) = Attest::parse(&bytes).unwrap().said else { panic!("a quote") };
    let expected =
        [PcrSelection::of(HashAlgorithm::Sha256, [0, 7, 23, 31]), PcrSelection::of(HashAlgorithm::Sha384, [])];
    assert_eq!(quoted.selection, expected);
    assert_eq!(
        PcrSelection::of(HashAlgorithm::Sha256, [7, 0, 23, 31]).to_list(),
        [0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0, 0x80]
    );
    assert_eq!(PcrSelection::of(HashAlgorithm::Sha256, [0, 32, 255]), PcrSelection::of(HashAlgorithm::Sha256, [0]));
}

#[test]
fn selections_are_bounded() {
    let why = |banks: &[(u16, &[u8])]| Attest::parse(&quote(banks)).unwrap_err().why;
    assert_eq!(why(&[(0x000b, &[0; 5])]), Why::TooLarge { most: 4 });
    assert_eq!(why(&[(0x000b, &[0; 3][..]); 9]), Why::TooLarge { most: 8 });
    assert_eq!(why(&[(0x0012, &[0; 3])]), Why::Algorithm(0x0012));
}

#[test]
fn a_clock_is_safe_or_not() {
    for (byte, read) in [(0, Some(false)), (1, Some(true)), (2, None), (0xff, None)] {
        let mut bytes = quote(&[(0x000b, &[1, 0, 0])]);
        bytes[26] = byte;
        assert_eq!(Attest::parse(&bytes).ok().map(|attest| attest.clock.safe), read, "{byte}");
    }
}
