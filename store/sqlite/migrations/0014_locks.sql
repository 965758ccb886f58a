-- The locks of builds. Equal ones are stored once, and as long as a build has them.

CREATE TABLE locks (
    id   TEXT NOT NULL PRIMARY KEY,
    text TEXT NOT NULL  -- a pylock.toml
);

ALTER TABLE builds ADD COLUMN lock_id TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN packages INTEGER;

CREATE INDEX builds_of_lock ON builds (lock_id);

CREATE TRIGGER unused_lock AFTER DELETE ON builds
BEGIN
    DELETE FROM locks WHERE id = OLD.lock_id
        AND NOT EXISTS (SELECT 1 FROM builds WHERE lock_id = OLD.lock_id);
END;
