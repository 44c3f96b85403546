//! Programs that others wrote and that judge what is ours. `./run test` installs them and names each in an environment
//! variable, and then it must work; without that, a test says that it tried nothing.
#![allow(dead_code, unreachable_pub, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// pkilint's folder of programs, from PyPI.
pub const PKILINT: &str = "LARDER_PKILINT";
/// sslscan, from Debian.
pub const SSLSCAN: &str = "LARDER_SSLSCAN";
/// lego, from Debian.
pub const LEGO: &str = "LARDER_LEGO";
/// A client around instant-acme, built from `tests/conformance/instant_acme`.
pub const INSTANT_ACME: &str = "LARDER_INSTANT_ACME";

/// What `./run test` has installed under this name.
pub fn named(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        eprintln!("NOT TRIED: `./run test` installs what judges this and sets {variable}");
    }
    program
}

/// What a command says, on both streams; an error when it fails.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// What sslscan finds that a listener speaks, such as `tls 1.3`; whoever speaks nothing at all is no listener.
pub fn spoken(sslscan: &Path, address: &str) -> Vec<String> {
    let mut command = Command::new(sslscan);
    command.args(["--no-colour", "--no-check-certificate", "--no-groups", "--sni-name=localhost", "--xml=-", address]);
    let report = said(&mut command).unwrap_or_else(|why| panic!("{address}: {why}"));
    let spoken = versions(&report);
    assert!(!spoken.is_empty(), "nothing is spoken at {address}: {report}");
    spoken
}

/// The versions that a report of sslscan has as enabled; one that looked for fewer than six is no report.
fn versions(report: &str) -> Vec<String> {
    let value = |line: &str, name: &str| -> String {
        let (_, after) = line.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {line}"));
        after.split('"').next().unwrap().to_owned()
    };
    let protocols: Vec<_> = report.lines().filter(|line| line.trim_start().starts_with("<protocol ")).collect();
    assert_eq!(protocols.len(), 6, "{report}");
    let enabled = protocols.into_iter().filter(|line| value(line, "enabled") == "1");
    enabled.map(|line| format!("{} {}", value(line, "type"), value(line, "version"))).collect()
}
