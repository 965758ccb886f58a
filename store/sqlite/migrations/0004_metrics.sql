-- What models tell of their predictions, one row each, and what is measured over many of them.
--
-- A source is a deployment that has told something: it stands for its build and its model too, so
-- that a row carries one small number and one index serves all three. Nothing here hangs on models:
-- a million rows are not deleted in the transaction of one deletion, but bit by bit after it.

CREATE TABLE metric_sources (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment_id TEXT NOT NULL UNIQUE,
    build_id      TEXT NOT NULL,
    model_id      TEXT NOT NULL,
    row_count     INTEGER NOT NULL DEFAULT 0,
    byte_count    INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX metric_sources_of_build ON metric_sources (build_id);
CREATE INDEX metric_sources_of_model ON metric_sources (model_id);

CREATE TABLE metrics (
    number      INTEGER PRIMARY KEY,  -- ascends as they came
    source      INTEGER NOT NULL,
    uuid        BLOB,                 -- of the prediction; NULL: of many
    start_ms    INTEGER NOT NULL,
    end_ms      INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    metrics     TEXT NOT NULL         -- JSON
);

CREATE UNIQUE INDEX metrics_of_prediction ON metrics (uuid) WHERE uuid IS NOT NULL;
CREATE INDEX metrics_of_window ON metrics (source, start_ms);
