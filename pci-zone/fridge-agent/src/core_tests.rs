//! Tests of the machine: the trip of a session, its deadlines, its restarts, and what holds whatever happens.

use std::collections::BTreeMap;

use pci_contract::{Currency, Money, SealedCard, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::hardware::{AlarmKind, TechnicianNote};

/// A machine with everything it did so far.
struct Bench {
    state: AgentState,
    elapsed_ms: u64,
    done: Vec<Effect>,
}

fn session(number: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(number))
}

fn card() -> SealedCard {
    SealedCard::parse("seal-1", &[4; 65], &[7; 40]).expect("a shape")
}

fn code(serial: &str) -> ScannedCode {
    ScannedCode::read(&format!("(01)09500000000198(21){serial}"))
}

fn unlock() -> Answer {
    let hold = Some(Money::new(2_500, Currency::USD));
    Answer::Unlock(Unlock {
        hold,
        credit: None,
        own_meals: vec![],
        prices: vec![],
        open_within_s: 20,
        open_limit_s: 60,
    })
}

fn receipt() -> Answer {
    Answer::Receipt(Receipt {
        outcome: "charged".to_owned(),
        charged: None,
        credit_used: None,
        unpaid: None,
        lines: vec![],
    })
}

fn now(elapsed_ms: u64) -> Now {
    // The wall clock of this fridge runs backwards by a day a second: nothing may depend on it.
    Now {
        elapsed_ms,
        wall: Timestamp::from_micros(1_800_000_000_000_000 - i64::try_from(elapsed_ms).unwrap() * 86_400_000),
    }
}

impl Bench {
    fn new() -> Self {
        Self::resumed(&[], false)
    }

    fn resumed(records: &[Record], door_open: bool) -> Self {
        let (state, done) = AgentState::resume(Limits::default(), records, door_open, now(0), Uuid::from_u128(1));
        Self { state, elapsed_ms: 0, done }
    }

    fn give(&mut self, input: AgentInput) -> Vec<Effect> {
        let (state, effects) = self.state.clone().step(input, now(self.elapsed_ms), Uuid::from_u128(9));
        self.state = state;
        self.done.extend(effects.clone());
        effects
    }

    fn answer(&mut self, answer: Answer) -> Vec<Effect> {
        let session = self.state.session().unwrap_or(session(1));
        self.give(AgentInput::Answered { session, acknowledged: 0, answer: Some(answer) })
    }

    fn wait(&mut self, wait_ms: u64) -> Vec<Effect> {
        self.elapsed_ms += wait_ms;
        self.give(AgentInput::Tick)
    }

    fn asked() -> Self {
        let mut bench = Self::new();
        bench.give(AgentInput::Swiped { session: session(1) });
        bench.give(AgentInput::Sealed { session: session(1), card: card() });
        bench
    }

    fn unlocked() -> Self {
        let mut bench = Self::asked();
        bench.answer(unlock());
        bench
    }

    fn open() -> Self {
        let mut bench = Self::unlocked();
        bench.give(AgentInput::DoorOpened);
        bench
    }

    fn closing() -> Self {
        let mut bench = Self::open();
        bench.give(AgentInput::DoorClosed);
        bench
    }

    fn journal(&self) -> Vec<Record> {
        journaled(&self.done)
    }

    fn bodies(&self) -> Vec<Body> {
        self.journal().into_iter().map(|record| record.body).collect()
    }
}

fn journaled(effects: &[Effect]) -> Vec<Record> {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Journal(record) => Some(record.clone()),
        _ => None,
    });
    records.collect()
}

fn reports(effects: &[Effect]) -> Vec<TamperKind> {
    let kinds = effects.iter().filter_map(|effect| match effect {
        Effect::Report(note) => Some(note.kind),
        _ => None,
    });
    kinds.collect()
}

fn commands(effects: &[Effect]) -> Vec<Command> {
    let commands = effects.iter().filter_map(|effect| match effect {
        Effect::Hardware(command) => Some(command.clone()),
        _ => None,
    });
    commands.collect()
}

