//! Authorizations and their challenges (RFC 8555 section 7.5): looked at, given up, and begun.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::Asked;
use crate::answer::{Answer, Effect, ProbeHttp01, VerifyDeviceAttestation};
use crate::grant::Profile;
use crate::host::Host;
use crate::order::Order;
use crate::problem::{Kind, Problem};
use crate::url::Route;

#[derive(Deserialize)]
struct Update {
    status: String,
}

/// Shows an authorization, or gives it up.
pub(super) fn authorization(place: usize, asked: &Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let mut order = asked.order()?.clone();
    if !asked.payload.is_empty() {
        let Update { status } = asked.payload.json()?;
        if status != "deactivated" {
            return Err(Problem::malformed("an authorization can be changed to deactivated and no other"));
        }
        order = order.deactivate(place)?;
        effects.push(Effect::PutOrder(order.clone()));
    }
    Ok(Answer::json(200, order.authorization_json(place, asked.urls, asked.now_unix_s)?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    att_obj: Option<String>,
}

/// Shows a challenge, or begins to look at its proof.
pub(super) fn respond(place: usize, asked: &Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let order = asked.order()?;
    if asked.payload.is_empty() {
        return shown(place, order, asked);
    }
    let response: Response = asked.payload.json()?;
    let Some(begun) = order.clone().begin_proof(place, asked.now_unix_s)? else {
        return shown(place, order, asked); // begun before: nothing is begun twice
    };
    asked.eab()?.in_force()?;
    let proof = begin(place, &begun, response, asked)?;
    let answer = shown(place, &begun, asked)?;
    effects.extend([Effect::PutOrder(begun), proof]);
    Ok(answer)
}

fn begin(place: usize, order: &Order, response: Response, asked: &Asked<'_>) -> Result<Effect, Problem> {
    let one = order.authorization(place)?;
    let key = &asked.account()?.key;
    let key_authorization = key.key_authorization(&one.token);
    let (id, identifier) = (order.id.clone(), one.identifier.clone());
    match order.profile {
        Profile::Service => Ok(Effect::ProbeHttp01(ProbeHttp01 {
            order: id,
            place,
            host: Host::parse(&identifier).map_err(|why| Problem::new(Kind::ServerInternal, why))?,
            token: one.token.clone(),
            key_authorization,
        })),
        Profile::Device => {
            let bad = |why: &str| Problem::new(Kind::BadAttestationStatement, why);
            let text = response.att_obj.ok_or_else(|| bad("the answer to the challenge has no attObj"))?;
            let attestation_object = BASE64URL_NOPAD.decode(text.as_bytes());
            let attestation_object =
                attestation_object.map_err(|_| bad("the attObj is not base64url without padding"))?;
            Ok(Effect::VerifyDeviceAttestation(VerifyDeviceAttestation {
                order: id,
                place,
                permanent_identifier: identifier,
                key_authorization,
                account: key.thumbprint(),
                order_url: asked.urls.of(&Route::Order(order.id.clone())),
                attestation_object,
            }))
        }
    }
}

fn shown(place: usize, order: &Order, asked: &Asked<'_>) -> Result<Answer, Problem> {
    let up = asked.urls.of(&Route::Authorization(order.id.clone(), place));
    Ok(Answer::json(200, order.challenge_json(place, asked.urls)?).with("link", format!("<{up}>;rel=\"up\"")))
}
