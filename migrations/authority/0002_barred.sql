-- When and why (RFC 5280, section 5.3.1) a certificate of the key's party, or for its device, was revoked as stolen: a list
-- names it for a few days only.
ALTER TABLE eab_keys ADD COLUMN barred_unix_s BIGINT;
ALTER TABLE eab_keys ADD COLUMN barred_reason BIGINT;
