//! One Rust file, looked at as the compiler sees it: which lines are tests, how long each function is, which crates'
//! modules it names, whether it speaks SQL.
//!
//! Lines are counted as they stand, comments and blank lines included, because that is what a reader scrolls through;
//! only the ratio of tests to source counts lines of code, so that documentation is never a burden on it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;

use crate::CannotLook;

/// A parsed Rust file.
pub struct RustFile {
    path: PathBuf,
    text: String,
    tokens: TokenStream,
    items: Vec<syn::Item>,
    test_ranges: Vec<RangeInclusive<usize>>,
}

/// A function and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it begins, counted from 1.
    pub line: usize,
    /// From its signature to its closing brace.
    pub lines: usize,
}

impl RustFile {
    /// Parses a file.
    ///
    /// # Errors
    /// [`CannotLook`] when it is not Rust.
    pub fn parse(path: &Path, text: &str) -> Result<Self, CannotLook> {
        let wrong = |e: &dyn std::fmt::Display| CannotLook(format!("{}: {e}", path.display()));
        let tokens: TokenStream = text.parse().map_err(|e| wrong(&e))?;
        let items = syn::parse2::<syn::File>(tokens.clone()).map_err(|e| wrong(&e))?.items;
        let mut test_ranges = Vec::new();
        collect_test_ranges(&items, &mut test_ranges);
        Ok(Self { path: path.to_path_buf(), text: text.to_owned(), tokens, items, test_ranges })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines outside `#[cfg(test)]`, as they stand.
    #[must_use]
    pub fn production_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test_line(*line)).count()
    }

    /// Lines of code outside and inside `#[cfg(test)]`, without blank lines and comments.
    #[must_use]
    pub fn code_lines(&self) -> (usize, usize) {
        let code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let numbered = self.text.lines().zip(1..).filter(|(line, _)| code(line));
        let (tests, production): (Vec<_>, Vec<_>) = numbered.partition(|(_, number)| self.is_test_line(*number));
        (production.len(), tests.len())
    }

    /// The functions outside `#[cfg(test)]`.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        collect_functions(&self.items, &mut functions);
        functions.retain(|f| !self.is_test_line(f.line));
        functions
    }

    /// Whether the file begins with a `//!` head of more than one word.
    #[must_use]
    pub fn has_head(&self) -> bool {
        let head = self.text.lines().next().and_then(|line| line.strip_prefix("//!"));
        head.is_some_and(|text| text.split_whitespace().count() > 1)
    }

    /// Whether the file is only a place where something will be: no items, or a `main` that does nothing.
    #[must_use]
    pub fn is_empty_place(&self) -> bool {
        self.items.iter().all(|item| match item {
            syn::Item::Fn(function) => function.sig.ident == "main" && function.block.stmts.is_empty(),
            _ => false,
        })
    }

    /// Whether a string literal outside `#[cfg(test)]` is an SQL statement.
    #[must_use]
    pub fn speaks_sql(&self) -> bool {
        let mut found = false;
        self.each_token(&self.tokens, &mut |token| {
            if let TokenTree::Literal(literal) = token {
                found |= is_sql(&literal.to_string());
            }
        });
        found
    }

    /// Whether the word stands in the code (not in a comment or a literal), tests included.
    #[must_use]
    pub fn uses_word(&self, word: &str) -> bool {
        fn anywhere(tokens: &TokenStream, word: &str) -> bool {
            tokens.clone().into_iter().any(|token| match token {
                TokenTree::Ident(ident) => ident == word,
                TokenTree::Group(group) => anywhere(&group.stream(), word),
                TokenTree::Punct(_) | TokenTree::Literal(_) => false,
            })
        }
        anywhere(&self.tokens, word)
    }

    /// The names that follow `crate::` outside `#[cfg(test)]`: `crate::a::b` and `crate::{a::b, c}` name `a` and `c`.
    #[must_use]
    pub fn names_after_crate(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.walk_for("crate", &self.tokens, &mut names);
        names
    }

    /// The names that follow a path's first `super::` outside `#[cfg(test)]` and outside modules written in this file.
    #[must_use]
    pub fn names_after_super(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.walk_for("super", &self.tokens, &mut names);
        names.remove("super");
        names
    }

    /// The names that `pub use` or `use` bring into this file from its own modules: `(name, module)`.
    #[must_use]
    pub fn names_from_modules(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for item in &self.items {
            if let syn::Item::Use(item) = item {
                collect_uses(&item.tree, None, &mut names);
            }
        }
        names
    }

    /// The files of modules that are compiled for tests only: `#[cfg(test)] mod tests;`, with or without a `#[path]`.
    #[must_use]
    pub fn test_module_files(&self) -> Vec<PathBuf> {
        let modules = self.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.content.is_none() && for_tests(&module.attrs) => Some(module),
            _ => None,
        });
        let files = |module: &syn::ItemMod| match path_of(&module.attrs) {
            Some(path) => vec![self.path.parent().unwrap_or(Path::new("")).join(path)],
            None => {
                let (folder, name) = (self.module_folder(), module.ident.to_string());
                vec![folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
            }
        };
        modules.flat_map(files).collect()
    }

    fn module_folder(&self) -> PathBuf {
        let parent = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        match self.path.file_stem().and_then(|s| s.to_str()) {
            Some("lib" | "main" | "mod") | None => parent,
            Some(stem) => parent.join(stem),
        }
    }

    fn is_test_line(&self, line: usize) -> bool {
        self.test_ranges.iter().any(|range| range.contains(&line))
    }

    fn each_token(&self, tokens: &TokenStream, look: &mut impl FnMut(&TokenTree)) {
        for token in tokens.clone() {
            if self.is_test_line(token.span().start().line) {
                continue;
            }
            look(&token);
            if let TokenTree::Group(group) = &token {
                self.each_token(&group.stream(), look);
            }
        }
    }

    fn walk_for(&self, head: &str, tokens: &TokenStream, names: &mut BTreeSet<String>) {
        let all: Vec<TokenTree> = tokens.clone().into_iter().collect();
        for (at, token) in all.iter().enumerate() {
            if self.is_test_line(token.span().start().line) {
                continue;
            }
            if let TokenTree::Group(group) = token {
                self.walk_for(head, &group.stream(), names);
            }
            let follows_path = at.checked_sub(1).and_then(|before| all.get(before)).is_some_and(is_colon);
            let is_head = matches!(token, TokenTree::Ident(ident) if ident == head) && !follows_path;
            if is_head && all.get(at + 1).is_some_and(is_colon) && all.get(at + 2).is_some_and(is_colon) {
                match all.get(at + 3) {
                    Some(TokenTree::Ident(name)) => drop(names.insert(name.to_string())),
                    Some(TokenTree::Group(group)) => names.extend(first_names(&group.stream())),
                    _ => {}
                }
            }
        }
    }
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}

