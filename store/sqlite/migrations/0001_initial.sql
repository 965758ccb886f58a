-- The first schema. Columns are named as the fields of store/records.py.
--
-- AUTOINCREMENT keeps a number from being given twice, even after its row was deleted.
-- Which words a column may hold is said by the records alone, and checked as rows are read back.

CREATE TABLE site (
    workspace_id TEXT NOT NULL
);

CREATE TABLE projects (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    name            TEXT NOT NULL UNIQUE,
    path            TEXT NOT NULL UNIQUE,
    linked          INTEGER NOT NULL,
    description     TEXT NOT NULL,
    visibility      TEXT NOT NULL,
    template        TEXT NOT NULL,
    git_url         TEXT NOT NULL,
    git_ref         TEXT NOT NULL,
    environment     TEXT NOT NULL,  -- JSON
    creation_status TEXT NOT NULL,
    creation_error  TEXT NOT NULL,
    creator         TEXT NOT NULL
);

CREATE TABLE models (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    created_at        TEXT NOT NULL,
    updated_at        TEXT NOT NULL,
    project_id        TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name              TEXT NOT NULL,
    key_generation    INTEGER NOT NULL,  -- of the access key, which is not in here
    description       TEXT NOT NULL,
    visibility        TEXT NOT NULL,
    auth_enabled      INTEGER NOT NULL,
    cpu_millicores    INTEGER NOT NULL,
    memory_mb         INTEGER NOT NULL,
    replicas          INTEGER NOT NULL,
    creator           TEXT NOT NULL,
    next_build_number INTEGER NOT NULL DEFAULT 1,  -- the store's own; not in the record
    UNIQUE (project_id, name)
);

CREATE TABLE builds (
    id          TEXT NOT NULL PRIMARY KEY,
    number      INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    model_id    TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    comment     TEXT NOT NULL,
    file        TEXT NOT NULL,
    function    TEXT NOT NULL,
    kernel      TEXT NOT NULL,
    interpreter TEXT NOT NULL,
    model_root  TEXT NOT NULL,
    script      TEXT NOT NULL,
    example     TEXT,           -- JSON
    status      TEXT NOT NULL,
    snapshot    TEXT NOT NULL,
    journey     TEXT NOT NULL,  -- JSON
    failure     TEXT,           -- JSON
    creator     TEXT NOT NULL,
    built_at    TEXT,
    UNIQUE (model_id, number)
);

CREATE TABLE deployments (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    model_id       TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    project_id     TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    build_id       TEXT REFERENCES builds (id) ON DELETE SET NULL,
    build_number   INTEGER NOT NULL,
    cpu_millicores INTEGER NOT NULL,
    memory_mb      INTEGER NOT NULL,
    replicas       INTEGER NOT NULL,
    environment    TEXT NOT NULL,  -- JSON
    wanted         TEXT NOT NULL,
    status         TEXT NOT NULL,
    failure        TEXT,           -- JSON
    deployer       TEXT NOT NULL,
    deployed_at    TEXT,
    stopped_at     TEXT
);

CREATE INDEX deployments_of_model ON deployments (model_id);
CREATE INDEX deployments_of_build ON deployments (build_id);
