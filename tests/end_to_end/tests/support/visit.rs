//! One person's visit to a fridge as a row of steps, so that something can be killed at each.

use fridge_agent::Seen;

use super::chance::Chance;
use super::fridge::Fridge;
use super::world::{Card, Kind, OpenWith, Session, Touch, World};

/// Whose meal is taken that is another's.
const OWNER: usize = 900;
/// Test cards from this number on are in nobody's wallet.
const STRANGERS: usize = 1_000;
/// Of the meal types in turn: together they are worth more than the hold from the third on.
const WANTED: [usize; 4] = [0, 5, 1, 3];

/// What is held on a card at every fridge here.
pub(crate) const HOLD_MINOR: i64 = 2_500;

/// A step of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Show,
    OpenDoor,
    Touch(usize),
    CloseDoor,
    /// The receipt is there; the processor may still have something to do.
    Leave,
}

/// All steps of a visit that [`Visits`] makes, in order.
pub(crate) const STEPS: [Step; 10] = [
    Step::Show,
    Step::OpenDoor,
    Step::Touch(0),
    Step::Touch(1),
    Step::Touch(2),
    Step::Touch(3),
    Step::Touch(4),
    Step::Touch(5),
    Step::CloseDoor,
    Step::Leave,
];

/// Makes visits, and the meals for them.
pub(crate) struct Visits {
    chance: Chance,
    pub(crate) world: World,
    made: usize,
}

impl Visits {
    /// A world of so many fridges, each with a customer who often comes, in which thefts block nobody.
    pub(crate) fn at(fridges: usize) -> Self {
        let mut world = World::with_fridges(&vec![HOLD_MINOR; fridges]);
        world.policy.blocked_after_thefts = 1_000;
        world.enrol(OWNER, 0);
        for number in 0..fridges {
            world.enrol(number, 0);
        }
        Self { chance: Chance::new(1), world, made: 0 }
    }

    /// The name of a fridge.
    pub(crate) fn fridge(&self, number: usize) -> String {
        self.world.fridges[number].fridge.clone()
    }

    /// A visit to a fridge: in turns by a stranger's card, a customer's card and his ID token. He takes a meal,
    /// another's meal, which he puts back or `steals`, and three more, which is more than the hold.
    pub(crate) fn make(&mut self, fridge: usize, steals: bool) -> Session {
        let name = self.fridge(fridge);
        let owner = self.world.customers[0].customer.clone();
        let meals: Vec<String> = WANTED.iter().map(|kind| self.world.put(&name, *kind, None, false)).collect();
        let others = self.world.put(&name, 2, Some(&owner), true);
        let again = if steals { (Kind::Taken, &others) } else { (Kind::Returned, &others) };
        let touches = [
            (Kind::Taken, &meals[0]),
            (Kind::Taken, &others),
            again,
            (Kind::Taken, &meals[1]),
            (Kind::Taken, &meals[2]),
            (Kind::Taken, &meals[3]),
        ];
        let touches = touches.into_iter().zip(1_u64..).map(|((kind, barcode), at)| Touch {
            at_ms: at * 1_000,
            kind,
            barcode: barcode.clone(),
        });
        let customer = self.world.customers[fridge + 1].clone();
        let open_with = match (self.made + fridge) % 3 {
            0 => OpenWith::Card(Card::test(STRANGERS + fridge)),
            1 => OpenWith::Card(customer.wallet_card.unwrap()),
            _ => OpenWith::IdToken(customer.id_token),
        };
        self.session(&name, open_with, touches.collect())
    }

    /// A visit that takes one meal of no one.
    pub(crate) fn small(&mut self, fridge: usize) -> Session {
        let name = self.fridge(fridge);
        let meal = self.world.put(&name, 0, None, false);
        let touch = Touch { at_ms: 1_000, kind: Kind::Taken, barcode: meal };
        self.session(&name, OpenWith::Card(Card::test(STRANGERS + fridge)), vec![touch])
    }

    fn session(&mut self, fridge: &str, open_with: OpenWith, touches: Vec<Touch>) -> Session {
        self.made += 1;
        let bytes = (u128::from(self.chance.next()) << 64) | u128::from(self.chance.next());
        Session {
            session: uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string(),
            at: "2026-03-02T06:00:00Z".to_owned(),
            fridge: fridge.to_owned(),
            open_with,
            touches,
            close_at_ms: 10_000,
        }
    }
}

/// Does a step without waiting for what comes of it.
pub(crate) async fn act(fridge: &Fridge, session: &Session, step: Step) {
    match step {
        Step::Show => fridge.show(session).await,
        Step::OpenDoor => assert!(fridge.controls.open_door().await, "{}: it is unlocked", fridge.name),
        Step::Touch(number) => {
            let touch = &session.touches[number];
            fridge.touch(touch.kind, &touch.barcode).await;
        }
        Step::CloseDoor => assert!(fridge.controls.close_door().await, "{}: it is open", fridge.name),
        Step::Leave => {}
    }
}

/// Waits for what comes of a step: the lock, the journal, the alarm, the receipt. `journaled` is what the journal held
/// before it.
pub(crate) async fn comes_of(fridge: &Fridge, session: &Session, step: Step, journaled: u64) {
    match step {
        Step::Show => fridge.answer(session).await.unwrap(),
        Step::OpenDoor => fridge.journals_beyond(&session.session, journaled).await,
        Step::Touch(number) => {
            fridge.journals_beyond(&session.session, journaled).await;
            match number {
                1 => drop(fridge.see("an alarm", |seen| matches!(seen, Seen::Alarm { .. })).await),
                2 if session.touches[2].kind == Kind::Returned => {
                    drop(fridge.see("the alarm's end", |seen| matches!(seen, Seen::AlarmCleared { .. })).await);
                }
                _ => {}
            }
        }
        Step::CloseDoor => assert_eq!(fridge.receipt(session).await.0, "charged"),
        Step::Leave => {}
    }
}

/// Does steps one after the other, each after what came of the one before.
pub(crate) async fn walk(fridge: &Fridge, session: &Session, steps: &[Step]) {
    for step in steps {
        let journaled = fridge.journaled(&session.session);
        act(fridge, session, *step).await;
        comes_of(fridge, session, *step, journaled).await;
    }
}
