//! Accounts: made with a binding key, looked at, changed, given another key, given up (RFC 8555 section 7.3).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;
use crate::account::{Account, AccountStatus, check_contacts};
use crate::answer::{Answer, Effect};
use crate::chance::Draw;
use crate::grant::verify;
use crate::jwk::Jwk;
use crate::jws::{Flattened, Signer};
use crate::problem::{Kind, Problem};
use crate::url::Route;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

/// Makes an account, or shows the one that has this key already.
pub(super) fn new(asked: Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let wanted: NewAccount = asked.payload.json()?;
    let Signer::Jwk(key) = &asked.message.signer else {
        return Err(Problem::malformed("a new account brings its key as jwk"));
    };
    if let Some(account) = &asked.context.account {
        return Ok(shown(200, account, &asked));
    }
    if wanted.only_return_existing {
        return Err(Problem::new(Kind::AccountDoesNotExist, "no account has this key"));
    }
    let Some(binding) = wanted.external_account_binding else {
        let detail = "an account needs an external account binding; ask the security team for its id and MAC key";
        return Err(Problem::new(Kind::ExternalAccountRequired, detail));
    };
    verify(&binding, asked.context.eab.as_ref(), key, &asked.message.url)?;
    let contact = check_contacts(wanted.contact)?;
    let Some(mut eab) = asked.context.eab.clone() else {
        return Err(Problem::new(Kind::Unauthorized, "the external account key is not known here"));
    };
    if eab.account.is_some() {
        let detail = format!(
            "the external account key {:?} has made its account already, and makes one only; ask for another key",
            eab.kid
        );
        return Err(Problem::new(Kind::Unauthorized, detail));
    }
    let account = Account {
        id: asked.chance.id(Draw::Account),
        key: key.clone(),
        status: AccountStatus::Valid,
        contact,
        eab_kid: eab.kid.clone(),
        created_unix_s: asked.now_unix_s,
    };
    let answer = shown(201, &account, &asked);
    eab.account = Some(account.id.clone());
    effects.extend([Effect::PutAccount(account), Effect::PutEab(eab)]);
    Ok(answer)
}

fn shown(status: u16, account: &Account, asked: &Asked<'_>) -> Answer {
    let url = asked.urls.of(&Route::Account(account.id.clone()));
    Answer::json(status, account.to_json(asked.urls)).with("location", url)
}

/// The account that signed, if it is the one of this id.
fn own(id: &str, asked: &Asked<'_>) -> Result<Account, Problem> {
    let account = asked.account()?;
    if account.id != id {
        return Err(Problem::new(Kind::Unauthorized, "this is another account than the one that signed the request"));
    }
    Ok(account.clone())
}

#[derive(Deserialize)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

/// Shows an account, changes its contacts, or gives it up.
pub(super) fn update(id: &str, asked: Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let mut account = own(id, &asked)?;
    if !asked.payload.is_empty() {
        let update: Update = asked.payload.json()?;
        if let Some(contact) = update.contact {
            account.contact = check_contacts(contact)?;
        }
        match update.status.as_deref() {
            None | Some("valid") => {}
            Some("deactivated") => account.status = AccountStatus::Deactivated,
            Some(_) => {
                return Err(Problem::malformed("an account's status can be changed to deactivated and no other"));
            }
        }
        effects.push(Effect::PutAccount(account.clone()));
    }
    Ok(Answer::json(200, account.to_json(asked.urls)))
}

/// The newest orders of an account.
pub(super) fn orders(id: &str, asked: &Asked<'_>) -> Result<Answer, Problem> {
    own(id, asked)?;
    asked.payload.must_be_empty()?;
    let url = |id: &String| asked.urls.of(&Route::Order(id.clone()));
    let orders: Vec<String> = asked.context.order_ids.iter().map(url).collect();
    Ok(Answer::json(200, json!({ "orders": orders })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Value,
}

/// Gives an account another key; both keys sign it.
pub(super) fn change_key(asked: Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    let mut account = asked.account()?.clone();
    let url = asked.urls.of(&Route::Account(account.id.clone()));
    let inner = Flattened::of_value(&asked.payload.json()?)?;
    let Signer::Jwk(new_key) = &inner.signer else {
        return Err(Problem::malformed("the inner message of a key change brings the new key as jwk"));
    };
    let change: KeyChange = inner.verified(new_key)?.json()?;
    if inner.url != asked.message.url {
        return Err(Problem::malformed("the inner message of the key change is for another url than the outer one"));
    }
    if inner.nonce.is_some() {
        return Err(Problem::malformed("the inner message of a key change has a nonce, which it must not have"));
    }
    if change.account != url || Jwk::parse(&change.old_key)? != account.key {
        return Err(Problem::malformed("the key change does not name this account and the key that it has now"));
    }
    if asked.context.key_taken {
        let taken = Problem::malformed("the new key is an account's already; make another one").with_status(409);
        return Ok(Answer::from(taken).with("location", url));
    }
    account.key = new_key.clone();
    let answer = shown(200, &account, &asked);
    effects.push(Effect::PutAccount(account));
    Ok(answer)
}
