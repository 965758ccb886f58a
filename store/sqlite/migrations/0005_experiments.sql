-- Experiments: scripts that were run once, and what they tracked.

CREATE TABLE experiments (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    project_id     TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    comment        TEXT NOT NULL,
    script         TEXT NOT NULL,
    arguments      TEXT NOT NULL,  -- JSON
    kernel         TEXT NOT NULL,
    interpreter    TEXT NOT NULL,
    cpu_millicores INTEGER NOT NULL,
    memory_mb      INTEGER NOT NULL,
    status         TEXT NOT NULL,
    snapshot       TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    exit_status    INTEGER,
    failure        TEXT,           -- JSON
    metrics        TEXT NOT NULL,  -- JSON: the last value of each
    creator        TEXT NOT NULL,
    started_at     TEXT,
    ended_at       TEXT
);

CREATE INDEX experiments_of_project ON experiments (project_id);

-- Every value that a script tracked, in its order.
CREATE TABLE points (
    experiment_id TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,     -- JSON
    time          INTEGER NOT NULL,  -- milliseconds since 1970
    PRIMARY KEY (experiment_id, position)
) WITHOUT ROWID;
