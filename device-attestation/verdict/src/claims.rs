//! A verdict as the claims of an EAT, in deterministic CBOR (RFC 8949, section 4.2.1).
//!
//! Claims of our own have numbers from the range for private use (RFC 8392, section 9.1). They are written in the order of
//! their encoded numbers; reading takes them in just this order, and whatever is more, less or other is refused.

use coset::cbor::value::Value;

use crate::verdict::{Appraised, Binding, LIFE_S, Verdict};
use crate::{VerdictRefusal, VerdictRefusal::Malformed};

/// `exp` and `iat` (RFC 8392), `eat_nonce`, `ueid` and `eat_profile` (RFC 9711).
const EXP: i64 = 4;
const IAT: i64 = 6;
const EAT_NONCE: i64 = 10;
const UEID: i64 = 256;
const EAT_PROFILE: i64 = 265;
/// Ours.
const ATTESTATION_KEY: i64 = -70_001;
const TLS_KEY: i64 = -70_002;
const CSR: i64 = -70_003;
const ACCOUNT: i64 = -70_004;
const ORDER: i64 = -70_005;
const APPRAISED: i64 = -70_006;
const REASONS: i64 = -70_007;
const REFERENCE_VALUES: i64 = -70_008;

/// Which EAT this is: the form described here.
const PROFILE: &str = "tag:larder.internal,2026:attestation-verdict-1";
/// The kind of a UEID that is as good as a random number of 256 bits (RFC 9711, section 4.2.1.1).
const UEID_RAND: u8 = 1;
const AFFIRMING: &str = "affirming";
const QUARANTINE: &str = "quarantine";

/// The claims as a CBOR map.
pub(crate) fn write(verdict: &Verdict) -> Value {
    let Binding { permanent_identifier, tls_key_sha256, csr_sha256, account, order } = &verdict.binding;
    let (appraised, reasons) = match &verdict.appraised {
        Appraised::Affirming => (AFFIRMING, &[][..]),
        Appraised::Quarantine(reasons) => (QUARANTINE, &reasons[..]),
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let claims = [
        (EXP, Value::from(verdict.expires_at_unix_s())),
        (IAT, Value::from(verdict.issued_at_unix_s)),
        (EAT_NONCE, bytes(&verdict.nonce)),
        (UEID, bytes(&[&[UEID_RAND][..], permanent_identifier].concat())),
        (EAT_PROFILE, text(PROFILE)),
        (ATTESTATION_KEY, bytes(&verdict.attestation_key)),
        (TLS_KEY, bytes(tls_key_sha256)),
        (CSR, bytes(csr_sha256)),
        (ACCOUNT, text(account)),
        (ORDER, text(order)),
        (APPRAISED, text(appraised)),
        (REASONS, Value::Array(reasons.iter().map(|reason| text(reason)).collect())),
        (REFERENCE_VALUES, Value::from(verdict.reference_values)),
    ];
    Value::Map(claims.into_iter().map(|(label, value)| (Value::from(label), value)).collect())
}

/// Reads what [`write`] writes.
pub(crate) fn read(claims: Value) -> Result<Verdict, VerdictRefusal> {
    let mut claims = Claims(claims.into_map().map_err(|_| Malformed("the claims"))?.into_iter());
    let (exp, issued_at_unix_s) = (claims.integer(EXP)?, claims.integer(IAT)?);
    let nonce = claims.hash(EAT_NONCE)?;
    let ueid = claims.bytes(UEID)?;
    let permanent_identifier = match ueid.split_first() {
        Some((&UEID_RAND, identifier)) => identifier.try_into().map_err(|_| Malformed("the device's identifier"))?,
        _ => return Err(Malformed("the device's identifier")),
    };
    if claims.text(EAT_PROFILE)? != PROFILE {
        return Err(Malformed("the profile"));
    }
    let attestation_key = claims.bytes(ATTESTATION_KEY)?;
    let binding = Binding {
        permanent_identifier,
        tls_key_sha256: claims.hash(TLS_KEY)?,
        csr_sha256: claims.hash(CSR)?,
        account: claims.text(ACCOUNT)?,
        order: claims.text(ORDER)?,
    };
    let appraised = match (claims.text(APPRAISED)?.as_str(), claims.texts(REASONS)?) {
        (AFFIRMING, reasons) if reasons.is_empty() => Appraised::Affirming,
        (QUARANTINE, reasons) => Appraised::Quarantine(reasons),
        _ => return Err(Malformed("the appraisal")),
    };
    let reference_values = claims.integer(REFERENCE_VALUES)?;
    let reference_values = u64::try_from(reference_values).map_err(|_| Malformed("the version"))?;
    claims.end()?;
    if issued_at_unix_s.checked_add(LIFE_S) != Some(exp) {
        return Err(Malformed("its life"));
    }
    let verdict = Verdict { binding, nonce, attestation_key, appraised, reference_values, issued_at_unix_s };
    verdict.check_bounds().map(|()| verdict)
}

/// Claims that are still to be read.
struct Claims(std::vec::IntoIter<(Value, Value)>);

impl Claims {
    /// The next claim, which must be this one.
    fn next(&mut self, label: i64) -> Result<Value, VerdictRefusal> {
        match self.0.next() {
            Some((Value::Integer(found), value)) if found == label.into() => Ok(value),
            _ => Err(Malformed("a claim that is missing, unknown or in another place")),
        }
    }

    fn integer(&mut self, label: i64) -> Result<i64, VerdictRefusal> {
        let integer = self.next(label)?.into_integer().ok().and_then(|integer| integer.try_into().ok());
        integer.ok_or(Malformed("a number"))
    }

    fn bytes(&mut self, label: i64) -> Result<Vec<u8>, VerdictRefusal> {
        self.next(label)?.into_bytes().map_err(|_| Malformed("bytes"))
    }

    fn hash(&mut self, label: i64) -> Result<[u8; 32], VerdictRefusal> {
        self.bytes(label)?.try_into().map_err(|_| Malformed("a hash"))
    }

    fn text(&mut self, label: i64) -> Result<String, VerdictRefusal> {
        self.next(label)?.into_text().map_err(|_| Malformed("a text"))
    }

    fn texts(&mut self, label: i64) -> Result<Vec<String>, VerdictRefusal> {
        let list = self.next(label)?.into_array().map_err(|_| Malformed("a list"))?;
        list.into_iter().map(|text| text.into_text().map_err(|_| Malformed("a text"))).collect()
    }

    fn end(mut self) -> Result<(), VerdictRefusal> {
        if self.0.next().is_none() { Ok(()) } else { Err(Malformed("a claim too many")) }
    }
}
