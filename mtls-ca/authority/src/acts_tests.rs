//! Tests of `acts`: what is read back, what a crash leaves, and what was never decided.

use std::fs;

use ca_identity::TrustDomain;
use ca_rotation::{Direction, Rotation, Step, Tier};
use tempfile::TempDir;

use super::{Act, Acts, Decision};
use crate::approval::tests::person;
use crate::approval::{Approval, Approver};
use crate::{AuthorityError, Corrupt, Refusal};

const NOW: i64 = 1_800_000_000;

struct House {
    dir: TempDir,
    people: [(Approver, rcgen::KeyPair); 2],
}

impl House {
    fn new() -> (Self, Acts) {
        let (dir, people) = (tempfile::tempdir().unwrap(), [person("ada"), person("bob")]);
        let approvers = people.each_ref().map(|(approver, _)| approver.clone());
        let acts = Acts::create(dir.path(), &domain(), &approvers, NOW).unwrap();
        (Self { dir, people }, acts)
    }

    fn open(&self) -> Result<Acts, AuthorityError> {
        Acts::open(self.dir.path(), &domain())
    }

    fn agree(&self, acts: &Acts, decision: &Decision) -> Vec<Approval> {
        let act = acts.to_sign(decision).unwrap();
        self.people.iter().map(|(_, key)| Approval::sign(&act, &key.serialize_pem()).unwrap()).collect()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("acts.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("acts.jsonl"), text).unwrap();
    }
}

fn domain() -> TrustDomain {
    TrustDomain::parse("larder.internal").unwrap()
}

fn prepare(number: u32) -> Decision {
    let (tier, direction, step) = (Tier::Device, Direction::Next, Step::Prepare);
    Decision::Rotate(Act { tier, direction, step, generation: number })
}

fn decide(acts: &mut Acts, decision: &Decision, approvals: Vec<Approval>) -> Result<(), AuthorityError> {
    let mut file = acts.hold(false)?;
    acts.catch_up(&mut file)?;
    acts.append(&mut file, decision.clone(), approvals, NOW + 1)
}

#[test]
fn what_was_decided_is_read_back() {
    let (house, mut acts) = House::new();
    assert_eq!(acts.rotation().unwrap(), &Rotation::first(NOW));
    let agreed = house.agree(&acts, &prepare(2));
    assert!(acts.check(&prepare(2), &agreed).is_ok());
    decide(&mut acts, &prepare(2), agreed).unwrap();
    let read = house.open().unwrap();
    assert_eq!((read.rotation().unwrap(), read.head()), (acts.rotation().unwrap(), acts.head()));
    assert_eq!(read.rotation().unwrap().line(Tier::Device).other().unwrap().number, 2);
    assert_eq!(read.approvers().len(), 2);
}

#[test]
fn an_approval_serves_once_and_for_one_act() {
    let (house, mut acts) = House::new();
    let agreed = house.agree(&acts, &prepare(2));
    assert!(matches!(acts.check(&prepare(3), &agreed), Err(AuthorityError::Refused(Refusal::NotApproved(_)))));
    let back =
        Decision::Rotate(Act { tier: Tier::Device, direction: Direction::Back, step: Step::Prepare, generation: 2 });
    decide(&mut acts, &prepare(2), agreed.clone()).unwrap();
    decide(&mut acts, &back, Vec::new()).unwrap();
    let again = acts.check(&prepare(2), &agreed).unwrap_err();
    assert!(again.to_string().contains("was used already"), "{again}");
    let (other, acts) = House::new();
    assert!(acts.check(&prepare(2), &agreed).is_err(), "another house's");
    drop(other);
}

#[test]
fn a_line_that_nobody_agreed_to_is_found_when_it_is_read() {
    let (house, mut acts) = House::new();
    // Written past the check, with hashes that fit: as one who can write the file would.
    assert!(decide(&mut acts, &prepare(2), Vec::new()).is_err());
    let error = house.open().unwrap_err();
    assert!(matches!(error, AuthorityError::Corrupt(Corrupt::Acts { line: 2, .. })), "{error}");
    assert!(error.to_string().contains("two approvers of the time did not agree"), "{error}");
}

#[test]
fn an_act_that_does_not_follow_is_found_when_it_is_read() {
    for wrong in [prepare(3), Decision::Made { approvers: vec![] }] {
        let (house, mut acts) = House::new();
        let agreed = house.agree(&acts, &wrong);
        assert!(decide(&mut acts, &wrong, agreed).is_err());
        assert!(matches!(house.open(), Err(AuthorityError::Corrupt(Corrupt::Acts { line: 2, .. }))));
    }
}

#[test]
fn a_file_that_is_gone_empty_or_changed_is_no_beginning() {
    let (house, mut acts) = House::new();
    let agreed = house.agree(&acts, &prepare(2));
    decide(&mut acts, &prepare(2), agreed).unwrap();
    let lines = house.lines();
    house.write("");
    assert!(matches!(house.open(), Err(AuthorityError::Corrupt(Corrupt::Acts { line: 1, .. }))));
    house.write(&format!("{}\n", lines[1]));
    assert!(matches!(house.open(), Err(AuthorityError::Corrupt(Corrupt::Acts { line: 1, .. }))));
    house.write(&format!("{}\n{}\n", lines[0], lines[1].replace("\"generation\":2", "\"generation\":3")));
    assert!(matches!(house.open(), Err(AuthorityError::Corrupt(Corrupt::Acts { line: 2, .. }))));
    fs::remove_file(house.dir.path().join("acts.jsonl")).unwrap();
    assert!(house.open().is_err());
}

#[test]
fn after_a_crash_an_act_happened_or_did_not() {
    let (house, mut acts) = House::new();
    let agreed = house.agree(&acts, &prepare(2));
    decide(&mut acts, &prepare(2), agreed.clone()).unwrap();
    let lines = house.lines();
    for keep in (0..=lines[1].len()).step_by(29) {
        house.write(&format!("{}\n{}", lines[0], &lines[1][..keep]));
        let mut read = house.open().unwrap();
        assert_eq!(read.rotation().unwrap(), &Rotation::first(NOW), "{keep}");
        decide(&mut read, &prepare(2), agreed.clone()).unwrap();
        assert_eq!(house.lines(), lines, "the same act again");
    }
}

#[test]
fn approvers_are_changed_by_approvers() {
    let (house, mut acts) = House::new();
    let (new, other) = (person("eve"), person("joe"));
    let change = Decision::Approvers { approvers: vec![new.0.clone(), other.0] };
    assert!(acts.check(&change, &[]).is_err());
    let agreed = house.agree(&acts, &change);
    decide(&mut acts, &change, agreed).unwrap();
    let by_the_old = house.agree(&acts, &prepare(2));
    let refused = acts.check(&prepare(2), &by_the_old).unwrap_err();
    assert!(refused.to_string().contains("no approver's"), "{refused}");
    assert_eq!(house.open().unwrap().approvers()[0], new.0);
}
