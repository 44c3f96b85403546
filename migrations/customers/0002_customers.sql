-- Customers with their ID tokens, wallets and credit; cards; and what counts against either.

CREATE TABLE customer (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    credit_minor  INTEGER NOT NULL,
    currency      TEXT    NOT NULL,
    subscription  TEXT,
    expert        TEXT,
    referral_code TEXT,
    blocked       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    erased_at     INTEGER,
    rev           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX customer_by_subscription ON customer (subscription) WHERE subscription IS NOT NULL;

-- The token itself is a bearer secret and is nowhere; only its digest is.
CREATE TABLE id_token (
    digest     TEXT    NOT NULL PRIMARY KEY,
    customer   TEXT    NOT NULL,
    label      TEXT,
    issued_at  INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX id_token_by_customer ON id_token (customer);

-- Cards that are in a wallet, or against which something counts.
CREATE TABLE card (
    token     TEXT    NOT NULL PRIMARY KEY,
    brand     TEXT    NOT NULL,
    last_four TEXT    NOT NULL,
    customer  TEXT,
    blocked   INTEGER NOT NULL,
    rev       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The order of ids is the order in which cards came; the first is the default.
CREATE TABLE wallet (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    customer    TEXT    NOT NULL,
    token       TEXT    NOT NULL,
    enrolled_at INTEGER NOT NULL,
    UNIQUE (customer, token)
) STRICT;

CREATE TABLE theft (
    id          TEXT    NOT NULL PRIMARY KEY,
    session     TEXT    NOT NULL,
    fridge      TEXT    NOT NULL,
    meal        TEXT    NOT NULL,
    token       TEXT    NOT NULL,
    customer    TEXT,
    price_minor INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    reversed_at INTEGER,
    reversed_by TEXT,
    reason      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX theft_by_customer ON theft (customer) WHERE customer IS NOT NULL;
CREATE INDEX theft_by_token ON theft (token);

CREATE TABLE unpaid (
    id         TEXT    NOT NULL PRIMARY KEY,
    session    TEXT    NOT NULL,
    fridge     TEXT    NOT NULL,
    token      TEXT    NOT NULL,
    customer   TEXT,
    minor      INTEGER NOT NULL,
    currency   TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    settled_at INTEGER,
    settled_by TEXT,
    note       TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX unpaid_by_customer ON unpaid (customer) WHERE customer IS NOT NULL;
CREATE INDEX unpaid_by_token ON unpaid (token);

-- Every change of a credit, signed; the customer's credit is their sum.
CREATE TABLE credit (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    customer TEXT    NOT NULL,
    minor    INTEGER NOT NULL,
    currency TEXT    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('opening', 'granted', 'used')),
    session  TEXT,
    who      TEXT,
    note     TEXT,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX credit_by_customer ON credit (customer, id);
