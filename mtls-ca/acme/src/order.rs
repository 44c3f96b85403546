//! Orders with their authorizations and challenges (RFC 8555 section 7.1.6), and every move they can make.
//!
//! An order is made whole: one authorization an identifier, one challenge an authorization, and none is shared between
//! orders. So an order is one row, its account is the only one that may touch it, and nothing that was proved for one
//! certificate serves another: each renewal proves again.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::certificate::{Certificate, moment};
use crate::grant::Profile;
use crate::problem::{Kind, Problem};
use crate::url::{Route, Urls};

/// How long an order may be open, in seconds.
const OPEN_S: i64 = 60 * 60;

/// Why something did not become valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The error type, as a URN.
    pub urn: String,
    /// A sentence for people.
    pub detail: String,
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        Self { urn: problem.kind.urn(), detail: problem.detail.clone() }
    }
}

/// What a device proved beside its name: the certificate must be for this key, by this request, and may have to be one of
/// quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceProof {
    /// The uncompressed point of the key that a TPM certified, lower-case hex.
    point: String,
    /// The SHA-256 of the one certificate signing request (DER) that the verdict is good for, lower-case hex.
    csr_sha256: String,
    /// Why the device must not sell; none when all is well with it.
    quarantine: Vec<String>,
}

impl DeviceProof {
    /// A key in a device's TPM, the one request for it, and the reasons for a quarantine, of which there may be none.
    #[must_use]
    pub fn new(point: &[u8; 65], csr_sha256: &[u8; 32], quarantine: Vec<String>) -> Self {
        Self { point: HEXLOWER.encode(point), csr_sha256: HEXLOWER.encode(csr_sha256), quarantine }
    }

    pub(crate) fn point(&self) -> &str {
        &self.point
    }

    pub(crate) fn csr_sha256(&self) -> &str {
        &self.csr_sha256
    }

    pub(crate) const fn is_quarantined(&self) -> bool {
        !self.quarantine.is_empty()
    }
}

/// Where an authorization and its challenge stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Proof {
    /// The client has not said that it is ready.
    Pending,
    /// It was looked at, and what was wrong may have been a clock: the client may say once more that it is ready.
    Undecided(Failure),
    /// It has, and it is being looked at.
    Processing,
    /// It is proved.
    Valid {
        /// When, in seconds since the Unix epoch.
        unix_s: i64,
        /// What a device proved beside its name. Orders of services were once stored with a `point` that was never there.
        #[serde(default, alias = "point")]
        device: Option<DeviceProof>,
    },
    /// It is disproved.
    Invalid(Failure),
    /// The client gave it up.
    Deactivated,
}

/// One authorization with its one challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The DNS name, the address, or the permanent identifier.
    pub identifier: String,
    /// The challenge's token.
    pub token: String,
    /// Where it stands.
    pub proof: Proof,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// It waits for its proofs, or with all of them for its request.
    Open,
    /// It is being signed: the request, as it came, in base64url.
    Processing {
        /// The request.
        csr: String,
    },
    /// The certificate is there.
    Valid(Box<Certificate>),
    /// There will be none.
    Invalid(Failure),
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its id, part of its URLs.
    pub id: String,
    /// The account whose it is.
    pub account: String,
    /// What is ordered.
    pub profile: Profile,
    /// When it was made, in seconds since the Unix epoch.
    pub created_unix_s: i64,
    /// One an identifier, in the order of their names.
    pub authorizations: Vec<Authorization>,
    /// Where it stands.
    pub stage: Stage,
    /// The certificate that this one replaces (RFC 9773 section 5).
    pub replaces: Option<String>,
}

impl Order {
    /// When it ends if nothing happens, in seconds since the Unix epoch.
    #[must_use]
    pub const fn expires_unix_s(&self) -> i64 {
        self.created_unix_s.saturating_add(OPEN_S)
    }

