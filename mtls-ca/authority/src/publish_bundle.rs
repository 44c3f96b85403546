//! The trust bundle for its followers: `GET /bundle`, the one after the version that is asked with; and for those who take it
//! along with their certificates.
//!
//! A follower says in `If-None-Match` which version it has in force (RFC 9110, section 13.1.2) and waits here for the next, at
//! most `wait_s` seconds. So the question is the acknowledgement; it is noted under the name in the certificate, before the
//! wait. Without a version the answer is the bundle in force.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca_http::{Problem, Request, Response};
use ca_identity::{Role, ServiceName};
use http::{Method, StatusCode, header};
use tokio::sync::watch;

use crate::acknowledged::Acknowledged;
use crate::bundles::PublishedBundle;
use crate::publish::wait_s;

/// Where it is asked for.
pub const PATH: &str = "/bundle";

/// Every bundle there ever was, by its place.
pub(crate) type Bundles = Arc<Vec<PublishedBundle>>;

/// Answers a follower with what `published` holds at the moment.
pub(crate) async fn answer(
    request: Request,
    mut published: watch::Receiver<Bundles>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    now_unix_s: fn() -> i64,
) -> Response {
    let Some(Role::Service(service)) = request.peer.as_ref().map(|peer| peer.id.role().clone()) else {
        let why = "the services of the house follow the bundle; others get it where they get their certificates";
        return problem((StatusCode::FORBIDDEN, "not_a_service", why));
    };
    let Ok(wait_s) = wait_s(request.query.as_deref()) else {
        let why = "wait_s must be a whole number of seconds, and there is no other parameter";
        return problem((StatusCode::BAD_REQUEST, "query", why));
    };
    let known = match known(&request, &published.borrow()) {
        Ok(known) => known,
        Err(wrong) => return problem(wrong),
    };
    if let Some(known) = known {
        note(acknowledged, service, known, now_unix_s()).await;
    }
    let changed = published.wait_for(|bundles| next(bundles, known).is_some());
    match tokio::time::timeout(Duration::from_secs(wait_s), changed).await {
        Ok(Ok(bundles)) => handed_out(next(&bundles, known), known),
        // Nothing new in time, or the authority is ending.
        Err(_) | Ok(Err(_)) => handed_out(None, known),
    }
}

/// Answers who takes the bundle along with a certificate: at once, and whoever it is, since a bundle says nothing that is
/// secret and is believed by its signature alone. `bundles` is every bundle there ever was, by its place.
#[must_use]
pub fn hand_out(request: &Request, bundles: &[PublishedBundle]) -> Response {
    match known(request, bundles) {
        Ok(known) => handed_out(next(bundles, known), known),
        Err(wrong) => problem(wrong),
    }
}

/// Why a question cannot be answered: status, code, reason.
type Wrong = (StatusCode, &'static str, &'static str);

/// The version that is asked with, if it can be.
fn known(request: &Request, bundles: &[PublishedBundle]) -> Result<Option<u64>, Wrong> {
    if request.method != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "method", "the trust bundle can only be read"));
    }
    let Ok(known) = version(request.header(&header::IF_NONE_MATCH)) else {
        let why = "If-None-Match must be a version in quotes, such as \"3\"";
        return Err((StatusCode::BAD_REQUEST, "version", why));
    };
    let last = bundles.last().map_or(0, |bundle| bundle.version);
    if known.is_some_and(|known| known > last) {
        tracing::error!(?known, last, "somebody has a newer trust bundle than this authority");
        return Err((StatusCode::CONFLICT, "ahead", "this authority has no bundle so new; was it set back?"));
    }
    Ok(known)
}

fn handed_out(next: Option<&PublishedBundle>, known: Option<u64>) -> Response {
    match next {
        Some(bundle) => Response::with_body(StatusCode::OK, "application/jose", bundle.text.clone())
            .header(header::ETAG, &format!("\"{}\"", bundle.version)),
        None => Response::empty(StatusCode::NOT_MODIFIED)
            .header(header::ETAG, &format!("\"{}\"", known.unwrap_or_default())),
    }
}

fn problem((status, code, why): Wrong) -> Response {
    Problem::of_code(status, code, why).into()
}

/// The bundle after this version, or the one in force.
fn next(bundles: &[PublishedBundle], known: Option<u64>) -> Option<&PublishedBundle> {
    match known {
        Some(known) => bundles.iter().find(|bundle| bundle.version > known),
        None => bundles.last(),
    }
}

fn version(tag: Option<&str>) -> Result<Option<u64>, ()> {
    let Some(tag) = tag.filter(|tag| !tag.is_empty()) else { return Ok(None) };
    let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or(())?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    digits.parse().map(Some).map_err(|_| ())
}

