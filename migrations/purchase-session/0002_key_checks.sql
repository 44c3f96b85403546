-- By what each key of the HSM is known again: a hash that says nothing of the key. Written when a key is first used; a
-- start that finds another value is refused, since under another key every card would be a stranger's.
CREATE TABLE key_checks (
    label TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
