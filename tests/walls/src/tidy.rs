//! Sizes and habits: how long files and functions may be, what every file must have and what none may.
//!
//! A limit is not a target. When a file reaches its limit there is a wall missing inside it; the answer is a module of its
//! own, not a shorter line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::source::{Function, RustFile};
use crate::{CannotLook, Violations};

/// Most lines of a file, tests apart.
pub const FILE_LINES: usize = 400;
/// Most lines of a file that holds SQL, tests apart.
pub const FILE_LINES_WITH_SQL: usize = 500;
/// Half of all files have at most so many lines.
pub const MEDIAN_LINES: usize = 150;
/// Most lines of a `main.rs`.
pub const MAIN_LINES: usize = 60;
/// Most lines of a function.
pub const FUNCTION_LINES: usize = 70;
/// Nine functions in ten have at most so many lines.
pub const NINE_IN_TEN_LINES: usize = 35;
/// Folders in which there is at least as much test as source, each with the folders outside it that test it as a whole.
pub const TESTED_FOLDERS: &[(&str, &[&str])] = &[
    ("pci-zone", &["tests/end_to_end", "tests/leak", "tests/simulation", "tests/conformance/python_grpc"]),
    ("mtls-ca", &["tests/conformance/instant_acme"]),
    ("device-attestation", &[]),
];

/// What was measured of one Rust file.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether the whole file is a test.
    pub is_test: bool,
    /// Lines outside `#[cfg(test)]`, as they stand.
    pub production_lines: usize,
    /// Lines of code outside tests.
    pub source_code: usize,
    /// Lines of code inside tests.
    pub test_code: usize,
    /// Functions outside tests.
    pub functions: Vec<Function>,
    /// Whether it speaks SQL.
    pub sql: bool,
    /// Whether it begins with a head, or holds nothing yet that a head could explain.
    pub head: bool,
    /// Whether the keyword that turns the compiler's promises off stands in it.
    pub turns_promises_off: bool,
}

/// Parses and measures Rust files, given as path and text.
///
/// # Errors
/// [`CannotLook`] when one is not Rust.
pub fn measure(files: &[(PathBuf, String)]) -> Result<Vec<Measured>, CannotLook> {
    let parsed = files.iter().map(|(path, text)| RustFile::parse(path, text)).collect::<Result<Vec<_>, _>>()?;
    let test_files: BTreeSet<PathBuf> = parsed.iter().flat_map(RustFile::test_module_files).collect();
    Ok(parsed.iter().map(|file| measure_one(file, &test_files)).collect())
}

fn measure_one(file: &RustFile, test_files: &BTreeSet<PathBuf>) -> Measured {
    let path = file.path().to_path_buf();
    let below_test_module = test_files.iter().any(|t| *t == path || path.starts_with(t.with_extension("")));
    let is_test = in_test_folder(&path) || below_test_module;
    let (outside, inside) = file.code_lines();
    Measured {
        is_test,
        production_lines: if is_test { 0 } else { file.production_lines() },
        source_code: if is_test { 0 } else { outside },
        test_code: if is_test { outside + inside } else { inside },
        functions: if is_test { Vec::new() } else { file.functions() },
        sql: file.speaks_sql(),
        head: file.has_head() || file.is_empty_place(),
        turns_promises_off: file.uses_word(concat!("un", "safe")),
        path,
    }
}

/// Whether cargo takes the file for a test, a benchmark or an example: it lies in such a folder beside a `src`, not in
/// the house's own top folder `tests`, whose crates have sources like any other.
fn in_test_folder(path: &Path) -> bool {
    let below_top: Vec<_> = path.components().skip(1).collect();
    let names = below_top.iter().filter_map(|c| c.as_os_str().to_str());
    names.take_while(|name| *name != "src").any(|name| matches!(name, "tests" | "benches" | "examples"))
}

