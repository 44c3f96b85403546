//! What each resource does with a message whose signature holds and whose nonce was fresh.

mod account;
mod challenge;
mod order;
mod revoke;

use crate::account::Account;
use crate::answer::{Answer, Effect};
use crate::chance::Chance;
use crate::grant::EabKey;
use crate::jws::{Flattened, Payload};
use crate::order::Order;
use crate::problem::{Kind, Problem};
use crate::request::Context;
use crate::url::{Route, Urls};

/// A message that its signer has signed, and the rows for it.
pub(crate) struct Asked<'a> {
    pub(crate) urls: &'a Urls,
    pub(crate) message: &'a Flattened,
    pub(crate) payload: Payload<'a>,
    pub(crate) context: Context,
    pub(crate) now_unix_s: i64,
    pub(crate) chance: &'a Chance,
}

impl Asked<'_> {
    /// The account that signed.
    fn account(&self) -> Result<&Account, Problem> {
        let missing = || Problem::new(Kind::AccountDoesNotExist, "the account of the request does not exist here");
        self.context.account.as_ref().ok_or_else(missing)
    }

    /// The binding key of the account that signed.
    fn eab(&self) -> Result<&EabKey, Problem> {
        let missing = || Problem::new(Kind::Unauthorized, "the account's external account key is not known any more");
        let eab = self.context.eab.as_ref().ok_or_else(missing)?;
        if eab.kid == self.account()?.eab_kid { Ok(eab) } else { Err(missing()) }
    }

    /// The order of the request, when it is the account's own. Of another's, not even its existence is told.
    fn order(&self) -> Result<&Order, Problem> {
        let (account, order) = (self.account()?, self.context.order.as_ref());
        order.filter(|order| order.account == account.id).ok_or_else(|| Problem::not_found("order"))
    }
}

/// Answers a message.
pub(crate) fn dispatch(route: &Route, asked: Asked<'_>, effects: &mut Vec<Effect>) -> Result<Answer, Problem> {
    match route {
        Route::NewAccount => account::new(asked, effects),
        Route::Account(id) => account::update(id, asked, effects),
        Route::Orders(id) => account::orders(id, &asked),
        Route::KeyChange => account::change_key(asked, effects),
        Route::NewOrder => order::new(&asked, effects),
        Route::Order(_) => order::show(&asked),
        Route::Finalize(_) => order::finalize(&asked, effects),
        Route::Certificate(_) => order::certificate(&asked),
        Route::Authorization(_, place) => challenge::authorization(*place, &asked, effects),
        Route::Challenge(_, place) => challenge::respond(*place, &asked, effects),
        Route::RevokeCert => revoke::revoke(&asked, effects),
        Route::Directory | Route::NewNonce | Route::RenewalInfo(_) => {
            Err(Problem::malformed("this resource is read with GET").with_status(405))
        }
    }
}