/// A word that could not be kept holds a gate shut until it is said again; nothing else.
async fn note(acknowledged: Arc<Mutex<Acknowledged>>, service: ServiceName, version: u64, now_unix_s: i64) {
    let noted = tokio::task::spawn_blocking(move || {
        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).note(service, version, now_unix_s)
    });
    if let Ok(Err(error)) = noted.await {
        tracing::error!(%error, %service, "what a follower said of its trust bundle was not kept");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use bytes::Bytes;
    use ca_http::{Request, Response};
    use ca_identity::SpiffeId;
    use ca_mtls::Peer;
    use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
    use tempfile::TempDir;
    use tokio::sync::watch;

    use super::{Acknowledged, Bundles, PATH, PublishedBundle, answer, hand_out, version};

    const NOW: i64 = 1_800_000_000;

    fn now() -> i64 {
        NOW
    }

    fn bundles(last: u64) -> Bundles {
        Arc::new((1..=last).map(|version| PublishedBundle { version, text: format!("bundle {version}") }).collect())
    }

    struct Desk {
        dir: TempDir,
        words: Arc<Mutex<Acknowledged>>,
    }

    impl Desk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let words = Arc::new(Mutex::new(Acknowledged::open(dir.path()).unwrap()));
            Self { dir, words }
        }

        async fn ask(&self, published: &watch::Receiver<Bundles>, request: Request) -> Response {
            answer(request, published.clone(), Arc::clone(&self.words), now).await
        }

        fn heard(&self, name: &str) -> Option<u64> {
            Acknowledged::open(self.dir.path()).unwrap().heard().get(name).map(|heard| heard.version)
        }
    }

    fn from(id: &str, query: &str, tag: &str) -> Request {
        let id = SpiffeId::parse(&format!("spiffe://larder.internal/{id}")).unwrap();
        let peer = Some(Peer { id, serial: "01".into(), issuer: "CN=one".into(), not_after: i64::MAX });
        let mut headers = HeaderMap::new();
        if !tag.is_empty() {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        }
        let (path, query) = (PATH.to_owned(), Some(query.to_owned()));
        Request { method: Method::GET, path, query, headers, body: Bytes::new(), peer }
    }

    #[tokio::test]
    async fn the_version_asked_with_is_what_is_acknowledged() {
        let (desk, (sender, published)) = (Desk::new(), watch::channel(bundles(1)));
        let first = desk.ask(&published, from("service/admin", "", "")).await;
        assert_eq!((first.status, first.body.as_ref()), (StatusCode::OK, b"bundle 1".as_slice()));
        assert_eq!(first.headers[header::ETAG], "\"1\"");
        assert_eq!(desk.heard("admin"), None, "who was given it has not said that he has it");
        let same = desk.ask(&published, from("service/admin", "", "\"1\"")).await;
        assert_eq!((same.status, desk.heard("admin")), (StatusCode::NOT_MODIFIED, Some(1)));
        let waiting = desk.ask(&published, from("service/admin", "wait_s=20", "\"1\""));
        let coming = async {
            tokio::task::yield_now().await;
            sender.send(bundles(2)).unwrap();
        };
        let (second, ()) =
            tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(waiting, coming) }).await.unwrap();
        assert_eq!(second.body.as_ref(), b"bundle 2");
        assert_eq!(desk.heard("admin"), Some(1));
        desk.ask(&published, from("service/admin", "", "\"2\"")).await;
        assert_eq!((desk.heard("admin"), desk.heard("status")), (Some(2), None));
    }

    #[tokio::test]
    async fn who_is_behind_is_led_from_version_to_version() {
        let (desk, (_sender, published)) = (Desk::new(), watch::channel(bundles(4)));
        for (tag, wanted) in [("\"0\"", "1"), ("\"1\"", "2"), ("\"3\"", "4"), ("", "4")] {
            let answer = desk.ask(&published, from("service/admin", "", tag)).await;
            assert_eq!(answer.headers[header::ETAG], format!("\"{wanted}\""), "{tag}");
        }
    }

    #[tokio::test]
    async fn who_is_ahead_of_us_is_told_and_not_believed() {
        let (desk, (_sender, published)) = (Desk::new(), watch::channel(bundles(2)));
        let answer = desk.ask(&published, from("service/admin", "", "\"3\"")).await;
        assert_eq!((answer.status, desk.heard("admin")), (StatusCode::CONFLICT, None));
    }

    #[tokio::test]
    async fn only_services_follow_and_only_in_one_way() {
        let (desk, (_sender, published)) = (Desk::new(), watch::channel(bundles(1)));
        for party in ["fridge/f1", "operator/ada"] {
            assert_eq!(desk.ask(&published, from(party, "", "\"1\"")).await.status, StatusCode::FORBIDDEN, "{party}");
        }
        let nobody = Request { peer: None, ..from("service/admin", "", "") };
        assert_eq!(desk.ask(&published, nobody).await.status, StatusCode::FORBIDDEN);
        let post = Request { method: Method::POST, ..from("service/admin", "", "") };
        assert_eq!(desk.ask(&published, post).await.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(desk.ask(&published, from("service/admin", "x=1", "")).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(desk.ask(&published, from("service/admin", "", "1")).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(desk.heard("admin"), None);
    }

    #[test]
    fn whoever_comes_is_handed_the_next_one_at_once() {
        let nobody = |tag: &str| Request { peer: None, ..from("fridge/f1", "", tag) };
        let last = bundles(3);
        for (tag, status, version) in
            [("", 200, "\"3\""), ("\"0\"", 200, "\"1\""), ("\"2\"", 200, "\"3\""), ("\"3\"", 304, "\"3\"")]
        {
            let answer = hand_out(&nobody(tag), &last);
            assert_eq!(
                (answer.status.as_u16(), answer.headers[header::ETAG].to_str().unwrap()),
                (status, version),
                "{tag}"
            );
        }
        assert_eq!(hand_out(&nobody("\"4\""), &last).status, StatusCode::CONFLICT);
        assert_eq!(hand_out(&nobody("x"), &last).status, StatusCode::BAD_REQUEST);
        let post = Request { method: Method::POST, ..nobody("") };
        assert_eq!(hand_out(&post, &last).status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_version_is_written_in_one_way() {
        assert_eq!([None, Some(""), Some("\"12\"")].map(version), [Ok(None), Ok(None), Ok(Some(12))]);
        for bad in ["1", "\"\"", "\"x\"", "\"-1\"", "\"+1\"", "W/\"1\"", "\"99999999999999999999\"", "\"1\", \"2\""] {
            assert!(version(Some(bad)).is_err(), "{bad}");
        }
    }
}
