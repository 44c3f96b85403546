//! The one way from the protocol to the signer: an approved order goes in, a certificate that is in the log comes out.

use authority::{Authority, AuthorityError, Names, Order, SubjectKey};
use ca_acme::{ApprovedOrder, Certificate, Profile};

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
    let names = Names { dns: approved.dns().to_vec(), ip: Vec::new() };
    let order = Order::new(profile, approved.party(), names, key, profile.default_lifetime_s());
    let chain = authority.issue(&order.map_err(AuthorityError::from)?, now_unix_s)?;
    Certificate::of_chain(&chain.chain_pem).map_err(|why| AcmeServerError::corrupt("the certificate just issued", why))
}
