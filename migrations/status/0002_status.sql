-- How fridges are, what they reported, which are locked, what happened outside sessions, and every session.

CREATE TABLE fridge (
    id            TEXT    NOT NULL PRIMARY KEY,
    seen_at       INTEGER,
    reports       INTEGER NOT NULL,
    temperature_c REAL,
    humidity      REAL,
    door          TEXT,
    firmware      TEXT,
    meals         TEXT,
    locked        INTEGER NOT NULL,
    lock_reason   TEXT,
    lock_by       TEXT,
    lock_at       INTEGER,
    rev           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The series of a fridge, numbered from 1; the oldest are pruned by age and by number.
CREATE TABLE report (
    fridge        TEXT    NOT NULL,
    n             INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    measured_at   INTEGER,
    temperature_c REAL,
    humidity      REAL,
    door          TEXT,
    firmware      TEXT,
    PRIMARY KEY (fridge, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_by_time ON report (fridge, at);

CREATE TABLE tamper (
    sequence INTEGER NOT NULL PRIMARY KEY,
    fridge   TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    code     TEXT,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX tamper_by_fridge ON tamper (fridge, sequence);

-- Events may be about a session in any order, so every part is there or not, and the settlement follows from the parts.
-- A payment that failed for exactly what the purchase left unpaid is not the failure of its capture.
CREATE TABLE session (
    session           TEXT    NOT NULL PRIMARY KEY,
    fridge            TEXT    NOT NULL,
    outcome           TEXT,
    reason            TEXT,
    customer          TEXT,
    card              TEXT,
    charged_minor     INTEGER NOT NULL DEFAULT 0,
    credit_used_minor INTEGER NOT NULL DEFAULT 0,
    unpaid_minor      INTEGER NOT NULL DEFAULT 0,
    currency          TEXT,
    alarms            TEXT    NOT NULL DEFAULT '[]',
    thefts            TEXT    NOT NULL DEFAULT '[]',
    meals             TEXT    NOT NULL DEFAULT '[]',
    opened_at         INTEGER,
    closed_at         INTEGER,
    captured_minor    INTEGER,
    voided            INTEGER NOT NULL DEFAULT 0,
    refunded_minor    INTEGER NOT NULL DEFAULT 0,
    failed_minor      INTEGER NOT NULL DEFAULT 0,
    settlement        TEXT GENERATED ALWAYS AS (
        CASE
            WHEN captured_minor IS NOT NULL THEN 'captured'
            WHEN voided THEN 'voided'
            WHEN outcome IS NULL OR outcome = 'refused' THEN NULL
            WHEN failed_minor > unpaid_minor THEN 'failed'
            ELSE 'pending'
        END
    ) STORED
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_fridge ON session (fridge, session);
CREATE INDEX session_by_customer ON session (customer, session) WHERE customer IS NOT NULL;
CREATE INDEX session_counts ON session (outcome, settlement);