    /// Its status (RFC 8555 section 7.1.6).
    #[must_use]
    pub fn status(&self, now_unix_s: i64) -> &'static str {
        match &self.stage {
            Stage::Open if now_unix_s > self.expires_unix_s() => "invalid",
            Stage::Open if self.is_proved() => "ready",
            Stage::Open => "pending",
            Stage::Processing { .. } => "processing",
            Stage::Valid(_) => "valid",
            Stage::Invalid(_) => "invalid",
        }
    }

    /// Whether it counts among the open ones of its account.
    #[must_use]
    pub fn is_open(&self, now_unix_s: i64) -> bool {
        matches!(self.status(now_unix_s), "pending" | "ready" | "processing")
    }

    /// The certificate, when there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.stage {
            Stage::Valid(certificate) => Some(certificate),
            _ => None,
        }
    }

    pub(crate) fn is_proved(&self) -> bool {
        !self.authorizations.is_empty()
            && self.authorizations.iter().all(|one| matches!(one.proof, Proof::Valid { .. }))
    }

    /// One authorization by its place.
    pub(crate) fn authorization(&self, place: usize) -> Result<&Authorization, Problem> {
        self.authorizations.get(place).ok_or_else(|| Problem::not_found("authorization"))
    }

    /// The client says that a proof is there: it is to be looked at. `None` when it is or was already.
    pub(crate) fn begin_proof(mut self, place: usize, now_unix_s: i64) -> Result<Option<Self>, Problem> {
        let open = self.status(now_unix_s) == "pending";
        let one = self.authorizations.get_mut(place).ok_or_else(|| Problem::not_found("challenge"))?;
        if !matches!(one.proof, Proof::Pending | Proof::Undecided(_)) {
            return Ok(None);
        }
        if !open {
            return Err(Problem::malformed("the order of this challenge is over; make a new one"));
        }
        one.proof = Proof::Processing;
        Ok(Some(self))
    }

    /// A proof was looked at; it holds what a device proved, when it was that kind of proof. An answer that comes when
    /// nobody waits for it any more changes nothing.
    #[must_use]
    pub fn proved(mut self, place: usize, outcome: Result<Option<DeviceProof>, Problem>, now_unix_s: i64) -> Self {
        let Some(one) = self.looked_at(place) else { return self };
        match outcome {
            Ok(device) => one.proof = Proof::Valid { unix_s: now_unix_s, device },
            Err(problem) => {
                one.proof = Proof::Invalid(Failure::from(&problem));
                self.stage = Stage::Invalid(Failure::from(&problem));
            }
        }
        self
    }

    /// A proof was looked at, and what was wrong may have been a clock: nothing is lost, and the client may try again.
    #[must_use]
    pub fn undecided(mut self, place: usize, problem: &Problem) -> Self {
        if let Some(one) = self.looked_at(place) {
            one.proof = Proof::Undecided(Failure::from(problem));
        }
        self
    }

    /// The authorization at a place, while its proof is being looked at.
    fn looked_at(&mut self, place: usize) -> Option<&mut Authorization> {
        let open = self.stage == Stage::Open;
        self.authorizations.get_mut(place).filter(|one| open && one.proof == Proof::Processing)
    }

    /// The client gives an authorization up, and with it the order.
    pub(crate) fn deactivate(mut self, place: usize) -> Result<Self, Problem> {
        if self.stage != Stage::Open {
            return Err(Problem::malformed("the order of this authorization is over; there is nothing to deactivate"));
        }
        let one = self.authorizations.get_mut(place).ok_or_else(|| Problem::not_found("authorization"))?;
        one.proof = Proof::Deactivated;
        let detail = "one of the order's authorizations was deactivated by its account".to_owned();
        self.stage = Stage::Invalid(Failure { urn: Kind::Unauthorized.urn(), detail });
        Ok(self)
    }

    /// What a device proved; `None` when no proof is of that kind. An order of a device has one authorization.
    pub(crate) fn device(&self) -> Option<&DeviceProof> {
        self.authorizations.iter().find_map(|one| match &one.proof {
            Proof::Valid { device, .. } => device.as_ref(),
            _ => None,
        })
    }

    /// The certificate was issued and is handed out from now on.
    #[must_use]
    pub fn issued(self, certificate: Certificate) -> Self {
        Self { stage: Stage::Valid(Box::new(certificate)), ..self }
    }

    /// The authority refused to sign; there will be no certificate.
    #[must_use]
    pub fn failed(self, problem: &Problem) -> Self {
        Self { stage: Stage::Invalid(Failure::from(problem)), ..self }
    }

    /// The order object.
    pub(crate) fn to_json(&self, urls: &Urls, now_unix_s: i64) -> Value {
        let authorization = |place| urls.of(&Route::Authorization(self.id.clone(), place));
        let mut body = json!({
            "status": self.status(now_unix_s),
            "expires": moment(self.expires_unix_s()),
            "identifiers": self.authorizations.iter().map(|one| self.identifier(one)).collect::<Vec<_>>(),
            "profile": self.profile,
            "authorizations": (0..self.authorizations.len()).map(authorization).collect::<Vec<_>>(),
            "finalize": urls.of(&Route::Finalize(self.id.clone())),
        });
        let mut add = |name: &str, value: Value| {
            if let Some(members) = body.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        match &self.stage {
            Stage::Valid(_) => add("certificate", urls.of(&Route::Certificate(self.id.clone())).into()),
            Stage::Invalid(failure) => add("error", failure_json(failure)),
            Stage::Open | Stage::Processing { .. } => {}
        }
        if let Some(device) = self.device().filter(|device| device.is_quarantined()) {
            add("quarantine", device.quarantine.clone().into());
        }
        if let Some(replaces) = &self.replaces {
            add("replaces", replaces.clone().into());
        }
        body
    }

    fn identifier(&self, authorization: &Authorization) -> Value {
        json!({ "type": identifier_type(self.profile, &authorization.identifier), "value": authorization.identifier })
    }

    /// The authorization object at a place.
    pub(crate) fn authorization_json(&self, place: usize, urls: &Urls, now_unix_s: i64) -> Result<Value, Problem> {
        let one = self.authorization(place)?;
        let over = self.status(now_unix_s) == "invalid";
        let status = match &one.proof {
            Proof::Valid { .. } => "valid",
            Proof::Invalid(_) => "invalid",
            Proof::Deactivated => "deactivated",
            Proof::Pending | Proof::Undecided(_) | Proof::Processing if over => "expired",
            Proof::Pending | Proof::Undecided(_) | Proof::Processing => "pending",
        };
        Ok(json!({
            "status": status,
            "expires": moment(self.expires_unix_s()),
            "identifier": self.identifier(one),
            "challenges": [self.challenge_json(place, urls)?],
        }))
    }

    /// The challenge object at a place.
    pub(crate) fn challenge_json(&self, place: usize, urls: &Urls) -> Result<Value, Problem> {
        let one = self.authorization(place)?;
        let url = urls.of(&Route::Challenge(self.id.clone(), place));
        let mut body = json!({ "type": challenge_type(self.profile), "url": url, "token": one.token });
        let (status, more) = match &one.proof {
            Proof::Pending => ("pending", None),
            Proof::Undecided(failure) => ("pending", Some(("error", failure_json(failure)))),
            Proof::Processing => ("processing", None),
            Proof::Valid { unix_s, .. } => ("valid", Some(("validated", moment(*unix_s).into()))),
            Proof::Invalid(failure) => ("invalid", Some(("error", failure_json(failure)))),
            Proof::Deactivated => ("invalid", None),
        };
        if let Some(members) = body.as_object_mut() {
            members.insert("status".to_owned(), status.into());
            members.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(body)
    }
}

/// The types of a profile's identifiers (RFC 8555 section 9.7.7, RFC 8738, draft-ietf-acme-device-attest section 3).
pub(crate) const fn identifier_types(profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Service => &["dns", "ip"],
        Profile::Device => &["permanent-identifier"],
    }
}

/// The type of an identifier of this profile, which its text tells.
fn identifier_type(profile: Profile, text: &str) -> &'static str {
    match profile {
        Profile::Service if text.parse::<IpAddr>().is_ok() => "ip",
        Profile::Service => "dns",
        Profile::Device => "permanent-identifier",
    }
}

/// The type of a profile's challenges.
const fn challenge_type(profile: Profile) -> &'static str {
    match profile {
        Profile::Service => "http-01",
        Profile::Device => "device-attest-01",
    }
}

fn failure_json(failure: &Failure) -> Value {
    json!({ "type": failure.urn, "detail": failure.detail })
}
