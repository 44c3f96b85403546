//! The parameters of a request: form fields that are taken one by one, so that what is left over is unknown.

use std::collections::BTreeMap;

use crate::failure::Failure;

const MAX_FIELDS: usize = 64;

/// Fields not taken yet.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a form or a query.
    pub(crate) fn parse(form: &[u8]) -> Result<Self, Failure> {
        let fields = form.split(|byte| *byte == b'&').filter(|field| !field.is_empty());
        let mut params = Vec::new();
        for field in fields {
            let (name, value) = match field.iter().position(|byte| *byte == b'=') {
                Some(at) => field.split_at(at),
                None => (field, [].as_slice()),
            };
            let value = decode(value.strip_prefix(b"=").unwrap_or(value)).ok_or(Failure::Invalid("body"))?;
            params.push((decode(name).ok_or(Failure::Invalid("body"))?, value));
            if params.len() > MAX_FIELDS {
                return Err(Failure::Invalid("body"));
            }
        }
        Ok(Self(params))
    }

    /// Takes a field that may be there.
    pub(crate) fn optional(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a field that must be there.
    pub(crate) fn required(&mut self, name: &'static str) -> Result<String, Failure> {
        self.optional(name).ok_or(Failure::Missing(name))
    }

    /// Takes a field that must be there and say this.
    pub(crate) fn exactly(&mut self, name: &'static str, expected: &str) -> Result<(), Failure> {
        if self.required(name)? == expected { Ok(()) } else { Err(Failure::Invalid(name)) }
    }

    /// Takes all fields `name[key]`.
    pub(crate) fn map(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        self.0.retain(|(field, value)| {
            let key = field.strip_prefix(name).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
            key.is_none_or(|key| {
                map.insert(key.to_owned(), value.clone());
                false
            })
        });
        map
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::UnknownParameter) }
    }
}

fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut nibble = || char::from(*bytes.next()?).to_digit(16);
                let (high, low) = (nibble()?, nibble()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_taken() {
        let mut params = Params::parse(b"card%5Bnumber%5D=1+2&metadata[a]=x&metadata[b]=%27&empty").unwrap();
        assert_eq!(params.required("card[number]"), Ok("1 2".to_owned()));
        let metadata = params.map("metadata");
        assert_eq!(metadata.into_iter().collect::<Vec<_>>(), [("a".into(), "x".into()), ("b".into(), "'".into())]);
        assert_eq!(params.optional("absent"), None);
        assert_eq!(params.finish(), Err(Failure::UnknownParameter));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [b"a=%4".as_slice(), b"a=%zz", b"%ff=1"] {
            assert!(Params::parse(bad).is_err());
        }
        assert!(Params::parse(&b"a=1&".repeat(65)).is_err());
        assert_eq!(Params::parse(b"").unwrap().finish(), Ok(()));
    }
}
