//! Orders: made, looked at, finalized, and their certificates fetched (RFC 8555 section 7.4).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::Asked;
use crate::answer::{Answer, Body, Effect};
use crate::approved::ApprovedOrder;
use crate::chance::Draw;
use crate::grant::{Grant, MOST_NAMES};
use crate::host::canonical;
use crate::order::{Authorization, Order, Proof, Stage, identifier_types};
use crate::problem::{Kind, Problem};
use crate::url::Route;

/// The most open orders of an account.
const MOST_OPEN_ORDERS: usize = 16;
/// When to look at an order again that is being processed, in seconds.
const RETRY_S: &str = "1";

#[derive(Deserialize)]
struct Identifier {
    r#type: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Identifier>,
    profile: Option<String>,
    replaces: Option<String>,
    not_before: Option<Value>,
    not_after: Option<Value>,
}

/// Makes an order, all of whose proofs are yet to be given.
pub(super) fn new(asked: &Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let wanted: NewOrder = asked.payload.json()?;
    let (account, grant) = (asked.account()?, asked.eab()?.in_force()?);
    if wanted.not_before.is_some() || wanted.not_after.is_some() {
        return Err(Problem::malformed("the lifetime is this server's to choose: leave notBefore and notAfter out"));
    }
    let profile = grant.profile();
    if wanted.profile.as_deref().is_some_and(|name| name != profile.as_str()) {
        let detail = format!("this account may have certificates of the profile {:?} only", profile.as_str());
        return Err(Problem::new(Kind::InvalidProfile, detail));
    }
    let names = identifiers(wanted.identifiers, grant)?;
    if asked.context.open_orders >= MOST_OPEN_ORDERS {
        let detail = format!("the account has {MOST_OPEN_ORDERS} open orders; finish them, or wait an hour");
        return Err(Problem::new(Kind::RateLimited, detail));
    }
    if let Some(replaced) = &wanted.replaces {
        check_replaces(replaced, asked, &names)?;
    }
    let authorization = |(place, identifier)| {
        let token = asked.chance.token(place);
        Authorization { identifier, token, proof: Proof::Pending }
    };
    let order = Order {
        id: asked.chance.id(Draw::Order),
        account: account.id.clone(),
        profile,
        created_unix_s: asked.now_unix_s,
        authorizations: (0..=u8::MAX).zip(names).map(authorization).collect(),
        stage: Stage::Open,
        replaces: wanted.replaces,
    };
    let answer = shown(201, &order, asked);
    effects.push(Effect::PutOrder(order));
    Ok(answer)
}

/// The identifiers of an order, each once, all of them allowed.
fn identifiers(wanted: Vec<Identifier>, grant: &Grant) -> Result<BTreeSet<String>, Problem> {
    if wanted.is_empty() || wanted.len() > MOST_NAMES {
        return Err(Problem::malformed(format!("an order has between 1 and {MOST_NAMES} identifiers")));
    }
    let (types, allowed) = (identifier_types(grant.profile()), grant.identifiers());
    let mut names = BTreeSet::new();
    for identifier in wanted {
        if !types.contains(&identifier.r#type.as_str()) {
            let (known, asked) = (types.join("\" or \""), identifier.r#type);
            let detail = format!("identifiers of this account's profile are of the type \"{known}\", not {asked:?}");
            return Err(Problem::new(Kind::UnsupportedIdentifier, detail));
        }
        let name = name(&identifier)?;
        if !allowed.contains(&name) {
            let (value, allowed) = (identifier.value, allowed.join(", "));
            let detail = format!("this account may not have {value:?}; its external account key allows {allowed}");
            return Err(Problem::new(Kind::RejectedIdentifier, detail));
        }
        names.insert(name);
    }
    Ok(names)
}

/// An identifier as rows have it: what is said of its type and what its text says must be the same.
fn name(identifier: &Identifier) -> Result<String, Problem> {
    let Identifier { r#type, value } = identifier;
    if r#type == "ip" {
        return canonical(value).map(|address| address.to_string()).map_err(Problem::malformed);
    }
    if value.parse::<IpAddr>().is_ok() {
        return Err(Problem::malformed(format!("{value:?} is an address: order it with the type \"ip\"")));
    }
    Ok(value.to_ascii_lowercase())
}

/// What is replaced is a certificate of this account with a name in common, and not replaced yet (RFC 9773 section 5).
fn check_replaces(id: &str, asked: &Asked<'_>, names: &BTreeSet<String>) -> Result<(), Problem> {
    let before =
        asked.order().map_err(|_| Problem::malformed("the order replaces a certificate that is not this account's"))?;
    if before.certificate().is_none_or(|certificate| certificate.renewal_id != id) {
        return Err(Problem::malformed("the order replaces a certificate that was not issued"));
    }
    if !before.authorizations.iter().any(|one| names.contains(&one.identifier)) {
        return Err(Problem::malformed("the order has no identifier in common with the certificate that it replaces"));
    }
    if asked.context.replaced {
        let detail = "the certificate was replaced already; order without `replaces`";
        return Err(Problem::new(Kind::AlreadyReplaced, detail));
    }
    Ok(())
}

/// Shows an order.
pub(super) fn show(asked: &Asked<'_>) -> Result<Answer, Problem> {
    asked.payload.must_be_empty()?;
    Ok(shown(200, asked.order()?, asked))
}

fn shown(status: u16, order: &Order, asked: &Asked<'_>) -> Answer {
    let url = asked.urls.of(&Route::Order(order.id.clone()));
    let answer = Answer::json(status, order.to_json(asked.urls, asked.now_unix_s)).with("location", url);
    if matches!(order.stage, Stage::Processing { .. }) { answer.with("retry-after", RETRY_S) } else { answer }
}

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

/// Takes the request for an order whose proofs are all there, and has it signed.
pub(super) fn finalize(asked: &Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let Finalize { csr } = asked.payload.json()?;
    let order = asked.order()?;
    let status = order.status(asked.now_unix_s);
    if status != "ready" {
        let detail = format!("the order is {status}, and only one that is ready can be finalized");
        return Err(Problem::new(Kind::OrderNotReady, detail));
    }
    let order = Order { stage: Stage::Processing { csr }, ..order.clone() };
    let approved = ApprovedOrder::approve(&order, asked.account()?, asked.eab()?)?;
    let answer = shown(200, &order, asked);
    effects.extend([Effect::PutOrder(order), Effect::Issue(approved)]);
    Ok(answer)
}

/// Hands out the certificate of an order.
pub(super) fn certificate(asked: &Asked<'_>) -> Result<Answer, Problem> {
    asked.payload.must_be_empty()?;
    let certificate = asked.order()?.certificate().ok_or_else(|| Problem::not_found("certificate"))?;
    Ok(Answer::new(200, Body::Chain(certificate.chain_pem.clone())))
}
