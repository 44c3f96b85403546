-- What is known of devices since they were last attested, and which reference values were in force.

CREATE TABLE devices (
    -- The SHA-256 of the endorsement key's SubjectPublicKeyInfo, lower-case hexadecimal.
    permanent_identifier TEXT NOT NULL PRIMARY KEY,
    -- The TPM's clock at the last quote.
    resets BIGINT NOT NULL,
    restarts BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    -- The last key for TLS: its TPM name and its point, and those of the key that it followed.
    tls_key BYTEA NOT NULL,
    tls_point BYTEA NOT NULL,
    before_key BYTEA,
    before_point BYTEA,
    -- trusted, quarantined (with the reason), released.
    state TEXT NOT NULL,
    reason TEXT,
    changed_at BIGINT NOT NULL
);

CREATE TABLE reference_values (
    version BIGINT NOT NULL PRIMARY KEY,
    sha256 BYTEA NOT NULL,
    accepted_at BIGINT NOT NULL
);

-- Who was let out of quarantine, and when.
CREATE TABLE releases (
    permanent_identifier TEXT NOT NULL,
    released_at BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (permanent_identifier, released_at)
);
