-- Which fridges are in quarantine, since when, and why as they told it; and which reports were told in it. A fridge that is
-- not has no moment.

ALTER TABLE fridge ADD COLUMN quarantined_at INTEGER;
ALTER TABLE fridge ADD COLUMN quarantine_reasons TEXT;
ALTER TABLE report ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