fn first_names(tokens: &TokenStream) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut at_start = true;
    for token in tokens.clone() {
        match &token {
            TokenTree::Ident(ident) if at_start => drop(names.insert(ident.to_string())),
            _ => {}
        }
        at_start = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ',');
    }
    names
}

fn is_sql(literal: &str) -> bool {
    const STATEMENTS: &[&str] = &[
        "SELECT ",
        "INSERT INTO ",
        "INSERT OR ",
        "UPDATE ",
        "DELETE FROM ",
        "WITH ",
        "CREATE TABLE ",
        "CREATE INDEX ",
    ];
    let text = literal.trim_start_matches(['r', 'b', '#', '"', '\\', 'n', ' ', '\n']);
    STATEMENTS.iter().any(|statement| text.starts_with(statement))
}

fn for_tests(attributes: &[syn::Attribute]) -> bool {
    let is_cfg_test = |a: &syn::Attribute| {
        a.path().is_ident("cfg") && a.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    };
    attributes.iter().any(|a| is_cfg_test(a) || a.path().is_ident("test"))
}

/// The file that `#[path = "…"]` names.
fn path_of(attributes: &[syn::Attribute]) -> Option<String> {
    let value = attributes.iter().filter(|a| a.path().is_ident("path")).find_map(|a| a.meta.require_name_value().ok());
    match value.map(|v| &v.value) {
        Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) => Some(text.value()),
        _ => None,
    }
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn collect_test_ranges(items: &[syn::Item], ranges: &mut Vec<RangeInclusive<usize>>) {
    for item in items {
        if for_tests(attributes_of(item)) {
            ranges.push(item.span().start().line..=item.span().end().line);
        } else if let syn::Item::Mod(syn::ItemMod { content: Some((_, inner)), .. }) = item {
            collect_test_ranges(inner, ranges);
        }
    }
}

