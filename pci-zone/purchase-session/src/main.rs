//! The purchase-session service: `purchase-session CONFIG.toml`. It takes card data from attested fridges and nothing
//! from anybody else. All of it is in the library; this makes the process.

use std::path::PathBuf;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, so that no buffer a library forgot keeps a card number.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let Some(config) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return fail("usage: purchase-session CONFIG.toml");
    };
    match purchase_session::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

#[allow(clippy::print_stderr, reason = "the process ends with this line; there may be no log yet")]
fn fail(what: &str) -> ExitCode {
    eprintln!("purchase-session: {what}");
    ExitCode::FAILURE
}
