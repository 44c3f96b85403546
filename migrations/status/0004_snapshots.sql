-- What each fridge counted inside, when it was other than before; pruned as reports are. And when it counted last.

CREATE TABLE snapshot (
    fridge TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    meals  TEXT    NOT NULL,
    PRIMARY KEY (fridge, n)
) STRICT, WITHOUT ROWID;

ALTER TABLE fridge ADD COLUMN counted_at INTEGER;
