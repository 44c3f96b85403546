-- The digest of what the quoted registers held when a device was last attested; unknown of those attested before.
ALTER TABLE devices ADD COLUMN registers BYTEA;
