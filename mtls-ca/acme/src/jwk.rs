//! Public keys of accounts as JSON Web Keys (RFC 7517), their thumbprints (RFC 7638) and signatures by them.
//!
//! P-256, RSA from 2,048 to 4,096 bits, and Ed25519. A key in here has been checked: a JWK with a private part is refused,
//! because whoever sent it has given his key away.

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value, json};

use crate::problem::{Kind, Problem};

/// The signature algorithms spoken here (RFC 7518 section 3.1, RFC 8037).
pub(crate) const ALGORITHMS: &[&str] = &["ES256", "RS256", "EdDSA"];

/// Bytes of an RSA modulus: 2,048 to 4,096 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// A checked public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk(Key);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    P256 { x: [u8; 32], y: [u8; 32] },
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519 { x: [u8; 32] },
}

impl Jwk {
    /// Checks a key.
    ///
    /// # Errors
    /// [`Kind::BadPublicKey`] when it is none, of another kind, too short or too long, or not public.
    pub fn parse(value: &Value) -> Result<Self, Problem> {
        let members = value.as_object().ok_or_else(|| bad("it is no JSON object"))?;
        if members.contains_key("d") || members.contains_key("k") {
            return Err(bad("it holds the private key, which must be replaced now that it was sent"));
        }
        let key = match text(members, "kty")? {
            "EC" if text(members, "crv")? == "P-256" => {
                Key::P256 { x: coordinate(members, "x")?, y: coordinate(members, "y")? }
            }
            "EC" => return Err(bad("its curve is not P-256")),
            "RSA" => rsa(members)?,
            "OKP" if text(members, "crv")? == "Ed25519" => Key::Ed25519 { x: coordinate(members, "x")? },
            kty => return Err(bad(&format!("its type {kty:?} is none of EC (P-256), RSA, OKP (Ed25519)"))),
        };
        Ok(Self(key))
    }

    /// The key as JSON, with the members that make it and no others, in the order of RFC 7638.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.0 {
            Key::P256 { x, y } => json!({"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)}),
            Key::Rsa { n, e } => json!({"e": encode(e), "kty": "RSA", "n": encode(n)}),
            Key::Ed25519 { x } => json!({"crv": "Ed25519", "kty": "OKP", "x": encode(x)}),
        }
    }

    /// SHA-256 over the key's canonical JSON, in base64url (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let canonical = match &self.0 {
            Key::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            Key::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
            Key::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        };
        encode(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// The key authorization for a challenge's token (RFC 8555 section 8.1).
    #[must_use]
    pub fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint())
    }

    /// Verifies a signature by this key under the algorithm that belongs to it.
    ///
    /// # Errors
    /// [`Kind::BadSignatureAlgorithm`] for an algorithm that is not spoken or not this key's; [`Kind::Malformed`] when the
    /// signature does not hold.
    pub(crate) fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Result<(), Problem> {
        let verified = match (&self.0, algorithm) {
            (Key::P256 { .. }, "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.point().unwrap_or_default())
                    .verify(message, signature)
            }
            (Key::Rsa { n, e }, "RS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Key::Ed25519 { x }, "EdDSA") => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            _ => return Err(Problem::algorithm(algorithm, ALGORITHMS)),
        };
        verified.map_err(|_| Problem::malformed("the signature of the request is not by the key that it names"))
    }

    /// The uncompressed point of a P-256 key.
    #[must_use]
    pub fn point(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Key::P256 { x, y } => Some([&[4], x.as_slice(), y].concat()),
            _ => None,
        }
    }
}

fn rsa(members: &Map<String, Value>) -> Result<Key, Problem> {
    let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
    let whole = |number: &[u8]| number.first().is_some_and(|first| *first != 0);
    if !whole(&n) || !whole(&e) || e.len() > 4 {
        return Err(bad("its modulus or exponent is not written as RFC 7518 says"));
    }
    if !RSA_BYTES.contains(&n.len()) {
        return Err(bad("its modulus has fewer than 2048 or more than 4096 bits"));
    }
    Ok(Key::Rsa { n, e })
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| bad(&format!("its member {name:?} is missing")))
}

fn bytes(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Problem> {
    let decoded = BASE64URL_NOPAD.decode(text(members, name)?.as_bytes());
    decoded.map_err(|_| bad(&format!("its member {name:?} is not base64url without padding")))
}

fn coordinate(members: &Map<String, Value>, name: &str) -> Result<[u8; 32], Problem> {
    bytes(members, name)?.try_into().map_err(|_| bad(&format!("its member {name:?} has not 32 bytes")))
}

fn bad(why: &str) -> Problem {
    Problem::new(Kind::BadPublicKey, format!("the key cannot be an account's: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Jwk;
    use crate::problem::Kind;

    /// The examples of RFC 7638 section 3.1 and RFC 8037 appendix A.3.
    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
                 oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA\
                 ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-\
                 kEgU8awapJzKnqDKgw";
        let rsa = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        assert_eq!(Jwk::parse(&rsa).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let ed25519 = Jwk::parse(&json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
        assert_eq!(ed25519.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// The example of RFC 8037 appendix A.4.
    #[test]
    fn a_signature_holds_for_its_message_key_and_algorithm_alone() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = Jwk::parse(&json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        assert_eq!(key.verify("EdDSA", message, &signature), Ok(()));
        assert_eq!(key.verify("EdDSA", &message[1..], &signature).unwrap_err().kind, Kind::Malformed);
        assert_eq!(key.verify("ES256", message, &signature).unwrap_err().kind, Kind::BadSignatureAlgorithm);
    }

    #[test]
    fn a_key_is_written_as_it_is_read() {
        let given = json!({"kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43), "use": "sig"});
        let key = Jwk::parse(&given).unwrap();
        assert_eq!(Jwk::parse(&key.to_json()).unwrap(), key);
        assert_eq!(key.point().unwrap().len(), 65);
        assert!(key.to_json().get("use").is_none());
    }
}
