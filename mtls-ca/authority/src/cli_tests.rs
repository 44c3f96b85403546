//! Tests of the commands' words and arguments that need no token; the commands as a whole are run in `tests/command_line.rs`.

use std::collections::HashSet;
use std::io::{self, Write};

use ca_identity::TrustDomain;
use ca_rotation::{GenerationId, Tier};
use clap::Parser;

use super::shared::{CliError, describe};
use super::{Command, read_id, row};
use crate::log::{Draft, Log};
use crate::{AuthorityError, Entry, EntryState, Head, Kind, Profile, Refusal};

const NOW: i64 = 1_800_000_000;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn parse(line: &str) -> Result<Command, clap::Error> {
    Arguments::try_parse_from(std::iter::once("larder-ca").chain(line.split(' '))).map(|arguments| arguments.command)
}

fn entry(state: EntryState, not_after_unix_s: i64) -> Entry {
    Entry {
        sequence: 4,
        previous: "0".repeat(64),
        state,
        kind: Kind::Device,
        issuer: "device-1".into(),
        subject: "spiffe://larder.internal/fridge/f1".into(),
        serial: "4a".repeat(16),
        not_before_unix_s: 0,
        not_after_unix_s,
        certificate_sha256: "cd".repeat(32),
        hash: "ef".repeat(32),
    }
}

#[test]
fn an_id_may_be_whole_a_path_or_a_name() {
    let domain = TrustDomain::parse("larder.internal").unwrap();
    for (text, profile, whole) in [
        ("spiffe://larder.internal/service/admin", Profile::Service, "spiffe://larder.internal/service/admin"),
        ("service/admin", Profile::Service, "spiffe://larder.internal/service/admin"),
        ("/service/admin", Profile::Service, "spiffe://larder.internal/service/admin"),
        ("admin", Profile::Service, "spiffe://larder.internal/service/admin"),
        ("admin", Profile::Device, "spiffe://larder.internal/fridge/admin"),
        ("admin", Profile::Operator, "spiffe://larder.internal/operator/admin"),
        ("spiffe://other.example/fridge/f1", Profile::Device, "spiffe://other.example/fridge/f1"),
    ] {
        assert_eq!(read_id(text, profile, &domain).unwrap().as_str(), whole, "{text}");
    }
    for text in ["", "https://larder.internal/service/admin", "a b", "service/admin/x", "kitchen/admin"] {
        let refused = read_id(text, Profile::Service, &domain).unwrap_err();
        assert!(matches!(refused, Refusal::Id { .. }), "{text}");
        assert!(refused.to_string().contains("write spiffe://"), "{refused}");
    }
}

#[test]
fn a_row_says_whether_the_certificate_is_good() {
    let shown = |entry: &Entry| {
        let mut out = Vec::new();
        row(entry, &HashSet::new(), NOW, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(shown(&entry(EntryState::Issued, NOW)).contains("  good  "));
    assert!(shown(&entry(EntryState::Issued, NOW - 1)).contains("  expired  "));
    assert!(shown(&entry(EntryState::Withheld, NOW)).contains("  withheld  "));
    let line = shown(&entry(EntryState::Issued, NOW));
    assert!(line.contains("1970-01-01T00:00:00Z") && line.contains("2027-01-15T08:00:00Z"), "{line}");
    assert!(line.ends_with("spiffe://larder.internal/fridge/f1\n"), "{line}");
}

#[test]
fn a_head_is_described() {
    assert_eq!(describe(&Head { entries: 3, hash: "ab".into() }), "3 entries, head ab");
}

#[test]
fn arguments_are_read_and_wrong_ones_refused() {
    for good in [
        "init --dir d --module m --token-label t --pin-file p",
        "init --dir d --module m --token-label t --pin-file p --trust-domain other.example",
        "issue --dir d --profile service --id admin --dns a --dns b --ip ::1 --ip 10.0.0.1 --out o",
        "issue --dir d --profile device --id f1 --csr c --lifetime-hours 1 --out o --pin-file p",
        "issue --dir d --profile operator --id ada --out o",
        "renew --dir d",
        "list --dir d",
        "list --dir d --json",
        "init --dir d --module m --token-label t --pin-file p --approver a=f --approver b=g",
        "status --dir d",
        "status --dir d --json",
        "rotate root next --dir d",
        "rotate device back --dir d --yes",
        "rotate service next --dir d --yes --approval a --approval b --json",
        "rotate attestation next --dir d --act f",
        "approve --act a --key k",
        "approve --act a --key k --out o",
        "approvers --dir d --approver a=f --approver b=g",
        "ceremony --dir d",
        "log verify --dir d --json",
        "revoke --dir d --issuer device-2 --yes --approval a --approval b",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good).err());
    }
    for bad in [
        "init --dir d --module m --token-label t",
        "init --dir d --module m --token-label t --pin-file p --trust-domain Other",
        "issue --dir d --profile kitchen --id f1 --out o",
        "issue --dir d --profile device --id f1",
        "issue --dir d --profile service --id admin --ip nowhere --out o",
        "issue --dir d --profile device --id f1 --lifetime-hours -1 --out o",
        "list",
        "revoke --dir d",
        "revoke --dir d --issuer device",
        "revoke --dir d --issuer device-1 --serial 01",
        "rotate --dir d",
        "rotate leaf next --dir d",
        "rotate root forward --dir d",
        "rotate root next",
        "approve --act a",
        "approvers --dir d",
        "log --dir d",
        "log verify",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_list_needs_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("list --dir {}", dir.path().display());
    let refused = parse(&line).unwrap().run(NOW, &mut Vec::new()).unwrap_err();
    assert!(matches!(refused, CliError::Authority(AuthorityError::Refused(Refusal::NotInitialised(_)))));
    std::fs::write(dir.path().join("authority.toml"), "").unwrap();
    let mut log = Log::create(dir.path()).unwrap();
    let issuer = GenerationId::new(Tier::Device, 1);
    let Entry { state, kind, subject, serial, not_before_unix_s, not_after_unix_s, certificate_sha256, .. } =
        entry(EntryState::Issued, NOW);
    log.append(Draft { state, kind, issuer, subject, serial, not_before_unix_s, not_after_unix_s, certificate_sha256 })
        .unwrap();
    let mut out = Vec::new();
    parse(&line).unwrap().run(NOW, &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.contains(&format!("1 entries, head {}", log.head().hash)), "{said}");
    let mut out = Vec::new();
    parse(&format!("{line} --json")).unwrap().run(NOW, &mut out).unwrap();
    assert_eq!(out, std::fs::read(dir.path().join("issued.jsonl")).unwrap());
}

#[test]
fn an_output_that_is_closed_is_an_error_and_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("authority.toml"), "").unwrap();
    drop(Log::create(dir.path()).unwrap());
    let list = parse(&format!("list --dir {}", dir.path().display())).unwrap();
    assert!(matches!(list.run(NOW, &mut Closed), Err(CliError::Output(_))));
}
