//! The admin service's process: a configuration file in, a service out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ops_kit::run(ops_admin::serve)
}
