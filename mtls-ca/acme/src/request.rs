//! A request and what must be known to answer it. [`Opened`] is a request that is well-formed and for this URL, and whose
//! signature nobody has looked at yet: it says which rows it [`Needs`], since the core reads none itself.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;

use crate::account::Account;
use crate::certificate::{check_renewal_id, sha256};
use crate::grant::{EabKey, kid_of};
use crate::jwk::Jwk;
use crate::jws::{Flattened, Signer};
use crate::order::Order;
use crate::problem::{Kind, Problem};
use crate::url::{Route, Urls};

/// The most bytes of a request's body; an attestation object with its chain has some 10,000.
pub const MOST_BODY_BYTES: usize = 64 * 1024;

/// A request as it came over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The media type of the body, in lower case and without parameters.
    pub media_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// How an account is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountBy {
    /// By its id.
    Id(String),
    /// By its key's thumbprint.
    Thumbprint(String),
}

/// How an order is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// By its id.
    Id(String),
    /// By its certificate's SHA-256, lower-case hex.
    CertificateSha256(String),
    /// By its certificate's name in renewal information.
    RenewalId(String),
}

/// The rows that a request needs. The binding key of an account belongs to it and is always loaded with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The account that asks.
    pub account: Option<AccountBy>,
    /// A binding key that no account has yet, by its id.
    pub eab_kid: Option<String>,
    /// The order it is about.
    pub order: Option<OrderBy>,
    /// Whether some account has a key with this thumbprint.
    pub key_taken: Option<String>,
    /// Whether some valid order replaces the certificate of this name.
    pub replaced: Option<String>,
    /// The ids of the account's orders, newest first, and how many are open.
    pub orders: bool,
}

/// The rows that were found; what was not is `None`, false or empty.
#[derive(Debug, Default)]
pub struct Context {
    /// The account.
    pub account: Option<Account>,
    /// The binding key that was asked for, else the account's.
    pub eab: Option<EabKey>,
    /// The order.
    pub order: Option<Order>,
    /// Whether the key is taken.
    pub key_taken: bool,
    /// Whether the certificate is replaced.
    pub replaced: bool,
    /// The ids of the account's newest orders, newest first; a bounded number of them.
    pub order_ids: Vec<String>,
    /// How many orders of the account are open.
    pub open_orders: usize,
}

/// A request that is well-formed.
#[derive(Debug)]
pub struct Opened {
    pub(crate) route: Route,
    pub(crate) method: Method,
    pub(crate) needs: Needs,
}

/// How it is asked.
#[derive(Debug)]
pub(crate) enum Method {
    Get,
    Head,
    Post(Box<Flattened>),
}

impl Opened {
    /// What must be loaded.
    #[must_use]
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Looks at the form of a request.
    pub(crate) fn open(request: &Request<'_>, urls: &Urls) -> Result<Self, Problem> {
        let route = Route::parse(request.path).ok_or_else(|| {
            Problem::malformed("there is nothing at this path; begin at /acme/directory").with_status(404)
        })?;
        let readable = matches!(route, Route::Directory | Route::NewNonce | Route::RenewalInfo(_));
        match request.method {
            "GET" if readable => Self::read(route, Method::Get),
            "HEAD" if readable => Self::read(route, Method::Head),
            "POST" if !matches!(route, Route::Directory | Route::NewNonce | Route::RenewalInfo(_)) => {
                Self::post(route, request, urls)
            }
            method => {
                let detail =
                    format!("{method} is not answered here; resources are read with a signed POST (POST-as-GET)");
                Err(Problem::malformed(detail).with_status(405))
            }
        }
    }

    fn read(route: Route, method: Method) -> Result<Self, Problem> {
        let mut needs = Needs::default();
        if let Route::RenewalInfo(id) = &route {
            check_renewal_id(id)?;
            needs.order = Some(OrderBy::RenewalId(id.clone()));
        }
        Ok(Self { route, method, needs })
    }

