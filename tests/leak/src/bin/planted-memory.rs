//! `planted-memory`: holds in its memory what it reads from standard input, says `held`, and ends when its input does.
//!
//! It is what the search of memory must find before it is believed: another process, with copies that nobody wipes.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

/// The most bytes held.
const MAX_HELD: u64 = 16 << 20;

fn main() -> ExitCode {
    let mut input = std::io::stdin().lock();
    let mut length = String::new();
    let held = input.read_line(&mut length).and_then(|_| {
        let length = length.trim().parse::<u64>().map_err(std::io::Error::other)?.min(MAX_HELD);
        let mut held = Vec::new();
        (&mut input).take(length).read_to_end(&mut held)?;
        std::io::stdout().write_all(b"held\n").and_then(|()| std::io::stdout().flush())?;
        input.read_to_end(&mut Vec::new())?;
        Ok(std::hint::black_box(held).len())
    });
    if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
