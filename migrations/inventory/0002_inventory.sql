-- Meal types with their price, meals with their place and state, reservations, and what an operator must look at.

CREATE TABLE meal_type (
    gtin        TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    price_minor INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    rev         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meal (
    barcode            TEXT    NOT NULL PRIMARY KEY,
    gtin               TEXT    NOT NULL,
    fridge             TEXT,
    owner              TEXT,
    owner_subscription TEXT,
    prepaid            INTEGER NOT NULL,
    sign               TEXT,
    expires_at         INTEGER NOT NULL,
    state              TEXT    NOT NULL,
    exposed            INTEGER NOT NULL,
    session            TEXT,
    state_at           INTEGER NOT NULL,
    rev                INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX meal_by_fridge ON meal (fridge, state);
CREATE INDEX meal_by_owner ON meal (owner) WHERE owner IS NOT NULL;

-- A meal that was made for a subscription, until its owner has had it.
CREATE TABLE reservation (
    barcode      TEXT    NOT NULL PRIMARY KEY,
    subscription TEXT    NOT NULL,
    customer     TEXT,
    state        TEXT    NOT NULL CHECK (state IN ('reserved', 'completed')),
    session      TEXT,
    at           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reservation_by_subscription ON reservation (subscription, barcode);

CREATE TABLE review (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL,
    session     TEXT    NOT NULL,
    fridge      TEXT    NOT NULL,
    code        TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    resolved_at INTEGER,
    resolved_by TEXT,
    note        TEXT
) STRICT;
CREATE INDEX review_open ON review (id) WHERE resolved_at IS NULL;
