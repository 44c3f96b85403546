//! The server's resources and their URLs, both ways. An id in a URL is taken only in the form in which it was made.

/// The most bytes of an id in a path.
const MOST_ID_BYTES: usize = 128;

/// A resource of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// What there is (RFC 8555 section 7.1.1).
    Directory,
    /// A fresh nonce (section 7.2).
    NewNonce,
    /// Makes an account (section 7.3).
    NewAccount,
    /// Makes an order (section 7.4).
    NewOrder,
    /// Revokes a certificate (section 7.6).
    RevokeCert,
    /// Gives an account another key (section 7.3.5).
    KeyChange,
    /// When to renew a certificate (RFC 9773 section 4.1).
    RenewalInfo(String),
    /// An account.
    Account(String),
    /// The orders of an account.
    Orders(String),
    /// An order.
    Order(String),
    /// Hands in the request for an order's certificate.
    Finalize(String),
    /// One authorization of an order, by its place.
    Authorization(String, usize),
    /// The challenge of that authorization.
    Challenge(String, usize),
    /// The certificate of an order.
    Certificate(String),
}

impl Route {
    /// The resource at this path; `None` when there is none.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/acme/")?.splitn(4, '/').collect();
        let place = |text: &str| text.parse::<usize>().ok().filter(|place| place.to_string() == text);
        Some(match *parts.as_slice() {
            ["directory"] => Self::Directory,
            ["new-nonce"] => Self::NewNonce,
            ["new-account"] => Self::NewAccount,
            ["new-order"] => Self::NewOrder,
            ["revoke-cert"] => Self::RevokeCert,
            ["key-change"] => Self::KeyChange,
            ["renewal-info", id] => Self::RenewalInfo(checked(id)?),
            ["account", id] => Self::Account(checked(id)?),
            ["account", id, "orders"] => Self::Orders(checked(id)?),
            ["order", id] => Self::Order(checked(id)?),
            ["order", id, "finalize"] => Self::Finalize(checked(id)?),
            ["authorization", id, at] => Self::Authorization(checked(id)?, place(at)?),
            ["challenge", id, at] => Self::Challenge(checked(id)?, place(at)?),
            ["certificate", id] => Self::Certificate(checked(id)?),
            _ => return None,
        })
    }

    fn path(&self) -> String {
        match self {
            Self::Directory => "directory".to_owned(),
            Self::NewNonce => "new-nonce".to_owned(),
            Self::NewAccount => "new-account".to_owned(),
            Self::NewOrder => "new-order".to_owned(),
            Self::RevokeCert => "revoke-cert".to_owned(),
            Self::KeyChange => "key-change".to_owned(),
            Self::RenewalInfo(id) => format!("renewal-info/{id}"),
            Self::Account(id) => format!("account/{id}"),
            Self::Orders(id) => format!("account/{id}/orders"),
            Self::Order(id) => format!("order/{id}"),
            Self::Finalize(id) => format!("order/{id}/finalize"),
            Self::Authorization(id, at) => format!("authorization/{id}/{at}"),
            Self::Challenge(id, at) => format!("challenge/{id}/{at}"),
            Self::Certificate(id) => format!("certificate/{id}"),
        }
    }
}

fn checked(id: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=MOST_ID_BYTES).contains(&id.len()) && id.bytes().all(known)).then(|| id.to_owned())
}

/// Where the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    origin: String,
}

impl Urls {
    /// URLs at this origin: `https://<host>` or `https://<host>:<port>`, without a path.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.trim_end_matches('/').to_owned() }
    }

    /// The URL of a resource.
    #[must_use]
    pub fn of(&self, route: &Route) -> String {
        format!("{}/acme/{}", self.origin, route.path())
    }

    /// The id of the account whose URL this is.
    pub(crate) fn account_id(&self, url: &str) -> Option<String> {
        match Route::parse(url.strip_prefix(&self.origin)?)? {
            Route::Account(id) => Some(id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Route, Urls};

    #[test]
    fn each_url_leads_back_to_its_resource() {
        let id = || "a-B_9".to_owned();
        let urls = Urls::new("https://ca.larder.internal:14000/");
        for route in [
            Route::Directory,
            Route::NewNonce,
            Route::NewAccount,
            Route::NewOrder,
            Route::RevokeCert,
            Route::KeyChange,
            Route::RenewalInfo("aa.bb".into()),
            Route::Account(id()),
            Route::Orders(id()),
            Route::Order(id()),
            Route::Finalize(id()),
            Route::Authorization(id(), 15),
            Route::Challenge(id(), 0),
            Route::Certificate(id()),
        ] {
            let url = urls.of(&route);
            let path = url.strip_prefix("https://ca.larder.internal:14000").unwrap();
            assert_eq!(Route::parse(path), Some(route), "{url}");
        }
        assert_eq!(urls.account_id("https://ca.larder.internal:14000/acme/account/x"), Some("x".into()));
        assert_eq!(urls.account_id("https://elsewhere/acme/account/x"), None);
        assert_eq!(urls.account_id("https://ca.larder.internal:14000/acme/order/x"), None);
    }

    #[test]
    fn other_paths_are_nothing() {
        let long = format!("/acme/order/{}", "a".repeat(129));
        for path in [
            "",
            "/",
            "/acme",
            "/acme/",
            "/directory",
            "/acme/directory/",
            "/acme/order/",
            "/acme/order/a/b",
            "/acme/order/a%2e",
            "/acme/order/a/finalize/x",
            "/acme/challenge/a/",
            "/acme/challenge/a/+1",
            "/acme/challenge/a/01",
            "/acme/challenge/a/-1",
            "/acme/certificate/ä",
            &long,
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }
}
