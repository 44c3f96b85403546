//! The authority's trust bundle, for those who take it along with their certificates: `GET /bundle` on the listener on which
//! they enrol. Whether it is believed is `ca-mtls`'s.

use bytes::Bytes;
use ca_mtls::{AnyServer, NextBundle};
use http::header::IF_NONE_MATCH;
use http::{Request, StatusCode};
use http_body_util::Full;

use crate::{AcmeError, Web};

/// Where it is.
const PATH: &str = "/bundle";

/// Asks for the bundle after the version in force, or for the one in force at the authority when that is not known. To be
/// asked with [`ca_mtls::BundleFollower::catch_up`], and after a certificate was got rather than before: so who holds a
/// certificate holds at least the bundle of the moment in which it was made.
///
/// # Errors
/// [`AcmeError`] when there is no answer, or another one.
pub async fn next_bundle(authority: &Web, known: Option<u64>) -> Result<NextBundle, AcmeError> {
    ask(authority, known).await
}

/// The same of whoever answers at `address` (`host:port`), for who trusts no server's certificate any more because it was
/// away while the root was replaced: each bundle is believed for its signature.
///
/// # Errors
/// As [`next_bundle`].
pub async fn next_bundle_of_anyone(
    address: &str,
    server: &AnyServer,
    known: Option<u64>,
) -> Result<NextBundle, AcmeError> {
    ask(&Web::of_anyone(address.to_owned(), server.clone()), known).await
}

async fn ask(authority: &Web, known: Option<u64>) -> Result<NextBundle, AcmeError> {
    let asked = Request::get(PATH);
    let asked = match known {
        Some(version) => asked.header(IF_NONE_MATCH, format!("\"{version}\"")),
        None => asked,
    };
    let asked = asked.body(Full::new(Bytes::new())).map_err(|why| AcmeError::Failed(why.to_string()))?;
    let answer = authority.ask(asked).await;
    let answer = answer.map_err(|why| AcmeError::Failed(format!("the authority could not be asked: {why}")))?;
    match answer.status() {
        StatusCode::NOT_MODIFIED => Ok(NextBundle::Unchanged),
        StatusCode::OK => String::from_utf8(answer.into_body().to_vec())
            .map(NextBundle::New)
            .map_err(|_| AcmeError::Failed("the authority's trust bundle is no text".to_owned())),
        other => Err(AcmeError::Failed(format!("asked for the trust bundle, the authority answered {other}"))),
    }
}
