//! The multi-row statements of a group, one for each table, and how each row's values are put in order. Rows of nulls,
//! which fill a statement up to its width, are passed over by all of them.

use crate::dialect::BEGIN;
use crate::prepared::{AnswerRow, AskRow, CardTextRow, EnrollmentRow, EventRow, SessionRow, Text, TouchRow};
use crate::shape::{Shape, Values};

const LEASES_OF: &str = "SELECT fridge, fence FROM leases WHERE fridge IN (";
const AT_NEXT_POSITIONS: &str = "UPDATE counters SET reached = reached + ? WHERE counter = 'outbox' RETURNING reached; \
     INSERT INTO outbox (position, event, type, subject, at, body) \
     SELECT reached + column1, column2, column3, column4, column5, column6 FROM counters CROSS JOIN (VALUES";
const OF_EACH: &str = ") AS said WHERE counter = 'outbox' AND column1 IS NOT NULL";

/// The present leases of some fridges.
pub(crate) static LEASES: Shape = Shape::new(LEASES_OF, "#", ")");

/// The same, after the beginning of a transaction in the same breath.
pub(crate) static BEGIN_AND_LEASES: Shape = Shape::of([BEGIN, "; ", LEASES_OF], "#", [")", ""]);

/// Leases taken: fridge, fence, holder.
pub(crate) static TAKE_LEASES: Shape = Shape::insert(
    "leases (fridge, fence, holder)",
    "(#, #, #)",
    "ON CONFLICT (fridge) DO UPDATE SET fence = excluded.fence, holder = excluded.holder",
);

/// Session states. A row of another fridge, or of a session that let go of its fridge and would keep it busy again, is
/// not written.
pub(crate) static SESSIONS: Shape = Shape::insert(
    "sessions (session, fridge, fence, stage, busy, done, customer, token, price_revision, opened_at, \
     updated_at, state)",
    "(#, #, #, #, #, #, #, #, #, #, #, #)",
    "ON CONFLICT (session) DO UPDATE SET fence = excluded.fence, stage = excluded.stage, busy = excluded.busy, done = excluded.done, \
     customer = excluded.customer, token = excluded.token, \
     price_revision = excluded.price_revision, \
     opened_at = excluded.opened_at, updated_at = excluded.updated_at, state = excluded.state \
     WHERE sessions.fridge = excluded.fridge AND (sessions.busy OR NOT excluded.busy)",
);

/// Which of some sessions have let go of their fridge.
pub(crate) static NOT_BUSY: Shape =
    Shape::new("SELECT session FROM sessions WHERE NOT busy AND session IN (", "#", ")");

/// Touches; one that is on record stays as it is.
pub(crate) static TOUCHES: Shape = Shape::insert(
    "touches (session, sequence, kind, code, device_time, received_at)",
    "(#, #, #, #, #, #)",
    "ON CONFLICT (session, sequence) DO NOTHING",
);

/// Intents asked. The same one again counts attempts; a different one under the same key is not written.
pub(crate) static ASKS: Shape = Shape::insert(
    "intents (intent, session, verb, amount_minor, currency, asked_at, attempts)",
    "(#, #, #, #, #, #, #)",
    "ON CONFLICT (intent) DO UPDATE SET attempts = intents.attempts + excluded.attempts \
     WHERE intents.session = excluded.session AND intents.verb = excluded.verb \
     AND intents.amount_minor = excluded.amount_minor AND intents.currency = excluded.currency",
);

/// Intents answered. One that was never asked, or was answered otherwise, is not written.
pub(crate) static ANSWERS: Shape = Shape::new(
    "WITH said (intent, outcome, reference, answered_at) AS (VALUES",
    "(#, #, CAST(# AS TEXT), CAST(# AS BIGINT))",
    ") UPDATE intents SET outcome = said.outcome, reference = COALESCE(intents.reference, said.reference), \
     answered_at = COALESCE(intents.answered_at, said.answered_at) FROM said \
     WHERE intents.intent = said.intent AND (intents.outcome IS NULL OR intents.outcome = said.outcome)",
);

/// Cards the processor keeps.
pub(crate) static CARDS: Shape = Shape::insert(
    "stored_cards (token, brand, last_four, reference)",
    "(#, #, #, #)",
    "ON CONFLICT (token) DO UPDATE SET reference = excluded.reference",
);

