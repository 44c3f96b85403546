//! An order, from its challenges to its certificate (RFC 8555, section 7.4).

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::acme::{location, read};
use crate::problem::Problem;
use crate::{Account, AcmeError};

/// The first pause between two looks at an order; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked at: for some 50 s in all.
const LOOKS: u32 = 10;
/// After so many, the proofs are looked at, too: some 0.35 s.
const LOOKS_BEFORE_PROOFS: u32 = 3;
/// The most authorizations of an order; ours have one for each of 16 names.
const MOST_AUTHORIZATIONS: usize = 32;

/// Where an order stands.
#[derive(Debug, Deserialize)]
struct OrderText {
    status: String,
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
struct AuthorizationText {
    status: String,
    challenges: Vec<ChallengeText>,
}

#[derive(Debug, Deserialize)]
struct ChallengeText {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    token: String,
    error: Option<Problem>,
}

/// What can be ordered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// A DNS name (RFC 8555, section 9.7.7).
    Dns(String),
    /// An address (RFC 8738).
    Ip(IpAddr),
    /// A device, by the SHA-256 of its endorsement key, lower-case hex (draft-ietf-acme-device-attest, section 3).
    Permanent(String),
}

/// An order of an account.
#[derive(Debug)]
pub struct Order<'a> {
    account: &'a Account,
    url: String,
    text: OrderText,
}

/// A challenge that is to be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Its token.
    pub token: String,
    /// The key authorization (RFC 8555, section 8.1).
    pub key_authorization: String,
    url: String,
}

impl<'a> Order<'a> {
    /// Orders a certificate of this profile for these identifiers.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn place(account: &'a Account, profile: &str, identifiers: &[Identifier]) -> Result<Self, AcmeError> {
        let identifiers: Vec<Value> = identifiers.iter().map(Identifier::to_json).collect();
        let payload = json!({ "identifiers": identifiers, "profile": profile });
        let answer = account.post(account.orders(), Some(&payload)).await?;
        Ok(Self { account, url: location(&answer)?, text: read(&answer)? })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The challenges of this type, one for each name that is not proved yet.
    ///
    /// # Errors
    /// [`AcmeError::Refused`] when the authority asks for another proof.
    pub async fn challenges(&self, kind: &str) -> Result<Vec<Challenge>, AcmeError> {
        let mut found = Vec::new();
        for url in self.text.authorizations.iter().take(MOST_AUTHORIZATIONS) {
            let authorization: AuthorizationText = read(&self.account.post(url, None).await?)?;
            if authorization.status == "valid" {
                continue;
            }
            let challenge = authorization.challenges.into_iter().find(|challenge| challenge.kind == kind);
            let challenge = challenge
                .ok_or_else(|| AcmeError::Refused(format!("the authority asks for another proof than {kind}")))?;
            let key_authorization = format!("{}.{}", challenge.token, self.account.thumbprint());
            found.push(Challenge { token: challenge.token, key_authorization, url: challenge.url });
        }
        Ok(found)
    }

    /// Says that a challenge can be looked at; `payload` is what its type wants, `{}` mostly.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn meet(&self, challenge: &Challenge, payload: &Value) -> Result<(), AcmeError> {
        self.account.post(&challenge.url, Some(payload)).await.map(drop)
    }

    /// Looks at where the order stands now; who must not wait as [`Order::certificate`] does looks by himself.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn look(&mut self) -> Result<(), AcmeError> {
        self.text = read(&self.account.post(&self.url, None).await?)?;
        Ok(())
    }

    /// Waits until every name is proved, asks for the certificate with this request (PKCS #10, DER), and waits for it: the
    /// chain, PEM.
    ///
    /// # Errors
    /// [`AcmeError`], with the authority's reason when it refuses.
    pub async fn certificate(mut self, request: &[u8]) -> Result<String, AcmeError> {
        self.until(&["ready", "valid"]).await?;
        if self.text.status == "ready" {
            let payload = json!({ "csr": BASE64URL_NOPAD.encode(request) });
            self.text = read(&self.account.post(&self.text.finalize, Some(&payload)).await?)?;
        }
        self.until(&["valid"]).await?;
        let url = self.text.certificate.clone();
        let url =
            url.ok_or_else(|| AcmeError::Failed("the authority does not say where the certificate is".to_owned()))?;
        let chain = self.account.post(&url, None).await?.into_body();
        String::from_utf8(chain.to_vec()).map_err(|_| AcmeError::Failed("the certificate is no text".to_owned()))
    }

    /// Looks at the order until it stands like this.
    async fn until(&mut self, wanted: &[&str]) -> Result<(), AcmeError> {
        let mut pause = FIRST_PAUSE;
        for look in 0..LOOKS {
            if wanted.contains(&self.text.status.as_str()) {
                return Ok(());
            }
            if self.text.status == "invalid" {
                let problem = self.text.error.take().unwrap_or_default();
                return Err(AcmeError::Refused(format!("the authority refuses: {}", problem.words())));
            }
            if look >= LOOKS_BEFORE_PROOFS && self.text.status == "pending" {
                self.nothing_is_wrong_with_proofs().await?;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            self.look().await?;
        }
        Err(AcmeError::Failed("the authority did not come to an end with the order; it is asked again".to_owned()))
    }

    /// A proof that could not be decided leaves the order as it is, and the challenge says why (RFC 8555, section 8).
    async fn nothing_is_wrong_with_proofs(&self) -> Result<(), AcmeError> {
        for url in self.text.authorizations.iter().take(MOST_AUTHORIZATIONS) {
            let authorization: AuthorizationText = read(&self.account.post(url, None).await?)?;
            if let Some(problem) = authorization.challenges.into_iter().find_map(|challenge| challenge.error) {
                return Err(AcmeError::Failed(format!("the authority cannot decide: {}", problem.words())));
            }
        }
        Ok(())
    }
}

impl Identifier {
    fn to_json(&self) -> Value {
        let (kind, value) = match self {
            Self::Dns(name) => ("dns", name.clone()),
            Self::Ip(address) => ("ip", address.to_string()),
            Self::Permanent(identifier) => ("permanent-identifier", identifier.clone()),
        };
        json!({ "type": kind, "value": value })
    }
}

impl Challenge {
    /// The SHA-256 of the key authorization.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.key_authorization.as_bytes()).as_ref());
        hash
    }
}
