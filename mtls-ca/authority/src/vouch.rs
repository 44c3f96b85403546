//! What the authority signs for the attestation service: `POST /attestation-keys`, a certificate for the attestation key of a
//! TPM that the service has just tried.
//!
//! Only that service may ask, by its certificate; the authority cannot know more of a TPM than it is told. What comes is
//! JSON of some hundred bytes and is read strictly; the answer is the chain, leaf first (RFC 8555, section 9.1).

use std::sync::Arc;

use ca_http::{Problem, Request, Response};
use ca_identity::{Role, ServiceName};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::{AttestationKeyOrder, Authority, AuthorityError, IssuedChain, Refusal, SubjectKey, TpmModel};

/// Where it is asked for.
pub(crate) const PATH: &str = "/attestation-keys";

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// SHA-256 of the SubjectPublicKeyInfo of the endorsement key, 64 characters of lowercase hex.
    permanent_identifier: String,
    /// The attestation key's uncompressed P-256 point, base64url without padding.
    point: String,
    tpm: AskedTpm,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedTpm {
    manufacturer: String,
    model: String,
    version: String,
}

/// Answers the attestation service.
pub(crate) async fn answer(authority: Arc<Authority>, request: Request, now_unix_s: fn() -> i64) -> Response {
    if request.method != Method::POST {
        let why = "a certificate for an attestation key is asked for with POST";
        return Problem::of_code(StatusCode::METHOD_NOT_ALLOWED, "method", why).into();
    }
    let attestation = Role::Service(ServiceName::Attestation);
    if request.peer.as_ref().is_none_or(|peer| *peer.id.role() != attestation) {
        let why = "only the attestation service, which tries TPMs, may have their keys certified";
        return Problem::of_code(StatusCode::FORBIDDEN, "not_attestation", why).into();
    }
    let order = match read(&request) {
        Ok(order) => order,
        Err(why) => return Problem::of_code(StatusCode::BAD_REQUEST, "attestation_key", why).into(),
    };
    let issued = tokio::task::spawn_blocking(move || authority.issue_attestation_key(&order, now_unix_s())).await;
    match issued {
        Ok(outcome) => told(outcome),
        Err(_) => Problem::fault().into(),
    }
}

fn told(outcome: Result<IssuedChain, AuthorityError>) -> Response {
    match outcome {
        Ok(chain) => Response::with_body(StatusCode::CREATED, "application/pem-certificate-chain", chain.chain_pem),
        Err(AuthorityError::Refused(refusal)) => {
            Problem::of_code(StatusCode::CONFLICT, refusal.code(), refusal.to_string()).into()
        }
        Err(error) => {
            tracing::error!(%error, "an attestation key could not be certified");
            Problem::fault().into()
        }
    }
}

fn read(request: &Request) -> Result<AttestationKeyOrder, String> {
    let asked: Asked =
        serde_json::from_slice(&request.body).map_err(|why| format!("the body is not as it must be: {why}"))?;
    let identifier = HEXLOWER.decode(asked.permanent_identifier.as_bytes()).ok();
    let identifier = identifier
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or("permanent_identifier must be 64 characters of lowercase hex, the SHA-256 of the endorsement key")?;
    let point = BASE64URL_NOPAD
        .decode(asked.point.as_bytes())
        .map_err(|_| "point must be an uncompressed P-256 point in base64url without padding")?;
    let AskedTpm { manufacturer, model, version } = asked.tpm;
    let tpm = TpmModel { manufacturer, model, version };
    let order = SubjectKey::from_point(&point).and_then(|key| AttestationKeyOrder::new(identifier, key, tpm));
    order.map_err(|refusal: Refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ca_http::Request;
    use data_encoding::BASE64URL_NOPAD;
    use http::{HeaderMap, Method, StatusCode};
    use serde_json::{Value, json};

    use super::{PATH, read, told};
    use crate::{AuthorityError, Fault, Refusal, SubjectKey};

    fn body() -> Value {
        let point = BASE64URL_NOPAD.encode(SubjectKey::generate().unwrap().0.point());
        json!({
            "permanent_identifier": "ab".repeat(32),
            "point": point,
            "tpm": { "manufacturer": "id:53544D20", "model": "ST33HTPHAHD4", "version": "id:00010002" },
        })
    }

    fn request(body: &Value) -> Request {
        let body = Bytes::from(body.to_string());
        Request { method: Method::POST, path: PATH.into(), query: None, headers: HeaderMap::new(), body, peer: None }
    }

    #[test]
    fn what_is_as_it_must_be_becomes_an_order() {
        let asked = body();
        assert!(request(&asked).body.len() < 400);
        let order = read(&request(&asked)).unwrap();
        assert_eq!(order.subject(), format!("attestation-key/{}", "ab".repeat(32)));
        assert_eq!(BASE64URL_NOPAD.encode(order.key().point()), asked["point"].as_str().unwrap());
        assert_eq!(order.tpm().model, "ST33HTPHAHD4");
    }

    #[test]
    fn every_departure_is_refused_and_named() {
        for (at, wrong, words) in [
            ("/permanent_identifier", json!("AB".repeat(32)), "lowercase hex"),
            ("/permanent_identifier", json!("ab".repeat(31)), "64 characters"),
            ("/permanent_identifier", json!(7), "the body"),
            ("/point", json!("!"), "base64url"),
            ("/point", json!(BASE64URL_NOPAD.encode(&[4; 65])), "not on the curve"),
            ("/point", json!(""), "not an uncompressed"),
            ("/tpm/model", json!(""), "the model of the TPM"),
            ("/tpm/version", json!("x".repeat(65)), "the version of the TPM"),
            ("/tpm/manufacturer", json!(null), "the body"),
            ("/tpm", json!({}), "the body"),
        ] {
            let mut asked = body();
            *asked.pointer_mut(at).unwrap() = wrong;
            let why = read(&request(&asked)).unwrap_err();
            assert!(why.contains(words), "{at}: {why}");
        }
        let mut more = body();
        more["subject"] = json!("spiffe://larder.internal/service/admin");
        assert!(read(&request(&more)).unwrap_err().contains("unknown field"));
        assert!(read(&Request { body: Bytes::new(), ..request(&body()) }).is_err());
    }

    #[test]
    fn a_refusal_is_said_and_a_fault_is_not_told_to_others() {
        let refused =
            told(Err(Refusal::IssuerTooOld { issuer: "attestation-intermediate", not_after_unix_s: 7 }.into()));
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(String::from_utf8_lossy(&refused.body).contains("issuer_too_old"));
        let fault = told(Err(AuthorityError::from(Fault::Encoding("the disk of cellar 3".into()))));
        assert_eq!(fault.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8_lossy(&fault.body).contains("cellar"));
    }
}
