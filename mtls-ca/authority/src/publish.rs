//! What the authority tells its gateways: `GET /v1/revocations`, the lists in force as PEM, each behind its issuer's
//! certificate.
//!
//! A gateway says in `If-None-Match` which lists it has (RFC 9110, section 13.1.2) and waits here for others, at most
//! `wait_s` seconds. So a word of the authority is at every gateway within a round trip, and the question itself says what
//! each has in force. It leaves making the lists to `revoke` and believing them to the gateways.

use std::time::Duration;

use ca_http::{Problem, Request, Response};
use ca_identity::Role;
use data_encoding::HEXLOWER;
use http::{Method, StatusCode, header};
use ring::digest::{SHA256, digest};
use tokio::sync::watch;

use crate::chain::pem;
use crate::{AuthorityError, SignedList};

/// The longest that a question waits for something new.
const LONGEST_WAIT_S: u64 = 25;

/// The lists in force as they are handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Published {
    text: String,
    tag: String,
}

impl Published {
    pub(crate) fn of(lists: &[SignedList]) -> Self {
        let text: String =
            lists.iter().map(|list| [pem("CERTIFICATE", &list.issuer), pem("X509 CRL", &list.list)].concat()).collect();
        let tag = format!("\"{}\"", HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref()));
        Self { text, tag }
    }
}

/// Answers gateways with what `published` holds at the moment.
pub(crate) async fn answer(request: Request, mut published: watch::Receiver<Published>) -> Response {
    if request.path != "/v1/revocations" {
        return Problem::of_code(StatusCode::NOT_FOUND, "not_found", "ask for /v1/revocations").into();
    }
    if request.method != Method::GET {
        return Problem::of_code(StatusCode::METHOD_NOT_ALLOWED, "method", "the lists can only be read").into();
    }
    if !request.peer.as_ref().is_some_and(|peer| matches!(peer.id.role(), Role::Service(_))) {
        let why = "the lists are for the services of the house; others find them where the operator publishes them";
        return Problem::of_code(StatusCode::FORBIDDEN, "not_a_service", why).into();
    }
    let Ok(wait_s) = wait_s(request.query.as_deref()) else {
        let why = "wait_s must be a whole number of seconds, and there is no other parameter";
        return Problem::of_code(StatusCode::BAD_REQUEST, "query", why).into();
    };
    let known = request.header(&header::IF_NONE_MATCH).unwrap_or_default().to_owned();
    let changed = published.wait_for(|now| !now.text.is_empty() && now.tag != known);
    let now = match tokio::time::timeout(Duration::from_secs(wait_s), changed).await {
        Ok(Ok(now)) => Some(now.clone()),
        // Nothing new in time, or the authority is ending.
        Err(_) | Ok(Err(_)) => None,
    };
    match now {
        Some(now) => {
            Response::with_body(StatusCode::OK, "application/x-pem-file", now.text).header(header::ETAG, &now.tag)
        }
        None if known.is_empty() => Problem::of_code(StatusCode::SERVICE_UNAVAILABLE, "no_lists", "come again").into(),
        None => Response::empty(StatusCode::NOT_MODIFIED).header(header::ETAG, &known),
    }
}

pub(crate) fn wait_s(query: Option<&str>) -> Result<u64, ()> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(0) };
    let seconds = query.strip_prefix("wait_s=").ok_or(())?;
    Ok(seconds.parse::<u64>().map_err(|_| ())?.min(LONGEST_WAIT_S))
}

