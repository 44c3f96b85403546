//! Where a client connects to: parsed once from an `https` URL, so that no other scheme can be asked for.

use http::HeaderValue;
use rustls_pki_types::ServerName;
use thiserror::Error;

/// Why a text is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not an absolute URL.
    #[error("not a URL")]
    Url,
    /// A scheme other than `https`: nothing leaves the zone in clear.
    #[error("the scheme must be https")]
    Scheme,
    /// A user, a query or a fragment, which have no place here; or no host.
    #[error("an endpoint is https://host[:port][/path]")]
    Parts,
    /// A host that a certificate cannot name.
    #[error("the host is neither a DNS name nor an IP address")]
    Host,
}

/// One server: address, the name its certificate must bear, and the path all requests begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    host_header: HeaderValue,
    base_path: String,
}

impl Endpoint {
    /// Parses `https://host[:port][/path]`.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let uri: http::Uri = url.parse().map_err(|_| EndpointError::Url)?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return Err(EndpointError::Scheme);
        }
        let authority = uri.authority().ok_or(EndpointError::Parts)?;
        if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
            return Err(EndpointError::Parts);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::Host)?;
        let host_header = HeaderValue::from_str(authority.as_str()).map_err(|_| EndpointError::Host)?;
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(443), server_name, host_header, base_path })
    }

    /// The same endpoint under the name its certificate bears, where that is not its host.
    #[must_use]
    pub fn with_server_name(self, server_name: ServerName<'static>) -> Self {
        Self { server_name, ..self }
    }

    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) const fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    pub(super) const fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    pub(super) fn path(&self, path_and_query: &str) -> String {
        let mut path = String::with_capacity(self.base_path.len() + path_and_query.len());
        path.push_str(&self.base_path);
        path.push_str(path_and_query);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_a_port_and_a_path() {
        let endpoint = Endpoint::parse("https://api.processor.example/base/").unwrap();
        assert_eq!(endpoint.address(), ("api.processor.example", 443));
        assert_eq!(endpoint.path("/v1/refunds"), "/base/v1/refunds");
        assert_eq!(endpoint.host_header(), "api.processor.example");
        let local = Endpoint::parse("https://127.0.0.1:8443").unwrap();
        assert_eq!(local.address(), ("127.0.0.1", 8443));
        assert_eq!(local.path("/"), "/");
        let six = Endpoint::parse("https://[::1]:8443/").unwrap();
        assert_eq!(six.address(), ("::1", 8443));
        assert_eq!(six.host_header(), "[::1]:8443");
    }

    #[test]
    fn a_certificate_may_bear_another_name() {
        let name = ServerName::try_from("inventory.larder.internal").unwrap();
        let endpoint = Endpoint::parse("https://127.0.0.1:1").unwrap().with_server_name(name.clone());
        assert_eq!(endpoint.server_name(), &name);
    }

    #[test]
    fn nothing_else_is_an_endpoint() {
        for (url, error) in [
            ("http://api.example", EndpointError::Scheme),
            ("ftp://api.example", EndpointError::Scheme),
            ("api.example", EndpointError::Scheme),
            ("/v1", EndpointError::Scheme),
            ("", EndpointError::Url),
            ("https://", EndpointError::Url),
            ("https://user@api.example", EndpointError::Parts),
            ("https://api.example/?q=1", EndpointError::Parts),
            ("https://api.example/#f", EndpointError::Parts),
            ("https://a..b/", EndpointError::Host),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }
}
