-- Sales by day, refusals by reason, and the meals that were sold. Expands 0002: its table of sales is carried over, is no
-- longer written, and goes in a later release.

-- Sums of what the PCI zone told, by fridge and day (UTC). They outlive the fridge.
CREATE TABLE sale (
    fridge           TEXT    NOT NULL,
    day              TEXT    NOT NULL,
    currency         TEXT    NOT NULL,
    sessions         INTEGER NOT NULL,
    charged_sessions INTEGER NOT NULL,
    meals            INTEGER NOT NULL,
    thefts           INTEGER NOT NULL,
    charged_minor    INTEGER NOT NULL,
    credit_minor     INTEGER NOT NULL,
    unpaid_minor     INTEGER NOT NULL,
    captured_minor   INTEGER NOT NULL,
    refunded_minor   INTEGER NOT NULL,
    PRIMARY KEY (fridge, day, currency)
) STRICT, WITHOUT ROWID;
CREATE INDEX sale_by_day ON sale (day);

-- What was summed before days were kept counts for the first day there is, as captured in full.
INSERT INTO sale (fridge, day, currency, sessions, charged_sessions, meals, thefts, charged_minor, credit_minor,
                  unpaid_minor, captured_minor, refunded_minor)
SELECT fridge, '1970-01-01', currency, sessions, charged_sessions, meals, thefts, charged_minor, credit_used_minor,
       0, charged_minor, 0
FROM sales;

CREATE TABLE sale_meal (
    fridge    TEXT    NOT NULL,
    day       TEXT    NOT NULL,
    currency  TEXT    NOT NULL,
    gtin      TEXT    NOT NULL,
    sold      INTEGER NOT NULL,
    stolen    INTEGER NOT NULL,
    due_minor INTEGER NOT NULL,
    PRIMARY KEY (fridge, day, currency, gtin)
) STRICT, WITHOUT ROWID;
CREATE INDEX sale_meal_by_gtin ON sale_meal (gtin, day);

CREATE TABLE refusal (
    fridge TEXT    NOT NULL,
    day    TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (fridge, day, reason)
) STRICT, WITHOUT ROWID;

-- The word of the API is the word of the field.
UPDATE fridge SET life_cycle = 'restocking' WHERE life_cycle = 'being_restocked';
