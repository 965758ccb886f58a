-- The user who cancelled a build; empty for all others.
ALTER TABLE builds ADD COLUMN cancelled_by TEXT NOT NULL DEFAULT '';
