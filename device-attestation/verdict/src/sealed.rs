//! The signature around a verdict: `COSE_Sign1` with ES256, whose protected header names the kind of token (RFC 9596) and
//! carries the signer's chain (RFC 9360).

use coset::cbor::value::Value;
use coset::iana::{self, EnumI64};
use coset::{AsCborValue, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, Label, TaggedCborSerializable};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::{Issuer, Verdict, VerdictRefusal, VerdictRefusal::Malformed, claims};

/// The most bytes of a verdict with its chain.
const MOST_BYTES: usize = 32 * 1_024;
/// The most certificates of a chain.
pub(crate) const MOST_CERTIFICATES: usize = 4;
/// How far ahead of ours, in seconds, the service's clock may be.
const SKEW_S: i64 = 60;
/// The header `typ` and its value for an EAT in CBOR.
const TYP: i64 = 16;
const EAT: &str = "application/eat+cwt";

impl Verdict {
    /// Seals it: `chain` is the signer's, leaf first, in DER, and `sign` gives its signature over bytes by ECDSA on P-256
    /// with SHA-256, as two numbers of 32 bytes. `None` is what a `sign` gives that cannot.
    ///
    /// # Errors
    /// [`VerdictRefusal::Malformed`] when a part of it is larger than it may be, [`VerdictRefusal::Signature`] when there
    /// was none.
    pub fn seal(
        &self,
        chain: &[Vec<u8>],
        sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, VerdictRefusal> {
        self.check_bounds()?;
        let mut payload = Vec::new();
        coset::cbor::ser::into_writer(&claims::write(self), &mut payload).map_err(|_| Malformed("the claims"))?;
        CoseSign1Builder::new()
            .protected(header(chain)?)
            .payload(payload)
            .try_create_signature(&[], |bytes| sign(bytes).ok_or(VerdictRefusal::Signature))?
            .build()
            .to_tagged_vec()
            .map_err(|_| Malformed("the whole"))
    }

    /// Opens a sealed verdict that `issuer` gave and that holds at `now_unix_s`.
    ///
    /// # Errors
    /// [`VerdictRefusal`], whose text says what to do.
    pub fn open(bytes: &[u8], issuer: &Issuer, now_unix_s: i64) -> Result<Self, VerdictRefusal> {
        if bytes.len() > MOST_BYTES {
            return Err(VerdictRefusal::TooLarge { most: MOST_BYTES });
        }
        let sealed = CoseSign1::from_tagged_slice(bytes).map_err(|_| Malformed("the whole"))?;
        let chain = chain(&sealed.protected.header)?;
        let point = issuer.accept(&chain, now_unix_s)?;
        sealed.verify_signature(&[], |signature, signed| {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
            key.verify(signed, signature).map_err(|_| VerdictRefusal::Signature)
        })?;
        let payload = sealed.payload.as_deref().ok_or(Malformed("the claims"))?;
        let claims = coset::cbor::de::from_reader::<Value, _>(payload).map_err(|_| Malformed("the claims"))?;
        let verdict = claims::read(claims)?;
        // Whatever is not written as it would be here was not written by the service.
        let again = verdict.seal(&chain, |_| Some(sealed.signature.clone()))?;
        if again != bytes {
            return Err(Malformed("its encoding"));
        }
        verdict.check_time(now_unix_s).map(|()| verdict)
    }

    fn check_time(&self, now_unix_s: i64) -> Result<(), VerdictRefusal> {
        let (issued_at_unix_s, expires_at_unix_s) = (self.issued_at_unix_s, self.expires_at_unix_s());
        if issued_at_unix_s > now_unix_s.saturating_add(SKEW_S) {
            return Err(VerdictRefusal::FromTheFuture { issued_at_unix_s, now_unix_s });
        }
        if now_unix_s > expires_at_unix_s {
            return Err(VerdictRefusal::Expired { expires_at_unix_s, now_unix_s });
        }
        Ok(())
    }
}

fn header(chain: &[Vec<u8>]) -> Result<Header, VerdictRefusal> {
    let x5chain = match chain {
        [] => return Err(Malformed("the chain")),
        [leaf] => Value::Bytes(leaf.clone()),
        _ if chain.len() > MOST_CERTIFICATES => return Err(Malformed("the chain")),
        _ => Value::Array(chain.iter().cloned().map(Value::Bytes).collect()),
    };
    let header = HeaderBuilder::new().algorithm(iana::Algorithm::ES256);
    let header = header.value(TYP, Value::Text(EAT.to_owned()));
    Ok(header.value(iana::HeaderParameter::X5Chain.to_i64(), x5chain).build())
}

/// The chain of a header, which holds what [`header`] writes and nothing else.
fn chain(found: &Header) -> Result<Vec<Vec<u8>>, VerdictRefusal> {
    let x5chain = Label::Int(iana::HeaderParameter::X5Chain.to_i64());
    let x5chain = found.rest.iter().find(|(label, _)| *label == x5chain).map(|(_, value)| value);
    let bytes = |value: &Value| value.as_bytes().cloned().ok_or(Malformed("the chain"));
    let chain = match x5chain.ok_or(Malformed("the chain"))? {
        Value::Array(list) if list.len() <= MOST_CERTIFICATES => {
            list.iter().map(bytes).collect::<Result<Vec<_>, _>>()?
        }
        leaf => vec![bytes(leaf)?],
    };
    let ours = header(&chain)?.to_cbor_value().map_err(|_| Malformed("the header"))?;
    let theirs = found.clone().to_cbor_value().map_err(|_| Malformed("the header"))?;
    if ours == theirs { Ok(chain) } else { Err(Malformed("the header")) }
}
