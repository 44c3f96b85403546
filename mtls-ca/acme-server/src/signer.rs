//! The ways from the protocol to the authority's keys, of which there are two. An approved order goes in and a certificate
//! that is in the log comes out; or a certificate is taken back, which gives nobody anything.

use authority::{Authority, AuthorityError, Names, Order, Reason, Refusal, SubjectKey, Which};
use ca_acme::{ApprovedOrder, Certificate, Kind, Problem, Profile, Revoke};

use crate::error::AcmeServerError;

/// Has an approved order signed. It may be signed twice, at worst, when a crash came in between; never without an entry in
/// the log, which the authority writes before it hands anything out.
pub(crate) fn sign(
    authority: &Authority,
    approved: &ApprovedOrder,
    now_unix_s: i64,
) -> Result<Certificate, AcmeServerError> {
    let profile = match approved.profile() {
        Profile::Service => authority::Profile::Service,
        Profile::Device => authority::Profile::Device,
    };
    let key = SubjectKey::from_point(approved.point()).map_err(AuthorityError::from)?;
    let names = Names { dns: approved.dns().to_vec(), ip: approved.ip().to_vec() };
    let order = Order::new(profile, approved.party(), names, key, profile.default_lifetime_s());
    let chain = authority.issue(&order.map_err(AuthorityError::from)?, now_unix_s)?;
    Certificate::of_chain(&chain.chain_pem).map_err(|why| AcmeServerError::corrupt("the certificate just issued", why))
}

/// Has a certificate taken back. What is on the list already stays there as it is, so asking again is safe.
///
/// The inner error is for the client: there is nothing to take back.
pub(crate) fn revoke(
    authority: &Authority,
    asked: &Revoke,
    now_unix_s: i64,
) -> Result<Result<(), Problem>, AcmeServerError> {
    let reason = match asked.reason {
        0 => Reason::Unspecified,
        1 => Reason::KeyCompromise,
        4 => Reason::Superseded,
        5 => Reason::CessationOfOperation,
        other => return Ok(Err(Problem::new(Kind::BadRevocationReason, format!("the reason {other} is not ours")))),
    };
    match authority.revoke(&Which::Serial(asked.serial.clone()), reason, now_unix_s) {
        Ok(_) => Ok(Ok(())),
        Err(AuthorityError::Refused(Refusal::NothingToRevoke(_))) => {
            Ok(Err(Problem::malformed("the certificate has run out; nobody believes it any more").with_status(404)))
        }
        Err(other) => Err(other.into()),
    }
}
