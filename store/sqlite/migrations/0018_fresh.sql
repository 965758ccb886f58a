-- Whether a build or an experiment uses nothing that was made before.
ALTER TABLE builds ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;
