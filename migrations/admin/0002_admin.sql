-- Fridges as operators keep them, the policy, and what each fridge sold.

CREATE TABLE fridge (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    lat          REAL    NOT NULL,
    lon          REAL    NOT NULL,
    hold_minor   INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    in_service   INTEGER NOT NULL,
    open_limit_s INTEGER NOT NULL,
    tags         TEXT    NOT NULL,
    life_cycle   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    deleted_at   INTEGER,
    rev          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
    one                  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    blocked_after_thefts INTEGER NOT NULL,
    currency             TEXT    NOT NULL,
    rev                  INTEGER NOT NULL
) STRICT;

-- One row a fridge and currency, of sessions with an unlocked door; charged is what was charged, paid or not.
CREATE TABLE sales (
    fridge            TEXT    NOT NULL,
    currency          TEXT    NOT NULL,
    sessions          INTEGER NOT NULL,
    charged_sessions  INTEGER NOT NULL,
    charged_minor     INTEGER NOT NULL,
    credit_used_minor INTEGER NOT NULL,
    meals             INTEGER NOT NULL,
    thefts            INTEGER NOT NULL,
    PRIMARY KEY (fridge, currency)
) STRICT, WITHOUT ROWID;
