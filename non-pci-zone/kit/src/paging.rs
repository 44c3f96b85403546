//! Pages of a list: a size with a bound, and a cursor that says nothing to whoever holds it but "from here on".
//!
//! Lists are in the order of their key, so the cursor is the last key given, in base32; a row that comes or goes between
//! two pages neither repeats nor hides another. It leaves the SQL to each list.

use http::StatusCode;
use serde::Serialize;

use crate::problem::Problem;

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 1000;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    size: u32,
    after: Option<String>,
}

impl PageRequest {
    /// Reads `page_size` (1 to 1000, 50 when left out) and `page_token`.
    ///
    /// # Errors
    /// A problem when the size is out of bounds or the token is not one of ours.
    pub fn read(page_size: Option<u32>, page_token: Option<&str>) -> Result<Self, Problem> {
        let size = page_size.unwrap_or(DEFAULT_SIZE);
        if !(1..=MAX_SIZE).contains(&size) {
            let detail = format!("page_size is from 1 to {MAX_SIZE}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_page_size", detail));
        }
        let after = page_token.filter(|token| !token.is_empty()).map(decode).transpose()?;
        Ok(Self { size, after })
    }

    /// The key after which the page begins; the empty text, which sorts before every key, for the first page.
    #[must_use]
    pub fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// The key after which the page begins, for lists ordered by a number that counts from 1.
    ///
    /// # Errors
    /// A problem when the token is of a list ordered otherwise.
    pub fn after_number(&self) -> Result<i64, Problem> {
        self.after.as_deref().map_or(Ok(0), |key| key.parse().map_err(|_| not_ours()))
    }

    /// How many rows to read: one more than the page holds, which tells whether another page follows.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::from(self.size) + 1
    }

    /// Cuts what was read to the page, and makes the next cursor of the last row's key.
    pub fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(|row| encode(&key(row)));
        Page { rows, next }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// Its rows, in the order of the list.
    pub rows: Vec<T>,
    /// What to give as `page_token` for the next page; none when this is the last.
    pub next: Option<String>,
}

impl<T: Serialize> Page<T> {
    /// The page as JSON, its rows under `name`, the cursor as `next_page_token`.
    #[must_use]
    pub fn json(&self, name: &str) -> serde_json::Value {
        let mut body = serde_json::Map::new();
        body.insert(name.to_owned(), serde_json::json!(self.rows));
        body.insert("next_page_token".to_owned(), serde_json::json!(self.next));
        serde_json::Value::Object(body)
    }
}

fn encode(key: &str) -> String {
    data_encoding::BASE32_NOPAD.encode(key.as_bytes()).to_ascii_lowercase()
}

fn decode(token: &str) -> Result<String, Problem> {
    let bytes = data_encoding::BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).map_err(|_| not_ours())?;
    String::from_utf8(bytes).map_err(|_| not_ours())
}

fn not_ours() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_page_token", "the page_token is not one that this list gave")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let all = ["a", "b", "c", "d", "e"];
        let (mut token, mut seen) = (None::<String>, Vec::new());
        for _ in 0..3 {
            let request = PageRequest::read(Some(2), token.as_deref()).unwrap();
            let rows: Vec<&str> = all.iter().copied().filter(|key| *key > request.after()).take(3).collect();
            let page = request.cut(rows, |row| (*row).to_owned());
            seen.extend(page.rows);
            token = page.next;
        }
        assert_eq!((seen.as_slice(), token), (all.as_slice(), None));
    }

    #[test]
    fn sizes_and_tokens_have_bounds() {
        for size in [0, 1001] {
            assert_eq!(PageRequest::read(Some(size), None).unwrap_err().code(), "invalid_page_size");
        }
        for token in ["!", "1", "a"] {
            assert_eq!(PageRequest::read(None, Some(token)).unwrap_err().code(), "invalid_page_token", "{token}");
        }
        assert_eq!(PageRequest::read(None, Some("")).unwrap().after(), "");
    }
}
