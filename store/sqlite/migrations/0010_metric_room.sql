-- Each row says how much room it takes in the file, so that what is added to a total is what a
-- deletion takes from it. The column comes before the text: one behind it could only be read by
-- way of all the pages of a long text. Rows that are there count as at least what they take.

CREATE TABLE metrics_with_room (
    number      INTEGER PRIMARY KEY,  -- ascends as they came
    source      INTEGER NOT NULL,
    uuid        BLOB,                 -- of the prediction; NULL: of many
    start_ms    INTEGER NOT NULL,
    end_ms      INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    taken       INTEGER NOT NULL,     -- bytes in the file
    metrics     TEXT NOT NULL         -- JSON
);

INSERT INTO metrics_with_room
    SELECT number, source, uuid, start_ms, end_ms, recorded_ms,
        CASE WHEN length(CAST(metrics AS BLOB)) <= 1000 THEN length(CAST(metrics AS BLOB)) + 200
            ELSE (length(CAST(metrics AS BLOB)) / 4096 + 2) * 4096 END,
        metrics
    FROM metrics ORDER BY number;

DROP TABLE metrics;
ALTER TABLE metrics_with_room RENAME TO metrics;
CREATE UNIQUE INDEX metrics_of_prediction ON metrics (uuid) WHERE uuid IS NOT NULL;
CREATE INDEX metrics_of_window ON metrics (source, start_ms);

UPDATE metric_sources SET byte_count =
    (SELECT coalesce(sum(taken), 0) FROM metrics WHERE source = metric_sources.number);
