-- What has happened to the requests of each model, in steps of 10 s, 1 min and 15 min: `data` is the
-- JSON of a point. A coarser point has all the finer ones of its time; each step is kept for a time of its own.
CREATE TABLE history (
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    step     INTEGER NOT NULL,  -- seconds
    at       INTEGER NOT NULL,  -- its start, in seconds since 1970
    data     TEXT NOT NULL,
    PRIMARY KEY (model_id, step, at)
) WITHOUT ROWID;

-- The latest requests of each model: no bodies.
CREATE TABLE requests (
    number            INTEGER PRIMARY KEY,  -- ascends as they ended
    model_id          TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    at_ms             INTEGER NOT NULL,     -- when it ended
    request_id        TEXT NOT NULL,
    status            INTEGER NOT NULL,     -- 0: the client disconnected
    code              TEXT NOT NULL,        -- empty: success
    wait_us           INTEGER NOT NULL,
    service_us        INTEGER,              -- NULL: no replica got it
    replica           TEXT NOT NULL,
    deployment_number INTEGER,
    build_number      INTEGER,
    key_id            TEXT NOT NULL,        -- the first characters of the id; empty: without a key
    user_id           TEXT NOT NULL,
    test              INTEGER NOT NULL
);

CREATE INDEX requests_of_model ON requests (model_id, number);
