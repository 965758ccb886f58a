-- Which lock the environment of an experiment had. The text is kept only for builds.
ALTER TABLE experiments ADD COLUMN lock_id TEXT NOT NULL DEFAULT '';
ALTER TABLE experiments ADD COLUMN packages INTEGER;
