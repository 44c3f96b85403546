//! TPMs of the sandbox hold what their board's firmware measured, for as long as they have power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;

use tpm_sandbox::{Boot, Maker, SandboxTpm};

/// Asks the TPM for a register (`TPM2_PCR_Read`, Part 3, section 22.4).
fn register(tpm: &SandboxTpm, register: u8) -> [u8; 32] {
    let address = tpm.address().unwrap();
    let address = address.strip_prefix("swtpm:host=").unwrap().replace(",port=", ":");
    let bits = (1_u32 << register).to_le_bytes();
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, bits[0], bits[1], bits[2]];
    let command = [&[0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e][..], &selection].concat();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&command).unwrap();
    let mut answer = [0; 10 + 4 + 10 + 4 + 2 + 32];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[6..10], [0; 4], "refused");
    answer[answer.len() - 32..].try_into().unwrap()
}

#[test]
fn a_boot_is_measured_and_the_next_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let maker = Maker::open(&folder.path().join("maker")).unwrap();
    let mut tpm = maker.make(&folder.path().join("one")).unwrap();
    assert_eq!(tpm.address(), None);
    let good = Boot::new(&[(0, b"firmware"), (7, b"keys"), (0, b"options")]);
    for _ in 0..2 {
        tpm.boot(&good).unwrap();
        assert_eq!([0, 7, 3].map(|number| register(&tpm, number)), [0, 7, 3].map(|number| good.register(number)));
    }
    let other = Boot::new(&[(0, b"firmware"), (7, b"keys")]);
    tpm.boot(&other).unwrap();
    assert_eq!(register(&tpm, 0), other.register(0));
    assert_eq!(std::fs::read(tpm.event_log()).unwrap(), other.log());
    tpm.shut();
    assert_eq!(tpm.address(), None);
    assert!(maker.root().is_file() && maker.issuer().is_file());
    // Made once: the second time it is the one that is there.
    let mut again = maker.make(&folder.path().join("one")).unwrap();
    again.boot(&good).unwrap();
    let mut copy = again.copied(&folder.path().join("two")).unwrap();
    copy.boot(&good).unwrap();
    assert_ne!(copy.address(), again.address());
}
