-- Who may do what: users, what they sign in with, whose project it is, and what was done.
--
-- No key and no password is in here: of what people hold only hashes are kept.

CREATE TABLE users (
    number               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT NOT NULL UNIQUE,
    created_at           TEXT NOT NULL,
    updated_at           TEXT NOT NULL,
    name                 TEXT NOT NULL UNIQUE COLLATE NOCASE,  -- by which they sign in
    full_name            TEXT NOT NULL,
    email                TEXT NOT NULL,
    password             TEXT NOT NULL,  -- argon2id's text; empty: cannot sign in by password
    must_change_password INTEGER NOT NULL,
    administrator        INTEGER NOT NULL,
    disabled             INTEGER NOT NULL
);

CREATE TABLE keys (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,  -- the public half of the key
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    kind       TEXT NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest     TEXT NOT NULL,  -- SHA-256 of the secret half
    comment    TEXT NOT NULL,
    expires_at TEXT
);

CREATE INDEX keys_of_user ON keys (user_id);

CREATE TABLE sessions (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,  -- SHA-256 of what the browser holds
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL,
    by_link    INTEGER NOT NULL,
    expires_at TEXT NOT NULL
);

CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE memberships (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    UNIQUE (project_id, user_id)
);

CREATE INDEX memberships_of_user ON memberships (user_id);

-- What was done and what was refused. Rows are only ever added; the triggers hold even an
-- operator's own sqlite3 to that.
CREATE TABLE audit (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    who        TEXT NOT NULL,  -- the name as it was then: an entry outlives its user
    address    TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    object     TEXT NOT NULL,
    outcome    TEXT NOT NULL,  -- "done", or the code of the refusal
    detail     TEXT NOT NULL
);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is only ever added to'); END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is only ever added to'); END;

-- Settings of the site that were changed at run time.
CREATE TABLE site_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL  -- JSON
);
