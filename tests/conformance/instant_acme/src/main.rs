//! An ACME client that others wrote, instant-acme, orders a certificate for a device. Whoever starts it has the TPM: he
//! is told by lines what is to be attested, answers with lines in base64url, and hears the chain. instant-acme alone
//! speaks to the server and judges its certificate, by the root that is named here.

mod lines;
mod order;

use std::error::Error;
use std::io::{stdin, stdout};
use std::process::ExitCode;

use data_encoding::BASE64URL_NOPAD;

use crate::lines::Lines;
use crate::order::Wanted;

const USAGE: &str = "usage: foreign-acme-client DIRECTORY ROOT.PEM KEY-ID KEY-FILE PERMANENT-IDENTIFIER";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, root, key_id, key_file, device] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let key = BASE64URL_NOPAD.decode(std::fs::read_to_string(key_file)?.trim().as_bytes())?;
    let wanted = Wanted { directory, root: root.as_ref(), key_id, key: &key, device };
    // A thread of its own keeps the connection alive while this one waits for a line.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(order::order(&wanted, &mut Lines::new(stdin().lock(), stdout().lock())))
}
