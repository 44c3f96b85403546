//! Rotation as the security team does it: `larder-ca` itself, its words, and the files that go from hand to hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::world;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rcgen::KeyPair;
use serde_json::Value;
use test_token::TestToken;
use world::{dir, file, log_lines};

/// An authority, and two people with their keys in files.
struct Room {
    token: TestToken,
}

impl Room {
    fn new(label: &str, people: &[&str]) -> Self {
        let token = TestToken::create(label).unwrap();
        let pin = file(&token, "pin", token.pin());
        std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
        let room = Self { token };
        let mut arguments: Vec<String> = ["init", "--module", room.token.module().to_str().unwrap(), "--token-label"]
            .into_iter()
            .chain([room.token.label(), "--pin-file", pin.to_str().unwrap()])
            .map(str::to_owned)
            .collect();
        for name in people {
            arguments.extend(["--approver".to_owned(), room.person(name)]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = room.run(&arguments).unwrap();
        let words = if people.is_empty() { "nobody can agree" } else { "of whom two agree" };
        assert!(said.contains(words), "{said}");
        room
    }

    /// Makes a person with a key, and says him as the command line wants it.
    fn person(&self, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        file(&self.token, &format!("{name}.key"), &key.serialize_pem());
        let public = file(&self.token, &format!("{name}.pem"), &key.public_key_pem());
        format!("{name}={}", public.display())
    }

    /// Runs a command of this authority's and gives what it said, or what it complained of.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let ca = dir(&self.token);
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder-ca"));
        command.args(arguments);
        if arguments[0] != "approve" {
            command.arg("--dir").arg(ca);
        }
        let output = self.token.apply(&mut command).stdin(Stdio::null()).output().unwrap();
        let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.success(), complained.is_empty(), "{said}{complained}");
        if output.status.success() { Ok(said) } else { Err(format!("{said}{complained}")) }
    }

    /// Has a person agree to the act that lies there, and gives his approval's file.
    fn approve(&self, name: &str) -> String {
        let (key, out) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.approval")));
        let act = dir(&self.token).join("act.json");
        let said = self.run(&["approve", "--act", text(&act), "--key", text(&key), "--out", text(&out)]).unwrap();
        assert!(said.contains("You agreed to this, and to nothing else") && said.contains("SHA-256"), "{said}");
        out.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.token.directory().join(name)
    }

