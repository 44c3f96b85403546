-- Money is whole minor units with its currency beside it, time is microseconds UTC, ids are text.

-- Which driver may write for a fridge. The fence grows with every lease; a write with an older one is refused.
CREATE TABLE leases (
    fridge TEXT NOT NULL PRIMARY KEY,
    fence BIGINT NOT NULL,
    holder TEXT NOT NULL
);

-- Purchase sessions. `state` is the whole machine; the other columns repeat what is searched for, and a row whose
-- columns and state disagree is refused.
CREATE TABLE sessions (
    session TEXT NOT NULL PRIMARY KEY,
    fridge TEXT NOT NULL,
    fence BIGINT NOT NULL,
    stage TEXT NOT NULL,
    busy BOOLEAN NOT NULL,
    done BOOLEAN NOT NULL,
    customer TEXT,
    token TEXT,
    price_revision BIGINT,
    opened_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    state TEXT NOT NULL
);
-- One session a fridge that keeps it busy.
CREATE UNIQUE INDEX sessions_busy ON sessions (fridge) WHERE busy;
-- What a restart must take up again.
CREATE INDEX sessions_unfinished ON sessions (session) WHERE NOT done;

-- Every touch a fridge reported, for operators and disputes. Only ever added to.
CREATE TABLE touches (
    session TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    device_time BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (session, sequence)
);

-- What a processor is asked for: written before the call, answered after it.
CREATE TABLE intents (
    intent TEXT NOT NULL PRIMARY KEY,
    session TEXT NOT NULL,
    verb TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    outcome TEXT,
    reference TEXT,
    answered_at BIGINT
);
CREATE INDEX intents_session ON intents (session);
CREATE INDEX intents_pending ON intents (asked_at, intent) WHERE outcome IS NULL;

-- Numbers that only grow: the last position of the outbox, the local revision of the prices.
CREATE TABLE counters (
    counter TEXT NOT NULL PRIMARY KEY,
    reached BIGINT NOT NULL
);
INSERT INTO counters (counter, reached) VALUES ('outbox', 0), ('prices', 0);

-- Events on their way out, in the order they were committed: 1, 2, 3 … without gaps.
CREATE TABLE outbox (
    position BIGINT NOT NULL PRIMARY KEY,
    event TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);

-- How far each subscriber has booked.
CREATE TABLE cursors (
    subscriber TEXT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);

-- The feeds this zone pulls, and how far.
CREATE TABLE feeds (
    feed TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    booked BIGINT NOT NULL,
    complete BOOLEAN NOT NULL
);
CREATE TABLE reference_rows (
    feed TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (feed, key)
);

-- What each meal type cost from which local revision on, as long as an open session may need it.
CREATE TABLE prices (
    gtin TEXT NOT NULL,
    revision BIGINT NOT NULL,
    minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (gtin, revision)
);

-- The processor's opaque reference of a card it keeps. Never a card number.
CREATE TABLE stored_cards (
    token TEXT NOT NULL PRIMARY KEY,
    brand TEXT NOT NULL,
    last_four TEXT NOT NULL,
    reference TEXT NOT NULL
);

-- Cards that entered a wallet, by the id the reading device made.
CREATE TABLE enrollments (
    enrollment TEXT NOT NULL PRIMARY KEY,
    customer TEXT NOT NULL,
    token TEXT NOT NULL,
    brand TEXT NOT NULL,
    last_four TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL
);
