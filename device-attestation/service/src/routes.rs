//! HTTP around an attestation: which request is which step, and how an outcome is answered.

use std::sync::Arc;

use ca_http::{Problem, Request, Response};
use http::{Method, StatusCode, header};
use ring::rand::SystemRandom;

use crate::{AttestError, Attestation, Begin, Finish, Refusal};

/// Where attestations live.
const ATTESTATIONS: &str = "/v1/attestations";
/// When to send something again that failed by our own fault, in seconds.
const RETRY_S: &str = "5";
/// What follows an attestation's id.
const EVIDENCE: &str = "/evidence";

/// Answers a request at this time.
pub(crate) async fn answer(attestation: Arc<Attestation>, request: Request, now_unix_s: i64) -> Response {
    let Some(id) = request.path.strip_prefix(ATTESTATIONS) else { return not_found() };
    let id = id.strip_prefix('/').and_then(|rest| rest.strip_suffix(EVIDENCE));
    let (is_begin, is_post) = (request.path == ATTESTATIONS, request.method == Method::POST);
    if !is_begin && id.is_none() {
        return not_found();
    }
    if !is_post {
        let problem = Problem::of_code(StatusCode::METHOD_NOT_ALLOWED, "method", "only POST is answered here");
        return Response::from(problem).header(header::ALLOW, "POST");
    }
    if request.media_type().as_deref() != Some("application/json") {
        let detail = "send application/json, and say so in the content type";
        return Problem::of_code(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail).into();
    }
    let outcome = match id {
        None => begin(&attestation, &request, now_unix_s),
        Some(id) => finish(&attestation, id, &request, now_unix_s).await,
    };
    outcome.unwrap_or_else(|error| refuse(&error))
}

fn begin(attestation: &Attestation, request: &Request, now_unix_s: i64) -> Result<Response, AttestError> {
    let begun = attestation.begin(Begin::parse(&request.body)?, now_unix_s, &SystemRandom::new())?;
    let place = format!("{ATTESTATIONS}/{}{EVIDENCE}", begun.id);
    Ok(Response::json(StatusCode::CREATED, &begun).header(header::LOCATION, &place))
}

async fn finish(
    attestation: &Attestation,
    id: &str,
    request: &Request,
    now_unix_s: i64,
) -> Result<Response, AttestError> {
    let finish = Finish::parse(&request.body)?;
    Ok(Response::json(StatusCode::OK, &attestation.finish(id, &finish, now_unix_s).await?))
}

fn refuse(error: &AttestError) -> Response {
    let AttestError::Refused(refusal) = error else {
        tracing::error!(%error, "an attestation failed");
        return match error {
            AttestError::Fault(_) => {
                let detail = "something of ours failed, and nothing was lost: send the same again in a moment";
                let problem = Problem::of_code(StatusCode::SERVICE_UNAVAILABLE, "again", detail);
                Response::from(problem).header(header::RETRY_AFTER, RETRY_S)
            }
            _ => Problem::fault().into(),
        };
    };
    tracing::info!(code = refusal.code(), why = %refusal, "an attestation was refused");
    let response = Response::from(Problem::of_code(status(refusal), refusal.code(), refusal.to_string()));
    match refusal {
        Refusal::Busy { wait_s } => response.header(header::RETRY_AFTER, &wait_s.to_string()),
        _ => response,
    }
}

const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Request(_) => StatusCode::BAD_REQUEST,
        Refusal::Unknown | Refusal::NoSuchDevice(_) => StatusCode::NOT_FOUND,
        Refusal::Used => StatusCode::CONFLICT,
        Refusal::Expired { .. } => StatusCode::GONE,
        Refusal::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Certificate(_)
        | Refusal::Model
        | Refusal::Evidence { .. }
        | Refusal::Secret
        | Refusal::PreviousKey
        | Refusal::ValuesWentBack { .. }
        | Refusal::ValuesDiffer(_)
        | Refusal::Values(_) => StatusCode::FORBIDDEN,
    }
}

fn not_found() -> Response {
    let detail = "there is POST /v1/attestations, and POST /v1/attestations/{id}/evidence";
    Problem::of_code(StatusCode::NOT_FOUND, "not_found", detail).into()
}
