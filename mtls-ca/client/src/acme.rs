//! ACME from the client's side (RFC 8555), as much as those need who get certificates here: an account bound to a key that
//! the security team made (section 7.3.4), an order, its challenges, a certificate, and renewal information (RFC 9773).
//!
//! Our own, although a library does it well: the one that knows device-attest-01 brings the public root stores and OpenSSL's
//! probe into every lock file that names it, and this house has neither. It signs with ES256 alone. Nonces are taken from one
//! answer for the next question; one that was used up meanwhile is tried again with the server's.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::problem::Problem;
use crate::{AcmeError, Web};

/// How often a question is asked again with the nonce that the server gave with its refusal.
const NONCE_TRIES: u32 = 3;
const JOSE: &str = "application/jose+json";
const NONCE: &str = "replay-nonce";

/// What is kept of an account: where it is, and its key. A secret, though no certificate comes of it alone.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    directory: String,
    account: String,
    key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The resources of the server (RFC 8555, section 7.1.1).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
    new_account: String,
    new_order: String,
    renewal_info: String,
}

/// An account with the authority.
#[derive(Debug)]
pub struct Account {
    web: Web,
    directory: Directory,
    url: String,
    key: EcdsaKeyPair,
    nonce: Mutex<Option<String>>,
}

impl Account {
    /// Makes an account at this directory, bound to the external account key `mac_key` with the id `kid`; and what to keep of
    /// it.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn create(
        web: Web,
        directory: &str,
        kid: &str,
        mac_key: &[u8],
    ) -> Result<(Self, Credentials), AcmeError> {
        let failed = |_| AcmeError::Failed("the system makes no keys".to_owned());
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(failed)?;
        let mut account = Self::at(web, directory, document.as_ref(), String::new()).await?;
        let url = account.directory.new_account.clone();
        let payload =
            json!({ "termsOfServiceAgreed": true, "externalAccountBinding": account.binding(kid, mac_key, &url) });
        let answer = account.post_as(&json!({ "jwk": account.jwk() }), &url, Some(&payload)).await?;
        account.url = location(&answer)?;
        let key = BASE64URL_NOPAD.encode(document.as_ref());
        let credentials = Credentials { directory: directory.to_owned(), account: account.url.clone(), key };
        Ok((account, credentials))
    }

    /// The account that was kept.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn open(web: Web, credentials: &Credentials) -> Result<Self, AcmeError> {
        let key = BASE64URL_NOPAD.decode(credentials.key.as_bytes());
        let key = Zeroizing::new(key.map_err(|_| AcmeError::Refused("the account's key is none".to_owned()))?);
        Self::at(web, &credentials.directory, &key, credentials.account.clone()).await
    }

    async fn at(web: Web, directory: &str, pkcs8: &[u8], url: String) -> Result<Self, AcmeError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new());
        let key = key.map_err(|_| AcmeError::Refused("the account's key is none".to_owned()))?;
        let directory = read(&get(&web, directory).await?)?;
        Ok(Self { web, directory, url, key, nonce: Mutex::default() })
    }

    /// Its key's thumbprint (RFC 7638), base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    /// Where orders are made.
    pub(crate) fn orders(&self) -> &str {
        &self.directory.new_order
    }

    /// What the server says of when to renew this certificate (RFC 9773, section 4.1): its authority's key identifier and its
    /// serial number, both as the bytes that stand in it. The window, and when to ask again, in seconds.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub(crate) async fn renewal(&self, authority: &[u8], serial: &[u8]) -> Result<(Value, u64), AcmeError> {
        let (authority, serial) = (BASE64URL_NOPAD.encode(authority), BASE64URL_NOPAD.encode(serial));
        let answer = get(&self.web, &format!("{}/{authority}.{serial}", self.directory.renewal_info)).await?;
        let again = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok((read(&answer)?, again.and_then(|text| text.trim().parse().ok()).unwrap_or(0)))
    }

    /// Posts to a resource of this account; with no payload it is only read (section 6.3).
    pub(crate) async fn post(&self, url: &str, payload: Option<&Value>) -> Result<Response<Bytes>, AcmeError> {
        self.post_as(&json!({ "kid": self.url }), url, payload).await
    }

    async fn post_as(&self, who: &Value, url: &str, payload: Option<&Value>) -> Result<Response<Bytes>, AcmeError> {
        let payload = payload.map(Value::to_string).unwrap_or_default();
        let mut tries = 0;
        loop {
            let mut header = json!({ "alg": "ES256", "nonce": self.nonce().await?, "url": url });
            if let (Some(members), Some(who)) = (header.as_object_mut(), who.as_object()) {
                members.extend(who.clone());
            }
            let request = Request::post(url).header(http::header::CONTENT_TYPE, JOSE);
            let answer = ask(&self.web, request, self.signed(&header, &payload)?).await?;
            self.keep_nonce(&answer);
            match checked(answer) {
                Err(AcmeError::Nonce) if tries < NONCE_TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// A nonce that nobody used.
    async fn nonce(&self) -> Result<String, AcmeError> {
        if let Some(nonce) = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(nonce);
        }
        let answer = checked(ask(&self.web, Request::head(&self.directory.new_nonce), String::new()).await?)?;
        self.keep_nonce(&answer);
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take();
        nonce.ok_or_else(|| AcmeError::Failed("the authority gives no nonce".to_owned()))
    }

    fn keep_nonce(&self, answer: &Response<Bytes>) {
        let nonce = answer.headers().get(NONCE).and_then(|nonce| nonce.to_str().ok()).map(str::to_owned);
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = nonce;
    }

    /// A flattened JWS (RFC 7515, section 7.2.2).
    fn signed(&self, header: &Value, payload: &str) -> Result<String, AcmeError> {
        let (protected, payload) = (encode(header.to_string()), encode(payload));
        let signed = self.key.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes());
        let signature = signed.map_err(|_| AcmeError::Failed("the system signs nothing".to_owned()))?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": encode(signature) }).to_string())
    }

    /// The external account key's word for this account's key.
    fn binding(&self, kid: &str, mac_key: &[u8], url: &str) -> Value {
        let protected = encode(json!({ "alg": "HS256", "kid": kid, "url": url }).to_string());
        let payload = encode(self.jwk().to_string());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, mac_key), format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": encode(tag) })
    }

    /// The public key (RFC 7517).
    fn jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    fn coordinates(&self) -> (String, String) {
        let point = self.key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        (encode(x), encode(y))
    }
}