/// Says that what was published stays, since what is there now cannot be read.
pub(crate) fn unreadable(error: &AuthorityError) {
    tracing::error!(%error, "the revocation lists or the bundles cannot be read; the gateways keep those they have");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use ca_http::{Request, Response};
    use ca_identity::SpiffeId;
    use ca_mtls::Peer;
    use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
    use tokio::sync::watch;

    use super::{Published, answer, wait_s};
    use crate::SignedList;

    const SESSION: &str = "spiffe://larder.internal/service/purchase-session";

    fn lists(number: u8) -> Published {
        Published::of(&[SignedList { issuer: vec![0x30, 0], list: vec![0x30, 1, number] }])
    }

    fn request(id: Option<&str>, method: Method, path: &str, query: &str, known: &str) -> Request {
        let peer = id.map(|id| Peer {
            id: SpiffeId::parse(id).unwrap(),
            serial: "01".into(),
            issuer: "CN=one".into(),
            not_after: i64::MAX,
        });
        let mut headers = HeaderMap::new();
        if !known.is_empty() {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(known).unwrap());
        }
        Request { method, path: path.into(), query: Some(query.into()), headers, body: Bytes::new(), peer }
    }

    fn gateway(query: &str, known: &str) -> Request {
        request(Some(SESSION), Method::GET, "/v1/revocations", query, known)
    }

    fn tag(response: &Response) -> String {
        response.headers[header::ETAG].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn who_has_nothing_gets_the_lists_and_who_has_them_waits_for_others() {
        let (sender, receiver) = watch::channel(lists(1));
        let first = answer(gateway("", ""), receiver.clone()).await;
        assert_eq!(first.status, StatusCode::OK);
        let text = String::from_utf8(first.body.to_vec()).unwrap();
        let (certificate, list) = (text.find("BEGIN CERTIFICATE").unwrap(), text.find("BEGIN X509 CRL").unwrap());
        assert!(certificate < list, "{text}");
        let same = answer(gateway("", &tag(&first)), receiver.clone()).await;
        assert_eq!((same.status, tag(&same)), (StatusCode::NOT_MODIFIED, tag(&first)));
        let waiting = tokio::spawn(answer(gateway("wait_s=20", &tag(&first)), receiver.clone()));
        tokio::task::yield_now().await;
        sender.send(lists(2)).unwrap();
        let second = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert_eq!(second.status, StatusCode::OK);
        assert_ne!(tag(&second), tag(&first));
        let back = answer(gateway("wait_s=20", &tag(&first)), receiver).await;
        assert_eq!(tag(&back), tag(&second), "who missed some gets the last");
    }

    #[tokio::test]
    async fn without_lists_nobody_is_told_that_nothing_is_revoked() {
        let (sender, receiver) = watch::channel(Published::default());
        assert_eq!(answer(gateway("", ""), receiver.clone()).await.status, StatusCode::SERVICE_UNAVAILABLE);
        let waiting = tokio::spawn(answer(gateway("wait_s=20", ""), receiver));
        tokio::task::yield_now().await;
        sender.send(lists(1)).unwrap();
        assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    }

    #[tokio::test]
    async fn only_services_ask_and_only_for_this() {
        let (_sender, receiver) = watch::channel(lists(1));
        let status = async |request| answer(request, receiver.clone()).await.status;
        for (id, wanted) in [
            (Some(SESSION), StatusCode::OK),
            (Some("spiffe://larder.internal/fridge/f1"), StatusCode::FORBIDDEN),
            (Some("spiffe://larder.internal/operator/ada"), StatusCode::FORBIDDEN),
            (None, StatusCode::FORBIDDEN),
        ] {
            assert_eq!(status(request(id, Method::GET, "/v1/revocations", "", "")).await, wanted, "{id:?}");
        }
        for (method, path, query, wanted) in [
            (Method::POST, "/v1/revocations", "", StatusCode::METHOD_NOT_ALLOWED),
            (Method::GET, "/v1/revocation", "", StatusCode::NOT_FOUND),
            (Method::GET, "/v1/revocations", "wait_s=x", StatusCode::BAD_REQUEST),
            (Method::GET, "/v1/revocations", "wait=1", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(status(request(Some(SESSION), method, path, query, "")).await, wanted, "{path}?{query}");
        }
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!([None, Some(""), Some("wait_s=3"), Some("wait_s=4000")].map(wait_s), [Ok(0), Ok(0), Ok(3), Ok(25)]);
        assert!(wait_s(Some("wait_s=-1")).is_err());
    }
}
