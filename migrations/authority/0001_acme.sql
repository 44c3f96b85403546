-- What the ACME server keeps. Times are seconds since the Unix epoch.

-- External account keys: what an account may have. The file must be readable by the server alone.
CREATE TABLE eab_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    mac_key BLOB NOT NULL,
    profile TEXT NOT NULL,
    party TEXT NOT NULL,
    identifiers TEXT NOT NULL,
    account TEXT UNIQUE,
    created_unix_s BIGINT NOT NULL,
    revoked_unix_s BIGINT
);

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    thumbprint TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    status TEXT NOT NULL,
    contact TEXT NOT NULL,
    eab_kid TEXT NOT NULL UNIQUE,
    created_unix_s BIGINT NOT NULL
);

-- An order is one document; beside it stands what is looked for.
CREATE TABLE orders (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    created_unix_s BIGINT NOT NULL,
    stage TEXT NOT NULL,
    certificate_sha256 TEXT UNIQUE,
    renewal_id TEXT UNIQUE,
    replaces TEXT,
    document TEXT NOT NULL
);
CREATE INDEX orders_of_account ON orders (account, created_unix_s);
CREATE INDEX orders_in_stage ON orders (stage);
CREATE INDEX orders_replacing ON orders (replaces);
