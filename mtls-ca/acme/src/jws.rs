//! Signed messages: JWS in flattened JSON form (RFC 7515 section 7.2.2) with the header that RFC 8555 section 6.2 wants.
//!
//! Parsing is one step and verifying another: who signed must first be looked up. [`Flattened::payload`] is given out by
//! [`Flattened::verified`] alone, so that nothing is read of a message before its signature holds.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::jwk::Jwk;
use crate::problem::{Kind, Problem};

/// The most bytes of a header's text values; ours are far shorter.
const MOST_TEXT_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    protected: String,
    payload: String,
    signature: String,
}

/// The protected header. What it may not have is here too, so that it is refused instead of ignored.
#[derive(Debug, Deserialize)]
struct WireHeader {
    alg: String,
    url: Option<String>,
    nonce: Option<String>,
    kid: Option<String>,
    jwk: Option<Value>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// Who says he signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signer {
    /// The key itself, in the message.
    Jwk(Jwk),
    /// The name of a key: an account's URL, or an external account binding's id.
    Kid(String),
}

/// A parsed and not yet verified message.
#[derive(Debug)]
pub(crate) struct Flattened {
    pub(crate) algorithm: String,
    pub(crate) url: String,
    pub(crate) nonce: Option<String>,
    pub(crate) signer: Signer,
    signing_input: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Flattened {
    /// Parses a message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|_| Problem::malformed("the body is no JWS in flattened JSON form, without unprotected header"))?;
        Self::of(wire)
    }

    /// Takes a message that stands inside another one.
    pub(crate) fn of_value(value: &Value) -> Result<Self, Problem> {
        let wire = Wire::deserialize(value)
            .map_err(|_| Problem::malformed("what stands inside is no JWS in flattened JSON form"))?;
        Self::of(wire)
    }

    fn of(wire: Wire) -> Result<Self, Problem> {
        let header: WireHeader = serde_json::from_slice(&decode("protected header", &wire.protected)?)
            .map_err(|_| Problem::malformed("the protected header is not the JSON object that RFC 8555 wants"))?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Problem::malformed("the protected header demands an extension; none is known here"));
        }
        let url = header.url.ok_or_else(|| Problem::malformed("the protected header has no url"))?;
        let texts = [Some(&header.alg), Some(&url), header.nonce.as_ref(), header.kid.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > MOST_TEXT_BYTES) {
            return Err(Problem::malformed("a value of the protected header is far too long"));
        }
        let signer = match (header.jwk, header.kid) {
            (Some(jwk), None) => Signer::Jwk(Jwk::parse(&jwk)?),
            (None, Some(kid)) => Signer::Kid(kid),
            _ => return Err(Problem::malformed("the protected header has not exactly one of jwk and kid")),
        };
        let (payload, signature) = (decode("payload", &wire.payload)?, decode("signature", &wire.signature)?);
        let signing_input = format!("{}.{}", wire.protected, wire.payload);
        Ok(Self { algorithm: header.alg, url, nonce: header.nonce, signer, signing_input, payload, signature })
    }

    /// Verifies the signature and gives out the payload.
    pub(crate) fn verified(&self, key: &Jwk) -> Result<Payload<'_>, Problem> {
        key.verify(&self.algorithm, self.signing_input.as_bytes(), &self.signature)?;
        Ok(Payload(&self.payload))
    }

    /// Verifies the code of an external account binding (HS256) and gives out the payload.
    pub(crate) fn authenticated(&self, mac_key: &[u8]) -> Result<Payload<'_>, Problem> {
        if self.algorithm != "HS256" {
            return Err(Problem::algorithm(&self.algorithm, &["HS256"]));
        }
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, mac_key);
        ring::hmac::verify(&key, self.signing_input.as_bytes(), &self.signature)
            .map(|()| Payload(&self.payload))
            .map_err(|_| Problem::new(Kind::Unauthorized, "the external account binding is not made with its MAC key"))
    }

    /// What the message says, before anybody knows whether it is true: for finding out which rows are needed.
    pub(crate) fn unverified(&self) -> Payload<'_> {
        Payload(&self.payload)
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a>(&'a [u8]);

impl Payload<'_> {
    /// Reads it as JSON of a known form.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        serde_json::from_slice(self.0).map_err(|why| Problem::malformed(format!("the payload cannot be used: {why}")))
    }

    /// Whether there is none: then the message asks to be shown a resource (RFC 8555 section 6.3).
    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Refuses anything but a question.
    pub(crate) fn must_be_empty(self) -> Result<(), Problem> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Problem::malformed("this resource can only be looked at: send an empty payload (POST-as-GET)"))
    }
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, Problem> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| Problem::malformed(format!("the {what} is not base64url without padding")))
}