    fn post(route: Route, request: &Request<'_>, urls: &Urls) -> Result<Self, Problem> {
        if request.media_type != Some("application/jose+json") {
            let detail = "the body of a request is a signed message, Content-Type: application/jose+json";
            return Err(Problem::malformed(detail).with_status(415));
        }
        if request.body.len() > MOST_BODY_BYTES {
            let detail = format!("a request has at most {MOST_BODY_BYTES} bytes");
            return Err(Problem::malformed(detail).with_status(413));
        }
        let message = Flattened::parse(request.body)?;
        if message.url != urls.of(&route) {
            let detail =
                format!("the message is signed for {:?}, but it was sent to {:?}", message.url, urls.of(&route));
            return Err(Problem::new(Kind::Unauthorized, detail));
        }
        let mut needs = Needs { account: Some(signer(&route, &message, urls)?), ..Needs::default() };
        match &route {
            Route::NewAccount => needs.eab_kid = binding_kid(&message)?,
            Route::NewOrder => {
                needs.orders = true;
                needs.order = replaces(&message)?.map(OrderBy::RenewalId);
                if let Some(OrderBy::RenewalId(id)) = &needs.order {
                    needs.replaced = Some(id.clone());
                }
            }
            Route::Orders(_) => needs.orders = true,
            Route::RevokeCert => needs.order = Some(OrderBy::CertificateSha256(certificate_sha256(&message)?)),
            Route::KeyChange => needs.key_taken = Some(inner_key(&message)?.thumbprint()),
            Route::Order(id)
            | Route::Finalize(id)
            | Route::Authorization(id, _)
            | Route::Challenge(id, _)
            | Route::Certificate(id) => needs.order = Some(OrderBy::Id(id.clone())),
            _ => {}
        }
        Ok(Self { route, method: Method::Post(Box::new(message)), needs })
    }
}

/// Who signed: a new account by its key, a revocation by either, everything else by an account's URL.
fn signer(route: &Route, message: &Flattened, urls: &Urls) -> Result<AccountBy, Problem> {
    match (&message.signer, route) {
        (Signer::Jwk(key), Route::NewAccount | Route::RevokeCert) => Ok(AccountBy::Thumbprint(key.thumbprint())),
        (Signer::Jwk(_), _) => Err(Problem::malformed("the message must name its account by kid, not its key by jwk")),
        (Signer::Kid(_), Route::NewAccount) => {
            Err(Problem::malformed("the message must bring its key as jwk, since the account is yet to be made"))
        }
        (Signer::Kid(kid), _) => urls.account_id(kid).map(AccountBy::Id).ok_or_else(|| {
            Problem::new(Kind::AccountDoesNotExist, "the kid is not the URL of an account at this server")
        }),
    }
}

fn binding_kid(message: &Flattened) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Peek {
        external_account_binding: Option<Value>,
    }
    let peek: Peek = message.unverified().json()?;
    peek.external_account_binding.as_ref().map(kid_of).transpose()
}

fn replaces(message: &Flattened) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Peek {
        replaces: Option<String>,
    }
    let Peek { replaces } = message.unverified().json()?;
    if let Some(id) = &replaces {
        check_renewal_id(id)?;
    }
    Ok(replaces)
}

fn certificate_sha256(message: &Flattened) -> Result<String, Problem> {
    #[derive(Deserialize)]
    struct Peek {
        certificate: String,
    }
    let Peek { certificate } = message.unverified().json()?;
    let der = BASE64URL_NOPAD.decode(certificate.as_bytes());
    der.map(|der| sha256(&der))
        .map_err(|_| Problem::malformed("the certificate is not DER in base64url without padding"))
}

/// The new key of a key change.
pub(crate) fn inner_key(message: &Flattened) -> Result<Jwk, Problem> {
    let inner: Value = message.unverified().json()?;
    match Flattened::of_value(&inner)?.signer {
        Signer::Jwk(key) => Ok(key),
        Signer::Kid(_) => Err(Problem::malformed("the inner message of a key change brings the new key as jwk")),
    }
}