/// Enrolments; one that is on record stays as it is.
pub(crate) static ENROLLMENTS: Shape = Shape::insert(
    "enrollments (enrollment, customer, token, brand, last_four, enrolled_at)",
    "(#, #, #, #, #, #)",
    "ON CONFLICT (enrollment) DO NOTHING",
);

/// Which of some events are in the outbox.
pub(crate) static KNOWN_EVENTS: Shape = Shape::new("SELECT event FROM outbox WHERE event IN (", "#", ")");

/// Events at the next positions: first how many, then each with its place counted back from the last, which is 0. Answers
/// with the last position. The counter is part of the transaction, so positions stay without gaps whatever is rolled
/// back.
pub(crate) static EVENTS: Shape = Shape::new(AT_NEXT_POSITIONS, "(#, #, #, #, #, #)", OF_EACH);

/// The same, and the end of the transaction in the same breath.
pub(crate) static EVENTS_AND_COMMIT: Shape =
    Shape::of([AT_NEXT_POSITIONS, "", ""], "(#, #, #, #, #, #)", [OF_EACH, "; COMMIT"]);

/// How far subscribers have booked; never back.
pub(crate) static CURSORS: Shape = Shape::insert(
    "cursors (subscriber, position)",
    "(#, #)",
    "ON CONFLICT (subscriber) DO UPDATE SET position = excluded.position \
     WHERE excluded.position > cursors.position",
);

pub(crate) fn bind_text(values: &mut Values, text: &Text) {
    values.put(Text::clone(text));
}

pub(crate) fn bind_lease(values: &mut Values, (fridge, fence, holder): &(Text, i64, Text)) {
    values.put(Text::clone(fridge));
    values.put(*fence);
    values.put(Text::clone(holder));
}

pub(crate) fn bind_session(values: &mut Values, row: &&SessionRow) {
    values.put(Text::clone(&row.session));
    values.put(Text::clone(&row.fridge));
    values.put(row.fence);
    values.put(row.stage);
    values.put(row.busy);
    values.put(row.done);
    values.put(row.customer.clone());
    values.put(row.token.clone());
    values.put(row.price_revision);
    values.put(row.opened_at);
    values.put(row.updated_at);
    values.put(Text::clone(&row.state));
}

pub(crate) fn bind_touch(values: &mut Values, row: &&TouchRow) {
    values.put(Text::clone(&row.session));
    values.put(row.sequence);
    values.put(row.kind);
    values.put(Text::clone(&row.code));
    values.put(row.device_time);
    values.put(row.received_at);
}

pub(crate) fn bind_ask(values: &mut Values, row: &AskRow) {
    values.put(Text::clone(&row.key));
    values.put(Text::clone(&row.session));
    values.put(row.verb);
    values.put(row.amount_minor);
    values.put(Text::clone(&row.currency));
    values.put(row.asked_at);
    values.put(row.attempts);
}

pub(crate) fn bind_answer(values: &mut Values, row: &&AnswerRow) {
    values.put(Text::clone(&row.key));
    values.put(row.outcome.as_str());
    values.put(row.reference.clone());
    values.put(row.answered_at);
}

pub(crate) fn bind_card(values: &mut Values, row: &&CardTextRow) {
    values.put(Text::clone(&row.token));
    values.put(Text::clone(&row.brand));
    values.put(Text::clone(&row.last_four));
    values.put(Text::clone(&row.reference));
}

pub(crate) fn bind_enrollment(values: &mut Values, row: &&EnrollmentRow) {
    values.put(Text::clone(&row.enrollment));
    values.put(Text::clone(&row.customer));
    values.put(Text::clone(&row.token));
    values.put(Text::clone(&row.brand));
    values.put(Text::clone(&row.last_four));
    values.put(row.enrolled_at);
}

pub(crate) fn bind_event(values: &mut Values, (position, row): &(i64, &EventRow)) {
    values.put(*position);
    values.put(Text::clone(&row.event));
    values.put(row.body.name());
    values.put(row.body.subject());
    values.put(row.at);
    values.put(Text::clone(&row.json));
}

pub(crate) fn bind_cursor(values: &mut Values, (subscriber, position): &(Text, i64)) {
    values.put(Text::clone(subscriber));
    values.put(*position);
}
