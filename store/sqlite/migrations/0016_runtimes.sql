-- Runtimes: interpreters with packages, which the environments of builds start from.

CREATE TABLE runtimes (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL,
    name         TEXT NOT NULL,
    version      INTEGER NOT NULL,
    edition      TEXT NOT NULL,
    description  TEXT NOT NULL,
    interpreter  TEXT NOT NULL,
    requirements TEXT NOT NULL,
    disabled     INTEGER NOT NULL,
    status       TEXT NOT NULL,
    failure      TEXT,          -- JSON
    creator      TEXT NOT NULL,
    ready_at     TEXT,
    UNIQUE (name, version)
);

CREATE TRIGGER deleted_runtime AFTER DELETE ON runtimes
BEGIN INSERT OR IGNORE INTO deleted (id) VALUES (OLD.id); END;

-- The runtime of a project's builds and experiments, unless they name another one.
ALTER TABLE projects ADD COLUMN runtime TEXT NOT NULL DEFAULT '';
