-- What every service of the non-PCI zone keeps beside its own tables: the same text in each of the four folders.

-- One revision counter a service; every change of a feed row or of a record takes the next number.
CREATE TABLE counter (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counter (one, value) VALUES (1, 0);

-- Rows that the PCI zone pulls, each with the revision of its last change. Removed rows stay, marked in their body.
CREATE TABLE feed (
    kind TEXT    NOT NULL,
    key  TEXT    NOT NULL,
    rev  INTEGER NOT NULL,
    body TEXT    NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX feed_by_rev ON feed (kind, rev);

-- Events that were booked, by id; the oldest are pruned once their sequence is far below the booked one.
CREATE TABLE inbox (
    event_id TEXT    NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_by_sequence ON inbox (sequence);

-- The highest sequence of the source with all lower ones booked. One row: there is one source of events.
CREATE TABLE booked (
    source   TEXT    NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT;

-- Answers given under an Idempotency-Key, so that a repeat gets the same one.
CREATE TABLE answer (
    principal   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    rev         INTEGER,
    body        TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT;
CREATE INDEX answer_by_expiry ON answer (expires_at);

-- Who changed what, and when. Only ever added to.
CREATE TABLE audit (
    id     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    what   TEXT    NOT NULL,
    target TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_target ON audit (target, id);