fn collect_functions(items: &[syn::Item], functions: &mut Vec<Function>) {
    let mut add = |signature: &syn::Signature, block: &syn::Block| {
        let line = signature.span().start().line;
        let lines = (block.span().end().line + 1).saturating_sub(line);
        functions.push(Function { name: signature.ident.to_string(), line, lines });
    };
    let mut inner_modules = Vec::new();
    for item in items {
        match item {
            syn::Item::Fn(function) => add(&function.sig, &function.block),
            syn::Item::Impl(block) => block.items.iter().for_each(|item| {
                if let syn::ImplItem::Fn(function) = item {
                    add(&function.sig, &function.block);
                }
            }),
            syn::Item::Trait(block) => block.items.iter().for_each(|item| {
                if let syn::TraitItem::Fn(syn::TraitItemFn { sig, default: Some(body), .. }) = item {
                    add(sig, body);
                }
            }),
            syn::Item::Mod(syn::ItemMod { content: Some((_, inner)), .. }) => inner_modules.push(inner),
            _ => {}
        }
    }
    for inner in inner_modules {
        collect_functions(inner, functions);
    }
}

fn collect_uses(tree: &syn::UseTree, module: Option<&str>, names: &mut Vec<(String, String)>) {
    match tree {
        syn::UseTree::Path(path) => {
            let ident = path.ident.to_string();
            let first = match (module, ident.as_str()) {
                (None, "crate" | "self") => None,
                (None, _) => Some(ident.as_str()),
                (Some(module), _) => Some(module),
            };
            collect_uses(&path.tree, first, names);
        }
        syn::UseTree::Name(name) => names.extend(module.map(|m| (name.ident.to_string(), m.to_owned()))),
        syn::UseTree::Rename(name) => names.extend(module.map(|m| (name.rename.to_string(), m.to_owned()))),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| collect_uses(tree, module, names)),
        syn::UseTree::Glob(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"//! A sample file, for looking at.

use crate::{alpha::A, beta};
pub use gamma::{Gamma, inner::Delta as D};

/// Documented.
fn short() -> usize {
    crate::delta::go()
}

impl Thing {
    fn longer(&self) -> &str {
        // why
        let statement = "SELECT 1 FROM x";
        super::root_name(statement)
    }
}

#[cfg(test)]
mod tests {
    use crate::only_in_tests;

    #[test]
    fn works() {
        only_in_tests();
    }
}
"#;

    fn sample() -> RustFile {
        RustFile::parse(Path::new("a/src/thing.rs"), SAMPLE).expect("it is Rust")
    }

    #[test]
    fn tests_are_told_from_production() {
        assert_eq!(sample().production_lines(), 18);
        assert_eq!(sample().code_lines(), (11, 8));
        let names: Vec<(String, usize)> = sample().functions().into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(names, [("short".to_owned(), 3), ("longer".to_owned(), 5)]);
    }

    #[test]
    fn modules_named_are_found_and_those_of_tests_left_out() {
        assert_eq!(sample().names_after_crate(), ["alpha", "beta", "delta"].map(str::to_owned).into());
        assert_eq!(sample().names_after_super(), ["root_name"].map(str::to_owned).into());
        let from: Vec<(String, String)> = sample().names_from_modules();
        assert!(from.contains(&("Gamma".into(), "gamma".into())) && from.contains(&("D".into(), "gamma".into())));
    }

    #[test]
    fn sql_and_heads_and_words_are_seen() {
        assert!(sample().speaks_sql());
        assert!(sample().has_head());
        assert!(sample().uses_word("statement") && !sample().uses_word("why"));
        let plain = RustFile::parse(Path::new("b.rs"), "fn select() { let _ = \"selected\"; }").expect("it is Rust");
        assert!(!plain.speaks_sql() && !plain.has_head());
        let in_tests = "//! Two words.\n#[cfg(test)]\nmod tests { const Q: &str = \"SELECT 1\"; }\n";
        assert!(!RustFile::parse(Path::new("c.rs"), in_tests).expect("it is Rust").speaks_sql());
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_known() {
        let file = RustFile::parse(Path::new("a/src/lib.rs"), "#[cfg(test)]\nmod tests;\nmod real;").expect("Rust");
        assert_eq!(file.test_module_files(), ["a/src/tests.rs", "a/src/tests/mod.rs"].map(PathBuf::from));
        let file = RustFile::parse(Path::new("a/src/x.rs"), "#[cfg(test)]\nmod tests;").expect("Rust");
        assert_eq!(file.test_module_files(), ["a/src/x/tests.rs", "a/src/x/tests/mod.rs"].map(PathBuf::from));
        let text = "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;";
        let file = RustFile::parse(Path::new("a/src/x.rs"), text).expect("Rust");
        assert_eq!(file.test_module_files(), [PathBuf::from("a/src/x_tests.rs")]);
    }
}
