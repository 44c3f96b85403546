//! A throw-away SoftHSM token for tests.
//!
//! SoftHSM finds its tokens through `SOFTHSM2_CONF`, which belongs to the whole process, and a PKCS#11 module is
//! initialised once a process: two tests that share one disturb each other. And a process cannot change its own
//! environment without `unsafe`. So [`in_own_process`] runs the body of a test in a child process (the same test
//! binary, the same test) that has a fresh token and the environment for it. This works alike under `cargo test` and
//! `cargo nextest run`, on any number of threads, with no settings:
//!
//! ```no_run
//! #[test]
//! fn keys_stay_inside() {
//!     test_token::in_own_process("keys", |token| {
//!         // cryptoki::context::Pkcs11::new(token.module()) … login with token.pin()
//!     });
//! }
//! ```
//!
//! A test that only *starts programs* needs no child of its own: [`TestToken::create`], and [`TestToken::apply`] on
//! each command.
//!
//! It is a double: never linked by anything that ships. SoftHSM is a simulator of an HSM, not a secure device.

mod token;

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

pub use token::{TestToken, TokenError};

/// The child's mark that the body ran to its end; without it a child that ran no test at all would look like success.
const DONE: &str = "body-ran";

/// Runs the body of a test in a process of its own that has a fresh token called `label`.
///
/// Call it directly from the test function and only once, with everything the test does inside `body`.
///
/// # Panics
/// When the token cannot be made, or the body panics in the child (whose output is then shown).
pub fn in_own_process<F: FnOnce(&TestToken)>(label: &str, body: F) {
    if let Some(token) = TestToken::inherited() {
        body(&token);
        let marked = std::fs::write(token.directory().join(DONE), b"");
        assert!(marked.is_ok(), "the mark of the end could not be written: {marked:?}");
        return;
    }
    let made = TestToken::create(label);
    assert!(made.is_ok(), "no token for the test: {made:?}");
    if let Ok(token) = made {
        run_child(&token, test_name::<F>());
    }
}

fn run_child(token: &TestToken, test: &str) {
    let command = env::current_exe().map(Command::new).map(|mut command| {
        command.args([test, "--exact", "--include-ignored", "--test-threads=1", "--nocapture"]);
        token.apply(&mut command).stdin(Stdio::null()).output()
    });
    let output = command.and_then(|output| output);
    let ran = output.as_ref().is_ok_and(|output| output.status.success());
    let done = Path::exists(&token.directory().join(DONE));
    assert!(ran && done, "{test} in its own process: {}", describe(&output));
}

fn describe(output: &std::io::Result<std::process::Output>) -> String {
    match output {
        Ok(output) => format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => error.to_string(),
    }
}

/// The name libtest knows the calling test by: the path of its closure without the crate and without `{{closure}}`.
fn test_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_, inside)| inside);
    path.split_once("::{{closure}}").map_or(path, |(test, _)| test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of<F>(_: F) -> &'static str {
        test_name::<F>()
    }

    #[test]
    fn a_test_is_found_by_its_closure() {
        assert_eq!(name_of(|| ()), "tests::a_test_is_found_by_its_closure");
    }

    #[test]
    fn the_body_runs_in_another_process_with_the_token_in_its_environment() {
        let mut ran_here = false;
        in_own_process("body", |token| {
            ran_here = true;
            assert_eq!(env::var_os("SOFTHSM2_CONF").as_deref(), Some(token.conf().as_os_str()));
            assert_eq!(token.label(), "body");
            assert_eq!(std::fs::read_dir(token.token_directory()).expect("a directory").count(), 1);
        });
        assert_eq!(ran_here, TestToken::inherited().is_some(), "the body runs in the child and nowhere else");
    }

    #[test]
    fn a_body_that_panics_fails_its_test() {
        let inherited = TestToken::inherited().is_some();
        let outcome = std::panic::catch_unwind(|| in_own_process("panics", |_| panic!("as it should")));
        // In the parent the catch shows the child's failure; in the child the panic must get out.
        match outcome {
            Err(panic) if inherited => std::panic::resume_unwind(panic),
            outcome => assert!(outcome.is_err()),
        }
    }

    #[test]
    fn a_name_that_is_no_test_is_not_taken_for_success() {
        let token = TestToken::create("none").expect("a token");
        let outcome = std::panic::catch_unwind(|| run_child(&token, "tests::there_is_no_such_test"));
        assert!(outcome.is_err());
    }
}
