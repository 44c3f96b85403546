//! A request as a handler gets it: whole, bounded, and with the name of who asks.

use bytes::Bytes;
use ca_mtls::Peer;
use http::{HeaderMap, HeaderName, Method};

/// One whole request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it was sent, beginning with `/`; escapes are not undone.
    pub path: String,
    /// What stands behind the `?`, as it was sent.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty when there is none.
    pub body: Bytes,
    /// Who asks: a party whose certificate is good now, or nobody on a listener for enrolment.
    pub peer: Option<Peer>,
}

impl Request {
    /// The one value of a header, as text; `None` when there is none, when there are several, or when it is not ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The media type of the body, without its parameters and in lower case.
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let value = self.header(&http::header::CONTENT_TYPE)?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use http::{HeaderName, Method};

    use super::Request;

    fn request(headers: &[(HeaderName, &'static str)]) -> Request {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        Request { method: Method::GET, path: "/".into(), query: None, headers, body: Bytes::new(), peer: None }
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters() {
        let asked = request(&[(CONTENT_TYPE, "Application/JOSE+json; charset=utf-8")]);
        assert_eq!(asked.media_type().as_deref(), Some("application/jose+json"));
        assert_eq!(request(&[]).media_type(), None);
    }

    #[test]
    fn a_header_that_is_not_there_once_is_not_there() {
        let one = request(&[(CONTENT_TYPE, "a/b")]);
        assert_eq!(one.header(&CONTENT_TYPE), Some("a/b"));
        assert_eq!(one.header(&http::header::ACCEPT), None);
        let mut two = one;
        two.headers.append(CONTENT_TYPE, HeaderValue::from_static("c/d"));
        assert_eq!(two.header(&CONTENT_TYPE), None, "which of the two would be meant?");
        assert_eq!(two.media_type(), None);
    }
}
