-- How many sessions have ended, counted as they end: to count a million rows takes longer than a caller waits between
-- two questions. What is pending is few, and counted by an index.

CREATE TABLE ended (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sessions INTEGER NOT NULL
) STRICT;
INSERT INTO ended (one, sessions) SELECT 1, COUNT(*) FROM session WHERE outcome IS NOT NULL;

DROP INDEX session_counts;
CREATE INDEX session_by_outcome ON session (outcome, session);
CREATE INDEX session_by_settlement ON session (settlement, session);