async fn get(web: &Web, url: &str) -> Result<Response<Bytes>, AcmeError> {
    checked(ask(web, Request::get(url), String::new()).await?)
}

async fn ask(web: &Web, request: http::request::Builder, body: String) -> Result<Response<Bytes>, AcmeError> {
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|why| AcmeError::Failed(format!("the authority gave no usable address: {why}")))?;
    web.ask(request).await.map_err(|why| AcmeError::Failed(format!("the authority could not be asked: {why}")))
}

/// An answer that is no problem.
fn checked(answer: Response<Bytes>) -> Result<Response<Bytes>, AcmeError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let problem: Problem = serde_json::from_slice(answer.body()).unwrap_or_default();
    Err(match problem.told(answer.status()) {
        AcmeError::Nonce if answer.status() != StatusCode::BAD_REQUEST => {
            AcmeError::Failed("the authority refused a nonce in no known way".to_owned())
        }
        told => told,
    })
}

/// The body of an answer.
pub(crate) fn read<T: serde::de::DeserializeOwned>(answer: &Response<Bytes>) -> Result<T, AcmeError> {
    serde_json::from_slice(answer.body())
        .map_err(|why| AcmeError::Failed(format!("the authority's answer makes no sense: {why}")))
}

/// Where what was made is.
pub(crate) fn location(answer: &Response<Bytes>) -> Result<String, AcmeError> {
    let location = answer.headers().get(http::header::LOCATION).and_then(|location| location.to_str().ok());
    location.map(str::to_owned).ok_or_else(|| AcmeError::Failed("the authority does not say where it is".to_owned()))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}