fn refusals(effects: &[Effect]) -> Vec<ReasonCode> {
    let refusals = effects.iter().filter_map(|effect| match effect {
        Effect::Hardware(Command::Show(Display::Refused { reason, .. })) => Some(reason.clone()),
        _ => None,
    });
    refusals.collect()
}

#[test]
fn a_purchase_is_told_in_numbered_records_and_forgotten_after_its_receipt() {
    let mut bench = Bench::open();
    bench.give(AgentInput::Touched { kind: TouchKind::Taken, code: code("1") });
    bench.give(AgentInput::DoorClosed);
    assert_eq!(bench.state.session(), Some(session(1)));
    let last = bench.answer(receipt());
    assert!(matches!(last[..], [Effect::Forget(_), Effect::Hardware(Command::Show(Display::Receipt { .. }))]));
    assert_eq!(bench.state.session(), None);
    let expected = [
        Body::Open(ShownBy::Card(card())),
        Body::DoorOpened,
        Body::Touched { kind: TouchKind::Taken, code: code("1") },
        Body::DoorClosed,
    ];
    assert_eq!(bench.bodies(), expected);
    assert_eq!(bench.journal().iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn the_lock_is_released_by_the_services_word_only() {
    let mut bench = Bench::asked();
    assert!(!commands(&bench.done).contains(&Command::Unlock));
    let other = AgentInput::Answered { session: session(2), acknowledged: 1, answer: Some(unlock()) };
    assert_eq!(bench.give(other), []);
    assert_eq!(commands(&bench.answer(unlock()))[0], Command::Unlock);
    assert_eq!(bench.answer(unlock()), [], "an answer that is given again unlocks no second time");
}

#[test]
fn a_refusal_ends_the_session_with_the_door_shut() {
    let mut bench = Bench::asked();
    let effects = bench.answer(Answer::Refused(ReasonCode::CARD_DECLINED));
    assert_eq!(refusals(&effects), [ReasonCode::CARD_DECLINED]);
    assert_eq!(effects[0], Effect::Forget(session(1)));
    assert!(!commands(&bench.done).contains(&Command::Unlock));
}

#[test]
fn a_door_that_stays_shut_is_locked_after_the_services_seconds() {
    let mut bench = Bench::unlocked();
    assert_eq!(bench.state.deadline_ms(), Some(20_000));
    assert_eq!(bench.wait(19_999), []);
    let effects = bench.wait(1);
    assert!(commands(&effects).contains(&Command::Lock));
    assert_eq!(bench.bodies().last(), Some(&Body::DoorStayedShut));
    assert_eq!(bench.state.session(), Some(session(1)), "until the service's last word");
    assert_eq!(reports(&bench.give(AgentInput::DoorOpened)), [TamperKind::DoorForced], "it is locked now");
}

#[test]
fn a_service_out_of_reach_is_waited_for_ten_seconds_and_an_unlock_after_that_is_ignored() {
    let mut bench = Bench::asked();
    assert_eq!(bench.wait(9_999), []);
    let effects = bench.wait(1);
    assert_eq!(refusals(&effects), [ReasonCode::PAYMENT_UNAVAILABLE]);
    assert_eq!(journaled(&effects).len(), 1);
    assert_eq!(bench.bodies().last(), Some(&Body::DoorStayedShut));
    assert_eq!(commands(&bench.answer(unlock())), []);
}

#[test]
fn a_service_that_was_reached_may_take_longer_but_not_for_ever() {
    let mut bench = Bench::asked();
    bench.give(AgentInput::Connected);
    assert_eq!(bench.wait(44_999), []);
    assert_eq!(refusals(&bench.wait(1)), [ReasonCode::PAYMENT_UNAVAILABLE]);

    let mut bench = Bench::asked();
    bench.give(AgentInput::Connected);
    bench.wait(5_000);
    bench.give(AgentInput::Disconnected);
    assert_eq!(bench.wait(9_999), []);
    assert_eq!(refusals(&bench.wait(1)), [ReasonCode::PAYMENT_UNAVAILABLE]);
}

#[test]
fn a_stream_that_flaps_does_not_move_the_bound() {
    let mut bench = Bench::asked();
    for _ in 0..44 {
        bench.give(AgentInput::Connected);
        bench.wait(1_000);
        bench.give(AgentInput::Disconnected);
    }
    assert_eq!(refusals(&bench.wait(1_000)), [ReasonCode::PAYMENT_UNAVAILABLE]);
}

#[test]
fn a_card_that_cannot_be_sealed_or_journaled_opens_nothing() {
    let mut bench = Bench::new();
    bench.give(AgentInput::Swiped { session: session(1) });
    assert_eq!(refusals(&bench.give(AgentInput::NotSealed { session: session(1) })), [ReasonCode::PAYMENT_UNAVAILABLE]);
    bench.give(AgentInput::Swiped { session: session(2) });
    assert_eq!(refusals(&bench.wait(10_000)), [ReasonCode::PAYMENT_UNAVAILABLE]);
    assert_eq!(bench.give(AgentInput::Sealed { session: session(2), card: card() }), [], "too late");
    assert_eq!(bench.journal(), []);

    let mut bench = Bench::asked();
    let effects = bench.give(AgentInput::OpenNotJournaled { session: session(1) });
    assert_eq!(refusals(&effects), [ReasonCode::FRIDGE_OUT_OF_SERVICE]);
    assert_eq!(bench.state.session(), None);
}

#[test]
fn a_text_that_is_no_id_token_is_refused_here() {
    let mut bench = Bench::new();
    let effects =
        bench.give(AgentInput::IdTokenShown { session: session(1), token: IdToken::parse("4242424242424242") });
    assert_eq!(refusals(&effects), [ReasonCode::UNKNOWN_ID_TOKEN]);
    assert_eq!(bench.journal(), []);
    for bad in ["", "a\nb", &"x".repeat(129), "378282246310005", ";4242424242424242=3112?"] {
        assert_eq!(IdToken::parse(bad), None, "{bad:?}");
    }
    let token = IdToken::parse("idt-64746e73").expect("a token");
    assert_eq!(format!("{token:?}"), "IdToken(…)");
    bench.give(AgentInput::IdTokenShown { session: session(1), token: Some(token.clone()) });
    assert_eq!(bench.bodies(), [Body::Open(ShownBy::IdToken(token))]);
}

#[test]
fn a_second_customer_is_turned_away_at_every_stage() {
    let swipe = || AgentInput::Swiped { session: session(2) };
    for mut bench in [Bench::asked(), Bench::unlocked(), Bench::open()] {
        assert_eq!(refusals(&bench.give(swipe())), [ReasonCode::FRIDGE_BUSY]);
        assert_eq!(bench.state.session(), Some(session(1)));
    }
    let mut bench = Bench::closing();
    assert_eq!(refusals(&bench.give(swipe())), [ReasonCode::PAYMENT_UNAVAILABLE]);
    bench.give(AgentInput::Connected);
    assert_eq!(refusals(&bench.give(swipe())), [ReasonCode::FRIDGE_BUSY]);
}

#[test]
fn an_alarm_sounds_once_and_stops_when_the_last_meal_is_back() {
    let alarm = |serial| Answer::Alarm { kind: AlarmKind::NotYours, code: code(serial) };
    let mut bench = Bench::open();
    assert_eq!(commands(&bench.answer(alarm("1")))[0], Command::Sound(Siren::Meal));
    assert_eq!(bench.answer(alarm("1")), [], "given again after a reconnection");
    bench.answer(alarm("2"));
    let one_back = commands(&bench.answer(Answer::AlarmCleared { code: code("1") }));
    assert_eq!(one_back, [Command::Show(Display::AlarmCleared { barcode: code("1") })]);
    let all_back = commands(&bench.answer(Answer::AlarmCleared { code: code("2") }));
    assert_eq!(all_back[0], Command::Silence);
    assert_eq!(commands(&bench.answer(alarm("1")))[0], Command::Sound(Siren::Meal), "taken again");
}

#[test]
fn an_alarm_that_comes_after_the_door_shut_is_shown_without_the_siren() {
    let mut bench = Bench::closing();
    let effects = commands(&bench.answer(Answer::Alarm { kind: AlarmKind::NotSellable, code: code("1") }));
    assert_eq!(effects, [Command::Show(Display::Alarm { barcode: code("1"), kind: AlarmKind::NotSellable })]);
}

#[test]
fn the_limit_is_shown_once() {
    let limit = Answer::LimitReached { limit: Some(Money::new(2_500, Currency::USD)) };
    let mut bench = Bench::open();
    assert_eq!(bench.answer(limit.clone()).len(), 1);
    assert_eq!(bench.answer(limit), []);
}

#[test]
fn a_door_that_is_open_for_too_long_sounds_once_whoever_notices() {
    let sound = Command::Sound(Siren::DoorOpenTooLong);
    let mut bench = Bench::open();
    assert_eq!(bench.wait(59_999), []);
    assert_eq!(commands(&bench.wait(1))[0], sound);
    assert_eq!(bench.wait(1_000_000), []);
    assert_eq!(bench.answer(Answer::SoundDoor), []);
    let mut bench = Bench::open();
    assert_eq!(commands(&bench.answer(Answer::SoundDoor))[0], sound);
    assert_eq!(bench.state.deadline_ms(), None);
    assert!(bench.give(AgentInput::DoorClosed).contains(&Effect::Hardware(Command::Silence)));
}

#[test]
fn what_moves_outside_a_session_is_reported() {
    let touch = || AgentInput::Touched { kind: TouchKind::Taken, code: code("1") };
    let mut bench = Bench::new();
    assert_eq!(reports(&bench.give(touch())), [TamperKind::MealMoved]);
    assert_eq!(reports(&bench.give(AgentInput::DoorForced)), [TamperKind::DoorForced]);
    assert_eq!(refusals(&bench.give(AgentInput::Swiped { session: session(1) })), [ReasonCode::FRIDGE_OUT_OF_SERVICE]);
    assert_eq!(commands(&bench.give(AgentInput::DoorClosed)), [Command::Lock, Command::Silence]);
    for mut bench in [Bench::asked(), Bench::unlocked(), Bench::closing()] {
        assert_eq!(reports(&bench.give(touch())), [TamperKind::MealMoved], "the door is shut");
    }
    assert_eq!(reports(&Bench::open().give(touch())), []);
}

#[test]
fn a_door_forced_while_we_asked_is_the_customers_once_he_is_admitted() {
    let mut bench = Bench::asked();
    assert_eq!(reports(&bench.give(AgentInput::DoorForced)), [TamperKind::DoorForced]);
    let effects = bench.answer(unlock());
    assert!(!commands(&effects).contains(&Command::Unlock));
    assert_eq!(bench.bodies().last(), Some(&Body::DoorOpened));
}

#[test]
fn a_last_word_while_the_door_is_open_leaves_the_rest_to_tamper_reports() {
    let mut bench = Bench::open();
    let effects = bench.answer(receipt());
    assert!(effects.contains(&Effect::Forget(session(1))));
    assert!(commands(&effects).contains(&Command::Sound(Siren::DoorOpenTooLong)));
    let touch = AgentInput::Touched { kind: TouchKind::Taken, code: code("1") };
    assert_eq!(reports(&bench.give(touch)), [TamperKind::MealMoved]);
    let mut bench = Bench::unlocked();
    assert!(commands(&bench.answer(receipt())).contains(&Command::Lock));
}

#[test]
fn the_records_of_a_session_are_bounded_and_its_end_always_fits() {
    let limits = Limits { max_records: 5, ..Limits::default() };
    let mut bench = Bench::open();
    bench.state.limits = limits;
    for _ in 0..20 {
        bench.give(AgentInput::Touched { kind: TouchKind::Taken, code: code("1") });
    }
    assert_eq!(bench.journal().len(), 4);
    bench.give(AgentInput::DoorClosed);
    assert_eq!(bench.journal().last().map(|last| (last.sequence, last.body.clone())), Some((5, Body::DoorClosed)));
}

#[test]
fn after_a_restart_the_journal_and_the_door_say_how_to_go_on() {
    let whole = Bench::closing().journal();
    // (records in the journal, door open, what is told next)
    let cases = [
        (1, false, Some(Body::DoorStayedShut)),
        (1, true, Some(Body::DoorOpened)),
        (2, false, Some(Body::DoorClosed)),
        (2, true, None),
        (3, false, None),
        (3, true, None),
    ];
    for (count, door_open, told) in cases {
        let mut bench = Bench::resumed(&whole[..count], door_open);
        assert_eq!(bench.bodies().last().cloned(), told, "{count} records, door open: {door_open}");
        assert_eq!(bench.state.session(), Some(session(1)));
        assert!(!commands(&bench.done).contains(&Command::Unlock));
        bench.answer(receipt());
        assert_eq!(bench.state.session(), None);
    }
    let mut bench = Bench::resumed(&whole[..2], true);
    bench.give(AgentInput::Touched { kind: TouchKind::Taken, code: code("1") });
    bench.give(AgentInput::DoorClosed);
    assert_eq!(bench.journal().iter().map(|record| record.sequence).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_door_found_open_without_a_session_is_reported() {
    assert_eq!(reports(&Bench::resumed(&[], true).done), [TamperKind::DoorForced]);
    assert_eq!(reports(&Bench::resumed(&Bench::closing().journal(), true).done), [TamperKind::DoorForced]);
    assert_eq!(reports(&Bench::resumed(&[], false).done), []);
    let mut bench = Bench::resumed(&[], true);
    assert_eq!(bench.give(AgentInput::DoorForced), [], "the contact says what was seen at the start");
    bench.give(AgentInput::DoorClosed);
    assert_eq!(reports(&bench.give(AgentInput::DoorForced)), [TamperKind::DoorForced]);
}

#[test]
fn a_journal_that_lost_its_tail_numbers_on_behind_what_the_service_knows() {
    let told = Bench::asked().journal();
    let mut bench = Bench::resumed(&told, false);
    let known = AgentInput::Answered { session: session(1), acknowledged: 6, answer: None };
    let effects = bench.give(known.clone());
    let again: Vec<(u64, Body)> =
        journaled(&effects).into_iter().map(|record| (record.sequence, record.body)).collect();
    assert_eq!(again, [(7, Body::DoorStayedShut)]);
    assert_eq!(bench.give(known), [], "once");

    let mut bench = Bench::open();
    bench.give(AgentInput::Answered { session: session(1), acknowledged: 6, answer: None });
    bench.give(AgentInput::DoorClosed);
    assert_eq!(bench.journal().last().map(|last| last.sequence), Some(7));
}

#[test]
fn a_note_for_the_technician_is_shown_at_any_stage() {
    for mut bench in [Bench::new(), Bench::asked(), Bench::open(), Bench::closing()] {
        let effects = bench.give(AgentInput::Note(TechnicianNote::Superseded));
        assert_eq!(commands(&effects), [Command::Show(Display::Technician(TechnicianNote::Superseded))]);
    }
}

fn any_input() -> impl Strategy<Value = AgentInput> {
    let id = (1_u128..4).prop_map(session);
    let serial = prop::sample::select(vec!["1", "2"]).prop_map(code);
    let kind = prop::sample::select(vec![TouchKind::Taken, TouchKind::Returned]);
    let answer = prop::sample::select(vec![
        None,
        Some(unlock()),
        Some(unlock()),
        Some(receipt()),
        Some(Answer::Refused(ReasonCode::CARD_DECLINED)),
        Some(Answer::SoundDoor),
        Some(Answer::LimitReached { limit: None }),
        Some(Answer::Alarm { kind: AlarmKind::NotYours, code: code("1") }),
        Some(Answer::AlarmCleared { code: code("1") }),
    ]);
    prop_oneof![
        id.clone().prop_map(|session| AgentInput::Swiped { session }),
        id.clone().prop_map(|session| AgentInput::Sealed { session, card: card() }),
        id.clone().prop_map(|session| AgentInput::NotSealed { session }),
        id.clone().prop_map(|session| AgentInput::IdTokenShown { session, token: IdToken::parse("idt-1") }),
        id.clone().prop_map(|session| AgentInput::OpenNotJournaled { session }),
        prop::sample::select(vec![
            AgentInput::DoorOpened,
            AgentInput::DoorClosed,
            AgentInput::DoorForced,
            AgentInput::Connected,
            AgentInput::Disconnected,
            AgentInput::Tick,
        ]),
        (kind, serial).prop_map(|(kind, code)| AgentInput::Touched { kind, code }),
        (id, 0_u64..6, answer).prop_map(|(session, acknowledged, answer)| AgentInput::Answered {
            session,
            acknowledged,
            answer
        }),
    ]
}

/// What must hold of any run, checked effect by effect.
#[derive(Default)]
struct Watch {
    last_sequence: BTreeMap<SessionId, u64>,
    journaled: Vec<Record>,
    told_of: Option<SessionId>,
}

impl Watch {
    fn look(&mut self, input: &AgentInput, before: Option<SessionId>, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Journal(record) => {
                    assert_eq!(*self.told_of.get_or_insert(record.session), record.session, "one session at a time");
                    let last = self.last_sequence.entry(record.session).or_insert(0);
                    assert!(record.sequence > *last, "numbers rise");
                    *last = record.sequence;
                    self.journaled.push(record.clone());
                }
                Effect::Send(record) => assert_eq!(self.journaled.last(), Some(record), "journaled before it is sent"),
                Effect::Forget(session) => {
                    self.last_sequence.remove(session);
                    self.told_of = None;
                    let may = match input {
                        AgentInput::Answered { answer: Some(answer), session: of, .. } => {
                            answer.is_final() && of == session
                        }
                        AgentInput::OpenNotJournaled { session: of } => of == session,
                        _ => false,
                    };
                    assert!(may, "forgotten after {input:?}");
                }
                Effect::Hardware(Command::Unlock) => {
                    let AgentInput::Answered { session, answer: Some(Answer::Unlock(_)), .. } = input else {
                        panic!("unlocked by {input:?}");
                    };
                    assert_eq!(Some(*session), before);
                }
                Effect::Seal(_) | Effect::Report(_) | Effect::Hardware(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_promises_hold(
        inputs in prop::collection::vec((any_input(), 0_u64..30_000), 1..60),
        restart_at in 0_usize..60,
    ) {
        let mut bench = Bench::new();
        let mut watch = Watch::default();
        let mut door_open = false;
        for (at, (input, wait_ms)) in inputs.into_iter().enumerate() {
            if at == restart_at {
                // A restart sees the journal of the session under way and nothing else.
                let of = bench.state.session();
                let kept: Vec<Record> =
                    watch.journaled.iter().filter(|record| Some(record.session) == watch.told_of && of.is_some()).cloned().collect();
                let since = kept.iter().rposition(|record| record.sequence == 1).unwrap_or(0);
                bench = Bench::resumed(&kept[since..], door_open);
                watch.look(&AgentInput::Tick, None, &bench.done.clone());
            }
            match input {
                AgentInput::DoorOpened | AgentInput::DoorForced => door_open = true,
                AgentInput::DoorClosed => door_open = false,
                _ => {}
            }
            bench.elapsed_ms += wait_ms;
            let before = bench.state.session();
            let effects = bench.give(input.clone());
            watch.look(&input, before, &effects);
            prop_assert_eq!(bench.state.session(), watch.told_of, "the stream is kept up for what is in the journal");
        }
    }

    #[test]
    fn no_customer_waits_for_ever(inputs in prop::collection::vec((any_input(), 0_u64..5_000), 1..40)) {
        let mut bench = Bench::new();
        for (input, wait_ms) in inputs {
            bench.elapsed_ms += wait_ms;
            bench.give(input);
        }
        // Nobody does anything any more: after a bounded time only an open door, or the service's last word, is awaited.
        for _ in 0..4 {
            bench.wait(301_000);
        }
        let settled = matches!(bench.state.stage, Stage::Idle | Stage::Open(_) | Stage::Closing(_));
        prop_assert!(settled);
        prop_assert_eq!(bench.state.deadline_ms(), None);
    }
}
