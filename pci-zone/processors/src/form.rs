//! Form bodies (`application/x-www-form-urlencoded`) in a buffer that wipes itself and never leaves a copy behind.
//!
//! A growing `Vec` would free its old buffer with a card number in it; this one grows by wiping. Text of ours goes in
//! through the same door, since one body is one buffer.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::http::wiped_body;

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// A form body in the making.
pub(crate) struct Form(Zeroizing<Vec<u8>>);

impl Form {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(256)))
    }

    /// Adds a field; both parts are percent-encoded.
    pub(crate) fn field(mut self, name: &str, value: &[u8]) -> Self {
        if !self.0.is_empty() {
            self.push(b'&');
        }
        self.encode(name.as_bytes());
        self.push(b'=');
        self.encode(value);
        self
    }

    /// Adds a field of text.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.field(name, value.as_bytes())
    }

    /// Adds a field with a whole number.
    pub(crate) fn number(self, name: &str, value: i64) -> Self {
        self.text(name, &value.to_string())
    }

    /// The body, which wipes itself when the request is gone.
    pub(crate) fn into_body(self) -> Bytes {
        wiped_body(self.0)
    }

    /// The encoded form as text, for a query.
    pub(crate) fn into_query(self) -> String {
        self.0.iter().copied().map(char::from).collect()
    }

    fn encode(&mut self, text: &[u8]) {
        for &byte in text {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                self.push(byte);
            } else {
                self.push(b'%');
                for nibble in [byte >> 4, byte & 0x0f] {
                    self.push(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
                }
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.0.len() == self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(self.0.capacity().saturating_mul(2).max(256)));
            larger.extend_from_slice(&self.0);
            // The smaller buffer is wiped as it is dropped.
            self.0 = larger;
        }
        self.0.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_percent_encoded() {
        let form = Form::new().text("card[number]", "4242").number("amount", -5).text("q", "a b&c='é'%");
        assert_eq!(form.into_query(), "card%5Bnumber%5D=4242&amount=-5&q=a%20b%26c%3D%27%C3%A9%27%25");
        assert_eq!(Form::new().into_body(), Bytes::new());
    }

    #[test]
    fn a_long_form_grows_without_losing_any() {
        let long = "x".repeat(5_000);
        let body = Form::new().text("a", &long).text("b", "y").into_body();
        assert_eq!(body, Bytes::from(format!("a={long}&b=y")));
    }

    #[test]
    fn a_card_number_stays_where_it_was_written() {
        let form = Form::new().text("type", "card").field("card[number]", b"6205500000000000004");
        let at = form.0.as_ptr();
        let body = form.number("card[exp_month]", 12).number("card[exp_year]", 2031).into_body();
        assert_eq!(body.as_ptr(), at);
    }
}
