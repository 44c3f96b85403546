//! Keys on elliptic curves as certificates hold them: SubjectPublicKeyInfo (RFC 5480, section 2), in the one DER form that
//! an uncompressed point with a named curve has.

use attest_evidence::Curve;

/// What stands before a point on P-256.
const SPKI_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same on P-384.
const SPKI_P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

/// The curve and the uncompressed point of a key; none of any other kind, or in any other form.
pub(crate) fn point(spki: &[u8]) -> Option<(Curve, Vec<u8>)> {
    [Curve::P256, Curve::P384].into_iter().find_map(|curve| {
        let point = spki.strip_prefix(before(curve))?;
        let whole = point.first() == Some(&4) && point.len() == curve.bytes().checked_mul(2)?.checked_add(1)?;
        whole.then(|| (curve, point.to_vec()))
    })
}

/// The SubjectPublicKeyInfo of a point.
pub(crate) fn spki(curve: Curve, point: &[u8]) -> Vec<u8> {
    [before(curve), point].concat()
}

const fn before(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => SPKI_P256,
        Curve::P384 => SPKI_P384,
    }
}
