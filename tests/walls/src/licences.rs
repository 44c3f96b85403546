//! Licences: what others' packages are licensed under is on the list of `deny.toml`.
//!
//! SPDX expressions are read with `AND`, `OR`, `WITH` and parentheses, and the older `A/B` for `A OR B`. `WITH` names an
//! exception that only adds freedom, so the licence before it decides.

use std::collections::BTreeSet;

/// Whether the allowed licences satisfy an SPDX expression.
#[must_use]
pub fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, at: 0, allowed };
    let answer = reader.any_of();
    answer && reader.at == words.len()
}

struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let here = self.words.get(self.at) == Some(&word);
        self.at += usize::from(here);
        here
    }

    fn any_of(&mut self) -> bool {
        let mut answer = self.all_of();
        while self.take("OR") {
            answer |= self.all_of();
        }
        answer
    }

    fn all_of(&mut self) -> bool {
        let mut answer = self.one();
        while self.take("AND") {
            answer &= self.one();
        }
        answer
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let answer = self.any_of();
            return self.take(")") && answer;
        }
        let name = self.words.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        if self.take("WITH") {
            self.at += 1;
        }
        self.allowed.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        let allowed = ["MIT", "Apache-2.0", "ISC"].map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "Apache-2.0 AND ISC",
            "Apache-2.0 WITH LLVM-exception",
            "(GPL-3.0 OR MIT) AND ISC",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MPL-2.0) AND MIT", "", "MIT MIT", "(MIT", "MIT OR"] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }
}
