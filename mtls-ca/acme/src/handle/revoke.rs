//! Revocation (RFC 8555 section 7.6): by the account whose the certificate is, or by the certificate's own key.

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::Asked;
use crate::answer::{Answer, Body, Effect, Revoke};
use crate::certificate::{Certificate, Revoked};
use crate::jws::Signer;
use crate::order::Order;
use crate::problem::{Kind, Problem};

/// The reasons a holder may give (RFC 5280 section 5.3.1): unspecified, keyCompromise, superseded, cessationOfOperation.
/// The authority's lists know no affiliationChanged: a party of the house belongs to nobody else.
const REASONS: [u8; 4] = [0, 1, 4, 5];

#[derive(Deserialize)]
struct Revocation {
    reason: Option<u8>,
}

/// Revokes a certificate.
pub(super) fn revoke(asked: &Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let Revocation { reason } = asked.payload.json()?;
    let order = asked.context.order.as_ref();
    let (order, certificate) = order
        .and_then(|order| Some((order, order.certificate()?)))
        .ok_or_else(|| Problem::malformed("this certificate was not issued over ACME here").with_status(404))?;
    if !may_revoke(asked, order, certificate) {
        let detail = "a certificate is revoked by the account that ordered it, or with its own key";
        return Err(Problem::new(Kind::Unauthorized, detail));
    }
    if certificate.revoked.is_some() {
        return Err(Problem::new(Kind::AlreadyRevoked, "the certificate is revoked already; nothing is left to do"));
    }
    let reason = reason.unwrap_or(0);
    if !REASONS.contains(&reason) {
        let detail = "the reason is none that a holder may give; give 0, 1, 4 or 5 (RFC 5280 section 5.3.1)";
        return Err(Problem::new(Kind::BadRevocationReason, detail));
    }
    let revoke = Revoke { serial: certificate.serial.clone(), reason };
    let revoked = Some(Revoked { unix_s: asked.now_unix_s, reason });
    let certificate = Certificate { revoked, ..certificate.clone() };
    effects.extend([Effect::Revoke(revoke), Effect::PutOrder(order.clone().issued(certificate))]);
    Ok(Answer::new(200, Body::Empty))
}

fn may_revoke(asked: &Asked<'_>, order: &Order, certificate: &Certificate) -> bool {
    match &asked.message.signer {
        Signer::Kid(_) => asked.context.account.as_ref().is_some_and(|account| account.id == order.account),
        Signer::Jwk(key) => key.point().is_some_and(|point| HEXLOWER.encode(&point) == certificate.point),
    }
}
