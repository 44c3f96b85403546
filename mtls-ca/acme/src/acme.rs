//! The server without its rows, its network and its signer: a request is opened, what it needs is loaded by the caller, and
//! it is handled. Nothing waits and nothing is stored in here, but for the nonces that were spent.
//!
//! Every message is judged in the same order: form, URL, signature, nonce, account, and then what it asks for. Only a
//! message that its account has signed spends a nonce.

use serde_json::{Value, json};

use crate::account::AccountStatus;
use crate::answer::{Answer, Body, Effect};
use crate::chance::Chance;
use crate::grant::Profile;
use crate::handle::{self, Asked};
use crate::jws::{Flattened, Signer};
use crate::nonce::Nonces;
use crate::order::Order;
use crate::problem::{Kind, Problem};
use crate::request::{Context, Method, Opened, Request};
use crate::url::{Route, Urls};

/// How long a client may keep renewal information, in seconds: a word to renew now reaches all of them in that time.
const RENEWAL_RETRY_S: u32 = 15 * 60;

/// The protocol's server.
#[derive(Debug)]
pub struct Acme {
    urls: Urls,
    nonces: Nonces,
}

impl Acme {
    /// Begins, with a random key for the nonces of this process.
    #[must_use]
    pub fn new(urls: Urls, nonce_key: [u8; 32]) -> Self {
        Self { urls, nonces: Nonces::new(nonce_key) }
    }

    /// Looks at the form of a request and says which rows it needs.
    ///
    /// # Errors
    /// The whole answer, when it is not well-formed; it carries a nonce for the next try.
    pub fn open(&self, request: &Request<'_>, now_unix_s: i64, chance: &Chance) -> Result<Opened, Answer> {
        Opened::open(request, &self.urls).map_err(|problem| self.finish(problem.into(), now_unix_s, chance))
    }

    /// Answers a request with the rows that were found for it.
    pub fn handle(
        &mut self,
        opened: Opened,
        context: Context,
        now_unix_s: i64,
        chance: &Chance,
    ) -> (Answer, Vec<Effect>) {
        let mut effects = Vec::new();
        let answer = match &opened.method {
            Method::Get | Method::Head => return (self.read(&opened, &context, now_unix_s, chance), effects),
            Method::Post(message) => self.post(&opened.route, message, context, now_unix_s, chance, &mut effects),
        };
        let answer = answer.unwrap_or_else(|problem| {
            effects.clear();
            problem.into()
        });
        (self.finish(answer, now_unix_s, chance), effects)
    }

    /// The answer to a finalization whose certificate was issued (or not) at once: `answer` with the order as it is now.
    #[must_use]
    pub fn shown(&self, answer: Answer, order: &Order, now_unix_s: i64) -> Answer {
        let headers = answer.headers.into_iter().filter(|(name, _)| *name != "retry-after").collect();
        Answer { status: answer.status, headers, body: Body::Json(order.to_json(&self.urls, now_unix_s)) }
    }

    fn post(
        &mut self,
        route: &Route,
        message: &Flattened,
        context: Context,
        now_unix_s: i64,
        chance: &Chance,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let payload = match (&message.signer, &context.account) {
            (Signer::Jwk(key), _) => message.verified(key)?,
            (Signer::Kid(_), Some(account)) => message.verified(&account.key)?,
            (Signer::Kid(_), None) => {
                return Err(Problem::new(Kind::AccountDoesNotExist, "the account of the request does not exist here"));
            }
        };
        let nonce = message.nonce.as_deref();
        let nonce = nonce.ok_or_else(|| Problem::new(Kind::BadNonce, "the protected header has no nonce"))?;
        self.nonces.spend(nonce, now_unix_s)?;
        if context.account.as_ref().is_some_and(|account| account.status != AccountStatus::Valid) {
            let detail = "the account was deactivated; make another one with a fresh external account key";
            return Err(Problem::new(Kind::Unauthorized, detail).with_status(401));
        }
        let asked = Asked { urls: &self.urls, message, payload, context, now_unix_s, chance };
        handle::dispatch(route, asked, effects)
    }

    fn read(&self, opened: &Opened, context: &Context, now_unix_s: i64, chance: &Chance) -> Answer {
        match (&opened.route, &opened.method) {
            (Route::Directory, _) => Answer::json(200, self.directory()),
            (Route::RenewalInfo(_), _) => match context.order.as_ref().and_then(Order::certificate) {
                Some(certificate) => {
                    Answer::json(200, certificate.renewal_info()).with("retry-after", RENEWAL_RETRY_S.to_string())
                }
                None => {
                    Problem::malformed("no certificate of that name was issued over ACME here").with_status(404).into()
                }
            },
            (_, Method::Head) => self.finish(Answer::new(200, Body::Empty), now_unix_s, chance),
            _ => self.finish(Answer::new(204, Body::Empty), now_unix_s, chance),
        }
    }

    /// What every answer to a message has: a fresh nonce, the way to the directory, and no place in a cache.
    fn finish(&self, answer: Answer, now_unix_s: i64, chance: &Chance) -> Answer {
        let directory = self.urls.of(&Route::Directory);
        answer
            .with("replay-nonce", self.nonces.make(chance, now_unix_s))
            .with("link", format!("<{directory}>;rel=\"index\""))
            .with("cache-control", "no-store")
    }

    fn directory(&self) -> Value {
        let url = |route| self.urls.of(&route);
        let profile = |profile: Profile| (profile.as_str().to_owned(), Value::from(profile.description()));
        let profiles: serde_json::Map<_, _> = [Profile::Service, Profile::Device].map(profile).into_iter().collect();
        json!({
            "newNonce": url(Route::NewNonce),
            "newAccount": url(Route::NewAccount),
            "newOrder": url(Route::NewOrder),
            "revokeCert": url(Route::RevokeCert),
            "keyChange": url(Route::KeyChange),
            "renewalInfo": url(Route::RenewalInfo(String::new())).trim_end_matches('/'),
            "meta": { "externalAccountRequired": true, "profiles": profiles },
        })
    }
}