/// Checks each file alone: its length, its head, its functions.
#[must_use]
pub fn check_files(files: &[Measured]) -> Violations {
    let mut found = Vec::new();
    for file in files {
        let path = file.path.display();
        if !file.head {
            found.push(format!("{path}: the first line is a //! that says what the file is for"));
        }
        if file.turns_promises_off {
            found.push(format!("{path}: the compiler's promises are not turned off in this house"));
        }
        let limit = if file.path.ends_with("main.rs") && !file.is_test {
            MAIN_LINES
        } else if file.sql {
            FILE_LINES_WITH_SQL
        } else {
            FILE_LINES
        };
        if file.production_lines > limit {
            found.push(format!("{path}: {} lines without its tests, at most {limit}", file.production_lines));
        }
        for function in file.functions.iter().filter(|f| f.lines > FUNCTION_LINES) {
            let Function { name, line, lines } = function;
            found.push(format!("{path}:{line}: {name} has {lines} lines, at most {FUNCTION_LINES}"));
        }
    }
    found
}

/// Checks that the tests of a package that are one binary (`tests/all.rs`) are all in it: one that is not would never run.
#[must_use]
pub fn check_gathered(files: &[(PathBuf, String)]) -> Violations {
    let mut found = Vec::new();
    for (all, text) in files.iter().filter(|(path, _)| path.ends_with("tests/all.rs")) {
        let beside = files.iter().filter(|(path, _)| path.parent() == all.parent() && path != all);
        for (path, _) in beside {
            let module = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if !text.lines().any(|line| line == format!("mod {module};")) {
                found.push(format!("{}: {} does not name it, so it never runs", path.display(), all.display()));
            }
        }
    }
    found
}

/// Checks the house as a whole: the median of file lengths and the ninth decile of function lengths.
#[must_use]
pub fn check_spread(files: &[Measured]) -> Violations {
    let mut found = Vec::new();
    let lines = |wanted: fn(&Measured) -> bool| {
        let mut lines: Vec<usize> = files.iter().filter(|f| wanted(f)).map(|f| f.production_lines).collect();
        lines.sort_unstable();
        lines
    };
    let median = at_share(&lines(|f| !f.is_test), 1, 2);
    if median > MEDIAN_LINES {
        found.push(format!("half of the files are longer than {median} lines; the median is at most {MEDIAN_LINES}"));
    }
    let mut functions: Vec<usize> = files.iter().flat_map(|f| &f.functions).map(|f| f.lines).collect();
    functions.sort_unstable();
    let ninth = at_share(&functions, 9, 10);
    if ninth > NINE_IN_TEN_LINES {
        found.push(format!(
            "one function in ten has {ninth} lines or more; nine in ten have at most {NINE_IN_TEN_LINES}"
        ));
    }
    found
}

fn at_share(sorted: &[usize], numerator: usize, denominator: usize) -> usize {
    let at = (sorted.len() * numerator).div_ceil(denominator).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

/// Lines of test code and of source code below a folder; every line below `testers` is test code.
#[must_use]
pub fn tests_and_source(files: &[Measured], folder: &str, testers: &[&str]) -> (usize, usize) {
    files.iter().fold((0, 0), |(tests, source), file| {
        if file.path.starts_with(folder) {
            (tests + file.test_code, source + file.source_code)
        } else if testers.iter().any(|tester| file.path.starts_with(tester)) {
            (tests + file.test_code + file.source_code, source)
        } else {
            (tests, source)
        }
    })
}

/// Checks that the strict folders have at least as much test as source.
#[must_use]
pub fn check_tested(files: &[Measured]) -> Violations {
    let mut found = Vec::new();
    for (folder, testers) in TESTED_FOLDERS {
        let (tests, source) = tests_and_source(files, folder, testers);
        if tests < source {
            found.push(format!("{folder}: {tests} lines of test for {source} of source; at least as many tests"));
        }
    }
    found
}

/// Looks through any committed text for marks of unfinished work and for folders of somebody's own machine.
#[must_use]
pub fn check_text(path: &Path, text: &str) -> Violations {
    const MARKS: &[&str] =
        &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("un", "implemented!(")];
    const FOLDERS: &[&str] =
        &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let at = format!("{}:{number}", path.display());
        if let Some(mark) = MARKS.iter().find(|mark| stands_alone(line, mark)) {
            found.push(format!("{at}: {mark}: finish it, or write an issue"));
        }
        if let Some(folder) = FOLDERS.iter().find(|folder| begins_a_path(line, folder)) {
            found.push(format!("{at}: {folder} is a folder of one machine"));
        }
    }
    found
}

fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let before = line.get(..at).and_then(|l| l.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|l| l.chars().next());
        !before.is_some_and(joins) && (word.ends_with('(') || !after.is_some_and(joins))
    })
}

fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/' | '~');
        !line.get(..at).and_then(|l| l.chars().next_back()).is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Vec<Measured> {
        measure(&[(path.into(), text.to_owned())]).expect("it is Rust")
    }

    fn lines(count: usize) -> String {
        format!("//! A file.\n{}", "const A: u8 = 1;\n".repeat(count - 1))
    }

    fn function(count: usize) -> String {
        format!("//! A file.\nfn f() {{\n{}}}\n", "    g();\n".repeat(count - 2))
    }

    #[test]
    fn a_test_that_no_binary_has_is_found() {
        let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let mut files = vec![
            file("a/tests/all.rs", "mod support;\n\nmod one;\n"),
            file("a/tests/one.rs", ""),
            file("a/tests/support/mod.rs", ""),
            file("b/tests/two.rs", ""),
        ];
        assert_eq!(check_gathered(&files), [] as [String; 0]);
        files.push(file("a/tests/forgotten.rs", ""));
        assert!(check_gathered(&files)[0].starts_with("a/tests/forgotten.rs"));
    }

    #[test]
    fn a_file_at_its_limit_passes_and_one_line_more_does_not() {
        assert_eq!(check_files(&file("a/src/b.rs", &lines(FILE_LINES))), Violations::new());
        assert_eq!(check_files(&file("a/src/b.rs", &lines(FILE_LINES + 1))).len(), 1);
        let sql = format!("{}const Q: &str = \"SELECT 1\";\n", lines(FILE_LINES));
        assert_eq!(check_files(&file("a/src/b.rs", &sql)), Violations::new());
        let sql = format!("{}const Q: &str = \"SELECT 1\";\n", lines(FILE_LINES_WITH_SQL));
        assert_eq!(check_files(&file("a/src/b.rs", &sql)).len(), 1);
        assert_eq!(check_files(&file("a/src/main.rs", &lines(MAIN_LINES))), Violations::new());
        assert_eq!(check_files(&file("a/src/main.rs", &lines(MAIN_LINES + 1))).len(), 1);
    }

    #[test]
    fn tests_do_not_count_against_a_file() {
        let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(FILE_LINES), "const B: u8 = 1;\n".repeat(99));
        assert_eq!(check_files(&file("a/src/b.rs", &tests)), Violations::new());
        assert_eq!(check_files(&file("zone/a/tests/b.rs", &lines(FILE_LINES + 1))), Violations::new());
        assert_eq!(check_files(&file("tests/walls/src/b.rs", &lines(FILE_LINES + 1))).len(), 1);
        let pair = [
            (PathBuf::from("a/src/lib.rs"), "//! A file.\n#[cfg(test)]\nmod tests;\n".to_owned()),
            (PathBuf::from("a/src/tests.rs"), lines(FILE_LINES + 1)),
        ];
        assert_eq!(check_files(&measure(&pair).expect("Rust")), Violations::new());
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        assert_eq!(check_files(&file("a/src/b.rs", &function(FUNCTION_LINES))), Violations::new());
        let long = function(FUNCTION_LINES + 1);
        assert_eq!(check_files(&file("a/src/b.rs", &long)).len(), 1);
        for wrapped in ["impl A {\n", "trait A {\n", "mod a {\n"] {
            let text = long.replacen("fn f", &format!("{wrapped}fn f"), 1) + "}\n";
            assert_eq!(check_files(&file("a/src/b.rs", &text)).len(), 1, "{wrapped}");
        }
    }

    #[test]
    fn a_missing_head_and_the_forbidden_keyword_are_found() {
        assert_eq!(check_files(&file("a/src/b.rs", "const A: u8 = 1;\n")).len(), 1);
        assert_eq!(check_files(&file("a/src/b.rs", "//! b.\nconst A: u8 = 1;\n")).len(), 1, "a name is no head");
        assert_eq!(check_files(&file("a/src/main.rs", "//! a.\nfn main() {}\n")), Violations::new());
        let text = format!("//! A file.\nfn f() {{ {} {{ g() }} }}\n", concat!("un", "safe"));
        assert_eq!(check_files(&file("a/src/b.rs", &text)).len(), 1);
    }

    #[test]
    fn the_median_and_the_ninth_decile_bite() {
        let mut files = file("a/src/a.rs", &lines(MEDIAN_LINES));
        files.extend(file("a/src/b.rs", &lines(MEDIAN_LINES + 1)));
        assert_eq!(check_spread(&files), Violations::new());
        files.extend(file("a/src/c.rs", &lines(MEDIAN_LINES + 1)));
        assert_eq!(check_spread(&files).len(), 1);

        let short = function(NINE_IN_TEN_LINES).replace("//! A file.\n", "");
        let long = function(NINE_IN_TEN_LINES + 1).replace("//! A file.\n", "");
        let nine_in_ten = format!("//! A file.\n{}{long}", short.repeat(9));
        assert!(check_spread(&file("a/src/main.rs", &nine_in_ten)).iter().all(|v| !v.contains("function")));
        let eight_in_ten = format!("//! A file.\n{}{}", short.repeat(8), long.repeat(2));
        assert!(check_spread(&file("a/src/main.rs", &eight_in_ten)).iter().any(|v| v.contains("function")));
    }

    #[test]
    fn too_few_tests_in_a_strict_folder_are_found() {
        let mut files = file("pci-zone/a/src/lib.rs", "//! A file.\nconst A: u8 = 1;\nconst B: u8 = 1;\n");
        assert_eq!(check_tested(&files).len(), 1);
        files.extend(file("pci-zone/a/tests/t.rs", "//! A file.\n// not code\n\nconst A: u8 = 1;\n"));
        assert_eq!(check_tested(&files).len(), 1, "comments are no tests");
        files.extend(file("pci-zone/a/tests/u.rs", "//! A file.\nconst A: u8 = 1;\n"));
        assert_eq!(check_tested(&files), Violations::new());
        assert_eq!(tests_and_source(&files, "pci-zone", &[]), (2, 2));
        files.extend(file("tests/leak/src/lib.rs", "//! A file.\nconst A: u8 = 1;\n"));
        assert_eq!(tests_and_source(&files, "pci-zone", &["tests/leak"]), (3, 2));
    }

    #[test]
    fn marks_and_private_folders_are_found() {
        let bad = [
            concat!("// TO", "DO later"),
            concat!("FIX", "ME"),
            concat!("open(\"/ho", "me/me/x\")"),
            concat!("to", "do!()"),
        ];
        for line in bad {
            assert_eq!(check_text(Path::new("x"), line).len(), 1, "{line}");
        }
        for line in [
            concat!("MASTO", "DON"),
            concat!("https://example.org/ho", "me/"),
            concat!("https://example.org/wo", "rk/x"),
        ] {
            assert_eq!(check_text(Path::new("x"), line), Violations::new(), "{line}");
        }
    }
}