    /// One step, with everybody's agreement if it takes that.
    fn step(&self, tier: &str) -> String {
        let shown = self.run(&["rotate", tier, "next"]).unwrap();
        assert!(shown.contains("Nothing was done; this is the step"), "{shown}");
        if !shown.contains("to sign") {
            return self.run(&["rotate", tier, "next", "--yes"]).unwrap();
        }
        let (ada, bob) = (self.approve("ada"), self.approve("bob"));
        self.run(&["rotate", tier, "next", "--yes", "--approval", &ada, "--approval", &bob]).unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--json"]).unwrap()).unwrap()
    }
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_intermediate_is_rotated_from_a_terminal() {
    let room = Room::new("terminal", &["ada", "bob"]);
    let out = room.path("out");
    room.run(&["issue", "--profile", "device", "--id", "f1", "--out", text(&out)]).unwrap();
    let table = room.run(&["status"]).unwrap();
    for words in ["device-1          in use", "Trust bundle 1: root-1", "prepare device-2", "Approvers: ada, bob"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let done = room.step("device");
    assert!(done.starts_with("Done: prepare device-2.") && done.contains("Next: larder-ca status"), "{done}");
    assert!(room.step("device").contains("distribute device-2"));
    assert!(room.step("device").contains("activate device-2"));
    let status = room.status();
    assert_eq!(status["generations"][1]["generation"], "device-2");
    assert_eq!(
        (&status["generations"][1]["stage"], &status["generations"][2]["stage"]),
        (&"in use".into(), &"before".into())
    );
    assert_eq!(status["generations"][2]["live_leaves"], 1);
    assert!(room.step("device").contains("taint device-1"));
    let held = room.run(&["rotate", "device", "next", "--yes"]).unwrap_err();
    assert!(held.contains("1 certificate under device-1 live until"), "{held}");
    assert!(held.contains("The step may be taken from 20"), "{held}");
    let status = room.status();
    assert!(status["next"][1]["refused"].as_str().unwrap().contains("under device-1"));
    assert!(status["next"][1]["possible_from_unix_s"].as_i64().unwrap() > 1_790_000_000);
    assert!(room.run(&["status"]).unwrap().contains("drain device-1          from 20"));
    let back = room.run(&["rotate", "device", "back", "--yes"]).unwrap();
    assert!(back.contains("Done: undo taint device-1"), "{back}");
}

#[test]
fn an_approval_is_for_one_act_and_one_person_is_not_two() {
    let room = Room::new("approvals", &["ada", "bob"]);
    room.run(&["rotate", "root", "next"]).unwrap();
    let (ada, bob) = (room.approve("ada"), room.approve("bob"));
    let rotate = |tier: &str, approvals: &[&str]| {
        let mut arguments = vec!["rotate", tier, "next", "--yes"];
        approvals.iter().for_each(|file| arguments.extend(["--approval", file]));
        room.run(&arguments)
    };
    let before = log_lines(&dir(&room.token)).len();
    for (tier, approvals, words) in [
        ("root", vec![], "0 of ada, bob agreed, and 2 of them must"),
        ("root", vec![ada.as_str()], "1 of ada, bob agreed"),
        ("root", vec![&ada, &ada], "1 of ada, bob agreed"),
        ("device", vec![&ada, &bob], "the approval of ada is not for this act"),
    ] {
        let refused = rotate(tier, &approvals).unwrap_err();
        assert!(refused.contains(words) && refused.contains("larder-ca approve"), "{refused}");
    }
    assert_eq!(log_lines(&dir(&room.token)).len(), before, "nothing was signed");
    rotate("root", &[&ada, &bob]).unwrap();
    room.run(&["rotate", "root", "back", "--yes"]).unwrap();
    let again = rotate("root", &[&ada, &bob]).unwrap_err();
    assert!(again.contains("or was used already"), "{again}");
    let rubbish = file(&room.token, "rubbish", "rubbish");
    assert!(rotate("root", &[text(&rubbish)]).unwrap_err().contains("is no approval"));
}

#[test]
fn a_root_is_made_known_and_says_who_lacks_it() {
    let room = Room::new("known", &["ada", "bob"]);
    room.run(&["issue", "--profile", "service", "--id", "admin", "--out", text(&room.path("out"))]).unwrap();
    assert!(room.step("root").contains("a key inside the token and a certificate that it signs itself: root-2"));
    let done = room.step("root");
    assert!(done.contains("trust bundle 2 with root-1, root-2, signed by root-1"), "{done}");
    let table = room.run(&["status"]).unwrap();
    assert!(table.contains("admin                 was never heard   NOT ACKNOWLEDGED"), "{table}");
    let held = room.run(&["rotate", "root", "next"]).unwrap_err();
    assert!(held.contains("admin (never heard) has not acknowledged bundle 2"), "{held}");
    assert_eq!(room.status()["followers"][0]["behind"], true);
}

#[test]
fn without_approvers_the_program_says_what_to_do() {
    let room = Room::new("nobody", &[]);
    let refused = room.run(&["rotate", "device", "next"]).unwrap_err();
    assert!(refused.contains("larder-ca init --approver NAME=FILE"), "{refused}");
    assert!(room.run(&["status"]).unwrap().contains("Approvers: nobody."));
}

#[test]
fn approvers_are_named_with_their_keys_and_changed_by_each_other() {
    let room = Room::new("people", &["ada", "bob"]);
    let (eve, joe) = (room.person("eve"), room.person("joe"));
    let shown = room.run(&["approvers", "--approver", &eve, "--approver", &joe]).unwrap();
    assert!(shown.contains("the approvers would be eve, joe"), "{shown}");
    let (ada, bob) = (room.approve("ada"), room.approve("bob"));
    let change = ["approvers", "--approver", &eve, "--approver", &joe, "--yes"];
    let alone = room.run(&[&change[..], &["--approval", &ada]].concat()).unwrap_err();
    assert!(alone.contains("1 of ada, bob agreed"), "{alone}");
    let done = room.run(&[&change[..], &["--approval", &ada, "--approval", &bob]].concat()).unwrap();
    assert!(done.contains("Done: the approvers are eve, joe."), "{done}");
    assert_eq!(room.status()["approvers"], serde_json::json!(["eve", "joe"]));
    for (wrong, words) in [
        (vec![eve.as_str()], "two to eight"),
        (vec![&eve, &eve], "one name or one key"),
        (vec!["eve", "joe"], "NAME=FILE"),
        (vec!["eve=/nowhere", &joe], "cannot read"),
    ] {
        let mut arguments = vec!["approvers"];
        wrong.iter().for_each(|one| arguments.extend(["--approver", one]));
        let refused = room.run(&arguments).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_ceremony_shows_what_witnesses_compare() {
    let room = Room::new("ceremony", &["ada", "bob"]);
    let before: Value = serde_json::from_str(&room.run(&["ceremony", "--json"]).unwrap()).unwrap();
    assert_eq!(before["generations"].as_array().unwrap().len(), 4);
    room.step("root");
    let after: Value = serde_json::from_str(&room.run(&["ceremony", "--json"]).unwrap()).unwrap();
    assert_eq!(after["generations"].as_array().unwrap().len(), 5);
    assert_ne!((&before["log_head"], &before["acts_head"]), (&after["log_head"], &after["acts_head"]));
    let page = room.run(&["ceremony"]).unwrap();
    for one in after["generations"].as_array().unwrap() {
        assert!(page.contains(one["certificate_sha256"].as_str().unwrap()), "{page}");
    }
    assert!(page.contains("cannot leave it") && page.contains("larder-ca approve"), "{page}");
    let openssl = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", text(&dir(&room.token).join("root-2.pem"))])
        .output()
        .expect("openssl is installed");
    let theirs = String::from_utf8(openssl.stdout).unwrap().to_lowercase().replace(':', "");
    let ours = &after["generations"][1];
    assert_eq!(ours["generation"], "root-2");
    assert!(theirs.contains(ours["certificate_sha256"].as_str().unwrap()), "{theirs}");
}

#[test]
fn the_log_is_verified_without_a_token() {
    let room = Room::new("verify", &["ada", "bob"]);
    room.step("device");
    let said = room.run(&["log", "verify"]).unwrap();
    assert!(said.contains("The log holds") && said.contains("each that takes two people has them"), "{said}");
    let json: Value = serde_json::from_str(&room.run(&["log", "verify", "--json"]).unwrap()).unwrap();
    assert_eq!((&json["log_entries"], &json["acts"]), (&6.into(), &2.into()));
    let acts = dir(&room.token).join("acts.jsonl");
    let good = std::fs::read_to_string(&acts).unwrap();
    std::fs::write(&acts, good.replacen("\"bob\"", "\"eve\"", 1)).unwrap();
    let found = room.run(&["log", "verify"]).unwrap_err();
    assert!(found.contains("the acts of the authority are damaged or were changed at line 1"), "{found}");
    std::fs::write(&acts, good).unwrap();
    let lines = log_lines(&dir(&room.token));
    std::fs::write(dir(&room.token).join("issued.jsonl"), lines[1..].join("\n") + "\n").unwrap();
    assert!(room.run(&["log", "verify"]).unwrap_err().contains("at line 1"));
}

#[test]
fn everything_an_intermediate_signed_is_revoked_by_two_people() {
    let room = Room::new("bulk", &["ada", "bob"]);
    for n in 0..11 {
        room.run(&["issue", "--profile", "device", "--id", &format!("f{n}"), "--out", text(&room.path("out"))])
            .unwrap();
    }
    let shown = room.run(&["revoke", "--issuer", "device-1"]).unwrap();
    assert!(shown.contains("with --yes revokes these 11") && shown.contains("It takes two people"), "{shown}");
    let refused = room.run(&["revoke", "--issuer", "device-1", "--yes"]).unwrap_err();
    assert!(refused.contains("0 of ada, bob agreed"), "{refused}");
    let (ada, bob) = (room.approve("ada"), room.approve("bob"));
    let all = ["revoke", "--issuer", "device-1", "--yes", "--approval", &ada, "--approval", &bob];
    let done = room.run(&all).unwrap();
    assert!(done.contains("Revoked 11"), "{done}");
    for wrong in [["--issuer", "device"], ["--issuer", "device-0"], ["--issuer", "leaf-1"]] {
        let refused = room.run(&[&["revoke"][..], &wrong].concat()).unwrap_err();
        assert!(refused.contains("a generation is named <tier>-<number>"), "{refused}");
    }
    assert!(room.run(&["revoke", "--issuer", "device-1", "--party", "fridge/f1"]).is_err());
}
